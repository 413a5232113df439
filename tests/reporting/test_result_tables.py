"""Solve rates as tables of text."""

import example_runs

from rtc_bench.reporting import result_tables


def test_the_table_has_every_cell_and_the_mean():
    text = result_tables.markdown_page(example_runs.ROWS)
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert lines[0] == "| task | strategy | d=0 | d=2 | d=4 |"
    assert len(lines) == 2 + 2 * 2 + 2
    assert lines[2].startswith("| a | naive | 0.70 [")
    assert lines[-1].startswith("| mean | rtc | 0.90 [")


def test_the_page_says_what_made_it():
    text = result_tables.markdown_page(example_runs.ROWS, ["`sweep.py delay=0` at commit `abc`"])
    assert "Made by:\n\n- `sweep.py delay=0` at commit `abc`" in text
    assert "100 episodes a cell" in text


def test_the_terminal_shows_every_rate(capsys):
    result_tables.show_solve_rates(example_runs.ROWS)
    output = capsys.readouterr().out
    assert all(text in output for text in ("0.90 [", "0.70 [", "naive", "mean", "d=4"))
