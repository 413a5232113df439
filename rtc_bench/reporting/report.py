"""What a run comes to: README.md and curves.png in the run folder; and a page, figures and tables of one run or several."""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

from rtc_bench import envs
from rtc_bench.analysis import paired_comparison, success_curves
from rtc_bench.common import devices, errors, files, tables
from rtc_bench.evaluation import chunk_cost, loading, run_folder
from rtc_bench.evaluation import settings as evaluation_settings
from rtc_bench.policies import checkpoint
from rtc_bench.reporting import figures, film, page, result_tables
from rtc_bench.reporting import settings as reporting_settings
from rtc_bench.strategies import base


def write_summary(runs: run_folder.LoadedRuns, folder: pathlib.Path) -> None:
    """curves.png and README.md into ``folder``."""
    figures.save(figures.delays(runs.rows), folder / "curves.png")
    parts = [result_tables.markdown_page(runs.rows, runs.origin)]
    if ranking := _ranking_of_all_pairs(runs, _default_baseline(runs)):
        parts += [f"## {page.ALL_PAIRS}", "", *tables.markdown(ranking), ""]
    files.write_whole(folder / "README.md", "\n".join(parts).encode())


def report(config: reporting_settings.ReportConfig) -> pathlib.Path:
    """Report one run folder, or several merged. Raises ConfigError if they hold no results or do not go together."""
    runs = run_folder.load(config.runs)
    outcomes, baseline = paired_comparison.PairedOutcomes(runs), config.baseline or _default_baseline(runs)
    comparisons = paired_comparison.against_baseline(outcomes, baseline)
    folder = pathlib.Path(config.out or pathlib.Path(config.runs[0]) / "report")
    drawn = {"curves": figures.delays(runs.rows), "horizons": figures.horizons(runs.rows)}
    drawn |= {"differences": figures.differences(comparisons, outcomes.strategies)}
    drawn |= {"smoothness": figures.boundary_changes(runs.rows)}
    for name, figure in drawn.items():
        if figure:
            figures.save(figure, folder / f"{name}.png", folder / f"{name}.pdf")
    if comparisons:
        tables.write(paired_comparison.records(comparisons), folder / "comparisons.csv")
    costs, episode = _replay(runs, baseline, folder)
    contents = page.Report(runs, outcomes, baseline, comparisons, _ranking_of_all_pairs(runs, baseline), costs, episode)
    page.write(folder / "index.html", contents)
    files.write_whole(folder / "results.md", _appendix(contents).encode())
    result_tables.show_solve_rates(runs.rows)
    print(f"index.html, results.md{', comparisons.csv' if comparisons else ''} and figures are in {folder}")
    return folder


def _default_baseline(runs: run_folder.LoadedRuns) -> str:
    names = success_curves.unique(runs.rows, "strategy")
    return "naive" if "naive" in names else names[0]


def _ranking_of_all_pairs(runs: run_folder.LoadedRuns, baseline: str) -> tables.Table | None:
    """None where no delay was run with more than one execution horizon."""
    outcomes = paired_comparison.PairedOutcomes(runs, all_pairs=True)
    if len(outcomes.pairs) == len(outcomes.delays):
        return None
    return result_tables.ranking(paired_comparison.against_baseline(outcomes, baseline), outcomes, baseline)


def _appendix(contents: page.Report) -> str:
    parts = [result_tables.markdown_page(contents.runs.rows, contents.runs.origin)]
    ranking = result_tables.ranking(contents.comparisons, contents.outcomes, contents.baseline)
    titled = {f"Against {contents.baseline}": ranking}
    titled["Delay by delay"] = result_tables.by_delay(contents.comparisons)
    if contents.ranking_of_all_pairs:
        titled[page.ALL_PAIRS] = contents.ranking_of_all_pairs
    if contents.costs:
        titled["Milliseconds a chunk"] = result_tables.chunk_costs(contents.costs)
    for title, table in titled.items():
        parts += [f"## {title}", "", *tables.markdown(table), ""]
    return "\n".join(parts)


def _replay(
    runs: run_folder.LoadedRuns, baseline: str, folder: pathlib.Path
) -> tuple[list[chunk_cost.ChunkCost], page.Film | str]:
    """What needs the run's policies: costs and a film; or why there is none."""
    try:
        episode, policy, strategies = film_episode(runs, folder / "episode.gif", folder / "episode.png")
    except (errors.ConfigError, checkpoint.CheckpointError, envs.tasks.UnknownTask) as error:
        return [], f"The run's policies or strategies are not here any more, so there is no film: {error}"
    return chunk_cost.measure(policy.policy, {baseline: strategies[baseline], **strategies}), episode


def film_episode(
    runs: run_folder.LoadedRuns, *paths: pathlib.Path
) -> tuple[page.Film, loading.TaskPolicy, dict[str, base.Strategy]]:
    """One episode under every strategy into the files (.gif: animation; .png, .pdf: strips), and what played it.

    Raises ConfigError, CheckpointError and UnknownTask if a policy or a strategy is not what was run any more.
    """
    devices.setup()
    outcomes, strategies = paired_comparison.PairedOutcomes(runs), _strategies_of(runs)
    if missing := [name for name in outcomes.strategies if name not in strategies]:
        raise errors.ConfigError(f"no settings say what strategy {missing[0]!r} is")
    strategies = {name: strategies[name] for name in outcomes.strategies}
    task, delay, horizon, number = paired_comparison.most_telling_episode(outcomes)
    loaded = _task_policy(runs, task)
    episode = {"seed": runs.rows[0].seed, "delay": delay, "horizon": horizon, "episode": number}
    films = film.side_by_side(loaded.env, loaded.policy, strategies, **episode)
    for path in paths:
        film.save(loaded.env, films, path, every=2)
    caption = f"{task}, d = {delay}, s = {horizon}, episode {number}"
    if len({title.rpartition(": ")[2] for title in films}) > 1:
        caption += ", chosen because strategies differ in it"
    return page.Film(paths[0], caption), loaded, strategies


def _strategies_of(runs: run_folder.LoadedRuns) -> dict[str, base.Strategy]:
    """By name. Raises ConfigError for one that is not what was run any more."""
    strategies: dict[str, base.Strategy] = {}
    for manifest in runs.manifests:
        own = loading.build_strategies(_sweep_config(manifest))
        for name, digest in loading.digests({}, own).items():
            if digest != manifest["identity"].get(name):
                raise errors.ConfigError(f"{name} is not what was run any more")
        strategies |= own
    return strategies


def _sweep_config(manifest: Mapping[str, Any]) -> evaluation_settings.SweepConfig:
    return evaluation_settings.SweepConfig.from_mapping(manifest["settings"])


def _task_policy(runs: run_folder.LoadedRuns, task: str) -> loading.TaskPolicy:
    """The task's environment and policy. Raises ConfigError if it is not the one that was run any more."""
    manifest = next(manifest for manifest in runs.manifests if f"policy {task}" in manifest["identity"])
    config = dataclasses.replace(_sweep_config(manifest), task=task)
    loaded = loading.task_policy(config, task, loading.checkpoint_files(config)[task])
    if loaded.digest != manifest["identity"][f"policy {task}"]:
        raise errors.ConfigError(f"policy={config.policy} now holds another policy for {task}")
    return loaded
