"""Messages: what openpi packs is read, and what it does not pack is refused."""

import tracemalloc

import msgpack
import numpy as np
import pytest

from rtc_bench.realtime.serving import wire


def array(data=b"\0" * 8, dtype="<f4", shape=(2,)):
    return {b"__ndarray__": True, b"data": data, b"dtype": dtype, b"shape": shape}


def test_an_array_is_packed_as_openpi_packs_it():
    values = np.array([[1.5], [-2.0]], np.float32)
    number = {b"__npgeneric__": True, b"data": 3, b"dtype": "<i4"}
    expected = {"x": array(values.tobytes(), "<f4", (2, 1)), "n": number}
    assert msgpack.unpackb(wire.pack({"x": values, "n": np.int32(3)})) == msgpack.unpackb(msgpack.packb(expected))


@pytest.mark.parametrize(
    "value", [np.arange(6.0).reshape(2, 3), np.zeros((0, 3), np.int8), np.bool_(True), np.array("a")]
)
def test_there_and_back(value):
    back = wire.unpack(wire.pack({"x": value, "text": "a", "list": [1, 2.5], "inner": {"y": value}}))
    for copy in (back["x"], back["inner"]["y"]):
        assert (copy.dtype, copy.shape) == (value.dtype, value.shape)
        np.testing.assert_array_equal(copy, value)
    assert (back["text"], back["list"]) == ("a", [1, 2.5])


@pytest.mark.parametrize("value", [np.array([None]), np.zeros(2, "i4,f4"), np.complex64(1), object()])
def test_what_cannot_be_sent(value):
    with pytest.raises((wire.WireError, TypeError)):
        wire.pack({"x": value})


@pytest.mark.parametrize(
    ("data", "answer"),
    [
        (b"", "not a message packed by msgpack"),
        (b"\xc1 rubbish", "not a message packed by msgpack"),
        (b"\x80\x04\x95", "not a message packed by msgpack"),  # how a pickle begins
        (msgpack.packb({"x": 1}) + b"more", "not a message packed by msgpack"),
        (b"\x91" * 100_000, "not a message packed by msgpack"),  # a list in a list in a list ...
        (b"\xdf\xff\xff\xff\xff", "not a message packed by msgpack"),  # a map of 2^32 entries
        (msgpack.packb([1, 2]), "the message is of list; it must be a map"),
        (msgpack.packb({"x": array(dtype="O")}), "dtype is 'O'; only plain numbers and texts are read"),
        (msgpack.packb({"x": array(dtype="|V8")}), "dtype is '|V8'"),
        (msgpack.packb({"x": array(dtype="i4,O")}), "dtype is 'i4,O'"),
        (msgpack.packb({"x": array(dtype=["<f4"])}), "dtype is"),
        (msgpack.packb({"x": array(dtype="what")}), "not a message packed by msgpack with NumPy arrays"),
        (msgpack.packb({"x": array(shape=(3,))}), "8 bytes are not float32 of shape (3,)"),
        (msgpack.packb({"x": array(shape=(-1, -2))}), "shape is [-1, -2]; it must hold whole numbers"),
        (msgpack.packb({"x": array(shape=(2**40, 2**40))}), "8 bytes are not float32"),
        (msgpack.packb({"x": array(shape=7)}), "not a message packed by msgpack with NumPy arrays"),
        (msgpack.packb({"x": array(data=3)}), "not a message packed by msgpack with NumPy arrays"),
        (msgpack.packb({"x": {b"__ndarray__": True}}), "not a message packed by msgpack with NumPy arrays"),
        (msgpack.packb({"x": {b"__npgeneric__": True, b"data": [], b"dtype": "O"}}), "dtype is 'O'"),
        (msgpack.packb({"x": {b"__npgeneric__": True, b"data": 10**9, b"dtype": "S"}}), "a text's data is a number"),
        (msgpack.packb({"x": array(b"", "S0", (10**15,))}), "an array of |S0 of shape [1000000000000000] is none"),
        (
            msgpack.packb({"x": array(b"", "<f4", (10**15, 0))}),
            "an array of <f4 of shape [1000000000000000, 0] is none",
        ),
        (msgpack.packb({"x": [0] * 4097}), "4097 exceeds max_array_len(4096)"),
        (msgpack.packb({"x": dict.fromkeys(range(4097))}), "not a message packed by msgpack"),
        (msgpack.packb({"x": "a" * 70_000}), "70000 exceeds max_str_len(65536)"),
        (msgpack.packb({"x": msgpack.ExtType(1, b"a")}), "exceeds max_ext_len(0)"),
        (
            msgpack.packb({"x": [[{}] * 4000] * 400}),
            "more than 65536 entries of lists and maps; send numbers as arrays",
        ),
        (b"\x81\xa1x\xdc\x03\x84" + b"\xdc\x0f\xff" * 900, "not a message packed by msgpack"),
    ],
)
def test_what_is_refused(data, answer):
    with pytest.raises(wire.WireError) as raised:
        wire.unpack(data)
    assert answer in str(raised.value)
    assert len(str(raised.value).splitlines()) == 1


def test_a_small_message_stays_small():
    data = msgpack.packb({"x": [[{}] * 4000] * 400})  # 1.6 MB, which would become 113 MB
    tracemalloc.start()
    with pytest.raises(wire.WireError):
        wire.unpack(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(data) > 1_600_000
    assert peak < 10 * 2**20
