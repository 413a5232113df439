"""What a run comes to: README.md and curves.png in the run folder; and a page, figures and tables of one run or several."""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

from rtc_bench import envs
from rtc_bench.analysis import paired_comparison
from rtc_bench.common import devices, errors, files, progress, tables
from rtc_bench.evaluation import chunk_cost, results, run_folder, sweep_inputs
from rtc_bench.evaluation import settings as evaluation_settings
from rtc_bench.evaluation.latency import schedule
from rtc_bench.policies import checkpoint, flow
from rtc_bench.reporting import delays, figures, film, page, result_tables
from rtc_bench.reporting import settings as reporting_settings
from rtc_bench.strategies import base, registry


def write_summary(runs: run_folder.LoadedRuns, folder: pathlib.Path) -> None:
    """curves.png and README.md into ``folder``."""
    figures.save(figures.rates_over_delay(runs.rows), folder / "curves.png")
    parts = [result_tables.markdown_page(runs.rows, runs.sessions)]
    if ranking := _ranking_of_all_pairs(runs, _default_baseline(runs)):
        parts += [f"## {page.ALL_PAIRS}", "", *tables.markdown(ranking), ""]
    files.write_whole(folder / "README.md", "\n".join(parts).encode())


def report(config: reporting_settings.ReportConfig) -> pathlib.Path:
    """Report one run folder, or several merged; the first ones' settings of delay, and the others beside them.

    Raises ConfigError if they hold no results or do not go together.
    """
    scenarios = run_folder.load_scenarios(config.runs)
    runs = scenarios[0]
    outcomes, baseline = paired_comparison.PairedOutcomes(runs), config.baseline or _default_baseline(runs)
    comparisons = paired_comparison.against_baseline(outcomes, baseline)
    folder = pathlib.Path(config.out or pathlib.Path(config.runs[0]) / "report")
    figures_by_name = {"curves": figures.rates_over_delay(runs.rows), "horizons": figures.rates_over_horizon(runs.rows)}
    figures_by_name |= {"differences": figures.differences_over_delay(comparisons, outcomes.strategies)}
    figures_by_name |= {"smoothness": figures.boundary_changes(runs.rows)}
    for name, figure in figures_by_name.items():
        if figure:
            figures.save(figure, folder / f"{name}.png", folder / f"{name}.pdf")
    if comparisons:
        tables.write(paired_comparison.records(comparisons), folder / "comparisons.csv")
    costs, captioned_film, needs = _costs_film_and_needs(runs, baseline, folder)
    ranking_of_all_pairs = _ranking_of_all_pairs(runs, baseline)
    contents = page.Report(runs, outcomes, baseline, comparisons, ranking_of_all_pairs, costs, captioned_film, needs)
    contents = contents._replace(delay_section=delays.section(scenarios, folder))
    page.write(folder / "index.html", contents)
    files.write_whole(folder / "results.md", _appendix(contents).encode())
    result_tables.show_solve_rates(runs.rows)
    print(f"index.html, results.md{', comparisons.csv' if comparisons else ''} and figures are in {folder}")
    return folder


def _default_baseline(runs: run_folder.LoadedRuns) -> str:
    names = results.unique_values(runs.rows, "strategy")
    return "naive" if "naive" in names else names[0]


def _ranking_of_all_pairs(runs: run_folder.LoadedRuns, baseline: str) -> tables.Table | None:
    """None where no delay was run with more than one execution horizon."""
    outcomes = paired_comparison.PairedOutcomes(runs, all_pairs=True)
    if len(outcomes.pairs) == len(outcomes.delays):
        return None
    return result_tables.ranking(paired_comparison.against_baseline(outcomes, baseline), outcomes, baseline)


def _appendix(contents: page.Report) -> str:
    parts = [result_tables.markdown_page(contents.runs.rows, contents.runs.sessions)]
    ranking = result_tables.ranking(contents.comparisons, contents.outcomes, contents.baseline)
    titled = {f"Against {contents.baseline}": ranking}
    titled["Delay by delay"] = result_tables.comparisons_by_delay(contents.comparisons)
    if contents.ranking_of_all_pairs:
        titled[page.ALL_PAIRS] = contents.ranking_of_all_pairs
    if contents.costs:
        titled["Milliseconds a chunk"] = result_tables.chunk_costs(contents.costs)
    if contents.delay_section:
        titled["Delay as it is"] = contents.delay_section.table
    for title, table in titled.items():
        parts += [f"## {title}", "", *tables.markdown(table), ""]
    return "\n".join(parts)


def _costs_film_and_needs(
    runs: run_folder.LoadedRuns, baseline: str, folder: pathlib.Path
) -> tuple[list[chunk_cost.ChunkCost], page.CaptionedFilm | str, dict[str, tuple[str, ...]]]:
    """What the run's policies and strategies tell: costs, a film, and what each strategy needs; or why there is no film."""
    try:
        captioned_film, task_policy, strategies = film_episode(runs, folder / "episode.gif", folder / "episode.png")
    except (errors.ConfigError, checkpoint.CheckpointError, envs.tasks.UnknownTask) as error:
        return [], f"The run's policies or strategies are not here any more, so there is no film: {error}", {}
    measured = that_can_act({baseline: strategies[baseline], **strategies}, task_policy.policy)
    costs = chunk_cost.measure(task_policy.policy, measured) if baseline in measured else []
    return costs, captioned_film, {name: strategy.needs for name, strategy in strategies.items()}


def film_episode(
    runs: run_folder.LoadedRuns, *paths: pathlib.Path
) -> tuple[page.CaptionedFilm, sweep_inputs.TaskPolicy, dict[str, base.Strategy]]:
    """One episode under every strategy into the files (.gif: animation; .png, .pdf: strips), and what played it.

    Raises ConfigError, CheckpointError and UnknownTask if a policy or a strategy is not what was run any more.
    """
    devices.setup()
    outcomes, strategies = paired_comparison.PairedOutcomes(runs), strategies_of(runs)
    task, delay, horizon, seed, number = paired_comparison.most_telling_episode(outcomes)
    played = {name: s for name, s in strategies.items() if outcomes.episodes_by_task(name, (delay, horizon)).get(task)}
    task_policy = load_task_policy(runs, task, strategies)
    episode: dict[str, Any] = {"seed": seed, "delay": delay, "horizon": horizon, "episode": number}
    config = _sweep_config(runs.manifests[0])
    latency = schedule.build(config.delay_model, config.delay_estimate, config.delay_options)
    if latency.varies:
        own = {"seed": seed, "first": number, "episodes": 1, "requests": task_policy.env.max_steps}
        episode |= {"delays": latency.draw(**own, delay=delay), "underrun": config.underrun}
    films = film.side_by_side(task_policy.env, task_policy.policy, played, **episode)
    for path in progress.each("drawing", paths, "files"):
        film.save(task_policy.env, films, path, every=2 if len(films) <= figures.CROWD else 4)  # drawing takes its time
    caption = f"{task}, d = {delay}, s = {horizon}, episode {number}"
    if len({title.rpartition(": ")[2] for title in films}) > 1:
        caption += ", chosen because strategies differ in it"
    if absent := [name for name in strategies if name not in played]:
        caption += f"; not played at this d and s: {', '.join(absent)}"
    return page.CaptionedFilm(paths[0], caption), task_policy, strategies


def strategies_of(runs: run_folder.LoadedRuns) -> dict[str, base.Strategy]:
    """Those that were run, by name. Raises ConfigError for one that is not what was run any more."""
    strategies: dict[str, base.Strategy] = {}
    for manifest in runs.manifests:
        run_strategies = sweep_inputs.build_strategies(_sweep_config(manifest))
        for name, digest in sweep_inputs.digests({}, run_strategies).items():
            if digest != manifest["identity"].get(name):
                raise errors.ConfigError(f"{name} is not what was run any more")
        strategies |= run_strategies
    names = results.unique_values(runs.rows, "strategy")
    if missing := [name for name in names if name not in strategies]:
        raise errors.ConfigError(f"no settings say what strategy {missing[0]!r} is")
    return {name: strategies[name] for name in names}


def _sweep_config(manifest: Mapping[str, Any]) -> evaluation_settings.SweepConfig:
    return evaluation_settings.SweepConfig.from_mapping(manifest["settings"])


def load_task_policy(
    runs: run_folder.LoadedRuns, task: str, strategies: Mapping[str, base.Strategy]
) -> sweep_inputs.TaskPolicy:
    """The task's environment and policy, with what those strategies learned that were run in it, each as its run's settings say.

    Raises ConfigError if it is not what was run any more, and CheckpointError.
    """
    learners = {row.strategy for row in runs.rows if row.task == task and strategies[row.strategy].training}
    loaded: list[sweep_inputs.TaskPolicy] = []
    for manifest in runs.manifests:
        config = dataclasses.replace(_sweep_config(manifest), task=task)
        own = learners & {registry.name_of(spec) for spec in config.strategies}
        if f"policy {task}" not in manifest["identity"] or (loaded and not own):
            continue
        learners -= own
        source, own_strategies = sweep_inputs.policy_sources(config)[task], {name: strategies[name] for name in own}
        loaded.append(sweep_inputs.load_task_policy(config, task, source, own_strategies))
        for name, digest in sweep_inputs.digests({task: loaded[-1]}, {}).items():
            if digest != manifest["identity"].get(name):
                raise errors.ConfigError(f"{name} is not what was run any more")
    weights = {name: own for item in loaded for name, own in item.policy.weights.items()}
    weights_files = {name: file for item in loaded for name, file in item.weights.items()}
    policy = dataclasses.replace(loaded[0].policy, weights=weights)
    return dataclasses.replace(loaded[0], policy=policy, weights=weights_files)


def that_can_act(strategies: Mapping[str, base.Strategy], policy: flow.FlowPolicy) -> dict[str, base.Strategy]:
    """Those that learn nothing, or whose weights the policy holds."""
    return {name: s for name, s in strategies.items() if s.training is None or s.training.name in policy.weights}
