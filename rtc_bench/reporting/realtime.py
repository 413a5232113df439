"""Episodes on a real clock: played, held against the evaluator, and reported."""

import dataclasses
import hashlib
import itertools
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from rtc_bench.common import devices, errors, files, progress, statistics, tables, versions
from rtc_bench.evaluation import evaluator, sweep, sweep_inputs
from rtc_bench.evaluation import settings as evaluation_settings
from rtc_bench.evaluation.execution import wall_clock
from rtc_bench.evaluation.latency import models, schedule, traces
from rtc_bench.realtime import estimates, execution
from rtc_bench.reporting import delays as delay_pictures
from rtc_bench.reporting import settings
from rtc_bench.strategies import base

NOT_DECIDING = (
    "out",
    "weights",
    "episodes",
    "predicted",
    "strategy",
    "latency",
)  # more of them go into the same folder


class Setup(NamedTuple):
    """What all episodes have in common."""

    config: settings.RealtimeConfig
    task_policy: sweep_inputs.TaskPolicy
    strategies: Mapping[str, base.Strategy]
    controller: execution.ControllerConfig
    folder: pathlib.Path


def run(config: settings.RealtimeConfig) -> pathlib.Path:
    """Play what is missing, and report. Returns the folder. Raises ConfigError, UnknownTask and CheckpointError."""
    setup = prepare(config)
    episodes, requests = play(setup)
    summaries = summarise(setup, episodes, requests)
    tables.write(summaries, setup.folder / "summary.csv")
    table = _table(summaries)
    files.write_whole(setup.folder / "README.md", "\n".join(_page(setup, table)).encode())
    delay_pictures.save_timelines(_timelines(setup, episodes, requests), setup.folder / "timeline.png")
    tables.show(f"{config.task} at {config.hz:g} Hz", table)
    print(f"README.md, summary.csv, episodes.csv, requests.csv, traces/ and timeline.png are in {setup.folder}")
    return setup.folder


def prepare(config: settings.RealtimeConfig) -> Setup:
    """Everything that can be refused is refused here."""
    strategies = sweep_inputs.build_strategies(config.sweep)
    estimate, window = _estimate(config)
    digests = {
        f"latency {name}": hashlib.sha256(traces.read(name, setting="latency").tobytes()).hexdigest()[:12]
        for name in config.latencies
        if isinstance(name, str)
    }
    source = sweep_inputs.policy_sources(config.sweep)[config.task]
    devices.setup()
    task_policy = sweep_inputs.load_task_policy(config.sweep, config.task, source, strategies)
    sweep_inputs.check_strategies(strategies, task_policy.policy)
    chunk = task_policy.policy.config
    ((_, horizon),) = evaluation_settings.delay_horizon_pairs(config.delay, config.horizon, chunk.horizon)
    controller = execution.ControllerConfig(
        chunk.horizon,
        chunk.action_size,
        horizon,
        initial_delay=config.delay,
        remembered_delays=window,
        estimate=estimate,
        underrun=config.underrun,
    )
    identity = {
        **sweep_inputs.digests({config.task: task_policy}, strategies),
        **digests,
        "settings": _deciding(config),
    }
    folder = pathlib.Path(config.out or f"results/realtime-{sweep.short_digest(_deciding(config))}")
    manifest_file, sessions = folder / "manifest.json", [versions.collect()]
    if manifest_file.exists():
        manifest = files.read_manifest(manifest_file, "identity", "versions")
        sessions = [*(session for session in manifest["versions"] if session not in sessions), *sessions]
        common = manifest["identity"].keys() & identity.keys()
        for name in sorted(common):
            if manifest["identity"][name] != identity[name]:
                raise errors.ConfigError(f"{folder} holds episodes with another {name}; give another out=")
        identity = {**manifest["identity"], **identity}
    files.write_manifest(manifest_file, {"identity": identity, "versions": sessions})
    return Setup(config, task_policy, strategies, controller, folder)


def _deciding(config: settings.RealtimeConfig) -> dict[str, Any]:
    return {name: value for name, value in dataclasses.asdict(config).items() if name not in NOT_DECIDING}


def _estimate(config: settings.RealtimeConfig) -> tuple[estimates.Estimate, int]:
    """The controller's estimate, and how many delays it remembers; checked as those of sweeps are."""
    own = schedule.build("constant", config.delay_estimate, config.delay_options).estimate
    if config.delay_estimate == "constant":
        return estimates.constant(config.delay), 1
    return estimates.quantile(own.quantile), own.window


def play(setup: Setup) -> tuple[list[dict], list[dict]]:
    """What became of every episode, and of every request: those played before, and those that were missing."""
    config, folder = setup.config, setup.folder
    episodes, requests = tables.read(folder / "episodes.csv"), tables.read(folder / "requests.csv")
    played = {(row["strategy"], row["latency"], int(row["episode"])) for row in episodes}
    requests = [row for row in requests if (row["strategy"], row["latency"], int(row["episode"])) in played]
    wanted = itertools.product(setup.strategies, map(str, config.latencies), range(config.episodes))
    missing = [key for key in wanted if key not in played]
    clocks = {
        name: wall_clock.WallClock(setup.task_policy.env, setup.task_policy.policy, strategy, config.hz)
        for name, strategy in setup.strategies.items()
    }
    compiled: set[str] = set()
    with progress.bar(f"{config.task} on the clock", len(missing), "episodes") as advance:
        for done, (name, latency, number) in enumerate(missing):
            advance(done, note=f"{name}, {latency} ms")
            if name not in compiled:
                advance.wait(f"compiling {name}")
                compiled.add(name)
            own = {"seed": config.seed, "episode": number, "latency": _seconds(latency, number)}
            outcome = clocks[name].play(setup.controller, **own)
            key: dict[str, Any] = {"strategy": name, "latency": latency, "episode": number}
            requests += [{**key, **record} for record in _request_rows(outcome)]
            episodes.append({**key, **_episode_row(outcome)})
            if requests:
                tables.write(requests, folder / "requests.csv")  # first: an episode counts once its row is there
            tables.write(episodes, folder / "episodes.csv")
        advance(len(missing))
    return episodes, requests


def _seconds(latency: str, episode: int) -> Callable[[], float]:
    """What to add to each inference in turn; a trace begins elsewhere in each episode."""
    try:
        seconds = float(latency) / 1000
    except ValueError:
        milliseconds = traces.read(latency)
        start = np.random.default_rng(episode).integers(len(milliseconds))
        in_turn = itertools.cycle(np.roll(milliseconds, -start) / 1000)
        return lambda: float(next(in_turn))
    return lambda: seconds


def _episode_row(outcome: wall_clock.Episode) -> dict[str, Any]:
    return {
        "solved": int(outcome.solved),
        "length": outcome.length,
        "underruns": outcome.underruns,
        "missed": outcome.missed,
        "worst_lateness_ms": round(1000 * outcome.worst_lateness, 2),
    }


def _request_rows(outcome: wall_clock.Episode) -> list[dict[str, Any]]:
    return [
        {
            "step": record.step,
            "estimate": record.estimate,
            "delay": record.observed_delay,
            "ms": round(1000 * record.seconds, 2),
        }
        for record in outcome.records
    ]


def summarise(setup: Setup, episodes: Sequence[Mapping], requests: Sequence[Mapping]) -> list[dict[str, Any]]:
    """A row for each strategy and latency, with what the evaluator makes of the same delays, and of such delays."""
    config = setup.config
    rows: list[dict[str, Any]] = []
    evaluate = evaluator.Evaluator(setup.task_policy.env, setup.task_policy.policy, *setup.strategies.values())
    pairs = [(*named, latency) for named in enumerate(setup.strategies) for latency in map(str, config.latencies)]
    for index, name, latency in progress.each("evaluator, same and such delays", pairs, "rows"):
        own = [row for row in episodes if (row["strategy"], row["latency"]) == (name, latency)][: config.episodes]
        numbers = {int(row["episode"]) for row in own}
        asked = [row for row in requests if (row["strategy"], row["latency"]) == (name, latency)]
        asked = [row for row in asked if int(row["episode"]) in numbers]
        if asked:
            trace = setup.folder / "traces" / f"{name}-{pathlib.Path(latency).stem}.csv"
            tables.write([{"ms": row["ms"]} for row in asked], trace)
        solved = np.array([int(row["solved"]) for row in own], bool)
        replayed = _evaluated(setup, evaluate, index, _delays(setup, own, asked))
        steps = sum(int(row["length"]) for row in own)
        met = np.array([int(row["delay"]) for row in asked] or [config.delay])
        wrong = sum(int(row["estimate"]) != int(row["delay"]) for row in asked)
        low, high = statistics.wilson_interval(int(solved.sum()), len(solved))
        predicted = _evaluated(setup, evaluate, index, _such_delays(setup, own, asked)).solved
        predicted_low, predicted_high = statistics.wilson_interval(int(predicted.sum()), len(predicted))
        rows.append(
            {
                "strategy": name,
                "latency_ms": latency,
                "episodes": len(own),
                "missed_deadlines": round(sum(int(row["missed"]) for row in own) / steps, 5),
                "worst_lateness_ms": max(float(row["worst_lateness_ms"]) for row in own),
                "inference_ms": round(float(np.median([float(row["ms"]) for row in asked] or [np.nan])), 2),
                **models.percentiles(met),
                "underrun_share": round(sum(int(row["underruns"]) for row in own) / steps, 5),
                "misestimate_share": round(wrong / max(len(asked), 1), 5),
                "solved": int(solved.sum()),
                "ci_low": round(low, 4),
                "ci_high": round(high, 4),
                "solved_by_evaluator": int(replayed.solved.sum()),
                "episodes_alike": int((replayed.solved == solved).sum()),
                "predicted": round(float(predicted.mean()), 4),
                "predicted_low": round(predicted_low, 4),
                "predicted_high": round(predicted_high, 4),
            }
        )
    return rows


def _evaluated(
    setup: Setup, evaluate: evaluator.Evaluator, strategy_index: int, delays: schedule.Delays
) -> evaluator.Outcomes:
    config, controller = setup.config, setup.controller
    return evaluate(
        seed=config.seed,
        episodes=len(delays.actual),
        delay=config.delay,
        horizon=controller.execution_horizon,
        strategy_index=strategy_index,
        delays=delays,
        underrun=config.underrun,
    )


def _delays(setup: Setup, episodes: Sequence[Mapping], requests: Sequence[Mapping]) -> schedule.Delays:
    """What the requests of these episodes met and were told."""
    size = (len(episodes), setup.task_policy.env.max_steps)
    delays = schedule.Delays(*(np.full(size, wall_clock.NEVER_ARRIVED, np.int32) for _ in range(2)))
    for number, episode in enumerate(episodes):
        own = [row for row in requests if int(row["episode"]) == int(episode["episode"])]
        for rows, column in zip(delays, ("delay", "estimate"), strict=True):
            rows[number, : len(own)] = [int(row[column]) for row in own]
    return delays


def _such_delays(setup: Setup, episodes: Sequence[Mapping], requests: Sequence[Mapping]) -> schedule.Delays:
    """Delays of ``predicted`` episodes: each has those of one that was played, from a random request on."""
    config, steps = setup.config, setup.task_policy.env.max_steps
    met = [
        [int(row["delay"]) for row in requests if int(row["episode"]) == int(episode["episode"])]
        for episode in episodes
    ]
    met = [row for row in met if row] or [[config.delay]]
    rng = np.random.default_rng(config.seed)
    rows = [met[rng.integers(len(met))] for _ in range(config.predicted)]
    actual = np.array([np.resize(np.roll(row, -rng.integers(len(row))), steps) for row in rows], np.int32)
    estimate = schedule.build("constant", config.delay_estimate, config.delay_options).estimate
    return schedule.Delays(actual, np.stack([np.asarray(estimate.told(row, np.int32(config.delay))) for row in actual]))


def _table(rows: Sequence[Mapping]) -> tables.Table:
    header = ("strategy", "latency", "missed", "inference ms", "delay p50, p95, p99", "underruns", "misestimates")
    header = (*header, "solved on the clock", "evaluator, same delays", "evaluator, such delays")
    lines = [
        (
            row["strategy"],
            row["latency_ms"],
            f"{row['missed_deadlines']:.1%}",
            f"{row['inference_ms']:.1f}",
            ", ".join(f"{row[name]:.0f}" for name in ("delay_p50", "delay_p95", "delay_p99")),
            f"{row['underrun_share']:.1%}",
            f"{row['misestimate_share']:.0%}",
            f"{row['solved']} of {row['episodes']} [{row['ci_low']:.2f}, {row['ci_high']:.2f}]",
            f"{row['solved_by_evaluator']} ({row['episodes_alike']} alike)",
            f"{row['predicted']:.2f} [{row['predicted_low']:.2f}, {row['predicted_high']:.2f}]",
        )
        for row in rows
    ]
    return tables.Table(header, lines, lead=2)


def _page(setup: Setup, table: tables.Table) -> list[str]:
    config = setup.config
    return [
        f"# {config.task} at {config.hz:g} Hz",
        "",
        f"s = {setup.controller.execution_horizon} or more; estimate: {config.delay_estimate}. A deadline is missed when a",
        "control step begins more than a tenth of its period late. *Same delays*: the evaluator plays the same episodes under",
        f"the delays that they met; *such delays*: {config.predicted} episodes under delays drawn from these.",
        "",
        *tables.markdown(table),
        "",
        "![who executed which chunk when](timeline.png)",
        "",
    ]


def _timelines(
    setup: Setup, episodes: Sequence[Mapping], requests: Sequence[Mapping]
) -> dict[str, delay_pictures.Timeline]:
    """The first strategy's first episode at each latency."""
    name, sizes = next(iter(setup.strategies)), setup.controller
    shown = {}
    for latency in map(str, setup.config.latencies[:4]):
        key = (name, latency, "0")
        own = [row for row in requests if (row["strategy"], row["latency"], str(row["episode"])) == key]
        episode = next(row for row in episodes if (row["strategy"], row["latency"], str(row["episode"])) == key)
        shown[f"{name}, {latency} ms"] = delay_pictures.timeline_of(
            [*(int(row["delay"]) for row in own), wall_clock.NEVER_ARRIVED],
            horizon=sizes.execution_horizon,
            prediction_horizon=sizes.prediction_horizon,
            length=int(episode["length"]),
        )
    return shown
