"""The checkpoints of arXiv 2601.21725's released code, brought into our format by an explicit step."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from procray.errors import TransferError
from procray.model.checkpoint import tidy_weights, write_weights
from procray.model.gpt2.layout import own_name
from procray.model.gpt2.shape import GPT2Config
from procray.model.pickles import read_pickle

# The heads of the released sizes (2_4_16, 12_3_192, 4_4_256, 4_8_512, 12_12_768, 16_8_2048), by width: the number
# of heads leaves no trace in the weights.
_HEADS = {16: 4, 192: 3, 256: 4, 512: 8, 768: 12, 2048: 8}


def import_official(path: Path, folder: Path, heads: int | None = None) -> dict[str, Any]:
    """Converts an official `.pth` checkpoint into a folder that `load_weights` and transformers read.

    Args:
        path, heads: as in `load_official`.
        folder: where to write.

    Returns:
        What `save_weights` returns.

    Raises:
        StoreError, TransferError: as `load_official`.
    """
    weights, config = load_official(path, heads)
    return write_weights(weights, config, Path(folder))


def load_official(path: Path, heads: int | None = None) -> tuple[dict[str, Tensor], GPT2Config]:
    """The weights of an official `.pth` checkpoint under our names, and their shape.

    Args:
        path: a dict with the weights under "model", as the released code saves it.
        heads: the number of attention heads; by default that of the released size of the same width.

    Raises:
        StoreError: a missing or damaged file.
        TransferError: a file that holds anything but such a checkpoint, or an unknown number of heads.
    """
    return official_weights(read_pickle(Path(path)), Path(path), heads)


def official_weights(
    content: Mapping[str, Any], path: Path, heads: int | None = None
) -> tuple[dict[str, Tensor], GPT2Config]:
    """`load_official` for a file that `read_pickle` has read.

    Its optimiser, scheduler and causal masks are left out. The head is tied where the file holds none or a
    duplicate of the token embedding.
    """
    weights = {own: tensor for name, tensor in content["model"].items() if (own := own_name(str(name))) is not None}
    table, positions = weights.get("transformer.wte.weight"), weights.get("transformer.wpe.weight")
    if table is None or positions is None or table.dim() != 2 or positions.dim() != 2:
        raise TransferError(f"{path}: no transformer.wte.weight and transformer.wpe.weight, so this is no GPT-2")
    width = table.shape[1]
    if heads is None and width not in _HEADS:
        raise TransferError(f"{path}: width {width} is no released size, so the number of heads must be given")
    layers = {name.split(".")[2] for name in weights if name.startswith("transformer.h.")}
    if not layers:
        raise TransferError(f"{path}: no transformer.h.0, so this is no GPT-2")
    head = weights.get("lm_head.weight")
    config = GPT2Config(
        layers=len(layers),
        heads=_HEADS[width] if heads is None else heads,
        width=width,
        vocab=table.shape[0],
        context=positions.shape[0],
        tied=head is None or torch.equal(head, table),
    )
    return tidy_weights(weights, config, str(path)), config
