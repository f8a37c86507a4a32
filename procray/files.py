"""Atomic writes, canonical JSON and digests."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import secrets
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from procray import links
from procray.modes import file_mode

_canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode


def canonical_json(value: Any) -> str:
    """One text for equal values: sorted keys, no spaces, no NaN. `1.0` and `1` stay different."""
    return _canonical(value)


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
    data = content.encode() if isinstance(content, str) else content
    temporary = f".{path.name}.{secrets.token_hex(4)}"
    with links.folder_of(path, make=True) as folder:
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=folder)
        try:
            with os.fdopen(handle, "wb") as file:
                file.writelines([data] if isinstance(data, bytes) else data)
                file.flush()
                os.fsync(file.fileno())
                os.fchmod(file.fileno(), file_mode())
            links.replace(temporary, path, folder, folder)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary, dir_fd=folder)
            raise
        links.sync(folder)


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
        with open(path, "rb", opener=links.open_file) as file:
            return all(file.read(len(part)) == part for part in parts) and not file.read(1)
    except FileNotFoundError:
        return False


LARGEST_JSON = 200 << 20  # bytes
_ROOM = 900 << 20  # bytes that a JSON text may take as text and values
_HALF = re.compile(r"\\u[dD][89a-fA-F]")


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text, whoever wrote it.

    Raises:
        ValueError: not JSON or UTF-8, nested too deeply, a number that is not finite, half a character; or its values
            may take too much memory, as a few bytes of text can stand for a hundred.
    """
    text = text.decode("utf-8") if isinstance(text, bytes) else text
    refuse_room(text)
    try:
        value = _decode(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if _HALF.search(text):
        refuse_halves(value)
    return value


def refuse_room(text: str) -> None:
    """Raises ValueError where the values of a JSON text may take too much memory, before any is made.

    By the signs between values, and what CPython takes for each at most.
    """
    if len(text) < 1 << 20:  # a hundred times as much at most
        return
    entries, commas = text.count(":"), text.count(",")
    room = 2 * sys.getsizeof(text) + 232 * text.count("{") + 96 * text.count("[") + 174 * entries + 74 * commas
    if room > _ROOM:
        raise ValueError(f"its values may take {room:,} bytes of memory, more than {_ROOM:,}")


def refuse_halves(value: Any) -> None:
    """Raises ValueError where a text has half of a character, which no file and no terminal takes."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            waiting += one.keys()
            waiting += one.values()
        elif isinstance(one, list):
            waiting += one
        elif isinstance(one, str) and not one.isascii():
            try:
                one.encode("utf-8")
            except UnicodeEncodeError:
                raise ValueError("text with half a character (a lone surrogate)") from None


def no_number(name: str) -> Any:
    """As a `parse_constant`: NaN and infinities are none."""
    raise ValueError(f"{name} is no JSON number")


_decode = json.JSONDecoder(parse_constant=no_number).decode  # made once: most texts are short lines


def read_bytes(path: str | os.PathLike[str], most: int) -> bytes:
    """The content of a file of at most so many bytes.

    Raises:
        OSError: it cannot be read.
        StoreError: it is reached through a link below a store's folder.
        ValueError: it is too large.
    """
    with open(path, "rb", opener=links.open_file) as file:
        size = os.fstat(file.fileno()).st_size
        data = b"" if size > most else file.read(most + 1)  # a device has no size, and a file may grow
    if size > most or len(data) > most:
        raise ValueError(f"more than {most:,} bytes")
    return data


def read_json(path: str | os.PathLike[str], most: int = LARGEST_JSON) -> Any:
    """The value of a JSON file of at most so many bytes.

    Raises:
        OSError, StoreError, ValueError: as `read_bytes` and `parse_json`.
    """
    return parse_json(read_bytes(path, most))
