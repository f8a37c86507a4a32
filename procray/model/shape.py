"""What follows from the shape of a model: its parameters, their number, FLOPs.

Needs no torch, so that planning a sweep stays quick.
"""

from __future__ import annotations

import math
from functools import cache

from procray.model.families import family_of
from procray.model.family import ModelConfig


def parameter_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Every parameter's name and shape, with transformers' names and layout."""
    return family_of(config).shapes(config)


@cache
def parameters(config: ModelConfig) -> int:
    """The number of trained values; a tied head counts once."""
    return sum(math.prod(shape) for shape in parameter_shapes(config).values())


def flops_per_token(config: ModelConfig, context: int) -> float:
    """Floating-point operations of one training step (forward and backward) per position.

    `6 N + 12 L D T`: L layers of width D at T = `context` positions. N counts every parameter that
    takes part in a matrix product: all but the position table, and but the token table where the
    head is untied (looking up a row costs nothing; a tied table is the head, and counts). The
    second term is attention's two products; the causal half is not discounted. The same formula as
    in PaLM (arXiv 2204.02311, appendix B) and nanoGPT.
    """
    looked_up = 0 if family_of(config).positions is None else config.context * config.width
    if config.rows is None and not config.tied:
        looked_up += config.vocab * config.width
    return 6.0 * (parameters(config) - looked_up) + 12.0 * config.layers * config.width * context
