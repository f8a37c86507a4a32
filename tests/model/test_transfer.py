from __future__ import annotations

import json

import pytest
import torch

import procray
from procray.errors import TransferError
from procray.model import (
    COMPONENTS,
    GPT2,
    combine_manifests,
    component_of,
    load_weights,
    parse_mode,
    save_weights,
    transfer,
)


def snapshot(model: GPT2) -> dict[str, torch.Tensor]:
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def test_the_interface_of_the_package(build):
    source, target = build(seed=1), build(seed=2)
    procray.model.transfer(source, target, mode="mlp")
    ours, theirs = snapshot(target), snapshot(source)
    assert torch.equal(ours["transformer.h.0.mlp.c_fc.weight"], theirs["transformer.h.0.mlp.c_fc.weight"])


@pytest.mark.parametrize("mode", ["full", "attention", "mlp", "layernorm", "attention+layernorm", "positions", "none"])
def test_exactly_the_named_tensors_are_copied(build, mode):
    source, target = build(seed=1), build(seed=2)
    before, given = snapshot(target), snapshot(source)
    manifest = transfer(source, target, mode)
    chosen, _ = parse_mode(mode)
    after = snapshot(target)
    for name in after:
        carried = component_of(name) in chosen
        assert torch.equal(after[name], given[name] if carried else before[name]), name
        assert not torch.equal(given[name], before[name]), "the two could not be told apart"
        assert (manifest["parameters"][name]["from"] == "source") is carried
    assert all(torch.equal(given[name], tensor) for name, tensor in snapshot(source).items()), "the source changed"


def test_vocabulary_and_context_of_the_target_are_its_own(build):
    source, target = build(seed=1, vocab=22, context=9), build(seed=2, vocab=300, context=24, tied=False)
    before = snapshot(target)
    transfer(source, target, "full")
    after = snapshot(target)
    for name, tensor in after.items():
        if component_of(name) in {"embeddings", "positions"}:
            assert torch.equal(tensor, before[name]), name
        else:
            assert torch.equal(tensor, dict(source.named_parameters())[name]), name


@pytest.mark.parametrize("source_tied", [True, False])
@pytest.mark.parametrize("tied", [True, False])
def test_mean_embeddings_fill_every_row_and_the_head(build, tied, source_tied):
    source, target = build(seed=1, vocab=22, tied=source_tied), build(seed=2, vocab=70, tied=tied)
    manifest = transfer(source, target, "full+embeddings")
    mean_D = source.transformer.wte.weight.mean(0)
    names = {"transformer.wte.weight"} | (set() if tied else {"lm_head.weight"})
    assert {name for name, entry in manifest["parameters"].items() if entry.get("how") == "mean"} == names
    for name in names:
        rows_VD = dict(target.named_parameters())[name]
        assert rows_VD.shape == (70, 32)
        torch.testing.assert_close(rows_VD, mean_D.expand(70, 32), atol=1e-7, rtol=0)
    assert manifest["sources"][0]["embeddings"] == "mean"


def test_positions_are_copied_when_the_parent_has_enough(build):
    source, target = build(seed=1, context=40), build(seed=2, context=24)
    manifest = transfer(source, target, "full+embeddings")
    assert torch.equal(target.transformer.wpe.weight, source.transformer.wpe.weight[:24])
    assert manifest["parameters"]["transformer.wpe.weight"]["how"] == "first rows"
    assert manifest["notes"] == []


def test_too_few_positions_stay_random_and_the_manifest_says_so(build):
    source, target = build(seed=1, context=23), build(seed=2, context=24)
    before = snapshot(target)
    manifest = transfer(source, target, "full+embeddings")
    assert torch.equal(target.transformer.wpe.weight, before["transformer.wpe.weight"])
    assert manifest["parameters"]["transformer.wpe.weight"]["from"] == "drawn anew"
    assert manifest["notes"] == ["positions: the source has 23, the target needs 24: drawn anew"]


@pytest.mark.parametrize("tied", [True, False])
def test_copied_embeddings_keep_every_row(build, tied):
    source, target = build(seed=1, tied=tied), build(seed=2, tied=tied)
    transfer(source, target, components=COMPONENTS, embeddings="copy")
    x_BT = torch.randint(0, 53, (2, 24))
    assert torch.equal(source(x_BT), target(x_BT))


def test_copying_from_a_tied_head_into_one_of_its_own(build):
    source, target = build(seed=1, tied=True), build(seed=2, tied=False)
    transfer(source, target, components=["embeddings"], embeddings="copy")
    assert torch.equal(target.lm_head.weight, source.transformer.wte.weight)
    with pytest.raises(TransferError, match=r"lm_head\.weight: \(53, 32\) in the source, tied to the token embedding"):
        transfer(build(seed=3, tied=False), source, components=["embeddings"], embeddings="copy")


def test_copied_embeddings_need_equal_vocabularies(build):
    source, target = build(seed=1, vocab=22, tied=False), build(seed=2, vocab=53, tied=False)
    with pytest.raises(TransferError) as error:
        transfer(source, target, components=["embeddings"], embeddings="copy")
    for name in ("transformer.wte.weight", "lm_head.weight"):
        assert f"{name}: (22, 32) in the source, (53, 32) in the target" in str(error.value)


def test_differing_widths_name_every_tensor_with_both_shapes_and_change_nothing(build):
    source, target = build(seed=1, width=16), build(seed=2)
    before = snapshot(target)
    with pytest.raises(TransferError) as error:
        transfer(source, target, "full+embeddings", source_name="set s0")
    text = str(error.value)
    assert "from the source set s0 (2 layers of width 16) into the target (2 layers of width 32)" in text
    given = dict(source.named_parameters())
    for name, tensor in before.items():
        assert f"{name}: {tuple(given[name].shape)} in the source, {tuple(tensor.shape)} in the target" in text
        assert torch.equal(tensor, dict(target.named_parameters())[name])


def test_differing_depths_are_refused_both_ways(build):
    shallow, deep = build(layers=2), build(layers=3)
    with pytest.raises(TransferError) as error:
        transfer(shallow, deep, "mlp")
    assert "transformer.h.2.mlp.c_fc.weight: absent in the source, (32, 128) in the target" in str(error.value)
    assert "attn" not in str(error.value)
    with pytest.raises(TransferError) as error:
        transfer(deep, shallow, "mlp")
    assert "transformer.h.2.mlp.c_fc.weight: (32, 128) in the source, absent in the target" in str(error.value)


def test_attention_needs_the_same_heads(build):
    source, target = build(seed=1, heads=2), build(seed=2, heads=4)
    with pytest.raises(TransferError, match="2 heads in the source, 4 in the target"):
        transfer(source, target, "attention")
    transfer(source, target, "mlp+layernorm")  # these know nothing of heads


@pytest.mark.parametrize("rows", [("source",), ("target",), ("source", "target")])
def test_only_the_blocks_of_the_row_form_travel(build, rows):
    source = build(seed=1, rows=6 if "source" in rows else None)
    target = build(seed=2, rows=6 if "target" in rows else None)
    before = snapshot(target)
    transfer(source, target, "full")
    for name, tensor in snapshot(target).items():
        if component_of(name) in {"embeddings", "positions"}:
            assert torch.equal(tensor, before[name]), name
        else:
            assert torch.equal(tensor, dict(source.named_parameters())[name]), name
    with pytest.raises(TransferError, match=f"embeddings: the {' and the '.join(rows)} has no token embeddings"):
        transfer(source, target, "full+embeddings")
    with pytest.raises(TransferError, match="positions: those of rows and those of tokens"):
        transfer(source, target, "positions")


def test_several_parents_one_after_another(build):
    a, b, target = build(seed=1), build(seed=2), build(seed=3)
    before = snapshot(target)
    first = transfer(a, target, components=["attention"], source_name="set", source_digest="aaa")
    second = transfer(b, target, components=["mlp"], source_name="eca", source_digest="bbb")
    whole = combine_manifests([first, second])
    origin = {"attention": (a, "set"), "mlp": (b, "eca")}
    for name, tensor in snapshot(target).items():
        source, label = origin.get(component_of(name), (None, "drawn anew"))
        expected = before[name] if source is None else dict(source.named_parameters())[name]
        assert torch.equal(tensor, expected), name
        assert whole["parameters"][name]["from"] == label
    assert [(s["name"], s["digest"], s["components"]) for s in whole["sources"]] == [
        ("set", "aaa", ["attention"]),
        ("eca", "bbb", ["mlp"]),
    ]
    assert whole["counts"]["tensors_carried"] == 16
    assert whole["counts"]["tensors_drawn"] == 28 - 16


def test_the_manifest_is_json_and_counts_values(build):
    source, target = build(seed=1), build(seed=2)
    manifest = transfer(source, target, "mlp", source_digest="0123")
    assert json.loads(json.dumps(manifest, allow_nan=False)) == manifest
    mlp = 2 * (32 * 128 + 128 + 128 * 32 + 32)
    total = sum(parameter.numel() for parameter in target.parameters())
    assert manifest["counts"] == {
        "tensors_carried": 8,
        "tensors_drawn": 20,
        "values_carried": mlp,
        "values_drawn": total - mlp,
    }
    assert manifest["parameters"]["transformer.h.1.mlp.c_fc.bias"] == {
        "component": "mlp",
        "shape": [128],
        "from": "0123",
        "how": "copied",
    }
    assert manifest["sources"] == [
        {"name": None, "digest": "0123", "mode": "mlp", "components": ["mlp"], "embeddings": None}
    ]


def test_sources_from_disk_and_from_transformers(hf, build, tmp_path):
    source = build(seed=1, vocab=22)
    save_weights(source, tmp_path)
    one, two, three = (build(seed=2) for _ in range(3))
    transfer(source, one, "full+embeddings")
    assert transfer(load_weights(tmp_path), two, "full+embeddings")["notes"] == []
    state = hf.GPT2LMHeadModel.from_pretrained(tmp_path).state_dict()
    assert "lm_head.weight" in state
    manifest = transfer(state, three, "full+embeddings")
    assert manifest["notes"] == ["attention: the source does not tell its heads; taken to be 4"]
    for name, tensor in snapshot(one).items():
        assert torch.equal(tensor, dict(two.named_parameters())[name]), name
        assert torch.equal(tensor, dict(three.named_parameters())[name]), name


def test_heads_are_checked_for_sources_from_disk(build, tmp_path):
    save_weights(build(heads=8), tmp_path)
    with pytest.raises(TransferError, match="8 heads in the source, 4 in the target"):
        transfer(load_weights(tmp_path), build(), "full")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mode": "atention"}, "did you mean 'attention'"),
        ({"components": ["mlps"]}, "unknown component 'mlps'; did you mean 'mlp'"),
        ({}, "either a mode or components"),
        ({"mode": "mlp", "components": ["mlp"]}, "either a mode or components"),
        ({"mode": "mlp", "embeddings": "average"}, "'mean' or 'copy', not 'average'"),
    ],
)
def test_bad_requests(build, arguments, message):
    with pytest.raises(TransferError, match=message):
        transfer(build(seed=1), build(seed=2), **arguments)


def test_the_transferred_model_trains_on(build):
    source, target = build(seed=1), build(seed=2)
    transfer(source, target, "full+embeddings")
    kept = snapshot(source)
    optimizer = torch.optim.SGD(target.parameters(), lr=0.1)
    target(torch.randint(0, 53, (2, 10))).logsumexp(-1).mean().backward()
    optimizer.step()
    assert not torch.equal(target.transformer.h[0].mlp.c_fc.weight, source.transformer.h[0].mlp.c_fc.weight)
    assert all(torch.equal(kept[name], tensor) for name, tensor in snapshot(source).items())
