"""How well does a way of executing action chunks survive inference delay?

Rooms, in the order of their imports; each may import those above it, as far as its docstring says::

    common/       settings' checks, errors, devices, files, LeRobot's format, tables, statistics: what every room uses
    launching/    units of work -> their results, from a Ray cluster
    envs/         task -> observation, reward            (a link to ../envs)
    policies/     observation -> action chunk            (a link to ../policies)
    strategies/   request -> the chunk to execute
    realtime/     observations at a fixed rate, inferred chunks -> an action every control step; and over a wire
    evaluation/   settings -> episodes -> results.csv in a run folder
    training/     task -> experts -> data -> flow policy, which evaluation then plays
    method_training/  strategy, data or roll-outs -> what the strategy learns for a policy
    analysis/     results.csv and episodes -> curves, paired comparisons
    reporting/    curves, comparisons -> tables, figures, films, a page, wandb
    commands/     what a shell or a notebook starts: command line -> settings -> one call

``rtc_bench.evaluate`` and ``rtc_bench.compare`` are the door for notebooks. Importing the package itself imports none of it.
"""

import importlib
import os
import typing

if typing.TYPE_CHECKING:
    from rtc_bench.commands.notebook import compare, evaluate

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before JAX is loaded: no remarks of XLA on its own cache
__all__ = ["compare", "evaluate"]


def __getattr__(name: str) -> typing.Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module("rtc_bench.commands.notebook"), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
