"""A new strategy against baselines: run what is missing, and say where it wins."""

import dataclasses
import pathlib

from rtc_bench import assemble, comparison, report, results, strategies, sweep, tables, tracking, verdicts
from rtc_bench import config as configs

SWEEP = tuple(field.name for field in dataclasses.fields(configs.SweepConfig))


def run(settings: configs.CompareConfig) -> list[pathlib.Path]:
    """Run folders of the new strategies. Raises what ``sweep.prepare`` does."""
    parts = {"baselines": settings.baselines, **{spec: (spec,) for spec in settings.strategies}}
    everyone = (*settings.baselines, *settings.strategies)
    assemble.built(_part(settings, everyone, settings.options))  # all typos are told before anything runs
    own = {label: _part(settings, specs, _own(settings.options, specs)) for label, specs in parts.items()}
    plans = {label: sweep.prepare(part) for label, part in own.items()}
    folders = {label: _folder(settings, plan) for label, plan in plans.items()}
    others = {folder for folder in pathlib.Path(settings.out).glob("*") if folder.is_dir()}
    ran = {label: sweep.fill(plan, folders[label], sorted(others - {folders[label]})) for label, plan in plans.items()}
    base, *new = plans
    for label in new:
        loaded = results.load([folders[base], folders[label]])
        (name,) = plans[label].built
        _tell(loaded, list(plans[base].built), name, folders[label])
        if ran[label] or not tracking.logged(folders[label]):
            sweep.log(settings, loaded, folders[label])
    return [folders[label] for label in new]


def _part(settings: configs.CompareConfig, specs: tuple[str, ...], options: dict) -> configs.SweepConfig:
    told = {name: getattr(settings, name) for name in SWEEP}
    return configs.SweepConfig(**{**told, "strategy": specs, "options": options, "out": None})


def _own(options: dict, specs: tuple[str, ...]) -> dict:
    return {name: options[name] for name in map(strategies.name_of, specs) if name in options}


def _folder(settings: configs.CompareConfig, plan: sweep.Plan) -> pathlib.Path:
    """Named by all that decides a number, so that a strategy whose file has changed is run again, and a baseline is not."""
    digest = sweep.digest([sweep.deciding(plan.settings), plan.identity])
    return pathlib.Path(settings.out) / f"{'-'.join(plan.built)}-{digest}"


def _tell(loaded: results.Loaded, baselines: list[str], strategy: str, folder: pathlib.Path) -> None:
    cells, kept = comparison.Cells(loaded), []
    for baseline in baselines:
        found, each = comparison.table(cells, baseline, [strategy]), comparison.by_task(cells, strategy, baseline)
        tables.show(f"{strategy} against {baseline}", verdicts.verdicts(found, each))
        print(comparison.sentence([one for one in found if one.delay is not None]) + "\n", flush=True)
        kept += [*found, *each]
    tables.write(comparison.rows(kept), folder / "comparisons.csv")
    report.write(loaded, folder)
    print(f"comparisons.csv (also task by task), README.md and curves.png are in {folder}")
