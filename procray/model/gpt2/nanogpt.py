"""The `ckpt.pt` of nanoGPT, whose network is GPT-2 with other names for its shape and its matrices stored (out, in)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from procray.errors import ProcrayError, TransferError, did_you_mean
from procray.model.checkpoint import tidy_weights
from procray.model.gpt2.layout import own_name
from procray.model.gpt2.shape import GPT2Config, parameter_shapes

_SIZES = {"n_layer": "layers", "n_head": "heads", "n_embd": "width", "vocab_size": "vocab", "block_size": "context"}
_OTHERS = ("bias", "dropout")
_WRAPPED = re.compile(r"(_orig_mod\.|module\.)+")  # what torch.compile and DistributedDataParallel put in front
_MATRIX = re.compile(r"transformer\.h\.\d+\.(attn|mlp)\.c_\w+\.weight")
_GPT2_ENTRIES, _PADDED_ENTRIES = 50257, 50304


def is_nanogpt(content: Mapping[str, Any]) -> bool:
    """Whether the content of a pickle is laid out as nanoGPT's training script saves it."""
    return isinstance(content.get("model_args"), dict)


def nanogpt_weights(
    content: Mapping[str, Any], path: Path, heads: int | None = None
) -> tuple[dict[str, Tensor], GPT2Config, list[str]]:
    """The weights of a nanoGPT checkpoint under our names and in our layout, their shape, and what to know of them.

    A model without biases gets biases of zero, which is the same function. The optimiser and the training
    settings are left out.

    Args:
        content: as `read_pickle` gives it.
        path: named in messages.
        heads: must be the number in the checkpoint, if given.

    Raises:
        TransferError: another network than nanoGPT's GPT-2, as those of some forks.
    """
    config, biased = _shape(content["model_args"], path)
    if heads is not None and heads != config.heads:
        raise TransferError(f"{path} has {config.heads} heads, not {heads}")
    found: dict[str, Tensor] = {}
    for name, tensor in content["model"].items():
        own = own_name(_WRAPPED.sub("", str(name), count=1) if _WRAPPED.match(str(name)) else str(name))
        if own is not None:
            found[own] = tensor.t() if _MATRIX.fullmatch(own) and tensor.dim() == 2 else tensor
    head, table = found.get("lm_head.weight"), found.get("transformer.wte.weight")
    if head is not None and table is not None and not torch.equal(head, table):
        config = GPT2Config(**{**vars(config), "tied": False})
    notes = [
        "nanoGPT's layout; since mid-2023 its MLP computes the exact GELU, and GPT-2's, as here, is the tanh"
        " approximation, so logits may differ in the third decimal"
    ]
    if not biased:
        notes.append("no biases in the file: they are zero, which is the same function, and training moves them")
        for name, shape in parameter_shapes(config).items():
            weight = found.get(name.removesuffix("bias") + "weight") if name.endswith(".bias") else None
            if weight is not None and weight.shape[-1:] == shape:  # numbers alone must not cost memory
                found.setdefault(name, torch.zeros(shape))
    if config.vocab == _PADDED_ENTRIES:
        notes.append(
            f"its vocabulary of {_PADDED_ENTRIES:,} rows is kept: the last {_PADDED_ENTRIES - _GPT2_ENTRIES} pad"
            f" GPT-2's {_GPT2_ENTRIES:,} entries, and stand for no token"
        )
    if not config.tied:
        notes.append("lm_head.weight differs from the token embedding: it is a head of its own (tied: false)")
    return tidy_weights(found, config, f"{path} (nanoGPT's layout)"), config, notes


def _shape(args: Mapping[str, Any], path: Path) -> tuple[GPT2Config, bool]:
    """The shape that `model_args` states, with a tied head, and whether the layers have biases."""
    known = (*_SIZES, *_OTHERS)
    problems = [f"{key}: missing" for key in _SIZES if key not in args]
    problems += [
        f"{key!s:.40}: unknown{did_you_mean(str(key), known)}, so it may be another network"
        for key in args
        if key not in known
    ]
    biased = args.get("bias", True)
    if not isinstance(biased, bool):
        problems.append(f"bias: true or false, not {biased!r:.40}")
    if problems:
        raise TransferError(f"{path}: model_args is not that of nanoGPT's GPT-2:\n  " + "\n  ".join(problems))
    try:
        sizes = {ours: args[theirs] for theirs, ours in _SIZES.items()}
        return GPT2Config(**sizes, dropout=args.get("dropout", 0.0)), biased
    except ProcrayError as error:
        raise TransferError(f"{path}: model_args: {error}") from error
