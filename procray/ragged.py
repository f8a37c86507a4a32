"""Sequences of whole numbers of unequal length in one file, whose bytes follow from the numbers alone.

A line that names the form, a line of JSON with how many sequences and numbers there are, where each sequence begins and
the last one ends (64 bits each), and the numbers (32 bits each); little-endian.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from procray.files import write_atomic

_FIRST = b"procray sequences 1\n"
_STARTS, _NUMBERS = np.dtype("<i8"), np.dtype("<u4")


def write_ragged(path: Path, tokens_T: np.ndarray, starts_N1: np.ndarray) -> None:
    """All of it or nothing. Numbers are from 0 to 2^32 - 1."""
    about = json.dumps({"numbers": len(tokens_T), "sequences": len(starts_N1) - 1}).encode() + b"\n"
    write_atomic(path, [_FIRST, about, starts_N1.astype(_STARTS).tobytes(), tokens_T.astype(_NUMBERS).tobytes()])


def read_ragged(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """The numbers, which are not read before they are used, and the starts.

    Raises:
        ValueError: the file is damaged, or another one.
        OSError: it cannot be read.
    """
    with path.open("rb") as stream:
        if stream.readline(len(_FIRST)) != _FIRST:
            raise ValueError("is no file of sequences")
        try:
            about = json.loads(stream.readline(200))
            sequences, numbers = int(about["sequences"]), int(about["numbers"])
        except (ValueError, KeyError, TypeError):
            raise ValueError("is damaged: its second line is not what it should be") from None
        begins = stream.tell()
        starts_N1 = np.fromfile(stream, _STARTS, sequences + 1)
    place = begins + (sequences + 1) * _STARTS.itemsize
    if path.stat().st_size != place + numbers * _NUMBERS.itemsize or len(starts_N1) != sequences + 1:
        raise ValueError(f"is damaged or cut off: its {path.stat().st_size:,} bytes are not what it begins with says")
    tokens_T = np.memmap(path, _NUMBERS, "r", place, (numbers,)) if numbers else np.zeros(0, _NUMBERS)
    return tokens_T, starts_N1
