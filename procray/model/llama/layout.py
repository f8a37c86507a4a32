"""Llama in transformers' checkpoints: config.json, and the names of tensors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from procray.model.family import others
from procray.model.llama.shape import LlamaConfig

_BUFFER = re.compile(r"(model\.)?layers\.\d+\.self_attn\.rotary_emb\.(inv_freq|\w+_cached)")
_BARE = re.compile(r"(embed_tokens|layers\.\d+|norm)\.")

# What a configuration may say beside its shape and still mean our network; the first value is the default where
# config.json is silent.
_ONLY: dict[str, tuple[Any, ...]] = {
    "hidden_act": ("silu",),
    "attention_bias": (False,),
    "mlp_bias": (False,),
    "rope_scaling": (None,),
    "rope_interleaved": (False,),
}


def own_name(name: str) -> str | None:
    """The name that we give to a tensor; None for buffers of older checkpoints."""
    if _BUFFER.fullmatch(name):
        return None
    return f"model.{name}" if _BARE.match(name) else name


def to_transformers(config: LlamaConfig) -> dict[str, Any]:
    return {
        "vocab_size": config.vocab,
        "max_position_embeddings": config.context,
        "hidden_size": config.width,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.groups,
        "head_dim": config.head,
        "intermediate_size": config.inner,
        "hidden_act": "silu",
        "rope_theta": config.rotary_base,
        "rms_norm_eps": config.norm_eps,
        "attention_dropout": config.dropout,
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": config.tied,
        "initializer_range": config.init_std,
    }


def from_transformers(value: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    rope = value.get("rope_parameters") or {}
    problems = others(value, _ONLY) + others(rope, {"rope_type": ("default",)})
    heads, width = value.get("num_attention_heads", 32), value.get("hidden_size", 4096)
    if value.get("head_dim") not in (None, width // heads):
        problems.append(f"head_dim is {value['head_dim']}, and only hidden_size / num_attention_heads is known")
    shape = {
        "layers": value.get("num_hidden_layers", 32),
        "heads": heads,
        "width": width,
        "vocab": value.get("vocab_size", 32000),
        "context": value.get("max_position_embeddings", 2048),
        "tied": value.get("tie_word_embeddings", False),
        "dropout": value.get("attention_dropout", 0.0),
        "inner": value.get("intermediate_size", 11008),
        "kv_heads": value.get("num_key_value_heads"),
        "rotary_base": value.get("rope_theta", rope.get("rope_theta", 10000.0)),
        "norm_eps": value.get("rms_norm_eps", 1e-6),
        "init_std": value.get("initializer_range", 0.02),
    }
    return shape, problems
