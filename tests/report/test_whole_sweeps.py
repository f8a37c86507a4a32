"""Every sentence and number that is told of whole sweeps, as it stands in `told/`.

A change that is meant is written there by `python -m tests.report.whole_sweeps`, and read before it is committed.
"""

import pytest

from .whole_sweeps import SWEEPS, TOLD, told, told_powers


@pytest.mark.parametrize("name", SWEEPS)
def test_what_is_told_of_a_whole_sweep(tmp_path, name):
    assert told(SWEEPS[name](tmp_path)).splitlines() == (TOLD / f"{name}.txt").read_text(encoding="utf-8").splitlines()


def test_what_is_told_of_the_seeds_beforehand(tmp_path):
    assert told_powers(tmp_path).splitlines() == (TOLD / "power.txt").read_text(encoding="utf-8").splitlines()


def test_nothing_stands_there_that_is_not_asked_for():
    assert {path.stem for path in TOLD.iterdir()} == {*SWEEPS, "power"}
