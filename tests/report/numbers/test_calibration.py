"""The calibration in small: its sweeps are the report's own, and the worst of its nulls stay silent."""

import importlib.util
import sys
from pathlib import Path

import pytest

FILE = Path(__file__).parents[3] / "benchmarks" / "calibration.py"


@pytest.fixture(scope="module")
def calibration():
    spec = importlib.util.spec_from_file_location("calibration", FILE)
    module = importlib.util.module_from_spec(spec)
    sys.modules["calibration"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_simulated_sweeps_are_what_a_report_reads_from_journals(calibration, tmp_path):
    calibration.through_journals(calibration.Kind("smooth", 3, 3, 2.0), tmp_path)


@pytest.mark.parametrize("outcome", ["smooth", "plateau", "saturating", "coarse", "chance"])
def test_useless_warm_ups_are_seldom_told_as_useful(calibration, outcome):
    found = calibration.simulate(calibration.Kind(outcome, 5, 3), 60, seed=3)
    assert found.sweeps == 60
    assert found.false <= 8  # 13 %: of sixty at 5 %, more come once in 200 times


def test_clear_effects_are_found_as_often_as_by_the_test_alone(calibration):
    found = calibration.simulate(calibration.Kind("smooth", 1, 5, 3.0), 60, seed=3)
    assert found.found == found.plain >= 55
    assert found.saved >= 50
    assert found.covered >= 50


def test_crossed_runs_are_not_counted_as_independent_seeds(calibration):
    found = calibration.simulate(calibration.Kind("smooth", 1, 3, 0.0, 3), 120, seed=3)
    assert found.false <= 12
    assert found.plain > found.found  # nine pairs taken for nine seeds find what is not there
