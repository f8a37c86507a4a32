"""A phase in a bucket: written through conditional requests, read from this machine's copy.

    phases/<id>/phase.json, status.json, ...      as in a folder
               /leases/<attempt>.json             created only where missing; a heartbeat writes it again
               /journal/<attempt>.jsonl           written as a whole, some seconds after an evaluation
               /marks/<step>/manifest.json        created only where missing: it makes the mark exist
               /marks/<step>/<attempt>/           its files
               /resume/<step>/<attempt>/          files of a resume state
               /resume.json                       names the usable ones; replaced only where unchanged since it was read

Files carry the number of the attempt that wrote them, and what makes them visible is one conditional write, so a
runner that lost its lease cannot spoil what its successor made.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from procray import links
from procray.records import digits
from procray.store import phase_copy
from procray.store.bucket_claims import BucketClaims
from procray.store.journal import Journal
from procray.store.kept_files import LARGEST_DOCUMENT, MANIFEST, entries, move, steps, write_copy
from procray.store.lease import Claims, Lease, LeaseLost
from procray.store.names import filled_by
from procray.store.objects import Objects, StoreUnreachable
from procray.store.phase import PhaseFolder
from procray.store.phase_copy import PhaseCopy

_QUIET = 60.0  # seconds without live numbers after the bucket did not answer
_STORED = re.compile(r"(marks|resume)/([0-9]{1,18})/([0-9]{1,18})/([^/]+)")


class PhaseInBucket(PhaseFolder):
    """One phase of a store in a bucket; `path` is this machine's copy of it."""

    def __init__(self, path: Path, objects: Objects, came_or_went: Callable[[], None]):
        """
        Args:
            came_or_went: told when the bucket may have come to hold the phase, or no longer holds it.
        """
        super().__init__(path)
        self._came_or_went = came_or_went
        self._objects = objects
        self._at = f"phases/{self.id}"
        self.copy = PhaseCopy(path, objects, self._at)
        self._say_again = 0.0

    def where(self, step: int) -> str:
        return f"{self._objects.url}/{self._at}/marks/{step}/{self.manifest(step)['attempt']}"

    def journal(self, held: Lease, provenance: dict[int, dict[str, Any]]) -> Journal:
        self._look()
        lines = _Lines(self._objects, f"{self._at}/journal/{held.attempt}.jsonl", held, self.copy.outdated)
        return Journal(self.id, self.path / "journal", held.attempt, provenance, lines)

    def fence(self, held: Lease) -> None:
        if held.lost():  # a line is only kept in memory; whether it may be written is asked when it is
            held.check()

    def write_progress(self, row: dict[str, Any]) -> None:
        now = time.monotonic()
        if now < self._say_again:
            return
        self._say_again = now + phase_copy.FRESH
        try:
            self._objects.put(f"{self._at}/progress.json", json.dumps(row).encode(), patience=0.0)
        except StoreUnreachable:  # live numbers must not keep the training waiting
            self._say_again = now + _QUIET

    def acquire(self, about: dict[str, Any] | None = None) -> Lease | None:
        self._objects.check_conditions()
        self.copy.refresh()
        self._came_or_went()
        return super().acquire(about)

    # -- upkeep ----------------------------------------------------------------------------------------

    def sizes(self) -> dict[str, int]:
        return {name: entry.bytes for name, entry in self._objects.below(self._at).entries.items()}

    def examine(self, kind: str, step: int, about: dict[str, Any]) -> str:
        at = f"{self._at}/{kind}/{step}/{int(about['attempt'])}"
        there = self._objects.below(at).entries
        for file in about["files"]:
            expected = about["files"][file]
            if file not in there:
                return f"{file} is missing"
            if there[file].bytes != expected["bytes"]:
                return f"{file} has {there[file].bytes} bytes instead of {expected['bytes']}"
            found = self._objects.sha256(f"{at}/{file}") or ""
            if found != expected["sha256"]:
                return f"{file} has digest {found[:16]} instead of {expected['sha256'][:16]}"
        return ""

    def leftovers(self, older_than: float) -> list[str]:
        self.copy.refresh()
        used = self._used()
        listing = self._objects.below(self._at)
        parts = [(_STORED.fullmatch(name), entry) for name, entry in listing.entries.items()]
        return [
            found[0]
            for found, entry in parts
            if found and (found[1], found[2], found[3]) not in used and listing.now - entry.modified > older_than
        ]

    def clear(self, held: Lease, names: Iterable[str]) -> None:
        held.check()
        self._objects.remove(f"{self._at}/{name}" for name in names)

    def remove(self, held: Lease) -> None:
        held.check()
        names = list(self._objects.below(self._at).entries)
        # What makes things visible goes first, what keeps others out goes last.
        rank = {"manifest.json": 0, "resume.json": 0}
        names.sort(key=lambda name: 2 if name.startswith("leases/") else rank.get(name.rsplit("/", 1)[-1], 1))
        self._objects.remove(f"{self._at}/{name}" for name in names)
        links.remove_tree(self.path)
        self.copy.outdated()
        self._came_or_went()

    # ---------------------------------------------------------------------------------------------------

    def _look(self) -> None:
        self.copy.look()

    def _bring(self, folder: Path, about: dict[str, Any]) -> str:
        return self.copy.bring(folder, about)

    def _write(self, name: str, value: dict[str, Any]) -> None:
        self._objects.put(f"{self._at}/{name}", _json(value))
        write_copy(self.path / name, _json(value))

    def _claims(self) -> Claims:
        return BucketClaims(self._objects, self.id, f"{self._at}/leases", self.copy.outdated)

    def _publish(self, held: Lease, filled: Path, target: Path) -> None:
        kind, step = target.parent.name, target.name
        for file in sorted(filled.iterdir()):
            if file.name != MANIFEST:
                self._objects.upload(file, f"{self._at}/{kind}/{step}/{held.attempt}/{file.name}")
        held.check()
        if kind == "marks":
            made = self._objects.create(f"{self._at}/marks/{step}/{MANIFEST}", (filled / MANIFEST).read_bytes())
            if made is None:
                raise LeaseLost(f"another attempt than {held.attempt} has made the mark of {self.id} at step {step}")
        move(filled, target)

    def _point(self, held: Lease, states: dict[str, dict[str, Any]]) -> None:
        held.check()
        name = f"{self._at}/resume.json"
        value = _json({"attempt": held.attempt, "states": states})
        known, before = self._objects.get(name, LARGEST_DOCUMENT), {}
        if known is None:
            written = self._objects.create(name, value)
        elif (before := self.copy.parse("resume.json", known[0])).get("attempt", 0) > held.attempt:
            written = None
        else:
            written = self._objects.swap(name, value, known[1])
        if written is None:
            held.check()
            raise LeaseLost(f"another attempt than {held.attempt} has written resume states of phase {self.id}")
        write_copy(self.path / "resume.json", value)
        for step, entry in before.get("states", {}).items():
            if states.get(step, {}).get("attempt") != entry["attempt"]:
                at = f"{self._at}/resume/{step}/{int(entry['attempt'])}"
                self._objects.remove(f"{at}/{file}" for file in entry["files"])
        for here in map(str, steps(self.path / "resume")):
            if here not in states:
                links.remove_tree(self.path / "resume" / here)

    def _withdraw(self, step: int) -> None:
        self._objects.remove([f"{self._at}/marks/{step}/{MANIFEST}"])
        self.copy.refresh()
        self._remove("marks", lambda found, attempt: int(found) == step)

    def _sweep_up(self, held: Lease) -> None:
        self.copy.refresh()  # what the one before wrote until it lost the phase
        used = self._used()
        for kind in ("marks", "resume"):

            def left(step: str, attempt: str, kind: str = kind) -> bool:
                return int(attempt) < held.attempt and (kind, step, attempt) not in used

            self._remove(kind, left)
            for entry in entries(self.path / kind):
                attempt = filled_by(entry)
                dead = attempt is not None and attempt < held.attempt
                if dead or (kind == "resume" and not digits(entry) and entry not in self._resumes()):
                    links.remove_tree(self.path / kind / entry)

    def _used(self) -> set[tuple[str, str, str]]:
        """Kind, step and attempt of the files that a manifest or resume.json names."""
        used = {("resume", step, str(entry["attempt"])) for step, entry in self._resumes().items()}
        return used | {("marks", str(step), str(self.manifest(step)["attempt"])) for step in self.marks()}

    def _remove(self, kind: str, which: Any) -> None:
        """Deletes the files of those (step, attempt) of one kind for which `which` holds, as last listed."""
        parts = [_STORED.fullmatch(name) for name in self.copy.names]
        self._objects.remove(
            f"{self._at}/{found[0]}" for found in parts if found and found[1] == kind and which(found[2], found[3])
        )


class _Lines:
    """The journal of an attempt, written as a whole whenever it has grown for some seconds."""

    def __init__(self, objects: Objects, name: str, held: Lease, changed: Callable[[], None]):
        self._objects = objects
        self._name = name
        self._held = held
        self._changed = changed
        self._text = b""
        self._written = 0  # bytes
        self._when = time.monotonic()

    def write(self, line: bytes) -> None:
        self._text += line
        if time.monotonic() - self._when >= phase_copy.FRESH:
            self.sync()

    def sync(self) -> None:
        if len(self._text) > self._written:
            self._held.check()
            self._objects.put(self._name, self._text)
            self._written, self._when = len(self._text), time.monotonic()
            self._changed()

    def close(self) -> None:
        self.sync()


def _json(value: dict[str, Any]) -> bytes:
    return (json.dumps(value, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()
