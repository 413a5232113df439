"""LeRobot data sets of format v3.0, as the package lerobot (0.4) writes and opens them: files that others read::

data/chunk-000/file-000.parquet           frames, of whole episodes; a feature of one number is a plain column
meta/info.json                            features, frames a second, totals, where files lie
meta/stats.json                           minimum, maximum, mean, deviation, count, quantiles of every feature
meta/tasks.parquet                        the task that row i names is task i
meta/episodes/chunk-000/file-000.parquet  of each episode: task, length, file, place among the frames, statistics
"""

VERSION = "v3.0"
INFO_FILE = "meta/info.json"
DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
FILES_A_CHUNK = 1000


def data_file(number: int) -> str:
    """Where the frames' file of this number lies, from 0 on."""
    chunk_index, file_index = divmod(number, FILES_A_CHUNK)
    return DATA_PATH.format(chunk_index=chunk_index, file_index=file_index)
