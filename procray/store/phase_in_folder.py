"""A phase in a folder that all its readers see: every file replaced as a whole, every mark renamed into place.

    phases/<id>/phase.json            what the phase is, and what each attempt ran on
               /status.json           running, paused, done, failed or skipped, with the reason
               /progress.json         live numbers of the attempt that runs
               /leases/<attempt>.json who writes
               /journal/<attempt>.jsonl
               /marks/<step>/         model.safetensors, config.json, manifest.json
               /resume/<step>/        optimiser, counters, random states; resume.json names the usable ones

What becomes visible is checked against the writer's lease right before the rename.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from procray.files import sync_folder, write_json
from procray.records import digits
from procray.store.folder_claims import FolderClaims
from procray.store.journal import Journal
from procray.store.kept_files import clock, damage, entries, move, sizes, steps
from procray.store.lease import Claims, Lease
from procray.store.phase import TEMPORARY, PhaseFolder

_UNFINISHED = 600.0  # seconds after which nobody is still writing a document


class PhaseInFolder(PhaseFolder):
    """One phase of a store in a folder."""

    def where(self, step: int) -> str:
        return str(self._mark(step))

    def journal(self, held: Lease, provenance: dict[int, dict[str, Any]]) -> Journal:
        self._look()
        return Journal(self.id, self.path / "journal", held.attempt, provenance)

    def fence(self, held: Lease) -> None:
        held.check()

    def write_progress(self, row: dict[str, Any]) -> None:
        temporary = self.path / f".progress-{os.getpid()}"
        temporary.write_text(json.dumps(row), encoding="utf-8")
        os.replace(temporary, self.path / "progress.json")

    def sizes(self) -> dict[str, int]:
        return sizes(self.path)

    def examine(self, kind: str, step: int, about: dict[str, Any]) -> str:
        return damage(self.path / kind / str(step), about["files"], trust=False)

    def leftovers(self, older_than: float) -> list[str]:
        temporary = [name for name in self.sizes() if any(part.startswith(".") for part in name.split("/"))]
        now = clock(self.path) if temporary else 0.0
        found = []
        for name in temporary:
            with contextlib.suppress(OSError):
                if now - (self.path / name).stat().st_mtime > older_than:
                    found.append(name)
        return found

    def clear(self, held: Lease, names: Iterable[str]) -> None:
        held.check()
        for name in names:
            (self.path / name).unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                (self.path / name).parent.rmdir()  # if that was the last one

    def remove(self, held: Lease) -> None:
        held.check()
        gone = self.path.with_name(f".gone-{self.id}-{os.getpid()}")
        os.rename(self.path, gone)
        shutil.rmtree(gone, ignore_errors=True)

    def _look(self) -> None:
        pass  # what others wrote is here

    def _bring(self, folder: Path, about: dict[str, Any]) -> None:
        pass

    def _withdraw(self, step: int) -> None:
        pass

    def _write(self, name: str, value: dict[str, Any]) -> None:
        write_json(self.path / name, value)

    def _claims(self) -> Claims:
        return FolderClaims(self.path / "leases")

    def _publish(self, held: Lease, filled: Path, target: Path) -> None:
        for file in filled.iterdir():
            with open(file, "rb") as handle:
                os.fsync(handle.fileno())
        sync_folder(filled)
        held.check()
        move(filled, target)
        sync_folder(target.parent)

    def _point(self, held: Lease, states: dict[str, dict[str, Any]]) -> None:
        held.check()
        write_json(self.path / "resume.json", {"attempt": held.attempt, "states": states})
        for step in steps(self.path / "resume"):
            if str(step) not in states:
                shutil.rmtree(self.path / "resume" / str(step), ignore_errors=True)

    def _sweep_up(self, held: Lease) -> None:
        for kind in ("marks", "resume"):
            for entry in entries(self.path / kind):
                attempt = entry.removeprefix(TEMPORARY).partition("-")[0]
                if entry.startswith(TEMPORARY) and not digits(attempt) and int(attempt) < held.attempt:
                    shutil.rmtree(self.path / kind / entry, ignore_errors=True)
        listed = self._resumes()
        for step in steps(self.path / "resume"):  # renamed, but killed before resume.json named it
            if str(step) not in listed:
                shutil.rmtree(self.path / "resume" / str(step), ignore_errors=True)
        for folder in (self.path, self.path / "leases"):
            temporary = [entry for entry in entries(folder) if entry.startswith(".")]
            now = clock(folder) if temporary else 0.0
            for entry in temporary:
                with contextlib.suppress(OSError):
                    if now - (folder / entry).stat().st_mtime > _UNFINISHED:
                        (folder / entry).unlink()
