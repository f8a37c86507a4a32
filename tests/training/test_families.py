"""Every family trains: its vocabulary and positions fit a model, its batches and its held-out set the loop."""

from __future__ import annotations

import math

import numpy as np
import pytest

from procray import tasks
from procray.training.recipe import Evaluation, ModelShape

from .phases import curve, recipe, run

FAMILIES = {
    "queue": {"length": 8, "vocab": 20},
    "lime_deduct": {"length": 5, "alphabet": 60},
    "lime_abduct": {"length": 5, "alphabet": 60},
    "lime_induct": {"length": {"min": 5, "max": 8}, "alphabet": 60},
    "hops": {"length": 6, "alphabet": 12, "shape": "permutation"},
    "automaton": {"length": 8, "states": 3, "letters": 2},
    "k_shuffle_dyck": {"length": 16, "k": 3},
    "rnn": {"length": 16, "alphabet": 9, "hidden": 4, "networks": 3},
    "nca": {"length": 24, "side": 4, "states": 3, "simplest": 0.0},
    "mp_struct": {"length": 32},
    "mp_struct_core": {"length": 32},
}


def trained(task, folder):
    phase = recipe(
        kind="procedural",
        model=ModelShape(1, 1, 8, task.positions),
        data={"task": task.recipe()},
        evaluation=Evaluation(2, 40),
    )
    run(phase, folder, until=4, threads=1)
    rows = curve(folder)
    assert [row["step"] for row in rows] == [0, 2, 4]
    assert all(math.isfinite(row["loss"]) for row in rows)
    assert rows[0]["loss"] == pytest.approx(math.log(task.vocab_size), rel=0.2)
    return rows


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("shuffled", [False, True], ids=["plain", "shuffled"])
def test_it_trains_and_so_does_its_control(tmp_path, name, shuffled):
    task = tasks.get(name, **FAMILIES[name])
    trained(tasks.get("shuffled", task=task) if shuffled else task, tmp_path)


def test_all_of_them_mix(tmp_path):
    parts = [(tasks.get(name, **parameters), 1) for name, parameters in FAMILIES.items()]
    rows = trained(tasks.get("mixture", parts=parts, prefix=True), tmp_path)
    assert rows[-1]["loss"] > 0


def test_sequences_made_elsewhere(tmp_path):
    np.save(tmp_path / "made.npy", np.arange(600).reshape(60, 10) % 30)
    task = tasks.get("sequences_from", path=str(tmp_path / "made.npy"))
    rows = trained(task, tmp_path / "phase")
    assert rows[-1]["epoch"] == pytest.approx(4 * 8 / 57)
    trained(tasks.get("shuffled", task=task), tmp_path / "shuffled")
