"""The shape of a GPT-2 and what follows from it: parameter shapes, their number, FLOPs.

Needs no torch, so that planning a sweep stays quick.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

from procray.errors import ProcrayError

# Far beyond anything that has been trained; a configuration from elsewhere must not cost memory by its numbers alone.
_MOST = {
    "layers": 10_000,
    "heads": 10_000,
    "width": 10**6,
    "vocab": 2**31,
    "context": 10**8,
    "pad_vocab": 2**20,
    "rows": 10**6,
}


@dataclass(frozen=True)
class GPT2Config:
    """The shape of a GPT-2.

    Attributes:
        vocab: rows of the token embedding, and of the logits.
        context: positions the model has; sequences may be shorter.
        tied: whether the head is the token embedding or a matrix of its own.
        dropout: on the embeddings, the attention weights and both residual branches, as in GPT-2.
        rows: None for tokens. W for rows of a cellular automaton: one position is one row of W
            cells, a linear map W -> width stands in place of the token embedding and one
            width -> W in place of the head. `vocab` and `tied` then mean nothing.
        pad_vocab: the head's matrix product is computed with its rows rounded up to a multiple of
            this (64 suits tensor cores). Seen nowhere outside: parameters and logits have `vocab`.

    Raises:
        ProcrayError: an impossible shape.
    """

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
        counts = {name: getattr(self, name) for name in ("layers", "heads", "width", "vocab", "context", "pad_vocab")}
        if self.rows is not None:
            counts["rows"] = self.rows
        for name, value in counts.items():
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ProcrayError(f"model {name} must be a whole number of at least 1, not {value!r:.40}")
            if value > _MOST[name]:
                raise ProcrayError(f"model {name} must be at most {_MOST[name]:,}")
        if self.width % self.heads:
            raise ProcrayError(f"model width {self.width} cannot be divided among {self.heads} heads")
        if isinstance(self.dropout, bool) or not isinstance(self.dropout, int | float) or not 0 <= self.dropout < 1:
            raise ProcrayError(f"model dropout must lie in [0, 1), not {self.dropout!r}")


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


@cache
def parameters(config: GPT2Config) -> int:
    """The number of trained values; a tied head counts once."""
    return sum(math.prod(shape) for shape in parameter_shapes(config).values())


def flops_per_token(config: GPT2Config, context: int) -> float:
    """Floating-point operations of one training step (forward and backward) per position.

    `6 N + 12 L D T`: L layers of width D at T = `context` positions. N counts every parameter that
    takes part in a matrix product: all but the position table, and but the token table where the
    head is untied (looking up a row costs nothing; a tied table is the head, and counts). The
    second term is attention's two products; the causal half is not discounted. The same formula as
    in PaLM (arXiv 2204.02311, appendix B) and nanoGPT.
    """
    looked_up = config.context * config.width
    if config.rows is None and not config.tied:
        looked_up += config.vocab * config.width
    return 6.0 * (parameters(config) - looked_up) + 12.0 * config.layers * config.width * context
