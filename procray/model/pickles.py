"""Checkpoints that are pickles, read so that nothing in them is executed."""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from procray.errors import StoreError, TransferError


def read_pickle(path: Path) -> dict[str, Any]:
    """The content of a file that `torch.save` wrote, with a dict of tensors under "model".

    It is read with `weights_only=True`, which refuses everything but tensors and plain containers.

    Raises:
        StoreError: a missing or damaged file.
        TransferError: a file that holds anything else.
    """
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
    return {str(key): value for key, value in content.items()}


def _named(error: pickle.UnpicklingError) -> str:
    """What was refused, by name. Nothing else of torch's text: it tells how the file is loaded all the same."""
    found = re.search(r"GLOBAL ([\w.]{1,200})", str(error))
    return f": {found[1]}" if found else ""
