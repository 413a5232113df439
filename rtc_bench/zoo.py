"""The shipped zoo: trained policies into policies/zoo, and what each came from into results/zoo."""

import pathlib
from collections.abc import Mapping
from typing import Any

import envs
from policies import checkpoint
from rtc_bench import config as configs
from rtc_bench import learning, manifests, statistics, tables

DATA = ("steps", "episodes", "solve_rate", "experts", "experts_apart")  # what is told of a data manifest


def publish(config: configs.ZooConfig) -> None:
    """Copy finished policies and data manifests, and bring the tables and the picture up to date, task by task.

    Raises UnknownTask, CheckpointError and ConfigError where a stage of a task is not finished.
    """
    out, zoo = pathlib.Path(config.out), pathlib.Path(config.zoo)
    for task in envs.tasks.named(config.task):
        made, shipped = pathlib.Path(config.flow) / task / f"{task}.safetensors", zoo / f"{task}.safetensors"
        manifest = pathlib.Path(config.data) / task / "manifest.json"
        if not manifest.exists():
            raise configs.ConfigError(f"{manifest}: no finished data set; make it with `make policy TASK={task}`")
        data = manifests.read(manifest, *DATA)
        card = checkpoint.header(made)
        if [part["sha256"] for part in data["parts"]] != card["recipe"]["data"]:
            raise configs.ConfigError(
                f"{made}: trained on other data than {manifest.parent}; run `make policy TASK={task}`"
            )
        row = _row(card, data)
        before = f" (before: {rate(checkpoint.header(shipped))})" if shipped.exists() else ""
        points = learning.read(config.experts, task)
        checkpoint.write_whole(shipped, made.read_bytes())
        checkpoint.write_whole(out / "data" / f"{task}.json", manifest.read_bytes())
        _merge(out / "zoo.csv", task, [row])
        _merge(out / "experts.csv", task, points)
        print(f"{task}: solves {rate(card)} naively without delay{before} -> {shipped}", flush=True)
    _tell(out)


def rate(card: Mapping[str, Any]) -> str:
    """A model card's solve rate with its 95 % Wilson interval."""
    low, high = _interval(card)
    return f"{card['solve_rate']:.3f} [{low:.3f}, {high:.3f}]"


def _interval(card: Mapping[str, Any]) -> tuple[float, float]:
    return statistics.wilson_interval(round(card["solve_rate"] * card["episodes"]), card["episodes"])


def _row(card: Mapping[str, Any], data: Mapping[str, Any]) -> dict[str, Any]:
    low, high = _interval(card)
    return {
        "task": card["task"],
        "experts": " ".join(f"{expert['solve_rate']:.3f}" for expert in data["experts"]),
        "expert_steps": " ".join(str(expert["steps"]) for expert in data["experts"]),
        "experts_apart": f"{data['experts_apart']:.3f}",
        "data_steps": data["steps"],
        "data_episodes": data["episodes"],
        "data_solve_rate": f"{data['solve_rate']:.3f}",
        "epochs": card["epochs"],
        "channels": card["config"]["channels"],
        "solve_rate": f"{card['solve_rate']:.4f}",
        "ci_low": f"{low:.4f}",
        "ci_high": f"{high:.4f}",
        "episodes": card["episodes"],
        "commit": card["versions"]["commit"],
    }


def _merge(path: pathlib.Path, task: str, rows: list[dict[str, Any]]) -> None:
    """Replace a task's rows in a table; the tasks stay in their order."""
    others = [row for row in tables.read(path) if row["task"] != task]
    tables.write(sorted([*others, *rows], key=lambda row: envs.TASKS.index(row["task"])), path)


def _tell(out: pathlib.Path) -> None:
    """The picture of the learning curves, and a readable table."""
    rows = tables.read(out / "zoo.csv")
    ends = [
        {"task": row["task"], **expert}
        for row in rows
        for expert in manifests.read(out / "data" / f"{row['task']}.json", "experts")["experts"]
    ]
    learning.picture(tables.read(out / "experts.csv"), ends, out / "experts.png")
    lines = [
        "# The shipped policies and what they came from",
        "",
        "Made by `make zoo`. Rates with actuation noise; policies run naively without delay, with their 95 % intervals.",
        "`apart`: how far two experts' actions lie apart in the same situation (mean absolute difference).",
        "",
        "| task | experts | million steps each | apart | data: steps, solve rate | flow policy | commit |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        steps = ", ".join(f"{int(count) / 1e6:.1f}" for count in row["expert_steps"].split())
        policy = rate({"solve_rate": float(row["solve_rate"]), "episodes": int(row["episodes"])})
        cells = (row["task"], row["experts"].replace(" ", ", "), steps, row["experts_apart"])
        cells += (f"{int(row['data_steps']):,}, {row['data_solve_rate']}", policy, row["commit"][:8])
        lines.append("| " + " | ".join(cells) + " |")
    lines += ["", "![experts' solve rate from the start over control steps](experts.png)", ""]
    checkpoint.write_whole(out / "README.md", "\n".join(lines).encode())
