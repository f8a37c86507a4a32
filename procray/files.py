"""Atomic writes, canonical JSON and digests."""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from procray.modes import file_mode


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
        os.chmod(temporary, file_mode())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def may_write(folder: str | os.PathLike[str]) -> bool:
    """Whether this user may make files in a folder, or make the folder where there is none."""
    there = Path(folder).absolute()
    while not there.exists() and there != there.parent:
        there = there.parent
    return there.is_dir() and os.access(there, os.W_OK | os.X_OK)


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Writes readable, canonically ordered JSON atomically."""
    write_atomic(path, json.dumps(value, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


class Encoded(str):
    """JSON text, which stands in `json_lines` for what it says."""


encode = json.JSONEncoder(sort_keys=True, ensure_ascii=False, allow_nan=False).encode


def json_lines(value: dict[str, Any]) -> Iterator[bytes]:
    """One JSON object in parts: the entries of its lists, and of what is iterated in their place, stand on a line each.

    Indenting everything takes Python's slow encoder and several times the room, which a large plan feels.
    """
    start = "{\n"
    for key in sorted(value):
        yield f"{start}{encode(key)}: ".encode()
        start = ",\n"
        entries = value[key]
        if not isinstance(entries, list | Iterator):
            yield encode(entries).encode()
            continue
        before = "[\n"
        for entry in entries:
            yield f"{before} {entry if isinstance(entry, Encoded) else encode(entry)}".encode()
            before = ",\n"
        yield b"[]" if before == "[\n" else b"\n]"
    yield b"\n}\n" if value else b"{}\n"


def holds(path: str | os.PathLike[str], parts: Iterable[bytes]) -> bool:
    """Whether a file has this content already; reads no further than the first difference."""
    try:
        with open(path, "rb") as file:
            return all(file.read(len(part)) == part for part in parts) and not file.read(1)
    except FileNotFoundError:
        return False


LARGEST_JSON = 1 << 30  # bytes; the plan of 100,000 cells takes a tenth of it
_HALF = re.compile(r"\\u[dD][89a-fA-F]")


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text, whoever wrote it.

    Raises:
        ValueError: not JSON or UTF-8, nested too deeply, a number that is not finite, half a character.
    """
    text = text.decode("utf-8") if isinstance(text, bytes) else text
    try:
        value = json.loads(text, parse_constant=_no_number)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if _HALF.search(text):  # could be the half of a pair, which no file and no terminal takes
        try:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
        except UnicodeEncodeError:
            raise ValueError("text with half a character (a lone surrogate)") from None
    return value


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


def read_json(path: str | os.PathLike[str], most: int = LARGEST_JSON) -> Any:
    """The value of a JSON file of at most so many bytes.

    Raises:
        OSError: it cannot be read.
        ValueError: as `parse_json`, or it is too large.
    """
    with open(path, "rb") as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise ValueError(f"more than {most:,} bytes")
    return parse_json(data)
