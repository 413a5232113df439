"""What a strategy is: a request for a chunk in, a chunk out; and, for one that learns, its training stage."""

import dataclasses
from typing import Any, ClassVar, NamedTuple

from jax import Array

from rtc_bench.common import errors, schema
from rtc_bench.policies import flow

Memory = Any  # a pytree of arrays, each with the batch as its first axis
Weights = dict[str, Any]  # a nested dict of arrays

# When a new chunk's actions are executed. It is asked for at control step t and there at t + d.
DELAYED = "delayed"  # its index 0 is step t; the old chunk acts until t + d
FROM_ARRIVAL = "from arrival"  # its index 0 is step t + d; the old chunk acts until then
WAITING = "waiting"  # the world waits: its index 0 is step t, and the old chunk acts no more
TIMINGS = (DELAYED, FROM_ARRIVAL, WAITING)

DATA, ROLLOUTS = "data", "rollouts"  # what a training stage learns from
LARGEST_BATCH = 65_536  # moments, which all lie in memory with what the loss makes of them

NEEDS = {  # what a strategy may ask for beyond a policy's chunks -> what that means
    "gradient": "a gradient through the network, while the robot waits for the chunk",
    "early checkpoint": "the policy early in its training",
    "every step": "an observation and a small network at every control step: it plans anew without delay",
    "training": "training of its own",
    "expert": "an expert that labels roll-outs of the policy",
    "simulator": "a simulator of what the committed actions lead to (privileged)",
    "waiting": "a world that waits (a line to measure against)",
}


class Request(NamedTuple):
    """Asked at a replanning step.

    ``previous`` is the chunk now executing, shifted so that index 0 is the next control step; past its end it is 0. If the
    strategy's ``timing`` is DELAYED, then::

        previous   p0  p1  p2 | p3 ..  | 0 ..          index 0 .. d-1 is executed whatever the answer is
        answer     -   -   -  | a3 ..  |               index d .. s-1 is executed, then comes the next request

    if the answer takes d control steps. Where delays vary it may come earlier or later: it acts from then on.
    """

    obs: Array  # [B, O]
    previous: Array  # [B, H, A]
    delay: Array  # [] int32, d: what is told of how long this request will take; no more than ``previous`` has left
    horizon: Array  # [] int32, s: control steps since the last request, so that ``previous`` has H - s left
    noise: Array  # [B, H, A], the same for every strategy at this episode and step
    key: Array  # [B] typed keys, for a strategy that needs more noise
    ahead: Array | None = None  # [B, O], only for one that ``looks_ahead``: the observation at t + d
    own: Array | None = None  # [O] bool, the numbers of an observation that are of the robot itself


class Batch(NamedTuple):
    """What a training stage learns from: K moments of a task's data, or of roll-outs of the policy."""

    obs: Array  # [K, H, O], from the moment on; past an episode's end its last one
    action: Array  # [K, 2 H, A] from the moment on, the expert's; past an episode's end, and of roll-outs from H on, 0
    inside: Array  # [K, H] bool, the step is of the moment's episode
    own: Array  # [O] bool, as in a request
    progress: Array  # [], share of the training that is done
    chunk: Array | None = None  # [K, H, A], of roll-outs: the policy's, which was executed from the moment on


@dataclasses.dataclass(frozen=True)
class TrainingStage:
    """How a strategy's weights are trained, unless the command says otherwise."""

    name: str  # of the weights: the folder that holds them; no other class's
    source: str = DATA  # DATA, or ROLLOUTS: the policy acts (d = 0, s = H), an expert says what it would have done
    epochs: int = 1  # passes over the source's control steps
    batch: int = 256  # moments an update
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    warmup: int = 100  # updates
    gradient_clip: float = 10.0
    average: float = 0.0  # decay of an average over updates that is kept in the weights' place; 0: the last weights

    def __post_init__(self):
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        try:
            schema.check_types(type(self), values)
            schema.one_of(self, source=(DATA, ROLLOUTS))
            schema.at_least(self, epochs=1, batch=1, weight_decay=0, warmup=0)
            schema.above(self, learning_rate=0, gradient_clip=0)
            schema.check_shares(self, "average")
            if self.batch > LARGEST_BATCH:
                raise errors.ConfigError(f"batch={self.batch} is too large; it must be {LARGEST_BATCH} or less")
        except errors.ConfigError as error:
            raise errors.ConfigError(f"training stage {self.name!r}: {error}") from None


@dataclasses.dataclass(frozen=True)
class Strategy:
    """Base class. Fields are hyper-parameters; ``d`` and ``s`` are traced, so one compilation serves every cell.

    Override ``plan``; ``init`` if it keeps memory between chunks; ``correct`` if it touches single actions; ``prepare`` if
    it acts by another policy than the given one. A strategy that learns names its ``training`` and overrides
    ``initial_weights`` and ``loss``; ``policy.weights[name]`` are then its trained weights.
    """

    flow_steps: int = 5  # n, Euler steps
    timing: ClassVar[str] = DELAYED
    looks_ahead: ClassVar[bool] = False  # asks a simulator, without noise, what the d committed actions lead to
    takes_gradients: ClassVar[bool] = False  # through the network, in ``plan``
    takes_velocity: ClassVar[bool] = False  # asks the policy for more than plain chunks, see ``policies.foreign``
    training: ClassVar[TrainingStage | None] = None

    def __post_init__(self):
        schema.at_least(self, flow_steps=1)
        for field in dataclasses.fields(self):
            if isinstance(value := getattr(self, field.name), float):
                schema.check_finite(field.name, value)

    @property
    def needs(self) -> tuple[str, ...]:
        """What it asks for, of ``NEEDS``."""
        stage = self.training
        asks = {
            "gradient": self.takes_gradients,
            "every step": type(self).correct is not Strategy.correct,
            "training": stage is not None,
            "expert": stage is not None and stage.source == ROLLOUTS,
            "simulator": self.looks_ahead,
            "waiting": self.timing == WAITING,
        }
        return tuple(name for name, needed in asks.items() if needed)

    def check(self, policy: flow.FlowPolicy) -> None:
        """Called before anything runs: raise ConfigError if the policy lacks what the strategy needs."""

    def prepare(self, policy: flow.FlowPolicy) -> flow.FlowPolicy:
        """What ``init``, ``first``, ``plan`` and ``correct`` get as the policy: computed once, not for every chunk."""
        return policy.with_time_modulations([self.flow_steps])

    def init(self, policy: flow.FlowPolicy, batch: int) -> Memory:
        """Memory at an episode's start; every leaf is [B, ...]."""
        del policy, batch
        return ()

    def first(self, policy: flow.FlowPolicy, obs: Array, noise: Array) -> Array:
        """The chunk [B, H, A] that is executing when the first request is made."""
        return self.sample(policy, obs, noise)

    def plan(self, policy: flow.FlowPolicy, request: Request, memory: Memory) -> tuple[Array, Memory]:
        """A new chunk [B, H, A], its index 0 at the step that ``timing`` says, and the memory to keep."""
        raise NotImplementedError

    def correct(self, policy: flow.FlowPolicy, obs: Array, action: Array, index: Array, memory: Memory) -> Array:
        """Called just before an action [B, A] is executed; ``index`` [] is its place in the chunk that it came with."""
        del policy, obs, index, memory
        return action

    def sample(self, policy: flow.FlowPolicy, obs: Array, noise: Array) -> Array:
        """A plain chunk [B, H, A]: Euler steps of the policy's velocity, or its own way where it has none."""
        return policy.sample(obs, noise, self.flow_steps)

    def weights(self, policy: flow.FlowPolicy) -> Weights:
        """What it learned for the policy. Raises ConfigError where the policy does not hold it."""
        if self.training is None:
            raise errors.ConfigError(f"{type(self).__name__} asks for its weights, but has no `training`")
        if self.training.name not in policy.weights:
            raise errors.ConfigError(f"{type(self).__name__} needs weights that it learned, and the policy holds none")
        return policy.weights[self.training.name]

    def initial_weights(self, policy: flow.FlowPolicy, key: Array) -> Weights:
        """Of the training stage: the weights that it begins with."""
        raise NotImplementedError

    def loss(self, policy: flow.FlowPolicy, weights: Weights, batch: Batch, key: Array) -> Array:
        """Of the training stage: what it lowers, a number []. ``policy`` stays as it is; ``key`` is for draws."""
        raise NotImplementedError
