"""Tables: rows with the same keys as CSV files; and texts, as Markdown and in a terminal."""

import csv
import io
import pathlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from rtc_bench.common import files


class Table(NamedTuple):
    """Texts by line; ``lead`` columns on the left are words, the others numbers."""

    header: Sequence[str]
    lines: Sequence[Sequence[str]]
    lead: int = 1


def read(path: pathlib.Path) -> list[dict[str, str]]:
    """The rows, as text; none if there is no such file."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def write(rows: Sequence[Mapping[str, Any]], path: pathlib.Path) -> None:
    """Write one row or more, whole or not at all."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    files.write_whole(path, text.getvalue().encode())


def replace(rows: Sequence[Mapping[str, Any]], path: pathlib.Path, *, column: str, order: Sequence[str]) -> None:
    """Write one row or more in the place of those with the same value in ``column``, sorted by its place in ``order``.

    Rows of a table with other columns, as an earlier version wrote it, are dropped.
    """
    replaced = {row[column] for row in rows}
    others = [row for row in read(path) if row[column] not in replaced and list(row) == list(rows[0])]
    write(sorted([*others, *rows], key=lambda row: order.index(row[column])), path)


def markdown(table: Table) -> list[str]:
    """The table as Markdown lines."""
    rule = ["---"] * table.lead + ["---:"] * (len(table.header) - table.lead)
    return ["| " + " | ".join(line) + " |" for line in (table.header, rule, *table.lines)]


def show(title: str, table: Table, bold: Collection[tuple[int, int]] = ()) -> None:
    """Print the table, whole however narrow the terminal is; ``bold``: (line, column) of texts that stand out.

    With more than one column of words, lines with the same first word make a group.
    """
    import rich.box
    import rich.console
    import rich.table

    rich_table = rich.table.Table(box=rich.box.SIMPLE_HEAD, title=title, title_style="bold", title_justify="left")
    for column, name in enumerate(table.header):
        rich_table.add_column(name, justify="left" if column < table.lead else "right", no_wrap=True)
    groups = [line[0] if table.lead > 1 else "" for line in table.lines]
    for number, line in enumerate(table.lines):
        texts = [text.replace("[", r"\[") for text in line]
        texts = [f"[bold]{text}[/]" if (number, column) in bold else text for column, text in enumerate(texts)]
        if number and groups[number] and groups[number] == groups[number - 1]:
            texts[0] = ""
        rich_table.add_row(*texts, end_section=groups[number : number + 2] != groups[number : number + 1] * 2)
    console = rich.console.Console()
    width = 2 + sum(3 + max(map(len, texts)) for texts in zip(table.header, *table.lines, strict=True))
    (console if console.width >= width else rich.console.Console(width=width)).print(rich_table)
