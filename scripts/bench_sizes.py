"""How large a policy must be, and how long trained on how much, to ask the question: one thing changed at a time.

Needs data that scripts/generate_data.py left in --data. Writes sizes.csv into --out: solve rates of naive and RTC execution, the
paired difference at d = s = 1 with its 95 % interval, milliseconds a chunk of RTC (among 256), and minutes of training.
"""

import time

import _bench
import jax

from rtc_bench import envs
from rtc_bench.common import devices, progress, statistics
from rtc_bench.evaluation import chunk_cost, evaluator
from rtc_bench.policies import flow
from rtc_bench.strategies import naive, rtc
from rtc_bench.training import expert_data, flow_training, settings

DEFAULT_TASKS = ("catapult",)
CELLS = ((0, 1), (1, 1), (1, 2), (4, 4))  # (d, s)


def size(layers: int, channels: int) -> dict[str, int]:
    """Settings of a network that is smaller or larger in all widths."""
    return {
        "layers": layers,
        "channels": channels,
        "channel_hidden": 2 * channels,
        "token_hidden": channels // 2,
    }


VARIANTS = (  # (settings, share of the data)
    (size(2, 32), 1.0),
    (size(2, 64), 1.0),
    (size(3, 48), 1.0),
    (size(3, 64), 1.0),
    (size(3, 64), 0.5),
    ({**size(3, 64), "epochs": 5}, 1.0),
    ({**size(3, 64), "epochs": 20}, 1.0),
)


def train(config: settings.TrainFlowConfig, steps: expert_data.ExpertSteps) -> flow.FlowPolicy:
    """A policy of these settings."""
    trainer = flow_training.FlowTrainer(config, steps)
    state = trainer.initial_state()
    for number in range(config.epochs):
        state, _ = trainer.epoch(state, number)
    return trainer.policy(state, None)


def measure(config: settings.TrainFlowConfig, steps: expert_data.ExpertSteps, episodes: int) -> _bench.Measurement:
    """A row of the table."""
    began = time.perf_counter()
    policy = train(config, steps)
    minutes = (time.perf_counter() - began) / 60
    strategies = {"naive": naive.Naive(), "rtc": rtc.Rtc()}
    evaluate = evaluator.Evaluator(envs.make(config.task), policy, *strategies.values())
    row: _bench.Measurement = {
        name: getattr(config, name) for name in ("task", "layers", "channels", "epochs", "batch")
    }
    row |= {"steps": len(steps.episode)}
    solved = {}
    for index, name in enumerate(strategies):
        for delay, horizon in CELLS:
            cell = {"delay": delay, "horizon": horizon, "strategy_index": index}
            solved[name, delay, horizon] = evaluate(seed=0, episodes=episodes, **cell).solved.astype(float)
            row[f"{name}_d{delay}_s{horizon}"] = f"{solved[name, delay, horizon].mean():.3f}"
    difference, low, high = statistics.mean_interval([solved["rtc", 1, 1] - solved["naive", 1, 1]])
    row |= {
        "difference": f"{difference:+.3f}",
        "ci_low": f"{low:+.3f}",
        "ci_high": f"{high:+.3f}",
        "episodes": episodes,
    }
    cost = chunk_cost.measure(policy, strategies)[-1]
    return {**row, "rtc_chunk_ms": f"{cost.milliseconds:.3f}", "minutes": f"{minutes:.1f}"}


def main() -> None:
    """Measure, print and write."""
    parser = _bench.task_parser(__doc__, DEFAULT_TASKS)
    parser.add_argument("--data", default="data", help="folder that generate_data.py filled; default data")
    parser.add_argument("--episodes", type=int, default=512, help="default 512")
    args = _bench.parse(parser)
    devices.setup()
    rows: list[_bench.Measurement] = []
    for task in args.tasks:
        with _bench.refusals(parser):
            steps, _ = expert_data.load(args.data, task)
        for changes, share in progress.each(f"bench_sizes, {task}", VARIANTS, "variants"):
            part = expert_data.ExpertSteps(*(column[: int(share * len(column))] for column in steps))
            config = settings.TrainFlowConfig(task, **changes, weak_epoch=1)
            rows.append(measure(config, part, args.episodes))
            _bench.record(args.out / "sizes.csv", rows)
            jax.clear_caches()


if __name__ == "__main__":
    main()
