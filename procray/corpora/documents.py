"""Documents from local files: the machine's own standard library, globs of text or code, JSONL.

A document's name is its path below the fixed part of the glob, so that neither the digest nor the
held-out choice depends on where the files lie.
"""

from __future__ import annotations

import glob
import gzip
import hashlib
import importlib.util
import json
import os
import stat
import sysconfig
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

from procray.errors import CorpusError
from procray.files import digest, sha256_file

# A batch of documents is what is encoded at once: enough to keep every core busy, little memory.
BATCH_DOCUMENTS = 512
BATCH_CHARACTERS = 2_000_000

_SKIPPED = {"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__"}
_JSONL = (".jsonl", ".ndjson")


@dataclass(frozen=True)
class Documents:
    """Some documents in order, and the place from which reading them again begins."""

    texts: list[str]
    position: Any  # JSON; None is the beginning
    # Documents met that are not used as they are: "replaced" (bytes that are not UTF-8), "binary", "empty".
    counts: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class LocalFile:
    """One file of a corpus. `name` is its path below the fixed part of the glob."""

    name: str
    path: Path


def held_out(name: str, fraction: float) -> bool:
    """Whether a document of that name (or text) belongs to the validation split: by hash, for ever the same."""
    return _hash(name) < fraction


def _hash(name: str) -> float:
    return int.from_bytes(hashlib.sha256(name.encode("utf-8", "replace")).digest()[:8], "big") / 2**64


def stdlib_folder() -> Path:
    return Path(sysconfig.get_paths()["stdlib"])


def stdlib_files() -> list[LocalFile]:
    """The standard library's modules without its tests and without files that describe one machine."""
    return _modules("python-stdlib", stdlib_folder())


def package_files(package: str) -> list[LocalFile]:
    """The modules of an installed top-level package without its tests; it is not imported.

    Raises:
        CorpusError: it is not installed, or is one single module.
    """
    found = importlib.util.find_spec(package) if package.isidentifier() else None
    if found is None or not found.submodule_search_locations:
        raise CorpusError(f"python-package: no package '{package}' is installed in this Python")
    return _modules(f"python-package {package}", Path(next(iter(found.submodule_search_locations))))


def _modules(what: str, root: Path) -> list[LocalFile]:
    found = []
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name not in _SKIPPED and not name.startswith("config-")]
        for name in names:
            if name.endswith(".py") and not name.startswith("_sysconfigdata"):
                path = Path(folder, name)
                found.append(LocalFile(path.relative_to(root).as_posix(), path))
    if not found:
        raise CorpusError(f"{what}: no module found under {root}")
    return sorted(found, key=lambda file: file.name)


def matching_files(globs: list[str]) -> list[LocalFile]:
    """The regular files that `globs` match, each once, sorted by name.

    Raises:
        CorpusError: a glob that matches nothing or is a folder; all of them in one message.
    """
    problems: list[str] = []
    found: dict[Path, LocalFile] = {}
    for pattern in globs:
        expanded = os.path.expanduser(pattern)
        if os.path.isdir(expanded):
            problems.append(f"'{pattern}' is a folder; write '{pattern.rstrip('/')}/**/*' for the files in it")
            continue
        root = _fixed_part(expanded)
        matched = False
        for match in glob.iglob(expanded, recursive=True):
            path = Path(match)
            # A pipe or a device would block for ever; only files have an end.
            if stat.S_ISREG(path.stat().st_mode if os.path.exists(path) else 0):
                matched = True
                found.setdefault(path.resolve(), LocalFile(PurePosixPath(os.path.relpath(path, root)).as_posix(), path))
        if not matched:
            why = "" if os.path.isdir(root) else f" (there is no folder '{root}')"
            problems.append(f"'{pattern}' matches no file{why}")
    if problems:
        raise CorpusError(f"files: {'; '.join(problems)}; relative paths start from {Path.cwd()}")
    return sorted(found.values(), key=lambda file: (file.name, str(file.path)))


def _fixed_part(pattern: str) -> Path:
    """The folder of a glob before its first wildcard."""
    parts = []
    for part in Path(pattern).parts[:-1]:
        if glob.has_magic(part):
            break
        parts.append(part)
    return Path(*parts) if parts else Path(".")


def content_digest(files: list[LocalFile]) -> str:
    """The SHA-256 over the names and contents of `files`."""
    return digest([[file.name, _file_digest(str(file.path), *_stamp(file.path))] for file in files])


def _stamp(path: Path) -> tuple[int, int]:
    facts = path.stat()
    return facts.st_size, facts.st_mtime_ns


@lru_cache(maxsize=200_000)
def _file_digest(path: str, size: int, modified: int) -> str:
    try:
        return sha256_file(path)
    except OSError as error:
        raise CorpusError(f"files: cannot read {path}: {error.strerror}") from error


def split_files(files: list[LocalFile], fraction: float) -> tuple[list[LocalFile], list[LocalFile]]:
    """Training and validation files: by hash of the name, and at least one of each where there are two."""
    ordered = sorted(files, key=lambda file: _hash(file.name))
    count = sum(held_out(file.name, fraction) for file in files)
    if len(files) > 1:
        count = min(max(count, 1), len(files) - 1)
    chosen = set(ordered[:count])
    return [file for file in files if file not in chosen], [file for file in files if file in chosen]


def lines_of(file: LocalFile) -> bool:
    """Whether the file's name says that each line is a JSON document."""
    return file.name.removesuffix(".gz").endswith(_JSONL)


def read_text(file: LocalFile) -> tuple[str, str | None]:
    """The file's text and what was met: None, "replaced" (bytes that are not UTF-8), "binary" (then no text)."""
    try:
        data = file.path.read_bytes()
        if file.name.endswith(".gz"):
            data = gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise CorpusError(f"files: cannot read {file.path}: {error}") from error
    if b"\0" in data[:8192]:
        return "", "binary"
    try:
        return data.decode("utf-8-sig"), None
    except UnicodeDecodeError:
        return data.decode("utf-8-sig", "replace"), "replaced"


def _json_documents(file: LocalFile, field_name: str) -> Iterator[tuple[str, str | None]]:
    """The `field_name` of every line, as `read_text` gives a file."""
    try:
        with gzip.open(file.path) if file.name.endswith(".gz") else open(file.path, "rb") as lines:
            for number, line in enumerate(lines, 1):
                if not line.strip():
                    continue
                where = f"files: {file.path}, line {number}"
                note = None
                try:
                    decoded = line.decode("utf-8-sig")
                except UnicodeDecodeError:
                    decoded, note = line.decode("utf-8-sig", "replace"), "replaced"
                try:
                    row = json.loads(decoded)
                except (ValueError, RecursionError) as error:
                    raise CorpusError(f"{where}: not JSON: {error}") from error
                if not isinstance(row, dict) or not isinstance(row.get(field_name), str):
                    fields = ", ".join(sorted(row)) if isinstance(row, dict) else type(row).__name__
                    raise CorpusError(f"{where}: no text in field '{field_name}' (it has: {fields}); set `field:`")
                yield without_surrogates(row[field_name]), note
    except (OSError, EOFError, zlib.error) as error:
        raise CorpusError(f"files: cannot read {file.path}: {error}") from error


def without_surrogates(text: str) -> str:
    """The text with lone surrogates, which JSON can hold and UTF-8 cannot, as question marks."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def read_documents(
    files: list[LocalFile], held_out_files: list[LocalFile] | None, field_name: str | None, fraction: float, split: str
) -> Iterator[tuple[str, str | None]]:
    """Every document of one split with the note of `read_text`, in the order of the files.

    Files of one document are split by name, lines of JSON by their text (equal texts then fall on one
    side). A corpus of one text file gives its tail to validation. `held_out_files` replaces all that.
    """
    validation = split == "validation"
    if held_out_files is not None:
        for file in held_out_files if validation else files:
            yield from _documents_of(file, field_name)
        return
    whole = [file for file in files if field_name is None and not lines_of(file)]
    if len(files) == 1 and whole:
        yield _part_of(whole[0], fraction, validation)
        return
    train, kept = split_files(whole, fraction)
    chosen, other = (set(kept), set(train)) if validation else (set(train), set(kept))
    for file in files:
        if file in chosen:
            yield read_text(file)
        elif file not in other:
            for text, note in _json_documents(file, field_name or "text"):
                if held_out(text, fraction) == validation:
                    yield text, note


def _part_of(file: LocalFile, fraction: float, validation: bool) -> tuple[str, str | None]:
    """The head of the file's text for training, its tail for validation, cut at the end of a line."""
    text, note = read_text(file)
    cut = int(len(text) * (1 - fraction))
    cut = text.find("\n", cut) + 1 or cut
    return (text[cut:] if validation else text[:cut]), note


def _documents_of(file: LocalFile, field_name: str | None) -> Iterator[tuple[str, str | None]]:
    if field_name is not None or lines_of(file):
        yield from _json_documents(file, field_name or "text")
    else:
        yield read_text(file)


def batches(documents: Iterator[tuple[str, str | None]], position: int | None) -> Iterator[Documents]:
    """Documents in batches, from the `position`-th on; `position` counts everything met, also what was empty."""
    met, start = 0, position or 0
    texts: list[str] = []
    counts: dict[str, int] = {}
    size = 0
    for text, note in documents:
        met += 1
        if met <= start:
            continue
        if note:
            counts[note] = counts.get(note, 0) + 1
        if text.strip():
            texts.append(text)
            size += len(text)
        elif note != "binary":
            counts["empty"] = counts.get("empty", 0) + 1
        if len(texts) >= BATCH_DOCUMENTS or size >= BATCH_CHARACTERS:
            yield Documents(texts, start, counts)
            start, texts, counts, size = met, [], {}, 0
    if texts or counts:
        yield Documents(texts, start, counts)
