"""Settings of the policy server."""

import dataclasses

from rtc_bench.common import errors, schema


@dataclasses.dataclass(frozen=True)
class ServeConfig(schema.Settings):
    """One task's policy under one strategy, for clients of the openpi kind."""

    task: str  # the policy's
    policy: str = "zoo"  # zoo, a checkpoint, a folder of <task>.safetensors, or a function: file.py:load
    strategy: str = "naive"  # how a new chunk is held to the old one, where a request brings that
    host: str = "127.0.0.1"  # address to listen at; 0.0.0.0: every network that the machine is in. There is no password
    port: int = 8000  # 0: any that is free
    weights: str = "runs/methods"  # folder that `train-method` filled; looked at before the policy's own folder
    interface: str = "compact"  # what the policy was made for: compact or kinetix
    flow_steps: int = 5  # n, Euler steps of flow time
    seed: int = 0  # of the noise, where a request brings none
    options: dict = dataclasses.field(default_factory=dict)  # strategy name -> its settings

    def __post_init__(self):
        schema.at_least(self, flow_steps=1)
        schema.check_seed(self.seed)
        if not 0 <= self.port <= 65535:
            raise errors.ConfigError(f"port={self.port} is out of range; give one from 1 to 65535, or 0 for any")
