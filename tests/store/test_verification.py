"""What `verify` says of a phase whose folder bears another id than its recipe."""

from __future__ import annotations

from procray.files import digest
from procray.store.store import Store
from procray.store.verification import verify
from procray.tasks import get
from procray.training.recipe import Evaluation, ModelShape, Optimizer, PhaseRecipe


def test_an_earlier_versions_id_is_no_damage_and_another_is(tmp_path):
    shape, data = ModelShape(layers=1, heads=1, width=8, context=16), get("set", length=8).recipe()
    recipe = PhaseRecipe("procedural", shape, {"task": data}, 4, Optimizer(1e-3), Evaluation(10, 4), 0)
    store = Store(tmp_path)
    for id in (recipe.id, digest(recipe.to_json(), 16), "0" * 16):
        folder = store.phase(id)
        folder.path.mkdir(parents=True)
        folder.write_description(recipe, {}, 1)
    (damaged,), _ = verify(store)
    assert (damaged.phase, damaged.text) == ("0" * 16, f"phase.json describes phase {recipe.id}")
