"""A foreign strategy that breaks a rule is named in one line, before anything is compiled."""

import dataclasses
import functools
import importlib
import inspect
import re

import jax.numpy as jnp
import numpy as np
import pytest
from test_strategies import policy

from rtc_bench.common import errors
from rtc_bench.strategies import base, contract, registry


@dataclasses.dataclass(frozen=True)
class Good(base.Strategy):
    def plan(self, policy, request, memory):
        return self.sample(policy, request.obs, request.noise), memory


class Branch(Good):
    def plan(self, policy, request, memory):
        new = self.sample(policy, request.obs, request.noise)
        if request.delay > 2:  # here
            new = 2 * new
        return new, memory


class Numpy(Good):
    def plan(self, policy, request, memory):
        return np.clip(np.asarray(request.previous), -1, 1), memory  # here


class Size(Good):
    def plan(self, policy, request, memory):
        return jnp.zeros(int(request.delay)), memory  # here


class Typo(Good):
    def plan(self, policy, request, memory):
        return self.sample(policy, request.observation, request.noise), memory  # here


class Shape(Good):
    def plan(self, policy, request, memory):  # here
        return request.previous[:, :4], memory


class HalfPrecision(Good):
    def plan(self, policy, request, memory):  # here
        return request.previous.astype(jnp.float16), memory


class NoMemory(Good):
    def plan(self, policy, request, memory):  # here
        return request.previous


class OtherMemory(Good):
    def init(self, policy, batch):
        return jnp.zeros((batch, 2))

    def plan(self, policy, request, memory):  # here
        return request.previous, (memory, memory)


class NoneForMemory(Good):
    def plan(self, policy, request, memory):  # here
        return request.previous, None


class MemoryOfOne(Good):
    def init(self, policy, batch):  # here
        return jnp.zeros(4)


class First(Good):
    def first(self, policy, obs, noise):  # here
        return noise[:, 0]


class Correct(Good):
    def correct(self, policy, obs, action, index, memory):  # here
        return action[:, :1]


class Check(Good):
    def check(self, policy):
        assert policy.config.horizen > 1  # here


class UnknownTiming(Good):  # here
    timing = "later"


class NoPolicy(Good):
    def prepare(self, policy):  # here
        return policy.params


class Prepare(Good):
    def prepare(self, policy):
        return policy.with_parameters(policy.params)  # here


class LooksNowhere(Good):
    def plan(self, policy, request, memory):
        return self.sample(policy, request.ahead[:, :], request.noise), memory  # here


class Learner(Good):
    training = base.TrainingStage("learner")

    def initial_weights(self, policy, key):
        return {"layer": {"scale": jnp.ones(2)}}

    def loss(self, policy, weights, batch, key):
        return (weights["layer"]["scale"][None, None] * batch.action).mean()


class WeightsArray(Learner):
    def initial_weights(self, policy, key):  # here
        return jnp.ones(2)


class NoWeights(Learner):
    def initial_weights(self, policy, key):  # here
        return {}


class HalfPrecisionWeights(Learner):
    def initial_weights(self, policy, key):  # here
        return {"scale": jnp.ones(2, jnp.float16)}


class LossPerMoment(Learner):
    def loss(self, policy, weights, batch, key):  # here
        return super().loss(policy, weights, batch, key) * jnp.ones(len(batch.obs))


class Loss(Learner):
    def loss(self, policy, weights, batch, key):
        return (batch.chunk - batch.action).mean()  # here


class KeylessLoss(Learner):
    def loss(self, policy, weights, batch):  # here
        return 0.0


class MemorylessPlan(Good):
    def plan(self, policy, request):  # here
        return request.previous


class NoSelf(Good):
    def plan(policy, request, memory):  # noqa: N805  # here
        return request.previous, memory


class OtherNames(Learner):
    def loss(self, frozen, learned, moments, random):
        return super().loss(frozen, learned, moments, random)


class BranchInLoss(Learner):
    def loss(self, policy, weights, batch, key):
        return batch.progress if batch.progress > 0.5 else 0.0  # here


def check(strategy):
    contract.check(strategy, policy())
    contract.check_training(strategy, policy())


@pytest.mark.parametrize(
    ("cls", "rule"),
    [
        (Branch, "a Python branch on a traced value"),
        (Numpy, "NumPy got a traced value; use jax.numpy"),
        (Size, "a traced value"),
        (Typo, "AttributeError: 'Request' object has no attribute 'observation'"),
        (Shape, "plan must return a chunk [B, H, A] first, float32[3, 8, 2]; it returns float32[3, 4, 2]"),
        (HalfPrecision, "it returns float16[3, 8, 2]"),
        (NoMemory, "plan must return two things, the chunk and the memory to keep"),
        (
            OtherMemory,
            "plan must return memory as init gave it second, float32[3, 2]; it returns (*, *) of float32[3, 2]",
        ),
        (NoneForMemory, "plan must return memory as init gave it second, (); it returns None"),
        (MemoryOfOne, "init must return arrays [B, ...]; it returns float32[4] for B = 3"),
        (First, "first must return a chunk [B, H, A], float32[3, 8, 2]; it returns float32[3, 2]"),
        (Correct, "correct must return an action [B, A], float32[3, 2]; it returns float32[3, 1]"),
        (Check, "AttributeError: 'FlowConfig' object has no attribute 'horizen'"),
        (UnknownTiming, "timing is 'later'; timings: delayed, from arrival, waiting"),
        (NoPolicy, "prepare must return a policy, a FlowPolicy"),
        (Prepare, "AttributeError: 'FlowPolicy' object has no attribute 'with_parameters'"),
        (LooksNowhere, "TypeError: 'NoneType' object is not subscriptable"),
        (
            WeightsArray,
            "initial_weights must return a dict of float32 arrays, which may be nested; it returns float32[2]",
        ),
        (NoWeights, "initial_weights must return a dict of float32 arrays, which may be nested; it returns {}"),
        (HalfPrecisionWeights, "which may be nested; it returns {'scale': *} of float16[2]"),
        (LossPerMoment, "loss must return a number [], float32[]; it returns float32[3]"),
        (Loss, "TypeError: unsupported operand type(s) for -: 'NoneType' and"),
        (Loss, "; if it is batch.chunk: that needs source=base.ROLLOUTS"),
        (KeylessLoss, "it must take these arguments: def loss(self, policy, weights, batch, key)"),
        (MemorylessPlan, "it must take these arguments: def plan(self, policy, request, memory)"),
        (NoSelf, "it must take these arguments: def plan(self, policy, request, memory)"),
        (BranchInLoss, "a Python branch on a traced value, as all that a loss gets is; use jnp.where"),
    ],
)
def test_the_line_and_the_rule_are_named(cls, rule):
    lines, first = inspect.getsourcelines(cls)
    line = first + next(number for number, text in enumerate(lines) if text.rstrip().endswith("# here"))
    with pytest.raises(errors.ConfigError, match=re.escape(rule)) as raised:
        check(cls())
    assert str(raised.value).startswith(f"{__file__}:{line}, {cls.__name__}")
    assert len(str(raised.value).splitlines()) == 1


@pytest.mark.parametrize("cls", [Good, Learner, OtherNames])
def test_what_keeps_the_rules_passes(cls):
    check(cls())


def test_the_weights_of_built_in_strategies_are_named_as_these():
    for name in registry.trained_names():
        assert registry.build(name).training.name == name


def test_an_error_in_a_base_class_of_another_file_is_named_there(tmp_path, monkeypatch):
    text = "from rtc_bench.strategies import base\n\n\nclass Ground(base.Strategy):\n"
    text += "    def plan(self, policy, request, memory):\n        return request.observation, memory\n"
    (tmp_path / "ground_of_mine.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    ground = importlib.import_module("ground_of_mine")

    class Derived(ground.Ground):
        pass

    with pytest.raises(contract.BrokenStrategy, match=rf"^{tmp_path}/ground_of_mine.py:6, Derived: AttributeError"):
        check(Derived())


@pytest.mark.parametrize(
    ("values", "answer"),
    [
        ({"learning_rate": "1e-3"}, "learning_rate='1e-3' is not a number"),
        ({"learning_rate": 0.0}, "learning_rate=0.0 is out of range"),
        ({"batch": 25.5}, "batch=25.5 is not a whole number"),
        ({"batch": 100_000_000}, "batch=100000000 is too large; it must be 65536 or less"),
        ({"epochs": 0}, "epochs=0 is too small"),
        ({"average": 1.5}, "average=1.5 is not a share"),
        ({"source": "rolouts"}, r"source='rolouts' is not valid \(did you mean 'rollouts'\?\); source: data, rollouts"),
    ],
)
def test_a_stage_is_checked_when_it_is_written(tmp_path, values, answer):
    with pytest.raises(errors.ConfigError, match=rf"^training stage 'mine': {answer}"):
        base.TrainingStage("mine", **values)
    arguments = "".join(f", {name}={value!r}" for name, value in values.items())
    file = tmp_path / "mine.py"
    file.write_text(f"from rtc_bench.strategies import base\nSTAGE = base.TrainingStage('mine'{arguments})\n")
    with pytest.raises(registry.UnknownStrategy, match=rf": training stage 'mine': {answer}.* \({file}:2\)$"):
        registry.build(f"{file}:Mine")


def test_a_bug_of_ours_is_not_blamed_on_a_strategy():
    with pytest.raises(ValueError, match="invalid literal"):
        contract.calling([Good()], functools.partial(int, "x"))
