"""Looks of lines."""

from rtc_bench.common import plotting


def test_styles_differ_in_grey():
    assert len({style[1:] for style in plotting.STYLES[:7]}) == len(plotting.STYLES[:7])
