"""Files as they are written."""

import os

from rtc_bench.common import files


def test_files_are_readable_as_the_user_s_umask_says(tmp_path):
    before = os.umask(0o027)
    try:
        files.write_whole(tmp_path / "file", b"x")
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640
