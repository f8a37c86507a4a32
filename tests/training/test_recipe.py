"""The identity of a phase."""

from __future__ import annotations

from dataclasses import replace

import pytest

from procray.corpora import recipe
from procray.errors import StoreError
from procray.files import digest
from procray.tasks import get
from procray.training.recipe import Evaluation, ModelShape, Optimizer, PhaseRecipe, Solved


def test_where_files_lie_is_no_part_of_the_id(tmp_path):
    shape = ModelShape(layers=1, heads=1, width=8, context=16)
    ids = set()
    for place, content in (("here", "words\n"), ("there", "words\n"), ("other", "other words\n")):
        (tmp_path / place).mkdir()
        (tmp_path / place / "a.txt").write_text(content * 20)
        data = recipe({"files": "*.txt"}, "byte", tmp_path / place)
        phase = PhaseRecipe("semantic", shape, data, 4, Optimizer(1e-3), Evaluation(10, 4), 0)
        assert PhaseRecipe.from_json(phase.to_json()).id == phase.id
        assert str(tmp_path / place) in str(phase.to_json())  # but where to read them is said
        ids.add((place == "other", phase.id))
    assert len(ids) == len({one for _, one in ids}) == 2


def test_how_often_a_warm_up_is_looked_at_is_no_part_of_its_id_and_of_another_phase_is():
    def phase(kind, every, sequences, solved=None):
        shape, data = ModelShape(layers=1, heads=1, width=8, context=16), get("set", length=8).recipe()
        evaluation = Evaluation(every, sequences, solved=solved)
        return PhaseRecipe(kind, shape, {"task": data}, 4, Optimizer(1e-3), evaluation, 0)

    one, other = phase("procedural", 10, 4), phase("procedural", 20, 8)
    assert one.id == other.id
    assert one.to_json() != other.to_json()
    assert phase("procedural", 10, 4, Solved(0.9)).id != phase("procedural", 20, 4, Solved(0.9)).id
    assert phase("diagnostic", 10, 4).id != phase("diagnostic", 20, 4).id != phase("diagnostic", 20, 8).id


def test_a_recipe_from_before_roles_reads_and_keeps_its_id():
    shape, data = ModelShape(layers=1, heads=1, width=8, context=16), get("set", length=8).recipe()
    phase = PhaseRecipe("procedural", shape, {"task": data}, 4, Optimizer(1e-3), Evaluation(10, 4), 0)
    assert "role" not in phase.to_json()
    assert PhaseRecipe.from_json(phase.to_json()) == phase
    named = replace(phase, role="warmup/set")
    assert PhaseRecipe.from_json(named.to_json()) == named
    assert len({one.id for one in (phase, named, replace(phase, role="warmup/set#1"))}) == 3


def test_an_earlier_versions_id_is_known_as_one():
    shape, data = ModelShape(layers=1, heads=1, width=8, context=16), get("set", length=8).recipe()
    phase = PhaseRecipe("procedural", shape, {"task": data}, 4, Optimizer(1e-3), Evaluation(10, 4), 0)
    former = digest(phase.to_json(), 16)
    assert former != phase.id
    assert phase.has_id(former)
    assert phase.has_id(phase.id)
    assert not phase.has_id("0" * 16)


@pytest.mark.parametrize("data", [5, {"task": 5}, {"task": [1]}, {"task": None}, {"task": {"shuffled": "union"}}])
def test_a_recipe_whose_task_is_none_is_refused(data):
    shape = ModelShape(layers=1, heads=1, width=8, context=16)
    phase = PhaseRecipe("procedural", shape, get("set", length=8).recipe(), 4, Optimizer(1e-3), Evaluation(10, 4), 0)
    with pytest.raises(StoreError, match="its task is none"):
        PhaseRecipe.from_json({**phase.to_json(), "data": data})
