"""The threaded controller: what the state machine says, errors, and stopping. Threads meet at queues and events alone."""

import importlib.util
import pathlib
import queue
import subprocess
import sys
import threading

import numpy as np
import pytest

from rtc_bench.realtime import controller, execution

ROOT = pathlib.Path(__file__).resolve().parents[2]
LONG = 20.0  # seconds, for what a broken controller would never do
CONFIG = execution.ControllerConfig(prediction_horizon=4, action_size=2, execution_horizon=2)


def chunk_of(request, cold=False):
    index = np.arange(CONFIG.prediction_horizon)[:, None]
    return 100.0 * (0 if cold else request.step + 1) + index + np.zeros(CONFIG.action_size)


class Inference:
    """Infers when the test says so; the cold start at once."""

    def __init__(self):
        self.requests, self.answers, self.threads = queue.Queue(), queue.Queue(), set()
        self.started = False

    def __call__(self, request):
        self.threads.add(threading.current_thread().name)
        if not self.started:
            self.started = True
            return chunk_of(request, cold=True)
        self.requests.put(request)
        answer = self.answers.get(timeout=LONG)
        if isinstance(answer, BaseException):
            raise answer
        return chunk_of(request) if answer is None else answer

    def answer(self, running, answer=None):
        """Let the inference in progress end, and wait until the controller has it."""
        request = self.requests.get(timeout=LONG)
        self.answers.put(answer)
        assert running.wait_for_answer(LONG)
        return request


@pytest.fixture
def inference():
    return Inference()


@pytest.fixture
def running(inference):
    with controller.Controller(inference, CONFIG) as running:
        running.start("cold")
        yield running
        inference.answers.put(None)  # nothing hangs


def actions(running, steps):
    taken = [running.get_action("obs") for _ in range(steps)]
    assert {action.shape for action in taken} == {(2,)}
    return [float(action[0]) for action in taken]


def test_actions_are_taken_while_a_chunk_is_inferred(running, inference):
    assert actions(running, 1) == [0]
    assert inference.answer(running).step == 0
    assert actions(running, 2) == [101, 102]  # asks at step 2
    assert actions(running, 3) == [103, 103, 103]  # is not answered: step 3, and an underrun at 4 and 5
    assert not running.wait_for_answer(0.0)
    request = inference.answer(running)  # before step 6: D = 4
    assert (request.step, request.elapsed, request.delay) == (2, 2, 1)
    assert request.previous[:, 0].tolist() == [102, 103, 0, 0]
    assert actions(running, 1) == [103]  # nothing is left of the chunk of step 2
    request = inference.answer(running)
    assert (request.step, request.elapsed, request.delay) == (6, 4, 0)
    assert actions(running, 1) == [701]
    assert running.counts == (8, 3, 3, 2)
    assert [record[:4] for record in running.records] == [(0, 1, 1, 1), (2, 1, 1, 4), (6, 4, 0, 1)]
    assert inference.threads == {"inference"}, "also the cold start"


def test_an_observation_is_handed_on_as_it_is(running, inference):
    obs = object()
    running.get_action(obs)
    assert inference.answer(running).obs is obs


def test_seconds_are_those_of_inference_and_the_cold_start_is_in_no_record():
    now = [0.0]

    def infer(request):
        now[0] += 30.0 if not running.counts.requests else 0.125
        return chunk_of(request)

    with controller.Controller(infer, CONFIG, clock=lambda: now[0]) as running:
        assert running.start("cold") == 30.0
        for _ in range(3):
            running.get_action("obs")
            assert running.wait_for_answer(LONG)
        assert running.records == [(0, 1, 1, 1, 0.125), (2, 1, 1, 1, 0.125)]


@pytest.mark.parametrize(
    ("answer", "reason", "cause"),
    [
        (OSError("no weights\nof layer 3"), "OSError: no weights$", OSError),
        (ArithmeticError(), "ArithmeticError$", ArithmeticError),
        (SystemExit(3), "SystemExit: 3", SystemExit),
        (np.zeros((3, 2)), r"ValueError: the chunk's shape is \(3, 2\), and must be \[H, A\] = \(4, 2\)", ValueError),
        ("a chunk", "ValueError: could not convert string to float", ValueError),
        (np.array([[0, 0], [0, np.nan], [0, 0], [np.inf, 0]]), r"action 1 is inf or nan: \[0.0, nan\]", ValueError),
    ],
)
def test_what_goes_wrong_in_inference_is_raised_at_the_next_step(running, inference, answer, reason, cause):
    running.get_action("obs")
    inference.answer(running)
    actions(running, 2)
    inference.answer(running, answer)
    for _ in range(2):  # and ever after
        with pytest.raises(controller.InferenceFailed, match=reason) as failure:
            running.get_action("obs")
        assert str(failure.value).startswith("inference asked for at control step 2 failed: ")
        assert "\n" not in str(failure.value)
        assert isinstance(failure.value.__cause__, cause)
    assert running.counts.steps == 3


def test_a_cold_start_that_fails_is_raised_there():
    def infer(request):
        raise OSError("no such device")

    running = controller.Controller(infer, CONFIG)
    with pytest.raises(controller.InferenceFailed, match="OSError: no such device"):
        running.start("cold")
    running.stop()


def test_without_a_start_or_after_a_stop_there_are_no_actions(inference):
    running = controller.Controller(inference, CONFIG)
    with pytest.raises(controller.NotRunning, match=r"call start\(obs\) first"):
        running.get_action("obs")
    running.start("cold")
    with pytest.raises(controller.NotRunning, match="starts once"):
        running.start("cold")
    running.stop()
    running.stop()
    for call in (running.get_action, running.start):
        with pytest.raises(controller.NotRunning, match="make a new one"):
            call("obs")
    assert not running._thread.is_alive()


def test_stopped_before_it_was_started():
    with controller.Controller(lambda request: None, CONFIG) as running:
        pass
    with pytest.raises(controller.NotRunning, match="starts once"):
        running.start("cold")


def test_stop_gives_up_on_inference_that_hangs_and_drops_its_answer(inference):
    running = controller.Controller(inference, CONFIG)
    running.start("cold")
    running.get_action("obs")
    inference.requests.get(timeout=LONG)  # it is being inferred
    with pytest.raises(controller.InferenceHangs, match=r"did not end within 0.01 s; .* daemon"):
        running.stop(timeout=0.01)
    assert running._thread.daemon
    inference.answers.put(None)
    running.stop(timeout=LONG)
    assert not running._thread.is_alive()
    assert running.records == []


def test_what_went_wrong_first_is_not_hidden_by_inference_that_hangs(inference, monkeypatch):
    running = controller.Controller(inference, CONFIG)
    monkeypatch.setattr(running, "stop", lambda stop=running.stop: stop(timeout=0.01))

    def loop():
        with running:
            running.start("cold")
            running.get_action("obs")
            inference.requests.get(timeout=LONG)  # it is being inferred
            raise ZeroDivisionError("of the robot")

    with pytest.raises(ZeroDivisionError) as failure:
        loop()
    assert "did not end within 0.01 s" in failure.value.__notes__[0]
    inference.answers.put(None)


def test_a_start_that_another_thread_stops_ends():
    asked, release, errors = threading.Event(), threading.Event(), queue.Queue()

    def infer(request):
        asked.set()
        release.wait(LONG)
        return chunk_of(request)

    running = controller.Controller(infer, CONFIG)

    def start():
        try:
            running.start("cold")
        except controller.NotRunning as error:
            errors.put(error)

    starter = threading.Thread(target=start, daemon=True)
    starter.start()
    assert asked.wait(LONG)
    with pytest.raises(controller.NotRunning, match="let it return"):
        running.get_action("obs")
    with pytest.raises(controller.InferenceHangs):
        running.stop(timeout=0.01)
    assert "stopped" in str(errors.get(timeout=LONG))
    release.set()
    running.stop(timeout=LONG)


def test_one_thread_at_a_time_takes_an_action(monkeypatch):
    """20 actions of one chunk, from four threads; each stays inside long enough to be met there."""
    config = execution.ControllerConfig(prediction_horizon=20, action_size=1, execution_horizon=20)
    inside, met, taken = threading.Lock(), queue.Queue(), queue.Queue()
    with controller.Controller(lambda request: np.arange(20.0)[:, None], config) as running:
        running.start("cold")
        next_action = running._execution.action

        def slow_action():
            if not inside.acquire(blocking=False):
                met.put("another thread")
                return next_action()
            threading.Event().wait(0.002)
            inside.release()
            return next_action()

        def take():
            for _ in range(5):
                taken.put(float(running.get_action("obs")[0]))

        monkeypatch.setattr(running._execution, "action", slow_action)
        threads = [threading.Thread(target=take) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LONG)
    assert met.empty()
    assert sorted(taken.queue) == list(range(20))


def test_it_needs_no_jax():
    rooms = ", ".join(f"rtc_bench.realtime.{name}" for name in ("controller", "estimates", "execution", "pacing"))
    code = f"import sys, {rooms}; print({{'jax', 'jaxlib', 'scipy', 'torch'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_the_readme_shows_the_example_and_it_runs(capsys):
    path = ROOT / "examples" / "robot_loop.py"
    code = path.read_text().partition('"""\n\n')[2]
    assert f"```python\n{code}```" in (ROOT / "README.md").read_text()
    spec = importlib.util.spec_from_file_location("robot_loop", path)
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)

    class Robot:
        executed = []  # noqa: RUF012

        def observe(self):
            return len(self.executed)

        def act(self, action):
            self.executed.append(float(action[0]))

    def policy(obs, previous, delay, elapsed):
        return np.zeros((50, 14)) + obs + np.arange(50)[:, None]

    example.run(Robot(), policy, steps=4)
    assert Robot.executed == [0, 1, 2, 3]  # every chunk has the same action for a step
    assert "Counts(steps=4, requests=1, underruns=0" in capsys.readouterr().out
