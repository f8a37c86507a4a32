"""Evaluations of a phase: one file of lines for every attempt, read as one curve.

An attempt only ever appends to its own file, so a line that a kill tore apart is the last of its
file and can never run into the next line. A resumed run recomputes evaluations that an earlier
attempt has written already; they are compared instead of written again.

Attempts may have measured at other steps, or on more or fewer sequences (of a warm-up both are free): each adds rows
at its own steps. Of a step the first row counts, for good: a number that was once read from the curve never changes,
and every row says how it was measured.
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any, Protocol

from procray import links
from procray.errors import StoreError
from procray.files import parse_json, read_bytes
from procray.records import check, digits
from procray.store.forms import ROW, fits_row
from procray.training.rows import COUNTERS, LOSS, alike

# How far the loss may lie off where bits are not promised: relative, and absolute below 1 nat.
TOLERANCE = 5e-2
LARGEST_JOURNAL = 32 << 20  # bytes of all attempts; an evaluation takes some 500, and as rows 30 times as much at most
_LARGEST_LINE = 1 << 18


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The whole lines of one attempt; a torn last line is left out.

    Raises:
        StoreError: a whole line holds something else than an evaluation.
    """
    try:
        lines = read_bytes(path, LARGEST_JOURNAL).split(b"\n")
    except FileNotFoundError:
        return []
    except ValueError as error:
        raise StoreError(f"{path} is damaged: {error}") from None
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(lines, 1):
        if len(line) >= _LARGEST_LINE:
            raise StoreError(f"{path}, line {number}, is damaged: more than {_LARGEST_LINE:,} bytes")
        if number == len(lines):
            break  # torn, or empty
        try:
            row = parse_json(line)
        except ValueError:
            continue  # a block of zeros that a power cut left behind
        rows.append(row if fits_row(row) else check(row, ROW, f"{path}, line {number},"))
    return rows


def attempts(folder: Path) -> list[int]:
    """The attempts that have a journal, ascending."""
    return sorted(
        int(name[:-6]) for name in links.names_in(folder) if name.endswith(".jsonl") and not digits(name[:-6])
    )


def merged(folder: Path) -> dict[int, tuple[int, dict[str, Any]]]:
    """`{step: (attempt, row)}` over all attempts, ascending by step; the first attempt's row counts."""
    rows: dict[int, tuple[int, dict[str, Any]]] = {}
    size = 0
    numbers = attempts(folder)
    for attempt in numbers:
        path = folder / f"{attempt}.jsonl"
        if len(numbers) > 1:  # one alone is measured as it is read
            with contextlib.suppress(FileNotFoundError):  # which `read_rows` takes as empty
                size += links.status(path).st_size
        if size > LARGEST_JOURNAL:
            raise StoreError(f"{folder} is damaged: its journals have more than {LARGEST_JOURNAL:,} bytes")
        for row in read_rows(path):
            rows.setdefault(int(row["step"]), (attempt, row))
    return dict(sorted(rows.items()))


def compare(phase: str, known: dict[str, Any], new: dict[str, Any], exact: bool) -> None:
    """Raises StoreError when a recomputed evaluation is not the one in the journal, as far as both were measured alike.

    Args:
        exact: both come from the same kind of process, so every deterministic value must be equal.
            Otherwise the counters must be equal and the loss must lie within TOLERANCE: kernels on a
            GPU and sums over several processes do not repeat bit for bit.
    """
    comparable = alike(known, new)
    for name in comparable if exact else COUNTERS:
        if known.get(name) != new.get(name):
            raise StoreError(
                f"phase {phase}, step {new['step']}: {name} was {known.get(name)!r} and is now {new.get(name)!r} "
                "when computed again. Data, code or machine have changed since; "
                "remove the phase's folder to train it afresh"
            )
    if exact or LOSS not in comparable:
        return
    before, now = known.get(LOSS), new.get(LOSS)
    if before is None or now is None:
        same = before is now
    else:
        same = abs(before - now) <= TOLERANCE * max(1.0, abs(before))
    if not same:
        raise StoreError(
            f"phase {phase}, step {new['step']}: loss was {before!r} and is now {now!r} when computed again, "
            f"more than {TOLERANCE:g} apart. Continue on the device and with the workers that it began with, "
            "or remove the phase's folder to train it afresh"
        )


class Lines(Protocol):
    """Where the lines of one attempt go."""

    def write(self, line: bytes) -> None: ...

    def sync(self) -> None:
        """Makes what was written survive a power cut."""

    def close(self) -> None: ...


class _FileLines:
    def __init__(self, folder: Path, attempt: int):
        links.make_folder(folder)
        self._file = open(folder / f"{attempt}.jsonl", "ab", buffering=0, opener=links.open_file)  # noqa: SIM115

    def write(self, line: bytes) -> None:
        self._file.write(line)

    def sync(self) -> None:
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()


class Journal:
    """Writes the evaluations of one attempt."""

    def __init__(
        self,
        phase: str,
        folder: Path,
        attempt: int,
        provenance: dict[int, dict[str, Any]],
        lines: Lines | None = None,
    ):
        """
        Args:
            folder: holds the journals of earlier attempts.
            provenance: maps this and every earlier attempt to what may change the bits.
            lines: where to write, in place of a file in `folder`.
        """
        self._phase = phase
        self._attempt = attempt
        self._provenance = provenance
        self._rows = merged(folder)
        self._lines = lines or _FileLines(folder, attempt)

    def add(self, row: dict[str, Any]) -> bool:
        """Writes one evaluation; False when its step stands there already.

        Raises:
            StoreError: it stands there with other values of what was measured alike, or holds a NaN.
        """
        step = int(row["step"])
        try:
            line = json.dumps(row, allow_nan=False)
        except ValueError:
            raise StoreError(f"phase {self._phase}, step {step}: the evaluation holds a NaN or an infinity") from None
        if step in self._rows:
            attempt, known = self._rows[step]
            mine, its = self._provenance.get(self._attempt, {}), self._provenance.get(attempt, {})
            promised = mine.get("device_type") == "cpu" and mine.get("world_size") == 1
            compare(self._phase, known, json.loads(line), exact=promised and mine == its)
            return False
        self._lines.write(line.encode() + b"\n")
        self._rows[step] = (self._attempt, json.loads(line))
        return True

    def row(self, step: int) -> dict[str, Any] | None:
        """The evaluation that counts at a step."""
        found = self._rows.get(step)
        return found[1] if found else None

    def sync(self) -> None:
        """Makes what was written survive a power cut."""
        self._lines.sync()

    def close(self) -> None:
        self._lines.close()
