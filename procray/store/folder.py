"""A store in a folder that all its readers see, on a disk or on NFS: it is up to date by itself.

phases/<id>/               see `phase_in_folder.py`
sweeps/<title>/            see `plans.py`
corpora/<digest>/          token shards; manifest.json, written last, makes them complete
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from procray.corpora.prepared import Prepared, read_manifest
from procray.store.kept_files import MANIFEST, entries, sizes
from procray.store.nearby import nearby
from procray.store.phase_in_folder import PhaseInFolder
from procray.store.plans import PLAN, title_of


class Folder:
    """What `Store` asks of a folder; see `Backend`. Making one touches nothing."""

    in_bucket = False

    def __init__(self, path: Path):
        self.path = path
        self.address = str(path)
        self._phases = path / "phases"
        self._corpora = path / "corpora"

    def be_patient(self, seconds: float) -> None:
        pass

    def check(self) -> None:
        pass

    def place(self, path: Path) -> str:
        return str(path)

    def publish(self, path: Path) -> None:
        pass

    # -- phases and sweeps ---------------------------------------------------------------------------

    def phase(self, phase_id: str) -> PhaseInFolder:
        return PhaseInFolder(self._phases / phase_id)

    def phases(self) -> list[str]:
        with contextlib.suppress(FileNotFoundError):
            return sorted(
                entry.name for entry in os.scandir(self._phases) if entry.is_dir() and not entry.name.startswith(".")
            )
        return []

    def refresh(self, phases: Iterable[str], all: bool) -> None:
        pass

    def plans(self, title: str | None = None) -> dict[Path, float]:
        sweeps = self.path / "sweeps"
        below = sweeps if title is None else sweeps / title
        found = {}
        for pattern in (PLAN, f"*/{PLAN}", f"*/*/{PLAN}"):
            for path in below.glob(pattern):
                if title_of(path.relative_to(sweeps)) is not None:
                    with contextlib.suppress(FileNotFoundError):  # forgotten between the two looks
                        found[path.relative_to(sweeps)] = path.stat().st_mtime
        return found

    def forget(self, place: str) -> None:
        path = self.path / "sweeps" / place
        if not path.is_dir():
            path.unlink(missing_ok=True)
            return
        for plan in (path / PLAN, *path.glob(f"*/{PLAN}")):
            plan.unlink(missing_ok=True)  # first: it is what names phases
        shutil.rmtree(path, ignore_errors=True)

    # -- corpora -------------------------------------------------------------------------------------

    def bring_corpus(self, name: str) -> Path:
        return nearby(self._corpora, name)

    def publish_corpus(self, name: str) -> None:
        pass

    def corpora_sizes(self) -> dict[str, int]:
        return {name: sum(sizes(self._corpora / name).values()) for name in sorted(entries(self._corpora))}

    def examine_corpus(self, name: str) -> str:
        folder = self._corpora / name
        manifest = read_manifest(folder)
        if manifest is not None and "digest" in manifest:  # else its preparation has not come to an end
            Prepared(folder, manifest).verify()
        return ""

    def remove_corpus(self, name: str) -> None:
        (self._corpora / name / MANIFEST).unlink(missing_ok=True)  # first: without it nothing is prepared
        shutil.rmtree(self._corpora / name, ignore_errors=True)
