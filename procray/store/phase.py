"""What the store holds of one phase: its marks, resume states, evaluations, status and claims.

What a phase in a folder and one in a bucket have in common: both are read as a folder of this machine, which in a
bucket is a copy. Where they differ, `PhaseInFolder` and `PhaseInBucket` say how.
"""

from __future__ import annotations

import contextlib
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from procray import links
from procray.errors import StoreError
from procray.files import write_json
from procray.redaction import redacted
from procray.store import journal, lease
from procray.store.failure import still_on_record
from procray.store.folder_claims import FolderClaims
from procray.store.kept_files import MANIFEST, damage, described, read_document, steps
from procray.store.lease import Holder, Lease
from procray.training.recipe import PhaseRecipe

TEMPORARY = ".tmp-"  # begins the name of a folder that an attempt, whose number follows, is filling
_KEPT_RESUMES = 2


class PhaseFolder(ABC):
    """What the store holds of one phase. Reading needs no lease; writing does, where it says so."""

    def __init__(self, path: Path):
        self.path = path
        self.id = path.name

    # -- marks ---------------------------------------------------------------------------------------

    def exists_mark(self, step: int) -> bool:
        self._look()
        return os.path.isfile(f"{self.path}/marks/{step}/{MANIFEST}")  # asked for every mark of a plan

    def marks(self) -> list[int]:
        """The steps that have a mark, ascending."""
        self._look()
        return [step for step in steps(self.path / "marks") if self.exists_mark(step)]

    def manifest(self, step: int) -> dict[str, Any]:
        """The manifest of a mark: step, tokens, files with digests, and what the loop recorded.

        Raises:
            StoreError: there is no such mark.
        """
        self._look()
        value = read_document(f"{self._mark(step)}/{MANIFEST}")
        if value is None:
            there = ", ".join(map(str, self.marks())) or "none"
            raise StoreError(f"phase {self.id} has no mark at step {step}; its marks: {there}")
        return value

    def mark(self, step: int) -> Path:
        """The folder of a mark whose files are what its manifest says.

        Raises:
            StoreError: there is no such mark, or a file of it is damaged.
        """
        folder, manifest = self._mark(step), self.manifest(step)
        wrong = self._bring(folder, manifest) or damage(folder, manifest["files"])
        if wrong:
            raise StoreError(
                f"the mark of phase {self.id} at step {step} is damaged: {wrong}. "
                f"`procray store verify --discard` removes it, and the next sweep trains it again"
            )
        return folder

    @abstractmethod
    def where(self, step: int) -> str:
        """The place of a mark as others can find it."""

    def write_mark(
        self, held: Lease, step: int, write: Callable[[Path], dict[str, Any]], about: dict[str, Any]
    ) -> None:
        """Makes the mark at `step` exist, unless it does.

        Args:
            write: fills an empty folder and returns facts for the manifest.
            about: further entries of the manifest.
        """
        if self.exists_mark(step):
            return
        with self._filling(held, self._mark(step)) as folder:
            facts = write(folder) or {}
            content = {
                **about,
                **facts,
                "phase": self.id,
                "step": step,
                "attempt": held.attempt,
                "created": time.time(),
                "files": described(folder),
            }
            write_json(folder / MANIFEST, content)

    # -- resume states -------------------------------------------------------------------------------

    def resumes(self) -> list[int]:
        """The steps with a usable resume state, ascending."""
        return sorted(int(step) for step in self._resumes())

    def resume(self, at_most: int | None = None) -> Path | None:
        """The folder of the newest undamaged resume state, at step `at_most` or before; None without one."""
        for step, entry in sorted(self._resumes().items(), key=lambda item: -int(item[0])):
            folder = self.path / "resume" / step
            if at_most is not None and int(step) > at_most:
                continue
            if not self._bring(folder, entry) and not damage(folder, entry["files"]):
                return folder
        return None

    def write_resume(self, held: Lease, step: int, write: Callable[[Path], None], keep: bool) -> None:
        """Makes a resume state usable and drops those that are no longer of use.

        The two newest stay, and those that were written with `keep`: a run that is later asked for a
        mark in between replays from the nearest.
        """
        known = self._resumes()
        if str(step) not in known:
            with self._filling(held, self.path / "resume" / str(step)) as folder:
                write(folder)
                files = described(folder)
            known[str(step)] = {"attempt": held.attempt, "files": files}
        known[str(step)]["keep"] = keep or known[str(step)].get("keep", False)
        newest = sorted(known, key=int)[-_KEPT_RESUMES:]
        usable = {
            name: entry for name, entry in known.items() if entry.get("keep") or name in newest or name == str(step)
        }
        self._point(held, usable)

    def drop_resumes(self, held: Lease) -> None:
        """Removes every resume state: a decaying schedule that came to its end cannot be extended."""
        if self._resumes() or (self.path / "resume").exists():
            self._point(held, {})
            links.remove_tree(self.path / "resume")

    def _resumes(self) -> dict[str, dict[str, Any]]:
        self._look()
        value = read_document(self.path / "resume.json") or {}
        return dict(value.get("states", {}))

    # -- evaluations and status ----------------------------------------------------------------------

    def curve(self) -> list[dict[str, Any]]:
        """The evaluations of all attempts as one curve: ascending steps, one row for a step."""
        self._look()
        return [row for _, row in journal.merged(self.path / "journal").values()]

    def journals(self) -> list[Path]:
        """The journals of all attempts."""
        self._look()
        return [self.path / "journal" / f"{attempt}.jsonl" for attempt in journal.attempts(self.path / "journal")]

    @abstractmethod
    def journal(self, held: Lease, provenance: dict[int, dict[str, Any]]) -> journal.Journal:
        """Where an attempt writes its evaluations; `provenance` as `write_description` returns it."""

    @abstractmethod
    def fence(self, held: Lease) -> None:
        """Raises LeaseLost where an evaluation must not be added any more."""

    def progress(self) -> dict[str, Any] | None:
        """The last live numbers, or None; they may be those of an attempt that has ended."""
        self._look()
        return read_document(self.path / "progress.json")

    @abstractmethod
    def write_progress(self, row: dict[str, Any]) -> None:
        """Replaces the live numbers. Not durable, and losing them is no loss."""

    def status(self) -> dict[str, Any]:
        """`{"state": ..., "reason": ..., "step": ..., "attempt": ...}`.

        States: `waiting`, `running`, `paused`, `done`, `failed`, `skipped`. A running phase whose
        process is gone reads as paused. `failure`: one that concerns later marks than those trained since, see
        `procray.store.failure`.
        """
        self._look()
        value = read_document(f"{self.path}/status.json") or {"state": "waiting"}
        if value["state"] == "running":
            holder = self.holder()
            if holder is None or not holder.alive():
                value = {**value, "state": "paused", "reason": "its process ended"}
        return value

    def set_status(self, state: str, **facts: Any) -> None:
        """Replaces the status. Runners check their lease first; others may only say `skipped` or `failed`."""
        kept = still_on_record(self._last_status(), state, facts)
        self._write("status.json", {"state": state, "time": time.time(), **redacted(facts), **kept})

    def _last_status(self) -> dict[str, Any] | None:
        with contextlib.suppress(StoreError):  # a damaged one is replaced
            return read_document(self.path / "status.json")
        return None

    def description(self) -> dict[str, Any] | None:
        """phase.json: `{"id", "recipe", "data_digest", "attempts": {attempt: provenance}}`, or None."""
        self._look()
        return read_document(f"{self.path}/phase.json")

    def recipe(self) -> PhaseRecipe | None:
        """What the phase is; None for a checkpoint from outside and a phase that never began.

        Raises:
            StoreError: phase.json does not say.
        """
        about = self.description()
        if about is None or about.get("kind") == "outside":
            return None
        try:
            return PhaseRecipe.from_json(about["recipe"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise StoreError(f"{type(error).__name__}: {error}") from None

    def write_description(
        self, recipe: PhaseRecipe, provenance: dict[str, Any], attempt: int, data_digest: str | None = None
    ) -> dict[int, dict[str, Any]]:
        """Records what the phase is and what `attempt` runs on; returns the provenance of all attempts.

        Raises:
            StoreError: the phase was begun with other data than `data_digest`.
        """
        known = self.description() or {}
        before = known.get("data_digest")
        if before and data_digest and before != data_digest:
            raise StoreError(
                f"phase {self.id} was begun with data {before[:16]}, but its recipe now gives {data_digest[:16]}: "
                "the source has changed. Restore the data, or remove the phase's folder to train it afresh"
            )
        attempts = {**known.get("attempts", {}), str(attempt): provenance}
        content = {
            "id": self.id,
            "recipe": recipe.to_json(),
            "data_digest": before or data_digest,
            "attempts": attempts,
        }
        self._write("phase.json", content)
        return {int(number): value for number, value in attempts.items()}

    def describe_outside(self, facts: dict[str, Any]) -> None:
        """phase.json of a checkpoint from outside, which no phase made."""
        self._write("phase.json", {"id": self.id, "kind": "outside", "outside": facts})

    # -- the writer ----------------------------------------------------------------------------------

    def holder(self) -> Holder | None:
        self._look()
        return lease.holder(FolderClaims(self.path / "leases"))

    def acquire(self, about: dict[str, Any] | None = None) -> Lease | None:
        """The right to write, or None while a living process has it. Sweeps up after dead attempts.

        Raises:
            StoreError: a folder of the phase is a link.
        """
        for place in (self.path, *(self.path / name for name in ("leases", "marks", "resume", "journal"))):
            links.refuse(place)
        held = lease.acquire(self._claims(), about)
        if held is not None:
            try:
                self._sweep_up(held)
            except BaseException:  # nobody will ever release what was not returned
                held.release()
                raise
        return held

    # -- upkeep ----------------------------------------------------------------------------------------

    @abstractmethod
    def sizes(self) -> dict[str, int]:
        """Bytes of every file of the phase, whatever it is, by its name below the phase."""

    def resume_states(self) -> dict[int, dict[str, Any]]:
        """What `resume.json` says of every usable state, by step."""
        return {int(step): entry for step, entry in self._resumes().items()}

    @abstractmethod
    def examine(self, kind: str, step: int, about: dict[str, Any]) -> str:
        """What is wrong with the files of a mark (`marks`) or a state (`resume`), read anew; empty when nothing is."""

    def discard(self, held: Lease, kind: str, step: int) -> None:
        """Removes a mark or a resume state; what it held can be trained again."""
        held.check()
        if kind == "resume":
            self._point(held, {name: entry for name, entry in self._resumes().items() if int(name) != step})
        else:
            self._withdraw(step)
            links.remove(self._mark(step) / MANIFEST)  # first: without it there is no mark
            links.remove_tree(self._mark(step))

    @abstractmethod
    def leftovers(self, older_than: float) -> list[str]:
        """Unfinished files, last touched more than so many seconds ago by the clock of the store, by their names.

        They were left by an attempt that was killed, unless a runner has the phase.
        """

    @abstractmethod
    def clear(self, held: Lease, names: Iterable[str]) -> None:
        """Deletes what `leftovers` named."""

    @abstractmethod
    def remove(self, held: Lease) -> None:
        """Deletes the phase with everything in it, at once."""

    # -- where a folder and a bucket differ ------------------------------------------------------------

    @abstractmethod
    def _look(self) -> None:
        """Makes sure that what others wrote is to be seen here."""

    @abstractmethod
    def _bring(self, folder: Path, about: dict[str, Any]) -> str:
        """Makes sure that the files of a mark or a resume state are here; `about` names them.

        Returns:
            What is wrong with them where they are kept, as far as that shows before they are fetched.
        """

    @abstractmethod
    def _write(self, name: str, value: dict[str, Any]) -> None:
        """Replaces a document."""

    @abstractmethod
    def _claims(self) -> lease.Claims:
        """The claims on the phase where they are kept, not a copy of them."""

    @abstractmethod
    def _publish(self, held: Lease, filled: Path, target: Path) -> None:
        """Makes a filled folder visible, durable and at once, if the lease is still held."""

    @abstractmethod
    def _point(self, held: Lease, states: dict[str, dict[str, Any]]) -> None:
        """Makes just these resume states the usable ones and removes the others, if the lease is still held."""

    @abstractmethod
    def _withdraw(self, step: int) -> None:
        """Removes a mark from where others see it, if that is not this machine's folder."""

    @abstractmethod
    def _sweep_up(self, held: Lease) -> None:
        """Removes what dead attempts left."""

    # ---------------------------------------------------------------------------------------------------

    def _mark(self, step: int) -> Path:
        return self.path / "marks" / str(step)

    @contextlib.contextmanager
    def _filling(self, held: Lease, target: Path) -> Iterator[Path]:
        """An empty folder that becomes `target` at the end, durable and at once, or never existed."""
        temporary = target.parent / f"{TEMPORARY}{held.attempt}-{target.name}"
        links.remove_tree(temporary)
        links.make_folder(temporary)
        try:
            yield temporary
            self._publish(held, temporary, target)
        except BaseException as error:
            links.remove_tree(temporary)
            if isinstance(error, OSError):
                held.check()  # a successor has swept the folder up: the lost lease is the reason
            raise
