"""Measured milliseconds of inference, one row a request: CSV or Parquet files. Two are shipped, see README.md here."""

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


def read(file: str, column: str = "ms", *, setting: str = "delay_options.file") -> np.ndarray:
    """The column's milliseconds [N]. Raises ConfigError, which names the ``setting``, for what is not a table of such."""
    from pyarrow import csv, parquet

    path = path_of(file)
    if not path.is_file():
        raise errors.ConfigError(f"{setting}={file}: no such file; give a CSV or Parquet file, or {_SHIPPED}")
    try:
        table = parquet.read_table(path) if path.suffix == ".parquet" else csv.read_csv(path)
    except (OSError, ValueError) as error:  # Arrow's own errors are among them
        raise errors.ConfigError(f"{path}: neither CSV nor Parquet ({errors.first_line(error)})") from None
    if column not in table.column_names:
        columns = ", ".join(table.column_names)
        raise errors.ConfigError(f"{path}: no column {column!r}; give delay_options.column=, one of: {columns}")
    try:
        values = table[column].cast("float64").to_numpy()
    except (ValueError, NotImplementedError) as error:
        raise errors.ConfigError(f"{path}, column {column!r}: not numbers ({errors.first_line(error)})") from None
    limit = LARGEST * CONTROL_STEP
    bad = np.flatnonzero(~((values >= 0) & (values <= limit)))
    if not len(values) or len(bad):
        what = f"row {bad[0] + 1} holds {values[bad[0]]}" if len(bad) else "it holds no rows"
        raise errors.ConfigError(f"{path}, column {column!r}: {what}; give milliseconds from 0 to {limit:.0f}")
    return values


_SHIPPED = f"a shipped one: {', '.join(SHIPPED)}"


def control_steps(milliseconds: np.ndarray) -> np.ndarray:
    """Delays [N] int32: a chunk acts from the first control step after its arrival on."""
    return np.ceil(np.round(milliseconds / CONTROL_STEP, 6)).astype(np.int32)
