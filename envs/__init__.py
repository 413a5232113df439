"""The twelve tasks: ``envs.TASKS`` names them, ``envs.make(name)`` builds one. JAX is imported when one is made.

Enters: a name or a scene, and actions. Leaves: observations, rewards, and pictures of a scene.
May import: nothing of this project.
"""

from rtc_bench.envs.tasks import ENGINES, INTERFACES, TASKS, UnknownTask

__all__ = ["ENGINES", "INTERFACES", "TASKS", "UnknownTask", "make"]


def make(task, **options):
    """A batched task environment, by name or from a scene; see ``envs.task_env.TaskEnv``.

    Options: interface ("compact" or "kinetix"), engine ("fast" or "kinetix"), noise_std (0.1), start_std (the task's).
    Raises UnknownTask, and UnsupportedScene (a ValueError) for a scene that only engine="kinetix" can run.
    """
    from rtc_bench.envs import task_env

    return task_env.make(task, **options)
