"""Tidy tables: rows with the same keys, as CSV files."""

import csv
import io
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from policies import checkpoint


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
    checkpoint.write_whole(path, text.getvalue().encode())
