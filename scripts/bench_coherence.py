"""Whether a chunking method can matter for policies: their chunks' spread, and what asking anew costs naive execution.

Writes coherence.csv into --out: the measures of rtc_bench/evaluation/coherence.py, the naive solve rates at d = 1 and
s = 1 and 2, and the paired difference with its 95 % interval. Where it is below 0, asking anew costs. Of tasks whose data
lie in --data, columns data_* hold the same measures of the data; elsewhere they are empty. Rows of other tasks stay.
"""

import pathlib

import _bench
import jax
import numpy as np

from rtc_bench import envs
from rtc_bench.common import devices, files, progress, statistics, tables
from rtc_bench.envs import task_env
from rtc_bench.evaluation import coherence, evaluator, settings, sweep_inputs
from rtc_bench.policies import checkpoint
from rtc_bench.strategies import naive
from rtc_bench.training import expert_data


def measure(task: str, path: pathlib.Path, data: pathlib.Path, episodes: int) -> _bench.Measurement:
    """A row of the table."""
    env = envs.make(task)
    policy, _ = checkpoint.load_flow(path, **env.signature)
    measures = coherence.measure(env, policy, seed=0)
    evaluate = evaluator.Evaluator(env, policy, naive.Naive(), batch=episodes)
    solved = [evaluate(seed=0, episodes=episodes, delay=1, horizon=s).solved.astype(float) for s in (1, 2)]
    difference, low, high = statistics.mean_interval([solved[0] - solved[1]])
    row: _bench.Measurement = {"task": task, **_columns(measures)}
    row |= {f"naive_d1_s{s}": f"{np.mean(flags):.3f}" for s, flags in zip((1, 2), solved, strict=True)}
    row |= {"difference": f"{difference:+.3f}", "ci_low": f"{low:+.3f}", "ci_high": f"{high:+.3f}"}
    row |= {"episodes": episodes, "policy": files.sha256(path)[:12]}
    return row | {f"data_{name}": text for name, text in _data_columns(env, data).items()}


def _columns(measures: coherence.Coherence) -> dict[str, str]:
    return {name: f"{value:.3f}" for name, value in measures._asdict().items()}


def _data_columns(env: task_env.TaskEnv, folder: pathlib.Path) -> dict[str, str]:
    if not (folder / env.name / "manifest.json").exists():
        return dict.fromkeys(coherence.Coherence._fields, "")
    steps, _ = expert_data.load(folder, env.name)
    bounds = env.action_low, env.action_high
    return _columns(coherence.measure_data(steps.obs, steps.action, steps.episode, bounds))


def main() -> None:
    """Measure, print and write."""
    parser = _bench.output_parser(__doc__)
    parser.add_argument("tasks", nargs="*", metavar="task", help="default: every task that has a policy")
    parser.add_argument("--policy", default="zoo", help="zoo, a checkpoint, or a folder of them; default zoo")
    parser.add_argument("--data", type=pathlib.Path, default="data", help="what generate_data.py left; default data")
    parser.add_argument("--episodes", type=int, default=512, help="default 512")
    args = _bench.parse(parser)
    devices.setup()
    with _bench.refusals(parser):
        config = settings.SweepConfig(task=tuple(args.tasks) or "all", policy=args.policy)
        paths = sweep_inputs.checkpoint_files(config)
        for task in progress.each("bench_coherence", list(paths), "tasks"):
            row = measure(task, paths[task], args.data, args.episodes)
            tables.replace([row], args.out / "coherence.csv", column="task", order=envs.TASKS)
            _bench.show(row)
            jax.clear_caches()


if __name__ == "__main__":
    main()
