"""The identity of a phase."""

from __future__ import annotations

from procray.corpora import recipe
from procray.training.recipe import Evaluation, ModelShape, Optimizer, PhaseRecipe


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
