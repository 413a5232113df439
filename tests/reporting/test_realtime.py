"""scripts/realtime.py's run on a fast clock: what it writes, and that it goes on."""

import pytest

from rtc_bench.common import errors, tables
from rtc_bench.reporting import realtime, settings

CONFIG = {"task": "h17_unicycle", "strategy": "naive", "hz": 200.0, "predicted": 4}


def test_episodes_on_the_clock_are_played_once_and_reported(tmp_path, capsys):
    folder = realtime.run(settings.RealtimeConfig(**CONFIG, episodes=1, latency=8, out=str(tmp_path)))
    assert folder == tmp_path
    (first,) = tables.read(folder / "episodes.csv")
    realtime.run(settings.RealtimeConfig(**CONFIG, episodes=2, latency=8, out=str(tmp_path)))
    episodes = tables.read(folder / "episodes.csv")
    assert [row["episode"] for row in episodes] == ["0", "1"]
    assert episodes[0] == first  # it was not played again
    (summary,) = tables.read(folder / "summary.csv")
    requests = tables.read(folder / "requests.csv")
    assert {row["episode"] for row in requests} == {"0", "1"}
    assert all(float(row["ms"]) >= 8 for row in requests)
    assert float(summary["delay_p50"]) >= 2  # 8 ms are more than a control step of 5
    assert int(summary["episodes"]) == 2
    assert int(summary["episodes_alike"]) == 2
    assert 0 <= float(summary["predicted_low"]) <= float(summary["predicted"]) <= float(summary["predicted_high"]) <= 1
    trace = tables.read(folder / "traces" / "naive-8.csv")
    assert [row["ms"] for row in trace] == [row["ms"] for row in requests]
    assert (folder / "timeline.png").read_bytes().startswith(b"\x89PNG")
    assert "such delays" in (folder / "README.md").read_text()
    with pytest.raises(errors.ConfigError, match="holds episodes with another settings; give another out="):
        realtime.run(settings.RealtimeConfig(**{**CONFIG, "hz": 100.0}, episodes=1, latency=8, out=str(tmp_path)))
    assert "h17_unicycle at 200 Hz" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"task": "all"}, "a clock plays one task"),
        ({"horizon": "1..2"}, "one execution horizon"),
        ({"latency": -1}, "latency=-1 is out of range"),
        ({"latency": ((0,),)}, "neither milliseconds nor a trace"),
        ({"latency": ()}, "is empty"),
        ({"delay_estimate": "exact"}, "max, quantile, constant"),
    ],
)
def test_what_is_refused(values, message):
    with pytest.raises(errors.ConfigError, match=message):
        settings.RealtimeConfig(**{**CONFIG, **values})
