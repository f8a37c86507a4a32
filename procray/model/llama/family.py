"""Llama as a family."""

from __future__ import annotations

from typing import Any

from procray.model.family import Family
from procray.model.llama.layout import from_transformers, own_name, to_transformers
from procray.model.llama.shape import SETTINGS, LlamaConfig, cut, parameter_shapes


def _network() -> Any:
    from procray.model.llama.network import Llama

    return Llama


def _stacked() -> Any:
    from procray.model.llama.stacked import logits

    return logits


def needs(part: str) -> tuple[str, ...]:
    if part in ("q", "proj"):
        return ("layers", "width", "heads")
    if part in ("k", "v"):
        return ("layers", "width", "heads", "kv_heads")
    if part in ("gate", "up", "down"):
        return ("layers", "width", "inner")
    return ("width",) if part in ("ln_f", "embeddings") else ("layers", "width")


def _smollm(layers: int, heads: int, kv_heads: int, width: int, inner: int) -> dict[str, Any]:
    return {
        "layers": layers,
        "heads": heads,
        "kv_heads": kv_heads,
        "width": width,
        "inner": inner,
        "context": 2048,
        "tied": True,
        "rotary_base": 10000.0,
        "norm_eps": 1e-5,
        "init_std": 0.02,
    }


FAMILY = Family(
    name="llama",
    title="Llama",
    config=LlamaConfig,
    settings=SETTINGS,
    parts=("q", "k", "v", "proj", "gate", "up", "down", "ln_1", "ln_2", "ln_f", "embeddings"),
    blocks="model.layers",
    inside={
        "self_attn.q_proj": ("q",),
        "self_attn.k_proj": ("k",),
        "self_attn.v_proj": ("v",),
        "self_attn.o_proj": ("proj",),
        "mlp.gate_proj": ("gate",),
        "mlp.up_proj": ("up",),
        "mlp.down_proj": ("down",),
        "input_layernorm": ("ln_1",),
        "post_attention_layernorm": ("ln_2",),
    },
    outside={
        "model.norm": "ln_f",
        "model.embed_tokens": "embeddings",
        "lm_head": "embeddings",
        "row_in": "embeddings",
        "row_out": "embeddings",
    },
    table="model.embed_tokens.weight",
    head="lm_head.weight",
    positions=None,
    shapes=parameter_shapes,
    cut=cut,
    needs=needs,
    model_type="llama",
    architecture="LlamaForCausalLM",
    to_transformers=to_transformers,
    from_transformers=from_transformers,
    own_name=own_name,
    network_name="Llama",
    network=_network,
    stacked=_stacked,
    # HuggingFaceTB/SmolLM-135M and SmolLM-360M (the first generation), config.json
    presets={
        "smollm-135m": _smollm(30, 9, 3, 576, 1536),
        "smollm-360m": _smollm(32, 15, 5, 960, 2560),
    },
)
