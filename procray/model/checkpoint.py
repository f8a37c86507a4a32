"""Weights on disk: a folder with `model.safetensors` and `config.json`, as transformers writes it. Never pickle."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from procray.errors import ProcrayError, StoreError, TransferError
from procray.files import write_atomic, write_json
from procray.model.components import own_name
from procray.model.gpt2 import GPT2
from procray.model.shape import GPT2Config, parameter_shapes

WEIGHTS, CONFIG, INDEX = "model.safetensors", "config.json", "model.safetensors.index.json"
ROWS_TYPE = "procray-eca-rows"

# What a GPT-2 configuration may say beside its shape and still mean the network in gpt2.py; the first value is
# the default where config.json is silent.
_ONLY: dict[str, tuple[Any, ...]] = {
    "activation_function": ("gelu_new", "gelu_pytorch_tanh"),  # one function, two spellings
    "layer_norm_epsilon": (1e-5,),
    "scale_attn_weights": (True,),
    "scale_attn_by_inverse_layer_idx": (False,),
    "add_cross_attention": (False,),
}


def save_weights(model: GPT2, folder: Path) -> dict[str, Any]:
    """Writes a model so that `GPT2LMHeadModel.from_pretrained(folder)` loads it; both files are synced to disk.

    The row form writes its own maps (`row_in`, `row_out`) beside the blocks, under a model type of its own.

    Returns:
        {"sha256": digest of model.safetensors, "bytes": its size}
    """
    return write_weights(model.state_dict(), model.config, Path(folder))


def write_weights(weights: Mapping[str, Tensor], config: GPT2Config, folder: Path) -> dict[str, Any]:
    """`save_weights` for weights that are in no model."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    data = save(tensors, metadata={"format": "pt"})
    write_json(folder / CONFIG, _to_transformers(config))
    write_atomic(folder / WEIGHTS, data)
    return {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}


def load_weights(folder: Path) -> tuple[dict[str, Tensor], GPT2Config]:
    """Reads a folder of ours, or any transformers GPT-2 folder with safetensors, sharded or not.

    Names come back as ours: the `transformer.` prefix added where a bare `GPT2Model` lacks it, causal
    masks and the duplicate of a tied head left out, heads of other tasks (`score.weight`) too. Weights
    come back as float32 on the CPU.

    Raises:
        StoreError: a missing, truncated or unreadable file.
        TransferError: something that is not a GPT-2 as we build it, with every offending tensor.
    """
    folder = Path(folder)
    config = _from_transformers(_read_json(folder / CONFIG), folder / CONFIG)
    return tidy_weights(_read_tensors(folder), config, str(folder)), config


def load_model(folder: Path) -> GPT2:
    """The model of a folder that `load_weights` reads, on the CPU.

    Raises:
        StoreError, TransferError: as `load_weights`.
    """
    weights, config = load_weights(folder)
    with torch.device("meta"):
        model = GPT2(config, seed=0)  # a seed, or torch's generator would move
    model.to_empty(device="cpu").load_state_dict(weights)
    return model


def tidy_weights(raw: Mapping[str, Tensor], config: GPT2Config, place: str) -> dict[str, Tensor]:
    """Weights under our names, checked against the shape; `place` opens the messages.

    Raises:
        TransferError: missing, unknown or misshapen tensors, all of them.
    """
    found: dict[str, Tensor] = {}
    for name, tensor in raw.items():
        own = own_name(name)
        if own is not None:
            found[own] = tensor
    wanted = parameter_shapes(config)
    head, table = found.get("lm_head.weight"), found.get("transformer.wte.weight")
    if config.tied and head is not None and table is not None and not torch.equal(head, table):
        raise TransferError(f"{place}: the head is called tied, but lm_head.weight differs from the token embedding")
    problems = [f"{name}: missing" for name in wanted if name not in found]
    problems += [f"{name}: unknown" for name in found if name.startswith("transformer.") and name not in wanted]
    for name in wanted:
        if name in found and tuple(found[name].shape) != wanted[name]:
            problems.append(f"{name}: shape {tuple(found[name].shape)}, the configuration means {wanted[name]}")
        elif name in found and not found[name].is_floating_point():
            problems.append(f"{name}: holds {found[name].dtype}, not floating-point numbers")
    if problems:
        raise TransferError(f"{place} is not the GPT-2 that its configuration describes:\n  " + "\n  ".join(problems))
    return {name: found[name].to(torch.float32) for name in wanted}


def _read_tensors(folder: Path) -> dict[str, Tensor]:
    if (folder / INDEX).exists():
        index = _read_json(folder / INDEX)
        parts = sorted(set(index["weight_map"].values())) if isinstance(index.get("weight_map"), dict) else []
        if not parts or any(Path(part).name != part for part in parts):
            raise StoreError(f"{folder / INDEX} does not list the weight files of this folder")
    else:
        parts = [WEIGHTS]
    tensors: dict[str, Tensor] = {}
    for part in parts:
        path = folder / part
        if not path.exists():
            others = sorted(p.name for p in folder.glob("*") if p.suffix in {".bin", ".pt", ".pth"})
            hint = f" (found {', '.join(others)}: pickled weights are not read from a folder)" if others else ""
            raise StoreError(f"{path} is missing{hint}")
        try:
            tensors |= load_file(path)
        except (SafetensorError, OSError, ValueError) as error:
            raise StoreError(f"{path} cannot be read, so it is damaged or cut short: {error}") from error
    return tensors


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StoreError(f"{path} is missing, so {path.parent} holds no model") from None
    except (OSError, ValueError) as error:
        raise StoreError(f"{path} cannot be read: {error}") from error
    if not isinstance(value, dict):
        raise StoreError(f"{path} holds no JSON object")
    return value


def _to_transformers(config: GPT2Config) -> dict[str, Any]:
    value: dict[str, Any] = {
        "model_type": "gpt2",
        "architectures": ["GPT2LMHeadModel"],
        "vocab_size": config.vocab,
        "n_positions": config.context,
        "n_embd": config.width,
        "n_layer": config.layers,
        "n_head": config.heads,
        "tie_word_embeddings": config.tied,
        "embd_pdrop": config.dropout,
        "attn_pdrop": config.dropout,
        "resid_pdrop": config.dropout,
        "activation_function": "gelu_new",
        "layer_norm_epsilon": 1e-5,
        "initializer_range": 0.02,
        "bos_token_id": None,  # GPT-2's 50256 would lie outside a small vocabulary
        "eos_token_id": None,
        "dtype": "float32",
    }
    if config.rows is not None:
        value |= {"model_type": ROWS_TYPE, "architectures": ["GPT2"], "rows": config.rows}
    return value


def _from_transformers(value: Mapping[str, Any], path: Path) -> GPT2Config:
    if value.get("model_type") not in {"gpt2", ROWS_TYPE}:
        raise TransferError(f"{path}: model_type is {value.get('model_type')!r}, not 'gpt2'")
    problems = [
        f"{key} is {value[key]!r}, and only {' or '.join(map(repr, allowed))} is known"
        for key, allowed in _ONLY.items()
        if key in value and value[key] not in allowed
    ]
    width = value.get("n_embd", 768)
    if value.get("n_inner") is not None and value["n_inner"] != 4 * width:
        problems.append(f"n_inner is {value['n_inner']}, and only 4 x n_embd is known")
    if problems:
        raise TransferError(f"{path}: not a GPT-2 as built here: " + "; ".join(problems))
    try:
        return GPT2Config(
            layers=value.get("n_layer", 12),
            heads=value.get("n_head", 12),
            width=width,
            vocab=value.get("vocab_size", 50257),
            context=value.get("n_positions", 1024),
            tied=value.get("tie_word_embeddings", True),
            dropout=value.get("resid_pdrop", 0.1),
            rows=value.get("rows"),
        )
    except (ProcrayError, TypeError) as error:
        raise TransferError(f"{path}: {error}") from error
