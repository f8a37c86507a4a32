"""How a folder with a model is laid out: its files, and config.json as transformers writes it.

Needs no torch, so that planning a sweep stays quick.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from procray.errors import ProcrayError, StoreError, TransferError
from procray.files import read_json
from procray.model.families import DEFAULT, FAMILIES, family_of
from procray.model.family import ModelConfig, changed
from procray.records import is_plain

WEIGHTS, CONFIG, INDEX = "model.safetensors", "config.json", "model.safetensors.index.json"
ROWS_TYPE = "procray-eca-rows"
_LARGEST = 1 << 26  # bytes of a configuration or an index
_PIECE = 1 << 24  # bytes of a tensor that are compared at a time

# The class of tokenizer that config.json names. No such class exists, so that AutoTokenizer fails on a folder of
# weights alone: for a GPT-2 without tokenizer files transformers 5 makes a tokenizer of one entry, and says nothing.
# tokenizer_config.json, where there is one, comes before it.
NO_TOKENIZER = "NoTokenizer"


def untied(config: ModelConfig) -> str:
    """What to know of a folder whose configuration calls the head tied and whose weights are untied."""
    return (
        f"config.json calls the head tied, but {family_of(config).head} differs from the token embedding: it is read as"
        " a head of its own (tied: false)"
    )


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


def settled(config: ModelConfig, folder: Path) -> ModelConfig:
    """The shape that the weights of a folder have where its configuration calls the head tied, and they say otherwise.

    transformers loads a head that differs from the token embedding as a head of its own, and writes
    such folders. The two are compared byte by byte, as they are stored.

    Raises:
        StoreError: a weight file that is missing or damaged.
    """
    if not config.tied or config.rows is not None:
        return config
    own = family_of(config)
    stored: dict[str, tuple[Path, int, int]] = {}
    for path in shards(folder):
        for name, place in _places(path).items():
            stored[own.own_name(name) or name] = (path, *place)
    head, table = stored.get(own.head), stored.get(own.table)
    return config if head is None or table is None or _same(head, table) else changed(config, tied=False)


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


def to_transformers(config: ModelConfig) -> dict[str, Any]:
    """What config.json says of a shape."""
    own = family_of(config)
    value: dict[str, Any] = {
        "model_type": own.model_type,
        "architectures": [own.architecture],
        **own.to_transformers(config),
        "bos_token_id": None,  # GPT-2's 50256 would lie outside a small vocabulary
        "eos_token_id": None,
        "dtype": "float32",
        "tokenizer_class": NO_TOKENIZER,
    }
    if config.rows is not None:
        value |= {"model_type": ROWS_TYPE, "architectures": [own.network_name], "rows": config.rows}
        value |= {} if own.name == DEFAULT else {"family": own.name}
    return value


def from_transformers(value: Mapping[str, Any], path: Path) -> ModelConfig:
    """The shape that a config.json means.

    Raises:
        TransferError: another network than those of our families, or an impossible shape.
    """
    given = value.get("model_type")
    named = value.get("family", DEFAULT) if given == ROWS_TYPE else None
    own = next((one for one in FAMILIES.values() if one.name == named or one.model_type == given), None)
    if own is None:
        known = " or ".join(repr(one.model_type) for one in FAMILIES.values())
        raise TransferError(f"{path}: model_type is {given!r}, not {known}")
    try:
        shape, problems = own.from_transformers(value)
        if problems:
            raise TransferError(f"{path}: not a {own.title} as built here: " + "; ".join(problems))
        found: ModelConfig = own.config(**shape, rows=value.get("rows"))
    except TransferError:
        raise
    except (ProcrayError, TypeError, ValueError, AttributeError) as error:
        raise TransferError(f"{path}: {error}") from error
    return found
