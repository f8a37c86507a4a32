"""Packed token shards: plain little-endian integers on disk, memory-mapped, each with its digest.

All shards of a split but the last hold exactly `shard_tokens` tokens, so a position is found by one
division. A split with a loss mask has one byte per token in a second file beside each shard.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from procray import links
from procray.errors import CorpusError
from procray.files import digest, write_atomic

SHARD_TOKENS = 1 << 23


def shard_path(folder: Path, split: str, index: int, suffix: str = "bin") -> Path:
    return folder / "shards" / f"{split}-{index:05d}.{suffix}"


def dtype_for(vocab_size: int) -> str:
    """The narrowest of the two stored types."""
    return "uint16" if vocab_size <= 1 << 16 else "uint32"


def write_shard(
    folder: Path, split: str, index: int, tokens: np.ndarray, mask: np.ndarray | None, dtype: str
) -> dict[str, Any]:
    """Writes one shard and its mask, whole or not at all; returns its line of the manifest."""
    data = tokens.astype(np.dtype(dtype).newbyteorder("<")).tobytes()
    write_atomic(shard_path(folder, split, index), data)
    entry: dict[str, Any] = {"tokens": len(tokens), "sha256": hashlib.sha256(data).hexdigest()}
    if mask is not None:
        flags = mask.astype(np.uint8).tobytes()
        write_atomic(shard_path(folder, split, index, "mask"), flags)
        entry["mask_sha256"] = hashlib.sha256(flags).hexdigest()
    return entry


def content_digest(manifest: dict[str, Any]) -> str:
    """The digest of what training sees.

    A streamed corpus grows when a later sweep needs more of it, without changing what was there; its
    digest therefore covers the first training shard, and each shard's own digest guards the others.
    """
    train = manifest["splits"]["train"]["shards"]
    return digest(
        {
            "tokenizer": manifest["tokenizer"],
            "shard_tokens": manifest["shard_tokens"],
            "validation": manifest["splits"]["validation"]["shards"],
            "train": train[:1] if manifest["streamed"] else train,
        }
    )


class ShardReader:
    """Reads one split. Every shard is checked against its digest the first time that it is touched."""

    def __init__(self, folder: Path, split: str, manifest: dict[str, Any]):
        self.folder, self.split = folder, split
        self.shards = manifest["splits"][split]["shards"]
        self.shard_tokens = manifest["shard_tokens"]
        self.dtype = np.dtype(manifest["dtype"]).newbyteorder("<")
        self.tokens = sum(entry["tokens"] for entry in self.shards)
        self._open: dict[tuple[int, str], np.ndarray] = {}
        for index, entry in enumerate(self.shards):
            last = index == len(self.shards) - 1
            if not (0 < entry["tokens"] <= self.shard_tokens and (last or entry["tokens"] == self.shard_tokens)):
                raise _damaged(shard_path(folder, split, index), f"cannot have {entry['tokens']:,} tokens")
        for index, entry in enumerate(self.shards):
            expected = entry["tokens"] * self.dtype.itemsize
            path = shard_path(folder, split, index)
            if not path.is_file() or path.stat().st_size != expected:
                raise _damaged(path, "is missing" if not path.is_file() else f"is not {expected:,} bytes long")

    def read(self, start: int, length: int, suffix: str = "bin") -> np.ndarray:
        """`length` tokens (or mask bytes, `suffix` "mask") from `start` on; fewer at the end of the split."""
        parts, stop = [], min(start + length, self.tokens)
        while start < stop:
            index, offset = divmod(start, self.shard_tokens)
            count = min(stop - start, self.shard_tokens - offset)
            parts.append(self.shard(index, suffix)[offset : offset + count])
            start += count
        return parts[0] if len(parts) == 1 else np.concatenate(parts or [np.empty(0, self.dtype)])

    def shard(self, index: int, suffix: str = "bin") -> np.ndarray:
        """The whole shard, memory-mapped.

        Raises:
            CorpusError: its content is not what the manifest says.
        """
        key = (index, suffix)
        if key not in self._open:
            path = shard_path(self.folder, self.split, index, suffix)
            expected = self.shards[index]["sha256" if suffix == "bin" else "mask_sha256"]
            try:
                with open(path, "rb", opener=links.open_file) as file:
                    mapped = np.memmap(file, dtype=self.dtype if suffix == "bin" else np.uint8, mode="r")
            except (OSError, ValueError) as error:
                raise _damaged(path, f"cannot be read: {error}") from error
            if hashlib.sha256(mapped.data).hexdigest() != expected:
                raise _damaged(path, "does not have the content that its manifest says")
            self._open[key] = mapped.view(np.ndarray)
        return self._open[key]


def _damaged(path: Path, what: str) -> CorpusError:
    return CorpusError(f"corpus shard {path} {what}; delete the folder {path.parents[1]} to prepare the corpus again")
