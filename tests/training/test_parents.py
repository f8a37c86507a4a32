import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from procray.training.recipe import Init, Parent

from .phases import RANGE, ROWS, SET, recipe, run


def tensors(folder, step):
    return load_file(folder / "marks" / str(step) / "model.safetensors")


@pytest.mark.parametrize("data", [SET, ROWS])
def test_named_components_come_from_their_parents_and_the_rest_from_the_seed(tmp_path, data):
    first, second = recipe(data=data), recipe(data=SET, seed=7)
    run(first, tmp_path / "first", 4)
    run(second, tmp_path / "second", 4)
    init = Init({"attention": Parent("first", 4), "layernorm": Parent("first", 4), "mlp": Parent("second", 4)})
    outcome = run(recipe(data=RANGE, seed=3, init=init), tmp_path / "child", 4, marks=(0,))
    run(recipe(data=RANGE, seed=3), tmp_path / "baseline", 4, marks=(0,))
    start = tensors(tmp_path / "child", 0)
    for name, value in start.items():
        if ".attn." in name or ".ln_" in name:
            origin = tmp_path / "first", 4
        elif ".mlp." in name:
            origin = tmp_path / "second", 4
        else:
            origin = tmp_path / "baseline", 0
        assert torch.equal(value, tensors(*origin)[name]), name
    manifest = json.loads((tmp_path / "child" / "marks" / "4" / "transfer.json").read_text())
    assert manifest == outcome.transfer
    assert {entry["from"] for entry in manifest["parameters"].values()} == {"first@4", "second@4", "drawn anew"}
    assert not (tmp_path / "baseline" / "marks" / "0" / "transfer.json").exists()


def test_what_a_target_draws_anew_is_the_baselines_and_no_donors(tmp_path):
    donor = recipe(data=RANGE, role="warmup/identity")
    run(donor, tmp_path / "donor", 4, marks=(0,))
    init = Init({"attention": Parent("donor", 4)})
    target = recipe(data=SET, role="target/diagnostic")
    run(replace(target, init=init), tmp_path / "variant", 4, marks=(0,))
    run(target, tmp_path / "baseline", 4, marks=(0,))
    start, cold, first = (tensors(tmp_path / name, 0) for name in ("variant", "baseline", "donor"))
    anew = [name for name in start if name.endswith("weight") and ".ln_" not in name and ".attn." not in name]
    assert len(anew) == 6
    for name in anew:
        assert torch.equal(start[name], cold[name]), name
        assert not (start[name] == first[name][: len(start[name])]).any(), name


def test_a_resumed_child_keeps_its_manifest_and_needs_its_parents_no_more(tmp_path):
    run(recipe(), tmp_path / "first", 4)
    child = recipe(seed=3, init=Init({"mlp": Parent("first", 4)}))
    whole = run(child, tmp_path / "child", 4)
    (tmp_path / "first").rename(tmp_path / "gone")
    outcome = run(child, tmp_path / "child", 8)
    assert outcome.transfer == whole.transfer
    assert json.loads((tmp_path / "child" / "marks" / "8" / "transfer.json").read_text()) == whole.transfer
