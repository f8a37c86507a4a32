"""Atomic writes, canonical JSON and digests."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any


def canonical_json(value: Any) -> str:
    """One text for equal values: sorted keys, no spaces, no NaN. `1.0` and `1` stay different."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def digest(value: Any, length: int = 64) -> str:
    """The first `length` hex digits of the SHA-256 of the canonical JSON of `value`."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:length]


def cache_folder() -> Path:
    """Where this host keeps what it can make or fetch again, outside of stores, which several hosts may share."""
    if os.environ.get("PROCRAY_CACHE"):
        return Path(os.environ["PROCRAY_CACHE"]).expanduser().absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "procray"


def sha256_file(path: str | os.PathLike[str]) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync_folder(folder: str | os.PathLike[str]) -> None:
    """Makes the names in `folder` durable: a rename alone can be lost in a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_atomic(path: str | os.PathLike[str], content: bytes | str | Iterable[bytes]) -> None:
    """Writes a whole file or nothing: temporary file, fsync, rename. What comes in parts is never held as a whole."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content.encode() if isinstance(content, str) else content
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.writelines([data] if isinstance(data, bytes) else data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Writes readable, canonically ordered JSON atomically."""
    write_atomic(path, json.dumps(value, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def json_lines(value: dict[str, Any]) -> Iterator[bytes]:
    """One JSON object in parts: the entries of its lists stand on a line each.

    Indenting everything takes Python's slow encoder and several times the room, which a large plan feels.
    """
    encode = json.JSONEncoder(sort_keys=True, ensure_ascii=False, allow_nan=False).encode
    start = "{\n"
    for key in sorted(value):
        yield f"{start}{encode(key)}: ".encode()
        start = ",\n"
        entries = value[key]
        if not isinstance(entries, list) or not entries:
            yield encode(entries).encode()
            continue
        before = "[\n"
        for entry in entries:
            yield f"{before} {encode(entry)}".encode()
            before = ",\n"
        yield b"\n]"
    yield b"\n}\n" if value else b"{}\n"


def holds(path: str | os.PathLike[str], parts: Iterable[bytes]) -> bool:
    """Whether a file has this content already; reads no further than the first difference."""
    try:
        with open(path, "rb") as file:
            return all(file.read(len(part)) == part for part in parts) and not file.read(1)
    except FileNotFoundError:
        return False


def read_json(path: str | os.PathLike[str]) -> Any:
    with open(path, encoding="utf-8") as file:
        return json.load(file)
