import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from procray.report.figures.canvas import readable, spread_out


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12).map(sorted), st.floats(0.001, 0.08))
def test_labels_keep_order_distance_and_the_sheet(wanted, gap):
    places = spread_out(wanted, gap)
    assert len(places) == len(wanted)
    assert all(b - a >= gap - 1e-9 for a, b in itertools.pairwise(places))
    assert places[0] >= -1e-9
    assert places[-1] <= 1 + 1e-9


def test_labels_with_room_stay_where_they_belong():
    assert spread_out([0.1, 0.5, 0.9], 0.05) == [0.1, 0.5, 0.9]
    assert spread_out([0.5, 0.5], 0.1) == pytest.approx([0.45, 0.55])


@pytest.mark.parametrize("colour", ["#F0E442", "#56B4E9", "#E69F00", "#000000", "#FFFFFF"])
def test_letters_are_darkened_until_they_can_be_read(colour):
    def luminance(text):
        parts = [int(text[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    assert 1.05 / (luminance(readable(colour)) + 0.05) >= 4.4
