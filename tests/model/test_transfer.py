from __future__ import annotations

import hashlib
import json

import pytest
import torch

import procray
from procray.errors import TransferError
from procray.model import (
    COMPONENTS,
    GPT2,
    Perturbation,
    Piece,
    component_of,
    compose,
    load_weights,
    parse_mode,
    save_weights,
    transfer,
)
from procray.model.families import FAMILIES
from procray.model.perturb import perturbed


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


def digests(model: GPT2) -> dict[str, str]:
    return {
        name: hashlib.sha256(parameter.detach().numpy().tobytes()).hexdigest()
        for name, parameter in model.named_parameters()
    }


def test_every_tensor_of_a_composition_comes_from_the_parent_that_is_named(build):
    a, b, target = build(seed=1), build(seed=2), build(seed=3)
    before = digests(target)
    manifest = compose(
        [
            Piece(a, ("attention", "ln_1"), name="set", digest="aaa"),
            Piece(b, ("mlp_in", "ln_f"), name="eca", digest="bbb"),
        ],
        target,
    )
    owners = {"q": a, "proj": a, "ln_1": a, "mlp_in": b, "ln_f": b}
    told = {id(a): ("set", "aaa"), id(b): ("eca", "bbb")}
    after = digests(target)
    for name, found in after.items():
        source = next((owners[part] for part in FAMILIES["gpt2"].parts_in(name) if part in owners), None)
        entry = manifest["parameters"][name]
        assert found == (before if source is None else digests(source))[name], name
        if source is None:
            assert entry["from"] == "drawn anew"
        else:
            assert (entry["from"], entry["digest"], entry["how"]) == (*told[id(source)], "copied")
    assert [(s["name"], s["digest"], s["components"]) for s in manifest["sources"]] == [
        ("set", "aaa", ["attention", "ln_1"]),
        ("eca", "bbb", ["mlp_in", "ln_f"]),
    ]
    assert manifest["counts"]["tensors_carried"] == 2 * 4 + 2 * 2 + 2 * 2 + 2


def test_layers_are_mapped_and_depths_may_differ(build):
    shallow, deep, target = build(seed=1, layers=2), build(seed=2, layers=4), build(seed=3, layers=3)
    before = digests(target)
    pieces = [
        Piece(shallow, ("attention",), layers={0: 1, 2: 0}, name="shallow"),
        Piece(deep, ("mlp", "layernorm"), layers={1: 3}, name="deep"),
    ]
    manifest = compose(pieces, target)
    after, given = digests(target), {"shallow": digests(shallow), "deep": digests(deep)}
    maps = {"attention": ("shallow", {0: 1, 2: 0}), "mlp": ("deep", {1: 3}), "layernorm": ("deep", {1: 3})}
    for name, found in after.items():
        source, layers = maps.get(component_of(name), ("", {}))
        layer = FAMILIES["gpt2"].layer_of(name)
        entry = manifest["parameters"][name]
        if layer in layers:
            origin = name.replace(f".h.{layer}.", f".h.{layers[layer]}.")
            assert found == given[source][origin], name
            assert (entry["from"], entry["layer"]) == (source, layers[layer])
        else:  # the other layers, and ln_f, which stands in none
            assert found == before[name], name
            assert entry["from"] == "drawn anew"
    assert manifest["sources"][0]["layers"] == {"0": 1, "2": 0}


def test_layers_that_are_not_there_and_parts_that_have_none_are_refused_at_once(build):
    source, target = build(seed=1, layers=2), build(seed=2, layers=3)
    before = digests(target)
    with pytest.raises(TransferError) as error:
        compose([Piece(source, ("attention", "embeddings"), layers={0: 2, 3: 1})], target)
    for text in (
        "layer 3: absent in the target",
        "layer 2: absent in the source",
        "embeddings: these stand in no layer",
    ):
        assert text in str(error.value)
    assert digests(target) == before


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_interpolation(build, weight):
    a, b, target = build(seed=1, vocab=20), build(seed=2, vocab=30), build(seed=3)
    before = snapshot(target)
    piece = Piece(
        a, ("attention", "embeddings"), second=b, weight=weight, name="a", second_name="b", second_digest="bb"
    )
    manifest = compose([piece], target)
    one, other = snapshot(a), snapshot(b)
    for name, tensor in snapshot(target).items():
        if component_of(name) == "attention":
            torch.testing.assert_close(tensor, (1 - weight) * one[name] + weight * other[name], atol=0, rtol=1e-6)
            if weight in (0.0, 1.0):
                assert torch.equal(tensor, other[name] if weight else one[name])
            assert (
                manifest["parameters"][name] | {"from": "a", "second": "b", "weight": weight}
                == (manifest["parameters"][name])
            )
        elif name == "transformer.wte.weight":
            mean_D = (1 - weight) * one[name].mean(0) + weight * other[name].mean(0)
            torch.testing.assert_close(tensor, mean_D.expand_as(tensor))
        else:
            assert torch.equal(tensor, before[name])


def test_everything_that_does_not_fit_is_told_at_once_and_changes_nothing(build):
    narrow, other, target = build(seed=1, width=16), build(seed=2, heads=8), build(seed=3)
    before = digests(target)
    pieces = [
        Piece(narrow, ("mlp",), name="narrow"),
        Piece(other, ("attention",), name="heads"),
        Piece(other, ("proj", "ln_2"), name="again"),
    ]
    with pytest.raises(TransferError) as error:
        compose(pieces, target)
    text = str(error.value)
    assert "narrow: transformer.h.1.mlp.c_fc.weight: (16, 64) in the source, (32, 128) in the target" in text
    assert "heads: attention: 8 heads in the source, 4 in the target" in text
    assert "transformer.h.0.attn.c_proj.weight: both from heads and from again" in text
    assert digests(target) == before


def test_a_perturbation_touches_what_was_carried_and_is_told(build):
    source, intact, target = build(seed=1), build(seed=2), build(seed=2)
    with torch.no_grad():  # biases are zero at first and would hide what happens to them
        for parameter in source.parameters():
            parameter.add_(0.01 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)))
    transfer(source, intact, "attention+mlp")
    noise = Perturbation("noise", 0.1, ("mlp",))
    manifest = compose([Piece(source, ("attention", "mlp"))], target, noise, seed=5)
    plain, after = snapshot(intact), snapshot(target)
    for name, tensor in after.items():
        entry = manifest["parameters"][name]
        if component_of(name) == "mlp":
            spread = plain[name].std(correction=0)
            assert entry["perturbed"] == {"noise": 0.1, "std": pytest.approx(0.1 * float(spread))}
            assert (tensor - plain[name]).std() == pytest.approx(0.1 * float(spread), rel=0.3)
            assert torch.equal(tensor, perturbed(plain[name], name, noise, 5))
        else:
            assert torch.equal(tensor, plain[name])
            assert "perturbed" not in entry
    assert (manifest["perturbation"], manifest["seed"]) == ({"noise": 0.1, "components": ["mlp"]}, 5)


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
        "digest": "0123",
        "how": "copied",
        "layer": 1,
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
