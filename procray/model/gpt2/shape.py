"""The shape of a GPT-2: its parameters, and how they are laid out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from procray.model.family import Cut, check_shape


@dataclass(frozen=True)
class GPT2Config:
    """The shape of a GPT-2; the attributes as in `ModelConfig`.

    Attributes:
        dropout: on the embeddings, the attention weights and both residual branches, as in GPT-2.

    Raises:
        ProcrayError: an impossible shape.
    """

    family: ClassVar[str] = "gpt2"

    layers: int
    heads: int
    width: int
    vocab: int
    context: int
    tied: bool = True
    dropout: float = 0.0
    rows: int | None = None
    pad_vocab: int = 1

    def __post_init__(self) -> None:
        check_shape(self)


def parameter_shapes(config: GPT2Config) -> dict[str, tuple[int, ...]]:
    """Every parameter's name and shape: transformers' names, projections stored (in, out)."""
    D, V, W = config.width, config.vocab, config.rows
    shapes: dict[str, tuple[int, ...]] = {}
    if W is None:
        shapes["transformer.wte.weight"] = (V, D)
    shapes["transformer.wpe.weight"] = (config.context, D)
    for layer in range(config.layers):
        block = f"transformer.h.{layer}"
        shapes |= {f"{block}.ln_1.weight": (D,), f"{block}.ln_1.bias": (D,)}
        shapes |= {f"{block}.attn.c_attn.weight": (D, 3 * D), f"{block}.attn.c_attn.bias": (3 * D,)}
        shapes |= {f"{block}.attn.c_proj.weight": (D, D), f"{block}.attn.c_proj.bias": (D,)}
        shapes |= {f"{block}.ln_2.weight": (D,), f"{block}.ln_2.bias": (D,)}
        shapes |= {f"{block}.mlp.c_fc.weight": (D, 4 * D), f"{block}.mlp.c_fc.bias": (4 * D,)}
        shapes |= {f"{block}.mlp.c_proj.weight": (4 * D, D), f"{block}.mlp.c_proj.bias": (D,)}
    shapes |= {"transformer.ln_f.weight": (D,), "transformer.ln_f.bias": (D,)}
    if W is not None:
        shapes |= {"row_in.weight": (D, W), "row_in.bias": (D,), "row_out.weight": (W, D), "row_out.bias": (W,)}
    elif not config.tied:
        shapes["lm_head.weight"] = (V, D)
    return shapes


def cut(config: GPT2Config, parameter: str) -> Cut | None:
    """How queries, keys, values and the heads lie side by side."""
    D, H, E = config.width, config.heads, config.width // config.heads
    if parameter.endswith("attn.c_attn.weight"):
        return Cut((D, 3, H, E), parts=1, heads=2)
    if parameter.endswith("attn.c_attn.bias"):
        return Cut((3, H, E), parts=0, heads=1)
    if parameter.endswith("attn.c_proj.weight"):
        return Cut((H, E, D), heads=0)
    return None
