"""Phases of every family train, resume to the bit, carry weights and load in transformers."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from procray.model import FAMILIES, load_model
from procray.training.recipe import Init, ModelShape, Optimizer, Parent

from .phases import RANGE, ROWS, curve, recipe, run, weights

SHAPES = {
    "gpt2": {},
    "neox": {"rotary_pct": 0.5},
    "llama": {"kv_heads": 1, "inner": 24, "tied": True},
}


def shape(name: str, **changes) -> ModelShape:
    plain = {"layers": 2, "heads": 2, "width": 16, "context": 32, "family": name}
    return ModelShape.from_json(plain | SHAPES[name] | changes)


def tensors(folder, step):
    return load_file(folder / "marks" / str(step) / "model.safetensors")


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("data", ["tokens", "rows"])
def test_a_phase_learns_resumes_to_the_bit_and_loads(tmp_path, name, data):
    phase = recipe(model=shape(name, dropout=0.1), data=RANGE if data == "tokens" else ROWS)
    run(phase, tmp_path / "one", 12)
    run(phase, tmp_path / "two", 12, stop_at=(5,))
    run(phase, tmp_path / "two", 12)
    assert weights(tmp_path / "one", 12) == weights(tmp_path / "two", 12)
    rows = curve(tmp_path / "one")
    assert curve(tmp_path / "two") == rows
    model = load_model(tmp_path / "one" / "marks" / "12")
    assert (model.config.family, model.config.rows) == (name, None if data == "tokens" else 12)


@pytest.mark.parametrize("name", SHAPES)
def test_more_steps_make_the_loss_smaller(tmp_path, name):
    phase = recipe(model=shape(name), data=RANGE, optimizer=Optimizer(lr=1e-2))
    first, last = (run(phase, tmp_path, until).evaluation for until in (0, 60))
    assert last["loss"] < 0.9 * first["loss"]


@pytest.mark.parametrize("name", SHAPES)
def test_bfloat16_is_near(tmp_path, name):
    phase = recipe(model=shape(name), data=RANGE)
    full = run(phase, tmp_path / "full", 8).evaluation["loss"]
    half = run(replace(phase, precision="bf16"), tmp_path / "half", 8).evaluation["loss"]
    assert half == pytest.approx(full, rel=0.02)


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("frozen", ["q", "v", "proj"])
def test_a_frozen_part_of_attention_stays_bit_by_bit_and_the_rest_trains(tmp_path, name, frozen):
    phase = recipe(
        model=shape(name), init=Init(freeze=(frozen,)), optimizer=Optimizer(lr=3e-3, weight_decay=0.5, clip=0.1)
    )
    run(phase, tmp_path, 6, marks=(0, 3, 6))
    before, after, own = tensors(tmp_path, 0), tensors(tmp_path, 6), FAMILIES[name]
    config = phase.model.config(12, None)
    from procray.model.regions import region

    for key, tensor in before.items():
        if frozen not in own.parts_in(key):
            assert not torch.equal(tensor, after[key]), key
            continue
        where = region(config, key, {frozen})
        where = torch.ones_like(tensor, dtype=torch.bool) if where is None else where
        assert torch.equal(tensor[where], after[key][where]), key
        assert where.all() or not torch.equal(tensor[~where], after[key][~where]), key
    again = tmp_path / "again"
    run(phase, again, 6, marks=(0, 3, 6), stop_at=(3,))
    run(phase, again, 6, marks=(0, 3, 6))
    assert weights(again, 6) == weights(tmp_path, 6)


@pytest.mark.parametrize("name", SHAPES)
def test_a_phase_begins_with_parts_of_its_parent(tmp_path, name):
    donor = recipe(model=shape(name), role="warmup/set")
    run(donor, tmp_path / "donor", 3)
    mark = tmp_path / "donor" / "marks" / "3"
    begins = Init(components={"q": Parent("a", 3), "ln_f": Parent("a", 3)})
    phase = recipe(model=shape(name), init=begins, seed=1)
    outcome = run(phase, tmp_path / "target", 0, parents={Parent("a", 3): mark})
    assert outcome.transfer is not None
    told = outcome.transfer["parameters"]
    own = FAMILIES[name]
    carried = {key for key, entry in told.items() if entry["from"] == "a@3"}
    assert carried == {key for key in told if {"q", "ln_f"}.intersection(own.parts_in(key))}
