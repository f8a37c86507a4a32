"""Content-addressed checkpoints, journals and reports in one place: what the store holds is the truth.

The place is a folder, on a disk or on NFS, or a bucket (`s3://bucket/prefix`). What stands where in it say
`folder.py` and `bucket.py`; here its names are guarded, and everything else is left to the one or the other.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from procray.corpora.prepared import corpus_folder
from procray.errors import StoreError
from procray.files import holds, json_lines, write_atomic
from procray.records import is_plain
from procray.store.backend import Backend
from procray.store.folder import Folder
from procray.store.note import Note, open_note
from procray.store.objects import PATIENCE
from procray.store.phase import PhaseFolder

if TYPE_CHECKING:
    from procray.planning.plan import Plan


class Store:
    """A store in a folder or a bucket. Opening it costs nothing and makes nothing.

    Attributes:
        address: as a user or another process names it.
        path: the folder; of a bucket this machine's copy of what was read from it.
    """

    def __init__(self, place: str | os.PathLike[str], patience: float = PATIENCE):
        """
        Args:
            place: a folder, or `s3://bucket/prefix`.
            patience: seconds to go on trying while a bucket does not answer.

        Raises:
            StoreError: neither a folder nor an address of a bucket that can be a store.
        """
        self._backend = _backend(os.fspath(place), patience)
        self.address, self.path = self._backend.address, self._backend.path
        if self.path.exists() and not self.path.is_dir():
            raise StoreError(f"the store '{self.path}' is a file, not a folder")

    def __str__(self) -> str:
        return self.address

    @property
    def in_bucket(self) -> bool:
        """Whether `path` holds copies only."""
        return self._backend.in_bucket

    def be_patient(self, seconds: float) -> None:
        """From here on, goes on trying for so long while a bucket does not answer."""
        self._backend.be_patient(seconds)

    def check(self) -> None:
        """Raises StoreError or EnvironmentProblem where a bucket cannot be reached or cannot be a store."""
        self._backend.check()

    def publish(self, path: Path) -> None:
        """Shows others a file, or the files of a folder, that was written below `path`; in a folder they see it."""
        self._backend.publish(path)

    def note(self, path: Path) -> Note:
        """A word to runners on any machine, at a path below `path`."""
        return open_note(self._backend.place(path))

    # -- phases --------------------------------------------------------------------------------------

    def phase(self, phase_id: str) -> PhaseFolder:
        """What the store holds of a phase.

        Raises:
            StoreError: such an id would lead out of the store.
        """
        return self._backend.phase(_plain(phase_id, "id of a phase"))

    def phases(self) -> list[str]:
        """The ids of all phases that have a folder."""
        return self._backend.phases()

    def refresh(self, phases: Iterable[str], all: bool = True) -> None:
        """Brings what is known here of some phases up to date, many at once. A folder is always so.

        Args:
            all: also what was looked at a moment ago, as for a decision; not only as for a display.
        """
        self._backend.refresh(phases, all)

    # -- sweeps --------------------------------------------------------------------------------------

    def sweep_folder(self, name: str, scale: str | None) -> Path:
        """Where the plan, the report and the logs of one sweep stand, on this machine.

        Raises:
            StoreError: such a name would lead out of the store.
        """
        path = self.path / "sweeps" / _plain(f"{name}@{scale or 'default'}", "name of a sweep")
        if path.is_symlink():
            raise StoreError(f"{path} is a link, which might lead out of the store; nothing is written through it")
        return path

    def plans(self) -> list[Path]:
        """plan.json of every sweep, in order of their names."""
        return self._backend.plans()

    def write_plan(self, plan: Plan) -> Path:
        """Writes plan.json, unless it says the same already; returns its path."""
        path = self.sweep_folder(plan.name, plan.scale) / "plan.json"
        value = plan.to_json()
        if not holds(path, json_lines(value)):
            write_atomic(path, json_lines(value))
        self.publish(path)
        return path

    def forget(self, sweep: str) -> None:
        """Removes the plan, the report and the logs of a sweep, named as its folder is; its phases stay."""
        self._backend.forget(_plain(sweep, "name of a sweep"))

    # -- corpora -------------------------------------------------------------------------------------

    @property
    def corpora(self) -> Path:
        """Where corpora are prepared, on this machine."""
        return self.path / "corpora"

    def bring_corpus(self, recipe: dict[str, Any]) -> Path:
        """The folder to read a corpus from: on a disk of this machine, once brought there from where it is kept.

        Raises:
            StoreError: it cannot be brought.
        """
        return self.bring_corpus_named(corpus_folder(recipe, self.corpora).name)

    def bring_corpus_named(self, name: str) -> Path:
        """As `bring_corpus`, by the name of the corpus's folder."""
        return self._backend.bring_corpus(_plain(name, "name of a corpus"))

    def publish_corpus(self, recipe: dict[str, Any]) -> None:
        """Shows others a corpus that was prepared in `corpora`."""
        self._backend.publish_corpus(corpus_folder(recipe, self.corpora).name)

    def corpora_sizes(self) -> dict[str, int]:
        """Bytes of every prepared corpus, by the name of its folder."""
        return self._backend.corpora_sizes()

    def examine_corpus(self, name: str) -> str:
        """What is wrong with a prepared corpus where it is kept, every shard read anew; empty when nothing is.

        Raises:
            CorpusError: as for reading it.
        """
        return self._backend.examine_corpus(name)

    def remove_corpus(self, name: str) -> None:
        """Deletes a prepared corpus. A sweep that reads it prepares it again."""
        self._backend.remove_corpus(_plain(name, "name of a corpus"))


def _backend(place: str, patience: float) -> Backend:
    if "://" not in place:
        return Folder(Path(place).expanduser().absolute())
    from procray.store.bucket import Bucket  # only here, so that a folder needs nothing of it

    return Bucket(place, patience)


def _plain(name: str, what: str) -> str:
    """The name of something in the store, if it stays within it.

    Raises:
        StoreError: it might not.
    """
    if not is_plain(name):
        raise StoreError(f"{name!r} is no {what}: it might lead out of the store")
    return name
