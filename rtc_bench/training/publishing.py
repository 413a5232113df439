"""Publishing to the shipped zoo: trained policies into policies/zoo, and what each came from into results/zoo."""

import pathlib
from collections.abc import Mapping
from typing import Any

from rtc_bench import envs
from rtc_bench.common import errors, files, progress, statistics, tables
from rtc_bench.policies import checkpoint
from rtc_bench.training import learning_curves, settings

STAGES = ("experts", "data", "flow")  # whose time is told
MANIFEST_KEYS = ("parts", "steps", "episodes", "solve_rate", "experts", "experts_apart", "seconds")


def publish(config: settings.PublishZooConfig) -> None:
    """Copy finished policies and data manifests, and bring the tables and the picture up to date, task by task.

    Raises UnknownTask, CheckpointError and ConfigError where a stage of a task is not finished.
    """
    out, zoo = pathlib.Path(config.out), pathlib.Path(config.zoo)
    for task in progress.each("publish", envs.tasks.resolve(config.task), "tasks"):
        trained_file, shipped_file = (
            pathlib.Path(config.flow) / task / f"{task}.safetensors",
            zoo / f"{task}.safetensors",
        )
        manifest_file = pathlib.Path(config.data) / task / "manifest.json"
        if not manifest_file.exists():
            raise errors.ConfigError(
                f"{manifest_file}: no finished data set; make it with `{errors.policy_commands(task)}`"
            )
        manifest = files.read_manifest(manifest_file, *MANIFEST_KEYS)
        model_card = checkpoint.read_header(trained_file)
        if [part["sha256"] for part in manifest["parts"]] != model_card["recipe"]["data"]:
            raise errors.ConfigError(
                f"{trained_file}: trained on other data than {manifest_file.parent}; run `{errors.policy_commands(task)}`"
            )
        points = learning_curves.read_logs(config.experts, task)
        if not points:
            raise errors.ConfigError(
                f"{config.experts}: no experts of {task}; train them with `{errors.policy_commands(task)}`"
            )
        seconds = _stage_seconds(pathlib.Path(config.experts) / task, model_card, manifest)
        row = _row(model_card, manifest, seconds)
        before = (
            f" (before: {rate_with_interval(checkpoint.read_header(shipped_file))})" if shipped_file.exists() else ""
        )
        files.write_whole(out / "data" / f"{task}.json", manifest_file.read_bytes())
        tables.replace([row], out / "zoo.csv", column="task", order=envs.TASKS)
        tables.replace(points, out / "experts.csv", column="task", order=envs.TASKS)
        files.write_whole(shipped_file, trained_file.read_bytes())
        took = ", ".join(f"{stage} {value / 60:.1f}" for stage, value in seconds.items())
        print(
            f"{task}: solves {rate_with_interval(model_card)} naively without delay{before} -> {shipped_file}; "
            f"minutes: {took}",
            flush=True,
        )
    _write_overview(out)


def rate_with_interval(model_card: Mapping[str, Any]) -> str:
    """A model card's solve rate with its 95 % Wilson interval."""
    low, high = _interval(model_card)
    return f"{model_card['solve_rate']:.3f} [{low:.3f}, {high:.3f}]"


def _interval(model_card: Mapping[str, Any]) -> tuple[float, float]:
    return statistics.wilson_interval(round(model_card["solve_rate"] * model_card["episodes"]), model_card["episodes"])


def _stage_seconds(
    experts: pathlib.Path, model_card: Mapping[str, Any], manifest: Mapping[str, Any]
) -> dict[str, float]:
    """How long each stage took: search and training over all sessions, the recording of the data, the epochs."""
    training = sum(checkpoint.read_header(path)["seconds"] for path in experts.glob("seed*.safetensors"))
    flow = sum(epoch["seconds"] for epoch in model_card["log"])
    return dict(zip(STAGES, (training, manifest["seconds"], flow), strict=True))


def _row(model_card: Mapping[str, Any], manifest: Mapping[str, Any], seconds: Mapping[str, float]) -> dict[str, Any]:
    low, high = _interval(model_card)
    rates = [expert["solve_rate"] for expert in manifest["experts"]]
    return {
        "task": model_card["task"],
        "experts": len({expert["seed"] for expert in manifest["experts"]}),
        "checkpoints": len(rates),
        "lowest_rate": f"{min(rates):.3f}",
        "highest_rate": f"{max(rates):.3f}",
        "experts_apart": f"{manifest['experts_apart']:.3f}",
        "data_steps": manifest["steps"],
        "data_episodes": manifest["episodes"],
        "data_solve_rate": f"{manifest['solve_rate']:.3f}",
        "epochs": model_card["epochs"],
        "layers": model_card["config"]["layers"],
        "channels": model_card["config"]["channels"],
        "solve_rate": f"{model_card['solve_rate']:.4f}",
        "ci_low": f"{low:.4f}",
        "ci_high": f"{high:.4f}",
        "episodes": model_card["episodes"],
        **{f"{stage}_minutes": f"{value / 60:.1f}" for stage, value in seconds.items()},
        "commit": model_card["versions"]["commit"],
    }


def _write_overview(out: pathlib.Path) -> None:
    """The picture of the learning curves, and a readable table."""
    rows = tables.read(out / "zoo.csv")
    evaluations = [
        {"task": row["task"], **expert}
        for row in rows
        for expert in files.read_manifest(out / "data" / f"{row['task']}.json", "experts")["experts"]
    ]
    learning_curves.plot(tables.read(out / "experts.csv"), evaluations, out / "experts.png")
    lines = [
        "# The shipped policies and what they came from",
        "",
        "Made by `make zoo`. Rates with actuation noise; experts act as they did for the data, policies run naively without",
        "delay, with their 95 % intervals. `apart`: how far the mean actions of two experts lie apart in the same situation",
        "(mean absolute difference). Minutes are those of search and training, of recording, and of the policy's epochs.",
        "",
        "| task | experts, checkpoints | their solve rates | apart | data: steps, solve rate | flow policy | minutes | commit |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        policy = rate_with_interval({"solve_rate": float(row["solve_rate"]), "episodes": int(row["episodes"])})
        minutes = ", ".join(row[f"{stage}_minutes"] for stage in STAGES)
        texts = (row["task"], f"{row['experts']}, {row['checkpoints']}")
        texts += (f"{row['lowest_rate']} to {row['highest_rate']}", row["experts_apart"])
        texts += (f"{int(row['data_steps']):,}, {row['data_solve_rate']}", policy, minutes, row["commit"][:8])
        lines.append("| " + " | ".join(texts) + " |")
    hours = {stage: sum(float(row[f"{stage}_minutes"]) for row in rows) / 60 for stage in STAGES}
    spent = ", ".join(f"{stage} {value:.1f}" for stage, value in hours.items())
    lines += ["", f"Hours for these {len(rows)} tasks: {spent}; {sum(hours.values()):.1f} together."]
    lines += ["", "![experts' solve rate from the start over control steps](experts.png)", ""]
    files.write_whole(out / "README.md", "\n".join(lines).encode())
