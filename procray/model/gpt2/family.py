"""GPT-2 as a family."""

from __future__ import annotations

from typing import Any

from procray.model.family import Family
from procray.model.gpt2.layout import from_transformers, own_name, to_transformers
from procray.model.gpt2.shape import GPT2Config, cut, parameter_shapes


def _network() -> Any:
    from procray.model.gpt2.network import GPT2

    return GPT2


def _stacked() -> Any:
    from procray.model.gpt2.stacked import logits

    return logits


def needs(part: str) -> tuple[str, ...]:
    if part in ("q", "k", "v", "proj"):
        return ("layers", "width", "heads")
    return ("width",) if part in ("ln_f", "embeddings", "positions") else ("layers", "width")


def _size(layers: int, heads: int, width: int) -> dict[str, Any]:
    return {"layers": layers, "heads": heads, "width": width, "context": 1024, "tied": True}


FAMILY = Family(
    name="gpt2",
    title="GPT-2",
    config=GPT2Config,
    parts=("q", "k", "v", "proj", "mlp_in", "mlp_out", "ln_1", "ln_2", "ln_f", "embeddings", "positions"),
    blocks="transformer.h",
    inside={
        "attn.c_attn": ("q", "k", "v"),
        "attn.c_proj": ("proj",),
        "mlp.c_fc": ("mlp_in",),
        "mlp.c_proj": ("mlp_out",),
        "ln_1": ("ln_1",),
        "ln_2": ("ln_2",),
    },
    outside={
        "transformer.ln_f": "ln_f",
        "transformer.wte": "embeddings",
        "transformer.wpe": "positions",
        "lm_head": "embeddings",
        "row_in": "embeddings",
        "row_out": "embeddings",
    },
    table="transformer.wte.weight",
    head="lm_head.weight",
    positions="transformer.wpe.weight",
    shapes=parameter_shapes,
    cut=cut,
    needs=needs,
    model_type="gpt2",
    architecture="GPT2LMHeadModel",
    to_transformers=to_transformers,
    from_transformers=from_transformers,
    own_name=own_name,
    network_name="GPT2",
    network=_network,
    stacked=_stacked,
    # openai-community/gpt2, gpt2-medium, gpt2-large and gpt2-xl, config.json
    presets={
        "gpt2": _size(12, 12, 768),
        "gpt2-medium": _size(24, 16, 1024),
        "gpt2-large": _size(36, 20, 1280),
        "gpt2-xl": _size(48, 25, 1600),
    },
    steady=True,
)
