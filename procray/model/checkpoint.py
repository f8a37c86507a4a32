"""Weights on disk: a folder with `model.safetensors` and `config.json`, as transformers writes it. Never pickle."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from procray.errors import StoreError, TransferError
from procray.files import write_atomic, write_json
from procray.model.families import build, family_of
from procray.model.family import ModelConfig
from procray.model.layout import (
    CONFIG,
    WEIGHTS,
    from_transformers,
    read_config,
    settled,
    shards,
    to_transformers,
    untied,
)
from procray.model.network import Network
from procray.model.shape import parameter_shapes

_SHOWN = 200  # tensors in a message
_log = logging.getLogger("procray.model")


def save_weights(model: Network, folder: Path) -> dict[str, Any]:
    """Writes a model so that transformers' class of its family loads the folder; both files are synced to disk.

    The row form writes its own maps (`row_in`, `row_out`) beside the blocks, under a model type of its own.

    Returns:
        {"sha256": digest of model.safetensors, "bytes": its size}
    """
    return write_weights(model.state_dict(), model.config, Path(folder))


def write_weights(weights: Mapping[str, Tensor], config: ModelConfig, folder: Path) -> dict[str, Any]:
    """`save_weights` for weights that are in no model."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    data = save(tensors, metadata={"format": "pt"})
    write_json(folder / CONFIG, to_transformers(config))
    write_atomic(folder / WEIGHTS, data)
    return {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}


def load_weights(folder: Path) -> tuple[dict[str, Tensor], ModelConfig]:
    """Reads a folder of ours, or any transformers folder of our families with safetensors, sharded or not.

    Names come back as ours: the `transformer.` prefix added where a bare `GPT2Model` lacks it, causal
    masks and the duplicate of a tied head left out, heads of other tasks (`score.weight`) too. A tied matrix may be
    stored under either of its names. Weights come back as float32 on the CPU. What differs from the configuration
    is logged as a warning.

    Raises:
        StoreError: a missing, truncated or unreadable file.
        TransferError: something that is no model as we build it, with every offending tensor.
    """
    weights, config, notes = read_weights(folder)
    for note in notes:
        _log.warning("%s: %s", folder, note)
    return weights, config


def read_weights(folder: Path) -> tuple[dict[str, Tensor], ModelConfig, list[str]]:
    """`load_weights`, with what differs from the folder's configuration in words."""
    folder = Path(folder)
    stated = from_transformers(read_config(folder / CONFIG), folder / CONFIG)
    config = settled(stated, folder)
    return (
        tidy_weights(_read_tensors(folder), config, str(folder)),
        config,
        [] if config == stated else [untied(config)],
    )


def load_model(folder: Path) -> Network:
    """The model of a folder that `load_weights` reads, on the CPU.

    Raises:
        StoreError, TransferError: as `load_weights`.
    """
    weights, config = load_weights(folder)
    with torch.device("meta"):
        model: Network = build(config, seed=0)  # a seed, or torch's generator would move
    model.to_empty(device="cpu").load_state_dict(weights)
    return model


def tidy_weights(raw: Mapping[str, Tensor], config: ModelConfig, place: str) -> dict[str, Tensor]:
    """Weights under our names, checked against the shape; `place` opens the messages.

    Raises:
        TransferError: missing, unknown or misshapen tensors, all of them.
    """
    family = family_of(config)
    found: dict[str, Tensor] = {}
    for name, tensor in raw.items():
        own = family.own_name(name)
        if own is not None:
            found[own] = tensor
    wanted = parameter_shapes(config)
    if config.tied and family.head in found:  # one matrix: `safetensors.torch.save_model` keeps this name of it
        found.setdefault(family.table, found[family.head])
    problems = [f"{name}: missing" for name in wanted if name not in found]
    problems += [f"{name}: unknown" for name in found if name.startswith(family.root) and name not in wanted]
    for name in wanted:
        if name in found and tuple(found[name].shape) != wanted[name]:
            problems.append(f"{name}: shape {tuple(found[name].shape)}, the configuration means {wanted[name]}")
        elif name in found and not found[name].is_floating_point():
            problems.append(f"{name}: holds {found[name].dtype}, not floating-point numbers")
    if len(problems) > _SHOWN:
        problems[_SHOWN:] = [f"and {len(problems) - _SHOWN:,} more"]
    if problems:
        raise TransferError(
            f"{place} is not the {family.title} that its configuration describes:\n  " + "\n  ".join(problems)
        )
    return {name: found[name].to(torch.float32) for name in wanted}


def _read_tensors(folder: Path) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for path in shards(folder):
        try:
            tensors |= load_file(path)
        except (SafetensorError, OSError, ValueError) as error:
            raise StoreError(f"{path} cannot be read, so it is damaged or cut short: {error}") from error
    return tensors
