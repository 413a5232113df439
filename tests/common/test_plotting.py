"""Looks of lines."""

import itertools

from rtc_bench.common import plotting


def test_styles_differ_in_grey():
    assert len({style[1:] for style in plotting.STYLES}) == len(plotting.STYLES)


NEAR = [{"#0072B2", "#56B4E9"}, {"#E69F00", "#D55E00"}, {"#CC79A7", "#882255"}]  # less than 40 apart in CIE L*a*b*


def test_no_two_of_24_lines_agree_in_two_of_colour_marker_and_dash():
    for (number, one), (other_number, other) in itertools.combinations(enumerate(map(plotting.style, range(24))), 2):
        same_colour = one[0] == other[0] or {one[0], other[0]} in NEAR
        assert same_colour + (one[1] == other[1]) + (one[2] == other[2]) < 2, (number, other_number)
