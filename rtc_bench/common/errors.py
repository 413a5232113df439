"""What a user can mend: a setting that cannot be used, with hints at the word that was meant and the command to type."""

import difflib
import pathlib
import sys
from collections.abc import Iterable

SCRIPTS = pathlib.Path(__file__).resolve().parents[2] / "scripts"  # of a checkout


class ConfigError(ValueError):
    """A setting that cannot be used; the message names the value, the valid set and the remedy."""


def did_you_mean(word: str, valid: Iterable[str]) -> str:
    """A parenthesis that asks whether the nearest of the valid words was meant, or nothing."""
    close = difflib.get_close_matches(str(word), list(valid), n=1, cutoff=0.5)
    return f" (did you mean {close[0]!r}?)" if close else ""


def command(name: str) -> str:
    """A command as this user types it: "rtc-bench train-flow", or "python scripts/train_flow.py" in a process of a script."""
    started = pathlib.Path(sys.argv[0] if sys.argv else "")
    if started.suffix == ".py" and started.resolve().parent == SCRIPTS:
        return f"python {started.parent / name.replace('-', '_')}.py"
    return f"rtc-bench {name}"


def policy_commands(task: str) -> str:
    """The three commands from nothing to a task's policy, as this user types them."""
    return " && ".join(f"{command(name)} task={task}" for name in ("train-expert", "generate-data", "train-flow"))


def first_line(error: BaseException) -> str:
    """What an error says, in one line; its kind if it says nothing."""
    return str(error).strip().partition("\n")[0] or type(error).__name__
