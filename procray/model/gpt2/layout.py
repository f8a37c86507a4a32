"""GPT-2 in transformers' checkpoints: config.json, and the names of tensors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from procray.model.family import others
from procray.model.gpt2.shape import GPT2Config

_MASK = re.compile(r"(transformer\.)?h\.\d+\.attn\.(bias|masked_bias)")
_BARE = re.compile(r"(wte|wpe|h\.\d+|ln_f)\.")

# What a GPT-2 configuration may say beside its shape and still mean our network; the first value is the default
# where config.json is silent.
_ONLY: dict[str, tuple[Any, ...]] = {
    "activation_function": ("gelu_new", "gelu_pytorch_tanh"),  # one function, two spellings
    "layer_norm_epsilon": (1e-5,),
    "scale_attn_weights": (True,),
    "scale_attn_by_inverse_layer_idx": (False,),
    "add_cross_attention": (False,),
}


def own_name(name: str) -> str | None:
    """The name that we give to a tensor of a GPT-2 checkpoint; None for the causal masks of older ones.

    Checkpoints of the bare `GPT2Model` lack the `transformer.` in front.
    """
    if _MASK.fullmatch(name):
        return None
    return f"transformer.{name}" if _BARE.match(name) else name


def to_transformers(config: GPT2Config) -> dict[str, Any]:
    return {
        "vocab_size": config.vocab,
        "n_positions": config.context,
        "n_embd": config.width,
        "n_layer": config.layers,
        "n_head": config.heads,
        "tie_word_embeddings": config.tied,
        "embd_pdrop": config.dropout,
        "attn_pdrop": config.dropout,
        "resid_pdrop": config.dropout,
        "activation_function": "gelu_new",
        "layer_norm_epsilon": 1e-5,
        "initializer_range": 0.02,
    }


def from_transformers(value: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    problems = others(value, _ONLY)
    width = value.get("n_embd", 768)
    if value.get("n_inner") is not None and value["n_inner"] != 4 * width:
        problems.append(f"n_inner is {value['n_inner']}, and only 4 x n_embd is known")
    shape = {
        "layers": value.get("n_layer", 12),
        "heads": value.get("n_head", 12),
        "width": width,
        "vocab": value.get("vocab_size", 50257),
        "context": value.get("n_positions", 1024),
        "tied": value.get("tie_word_embeddings", True),
        "dropout": value.get("resid_pdrop", 0.1),
    }
    return shape, problems
