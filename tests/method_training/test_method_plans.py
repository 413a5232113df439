"""A dry run of what strategies learn: what is missing is told, and no file changes."""

import dataclasses

from rtc_bench.method_training import pipeline


def test_a_dry_run_tells_what_is_missing_and_writes_nothing(config, tmp_path, capsys):
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    pipeline.train_methods(config, dry_run=True)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == files
    pipeline.train_methods(dataclasses.replace(config, epochs=1))
    pipeline.train_methods(dataclasses.replace(config, epochs=1), dry_run=True)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("1 stage")]
    expected = ["1 stage, on 2 cores", "1 stage, on 2 cores", "1 stage, 1 of them done before"]
    assert [line.partition(" -> ")[0] for line in lines] == expected
