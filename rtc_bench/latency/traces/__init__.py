"""Measured milliseconds of inference, one row a request: CSV or Parquet files. Two are shipped, see README.md here."""

import functools
import hashlib
import pathlib

import numpy as np

from rtc_bench.common import errors

FOLDER = pathlib.Path(__file__).parent
SHIPPED = tuple(sorted(path.stem for path in FOLDER.glob("*.csv")))
CONTROL_STEP = 1000 / 30  # milliseconds
LARGEST = 63  # control steps, some two seconds: what a delay may be


def path_of(file: str) -> pathlib.Path:
    """A shipped trace's file, or the user's own."""
    return FOLDER / f"{file}.csv" if file in SHIPPED else pathlib.Path(file)


@functools.lru_cache(maxsize=8)
def read(file: str, column: str = "ms") -> np.ndarray:
    """The column's milliseconds [N]. Raises ConfigError for what is not a table of such."""
    import pandas as pd

    path = path_of(file)
    if not path.is_file():
        raise errors.ConfigError(f"delay_options.file={file}: no such file; give a CSV or Parquet file, or {_SHIPPED}")
    try:
        table = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path, comment="#")
    except Exception as error:  # of several libraries
        raise errors.ConfigError(f"{path}: neither CSV nor Parquet ({errors.first_line(error)})") from None
    if column not in table:
        columns = ", ".join(map(str, table.columns))
        raise errors.ConfigError(f"{path}: no column {column!r}; give delay_options.column=, one of: {columns}")
    values = pd.to_numeric(table[column], errors="coerce").to_numpy(dtype=float)
    limit = LARGEST * CONTROL_STEP
    bad = np.flatnonzero(~((values >= 0) & (values <= limit)))
    if not len(values) or len(bad):
        what = f"row {bad[0] + 1} holds {table[column].iloc[bad[0]]!r}" if len(bad) else "it holds no rows"
        raise errors.ConfigError(f"{path}, column {column!r}: {what}; give milliseconds from 0 to {limit:.0f}")
    return values


_SHIPPED = f"a shipped one: {', '.join(SHIPPED)}"


def control_steps(milliseconds: np.ndarray) -> np.ndarray:
    """Delays [N] int32: a chunk acts from the first control step after its arrival on."""
    return np.ceil(np.round(milliseconds / CONTROL_STEP, 6)).astype(np.int32)


def digest(file: str, column: str) -> str:
    """Twelve hexadecimal digits of a trace's numbers."""
    return hashlib.sha256(read(file, column).tobytes()).hexdigest()[:12]
