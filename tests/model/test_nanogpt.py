"""nanoGPT's `ckpt.pt`: what its network computes, our GPT-2 computes with the imported weights."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from procray.errors import TransferError
from procray.model import GPT2, load_model, load_weights
from procray.model.outside import bring_in, look_up

ARGS = {"n_layer": 2, "n_head": 4, "n_embd": 32, "block_size": 24, "vocab_size": 53, "dropout": 0.0, "bias": True}


def trained(args: dict, prefix: str = "") -> dict:
    """What nanoGPT's training script saves, with weights away from their initial values: matrices (out, in)."""
    generator = torch.Generator().manual_seed(3)
    D, V, T = args["n_embd"], args["vocab_size"], args["block_size"]

    def draw(*shape: int) -> torch.Tensor:
        return 0.2 * torch.randn(*shape, generator=generator)

    weights = {"transformer.wte.weight": draw(V, D), "transformer.wpe.weight": draw(T, D)}

    def layer(name: str, *shape: int) -> None:
        weights[f"{name}.weight"] = draw(*shape) if len(shape) == 2 else 1 + draw(*shape)
        if args["bias"]:
            weights[f"{name}.bias"] = draw(shape[0])

    for n in range(args["n_layer"]):
        block = f"transformer.h.{n}"
        layer(f"{block}.ln_1", D)
        layer(f"{block}.attn.c_attn", 3 * D, D)
        layer(f"{block}.attn.c_proj", D, D)
        layer(f"{block}.ln_2", D)
        layer(f"{block}.mlp.c_fc", 4 * D, D)
        layer(f"{block}.mlp.c_proj", D, 4 * D)
        weights[f"{block}.attn.bias"] = torch.ones(1, 1, T, T).tril()  # a mask, of those without flash attention
    layer("transformer.ln_f", D)
    weights["lm_head.weight"] = weights["transformer.wte.weight"]
    return {
        "model": {prefix + name: tensor for name, tensor in weights.items()},
        "optimizer": {"state": {0: {"step": torch.tensor(5.0)}}, "param_groups": [{"lr": 6e-4, "params": [0]}]},
        "model_args": args,
        "iter_num": 5,
        "best_val_loss": torch.tensor(3.25),
        "config": {"dataset": "shakespeare_char", "compile": True},
    }


def reference(content: dict, tokens_BT: torch.Tensor, approximate: str) -> torch.Tensor:
    """Logits of every position by the published equations, with nanoGPT's tensors as they are stored."""
    args = content["model_args"]
    w = {name.removeprefix("_orig_mod."): tensor for name, tensor in content["model"].items()}
    heads, D = args["n_head"], args["n_embd"]

    def linear(name: str, x: torch.Tensor) -> torch.Tensor:
        y = torch.einsum("bti,oi->bto", x, w[f"{name}.weight"])
        return y + w[f"{name}.bias"] if args["bias"] else y

    def norm(name: str, x: torch.Tensor) -> torch.Tensor:
        y = (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True, unbiased=False) + 1e-5).sqrt()
        return y * w[f"{name}.weight"] + (w[f"{name}.bias"] if args["bias"] else 0.0)

    B, T = tokens_BT.shape
    future = torch.ones(T, T, dtype=torch.bool).triu(1)
    x = w["transformer.wte.weight"][tokens_BT] + w["transformer.wpe.weight"][:T]
    for n in range(args["n_layer"]):
        block = f"transformer.h.{n}"
        qkv = linear(f"{block}.attn.c_attn", norm(f"{block}.ln_1", x))
        q, k, v = (part.view(B, T, heads, D // heads) for part in qkv.chunk(3, dim=-1))
        scores = torch.einsum("bqhe,bkhe->bhqk", q, k) / math.sqrt(D // heads)
        weights = scores.masked_fill(future, -math.inf).softmax(-1)
        mixed = torch.einsum("bhqk,bkhe->bqhe", weights, v).reshape(B, T, D)
        x = x + linear(f"{block}.attn.c_proj", mixed)
        hidden = F.gelu(linear(f"{block}.mlp.c_fc", norm(f"{block}.ln_2", x)), approximate=approximate)
        x = x + linear(f"{block}.mlp.c_proj", hidden)
    return norm("transformer.ln_f", x) @ w["lm_head.weight"].T


def brought(content: dict, tmp_path) -> tuple[GPT2, str]:
    torch.save(content, tmp_path / "ckpt.pt")
    found = look_up({"path": str(tmp_path / "ckpt.pt")})
    facts = bring_in(found, tmp_path / "in")
    assert facts["outside"] == found.to_json()
    return load_model(tmp_path / "in").eval(), "\n".join(found.notes)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("prefix", ["", "_orig_mod."])
def test_logits_are_those_of_nanogpts_equations(tmp_path, bias, prefix):
    content = trained(ARGS | {"bias": bias, "dropout": 0.1}, prefix)
    model, notes = brought(content, tmp_path)
    config = model.config
    assert (config.layers, config.heads, config.width, config.vocab, config.context) == (2, 4, 32, 53, 24)
    assert (config.tied, config.dropout) == (True, 0.1)
    assert ("no biases in the file: they are zero" in notes) is not bias
    x_BT = torch.randint(0, 53, (3, 24), generator=torch.Generator().manual_seed(1))
    logits = model(x_BT)
    torch.testing.assert_close(logits, reference(content, x_BT, "tanh"), atol=2e-5, rtol=0)
    exact = reference(content, x_BT, "none")  # as nanoGPT has it since 2023; the import says that this is not ours
    assert 0 < (logits - exact).abs().max() < 5e-3
    assert "exact GELU" in notes


def test_a_padded_vocabulary_stays_and_is_named(tmp_path):
    content = trained(ARGS | {"vocab_size": 50304, "n_embd": 8, "n_head": 2})
    model, notes = brought(content, tmp_path)
    assert model.config.vocab == 50304
    assert "50,304 rows is kept: the last 47 pad GPT-2's 50,257 entries" in notes
    x_BT = torch.tensor([[50256, 50303, 7]])
    torch.testing.assert_close(model(x_BT), reference(content, x_BT, "tanh"), atol=2e-5, rtol=0)


def test_a_head_of_its_own_stays_and_is_named(tmp_path):
    content = trained(ARGS)
    content["model"]["lm_head.weight"] = torch.randn(53, 32)
    model, notes = brought(content, tmp_path)
    assert not model.config.tied
    assert "a head of its own" in notes
    x_BT = torch.randint(0, 53, (2, 9))
    torch.testing.assert_close(model(x_BT), reference(content, x_BT, "tanh"), atol=2e-5, rtol=0)


def test_heads_that_are_given_must_be_those_of_the_checkpoint(tmp_path):
    torch.save(trained(ARGS), tmp_path / "ckpt.pt")
    with pytest.raises(TransferError, match=r"ckpt\.pt has 4 heads, not 8"):
        look_up({"path": str(tmp_path / "ckpt.pt"), "heads": 8})
    bring_in(look_up({"path": str(tmp_path / "ckpt.pt"), "heads": 4}), tmp_path / "in")
    assert load_weights(tmp_path / "in")[1].heads == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_head": 5}, "width 32 cannot be divided among 5 heads"),
        ({"n_layer": 3}, r"transformer\.h\.2\.attn\.c_attn\.weight: missing"),
        ({"block_size": 25}, r"wpe\.weight: shape \(24, 32\), the configuration means \(25, 32\)"),
        ({"use_rmsnorm": True, "biass": 1}, r"use_rmsnorm: unknown(.|\n)*biass: unknown; did you mean 'bias'\?"),
        ({"bias": False, "n_embd": 10**6, "n_layer": 10**4}, r"h\.2\.ln_1\.bias: missing(.|\n)* 119,804 more"),
        ({"bias": None}, "bias: true or false, not None"),
        ({"n_embd": "32"}, "width must be a whole number"),
    ],
)
def test_another_network_is_refused(tmp_path, change, message):
    content = trained(ARGS)
    content["model_args"] = ARGS | change
    torch.save(content, tmp_path / "ckpt.pt")
    with pytest.raises(TransferError, match=message):
        look_up({"path": str(tmp_path / "ckpt.pt")})


def test_missing_biases_are_no_zeros_where_the_checkpoint_has_biases(tmp_path):
    content = trained(ARGS)
    del content["model"]["transformer.h.1.mlp.c_fc.bias"]
    torch.save(content, tmp_path / "ckpt.pt")
    with pytest.raises(TransferError, match=r"nanoGPT's layout(.|\n)*h\.1\.mlp\.c_fc\.bias: missing"):
        look_up({"path": str(tmp_path / "ckpt.pt")})
