"""Solve rates, comparisons and costs as tables of text and as sentences, for a page, an appendix and a terminal."""

from collections.abc import Sequence

from rtc_bench.analysis import paired_comparison, success_curves
from rtc_bench.common import tables
from rtc_bench.evaluation import chunk_cost, results


def solve_rates(rows: Sequence[results.Row]) -> tables.Table:
    """One line per task and strategy, one column per delay; then the means over tasks."""
    rows = success_curves.rows_over_delay(rows)
    delays, tasks = sorted(results.unique_values(rows, "delay")), results.unique_values(rows, "task")
    strategies = results.unique_values(rows, "strategy")
    rates = {
        (row.task, row.strategy, row.delay): _with_interval(row.solve_rate, row.ci_low, row.ci_high) for row in rows
    }
    if len(tasks) > 1:
        for name in strategies:
            rates |= {
                (paired_comparison.MEAN_OVER_TASKS, name, delay): _with_interval(*rate)
                for delay, *rate in success_curves.mean_curve(rows, name)
            }
        tasks = [*tasks, paired_comparison.MEAN_OVER_TASKS]
    lines = [
        [task, name, *(rates.get((task, name, delay), "") for delay in delays)] for task in tasks for name in strategies
    ]
    return tables.Table(["task", "strategy", *(f"d={delay}" for delay in delays)], lines, lead=2)


def _with_interval(rate: float, low: float, high: float) -> str:
    return f"{rate:.2f} [{low:.2f}, {high:.2f}]"


def markdown_page(rows: Sequence[results.Row], sessions: Sequence[str] = ()) -> str:
    """The curves and the solve rates as a Markdown page; ``sessions`` are lines on what made it."""
    episodes, seeds = (", ".join(map(str, results.unique_values(rows, name))) for name in ("episodes", "seed"))
    caption = (
        f"Solve rate with its 95 % interval, {episodes} episodes a cell, s = max(d, 1) where it was run, seed {seeds}."
    )
    made_by = ["Made by:", "", *(f"- {line}" for line in sessions), ""] if sessions else []
    head = ["# Solve rate over inference delay", "", caption, "", *made_by, "![curves](curves.png)", ""]
    return "\n".join([*head, *tables.markdown(solve_rates(rows)), ""])


def show_solve_rates(rows: Sequence[results.Row]) -> None:
    """Print the solve rates as a table; the best rate of each task and delay is bold."""
    table = solve_rates(rows)
    best: dict[tuple[str, int], str] = {}
    positions = [(line, column) for line in range(len(table.lines)) for column in range(table.lead, len(table.header))]

    def rate(line: int, column: int) -> str:
        return table.lines[line][column].partition(" ")[0]

    for line, column in positions:
        task = table.lines[line][0]
        best[task, column] = max(best.get((task, column), ""), rate(line, column))
    bold = {(line, column) for line, column in positions if rate(line, column) == best[table.lines[line][0], column]}
    tables.show("solve rate [95 % interval]", table, bold)


def difference_text(comparison: paired_comparison.Comparison) -> str:
    """A difference with its interval as text, in thousandths of a solve rate with its sign."""
    return f"{comparison.difference:+.3f} [{comparison.low:+.3f}, {comparison.high:+.3f}]"


def verdict_sentence(comparisons: Sequence[paired_comparison.Comparison]) -> str:
    """What a strategy's comparisons to one baseline, each at a single delay, come to in words."""
    name, baseline, parts = comparisons[0].strategy, comparisons[0].baseline, []
    for verdict, verb in (("ahead", "is ahead of"), ("behind", "is behind"), ("undecided", "is not told apart from")):
        alike = [comparison for comparison in comparisons if comparison.verdict == verdict]
        if alike:
            delays = ", ".join(f"d = {comparison.delay} ({comparison.difference:+.3f})" for comparison in alike)
            parts.append(f"{verb} {baseline} at {delays}")
    return f"{name} {'; '.join(parts)}."


def ranking(
    comparisons: Sequence[paired_comparison.Comparison], outcomes: paired_comparison.PairedOutcomes, baseline: str
) -> tables.Table:
    """Strategies by their mean solve rate over tasks and (d, s) pairs, each against the baseline."""
    overall = {
        comparison.strategy: comparison
        for comparison in comparisons
        if comparison.delay is None or len({delay for delay, _ in outcomes.pairs_of(baseline)}) == 1
    }
    pairs = outcomes.pairs_of(baseline)
    means = {name: outcomes.mean_rate(name, pairs) for name in outcomes.strategies}
    lines = []
    for name in sorted(means, key=lambda name: -(means[name] or 0.0)):
        line = [name, "", "", "", "not run everywhere"]
        if (mean := means[name]) is not None:
            line[1:] = [f"{mean:.3f}", "", "", "baseline" if name == baseline else "other cells than the baseline"]
            if comparison := overall.get(name):
                line[2:] = [difference_text(comparison), f"{comparison.improvement:.2f}", comparison.verdict]
        lines.append(line)
    return tables.Table(("strategy", "solve rate", f"less {baseline} [95 %]", "P(improvement)", "verdict"), lines)


def comparisons_by_delay(comparisons: Sequence[paired_comparison.Comparison]) -> tables.Table:
    """Every comparison at a single delay."""
    lines = [
        [
            comparison.strategy,
            str(comparison.delay),
            f"{comparison.rate:.3f}",
            difference_text(comparison),
            comparison.verdict,
            settling_text(comparison),
        ]
        for comparison in comparisons
        if comparison.delay is not None
    ]
    return tables.Table(("strategy", "d", "solve rate", "difference [95 %]", "verdict", "episodes to settle"), lines)


def settling_text(comparison: paired_comparison.Comparison) -> str:
    """Episodes a task that an undecided comparison would take."""
    if comparison.verdict != "undecided":
        return ""
    return "cannot be told" if comparison.settled_by is None else f"{comparison.settled_by:,}"


def chunk_costs(costs: Sequence[chunk_cost.ChunkCost]) -> tables.Table:
    """Milliseconds a chunk, and relative to the first strategy."""
    names = list(dict.fromkeys(cost.strategy for cost in costs))
    texts = {(cost.strategy, cost.batch): (f"{cost.milliseconds:.3g}", f"{cost.ratio:.2f} x") for cost in costs}
    lines = [[name, *(text for batch in chunk_cost.BATCHES for text in texts[name, batch])] for name in names]
    header = [text for batch in chunk_cost.BATCHES for text in (f"ms a chunk, {batch} at once", f"over {names[0]}")]
    return tables.Table(("strategy", *header), lines)


def verdicts(
    comparisons: Sequence[paired_comparison.Comparison], by_task: Sequence[paired_comparison.Comparison]
) -> tables.Table:
    """One strategy against one baseline: the mean over tasks at each delay, and how many tasks say what."""
    lines = []
    for mean in comparisons:
        single = [comparison.verdict for comparison in by_task if comparison.delay == mean.delay]
        counts = f"{single.count('ahead')} / {single.count('behind')} of {mean.tasks}" if mean.delay is not None else ""
        delay = "all" if mean.delay is None else str(mean.delay)
        rates = [f"{mean.rate:.3f}", f"{mean.rate - mean.difference:.3f}", difference_text(mean), mean.verdict]
        lines.append([delay, *rates, counts, settling_text(mean)])
    names = (comparisons[0].strategy, comparisons[0].baseline)
    columns = ("difference [95 %]", "verdict", "tasks ahead / behind", "episodes to settle")
    return tables.Table(("d", *names, *columns), lines)
