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
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from procray import links
from procray.files import sync_folder, write_json
from procray.store.folder_claims import FolderClaims
from procray.store.journal import Journal
from procray.store.kept_files import clock, damage, entries, move, sizes, steps, write_copy
from procray.store.lease import Claims, Lease
from procray.store.names import filled_by, is_left, is_unfinished
from procray.store.phase import PhaseFolder

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
        write_copy(self.path / "progress.json", json.dumps(row).encode(), make=False)

    def sizes(self) -> dict[str, int]:
        return sizes(self.path)

    def examine(self, kind: str, step: int, about: dict[str, Any]) -> str:
        return damage(self.path / kind / str(step), about["files"], trust=False)

    def leftovers(self, older_than: float) -> list[str]:
        temporary = [name for name in self.sizes() if is_left(name)]
        now = clock(self.path) if temporary else 0.0
        found = []
        for name in temporary:
            with contextlib.suppress(OSError):
                if now - links.status(self.path / name).st_mtime > older_than:
                    found.append(name)
        return found

    def clear(self, held: Lease, names: Iterable[str]) -> None:
        held.check()
        for name in names:
            links.remove(self.path / name)
            folder = (self.path / name).parent
            with contextlib.suppress(OSError), links.folder_of(folder) as above:
                os.rmdir(folder.name, dir_fd=above)  # if that was the last one

    def remove(self, held: Lease) -> None:
        held.check()
        gone = self.path.with_name(f".gone-{self.id}-{os.getpid()}")
        links.rename(self.path, gone)
        links.remove_tree(gone)

    def _look(self) -> None:
        pass  # what others wrote is here

    def _bring(self, folder: Path, about: dict[str, Any]) -> str:
        return ""

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
                links.remove_tree(self.path / "resume" / str(step))

    def _sweep_up(self, held: Lease) -> None:
        for kind in ("marks", "resume"):
            for entry in entries(self.path / kind):
                attempt = filled_by(entry)
                if attempt is not None and attempt < held.attempt:
                    links.remove_tree(self.path / kind / entry)
        listed = self._resumes()
        for step in steps(self.path / "resume"):  # renamed, but killed before resume.json named it
            if str(step) not in listed:
                links.remove_tree(self.path / "resume" / str(step))
        for folder in (self.path, self.path / "leases"):
            temporary = list(filter(is_unfinished, entries(folder)))
            now = clock(folder) if temporary else 0.0
            for entry in temporary:
                with contextlib.suppress(OSError):
                    if now - links.status(folder / entry).st_mtime > _UNFINISHED:
                        links.remove(folder / entry)
