"""The twelve tasks: ``envs.TASKS`` names them, ``envs.make(name)`` builds one. JAX is imported when one is made."""

from envs.tasks import TASKS, UnknownTask

__all__ = ["TASKS", "UnknownTask", "make"]


def make(task, **options):
    """A batched task environment, by name or from a scene; see ``envs.env.TaskEnv``.

    Options: interface ("compact" or "kinetix"), engine ("fast" or "kinetix"), noise_std (0.1). Raises UnknownTask, and
    UnsupportedScene (a ValueError) for a scene that only engine="kinetix" can run.
    """
    from envs import env

    return env.make(task, **options)
