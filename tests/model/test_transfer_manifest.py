"""What a transfer says of itself, done or refused, and what it takes for granted."""

from __future__ import annotations

import pytest
import torch

from procray.errors import TransferError
from procray.model import GPT2, Perturbation, Piece, compose, transfer
from procray.model.perturb import perturbed

FC = "transformer.h.0.mlp.c_fc.weight"
TABLE, HEAD, POSITIONS = "transformer.wte.weight", "lm_head.weight", "transformer.wpe.weight"


def weights(model: GPT2) -> dict[str, torch.Tensor]:
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def refused(pieces: list[Piece], target: GPT2) -> str:
    before = weights(target)
    with pytest.raises(TransferError) as error:
        compose(pieces, target)
    assert all(torch.equal(before[name], tensor) for name, tensor in weights(target).items())
    return str(error.value)


def test_a_blend_is_told_with_both_of_its_sources(build):
    a, b, target = build(seed=1), build(seed=2), build(seed=3)
    manifest = compose(
        [Piece(a, ("mlp",), second=b, name="a", digest="aa", second_name="b", second_digest="bb")], target
    )
    torch.testing.assert_close(weights(target)[FC], (weights(a)[FC] + weights(b)[FC]) / 2)  # one half, unless said
    assert manifest["parameters"][FC] == {
        "component": "mlp",
        "shape": [32, 128],
        "from": "a",
        "digest": "aa",
        "how": "interpolated",
        "layer": 0,
        "second": "b",
        "second_digest": "bb",
        "weight": 0.5,
    }
    assert manifest["sources"] == [
        {
            "name": "a",
            "digest": "aa",
            "mode": None,
            "components": ["mlp"],
            "embeddings": None,
            "second": "b",
            "second_digest": "bb",
            "weight": 0.5,
        }
    ]
    assert "perturbation" not in manifest
    assert "seed" not in manifest
    assert manifest["counts"]["tensors_carried"] == 8


def test_sources_without_names_are_told_by_digest_or_place(build):
    a, b, target = build(seed=1), build(seed=2), build(seed=3)
    for piece, told in (
        (Piece(a, ("mlp",), second=b, second_digest="bb"), ("source", "bb")),
        (Piece(a, ("mlp",), second=b, digest="aa"), ("aa", "second")),
        (Piece(a, ("mlp",), name="n", digest="aa", second=b, second_name="m", second_digest="bb"), ("n", "m")),
    ):
        entry = compose([piece], target)["parameters"][FC]
        assert (entry["from"], entry["second"]) == told


def test_what_does_not_fit_of_a_second_source_is_told_once_by_its_name(build):
    a, narrow, target = build(seed=1), build(seed=2, width=16), build(seed=3)
    text = refused([Piece(a, ("mlp",), second=narrow, second_name="narrow")], target)
    assert f"narrow: {FC}: (16, 64) in the source, (32, 128) in the target" in text
    text = refused([Piece(narrow, ("mlp",), second=narrow, second_name="again")], target)
    assert text.count(FC) == 1
    assert "again" not in text, "it is the same mistake"
    shallow = build(seed=4, layers=1)
    text = refused([Piece(shallow, ("mlp",), second=a)], target)
    assert "second" not in text
    assert "transformer.h.1.mlp.c_fc.weight: absent in the source, (32, 128) in the target" in text


def test_the_heading_of_a_refusal_says_what_was_to_go_where(build):
    narrow, target = build(seed=1, width=16), build(seed=2)
    assert refused([Piece(narrow, ("mlp", "ln_1"))], target).startswith(
        "cannot carry mlp, ln_1 from the source (2 layers of width 16) into the target (2 layers of width 32):\n  tr"
    )
    both = [Piece(narrow, ("mlp",), name="a"), Piece(narrow, ("ln_1", "ln_2"), digest="bb")]
    assert refused(both, target).startswith(
        "cannot compose mlp from a; ln_1, ln_2 from bb into the target (2 layers of width 32):\n  a: transformer"
    )
    bare = {name: tensor for name, tensor in weights(narrow).items() if name != POSITIONS}
    assert "from the source named (2 layers) into" in refused([Piece(bare, ("mlp",), name="named")], target)


def test_a_mapped_layer_that_does_not_fit_is_told_with_both_layers(build):
    narrow, target = build(seed=1, width=16), build(seed=2)
    text = refused([Piece(narrow, ("mlp",), layers={0: 1, 1: 1})], target)
    assert f"{FC}: (16, 64) in the source (layer 1 of the source), (32, 128) in the target" in text
    assert "h.1.mlp.c_fc.weight: (16, 64) in the source, (32, 128) in the target" in text
    text = refused([Piece(build(seed=3), ("mlp", "positions"), layers={0: 1})], target)
    assert "positions: these stand in no layer, so no layers can be chosen for them" in text
    assert "embeddings:" not in text


def test_heads_that_nobody_tells_are_noted_once_where_they_matter(build):
    source, target = weights(build(seed=1)), build(seed=2)
    assert compose([Piece(source, ("mlp",))], target)["notes"] == []
    for parts in (("qkv",), ("proj",)):
        (note,) = compose([Piece(source, parts)], target)["notes"]
        assert note == "attention: the source does not tell its heads; taken to be 4"
    assert len(compose([Piece(source, ("qkv",)), Piece(source, ("proj",))], target)["notes"]) == 1
    for parts in (("qkv",), ("proj",)):
        assert "2 heads in the source, 4 in the target" in refused([Piece(build(heads=2), parts)], target)


def test_positions_that_are_missing_or_as_many(build):
    source, target = build(seed=1), build(seed=2)
    transfer(source, target, "positions")
    assert torch.equal(weights(target)[POSITIONS], weights(source)[POSITIONS])
    bare = {name: tensor for name, tensor in weights(source).items() if name != POSITIONS}
    text = refused([Piece(bare, ("positions",))], target)
    assert f"{POSITIONS}: absent in the source, (24, 32) in the target" in text
    narrow = build(seed=3, width=16, context=40)
    text = refused([Piece(narrow, ("positions",))], target)
    assert f"{POSITIONS}: (40, 16) in the source, (24, 32) in the target" in text
    wide = build(seed=4, width=32, context=40)
    manifest = transfer(wide, target, "positions")
    assert torch.equal(weights(target)[POSITIONS], weights(wide)[POSITIONS][:24])
    assert manifest["notes"] == []


def test_a_head_of_its_own_that_is_the_table_goes_into_a_tied_model(build):
    source, target = build(seed=1, tied=False), build(seed=2, tied=True)
    with torch.no_grad():
        source.lm_head.weight.copy_(source.transformer.wte.weight)
    transfer(source, target, components=["embeddings"], embeddings="copy")
    assert torch.equal(weights(target)[TABLE], weights(source)[TABLE])


def test_an_own_head_is_carried_beside_the_table(build):
    source, target = build(seed=1, tied=False), build(seed=2, tied=False)
    manifest = transfer(source, target, components=["embeddings"], embeddings="copy")
    for name in (TABLE, HEAD):
        assert torch.equal(weights(target)[name], weights(source)[name])
        assert manifest["parameters"][name]["how"] == "copied"
        assert "layer" not in manifest["parameters"][name]
    assert manifest["sources"][0]["embeddings"] == "copy"


def test_a_form_of_embeddings_beside_a_mode(build):
    source, target = build(seed=1), build(seed=2)
    transfer(source, target, "full+embeddings", embeddings="copy")
    assert torch.equal(weights(target)[TABLE], weights(source)[TABLE])
    transfer(source, target, components="embeddings")  # one name is as good as a list of one
    mean_D = weights(source)[TABLE].mean(0)
    torch.testing.assert_close(weights(target)[TABLE], mean_D.expand(53, 32))
    assert transfer(source, target, components=[])["counts"]["tensors_carried"] == 0


def test_a_perturbation_without_noise_has_no_standard_deviation(build):
    source, target = build(seed=1), build(seed=2)
    shuffle = Perturbation("shuffle")
    manifest = compose([Piece(source, ("mlp",))], target, shuffle)
    assert manifest["parameters"][FC]["perturbed"] == {"shuffle": "per_layer"}
    assert torch.equal(weights(target)[FC], perturbed(weights(source)[FC], FC, shuffle, 0))
    assert (manifest["perturbation"], manifest["seed"]) == ({"shuffle": "per_layer"}, 0)
    assert "perturbed" not in manifest["parameters"][TABLE]


def test_layers_of_a_blend_and_of_a_piece_are_told_as_they_were_mapped(build):
    a, b, target = build(seed=1, layers=3), build(seed=2, layers=3), build(seed=3)
    manifest = compose([Piece(a, ("ln_1",), layers={0: 2}, second=b, weight=0.25)], target)
    name, origin = "transformer.h.0.ln_1.weight", "transformer.h.2.ln_1.weight"
    expected = 0.75 * weights(a)[origin] + 0.25 * weights(b)[origin]
    torch.testing.assert_close(weights(target)[name], expected)
    assert (manifest["parameters"][name]["layer"], manifest["parameters"][name]["weight"]) == (2, 0.25)
    assert manifest["sources"][0]["layers"] == {"0": 2}
    assert manifest["counts"]["tensors_carried"] == 2
