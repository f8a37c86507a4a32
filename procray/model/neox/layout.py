"""GPT-NeoX in transformers' checkpoints: config.json, and the names of tensors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from procray.model.family import others
from procray.model.neox.shape import NeoXConfig

# Buffers of older checkpoints.
_BUFFER = re.compile(r"(gpt_neox\.)?layers\.\d+\.attention\.(bias|masked_bias|rotary_emb\.(inv_freq|\w+_cached))")
_BARE = re.compile(r"(embed_in|layers\.\d+|final_layer_norm)\.")

# What a configuration may say beside its shape and still mean our network; the first value is the default where
# config.json is silent.
_ONLY: dict[str, tuple[Any, ...]] = {
    "hidden_act": ("gelu",),
    "attention_bias": (True,),
    "rope_scaling": (None,),
}


def own_name(name: str) -> str | None:
    """The name that we give to a tensor; None for buffers. transformers 5 also calls the head `lm_head`."""
    if _BUFFER.fullmatch(name):
        return None
    return f"gpt_neox.{name}" if _BARE.match(name) else name.replace("lm_head.", "embed_out.")


def to_transformers(config: NeoXConfig) -> dict[str, Any]:
    return {
        "vocab_size": config.vocab,
        "max_position_embeddings": config.context,
        "hidden_size": config.width,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "intermediate_size": config.inner,
        "hidden_act": "gelu",
        "rotary_pct": config.rotary_pct,
        "rotary_emb_base": config.rotary_base,
        "use_parallel_residual": config.parallel_residual,
        "attention_bias": True,
        "layer_norm_eps": config.norm_eps,
        "hidden_dropout": config.dropout,
        "attention_dropout": config.dropout,
        "tie_word_embeddings": config.tied,
        "initializer_range": 0.02,
    }


def from_transformers(value: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    rope = value.get("rope_parameters") or {}
    problems = others(value, _ONLY) + others(rope, {"rope_type": ("default",)})
    shape = {
        "layers": value.get("num_hidden_layers", 44),
        "heads": value.get("num_attention_heads", 64),
        "width": value.get("hidden_size", 6144),
        "vocab": value.get("vocab_size", 50432),
        "context": value.get("max_position_embeddings", 2048),
        "tied": value.get("tie_word_embeddings", False),
        "dropout": value.get("hidden_dropout", 0.0),
        "inner": value.get("intermediate_size", 24576),
        "rotary_pct": value.get("rotary_pct", rope.get("partial_rotary_factor", 0.25)),
        "rotary_base": value.get("rotary_emb_base", rope.get("rope_theta", 10000)),
        "parallel_residual": value.get("use_parallel_residual", True),
        "norm_eps": value.get("layer_norm_eps", 1e-5),
    }
    return shape, problems
