"""What each part of the experts' recipe is worth: training with one part changed at a time, on tasks that need it.

Writes recipe.csv (variant, task, seed, steps, start_solve_rate, solve_rate) and recipe.png into --out; a finished
training is kept and not run again. In the picture crosses are evaluations without exploration; --steps is small, so that
differences show.
"""

import contextlib
import dataclasses
import pathlib
import re
from typing import Any, NamedTuple
from unittest import mock

import _bench

from rtc_bench.common import devices, tables
from rtc_bench.training import curriculum, expert_training, learning_curves, ppo, settings

DEFAULT_TASKS = ("catapult", "trampoline")


class Variant(NamedTuple):
    """A change of settings, or of a function."""

    settings: dict[str, Any]
    module: Any = None
    name: str = ""
    value: Any = None


def _to_where_it_touches(before, after, solved, *, gamma: float):
    del solved
    return before - gamma * after


VARIANTS = {
    "as shipped": Variant({}),
    "all episodes from the start": Variant({"along_way": 0.0}),
    "states along ways drawn evenly": Variant({}, curriculum, "FLOOR", 1.0),
    "no shaping": Variant({"shaping": 0.0}),
    "shaping up to the touch": Variant({}, ppo, "shaping", _to_where_it_touches),
    "little exploration": Variant({"explore": 0.2}),
    "a quarter of the updates": Variant({"minibatches": 8}),
}


def _changed(variant: Variant) -> contextlib.AbstractContextManager:
    return mock.patch.object(*variant[1:]) if variant.module else contextlib.nullcontext()


def main() -> None:
    """Train, print and write."""
    parser = _bench.task_parser(__doc__, DEFAULT_TASKS)
    parser.add_argument("--steps", type=int, default=3_000_000, help="control steps a seed; default 3,000,000")
    args = _bench.parse(parser)
    devices.setup()
    points: list[learning_curves.LogEntry] = []
    evaluations: list[learning_curves.LogEntry] = []
    for task in args.tasks:
        for title, variant in VARIANTS.items():
            folder = pathlib.Path("runs/recipe") / re.sub(r"\W+", "_", title)
            config = settings.TrainExpertConfig(task, steps=args.steps, seeds=2, keep_every=0, out=str(folder))
            with _changed(variant):
                expert_training.train(dataclasses.replace(config, **variant.settings))
            panel = f"{task}:\n{title}"
            points += [{"variant": title, **point} for point in learning_curves.read_logs(folder, task)]
            finals = learning_curves.read_evaluations(folder, task)
            evaluations += [{**header, "task": panel} for header in finals]
            rates = ", ".join(f"{header['solve_rate']:.3f}" for header in finals)
            print(f"{task}, {title}: {rates} without exploration", flush=True)
            tables.write(points, args.out / "recipe.csv")
            panels = [{**point, "task": f"{point['task']}:\n{point['variant']}"} for point in points]
            learning_curves.plot(panels, evaluations, args.out / "recipe.png")


if __name__ == "__main__":
    main()
