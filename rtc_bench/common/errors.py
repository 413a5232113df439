"""What a user can mend: a setting that cannot be used, and the hint at the word that was probably meant."""

import difflib
from collections.abc import Iterable


class ConfigError(ValueError):
    """A setting that cannot be used; the message names the value, the valid set and the remedy."""


def did_you_mean(word: str, valid: Iterable[str]) -> str:
    """A parenthesis that asks whether the nearest of the valid words was meant, or nothing."""
    close = difflib.get_close_matches(str(word), list(valid), n=1, cutoff=0.5)
    return f" (did you mean {close[0]!r}?)" if close else ""


def first_line(error: BaseException) -> str:
    """What an error says, in one line; its kind if it says nothing."""
    return str(error).strip().partition("\n")[0] or type(error).__name__
