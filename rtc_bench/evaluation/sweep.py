"""A sweep: what it will play, checked before anything runs, and playing the cells that a run folder lacks."""

import concurrent.futures
import dataclasses
import functools
import hashlib
import itertools
import json
import pathlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from rtc_bench.common import devices, progress, schema, versions
from rtc_bench.evaluation import evaluator, plan, results, run_folder, settings, sweep_inputs
from rtc_bench.evaluation.latency import schedule
from rtc_bench.launching import cluster, units
from rtc_bench.policies import foreign
from rtc_bench.strategies import base, registry


def run_folder_path(config: settings.SweepConfig) -> pathlib.Path:
    """The run folder: ``out``, or one named after the settings, so that the same command finds its run again."""
    if config.out:
        return pathlib.Path(config.out)
    return pathlib.Path("results") / f"sweep-{short_digest(deciding_settings(config))}"


def deciding_settings(config: settings.SweepConfig) -> dict[str, Any]:
    """The settings that decide what an episode is like; more episodes go into the same folder."""
    free = (*run_folder.NOT_DECIDING, *run_folder.GROWING)
    values = {name: value for name, value in dataclasses.asdict(config).items() if name not in free}
    # what a run had before there were settings of delay, and when the batch was one number, so that its folder is found
    known = {name: value for name, value in values.items() if run_folder.CONSTANT_DELAY.get(name, ...) != value}
    return {**known, "batch": 512}


def short_digest(value: Any) -> str:
    """Eight hexadecimal digits of anything JSON-able, for a folder's name."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:8]


class PreparedSweep(NamedTuple):
    """A sweep that is ready to run."""

    config: settings.SweepConfig
    task_policies: dict[str, sweep_inputs.TaskPolicy]  # by task
    strategies: dict[str, base.Strategy]  # by name
    cells: list[results.Cell]
    identity: dict[str, str]  # digests, see ``sweep_inputs.digests``
    latency: schedule.Latency

    def delays(self, task: str, delay: int, **episodes: int) -> schedule.Delays | None:
        """What the requests of these episodes (``seed``, ``first``, ``episodes``) meet; None where that is always d."""
        if not self.latency.varies:
            return None
        return self.latency.draw(requests=self.task_policies[task].env.max_steps, delay=delay, **episodes)


def prepare(config: settings.SweepConfig) -> PreparedSweep:
    """Everything that can be refused is refused here: ConfigError, UnknownTask, UnknownStrategy and CheckpointError."""
    for spec in config.strategies:
        registry.check_spec(spec)
    cluster.prepare(config.launcher)
    strategies = sweep_inputs.build_strategies(config)
    sweep_inputs.check_weights_folder(config, strategies)
    latency = schedule.build(config.delay_model, config.delay_estimate, config.delay_options)
    sources = sweep_inputs.policy_sources(config)
    pairs = {  # typos are told before devices are looked for
        task: sweep_inputs.delay_horizon_pairs(config, sweep_inputs.chunk_length(source), strategies)
        for task, source in sources.items()
    }
    devices.setup()
    task_policies = {
        task: sweep_inputs.load_task_policy(config, task, source, strategies) for task, source in sources.items()
    }
    for task_policy in task_policies.values():
        sweep_inputs.check_strategies(strategies, task_policy.policy)
    omitted: dict[int, list[str]] = {}  # delay -> names
    for name, own in next(iter(pairs.values())).items():
        for d in sorted({*schema.whole_numbers("delay", config.delay)} - {d for d, _ in own}):
            omitted.setdefault(d, []).append(name)
    for d, names in omitted.items():
        print(f"d = {d} is not played by {', '.join(names)}: {settings.RULE}", flush=True)
    cells = [(task, name, d, s) for task in task_policies for name in strategies for d, s in pairs[task][name]]
    identity = {**sweep_inputs.digests(task_policies, strategies), **latency.digests()}
    return PreparedSweep(config, task_policies, strategies, cells, identity, latency)


class Played(NamedTuple):
    """A seed's episodes of a cell."""

    cell: results.Cell
    span: run_folder.Span
    outcomes: evaluator.Outcomes | str  # or why there are none
    seconds: float
    session: dict[str, str]  # what played them, see ``versions.collect``


def fill_run_folder(sweep: PreparedSweep, folder: pathlib.Path, lenders: Iterable[pathlib.Path] = ()) -> bool:
    """Play what is missing in a run folder, and cannot be taken from the ``lenders``; true if something was.

    Raises ConfigError for the folder of another run, and what a cluster raises.
    """
    run = run_folder.RunFolder(folder, dataclasses.asdict(sweep.config), sweep.identity)
    own_plan = _plan(sweep, run, lenders)
    print(own_plan.line(), flush=True)
    if own_plan.missing:
        _fill(sweep, run, own_plan)
    return bool(own_plan.missing)


def preview(sweep: PreparedSweep, folder: pathlib.Path, lenders: Iterable[pathlib.Path] = ()) -> plan.SweepPlan:
    """What ``fill_run_folder`` would play, and what that takes; nothing is written. Raises as it does."""
    run = run_folder.RunFolder(folder, dataclasses.asdict(sweep.config), sweep.identity, read_only=True)
    return _plan(sweep, run, lenders)


def _plan(sweep: PreparedSweep, run: run_folder.RunFolder, lenders: Iterable[pathlib.Path]) -> plan.SweepPlan:
    """In the order in which it is played."""
    run.borrow(sweep.cells, lenders)
    # Nothing can be played while the first task compiles: scenes of few bodies, which compile soon, come first.
    tasks = sorted(sweep.task_policies, key=functools.partial(_body_count, sweep))
    missing = sorted(run.missing(sweep.cells), key=lambda item: tasks.index(item[0][0]))
    estimate = plan.Estimate(sweep.config, sweep.task_policies, sweep.strategies, missing)
    return plan.SweepPlan(sweep.cells, missing, run.folder, estimate)


def _body_count(sweep: PreparedSweep, task: str) -> int:
    return len(sweep.task_policies[task].env.scene.moving)


def _fill(sweep: PreparedSweep, run: run_folder.RunFolder, own_plan: plan.SweepPlan) -> None:
    missing, estimate, is_ray = own_plan.missing, own_plan.estimate, sweep.config.launcher.is_ray
    failures, done, work = [], 0, 0.0
    expected = estimate.seconds if is_ray else estimate.work  # workers compile side by side, out of sight
    bar = progress.bar("sweep", len(missing), "cells", work=expected)
    # A cell is written while the next one is played.
    with concurrent.futures.ThreadPoolExecutor(1) as writer, bar as advance:
        written = writer.submit(lambda: None)

        def tell(note: str) -> None:
            advance(done, note=note, work=work)

        def wait(task: str) -> None:
            nonlocal work
            advance.wait(f"compiling {task}")
            work += estimate.compiling.get(task, 0.0)

        for played in _play_on_cluster(sweep, missing, tell) if is_ray else play(sweep, missing, tell, wait):
            task, name, delay, horizon = played.cell
            done += 1
            work += estimate.cell(played.cell, played.span) or 0.0
            if isinstance(played.outcomes, str):
                failures.append(f"{task} {name} d={delay} s={horizon}: {played.outcomes}")
                continue
            columns = {"task": task, "strategy": name, "delay": delay, "horizon": horizon}
            columns |= {"seed": str(played.span.seed), "policy": sweep.task_policies[task].label}
            run.record_session(played.session)
            row = results.summarise(played.outcomes, **columns, seconds=played.seconds)
            written.result()
            written = writer.submit(run.add, row, played.outcomes, played.span.first)
        written.result()
        advance(done, work=work)
    if failures:
        others = f" (and {len(failures) - 1} more cells)" if len(failures) > 1 else ""
        remedy = "its episodes are not counted; mend the strategy, its options or the policy"
        raise evaluator.NotFinite(f"{failures[0]}{others}; {remedy}")


def _silent(text: str) -> None:
    del text


def play(
    sweep: PreparedSweep,
    missing: Sequence[plan.Missing],
    tell: Callable[[str], None] = _silent,
    wait: Callable[[str], None] = _silent,
) -> Iterator[Played]:
    """Play these cells, here, task by task. ``tell`` hears which one is next, ``wait`` whose program is waited for."""
    session, names = versions.collect(), list(sweep.strategies)
    tasks = list(dict.fromkeys(cell[0] for cell, _ in missing))
    evaluators = _evaluators(sweep, tasks, max((span.count for _, span in missing), default=0))
    current_task, evaluate = "", None
    for cell, span in missing:
        task, name, delay, horizon = cell
        began = time.perf_counter()
        if current_task != task:
            wait(task)
            current_task, evaluate = next(evaluators)
        tell(f"{task} {name} d={delay} s={horizon}")
        episodes = {"seed": span.seed, "first": span.first, "episodes": span.count}
        delays = {"delays": sweep.delays(task, delay, **episodes), "underrun": sweep.config.underrun}
        pair = {"delay": delay, "horizon": horizon, "strategy_index": names.index(name)}
        call = functools.partial(evaluate, **pair, **episodes, **delays)
        outcomes: evaluator.Outcomes | str
        try:
            outcomes = foreign.calling(sweep.task_policies[task].policy, call)
        except evaluator.NotFinite as error:
            outcomes = str(error)
        yield Played(cell, span, outcomes, time.perf_counter() - began, session)


def _play_on_cluster(
    sweep: PreparedSweep, missing: Sequence[plan.Missing], tell: Callable[[str], None]
) -> Iterator[Played]:
    """The same by workers, a task each: its strategies share a program. ``tell`` hears how the work stands."""
    left = dict.fromkeys(missing)

    def unit(part: Sequence[plan.Missing]) -> units.Unit:
        (task, name, delay, horizon), _ = part[0]
        sent = sweep._replace(task_policies={task: sweep.task_policies[task]})
        first = f"{task}, {len(part)} cells from {name} d={delay} s={horizon} on"
        return units.Unit(first, lambda: (sent, [item for item in part if item in left]))

    launcher = sweep.config.launcher
    parts = _parts(sweep, missing, cluster.connect(launcher).workers)
    for _, played in units.run(play, list(map(unit, parts)), launcher, tell):
        del left[played.cell, played.span]
        yield played


LEAST_CELLS = 8  # of a part, since each part compiles the task's program


def _parts(sweep: PreparedSweep, missing: Sequence[plan.Missing], workers: int) -> list[list[plan.Missing]]:
    """What is missing of each task, in halves where workers would be idle; what takes longest comes first."""
    by_task: dict[str, list[plan.Missing]] = {}
    for cell, span in missing:
        by_task.setdefault(cell[0], []).append((cell, span))
    parts = list(by_task.values())
    while len(parts) < workers and len(longest := max(parts, key=len)) >= 2 * LEAST_CELLS:
        middle = len(longest) // 2
        parts.remove(longest)
        parts += [longest[:middle], longest[middle:]]
    return sorted(parts, key=lambda part: (-_body_count(sweep, part[0][0][0]), -len(part)))


def _evaluators(sweep: PreparedSweep, tasks: list[str], episodes: int) -> Iterator[tuple[str, evaluator.Evaluator]]:
    """Each task's evaluator; the next one compiles while one is used, because compiling leaves a core idle."""

    def compiled(task: str) -> evaluator.Evaluator:
        env, policy = sweep.task_policies[task].env, sweep.task_policies[task].policy
        evaluate = evaluator.Evaluator(env, policy, *sweep.strategies.values(), batch=sweep.config.episodes_at_once)
        delays = sweep.delays(task, 0, seed=0, first=0, episodes=1)
        own_strategies = list(sweep.strategies.values())
        sweep_inputs.calling(own_strategies, policy, lambda: evaluate.compile(episodes, delays))
        return evaluate

    pool = concurrent.futures.ThreadPoolExecutor(1)  # not waited for: whoever interrupts does not want to
    future = pool.submit(compiled, tasks[0])
    for task, next_task in itertools.zip_longest(tasks, tasks[1:]):
        evaluate = future.result()
        if next_task:
            future = pool.submit(compiled, next_task)
        yield task, evaluate
