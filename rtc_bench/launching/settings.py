"""Settings of where work runs."""

import dataclasses

from rtc_bench.common import schema

LAUNCHERS = ("local", "ray")


@dataclasses.dataclass(frozen=True)
class LauncherConfig(schema.Settings):
    """Where work runs: in this process, or on a Ray cluster."""

    name: str = "local"  # local (this process), or ray
    address: str | None = None  # ray://host:port, host:port or auto; null: RAY_ADDRESS, or a Ray of its own
    cpus: int = 2  # cores of a worker on a cluster without GPUs; else a worker has one GPU
    tries: int = 3  # of a piece of work whose workers die before they give a result

    def __post_init__(self):
        schema.one_of(self, name=LAUNCHERS)
        schema.at_least(self, cpus=1, tries=1)
        if self.address is not None:
            object.__setattr__(self, "name", "ray")  # whoever names a cluster means it

    @property
    def is_ray(self) -> bool:
        """Or this process."""
        return self.name == "ray"
