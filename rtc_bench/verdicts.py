"""Comparisons and costs as tables of text, for a page, an appendix and a terminal."""

from collections.abc import Sequence

from rtc_bench import comparison, cost, tables


def ranking(found: Sequence[comparison.Comparison], cells: comparison.Cells, baseline: str) -> tables.Table:
    """Strategies by their mean solve rate over tasks and places, each against the baseline."""
    overall = [one for one in found if one.delay is None or len(cells.delays) == 1]
    against = {one.strategy: one for one in overall}
    means = {name: _overall(cells, name) for name in cells.strategies}
    lines = []
    for name in sorted(means, key=lambda name: -(means[name] or 0.0)):
        line = [name, "", "", "", "not run everywhere"]
        if (mean := means[name]) is not None:
            line[1:] = [f"{mean:.3f}", "", "", "baseline" if name == baseline else "other cells than the baseline"]
            if one := against.get(name):
                line[2:] = [comparison.interval(one), f"{one.improvement:.2f}", one.verdict]
        lines.append(line)
    return tables.Table(("strategy", "solve rate", f"less {baseline} [95 %]", "P(improvement)", "verdict"), lines)


def _overall(cells: comparison.Cells, name: str) -> float | None:
    """Mean over tasks and places; None where some cell is missing."""
    found = [episodes["solved"].mean() for place in cells.places for episodes in cells.of(name, place).values()]
    return float(sum(found)) / len(found) if len(found) == len(cells.tasks) * cells.count else None


def by_delay(found: Sequence[comparison.Comparison]) -> tables.Table:
    """Every comparison at a single delay."""
    lines = [
        [one.strategy, str(one.delay), f"{one.rate:.3f}", comparison.interval(one), one.verdict, needed(one)]
        for one in found
        if one.delay is not None
    ]
    return tables.Table(("strategy", "d", "solve rate", "difference [95 %]", "verdict", "episodes to settle"), lines)


def needed(one: comparison.Comparison) -> str:
    """Episodes a task that an undecided comparison would take."""
    if one.verdict != "undecided":
        return ""
    return "cannot be told" if one.settled_by is None else f"{one.settled_by:,}"


def costs(found: Sequence[cost.Cost]) -> tables.Table:
    """Milliseconds a chunk, and relative to the first strategy."""
    names = list(dict.fromkeys(one.strategy for one in found))
    by = {(one.strategy, one.batch): one for one in found}
    lines = [[name, *(text for batch in cost.BATCHES for text in _cost(by[name, batch]))] for name in names]
    heads = [text for batch in cost.BATCHES for text in (f"ms a chunk, {batch} at once", f"over {names[0]}")]
    return tables.Table(("strategy", *heads), lines)


def _cost(one: cost.Cost) -> tuple[str, str]:
    return f"{one.milliseconds:.3g}", f"{one.ratio:.2f} x"


def verdicts(found: Sequence[comparison.Comparison], each: Sequence[comparison.Comparison]) -> tables.Table:
    """One strategy against one baseline: the mean over tasks at each delay, and how many tasks say what."""
    lines = []
    for one in found:
        here = [single.verdict for single in each if single.delay == one.delay]
        counts = f"{here.count('ahead')} / {here.count('behind')} of {one.tasks}" if one.delay is not None else ""
        where = "all" if one.delay is None else str(one.delay)
        rates = [f"{one.rate:.3f}", f"{one.rate - one.difference:.3f}", comparison.interval(one), one.verdict]
        lines.append([where, *rates, counts, needed(one)])
    heads = (
        "d",
        found[0].strategy,
        found[0].baseline,
        "difference [95 %]",
        "verdict",
        "tasks ahead / behind",
        "episodes to settle",
    )
    return tables.Table(heads, lines)
