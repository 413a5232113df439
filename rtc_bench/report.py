"""What a run comes to: README.md and curves.png in the run folder; and a page, figures and tables of one run or several."""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

import envs
from policies import checkpoint
from rtc_bench import assemble, comparison, cost, figures, film, page, parallel, results, summary, tables, verdicts
from rtc_bench import config as configs


def write(loaded: results.Loaded, folder: pathlib.Path) -> None:
    """curves.png and README.md into ``folder``."""
    figures.save(figures.delays(loaded.rows), folder / "curves.png")
    lines = [summary.markdown(loaded.rows, loaded.origin)]
    if every := _every(loaded, _baseline(loaded)):
        lines += [f"## {page.EVERY}", "", *tables.markdown(every), ""]
    checkpoint.write_whole(folder / "README.md", "\n".join(lines).encode())


def run(config: configs.ReportConfig) -> pathlib.Path:
    """Report one run folder, or several merged. Raises ConfigError if they hold no results or do not go together."""
    loaded = results.load(config.runs)
    cells, baseline = comparison.Cells(loaded), config.baseline or _baseline(loaded)
    found = comparison.table(cells, baseline)
    folder = pathlib.Path(config.out or pathlib.Path(config.runs[0]) / "report")
    wanted = {"curves": figures.delays(loaded.rows), "horizons": figures.horizons(loaded.rows)}
    wanted |= {"differences": figures.differences(found, cells.strategies), "smoothness": figures.jumps(loaded.rows)}
    for name, figure in wanted.items():
        if figure:
            figures.save(figure, folder / f"{name}.png", folder / f"{name}.pdf")
    if found:
        tables.write(comparison.rows(found), folder / "comparisons.csv")
    replayed = _replayed(loaded, baseline, folder)
    told = page.Report(loaded, cells, baseline, found, _every(loaded, baseline), *replayed)
    page.write(folder / "index.html", told)
    checkpoint.write_whole(folder / "results.md", _appendix(told).encode())
    summary.show(loaded.rows)
    print(f"index.html, results.md{', comparisons.csv' if found else ''} and figures are in {folder}")
    return folder


def _baseline(loaded: results.Loaded) -> str:
    names = summary.unique(loaded.rows, "strategy")
    return "naive" if "naive" in names else names[0]


def _every(loaded: results.Loaded, baseline: str) -> tables.Table | None:
    cells = comparison.Cells(loaded, every=True)
    if len(cells.places) == len(cells.delays):
        return None
    return verdicts.ranking(comparison.table(cells, baseline), cells, baseline)


def _appendix(told: page.Report) -> str:
    lines = [summary.markdown(told.loaded.rows, told.loaded.origin)]
    parts = {f"Against {told.baseline}": verdicts.ranking(told.found, told.cells, told.baseline)}
    parts["Delay by delay"] = verdicts.by_delay(told.found)
    if told.every:
        parts[page.EVERY] = told.every
    if told.spent:
        parts["Milliseconds a chunk"] = verdicts.costs(told.spent)
    for title, table in parts.items():
        lines += [f"## {title}", "", *tables.markdown(table), ""]
    return "\n".join(lines)


def _replayed(loaded: results.Loaded, baseline: str, folder: pathlib.Path) -> tuple[list[cost.Cost], page.Film | str]:
    """What needs the run's policies: costs and a film; or why there is none."""
    try:
        shown, entry, built = filmed(loaded, folder / "episode.gif", folder / "episode.png")
    except (configs.ConfigError, checkpoint.CheckpointError, envs.tasks.UnknownTask) as error:
        return [], f"The run's policies or strategies are not here any more, so there is no film: {error}"
    return cost.measure(entry.policy, {baseline: built[baseline], **built}), shown


def filmed(loaded: results.Loaded, *paths: pathlib.Path) -> tuple[page.Film, assemble.Entry, dict[str, Any]]:
    """One episode under every strategy into the files (.gif: animation; .png, .pdf: strips), and what played it.

    Raises ConfigError, CheckpointError and UnknownTask if a policy or a strategy is not what was run any more.
    """
    parallel.setup()
    cells = comparison.Cells(loaded)
    built: dict[str, Any] = {}
    for run in loaded.runs:
        here = assemble.built(_settings(run))
        for name, digest in assemble.identity({}, here).items():
            if digest != run["identity"].get(name):
                raise configs.ConfigError(f"{name} is not what was run any more")
        built |= here
    if missing := [name for name in cells.strategies if name not in built]:
        raise configs.ConfigError(f"no settings say what strategy {missing[0]!r} is")
    built = {name: built[name] for name in cells.strategies}
    task, delay, horizon, episode = comparison.telling(cells)
    entry, cell = _entry(loaded, task), {"delay": delay, "horizon": horizon, "episode": episode}
    films = film.beside(entry.env, entry.policy, built, seed=loaded.rows[0].seed, **cell)
    for path in paths:
        film.save(entry.env, films, path, every=2)
    caption = f"{task}, d = {delay}, s = {horizon}, episode {episode}"
    if len({title.rpartition(": ")[2] for title in films}) > 1:
        caption += ", chosen because strategies differ in it"
    return page.Film(paths[0], caption), entry, built


def _settings(run: Mapping[str, Any]) -> configs.SweepConfig:
    return configs.SweepConfig.from_mapping(run["settings"])


def _entry(loaded: results.Loaded, task: str) -> assemble.Entry:
    """The task's environment and policy. Raises ConfigError if it is not the one that was run any more."""
    run = next(run for run in loaded.runs if f"policy {task}" in run["identity"])
    settings = dataclasses.replace(_settings(run), task=task)
    entry = assemble.entry(settings, task, assemble.checkpoints(settings)[task])
    if entry.digest != run["identity"][f"policy {task}"]:
        raise configs.ConfigError(f"policy={settings.policy} now holds another policy for {task}")
    return entry
