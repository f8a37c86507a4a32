"""One cluster of three raylets for all tests of this folder, and a way to start sweeps that leaves nothing behind."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "execution"))

from comparing import listen, reference, same_numbers, store
from raylets import Raylets, Sweep

__all__ = ["listen", "reference", "same_numbers", "store"]


@pytest.fixture(scope="session")
def _cluster():
    raylets = Raylets()
    yield raylets
    raylets.end()


@pytest.fixture
def raylets(_cluster):
    """Three raylets, of which the head trains nothing; what a test takes away is replaced."""
    while len(_cluster.nodes) < 2:
        _cluster.add()
    return _cluster


@pytest.fixture
def sweep():
    """Starts a plan of plans.py as a command."""
    started = []

    def start(plan, store, address=None, max_hours=None, **variables):
        started.append(Sweep(plan, store, address, max_hours, **variables))
        return started[-1]

    yield start
    for one in started:
        one.end()
