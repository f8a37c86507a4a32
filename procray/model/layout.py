"""How a folder with a model is laid out: its files, and config.json as transformers writes it.

Needs no torch, so that planning a sweep stays quick.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from procray.errors import ProcrayError, StoreError, TransferError
from procray.files import read_json
from procray.model.components import own_name
from procray.model.shape import GPT2Config
from procray.records import is_plain

WEIGHTS, CONFIG, INDEX = "model.safetensors", "config.json", "model.safetensors.index.json"
ROWS_TYPE = "procray-eca-rows"
_LARGEST = 1 << 26  # bytes of a configuration or an index
_PIECE = 1 << 24  # bytes of a tensor that are compared at a time

# The class of tokenizer that config.json names. No such class exists, so that AutoTokenizer fails on a folder of
# weights alone: for a GPT-2 without tokenizer files transformers 5 makes a tokenizer of one entry, and says nothing.
# tokenizer_config.json, where there is one, comes before it.
NO_TOKENIZER = "NoTokenizer"

UNTIED = (
    "config.json calls the head tied, but lm_head.weight differs from the token embedding: it is read as a head of its"
    " own (tied: false)"
)

# What a GPT-2 configuration may say beside its shape and still mean the network in gpt2.py; the first value is
# the default where config.json is silent.
_ONLY: dict[str, tuple[Any, ...]] = {
    "activation_function": ("gelu_new", "gelu_pytorch_tanh"),  # one function, two spellings
    "layer_norm_epsilon": (1e-5,),
    "scale_attn_weights": (True,),
    "scale_attn_by_inverse_layer_idx": (False,),
    "add_cross_attention": (False,),
}


def shards(folder: Path) -> list[Path]:
    """The weight files of a folder, of one that transformers has cut into several too.

    Raises:
        StoreError: one of them is missing, or there are none.
    """
    if (folder / INDEX).exists():
        index = read_config(folder / INDEX)
        listed = index.get("weight_map")
        names = list(listed.values()) if isinstance(listed, dict) else []
        parts = sorted({name for name in names if is_plain(name)})
        if not parts or not all(map(is_plain, names)):
            raise StoreError(f"{folder / INDEX} does not list the weight files of this folder")
    else:
        parts = [WEIGHTS]
    for part in parts:
        if not (folder / part).exists():
            others = sorted(p.name for p in folder.glob("*") if p.suffix in {".bin", ".pt", ".pth"})
            hint = f" (found {', '.join(others)}: pickled weights are not read from a folder)" if others else ""
            raise StoreError(f"{folder / part} is missing{hint}")
    return [folder / part for part in parts]


def read_config(path: Path) -> dict[str, Any]:
    try:
        value = read_json(path, _LARGEST)
    except FileNotFoundError:
        raise StoreError(f"{path} is missing, so {path.parent} holds no model") from None
    except (OSError, ValueError) as error:
        raise StoreError(f"{path} cannot be read: {error}") from error
    if not isinstance(value, dict):
        raise StoreError(f"{path} holds no JSON object")
    return value


def settled(config: GPT2Config, folder: Path) -> GPT2Config:
    """The shape that the weights of a folder have where its configuration calls the head tied, and they say otherwise.

    transformers loads an `lm_head.weight` that differs from the token embedding as a head of its own, and writes
    such folders. The two are compared byte by byte, as they are stored.

    Raises:
        StoreError: a weight file that is missing or damaged.
    """
    if not config.tied or config.rows is not None:
        return config
    stored: dict[str, tuple[Path, int, int]] = {}
    for path in shards(folder):
        for name, place in _places(path).items():
            stored[own_name(name) or name] = (path, *place)
    head, table = stored.get("lm_head.weight"), stored.get("transformer.wte.weight")
    return config if head is None or table is None or _same(head, table) else replace(config, tied=False)


def _places(path: Path) -> dict[str, tuple[int, int]]:
    """Where in a safetensors file each tensor begins and ends, in bytes."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "numpy"):  # checks the header and the places in it
            pass
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length))
    except (SafetensorError, OSError, ValueError) as error:
        raise StoreError(f"{path} cannot be read, so it is damaged or cut short: {error}") from error
    start = 8 + length
    return {
        name: (start + entry["data_offsets"][0], start + entry["data_offsets"][1])
        for name, entry in header.items()
        if name != "__metadata__"
    }


def _same(one: tuple[Path, int, int], other: tuple[Path, int, int]) -> bool:
    if one[2] - one[1] != other[2] - other[1]:
        return False
    with open(one[0], "rb") as first, open(other[0], "rb") as second:
        first.seek(one[1])
        second.seek(other[1])
        left = one[2] - one[1]
        while left > 0:
            size = min(left, _PIECE)
            if first.read(size) != second.read(size):
                return False
            left -= size
    return True


def to_transformers(config: GPT2Config) -> dict[str, Any]:
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
        "tokenizer_class": NO_TOKENIZER,
    }
    if config.rows is not None:
        value |= {"model_type": ROWS_TYPE, "architectures": ["GPT2"], "rows": config.rows}
    return value


def from_transformers(value: Mapping[str, Any], path: Path) -> GPT2Config:
    if value.get("model_type") not in ("gpt2", ROWS_TYPE):
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
