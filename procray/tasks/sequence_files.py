"""Reads token sequences that were made elsewhere: npy, safetensors, parquet, JSON lines. Never a pickle.

Shape suffixes: N sequences, T tokens.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from procray.errors import TaskError, did_you_mean
from procray.files import digest, sha256_file
from procray.ragged import read_ragged

USUAL = "input_ids"  # the field of a record that holds its tokens
MOST_IDS = 2**24
FETCHED = ".sequences"  # what was fetched from the hub is kept so; nobody names such files
_PROBLEMS = 5  # that are named at once


@dataclass(frozen=True)
class Sequences:
    """All sequences of some files, one behind the other."""

    tokens_T: np.ndarray  # integer; perhaps a view of a file
    starts_N1: np.ndarray  # where each begins, and where the last one ends

    def __len__(self) -> int:
        return len(self.starts_N1) - 1

    @property
    def lengths_N(self) -> np.ndarray:
        return np.diff(self.starts_N1)


def found_files(path: Any, base: Path) -> list[Path]:
    """The files that a sweep file means, in the order of their names.

    Args:
        path: a file, or a folder, of which all files of known kinds are taken.
        base: where a relative path starts.

    Raises:
        TaskError: none, or files of another kind.
    """
    if not isinstance(path, str) or not path:
        raise TaskError(f"sequences_from: path is {path!r}; expected a file or a folder")
    place = base / path
    if place.is_dir():
        files = sorted(file for file in place.rglob("*") if file.suffix in KINDS and file.is_file())
        if not files:
            raise TaskError(f"sequences_from: {place} has no file of a known kind ({', '.join(KINDS)})")
        return files
    if place.suffix == FETCHED and place.is_file():
        return [place]
    if not place.is_file():
        near = did_you_mean(place.name, [file.name for file in _neighbours(place)])
        raise TaskError(f"sequences_from: there is no file or folder {place}{near}")
    if place.suffix not in KINDS:
        never = "; pickles are never read" if place.suffix in (".pkl", ".pickle", ".pt", ".pth", ".bin") else ""
        raise TaskError(f"sequences_from: {place} is of an unknown kind; expected one of {', '.join(KINDS)}{never}")
    return [place]


def _neighbours(place: Path) -> Iterator[Path]:
    try:
        yield from place.parent.iterdir()
    except OSError:
        return


def content_of(files: Iterable[Path]) -> str:
    """A digest of what the files hold, in their order, whatever their names."""
    return digest([sha256_file(file) for file in files], 32)


def read_sequences(files: list[Path], field: str) -> Sequences:
    """All sequences of the files.

    Raises:
        TaskError: names what is wrong with up to five files, with the place in each.
    """
    parts: list[Sequences] = []
    problems: list[str] = []
    for file in files:
        try:
            parts.append(_checked(_fetched(file) if file.suffix == FETCHED else KINDS[file.suffix](file, field)))
        except (ValueError, OSError) as error:
            problems.append(f"sequences_from: {file}: {_reason(error)}")
    if problems:
        more = len(problems) - _PROBLEMS
        raise TaskError("\n".join(problems[:_PROBLEMS] + [f"sequences_from: and {more} more files"] * (more > 0)))
    if len(parts) == 1:
        return parts[0]
    ends = np.cumsum([0, *(len(part.tokens_T) for part in parts)])
    starts = [part.starts_N1[:-1] + end for part, end in zip(parts, ends[:-1], strict=True)]
    return Sequences(np.concatenate([part.tokens_T for part in parts]), np.concatenate([*starts, ends[-1:]]))


def _reason(error: Exception) -> str:
    """What is wrong with a file, in words that are about the file."""
    if isinstance(error, UnicodeDecodeError):
        return f"is no UTF-8 text (byte {error.start:,})"
    if isinstance(error, OSError):
        return f"cannot be read ({error.strerror or error})"
    return " ".join(str(error).split())[:300]


def _checked(found: Sequences) -> Sequences:
    if not len(found):
        raise ValueError("holds no sequences")
    short_N = np.flatnonzero(found.lengths_N < 2)
    if len(short_N):
        raise ValueError(f"sequence {short_N[0]} has {found.lengths_N[short_N[0]]} tokens; expected at least 2")
    if not np.issubdtype(found.tokens_T.dtype, np.integer):
        raise ValueError(f"holds {found.tokens_T.dtype}; expected whole numbers")
    low, high = int(found.tokens_T.min()), int(found.tokens_T.max())
    if low < 0 or high >= MOST_IDS:
        place = int(np.flatnonzero((found.tokens_T < 0) | (found.tokens_T >= MOST_IDS))[0])
        sequence = int(np.searchsorted(found.starts_N1, place, side="right")) - 1
        raise ValueError(
            f"sequence {sequence}, token {place - int(found.starts_N1[sequence])} is {found.tokens_T[place]}; "
            f"expected ids from 0 to {MOST_IDS - 1:,}"
        )
    return found


def _fetched(file: Path) -> Sequences:
    return Sequences(*read_ragged(file))


def _rows(table: np.ndarray) -> Sequences:
    if table.ndim != 2:
        raise ValueError(f"has the shape {table.shape}; expected sequences x tokens")
    if not np.issubdtype(table.dtype, np.integer):
        raise ValueError(f"holds {table.dtype}; expected whole numbers")
    return Sequences(table.reshape(-1), np.arange(len(table) + 1) * table.shape[1])


def _npy(file: Path, field: str) -> Sequences:
    with file.open("rb") as stream:
        head = stream.read(6)
    if head != b"\x93NUMPY":
        archive = head.startswith(b"PK")
        raise ValueError(f"is {'an npz archive' if archive else 'no npy file'}; expected what numpy.save writes")
    try:
        return _rows(_table(file))
    except _DamagedError as error:
        raise ValueError(str(error)) from None


class _DamagedError(Exception):
    """A file that is not what its beginning says."""


def _table(file: Path) -> np.ndarray:
    """The array of an npy file, which is not read before it is used."""
    try:
        return np.load(file, mmap_mode="r", allow_pickle=False)
    except OSError:  # it cannot be read, which says nothing of what it holds
        raise
    except Exception as error:  # numpy's, for whatever a header may hold
        if "object" in str(error):
            raise _DamagedError("holds Python objects, which are never read; expected whole numbers") from None
    try:  # nothing cannot be mapped
        return np.load(file, allow_pickle=False)
    except (MemoryError, OSError):
        raise
    except Exception:  # numpy's again: every other one is about the bytes
        size = file.stat().st_size
        raise _DamagedError(f"is damaged or cut off: its {size:,} bytes are not the array that it begins") from None


def _safetensors(file: Path, field: str) -> Sequences:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="numpy") as tensors:
            names = list(tensors.keys())
            name = field if field in names else names[0] if len(names) == 1 else None
            if name is None:
                raise ValueError(f"has no tensor '{field}'{did_you_mean(field, names)} (tensors: {', '.join(names)})")
            return _rows(tensors.get_tensor(name))
    except SafetensorError:
        raise ValueError("is damaged, cut off, or no safetensors file") from None


def _parquet(file: Path, field: str) -> Sequences:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        names = pq.read_schema(file).names
        if field not in names:
            raise ValueError(f"has no column '{field}'{did_you_mean(field, names)} (columns: {', '.join(names)})")
        column = pq.read_table(file, columns=[field]).column(field).combine_chunks()
    except (pa.ArrowException, OSError) as error:  # a page that does not unpack is an OSError
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise ValueError("is damaged, cut off, or no parquet file") from None
    if isinstance(column, pa.ChunkedArray):
        column = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], pa.list_(pa.int64()))
    if column.null_count:
        raise ValueError(f"row {column.is_null().to_pylist().index(True)} has no '{field}'")
    if not (pa.types.is_list(column.type) or pa.types.is_large_list(column.type)):
        raise ValueError(f"'{field}' is of the type {column.type}; expected lists of whole numbers")
    flat = column.flatten()
    if flat.null_count or not pa.types.is_integer(flat.type):
        raise ValueError(f"'{field}' holds {flat.type}, {flat.null_count} of them missing; expected whole numbers")
    lengths = column.value_lengths().to_numpy(zero_copy_only=False)
    return Sequences(flat.to_numpy(zero_copy_only=False), np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]))


def _json_lines(file: Path, field: str) -> Sequences:
    rows: list[np.ndarray] = []
    with file.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except json.JSONDecodeError as error:
                raise ValueError(f"line {number} is no JSON from column {error.colno} on") from None
            except RecursionError:
                raise ValueError(f"line {number} is nested too deeply") from None
            tokens = record.get(field) if isinstance(record, dict) else record
            if not isinstance(tokens, list) or not all(type(token) is int for token in tokens):
                raise ValueError(f"line {number}: expected a list of whole numbers, or a record with one in '{field}'")
            try:
                rows.append(np.array(tokens, np.int64))
            except OverflowError:
                raise ValueError(f"line {number} has a number above 64 bits") from None
    starts = np.concatenate([[0], np.cumsum([len(row) for row in rows], dtype=np.int64)])
    return Sequences(np.concatenate(rows) if rows else np.zeros(0, np.int64), starts)


KINDS: dict[str, Callable[[Path, str], Sequences]] = {
    ".npy": _npy,
    ".safetensors": _safetensors,
    ".parquet": _parquet,
    ".jsonl": _json_lines,
}


def relative(files: list[Path], base: Path) -> list[str]:
    """Names of the files from `base` on, as a recipe keeps them."""
    return [os.path.relpath(file, base) for file in files]
