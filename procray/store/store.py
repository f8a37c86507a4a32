"""Content-addressed checkpoints, journals and reports in one place: what the store holds is the truth.

The place is a folder, on a disk or on NFS, or a bucket (`s3://bucket/prefix`). What stands where in it say
`folder.py` and `bucket.py`; here its names are guarded, and everything else is left to the one or the other.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from procray import links
from procray.corpora.prepared import corpus_folder
from procray.errors import StoreError
from procray.files import holds, write_atomic, write_json
from procray.planning.plan_text import plan_lines
from procray.records import is_plain
from procray.store.backend import Backend
from procray.store.folder import Folder
from procray.store.note import Note, open_note
from procray.store.objects import PATIENCE
from procray.store.phase import PhaseFolder
from procray.store.plans import NEWEST, PLAN, REPORT_PAGE, StoredPlan, leading_page, stored

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
        for name in ("phases", "sweeps", "corpora", "analysis"):  # said at once, whatever is asked for
            links.refuse(self.path / name)

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

    def title_folder(self, title: str) -> Path:
        """Where what belongs to a sweep as a whole stands, whatever was planned under its title; on this machine.

        Args:
            title: `Plan.title`.

        Raises:
            StoreError: such a title would lead out of the store.
        """
        return _no_link(self.path / "sweeps" / _plain(title, "name of a sweep"))

    def plan_folder(self, title: str, digest: str) -> Path:
        """Where one plan, its report and the logs of its runs stand, on this machine.

        Args:
            title, digest: of a `Plan`.

        Raises:
            StoreError: such names would lead out of the store.
        """
        return _no_link(self.title_folder(title) / _plain(digest, "digest of a plan"))

    def plans(self, title: str | None = None) -> list[StoredPlan]:
        """Every plan that was run here and is not forgotten, or those of one sweep, by title and age."""
        if title is not None:
            self.title_folder(title)  # refuses what leads out of the store
        return stored(self.path / "sweeps", self._backend.plans(title))

    def newest(self, title: str) -> StoredPlan | None:
        """The plan of a sweep that was run last; None where none was."""
        return next((plan for plan in self.plans(title) if plan.newest), None)

    def write_plan(self, plan: Plan) -> Path:
        """Keeps a plan until it is forgotten, and makes it the newest of its sweep; returns its plan.json.

        Only for what trains: whoever only looks at a plan leaves the store as it is.
        """
        path = self.plan_folder(plan.title, plan.digest) / PLAN
        if not holds(path, plan_lines(plan)):
            write_atomic(path, plan_lines(plan))
        self.publish(path)
        pointer = self.title_folder(plan.title) / NEWEST
        write_json(pointer, {"plan": plan.digest})
        self.publish(pointer)
        return path

    def lead_to_report(self, plan: Plan) -> None:
        """Has the sweep's report.html lead to the report of this plan, if it is the newest one."""
        newest = self.newest(plan.title)
        if newest is None or newest.digest != plan.digest:
            return
        path, content = self.title_folder(plan.title) / REPORT_PAGE, leading_page(plan.title, plan.digest).encode()
        if not holds(path, [content]):
            write_atomic(path, content)
        self.publish(path)

    def runs(self, plan: StoredPlan) -> dict[str, float]:
        """The words that commands keep beside a plan while they run it, and seconds since; see `runs.py`."""
        return self._backend.runs(plan.path.parent.relative_to(self.path / "sweeps").as_posix())

    def forget(self, title: str, digest: str | None = None) -> None:
        """Removes plans, reports and logs of a sweep, or of one of its plans; phases stay."""
        self.title_folder(title)
        plans = self.plans(title)
        if digest is None or {plan.digest for plan in plans} == {digest}:
            self._backend.forget(title)
            return
        gone = next((plan for plan in plans if plan.digest == digest), None)
        if gone is None:
            raise StoreError(f"{self} has no plan '{digest}' of {title}")
        places = [gone.path.name, "report", "selection.json", "logs"] if gone.former else [digest]
        places += [NEWEST, REPORT_PAGE] if gone.newest else []
        for place in places:
            self._backend.forget(f"{title}/{place}")

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
        """Shows others a corpus that was prepared in `corpora`, and that somebody is about to read it."""
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

    def corpus_age(self, name: str) -> float:
        """Seconds since anything of a corpus was written or it was asked for; 0 while it is being prepared."""
        return self._backend.corpus_age(_plain(name, "name of a corpus"))

    def remove_corpus(self, name: str) -> bool:
        """Deletes a prepared corpus; False where a process is preparing it. A sweep that reads it prepares it again."""
        return self._backend.remove_corpus(_plain(name, "name of a corpus"))

    # -- whatever else -------------------------------------------------------------------------------

    def strays(self, older_than: float) -> dict[str, int]:
        """Bytes of unfinished files outside of phases that killed processes left, by their paths below `path`.

        Args:
            older_than: seconds, by the clock of the store, within which they may still be written.
        """
        return self._backend.strays(older_than)

    def remove_stray(self, name: str) -> None:
        """Deletes what `strays` named."""
        self._backend.remove_stray(name)


def _backend(place: str, patience: float) -> Backend:
    if "://" not in place:
        return Folder(Path(place).expanduser().absolute())
    from procray.store.bucket import Bucket  # only here, so that a folder needs nothing of it

    return Bucket(place, patience)


def _no_link(path: Path) -> Path:
    links.refuse(path)
    return path


def _plain(name: str, what: str) -> str:
    """The name of something in the store, if it stays within it.

    Raises:
        StoreError: it might not.
    """
    if not is_plain(name):
        raise StoreError(f"{name!r} is no {what}: it might lead out of the store")
    return name
