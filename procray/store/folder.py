"""A store in a folder that all its readers see, on a disk or on NFS: it is up to date by itself.

phases/<id>/               see `phase_in_folder.py`
sweeps/<title>/            see `plans.py`
corpora/<digest>/          token shards; manifest.json, written last, makes them complete
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from procray import links
from procray.corpora.lock import LOCK, alone_if_free, taken
from procray.corpora.prepared import Prepared, read_manifest
from procray.records import is_plain
from procray.store.kept_files import MANIFEST, clock, entries, last_written, sizes
from procray.store.names import is_gone, is_unfinished, is_unfinished_of_store
from procray.store.nearby import nearby
from procray.store.phase_in_folder import PhaseInFolder
from procray.store.plans import PLAN, title_of
from procray.store.runs import is_run

# What a store consists of: nothing of it, or below it, is reached through a link.
GUARDED = (
    "phases", "sweeps", "corpora", "analysis", "mlartifacts", "machine.json", "store-id", "mlflow-server.log",
    "mlflow.db", "mlflow.db.lock", "mlflow.db.new",
)  # fmt: skip


class Folder:
    """What `Store` asks of a folder; see `Backend`. Making one touches nothing."""

    in_bucket = False

    def __init__(self, path: Path):
        links.guard(path, GUARDED)
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
        links.refuse(self._phases)
        with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(self._phases) as found:
            return sorted(
                entry.name for entry in found if entry.is_dir(follow_symlinks=False) and not entry.name.startswith(".")
            )
        return []

    def refresh(self, phases: Iterable[str], all: bool) -> None:
        pass

    def plans(self, title: str | None = None) -> dict[Path, float]:
        sweeps = self.path / "sweeps"
        found = {}
        for name in filter(is_plain, entries(sweeps) if title is None else [title]):
            for path in (Path(name, PLAN), *(Path(name, digest, PLAN) for digest in entries(sweeps / name))):
                if title_of(path) is not None:
                    with contextlib.suppress(FileNotFoundError, NotADirectoryError):  # none, or forgotten meanwhile
                        found[path] = links.status(sweeps / path).st_mtime
        return found

    def runs(self, place: str) -> dict[str, float]:
        folder = self.path / "sweeps" / place
        found = {}
        for name in filter(is_run, entries(folder)):
            with contextlib.suppress(FileNotFoundError):  # over between the two looks
                found[name] = links.status(folder / name).st_mtime
        now = clock(folder) if found else 0.0
        return {name: now - written for name, written in found.items()}

    def forget(self, place: str) -> None:
        path = self.path / "sweeps" / place
        if not links.is_folder(path):
            links.remove(path)
            return
        for plan in (path / PLAN, *(path / name / PLAN for name in entries(path) if links.is_folder(path / name))):
            links.remove(plan)  # first: it is what names phases
        links.remove_tree(path)

    # -- corpora -------------------------------------------------------------------------------------

    def bring_corpus(self, name: str) -> Path:
        return nearby(self._corpora, name)

    def publish_corpus(self, name: str) -> None:
        lock = self._corpora / name / LOCK
        # Somebody else's, or copied by hand: then its shards have their dates.
        with contextlib.suppress(OSError), links.folder_of(lock) as folder:
            os.utime(LOCK, dir_fd=folder, follow_symlinks=False)  # whoever asked for it is about to read it

    def corpora_sizes(self) -> dict[str, int]:
        names = (name for name in sorted(entries(self._corpora)) if links.is_folder(self._corpora / name))
        return {name: sum(sizes(self._corpora / name).values()) for name in names if not name.startswith(".")}

    def examine_corpus(self, name: str) -> str:
        folder = self._corpora / name
        manifest = read_manifest(folder)
        if manifest is not None and "digest" in manifest:  # else its preparation has not come to an end
            Prepared(folder, manifest).verify()
        return ""

    def corpus_age(self, name: str) -> float:
        folder = self._corpora / name
        return 0.0 if taken(folder) else clock(self._corpora) - last_written(folder)

    def remove_corpus(self, name: str) -> bool:
        folder = self._corpora / name
        if not links.is_folder(folder):
            return True
        with alone_if_free(folder) as free:
            if free:
                links.remove(folder / MANIFEST)  # first: without it nothing is prepared
                links.remove_tree(folder)
            return free

    # -- whatever else -------------------------------------------------------------------------------

    def strays(self, older_than: float) -> dict[str, int]:
        if not self.path.is_dir():
            return {}
        now, found = clock(self.path), {}
        for path in self._unfinished():
            with contextlib.suppress(OSError):  # gone between the two looks
                if now - max(last_written(path), path.lstat().st_mtime) > older_than:
                    size = sum(sizes(path).values()) if path.is_dir() else path.lstat().st_size
                    found[path.relative_to(self.path).as_posix()] = size
        return found

    def _unfinished(self) -> Iterator[Path]:
        """What a kill can have left, by the names that `write_atomic`, `clock` and the removal of a phase give."""
        yield from (self._phases / name for name in entries(self._phases) if is_gone(name))
        yield from (self.path / name for name in entries(self.path) if is_unfinished_of_store(name))
        places = [self.path / "sweeps", *(self._corpora / name for name in entries(self._corpora))]
        for place in filter(links.is_folder, places):
            for parent, folders, names in os.walk(place):
                # What is called `.run-` belongs to a run, which may last for days; the next one removes it.
                folders[:] = [name for name in folders if not name.startswith(".")]
                yield from (Path(parent, name) for name in names if is_unfinished(name))

    def remove_stray(self, name: str) -> None:
        links.remove_any(self.path / name)
