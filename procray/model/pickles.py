"""Checkpoints that are pickles, read so that nothing in them is executed."""

from __future__ import annotations

import pickle
import re
import struct
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from procray.errors import StoreError, TransferError

LARGEST_PICKLE = 12 << 20  # bytes of what is no tensor; a byte of a pickle may make sixty of memory


def read_pickle(path: Path) -> dict[str, Any]:
    """The content of a file that `torch.save` wrote, with a dict of tensors under "model".

    It is read with `weights_only=True`, which refuses everything but tensors and plain containers.

    Raises:
        StoreError: a missing or damaged file.
        TransferError: a file that holds anything else.
    """
    _refuse_bombs(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise StoreError(f"{path} is missing") from None
    except pickle.UnpicklingError as error:
        raise TransferError(
            f"{path} holds more than tensors and plain containers, which could run code when read; it was"
            f" refused{_named(error)}"
        ) from None
    except Exception as error:  # what a damaged zip or pickle makes of torch's reader: KeyError, struct.error, ...
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        reason = reason if "weights_only" not in reason else type(error).__name__
        raise StoreError(f"{path} cannot be read, so it is damaged or cut short: {reason}") from error
    weights = content.get("model") if isinstance(content, dict) else None
    if not isinstance(weights, dict) or not all(isinstance(value, Tensor) for value in weights.values()):
        raise TransferError(
            f"{path}: expected a dict with the weights under 'model', as the papers' released code saves it, or"
            " nanoGPT's ckpt.pt, which has 'model_args' beside them"
        )
    size, most = sum(one.numel() * one.element_size() for one in weights.values()), 2 * path.stat().st_size + (1 << 20)
    if size > most:  # views that stand for more numbers than were saved; two of each are a tied head
        raise TransferError(f"{path}: its tensors stand for {size:,} bytes, and the file has {most // 2:,}")
    return {str(key): value for key, value in content.items()}


def _refuse_bombs(path: Path) -> None:
    """Raises TransferError for an archive that unpacks to more than itself, and for a pickle of any size."""
    try:
        size = path.stat().st_size
        if _list_of_entries(path) > LARGEST_PICKLE:
            raise TransferError(f"{path}: its list of entries has more than {LARGEST_PICKLE:,} bytes")
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except zipfile.BadZipFile:  # a plain pickle, as torch wrote before 1.6, or damaged, of which torch says what it is
        if size > LARGEST_PICKLE:
            with open(path, "rb") as file:
                if file.read(1) == b"\x80":
                    raise TransferError(
                        f"{path} is a plain pickle of more than {LARGEST_PICKLE:,} bytes, as torch wrote them before "
                        "1.6: save it again in today's form"
                    ) from None
        return
    except (OSError, ValueError, NotImplementedError):  # missing or damaged: what reads it says so
        return
    unpacked = sum(entry.file_size for entry in entries)
    if unpacked > size:
        raise TransferError(f"{path} unpacks to {unpacked:,} bytes from {size:,}, which nothing does that torch wrote")
    for entry in entries:
        if entry.filename.endswith(".pkl") and entry.file_size > LARGEST_PICKLE:
            raise TransferError(f"{path}: its {entry.filename} has more than {LARGEST_PICKLE:,} bytes")


def _list_of_entries(path: Path) -> int:
    """Bytes of a zip archive's list of entries, by what its end says; 0 where it has no end."""
    with open(path, "rb") as file:
        file.seek(max(0, path.stat().st_size - (1 << 16) - 128))
        tail = file.read()
    at, large = tail.rfind(b"PK\5\6"), tail.rfind(b"PK\6\6")
    small = struct.unpack_from("<I", tail, at + 12)[0] if 0 <= at <= len(tail) - 16 else 0
    more = struct.unpack_from("<Q", tail, large + 40)[0] if 0 <= large <= len(tail) - 48 else 0
    return int(more if small == 0xFFFFFFFF else small)


def _named(error: pickle.UnpicklingError) -> str:
    """What was refused, by name. Nothing else of torch's text: it tells how the file is loaded all the same."""
    found = re.search(r"GLOBAL ([\w.]{1,200})", str(error))
    return f": {found[1]}" if found else ""
