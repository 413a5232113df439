"""What a sweep will take, and what it would do: the cells that are missing, by task and strategy, and their cost."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from rtc_bench.common import costs, tables
from rtc_bench.evaluation import results, run_folder, settings, sweep_inputs
from rtc_bench.policies import flow
from rtc_bench.strategies import base, contract

Missing = tuple[results.Cell, run_folder.Span]
# Of the shipped policies, with which costs were measured.
SHIPPED_SIZE = {"horizon": 8, "layers": 3, "channels": 64, "channel_hidden": 128, "token_hidden": 32}


class Estimate:
    """Expected seconds on this machine, cell by cell; None where nothing like it was measured."""

    def __init__(
        self,
        config: settings.SweepConfig,
        task_policies: Mapping[str, sweep_inputs.TaskPolicy],
        strategies: Mapping[str, base.Strategy],
        missing: Sequence[Missing],
    ):
        self.flow_steps, self.strategies = config.flow_steps, strategies
        self.measured_tasks = {
            task
            for task, task_policy in task_policies.items()
            if config.engine == settings.SweepConfig.engine and has_shipped_size(task_policy)
        }
        seconds = [self.cell(*item) for item in missing]
        tasks = list(dict.fromkeys(cell[0] for cell, _ in missing))
        self.at_least = any(self._chunk(cell[1])[1] for cell, _ in missing)
        self.seconds: float | None = None if None in seconds else sum(seconds)  # of playing
        self.compiling = {} if self.seconds is None else {task: costs.value("compile", task) or 0.0 for task in tasks}
        for task in tasks[1:] if self.compiling else ():  # while others are played
            self.compiling[task] /= costs.cores()

    @property
    def work(self) -> float | None:
        """Seconds of everything."""
        return None if self.seconds is None else self.seconds + sum(self.compiling.values())

    def cell(self, cell: results.Cell, span: run_folder.Span) -> float | None:
        """Of playing some episodes of a cell."""
        task, name, _, horizon = cell
        length, step = costs.value("length", task), costs.value("step", task)
        if task not in self.measured_tasks or length is None or step is None:
            return None
        return costs.scaled(span.count * length / 1000 * (step + self._chunk(name)[0] / horizon))

    def _chunk(self, name: str) -> tuple[float, bool]:
        """Seconds of 1,000 chunks, and whether they are naive's because nothing else is known."""
        measured = None if contract.is_foreign(self.strategies[name]) else costs.value("chunk", name)
        seconds = (costs.value("chunk", "naive") or 0.0) if measured is None else measured
        return seconds * self.flow_steps / settings.SweepConfig.flow_steps, measured is None


def has_shipped_size(task_policy: sweep_inputs.TaskPolicy) -> bool:
    """Whether its policy costs what the shipped ones do."""
    policy = task_policy.policy
    if not isinstance(policy, flow.FlowPolicy):
        return False
    return all(getattr(policy.config, name) == size for name, size in SHIPPED_SIZE.items())


class SweepPlan(NamedTuple):
    """A sweep's cells and those that its run folder lacks."""

    cells: Sequence[results.Cell]
    missing: Sequence[Missing]
    folder: object
    estimate: Estimate

    def line(self) -> str:
        """Counts, cost and folder."""
        return line([self])

    def show(self) -> None:
        """Print how many cells are missing, a line a task and a column a strategy, and the ``line``."""
        tables.show("cells that are missing", self._table())
        print(self.line(), flush=True)

    def _table(self) -> tables.Table:
        missing = {cell for cell, _ in self.missing}
        names = list(dict.fromkeys(name for _, name, *_ in self.cells))
        rows = []
        for task in dict.fromkeys(task for task, *_ in self.cells):
            counts = []
            for name in names:
                own = [cell for cell in self.cells if cell[:2] == (task, name)]
                counts.append(f"{len(missing & set(own))} of {len(own)}" if own else "")
            seconds = [self.estimate.cell(*item) for item in self.missing if item[0][0] == task]
            rows.append(
                (task, *counts, costs.seconds_text(None if None in seconds else sum(seconds)) if seconds else "")
            )
        return tables.Table(("task", *names, "seconds"), rows)


def line(plans: Iterable[SweepPlan], folder: object = None) -> str:
    """Counts and cost of one sweep, or of several together."""
    plans = list(plans)
    cells = sum(len(plan.cells) for plan in plans)
    missing = sum(len({cell for cell, _ in plan.missing}) for plan in plans)
    seconds = [plan.estimate.seconds for plan in plans]
    return costs.line(
        cells,
        missing,
        "cell",
        folder or plans[0].folder,
        None if None in seconds else sum(seconds),
        compiling=sum(sum(plan.estimate.compiling.values()) for plan in plans),
        at_least=any(plan.estimate.at_least for plan in plans),
    )
