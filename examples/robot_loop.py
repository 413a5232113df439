"""A robot's loop around a policy of one's own: no JAX is needed, and none is imported."""

from rtc_bench.realtime import controller, estimates, execution, pacing


def run(robot, policy, steps):
    """``robot`` has observe() and act(action); ``policy`` returns a chunk [50, 14] whose index 0 is the observation's step."""

    def infer(request):  # in the background; d = request.delay, s = request.elapsed, as in a strategy
        return policy(request.obs, request.previous, request.delay, request.elapsed)

    config = execution.ControllerConfig(
        prediction_horizon=50, action_size=14, execution_horizon=25, estimate=estimates.maximum
    )
    pacer = pacing.Pacer(hz=30)
    with controller.Controller(infer, config) as chunks:
        chunks.start(robot.observe())  # compiles; no delay estimate sees it
        for _ in range(steps):
            pacer.wait()
            robot.act(chunks.get_action(robot.observe()))
    print(chunks.counts, f"missed {pacer.missed}, worst {1000 * pacer.worst_lateness:.1f} ms")
