"""Solve rates under different models and estimates of delay, beside what requests met."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from rtc_bench.analysis import success_curves
from rtc_bench.common import errors
from rtc_bench.evaluation import results, run_folder
from rtc_bench.evaluation.latency import estimates, models

MEANS = (
    *("delay_p50", "delay_p95", "delay_p99", "underrun_share", "misestimate_share"),
    *("boundary_change", "boundary_jerk"),
)


@dataclasses.dataclass(frozen=True)
class ScenarioRate:
    """One strategy at one delay under one model and estimate; means over the tasks that all scenarios have."""

    model: str  # with its settings
    estimate: str
    misestimate: int | None  # control steps that strategies are told too many; None: it varies
    strategy: str
    delay: int  # d, control steps
    solve_rate: float
    low: float  # 95 % interval, bootstrap within tasks
    high: float
    delay_p50: float | None  # control steps
    delay_p95: float | None
    delay_p99: float | None
    underrun_share: float | None  # of control steps
    misestimate_share: float | None  # of requests
    boundary_change: float | None
    boundary_jerk: float | None

    @property
    def scenario(self) -> str:
        """Model and estimate."""
        return self.model if self.estimate == "exact" else f"{self.model}, told {self.estimate}"


def summarise(scenarios: Sequence[run_folder.LoadedRuns]) -> list[ScenarioRate]:
    """Every strategy at every delay, scenario by scenario; each of ``scenarios`` has settings of delay of its own."""
    common = set.intersection(*({row.task for row in runs.rows} for runs in scenarios))
    if not common:
        raise errors.ConfigError(
            "these runs have other settings of delay, and no task in common; report them one by one"
        )
    summaries = []
    for runs in scenarios:
        model, estimate, misestimate = describe(runs.manifests[0]["settings"])
        rows = [row for row in success_curves.rows_over_delay(runs.rows) if row.task in common]
        for name in results.unique_values(rows, "strategy"):
            for delay, *rate in success_curves.mean_curve(rows, name):
                own = [row for row in rows if (row.strategy, row.delay) == (name, delay)]
                means = {column: _mean([getattr(row, column) for row in own]) for column in MEANS}
                if model == "constant" and misestimate in (0, None):  # also where it was not recorded
                    means |= dict.fromkeys(MEANS[:3], float(delay)) | dict.fromkeys(MEANS[3:5], 0.0)
                summaries.append(ScenarioRate(model, estimate, misestimate, name, delay, *rate, **means))
    return summaries


def describe(settings: Mapping[str, Any]) -> tuple[str, str, int | None]:
    """Model and estimate of a run's settings, with their options; and how many steps too many strategies are told."""
    values = {name: settings.get(name, default) for name, default in run_folder.CONSTANT_DELAY.items()}
    classes = {"delay_model": models.MODELS, "delay_estimate": estimates.ESTIMATES}
    texts, options = {}, values["delay_options"]
    for setting, by_name in classes.items():
        name = values[setting]
        fields = [field for field in dataclasses.fields(by_name[name]) if field.init]
        texts[setting] = " ".join([name, *(f"{f.name}={options.get(f.name, f.default)}" for f in fields)])
    model, estimate = texts.values()
    if values["underrun"] != run_folder.CONSTANT_DELAY["underrun"]:
        model += f", underrun={values['underrun']}"
    by = options.get("by", estimates.Offset.by)
    misestimate = {"exact": 0, "offset": by}.get(values["delay_estimate"])
    return model, estimate, misestimate


def over_p95(summaries: Sequence[ScenarioRate]) -> dict[str, success_curves.Curve]:
    """Strategy -> its rates over the 95th percentile of delay, where strategies are not misled on purpose."""
    curves: dict[str, success_curves.Curve] = {}
    for item in sorted(summaries, key=lambda item: (item.delay_p95 or 0, item.delay_p50 or 0)):
        points = curves.setdefault(item.strategy, [])
        if item.misestimate in (0, None) and item.delay_p95 is not None:
            points.append((item.delay_p95, item.solve_rate, item.low, item.high))
    return curves


def over_misestimate(summaries: Sequence[ScenarioRate]) -> dict[tuple[str, int], dict[str, success_curves.Curve]]:
    """(model, delay) -> strategy -> its rates over the steps that it is told too many; those with more than one."""
    groups: dict[tuple[str, int], dict[str, success_curves.Curve]] = {}
    for item in sorted(summaries, key=lambda item: item.misestimate or 0):
        if item.misestimate is not None:
            curves = groups.setdefault((item.model, item.delay), {})
            point = (item.misestimate, item.solve_rate, item.low, item.high)
            curves.setdefault(item.strategy, []).append(point)
    return {key: curves for key, curves in groups.items() if max(map(len, curves.values())) > 1}


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if len(known) == len(values) else None
