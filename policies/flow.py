"""The flow policy: an MLP-mixer that predicts the velocity of an action chunk (arXiv 2506.07339, appendix).

Flow time runs from 0 (noise) to 1 (action): ``x_t = (1 - t) * noise + t * action`` and the velocity is ``action - noise``.
Parameters are a nested dict of arrays, named as in the published checkpoints.
"""

import dataclasses
import functools
import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from rtc_bench import policies
from rtc_bench.policies import sampling

Params = dict[str, Any]

MIN_PERIOD, MAX_PERIOD = 4e-3, 4.0  # of the sinusoids that encode flow time
NORM_EPSILON = 1e-6


@dataclasses.dataclass(frozen=True)
class FlowConfig:
    """Sizes of a flow policy. The defaults are the published ones."""

    obs_size: int  # O
    action_size: int  # A
    horizon: int = policies.PREDICTION_HORIZON  # H, control steps in a chunk
    layers: int = 4
    channels: int = 256
    channel_hidden: int = 512
    token_hidden: int = 64

    def __post_init__(self):
        for field in dataclasses.fields(self):
            if getattr(self, field.name) < 1:
                raise ValueError(f"{field.name} is {getattr(self, field.name)}; it must be 1 or more")
        if self.channels % 2:
            raise ValueError(f"channels is {self.channels}; it must be even (half sines, half cosines of flow time)")


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["params", "obs_mean", "obs_std", "weak", "modulations", "weak_modulations", "weights"],
    meta_fields=["config"],
)
@dataclasses.dataclass(frozen=True)
class FlowPolicy:
    """A trained flow policy; a pytree."""

    params: Params
    config: FlowConfig
    obs_mean: Array  # [O]; observations are normalised before they enter the network
    obs_std: Array  # [O]
    weak: Params | None = None  # the same network early in training, for BID's contrast
    modulations: "tuple[TimeModulation, ...]" = ()  # that need not be computed again
    weak_modulations: "tuple[TimeModulation, ...]" = ()
    weights: dict[str, Params] = dataclasses.field(default_factory=dict)  # what strategies learned, by stage

    def velocity(self, obs: "Array | ObsEmbedding", x_t: Array, time: "Array | TimeModulation") -> Array:
        """Velocity [B, H, A] at noisy chunks ``x_t`` [B, H, A], flow time [], [B] or [B, H], raw ``obs`` [B, O].

        A sampler gives one of ``time_modulations`` instead of a time, and who samples much from the same observations gives
        what is ``embedded`` of them; what depends on these alone is not computed again.
        """
        return velocity(self.params, obs if isinstance(obs, ObsEmbedding) else self.normalised(obs), x_t, time)

    def embedded(self, obs: Array) -> "ObsEmbedding":
        """What the network makes of raw ``obs`` [B, O]."""
        return embed(self.params, self.normalised(obs))

    def sample(self, obs: "Array | ObsEmbedding", noise: Array, steps: int) -> Array:
        """A chunk [B, H, A] for raw ``obs`` [B, O]: plain Euler steps from ``noise`` [B, H, A]."""
        modulations = self.time_modulations(steps)
        return sampling.euler(lambda x_t, modulation: self.velocity(obs, x_t, modulation), noise, modulations)

    def time_modulations(self, steps: int) -> "TimeModulation":
        """Those of ``steps`` Euler steps, along the first axis of every leaf."""
        for modulation in self.modulations:
            if len(modulation.time) == steps:
                return modulation
        return time_modulation(self.params, jnp.asarray(sampling.times(steps)))

    def with_time_modulations(self, steps: Iterable[int]) -> "FlowPolicy":
        """The policy with its ``time_modulations`` for these numbers of Euler steps, computed once for all chunks."""
        counts = sorted(set(steps))
        modulations = tuple(self.time_modulations(count) for count in counts)
        weak_policy = self.weak_policy() if self.weak else None
        weak_modulations = tuple(weak_policy.time_modulations(count) for count in counts) if weak_policy else ()
        return dataclasses.replace(self, modulations=modulations, weak_modulations=weak_modulations)

    def with_params(self, params: Params) -> "FlowPolicy":
        """The same policy with other parameters, and without what belongs to these."""
        return dataclasses.replace(self, params=params, weak=None, modulations=(), weak_modulations=())

    def weak_policy(self) -> "FlowPolicy":
        """The early checkpoint as a policy of its own. Raises ValueError if there is none."""
        if self.weak is None:
            raise ValueError(
                "this policy holds no early checkpoint; train it with rtc_bench, or use a strategy without one"
            )
        return dataclasses.replace(
            self, params=self.weak, weak=None, modulations=self.weak_modulations, weak_modulations=()
        )

    def normalised(self, obs: Array) -> Array:
        """Observations [B, O] as they enter the network."""
        return (obs - self.obs_mean[None]) / self.obs_std[None]


class ObsEmbedding(NamedTuple):
    """An observation's share of the first layer."""

    value: Array  # [B, C]


class TimeModulation(NamedTuple):
    """A flow time, and what the network makes of it: scales, shifts and gates of every block."""

    time: Array  # [...]
    blocks: tuple  # for each block twice (scale, shift, gate), each [..., C]
    final: tuple  # (scale, shift), each [..., C]


def init(key: Array, config: FlowConfig) -> Params:
    """Fresh parameters. adaLN layers start at zero, so that every block starts as the identity."""
    c = config.channels
    keys = iter(jax.random.split(key, 5 + 4 * config.layers))

    def linear(size_in: int, size_out: int, *, bias: bool = True, zero: bool = False) -> Params:
        shape = (size_in, size_out)
        kernel = jnp.zeros(shape) if zero else jax.random.truncated_normal(next(keys), -2.0, 2.0, shape) * size_in**-0.5
        return {"kernel": kernel, "bias": jnp.zeros(size_out)} if bias else {"kernel": kernel}

    def block() -> Params:
        return {
            "token_mix_in": linear(config.horizon, config.token_hidden, bias=False),
            "token_mix_out": linear(config.token_hidden, config.horizon, bias=False),
            "channel_mix_in": linear(c, config.channel_hidden, bias=False),
            "channel_mix_out": linear(config.channel_hidden, c, bias=False),
            "adaln_1": linear(c, 3 * c, zero=True),
            "adaln_2": linear(c, 3 * c, zero=True),
        }

    return {
        "in_proj": linear(config.obs_size + config.action_size, c),
        "time_mlp": {"layers": {"0": linear(c, c), "2": linear(c, c)}},
        "mlp_stack": {str(i): block() for i in range(config.layers)},
        "final_adaln": linear(c, 2 * c, zero=True),
        "out_proj": linear(c, config.action_size),
    }


def _linear(layer: Params, x: Array) -> Array:
    y = x @ layer["kernel"]
    if "bias" in layer:
        y = y + layer["bias"].reshape((1,) * (y.ndim - 1) + (-1,))
    return y


def _normalise(x: Array) -> Array:
    mean = _mean(x)
    variance = jnp.maximum(_mean(x * x) - mean * mean, 0.0)
    return (x - mean) * jax.lax.rsqrt(variance + NORM_EPSILON)


def _mean(x: Array) -> Array:
    """[..., 1] over the last axis. XLA adds up a row number by number on a CPU, so there a matrix product does it."""
    if jax.default_backend() != "cpu":
        return x.mean(-1, keepdims=True)
    size = x.shape[-1]
    return (x.reshape(-1, size) @ jnp.full((size, 1), 1.0 / size)).reshape(*x.shape[:-1], 1)


def _gelu(x: Array) -> Array:
    """GELU by tanh, as in the published network; a third of a chunk's time on a CPU, so there by a cheaper tanh."""
    if jax.default_backend() != "cpu":
        return jax.nn.gelu(x)
    half = 0.5 * x
    return half + half * _tanh(x * (GELU_LINEAR + GELU_CUBIC * (x * x)))


GELU_LINEAR = (2 / math.pi) ** 0.5
GELU_CUBIC = 0.044715 * GELU_LINEAR

# tanh(u) = u P(u^2) / Q(u^2) where it is not 1 yet; fitted to the least largest error, 1.2e-7, which is float32's own.
TANH_BOUND = 7.9
TANH_P = (0.9999994, 0.12922701, 2.9485277e-3, 1.1414836e-5)
TANH_Q = (1.0, 0.46255821, 2.3803579e-2, 2.3839759e-4, 2.4572881e-7)


@jax.custom_jvp
def _tanh(u: Array) -> Array:
    """tanh to within 5e-7, by seven products where XLA's takes ten, and neither branch nor absolute value."""
    bounded = jnp.clip(u, -TANH_BOUND, TANH_BOUND)
    square = bounded * bounded

    def polynomial(coefficients: tuple[float, ...]) -> Array:
        total = jnp.full_like(square, coefficients[-1])
        for coefficient in coefficients[-2::-1]:
            total = total * square + coefficient
        return total

    return bounded * polynomial(TANH_P) / polynomial(TANH_Q)


@_tanh.defjvp
def _tanh_derivative(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (u,), (du,), value = primals, tangents, _tanh(*primals)
    return value, jnp.where(jnp.abs(u) < TANH_BOUND, (1 - value * value) * du, 0.0)


def _time_embedding(params: Params, time: Array, channels: int) -> Array:
    """[..., C] for flow time [...]."""
    period = MIN_PERIOD * (MAX_PERIOD / MIN_PERIOD) ** jnp.linspace(0.0, 1.0, channels // 2)
    angle = time[..., None] * (1.0 / period * 2 * jnp.pi).reshape((1,) * time.ndim + (-1,))
    layers = params["time_mlp"]["layers"]
    x = jnp.concatenate([jnp.sin(angle), jnp.cos(angle)], -1)
    return jax.nn.silu(_linear(layers["2"], jax.nn.silu(_linear(layers["0"], x))))


def time_modulation(params: Params, time: Array) -> TimeModulation:
    """All that depends on flow time [...] alone."""
    embedding = _time_embedding(params, time, params["in_proj"]["kernel"].shape[1])

    def parts(layer: Params, count: int) -> tuple[Array, ...]:
        return tuple(jnp.split(_linear(layer, embedding), count, axis=-1))

    blocks = [params["mlp_stack"][str(i)] for i in range(len(params["mlp_stack"]))]
    modulations = tuple((parts(block["adaln_1"], 3), parts(block["adaln_2"], 3)) for block in blocks)
    return TimeModulation(time, modulations, parts(params["final_adaln"], 2))


def _mix_steps(block: Params, x: Array) -> Array:
    """MLP over the chunk's steps; with the steps first, both products are plain matrix products without a transpose."""
    steps, batch, channels = x.shape
    hidden = _gelu(block["token_mix_in"]["kernel"].T @ x.reshape(steps, batch * channels))
    return (block["token_mix_out"]["kernel"].T @ hidden).reshape(steps, batch, channels)


def _mix_channels(block: Params, x: Array) -> Array:
    flat = x.reshape(-1, x.shape[-1])
    hidden = _gelu(flat @ block["channel_mix_in"]["kernel"])
    return (hidden @ block["channel_mix_out"]["kernel"]).reshape(x.shape)


def _block(block: Params, x: Array, modulation: tuple) -> Array:
    """Mix over the chunk's steps, then over channels; each gated and modulated by flow time. ``x`` is [H, B, C]."""
    for mix, (scale, shift, gate) in zip((_mix_steps, _mix_channels), modulation, strict=True):
        x = _materialize(x + gate * mix(block, _normalise(x) * (1 + scale) + shift), gate)
    return x


def _materialize(x: Array, number: Array) -> Array:
    """``x``, computed once. XLA fuses a sum of residuals into each of its readers, and computes it again in each, all the
    way back; a division is too dear to repeat, so dividing by a one that it cannot see through makes it keep ``x``. On a
    CPU this halves the time of gradients. The one is exp(0) of any ``number``, which is never infinite.
    """
    return x / jnp.exp(0.0 * number.ravel()[0])


def embed(params: Params, obs: Array) -> ObsEmbedding:
    """Of normalised ``obs`` [B, O]."""
    layer, actions = params["in_proj"], params["out_proj"]["kernel"].shape[1]
    return ObsEmbedding(obs @ layer["kernel"][actions:] + layer["bias"][None])


def velocity(params: Params, obs: Array | ObsEmbedding, x_t: Array, time: "Array | TimeModulation") -> Array:
    """The network: normalised ``obs`` [B, O], noisy chunks ``x_t`` [B, H, A], flow time [], [B] or [B, H] -> [B, H, A]."""
    embedding = obs if isinstance(obs, ObsEmbedding) else embed(params, obs)
    if not isinstance(time, TimeModulation):
        time = time_modulation(params, jnp.asarray(time, x_t.dtype))
    blocks, (scale, shift) = jax.tree.map(_beside_steps, (time.blocks, time.final))
    x = x_t.swapaxes(0, 1) @ params["in_proj"]["kernel"][: x_t.shape[-1]] + embedding.value[None]  # [H, B, C]
    for i, modulation in enumerate(blocks):
        x = _block(params["mlp_stack"][str(i)], x, modulation)
    return _linear(params["out_proj"], _normalise(x) * (1 + scale) + shift).swapaxes(0, 1)


def _beside_steps(leaf: Array) -> Array:
    """[C], [B, C] or [B, H, C] as [1 or H, 1 or B, C]."""
    return leaf.swapaxes(0, 1) if leaf.ndim == 3 else leaf.reshape(1, -1, leaf.shape[-1])


def loss(params: Params, obs: Array, action: Array, *, time: Array, noise: Array) -> Array:
    """Flow-matching loss: mean squared error of the velocity at ``x_t``. ``action``, ``noise`` [B, H, A], ``time`` [B]."""
    t = time[:, None, None]
    x_t = (1 - t) * noise + t * action
    return jnp.mean((velocity(params, obs, x_t, time) - (action - noise)) ** 2)
