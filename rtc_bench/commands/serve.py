"""A policy server: a task's policy under a strategy."""

import dataclasses
import json

from rtc_bench.common import devices, errors
from rtc_bench.evaluation import settings, sweep_inputs
from rtc_bench.realtime.serving import client, model, server
from rtc_bench.realtime.serving import settings as serving_settings
from rtc_bench.strategies import registry


def serve(config: serving_settings.ServeConfig) -> None:
    """Serve a task's policy under a strategy until ctrl-C. Raises what ``evaluation.sweep.prepare`` does."""
    if client.is_url(config.policy):
        raise errors.ConfigError(f"policy={config.policy} is a server already; give a policy")
    registry.check_spec(config.strategy)
    common = {name: getattr(config, name) for name in ("policy", "strategy", "weights", "interface", "flow_steps")}
    sweep_config = settings.SweepConfig(task=(config.task,), options=config.options, **common)
    ((name, strategy),) = sweep_inputs.build_strategies(sweep_config).items()
    ((task, source),) = sweep_inputs.policy_sources(sweep_config).items()
    devices.setup()
    task_policy = sweep_inputs.load_task_policy(sweep_config, task, source, {name: strategy})
    sweep_inputs.check_strategies({name: strategy}, task_policy.policy)
    model.check_servable(name, strategy, task_policy.policy)
    served = model.Model(task_policy.policy, strategy, task_policy.env.own, config.seed)
    print(f"{task}, {task_policy.label}, {name}: compiling ...", flush=True)
    sweep_inputs.calling([strategy], task_policy.policy, served.warm_up)
    metadata = {"task": task, **served.sizes, "batched": True, "strategy": name, "seed": config.seed}
    metadata |= {"options": json.loads(json.dumps(dataclasses.asdict(strategy), default=str))}
    metadata |= {"digests": sweep_inputs.digests({task: task_policy}, {name: strategy})}
    server.serve(served, metadata, host=config.host, port=config.port, ready=lambda url: _show_usage(config, url))
    print("stopped", flush=True)


def _show_usage(config: serving_settings.ServeConfig, url: str) -> None:
    host, _, port = url.removeprefix("ws://").rpartition(":")
    interface = f" interface={config.interface}" if config.interface != settings.SweepConfig.interface else ""
    print(
        f"{url}\n"
        f"  a sweep:  {errors.command('sweep')} task={config.task} policy={url}{interface} 'strategy=[naive,served]'\n"
        f"  a robot:  openpi_client.websocket_client_policy.WebsocketClientPolicy({host!r}, {port})"
        '.infer({"observation.state": state})["actions"]\n'
        "ctrl-C stops it",
        flush=True,
    )
