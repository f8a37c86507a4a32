"""Frozen components keep the bits they begin with; carried weights arrive as the recipe says."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from procray.model import component_of
from procray.model.components import parts_of
from procray.model.families import FAMILIES
from procray.model.perturb import Perturbation
from procray.training.recipe import Init, Optimizer, Parent, PhaseRecipe, Share

from .phases import SHAPE, curve, recipe, resume, run, weights

GPT2 = FAMILIES["gpt2"]


def part_of(name):
    """The first part of a parameter of a GPT-2."""
    return GPT2.parts_in(name)[0]


def tensors(folder, step):
    return load_file(folder / "marks" / str(step) / "model.safetensors")


@pytest.mark.parametrize(
    ("names", "tied"), [(("attention", "ln_1"), True), (("embeddings",), True), (("embeddings", "mlp_in"), False)]
)
def test_what_is_frozen_stays_bit_by_bit_and_the_rest_trains(tmp_path, names, tied):
    phase = recipe(
        model=replace(SHAPE, tied=tied), init=Init(freeze=names), optimizer=Optimizer(lr=3e-3, weight_decay=0.5)
    )
    run(phase, tmp_path, 6, marks=(0, 6))
    before, after = tensors(tmp_path, 0), tensors(tmp_path, 6)
    for name in before:
        frozen = part_of(name) in parts_of(names, GPT2.parts)
        assert torch.equal(before[name], after[name]) is frozen, name
    assert ("lm_head.weight" in after) is not tied  # tied: the frozen embedding is the head
    moments = load_file(tmp_path / "resume" / "6" / "state.safetensors")
    assert not any(
        part_of(name.partition("/")[2]) in parts_of(names, GPT2.parts) for name in moments if name.startswith("exp_avg")
    )
    assert any(name.startswith("exp_avg/") for name in moments)


def test_freezing_one_part_changes_how_the_others_train(tmp_path):
    run(recipe(), tmp_path / "plain", 4)
    run(recipe(init=Init(freeze=("mlp",))), tmp_path / "frozen", 4)
    one, other = curve(tmp_path / "plain"), curve(tmp_path / "frozen")
    assert one[0] == other[0]  # both begin alike
    assert one[-1]["loss"] != other[-1]["loss"]
    assert other[-1]["grad_norm"] < one[-1]["grad_norm"]  # what is frozen has no gradient


def test_an_interrupted_frozen_phase_gives_the_same_bits(tmp_path):
    phase = recipe(init=Init(freeze=("attention", "embeddings")))
    run(phase, tmp_path / "whole", 10)
    for stop in (3, 7):
        assert run(phase, tmp_path / "parts", 10, stop_at=[stop]).step == stop
    run(phase, tmp_path / "parts", 10)
    assert weights(tmp_path / "parts", 10) == weights(tmp_path / "whole", 10)
    assert resume(tmp_path / "parts", 10) == resume(tmp_path / "whole", 10)


A, B = Parent("a", 3), Parent("b", 4)
INITS = [
    Init({"attention": A}),
    Init({"attention": A}, freeze=("attention",)),
    Init({"attention": A}, perturb=Perturbation("noise", 0.1)),
    Init({"attention": A}, perturb=Perturbation("noise", 0.1, ("qkv",))),
    Init({"qkv": A}),
    Init({}, "mean", (Share("embeddings", A, None, B, 0.3),)),
    Init({}, shares=(Share("mlp", A, ((0, 1),)), Share("ln_1", A, None, B, 0.3))),
    Init({}, shares=(Share("mlp", A, ((0, 0),)), Share("ln_1", A, None, B, 0.3))),
]


@pytest.mark.parametrize("init", INITS)
def test_recipes_go_through_json(init):
    phase = recipe(init=init)
    again = PhaseRecipe.from_json(json.loads(json.dumps(phase.to_json())))
    assert again == phase
    assert again.id == phase.id


def test_every_entry_of_an_init_is_identity():
    assert len({recipe(init=init).id for init in (Init(), *INITS)}) == 1 + len(INITS)


def test_an_init_without_the_new_entries_has_the_json_it_always_had():
    init = Init({"mlp": Parent("a", 3)})
    assert init.to_json() == {"components": {"mlp": {"phase": "a", "step": 3}}, "embeddings": "copy"}


def test_words_for_what_each_parent_gives():
    init = Init({"qkv": A}, shares=(Share("mlp", A, ((0, 1), (1, 0))), Share("ln_1", A, None, B, 0.3)))
    assert init.parents() == [A, B]
    assert init.carried() == {A: ["qkv", "mlp of layers 0=1,1=0", "70 % of ln_1"], B: ["30 % of ln_1"]}


@pytest.fixture
def parents(tmp_path):
    """Two trained phases as marks that another phase can begin with."""
    for name, seed in (("a", 1), ("b", 2)):
        run(recipe(seed=seed), tmp_path / name, 3)
    return {Parent(name, 3): tmp_path / name / "marks" / "3" for name in ("a", "b")}


def test_a_composed_phase_begins_with_exactly_what_its_recipe_names(tmp_path, parents):
    a, b = parents
    shares = (
        Share("mlp", b, ((0, 1),)),
        Share("positions", a, None, b, 0.25),
    )
    init = Init({"attention": a, "ln_1": b}, shares=shares, perturb=Perturbation("shuffle", None, ("ln_1",)))
    phase = recipe(seed=5, init=init)
    run(phase, tmp_path / "child", 1, marks=(0,), parents=parents)
    run(recipe(seed=5), tmp_path / "random", 1, marks=(0,))
    found, drawn = tensors(tmp_path / "child", 0), tensors(tmp_path / "random", 0)
    one, other = (load_file(folder / "model.safetensors") for folder in parents.values())
    told = json.loads((tmp_path / "child" / "marks" / "0" / "transfer.json").read_text())
    for name, value in found.items():
        entry = told["parameters"][name]
        if component_of(name) == "attention":
            assert torch.equal(value, one[name])
            assert entry["from"] == "a@3"
        elif part_of(name) == "ln_1":
            assert torch.equal(value.sort().values, other[name].sort().values)
            assert (entry["from"], entry["perturbed"]) == ("b@3", {"shuffle": "per_layer"})
        elif component_of(name) == "mlp" and ".h.0." in name:
            assert torch.equal(value, other[name.replace(".h.0.", ".h.1.")])
            assert (entry["from"], entry["layer"]) == ("b@3", 1)
        elif component_of(name) == "positions":
            assert torch.equal(value, 0.75 * one[name] + 0.25 * other[name])
            assert (entry["from"], entry["second"], entry["weight"]) == ("a@3", "b@3", 0.25)
        else:
            assert torch.equal(value, drawn[name]), name
            assert entry["from"] == "drawn anew"
    assert told["perturbation"] == {"shuffle": "per_layer", "components": ["ln_1"]}
    assert {source["name"] for source in told["sources"]} == {"a@3", "b@3"}
    assert all(source["digest"] for source in told["sources"])
