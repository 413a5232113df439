"""Values as a command line or a config file gives them."""

import pytest

from rtc_bench.common import errors, schema


@pytest.mark.parametrize(
    ("value", "expected"),
    [(2, (2,)), ("2", (2,)), ([0, 2, 4], (0, 2, 4)), ("0..4", (0, 1, 2, 3, 4)), ("3..3", (3,)), ((1, 1), (1,))],
)
def test_whole_numbers(value, expected):
    assert schema.whole_numbers("delay", value) == expected


@pytest.mark.parametrize("value", ["x", [], [0, "a"], 1.5, True, None, "1..", "0..4..2", -0.5])
def test_what_is_no_whole_number_is_named_with_examples(value):
    with pytest.raises(errors.ConfigError, match=r"delay=.*not a whole number.*delay=0\.\.4"):
        schema.whole_numbers("delay", value)
