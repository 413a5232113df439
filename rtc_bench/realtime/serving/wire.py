"""Messages as the openpi client packs them: msgpack maps, with NumPy arrays as maps of their own. Nothing is unpickled.

    array    {b"__ndarray__": True, b"data": bytes, b"dtype": str, b"shape": (...)}
    number   {b"__npgeneric__": True, b"data": number, b"dtype": str}

On connection the server sends its metadata; every request is a map, answered by a map with "actions", or by a text that
says what is wrong.
"""

import math
from typing import Any

import numpy as np

LARGEST_MESSAGE = 16 * 2**20  # bytes
MOST_ENTRIES = 4096  # of a list or a map
MOST_IN_ALL = 2**16  # entries of all lists and maps of a message; what is large is an array
LONGEST_TEXT = 2**16  # bytes
STATE = "observation.state"  # LeRobot's name
STATE_NAMES = (STATE, "observation/state")  # and openpi's
NOISE, PREVIOUS, DELAY, HORIZON = "noise", "previous", "delay", "horizon"
ACTIONS = "actions"
PLAIN_KINDS = "biufSU"  # of dtypes; no objects, no structures


class WireError(ValueError):
    """A message that is not one; what is wrong with it, in one line."""


def pack(message: dict[str, Any]) -> bytes:
    """A map of texts, numbers, lists and NumPy arrays."""
    import msgpack

    return msgpack.packb(message, default=_pack_array)


def _pack_array(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic) and value.dtype.kind not in PLAIN_KINDS:
        raise WireError(f"numbers of {value.dtype} cannot be sent")
    if isinstance(value, np.ndarray):
        kind = {b"dtype": value.dtype.str, b"shape": value.shape}
        return {b"__ndarray__": True, b"data": value.tobytes(), **kind}
    if isinstance(value, np.generic):
        return {b"__npgeneric__": True, b"data": value.item(), b"dtype": value.dtype.str}
    return value  # which msgpack then refuses


def unpack(data: bytes) -> dict[str, Any]:
    """The map that a message holds. Raises WireError."""
    import msgpack

    limits = {"max_array_len": MOST_ENTRIES, "max_map_len": MOST_ENTRIES, "max_str_len": LONGEST_TEXT, "max_ext_len": 0}
    try:
        message = msgpack.unpackb(data, **_hooks(), **limits)
    except WireError:
        raise
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError, msgpack.UnpackException) as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise WireError(f"not a message packed by msgpack with NumPy arrays as openpi packs them ({reason})") from None
    if not isinstance(message, dict):
        raise WireError(f"the message is of {type(message).__name__}; it must be a map")
    return message


def _hooks() -> dict[str, Any]:
    """For msgpack, which calls them with every map and every list; of one message."""
    entries = 0

    def counted(value: Any) -> Any:
        nonlocal entries
        entries += 1 + len(value)
        if entries > MOST_IN_ALL:
            raise WireError(f"more than {MOST_IN_ALL} entries of lists and maps; send numbers as arrays")
        return value

    return {"object_hook": lambda value: _unpack_array(counted(value)), "list_hook": counted}


def _unpack_array(value: dict) -> Any:
    if b"__ndarray__" in value:
        kind, shape = _plain_dtype(value[b"dtype"]), value[b"shape"]
        if not all(isinstance(size, int) and size >= 0 for size in shape):
            raise WireError(f"an array's shape is {shape}; it must hold whole numbers")
        if math.prod(shape) * kind.itemsize != len(value[b"data"]):
            raise WireError(f"an array's {len(value[b'data'])} bytes are not {kind} of shape {tuple(shape)}")
        if not kind.itemsize or max(shape, default=0) > LARGEST_MESSAGE:
            raise WireError(f"an array of {kind.str} of shape {shape} is none that a message may hold")
        return np.frombuffer(value[b"data"], kind).reshape(shape) if value[b"data"] else np.zeros(shape, kind)
    if b"__npgeneric__" in value:
        kind, number = _plain_dtype(value[b"dtype"]), value[b"data"]
        if isinstance(number, int) and kind.kind == "S":
            raise WireError("a text's data is a number")  # which bytes() would take for a length
        return kind.type(number)
    return value


def _plain_dtype(name: Any) -> np.dtype:
    kind = np.dtype(name if isinstance(name, str) else "object")
    if kind.kind not in PLAIN_KINDS or kind.hasobject:
        raise WireError(f"an array's dtype is {str(name)[:40]!r}; only plain numbers and texts are read")
    return kind
