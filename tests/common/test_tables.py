"""Tables whose rows are replaced task by task."""

from rtc_bench.common import tables

ORDER = ("first", "second", "third")


def test_rows_of_a_task_are_replaced_and_others_stay(tmp_path):
    path = tmp_path / "table.csv"
    for task, value in (("third", 1), ("first", 2), ("third", 3)):
        tables.replace([{"task": task, "value": value}], path, column="task", order=ORDER)
    assert tables.read(path) == [{"task": "first", "value": "2"}, {"task": "third", "value": "3"}]


def test_rows_with_other_columns_are_dropped(tmp_path):
    path = tmp_path / "table.csv"
    tables.write([{"task": "first", "old": 1}, {"task": "second", "old": 1}], path)
    tables.replace([{"task": "second", "value": 2}], path, column="task", order=ORDER)
    assert tables.read(path) == [{"task": "second", "value": "2"}]
