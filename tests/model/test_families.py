"""What holds for the models of every family: they are those of transformers, in all that is asked of a GPT-2."""

from __future__ import annotations

import itertools
import re

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from procray.errors import ProcrayError, TransferError
from procray.model import (
    FAMILIES,
    PRESETS,
    Piece,
    attention,
    build,
    component_of,
    compose,
    family,
    flops_per_token,
    load_model,
    load_weights,
    parameter_shapes,
    parameters,
    save_weights,
    transfer,
)
from procray.model.analysis import inside
from procray.model.analysis.norms import component_norms
from procray.model.analysis.spectra import weight_spectra
from procray.model.components import component_with
from procray.model.pack import Pack
from procray.model.regions import has_heads, region

SHAPES = {
    "gpt2": {},
    "neox": {},
    "neox in turn": {"parallel_residual": False, "rotary_pct": 1.0, "inner": 40, "norm_eps": 1e-3},
    "neox odd": {"heads": 2, "rotary_pct": 0.2, "rotary_base": 500.0, "tied": True},
    "llama": {},
    "llama grouped": {"kv_heads": 2, "inner": 40, "rotary_base": 1e5, "tied": True},
    "llama one": {"kv_heads": 1, "norm_eps": 1e-3},
}
FORMS = pytest.mark.parametrize("form", SHAPES)


def config(form: str, **changes):
    shape = {"layers": 2, "heads": 4, "width": 32, "vocab": 53, "context": 24} | SHAPES[form] | changes
    return family(form.split()[0]).config(**shape)


def made(form: str, seed: int = 0, **changes):
    """A small model, its gains and biases away from 1 and 0."""
    model = build(config(form, **changes), seed=seed)
    generator = torch.Generator().manual_seed(seed + 1000)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model


def tokens(B: int = 3, T: int = 17) -> torch.Tensor:
    return torch.randint(0, 53, (B, T), generator=torch.Generator().manual_seed(5))


@pytest.fixture
def twin(hf, tmp_path):
    """What transformers makes of a model's folder."""

    def load(model):
        save_weights(model, tmp_path / "twin")
        found, info = hf.AutoModelForCausalLM.from_pretrained(tmp_path / "twin", output_loading_info=True)
        assert not any(info.values()), info
        return found.eval()

    return load


@FORMS
@pytest.mark.parametrize("attention", ["sdpa", "matmul"])
@pytest.mark.parametrize("pad_vocab", [1, 64])
def test_logits_and_gradients_are_those_of_transformers(twin, form, attention, pad_vocab):
    model = made(form, pad_vocab=pad_vocab)
    model.attention = attention
    other, x_BT = twin(model), tokens()
    assert type(other).__name__ == FAMILIES[model.config.family].architecture
    ours, theirs = model(x_BT), other(x_BT).logits
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)
    for logits in (ours, theirs):
        F.cross_entropy(logits[:, :-1].reshape(-1, 53), x_BT[:, 1:].reshape(-1)).backward()
    gradients = {name.replace("lm_head", "embed_out") if form.startswith("neox") else name: parameter.grad
                 for name, parameter in other.named_parameters()}  # fmt: skip
    assert set(gradients) == set(dict(model.named_parameters()))
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, gradients[name], atol=1e-5, rtol=1e-4, msg=name)


@FORMS
def test_long_sequences_and_functional_forms_agree(form, monkeypatch):
    """Attention in several blocks, and what a compiled or CUDA model computes, are the same function."""
    monkeypatch.setattr(attention, "WORTH_A_BLOCK", 1)
    monkeypatch.setattr(attention, "SMALLEST_BLOCK", {torch.float32: 5})
    found = []
    for compiling, kernel in ((False, "matmul"), (False, "sdpa"), (True, "matmul")):
        monkeypatch.setattr(torch.compiler, "is_compiling", lambda compiling=compiling: compiling)
        model = made(form)
        model.attention = kernel
        F.cross_entropy(model(tokens()).flatten(0, 1), tokens().flatten()).backward()
        found.append({name: parameter.grad for name, parameter in model.named_parameters()})
    for other in found[1:]:
        for name, gradient in found[0].items():
            torch.testing.assert_close(gradient, other[name], atol=1e-5, rtol=1e-4, msg=name)


@FORMS
@pytest.mark.parametrize("scored", [[3, 16, 17, 18, 20, 40], [16, 33, 50], [5]], ids=["unequal", "one each", "alone"])
def test_scored_positions_only_give_the_same_gradients(form, scored):
    model = made(form)
    model.attention = "matmul"
    x_BT, scored_N = tokens(), torch.tensor(scored)
    found = []
    for logits in (model(x_BT, scored_N), model(x_BT).flatten(0, 1)[scored_N]):
        model.zero_grad()
        F.cross_entropy(logits, torch.arange(len(scored))).backward()
        found.append({"logits": logits.detach(), **{name: p.grad.clone() for name, p in model.named_parameters()}})
    for name, value in found[1].items():
        torch.testing.assert_close(found[0][name], value, atol=2e-6, rtol=1e-4, msg=name)


@FORMS
def test_recomputing_blocks_changes_nothing(form):
    gradients = []
    for again in (False, True):
        model = made(form)
        model.recompute = again
        F.cross_entropy(model(tokens()).flatten(0, 1), tokens().flatten()).backward()
        gradients.append([parameter.grad for parameter in model.parameters()])
    assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True))


@FORMS
def test_a_model_used_in_an_evaluation_first_still_trains(form):
    model = made(form, context=19)  # a length that no other test uses: tables are kept by length
    model.attention = "matmul"
    with torch.inference_mode():
        expected = model(tokens(T=19))
    logits = model(tokens(T=19))
    torch.testing.assert_close(logits, expected, atol=1e-6, rtol=0)
    logits.sum().backward()


@FORMS
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_shapes_parts_and_draws_are_those_of_the_network(form, dropout):
    for rows, tied in itertools.product((None, 9), (True, False)):
        shape = config(form, rows=rows, tied=tied, dropout=dropout)
        model, own = build(shape, seed=1), family(shape.family)
        assert {name: tuple(p.shape) for name, p in model.named_parameters()} == parameter_shapes(shape)
        assert parameters(shape) == sum(p.numel() for p in model.parameters())
        assert {part for name in parameter_shapes(shape) for part in own.parts_in(name)} == set(own.parts)
        for name, parameter in model.named_parameters():
            assert {component_with(part) for part in own.parts_in(name)} == {component_of(name)}
            cut = own.cut(shape, name)
            if cut is not None:
                assert torch.Size(cut.shape).numel() == parameter.numel()
                assert cut.parts is None or cut.shape[cut.parts] == len(own.parts_in(name))
            gain = component_of(name) == "layernorm" and name.endswith("weight")
            assert parameter.std() > 0 or gain or name.endswith("bias"), name
            assert not gain or torch.equal(parameter, torch.ones_like(parameter))
        again = build(shape, seed=1)
        assert all(torch.equal(one, other) for one, other in zip(model.parameters(), again.parameters(), strict=True))


@FORMS
def test_flops_are_six_for_each_weight_of_a_product_and_attention(form):
    for tied in (True, False):
        shape = config(form, tied=tied)
        products = parameters(shape)
        products -= 24 * 32 if FAMILIES[shape.family].positions else 0
        products -= 0 if tied else 53 * 32
        assert flops_per_token(shape, 10) == 6 * products + 12 * 2 * 32 * 10


@FORMS
def test_folders_come_back_and_those_of_transformers_too(hf, form, tmp_path, twin):
    model = made(form)
    other = twin(model)
    other.save_pretrained(tmp_path / "theirs")
    for folder in (tmp_path / "twin", tmp_path / "theirs"):
        weights, shape = load_weights(folder)
        assert shape == model.config
        assert all(torch.equal(weights[name], tensor) for name, tensor in model.state_dict().items())
    other.base_model.save_pretrained(tmp_path / "bare")
    weights = load_weights(tmp_path / "bare")[0] if model.config.tied else {}
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in weights.items())


@FORMS
def test_the_row_form_comes_back(form, tmp_path):
    model = made(form, rows=7)
    save_weights(model, tmp_path)
    again = load_model(tmp_path)
    assert again.config == model.config
    x_BTW = torch.randint(0, 2, (2, 5, 7))
    assert torch.equal(again(x_BTW), model(x_BTW))


@FORMS
def test_packed_models_are_those_alone(form):
    models = [made(form, seed) for seed in range(3)]
    for model in models:
        model.attention = "matmul"
    x_MBT = torch.stack([(tokens(2, 11).roll(i, 0) + i) % 53 for i in range(3)])
    index_MS = torch.tensor([[1, 5, 20], [0, 3, 21], [10, 11, 12]])
    alone = [model(x_BT, index_S) for model, x_BT, index_S in zip(models, x_MBT, index_MS, strict=True)]
    pack = Pack(models)
    torch.testing.assert_close(pack.logits(pack.flat_MP, x_MBT, index_MS), torch.stack(alone), atol=1e-5, rtol=0)


@FORMS
def test_what_is_seen_inside_is_what_the_model_does(form):
    model = made(form)
    found = list(inside.layers(model, tokens()))
    for layer in found:
        assert layer.attention_BHTT.shape == (3, model.config.heads, 17, 17)
        assert torch.allclose(layer.attention_BHTT.sum(-1), torch.ones(3, model.config.heads, 17))
    torch.testing.assert_close(model.last_norm(found[-1].after_BTD), model.hidden(tokens()), atol=1e-5, rtol=0)
    weights = model.state_dict()
    assert sum(entry["values"] for entry in component_norms(weights)) == parameters(model.config)
    spectra = weight_spectra(weights, model.config)
    blocks = {entry["part"] for entry in spectra if entry["layer"] is not None}
    own = FAMILIES[model.config.family]
    assert blocks == {part for part in own.parts if component_with(part) in ("attention", "mlp")}
    assert sum(entry["frobenius"] ** 2 for entry in spectra) == pytest.approx(
        sum(float(tensor.square().sum()) for tensor in weights.values() if tensor.ndim == 2), rel=1e-5
    )


@FORMS
def test_queries_of_one_and_values_of_another_model(form):
    """A part of attention goes alone, also where the family stores it beside others."""
    q, v, target = made(form, 1), made(form, 2), made(form, 3)
    expected = {name: tensor.clone() for name, tensor in target.state_dict().items()}
    manifest = compose([Piece(q, ("q",), name="one"), Piece(v, ("v", "ln_f"), name="other")], target)
    weights = {id(m): {e["tensor"]: e["singular_values"] for e in weight_spectra(m.state_dict(), m.config)}
               for m in (target, q, v)}  # fmt: skip
    names = [
        name for name in weights[id(target)] if re.search(r"\.0\.(\w+\.)?(q|v|q_proj\.weight|v_proj\.weight)$", name)
    ]
    assert len(names) == 2
    for name, giver in zip(names, (q, v), strict=True):
        assert weights[id(target)][name] == pytest.approx(weights[id(giver)][name], rel=1e-6)
    own = FAMILIES[target.config.family]
    touched = {name for name in expected if {"q", "v", "ln_f"}.intersection(own.parts_in(name))}
    for name, tensor in target.state_dict().items():
        assert (name in touched) != torch.equal(tensor, expected[name]), name
        told = manifest["parameters"][name]["from"]
        assert (told == "drawn anew") == (name not in touched)
    counts = manifest["counts"]
    assert counts["values_carried"] + counts["values_drawn"] == parameters(target.config)


@FORMS
def test_chosen_heads_take_their_own_values_and_no_others(form):
    """A head that is carried with all of its weights does in the target what it does in the source."""
    source, target = made(form, 1), made(form, 2)
    shared = target.config.heads // getattr(target.config, "kv_heads", target.config.heads)
    chosen = tuple(range(shared)) if shared > 1 else (1,)
    expected = {name: tensor.clone() for name, tensor in target.state_dict().items()}
    before = torch.randn(2, 5, 32)

    def written(model, heads, stream):
        """What some heads of layer 1 see as queries, keys and values, and write through the projection."""
        seen = []

        def kernel(q, k, v, dropout):
            seen.extend((q, *attention.for_each_head(q, k, v)))
            return torch.zeros_like(q)

        block = model.blocks[1]
        norm = next(module for name, module in block.named_children() if name in ("ln_1", "input_layernorm"))
        for parameter, value in zip(norm.parameters(), (1.0, 0.0), strict=False):
            parameter.data.fill_(value)
        block(stream, kernel, *model.around(stream))
        return [x[:, list(heads)] for x in seen]

    manifest = compose([Piece(source, ("q", "k", "v", "proj"), heads={1: chosen}, name="donor")], target)
    own = FAMILIES[target.config.family]
    touched = {name for name in expected if own.layer_of(name) == 1 and has_heads(target.config, name)}
    assert {component_of(name) for name in touched} == {"attention"}
    for name, tensor in target.state_dict().items():
        assert (name in touched) != torch.equal(tensor, expected[name]), name
        if name in touched:
            here = region(target.config, name, own.parts, chosen)
            assert torch.equal(tensor[here], source.state_dict()[name][here])
            assert torch.equal(tensor[~here], expected[name][~here])
            (piece,) = manifest["parameters"][name]["pieces"]
            assert (piece["heads"], piece["values"]) == (list(chosen), int(here.sum()))
    for one, other in zip(written(target, chosen, before), written(source, chosen, before), strict=True):
        torch.testing.assert_close(one, other)
    rest = [head for head in range(target.config.heads) if head not in chosen]
    if rest:
        for one, other in zip(written(target, rest, before), written(source, rest, before), strict=True):
            assert not torch.allclose(one, other)


def test_heads_that_cannot_be_chosen_are_refused():
    with pytest.raises(TransferError, match="mlp_in: only attention has heads"):
        compose([Piece(made("gpt2", 1), ("q", "mlp_in"), heads={0: (1,)})], made("gpt2"))
    with pytest.raises(TransferError, match="layer 0 has no head 4"):
        compose([Piece(made("gpt2", 1), ("q",), heads={0: (4,)})], made("gpt2"))
    with pytest.raises(TransferError, match="layer 0: heads 0 to 1 share keys and values, so all of them are chosen"):
        compose([Piece(made("llama grouped", 1), ("q", "k"), heads={0: (1,)})], made("llama grouped"))
    pieces = [Piece(made("gpt2", 1), ("q",), heads={0: heads}) for heads in ((0, 1), (1,))]
    with pytest.raises(TransferError, match=r"c_attn\.weight: both from"):
        compose(pieces, made("gpt2"))


def test_weights_of_another_family_are_refused():
    with pytest.raises(TransferError, match="the source is a GPT-2, the target a Llama"):
        transfer(made("gpt2"), made("llama"), "attention")
    with pytest.raises(TransferError, match=r"a Llama has no positions .it has attention, mlp, layernorm, embeddings"):
        transfer(made("llama"), made("llama"), "full+positions")
    with pytest.raises(TransferError, match="a GPT-NeoX has no gate"):
        transfer(made("neox"), made("neox"), components=["gate"])


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("neox", {"rotary_pct": 0.1}, "rotary_pct 0.1 of a head of 8 values are 0.8"),
        ("neox", {"rotary_pct": 1.5}, "rotary_pct must be at most 1"),
        ("neox", {"inner": 0}, "inner must be a whole number of at least 1"),
        ("llama", {"kv_heads": 3}, "4 heads cannot be divided among model kv_heads 3"),
        ("llama", {"width": 36}, "heads of 9 values cannot be turned in pairs"),
        ("llama", {"rotary_base": -1}, "rotary_base must be a number above 0"),
        ("llama", {"norm_eps": "x"}, "norm_eps must be a number above 0"),
    ],
)
def test_impossible_shapes_are_refused(name, shape, message):
    with pytest.raises(ProcrayError, match=message):
        family(name).config(**{"layers": 1, "heads": 4, "width": 32, "vocab": 5, "context": 8, **shape})


@pytest.mark.parametrize(
    ("form", "changes", "message"),
    [
        ("llama", {"rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, "rope_scaling is"),
        ("llama", {"rope_parameters": {"rope_type": "yarn"}}, "rope_type is 'yarn'"),
        ("llama", {"head_dim": 16}, "head_dim is 16"),
        ("llama", {"attention_bias": True}, "attention_bias is True"),
        ("neox", {"hidden_act": "gelu_new"}, "hidden_act is 'gelu_new'"),
        ("neox", {"model_type": "gptj"}, "model_type is 'gptj', not 'gpt2' or 'gpt_neox' or 'llama'"),
    ],
)
def test_other_networks_under_the_name_of_a_family_are_refused(form, changes, message, tmp_path):
    import json

    save_weights(made(form), tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    with pytest.raises(TransferError, match=message):
        load_weights(tmp_path)


def test_buffers_of_older_checkpoints_are_no_weights(tmp_path):
    model = made("neox")
    save_weights(model, tmp_path)
    extra = {
        "gpt_neox.layers.0.attention.bias": torch.ones(1, 1, 24, 24, dtype=torch.bool),
        "gpt_neox.layers.1.attention.masked_bias": torch.tensor(-1e9),
        "gpt_neox.layers.0.attention.rotary_emb.inv_freq": torch.ones(1),
    }
    save_file(model.state_dict() | extra, tmp_path / "model.safetensors")
    assert all(torch.equal(load_weights(tmp_path)[0][name], t) for name, t in model.state_dict().items())


PARAMETERS = {
    # With the vocabulary of the published model: 50,304 (50,257 of GPT-2's, 49,152 of SmolLM's).
    "pythia-14m": (50304, 14_067_712),
    "pythia-31m": (50304, 30_494_720),
    "pythia-70m": (50304, 70_426_624),
    "pythia-160m": (50304, 162_322_944),
    "pythia-410m": (50304, 405_334_016),
    "pythia-1b": (50304, 1_011_781_632),
    "smollm-135m": (49152, 134_515_008),
    "smollm-360m": (49152, 361_821_120),
    "gpt2": (50257, 124_439_808),
    "gpt2-medium": (50257, 354_823_168),
    "gpt2-large": (50257, 774_030_080),
    "gpt2-xl": (50257, 1_557_611_200),
}


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_have_as_many_parameters_as_the_published_models(preset):
    vocab, published = PARAMETERS[preset]
    shape = dict(PRESETS[preset])
    assert parameters(family(shape.pop("family")).config(**shape, vocab=vocab)) == published
