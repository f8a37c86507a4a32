"""Components: which parameter belongs to what, and the names of transfer modes.

Needs no torch, so that planning a sweep stays quick.
"""

from __future__ import annotations

import re
from typing import Literal

from procray.errors import TransferError, did_you_mean

Embeddings = Literal["mean", "copy"]

COMPONENTS = ("attention", "mlp", "layernorm", "embeddings", "positions")

# Exact patterns over whole names: a parameter matches one of them or is unknown.
_PATTERNS = {
    "attention": r"transformer\.h\.\d+\.attn\.(c_attn|c_proj)\.(weight|bias)",
    "mlp": r"transformer\.h\.\d+\.mlp\.(c_fc|c_proj)\.(weight|bias)",
    "layernorm": r"transformer\.(h\.\d+\.ln_1|h\.\d+\.ln_2|ln_f)\.(weight|bias)",
    "embeddings": r"transformer\.wte\.weight|lm_head\.weight|row_(in|out)\.(weight|bias)",
    "positions": r"transformer\.wpe\.weight",
}
_COMPILED = {component: re.compile(pattern) for component, pattern in _PATTERNS.items()}
_MASK = re.compile(r"(transformer\.)?h\.\d+\.attn\.(bias|masked_bias)")
_BARE = re.compile(r"(wte|wpe|h\.\d+|ln_f)\.")

# The two published bundles (arXiv 2601.21725): semantic targets leave embeddings and positions random,
# the diagnostics also set every embedding to the mean one and keep the positions.
_BUNDLES = {
    "none": (),
    "full": ("attention", "mlp", "layernorm"),
    "full+embeddings": ("attention", "mlp", "layernorm", "embeddings", "positions"),
}


def component_of(parameter: str) -> str:
    """The one component that a parameter belongs to.

    Raises:
        TransferError: no GPT-2 of ours has a parameter of this name.
    """
    for component, pattern in _COMPILED.items():
        if pattern.fullmatch(parameter):
            return component
    raise TransferError(f"'{parameter}' is no parameter of a GPT-2, so it belongs to no component")


def own_name(name: str) -> str | None:
    """The name that we give to a tensor of a GPT-2 checkpoint; None for the causal masks of older ones.

    Checkpoints of the bare `GPT2Model` lack the `transformer.` in front.
    """
    if _MASK.fullmatch(name):
        return None
    return f"transformer.{name}" if _BARE.match(name) else name


def parse_mode(mode: str) -> tuple[tuple[str, ...], Embeddings]:
    """The components that a transfer mode carries, in the order of `COMPONENTS`, and how embeddings travel.

    `full` is attention + mlp + layernorm; `full+embeddings` adds the mean embeddings and the
    positions; `none` carries nothing; everything else is a `+`-list of components, in which `full`
    may stand for its three. Embeddings named in a mode always travel as their mean.

    Raises:
        TransferError: an unknown or repeated name, with the nearest valid one.
    """
    text = "+".join(part.strip() for part in str(mode).split("+"))
    if text in _BUNDLES:
        return _BUNDLES[text], "mean"
    chosen: list[str] = []
    for part in text.split("+"):
        if part in COMPONENTS:
            chosen.append(part)
        elif part == "full":
            chosen.extend(_BUNDLES["full"])
        elif part == "none":
            raise TransferError(f"transfer mode '{mode}': 'none' stands alone")
        else:
            known = [*COMPONENTS, *_BUNDLES]
            raise TransferError(
                f"transfer mode '{mode}': unknown component '{part}'{did_you_mean(part, known)}"
                f" (a mode is {', '.join(_BUNDLES)}, or a '+'-list of {', '.join(COMPONENTS)})"
            )
    repeated = sorted({part for part in chosen if chosen.count(part) > 1})
    if repeated:
        raise TransferError(f"transfer mode '{mode}' names {', '.join(repeated)} more than once")
    if "full" in text.split("+") and "embeddings" in chosen:
        chosen.append("positions")  # full+embeddings, however it is written
    return tuple(component for component in COMPONENTS if component in chosen), "mean"
