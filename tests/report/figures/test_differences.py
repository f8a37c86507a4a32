from types import SimpleNamespace

import pytest

from procray.report.figures.differences import _arrow, _focus


def variant(name, mean, low, high):
    return SimpleNamespace(name=name, difference=SimpleNamespace(mean=mean, low=low, high=high))


def test_an_interval_beyond_the_axis_is_marked_where_it_is_cut_and_no_other_is():
    from matplotlib.figure import Figure

    axes = Figure().subplots()
    cut = _focus(axes, [variant("wide", 0.05, -0.5, 0.6), variant("narrow", -0.04, -0.06, -0.02)], 1)
    low, high = axes.get_xlim()
    assert -0.5 < low < -0.06
    assert 0.05 < high < 0.6
    assert cut == {"wide": [-1, 1]}
    _arrow(axes, 0, 1, "red")
    (arrow,) = axes.lines
    assert arrow.get_marker() == ">"
    x, y = arrow.get_transform().transform((1.0, 0))
    assert axes.transData.inverted().transform((x, y)) == pytest.approx([high, 0])
    assert not arrow.get_clip_on()
