"""All methods side by side: a ranking with what each needs and costs, and whether the published orders hold."""

import dataclasses
import pathlib
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from rtc_bench.analysis import method_ranking, published
from rtc_bench.common import devices, files, plotting, tables
from rtc_bench.evaluation import chunk_cost, results, run_folder, sweep_inputs
from rtc_bench.policies import checkpoint
from rtc_bench.reporting import report, result_tables, settings
from rtc_bench.strategies import base

NO_NEEDS = "nothing"
SMALLER_TRAININGS = (  # than the sources', of the weights that ship
    "What learns was trained less than in the sources: the shipped weights are rank-8 adapters after one epoch (TT-RTC: 8",
    "epochs of the whole network; REMAC: 32), and a2c2's head has a width of 256 (512) and a learning rate of 1e-3 (1e-4).",
    "soft_rtc was run at N = 2 alone, and the spread of rtc_sigma is a constant 0.4, not measured on each task's data.",
)


@dataclasses.dataclass(frozen=True)
class Method:
    """What a method needs and costs."""

    strategy: str
    needs: str  # of ``strategies.base.NEEDS``, with commas between
    network_evaluations: int  # a chunk
    milliseconds: float  # a chunk, alone, on one device
    milliseconds_of_many: float  # the same among many
    kilobytes: float  # of weights, a task
    minutes: float  # of training, a task


def rank(config: settings.RankMethodsConfig) -> None:
    """Write tables and a page of all methods that the runs hold. Raises ConfigError and CheckpointError."""
    devices.setup()
    runs, out = run_folder.load(config.runs), pathlib.Path(config.out)
    means_file = pathlib.Path(config.published) if config.published else published.FIGURES / "methods.csv"
    ranked = method_ranking.rank(runs, method_ranking.read_published(means_file))
    orders = method_ranking.published_orders(ranked)
    strategies, tasks = report.strategies_of(runs), results.unique_values(runs.rows, "task")
    methods = describe(strategies, {task: report.load_task_policy(runs, task, strategies) for task in tasks})
    tables.write(method_ranking.records(ranked), out / "ranking.csv")
    tables.write([dataclasses.asdict(method) for method in methods.values()], out / "methods.csv")
    names = ["README.md", "ranking.csv", "methods.csv", "methods.png"]
    if orders:
        tables.write([_order_record(order) for order in orders], out / "published_orders.csv")
        names.append("published_orders.csv")
    _save_picture(ranked, methods, out / "methods.png")
    files.write_whole(out / "README.md", "\n".join(_page(runs, ranked, orders, methods)).encode())
    tables.show("methods, by their mean over delays", _ranking_table(ranked, methods))
    print(f"{', '.join(names)}: in {out}")


def describe(
    strategies: Mapping[str, base.Strategy], task_policies: Mapping[str, sweep_inputs.TaskPolicy]
) -> dict[str, Method]:
    """What each strategy needs, and costs with the first task's policy where it was run; training as the weights' files say."""
    costs: dict[tuple[str, int], float] = {}
    evaluations: dict[str, int] = {}
    for task_policy in task_policies.values():
        able = report.that_can_act(strategies, task_policy.policy)
        if new := {name: strategy for name, strategy in able.items() if name not in evaluations}:
            costs |= {
                (cost.strategy, cost.batch): cost.milliseconds for cost in chunk_cost.measure(task_policy.policy, new)
            }
            evaluations |= {name: chunk_cost.network_evaluations(task_policy.policy, new[name]) for name in new}
    alone, many = chunk_cost.BATCHES
    methods = {}
    for name, strategy in strategies.items():
        stage = strategy.training
        weights = [item.weights[stage.name] for item in task_policies.values() if stage and stage.name in item.weights]
        seconds = [_training_seconds(checkpoint.read_header(file)) for file in weights]
        methods[name] = Method(
            name,
            ", ".join(strategy.needs) or NO_NEEDS,
            evaluations[name],
            round(costs[name, alone], 4),
            round(costs[name, many], 4),
            round(statistics.mean(file.stat().st_size for file in weights) / 1000, 1) if weights else 0.0,
            round(statistics.mean(seconds) / 60, 2) if weights else 0.0,
        )
    return methods


def _training_seconds(card: Mapping[str, Any]) -> float:
    """Updates, and the roll-outs or the data before them, where the card has these."""
    return sum(part["seconds"] for part in card["log"]) + card.get("source_seconds", 0.0)


def _save_picture(
    ranked: Sequence[method_ranking.MethodAtDelay], methods: Mapping[str, Method], path: pathlib.Path
) -> None:
    """A line a method, a dot a delay with its interval, and what the method needs beside it."""
    names = list(dict.fromkeys(item.strategy for item in ranked))
    delays = sorted({item.delay for item in ranked if item.delay is not None})
    canvas, (axis,) = plotting.panels([""], width=8.4, height=0.9 + 0.27 * len(names), y_label="")
    for number, delay in enumerate(delays):
        items = [item for item in ranked if item.delay == delay]
        rates = [item.solve_rate for item in items]
        errors = [[item.solve_rate - item.low for item in items], [item.high - item.solve_rate for item in items]]
        lines = [names.index(item.strategy) for item in items]
        look = {"color": plotting.shade(number, len(delays)), "markersize": 5, "linewidth": 1.2}
        axis.errorbar(rates, lines, xerr=errors, fmt="o", label=f"d = {delay}", **look)
    for line, name in enumerate(names):
        axis.text(1.03, line, methods[name].needs, va="center", fontsize=8, color="0.35")
    lowest = min(item.low for item in ranked if item.delay is not None)
    axis.set(xlim=(min(0.5, lowest - 0.02), 1.01), ylim=(len(names) - 0.4, -0.6), xlabel="solve rate, mean over tasks")
    axis.xaxis.set_major_formatter("{x:.1f}")
    axis.set_yticks(range(len(names)), names)
    canvas.legend(loc="upper center", ncols=len(delays), frameon=False, fontsize=8, handletextpad=0.1)
    canvas.tight_layout(rect=(0, 0, 1, 0.96))
    plotting.save(canvas, path)


def _ranking_table(ranked: Sequence[method_ranking.MethodAtDelay], methods: Mapping[str, Method]) -> tables.Table:
    lines = []
    for item in ranked:
        if item.delay is None:
            texts = [_difference(item, baseline) for baseline in method_ranking.BASELINES]
            lines.append([item.strategy, methods[item.strategy].needs, f"{item.solve_rate:.3f}", *texts])
    header = ("strategy", "needs", "mean", *(f"less {name} [95 %]" for name in method_ranking.BASELINES))
    return tables.Table(header, lines, lead=2)


def _difference(item: method_ranking.MethodAtDelay, baseline: str) -> str:
    comparison = item.comparisons.get(baseline)
    return "" if comparison is None else result_tables.difference_text(comparison)


def _rates_table(ranked: Sequence[method_ranking.MethodAtDelay]) -> tables.Table:
    delays = sorted({item.delay for item in ranked if item.delay is not None})
    texts = {}
    for item in ranked:
        theirs = f" / {item.published.solve_rate:.2f}" if item.published else ""
        texts[item.strategy, item.delay] = f"{item.solve_rate:.2f} [{item.low:.2f}, {item.high:.2f}]{theirs}"
    names = dict.fromkeys(item.strategy for item in ranked)
    lines = [[name, *(texts.get((name, delay), "") for delay in delays)] for name in names]
    return tables.Table(("strategy", *(f"d={delay}" for delay in delays)), lines)


def _cost_table(ranked: Sequence[method_ranking.MethodAtDelay], methods: Mapping[str, Method]) -> tables.Table:
    lines = []
    for item in ranked:
        if item.delay is None:
            method = methods[item.strategy]
            training = [f"{method.minutes:.1f}", f"{method.kilobytes:.0f}"] if method.kilobytes else ["", ""]
            costs = [f"{method.milliseconds:.2f}", f"{method.milliseconds_of_many:.3f}"]
            jumps = [f"{item.boundary_change:.3f}", f"{item.action_change:.3f}"]
            lines.append([item.strategy, str(method.network_evaluations), *costs, *training, *jumps])
    many = chunk_cost.BATCHES[1]
    costs = ("network evaluations", "ms a chunk", f"ms among {many}", "minutes of training", "kB")
    return tables.Table(("strategy", *costs, "action change at boundaries", "anywhere"), lines)


def _orders_table(orders: Sequence[method_ranking.PublishedOrder]) -> tables.Table:
    lines = [
        (
            order.strategy,
            order.baseline,
            str(order.delay),
            f"{order.published:+.3f}",
            result_tables.difference_text(order.comparison),
            order.verdict,
        )
        for order in orders
    ]
    return tables.Table(("method", "less", "d", "published", "here [95 %]", "the order"), lines, lead=2)


def _order_record(order: method_ranking.PublishedOrder) -> dict:
    comparison = order.comparison
    return {
        "method": order.strategy,
        "baseline": order.baseline,
        "delay": order.delay,
        "published": round(order.published, 4),
        "difference": round(comparison.difference, 6),
        "low": round(comparison.low, 6),
        "high": round(comparison.high, 6),
        "verdict": order.verdict,
    }


def _page(
    runs: run_folder.LoadedRuns,
    ranked: Sequence[method_ranking.MethodAtDelay],
    orders: Sequence[method_ranking.PublishedOrder],
    methods: Mapping[str, Method],
) -> list[str]:
    """Markdown lines."""
    lines = ["# All methods side by side", ""]
    lines += [
        "Mean solve rate over tasks and over the delays at which naive execution was run, s = max(d, 1); differences are"
    ]
    lines += ["between paired episodes, with 95 % intervals (bootstrap within tasks).", ""]
    lines += [*tables.markdown(_ranking_table(ranked, methods)), ""]
    lines += [*SMALLER_TRAININGS, ""]
    lines += ["What methods need:", "", *(f"- *{name}*: {text}" for name, text in base.NEEDS.items()), ""]
    lines += ["## Delay by delay", "", "Here [95 %] / published.", "", *tables.markdown(_rates_table(ranked)), ""]
    lines += ["![solve rate of every method at every delay](methods.png)", ""]
    lines += ["## Cost and smoothness", ""]
    lines += [
        "Network evaluations are the policy's, of one chunk. Milliseconds are of one device of the machine that made this"
    ]
    lines += [
        "table, of the chunk alone: what a head does at every step, and what a simulator looks ahead, comes on top."
    ]
    lines += [
        "Minutes of training leave out the experts' own, and, for the shipped weights of a2c2 and a2c2_alone, 20 to 60 s of",
        "roll-outs, which were not recorded.",
        "",
    ]
    lines += [*tables.markdown(_cost_table(ranked, methods)), ""]
    if orders:
        lines += ["## The published orders", "", *tables.markdown(_orders_table(orders)), ""]
    return [*lines, "Made by:", "", *(f"- {line}" for line in runs.sessions), ""]
