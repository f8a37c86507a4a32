"""GPT-NeoX as a family."""

from __future__ import annotations

from typing import Any

from procray.model.family import Family
from procray.model.neox.layout import from_transformers, own_name, to_transformers
from procray.model.neox.shape import SETTINGS, NeoXConfig, cut, parameter_shapes


def _network() -> Any:
    from procray.model.neox.network import NeoX

    return NeoX


def _stacked() -> Any:
    from procray.model.neox.stacked import logits

    return logits


def needs(part: str) -> tuple[str, ...]:
    if part in ("q", "k", "v", "proj"):
        return ("layers", "width", "heads", "rotary_pct")
    if part in ("mlp_in", "mlp_out"):
        return ("layers", "width", "inner")
    return ("width",) if part in ("ln_f", "embeddings") else ("layers", "width")


def _size(layers: int, heads: int, width: int) -> dict[str, Any]:
    # config.json of the hub says 512 positions of the 14m and 1024 of the 31m; they were trained on 2048 as the rest.
    return {"layers": layers, "heads": heads, "width": width, "context": 2048, "tied": False}


FAMILY = Family(
    name="neox",
    title="GPT-NeoX",
    config=NeoXConfig,
    settings=SETTINGS,
    parts=("q", "k", "v", "proj", "mlp_in", "mlp_out", "ln_1", "ln_2", "ln_f", "embeddings"),
    blocks="gpt_neox.layers",
    inside={
        "attention.query_key_value": ("q", "k", "v"),
        "attention.dense": ("proj",),
        "mlp.dense_h_to_4h": ("mlp_in",),
        "mlp.dense_4h_to_h": ("mlp_out",),
        "input_layernorm": ("ln_1",),
        "post_attention_layernorm": ("ln_2",),
    },
    outside={
        "gpt_neox.final_layer_norm": "ln_f",
        "gpt_neox.embed_in": "embeddings",
        "embed_out": "embeddings",
        "row_in": "embeddings",
        "row_out": "embeddings",
    },
    table="gpt_neox.embed_in.weight",
    head="embed_out.weight",
    positions=None,
    shapes=parameter_shapes,
    cut=cut,
    needs=needs,
    model_type="gpt_neox",
    architecture="GPTNeoXForCausalLM",
    to_transformers=to_transformers,
    from_transformers=from_transformers,
    own_name=own_name,
    network_name="NeoX",
    network=_network,
    stacked=_stacked,
    # EleutherAI/pythia, models/*/pythia-*.yml: what they were trained as
    presets={
        "pythia-14m": _size(6, 4, 128),
        "pythia-31m": _size(6, 8, 256),
        "pythia-70m": _size(6, 8, 512),
        "pythia-160m": _size(12, 12, 768),
        "pythia-410m": _size(24, 16, 1024),
        "pythia-1b": _size(16, 8, 2048),
    },
)
