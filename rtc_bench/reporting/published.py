"""A run beside published solve rates: tables, the findings one by one, and both curves of every task in one picture."""

import pathlib
from collections.abc import Sequence

from rtc_bench.analysis import published
from rtc_bench.common import errors, files, plotting, tables
from rtc_bench.evaluation import results, run_folder
from rtc_bench.reporting import settings


def compare(config: settings.ComparePublishedConfig) -> None:
    """Write tables, findings and picture, and print the findings. Raises ConfigError for a wrong folder or table."""
    runs, out = run_folder.load([config.run]), pathlib.Path(config.out)
    rates_file = pathlib.Path(config.rates) if config.rates else published.FIGURES / "solve_rates.csv"
    rates = published.read(rates_file)
    cells = published.compare_cells(runs.rows, rates)
    if not cells:
        raise errors.ConfigError(
            f"{config.run} and {rates_file} have no cell in common; run s = max(d, 1), horizon=auto"
        )
    means = published.compare_means(cells)
    findings = published.findings(runs, rates, means)
    for name, items in (("cells", cells), ("means", means), ("findings", findings)):
        if items:
            tables.write(published.records(items), out / f"{name}.csv")
    _draw(cells, means, out / "curves.png", results.unique_values(runs.rows, "strategy"))
    name = config.rates or rates_file.name
    source = f"Published: `{name}`. Of policies other than the published ones compare shapes and orders."
    lines = ["# Beside the published solve rates", "", source, "", "Ours were made by:", ""]
    lines += [*(f"- {session}" for session in runs.sessions), "", "![ours and published](curves.png)", ""]
    lines += ["## Findings", "", *tables.markdown(_findings_table(findings)), ""]
    lines += ["## Means over tasks", "", "ours [95 %] / published", "", *tables.markdown(_rates_table(means)), ""]
    lines += ["## Rank correlation over tasks (Spearman), and mean distance", ""]
    lines += [*tables.markdown(_agreement_table(means)), "", "[Every cell](cells.csv)", ""]
    files.write_whole(out / "README.md", "\n".join(lines).encode())
    tables.show(f"findings, in {out}/README.md with tables and curves.png", _findings_table(findings))


def _findings_table(findings: Sequence[published.Finding]) -> tables.Table:
    """A line a finding."""

    def interval(finding: published.Finding) -> str:
        if finding.low == finding.high:
            return f"{finding.value:.3f}"
        return f"{finding.value:+.3f} [{finding.low:+.3f}, {finding.high:+.3f}]"

    def theirs(finding: published.Finding) -> str:
        return "" if finding.published != finding.published else f"{finding.published:+.3f}"

    lines = [(item.text, item.verdict, interval(item), theirs(item)) for item in findings]
    return tables.Table(("finding", "here", "difference [95 %]", "published"), lines)


def _rates_table(means: Sequence[published.MeanComparison]) -> tables.Table:
    return _by_delay(
        means, lambda mean: f"{mean.solve_rate:.2f} [{mean.low:.2f}, {mean.high:.2f}] / {mean.published:.2f}"
    )


def _agreement_table(means: Sequence[published.MeanComparison]) -> tables.Table:
    return _by_delay(means, lambda mean: f"{mean.rank_correlation:.2f}, {mean.apart:.2f}")


def _by_delay(means: Sequence[published.MeanComparison], text) -> tables.Table:
    delays = sorted({mean.delay for mean in means})
    texts = {(mean.strategy, mean.delay): text(mean) for mean in means}
    strategies = dict.fromkeys(mean.strategy for mean in means)
    lines = [(name, *(texts.get((name, delay), "") for delay in delays)) for name in strategies]
    return tables.Table(("strategy", *(f"d={delay}" for delay in delays)), lines)


def _draw(
    cells: Sequence[published.CellComparison],
    means: Sequence[published.MeanComparison],
    path: pathlib.Path,
    strategies: Sequence[str],
) -> None:
    """Ours solid with their intervals, published dashed; each of the run's ``strategies`` in its colour elsewhere."""
    from matplotlib.lines import Line2D

    tasks, compared = (list(dict.fromkeys(getattr(cell, name) for cell in cells)) for name in ("task", "strategy"))
    figure, axes = plotting.panels(["mean over tasks", *tasks], width=3.2, height=2.6, head=0.6, sharex=True)
    colours = {name: plotting.style(strategies.index(name))[0] for name in compared}
    for axis, task in zip(axes, [None, *tasks], strict=True):
        for name, colour in colours.items():
            if task is None:
                points = [(m.delay, m.solve_rate, m.low, m.high, m.published) for m in means if m.strategy == name]
            else:
                own = [cell for cell in cells if (cell.task, cell.strategy) == (task, name)]
                points = [(cell.delay, cell.solve_rate, cell.ci_low, cell.ci_high, cell.published) for cell in own]
            delay, ours, low, high, theirs = zip(*sorted(points), strict=True) if points else ((),) * 5
            axis.fill_between(delay, low, high, color=colour, alpha=0.15, linewidth=0)
            axis.plot(delay, ours, color=colour, marker="o", markersize=3.5)
            axis.plot(delay, theirs, color=colour, linestyle="--", linewidth=1.2)
    plotting.label_x(axes, "inference delay d (control steps)")
    handles = [Line2D([], [], color=colour, marker="o", markersize=3.5, label=name) for name, colour in colours.items()]
    handles += [
        Line2D([], [], color="0.3", linestyle=dash, label=label) for dash, label in (("-", "ours"), ("--", "published"))
    ]
    figure.legend(handles=handles, loc="upper center", ncols=len(handles), frameon=False)
    figure.tight_layout(rect=(0, 0, 1, 1 - 0.4 / figure.get_size_inches()[1]))
    plotting.save(figure, path)
