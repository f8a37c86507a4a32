"""Content-addressed checkpoints, journals and reports in one place: what the store holds is the truth.

The place is a folder, on a disk or on NFS, or a bucket (`s3://bucket/prefix`, see `remote.py`).

    phases/<id>/phase.json            what the phase is, and what each attempt ran on
               /status.json           running, paused, done, failed or skipped, with the reason
               /progress.json         live numbers of the attempt that runs
               /leases/<attempt>.json who writes
               /journal/<attempt>.jsonl
               /marks/<step>/         model.safetensors, config.json, manifest.json
               /resume/<step>/        optimiser, counters, random states; resume.json names the usable ones
    sweeps/<name>@<scale>/            plan.json, report, logs
    corpora/<digest>/

In a folder every mark is filled under a temporary name and renamed, every file is replaced as a whole. What
becomes visible is checked against the writer's lease right before the rename.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from stat import S_ISREG
from typing import TYPE_CHECKING, Any

from procray.corpora.prepared import Prepared, corpus_folder, read_manifest
from procray.errors import StoreError
from procray.files import holds, read_json, sha256_file, sync_folder, write_atomic, write_json
from procray.planning.plan_text import plan_lines
from procray.records import digits, is_plain
from procray.redaction import redacted
from procray.store import journal, lease
from procray.store.documents import checked
from procray.store.lease import Holder, Lease
from procray.store.nearby import nearby
from procray.store.note import Note, open_note
from procray.store.objects import PATIENCE
from procray.training.recipe import PhaseRecipe

if TYPE_CHECKING:
    from procray.planning.plan import Plan
    from procray.store.remote import Bucket

MANIFEST = "manifest.json"
_TEMPORARY = ".tmp-"
_KEPT_RESUMES = 2
_LARGEST_DOCUMENT = 1 << 26  # bytes of a JSON file of a phase


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
        text = os.fspath(place)
        self._bucket: Bucket | None = None
        if "://" in text:
            from procray.store.remote import Bucket

            self._bucket = Bucket(text, patience)
            self.address, self.path = self._bucket.url, self._bucket.path
        else:
            self.path = Path(text).expanduser().absolute()
            self.address = str(self.path)
        self._phases = self.path / "phases"
        if self.path.exists() and not self.path.is_dir():
            raise StoreError(f"the store '{self.path}' is a file, not a folder")

    def __str__(self) -> str:
        return self.address

    @property
    def in_bucket(self) -> bool:
        """Whether `path` holds copies only."""
        return self._bucket is not None

    def be_patient(self, seconds: float) -> None:
        """From here on, goes on trying for so long while a bucket does not answer."""
        if self._bucket is not None:
            self._bucket.be_patient(seconds)

    @property
    def corpora(self) -> Path:
        """Where corpora are prepared, on this machine."""
        return self.path / "corpora"

    def phase(self, phase_id: str) -> PhaseFolder:
        """What the store holds of a phase.

        Raises:
            StoreError: such an id would lead out of the store.
        """
        if not is_plain(phase_id):
            raise StoreError(f"{phase_id!r} is no id of a phase: it might lead out of the store")
        if self._bucket is not None:
            return self._bucket.phase(phase_id)
        return PhaseFolder(self._phases / phase_id)

    def phases(self) -> list[str]:
        """The ids of all phases that have a folder."""
        if self._bucket is not None:
            return self._bucket.phases()
        with contextlib.suppress(FileNotFoundError):
            return sorted(
                entry.name for entry in os.scandir(self._phases) if entry.is_dir() and not entry.name.startswith(".")
            )
        return []

    def check(self) -> None:
        """Raises StoreError or EnvironmentProblem where a bucket cannot be reached or cannot be a store."""
        if self._bucket is not None:
            self._bucket.check()

    def refresh(self, phases: Iterable[str], all: bool = True) -> None:
        """Brings what is known here of some phases up to date, many at once. A folder is always so.

        Args:
            all: also what was looked at a moment ago, as for a decision; not only as for a display.
        """
        if self._bucket is not None:
            self._bucket.refresh(phases, all)

    def sweep_folder(self, name: str, scale: str | None) -> Path:
        """Where the plan, the report and the logs of one sweep stand, on this machine.

        Raises:
            StoreError: such a name would lead out of the store.
        """
        folder = f"{name}@{scale or 'default'}"
        if not is_plain(folder):
            raise StoreError(f"{folder!r} is no name of a sweep: it might lead out of the store")
        path = self.path / "sweeps" / folder
        if path.is_symlink():
            raise StoreError(f"{path} is a link, which might lead out of the store; nothing is written through it")
        return path

    def plans(self) -> list[Path]:
        """plan.json of every sweep, in order of their names."""
        if self._bucket is not None:
            self._bucket.fetch_plans()
        return sorted(self.path.glob("sweeps/*/plan.json"))

    def forget(self, sweep: str) -> None:
        """Removes the plan, the report and the logs of a sweep, named as its folder is; its phases stay."""
        if not is_plain(sweep):
            raise StoreError(f"{sweep!r} is no name of a sweep: it might lead out of the store")
        if self._bucket is not None:
            self._bucket.forget(sweep)
        (self.path / "sweeps" / sweep / "plan.json").unlink(missing_ok=True)  # first: it is what names phases
        shutil.rmtree(self.path / "sweeps" / sweep, ignore_errors=True)

    def write_plan(self, plan: Plan) -> Path:
        """Writes plan.json, unless it says the same already; returns its path."""
        path = self.sweep_folder(plan.name, plan.scale) / "plan.json"
        if not holds(path, plan_lines(plan)):
            write_atomic(path, plan_lines(plan))
        self.publish(path)
        return path

    def publish(self, path: Path) -> None:
        """Shows others a file, or the files of a folder, that was written below `path`; in a folder they see it."""
        if self._bucket is not None:
            self._bucket.publish(path)

    def note(self, path: Path) -> Note:
        """A word to runners on any machine, at a path below `path`."""
        if self._bucket is not None:
            return open_note(f"{self.address}/{path.relative_to(self.path).as_posix()}")
        return open_note(str(path))

    def bring_corpus(self, recipe: dict[str, Any]) -> Path:
        """The folder to read a corpus from: on a disk of this machine, once brought there from where it is kept.

        Raises:
            StoreError: it cannot be brought.
        """
        return self.bring_corpus_named(corpus_folder(recipe, self.corpora).name)

    def bring_corpus_named(self, name: str) -> Path:
        """As `bring_corpus`, by the name of the corpus's folder."""
        if not is_plain(name):
            raise StoreError(f"{name!r} is no name of a corpus: it might lead out of the store")
        if self._bucket is not None:
            self._bucket.fetch_corpus(name)
            return self.corpora
        return nearby(self.corpora, name)

    def corpora_sizes(self) -> dict[str, int]:
        """Bytes of every prepared corpus, by the name of its folder."""
        if self._bucket is not None:
            return self._bucket.corpora_sizes()
        return {name: sum(_sizes(self.corpora / name).values()) for name in sorted(_entries(self.corpora))}

    def examine_corpus(self, name: str) -> str:
        """What is wrong with a prepared corpus where it is kept, every shard read anew; empty when nothing is.

        Raises:
            CorpusError: as for reading it.
        """
        if self._bucket is not None:
            return self._bucket.examine_corpus(name)
        folder = self.corpora / name
        manifest = read_manifest(folder)
        if manifest is not None and "digest" in manifest:  # else its preparation has not come to an end
            Prepared(folder, manifest).verify()
        return ""

    def remove_corpus(self, name: str) -> None:
        """Deletes a prepared corpus. A sweep that reads it prepares it again."""
        if not is_plain(name):
            raise StoreError(f"{name!r} is no name of a corpus: it might lead out of the store")
        if self._bucket is not None:
            self._bucket.remove_corpus(name)
        (self.corpora / name / MANIFEST).unlink(missing_ok=True)  # first: without it nothing is prepared
        shutil.rmtree(self.corpora / name, ignore_errors=True)

    def publish_corpus(self, recipe: dict[str, Any]) -> None:
        """Shows others a corpus that was prepared in `corpora`."""
        if self._bucket is not None:
            self._bucket.publish_corpus(corpus_folder(recipe, self.corpora).name)


class PhaseFolder:
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
        return [step for step in _steps(self.path / "marks") if self.exists_mark(step)]

    def manifest(self, step: int) -> dict[str, Any]:
        """The manifest of a mark: step, tokens, files with digests, and what the loop recorded.

        Raises:
            StoreError: there is no such mark.
        """
        self._look()
        value = _read(self._mark(step) / MANIFEST)
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
        self._bring(folder, manifest)
        wrong = damage(folder, manifest["files"])
        if wrong:
            raise StoreError(
                f"the mark of phase {self.id} at step {step} is damaged: {wrong}. "
                f"`procray store verify --discard` removes it, and the next sweep trains it again"
            )
        return folder

    def where(self, step: int) -> str:
        """The place of a mark as others can find it."""
        return str(self._mark(step))

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
                "files": _describe(folder),
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
            self._bring(folder, entry)
            if not damage(folder, entry["files"]):
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
                files = _describe(folder)
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
            shutil.rmtree(self.path / "resume", ignore_errors=True)

    def _resumes(self) -> dict[str, dict[str, Any]]:
        self._look()
        value = _read(self.path / "resume.json") or {}
        return dict(value.get("states", {}))

    def _point(self, held: Lease, states: dict[str, dict[str, Any]]) -> None:
        held.check()
        write_json(self.path / "resume.json", {"attempt": held.attempt, "states": states})
        for step in _steps(self.path / "resume"):
            if str(step) not in states:
                shutil.rmtree(self.path / "resume" / str(step), ignore_errors=True)

    # -- evaluations and status ----------------------------------------------------------------------

    def curve(self) -> list[dict[str, Any]]:
        """The evaluations of all attempts as one curve: ascending steps, one row for a step."""
        self._look()
        return [row for _, row in journal.merged(self.path / "journal").values()]

    def journals(self) -> list[Path]:
        """The journals of all attempts."""
        self._look()
        return [self.path / "journal" / f"{attempt}.jsonl" for attempt in journal.attempts(self.path / "journal")]

    def journal(self, held: Lease, provenance: dict[int, dict[str, Any]]) -> journal.Journal:
        """Where an attempt writes its evaluations; `provenance` as `write_description` returns it."""
        self._look()
        return journal.Journal(self.id, self.path / "journal", held.attempt, provenance)

    def fence(self, held: Lease) -> None:
        """Raises LeaseLost where an evaluation must not be added any more."""
        held.check()

    def progress(self) -> dict[str, Any] | None:
        """The last live numbers, or None; they may be those of an attempt that has ended."""
        self._look()
        return _read(self.path / "progress.json")

    def write_progress(self, row: dict[str, Any]) -> None:
        """Replaces the live numbers. Not durable, and losing them is no loss."""
        temporary = self.path / f".progress-{os.getpid()}"
        temporary.write_text(json.dumps(row), encoding="utf-8")
        os.replace(temporary, self.path / "progress.json")

    def status(self) -> dict[str, Any]:
        """`{"state": ..., "reason": ..., "step": ..., "attempt": ...}`.

        States: `waiting`, `running`, `paused`, `done`, `failed`, `skipped`. A running phase whose
        process is gone reads as paused.
        """
        self._look()
        value = _read(self.path / "status.json") or {"state": "waiting"}
        if value["state"] == "running":
            holder = self.holder()
            if holder is None or not holder.alive():
                value = {**value, "state": "paused", "reason": "its process ended"}
        return value

    def set_status(self, state: str, **facts: Any) -> None:
        """Replaces the status. Runners check their lease first; others may only say `skipped` or `failed`."""
        self._write("status.json", {"state": state, "time": time.time(), **redacted(facts)})

    def description(self) -> dict[str, Any] | None:
        """phase.json: `{"id", "recipe", "data_digest", "attempts": {attempt: provenance}}`, or None."""
        self._look()
        return _read(self.path / "phase.json")

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
        return lease.holder(lease.FolderClaims(self.path / "leases"))

    def acquire(self, about: dict[str, Any] | None = None) -> Lease | None:
        """The right to write, or None while a living process has it. Sweeps up after dead attempts.

        Raises:
            StoreError: a folder of the phase is a link.
        """
        for place in (self.path, *(self.path / name for name in ("leases", "marks", "resume", "journal"))):
            if place.is_symlink():
                raise StoreError(f"{place} is a link, which might lead out of the store; nothing is written through it")
        held = lease.acquire(self._claims(), about)
        if held is not None:
            self._sweep_up(held)
        return held

    # -- upkeep ----------------------------------------------------------------------------------------

    def sizes(self) -> dict[str, int]:
        """Bytes of every file of the phase, whatever it is, by its name below the phase."""
        return _sizes(self.path)

    def resume_states(self) -> dict[int, dict[str, Any]]:
        """What `resume.json` says of every usable state, by step."""
        return {int(step): entry for step, entry in self._resumes().items()}

    def examine(self, kind: str, step: int, about: dict[str, Any]) -> str:
        """What is wrong with the files of a mark (`marks`) or a state (`resume`), read anew; empty when nothing is."""
        return damage(self.path / kind / str(step), about["files"], trust=False)

    def discard(self, held: Lease, kind: str, step: int) -> None:
        """Removes a mark or a resume state; what it held can be trained again."""
        held.check()
        if kind == "resume":
            self._point(held, {name: entry for name, entry in self._resumes().items() if int(name) != step})
        else:
            (self._mark(step) / MANIFEST).unlink(missing_ok=True)  # first: without it there is no mark
            shutil.rmtree(self._mark(step), ignore_errors=True)

    def leftovers(self, older_than: float) -> list[str]:
        """Files of attempts that were killed, last touched more than so many seconds ago, by their names."""
        found = []
        for name in self.sizes():
            if any(part.startswith(".") for part in name.split("/")):
                with contextlib.suppress(OSError):
                    if time.time() - (self.path / name).stat().st_mtime > older_than:
                        found.append(name)
        return found

    def clear(self, names: Iterable[str]) -> None:
        """Deletes what `leftovers` named."""
        for name in names:
            (self.path / name).unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                (self.path / name).parent.rmdir()  # if that was the last one

    def remove(self, held: Lease) -> None:
        """Deletes the phase with everything in it, at once."""
        held.check()
        gone = self.path.with_name(f".gone-{self.id}-{os.getpid()}")
        os.rename(self.path, gone)
        shutil.rmtree(gone, ignore_errors=True)

    # -- where a bucket differs from a folder ----------------------------------------------------------

    def _look(self) -> None:
        """Makes sure that what others wrote is to be seen here."""

    def _bring(self, folder: Path, about: dict[str, Any]) -> None:
        """Makes sure that the files of a mark or a resume state are here; `about` names them."""

    def _write(self, name: str, value: dict[str, Any]) -> None:
        """Replaces a document."""
        write_json(self.path / name, value)

    def _claims(self) -> lease.Claims:
        return lease.FolderClaims(self.path / "leases")

    def _publish(self, held: Lease, filled: Path, target: Path) -> None:
        """Makes a filled folder visible, durable and at once, if the lease is still held."""
        for file in filled.iterdir():
            with open(file, "rb") as handle:
                os.fsync(handle.fileno())
        sync_folder(filled)
        held.check()
        move(filled, target)
        sync_folder(target.parent)

    # ---------------------------------------------------------------------------------------------------

    def _sweep_up(self, held: Lease) -> None:
        for kind in ("marks", "resume"):
            for entry in _entries(self.path / kind):
                attempt = entry.removeprefix(_TEMPORARY).partition("-")[0]
                if entry.startswith(_TEMPORARY) and not digits(attempt) and int(attempt) < held.attempt:
                    shutil.rmtree(self.path / kind / entry, ignore_errors=True)
        listed = self._resumes()
        for step in _steps(self.path / "resume"):  # renamed, but killed before resume.json named it
            if str(step) not in listed:
                shutil.rmtree(self.path / "resume" / str(step), ignore_errors=True)
        for folder in (self.path, self.path / "leases"):
            for entry in _entries(folder):
                with contextlib.suppress(OSError):
                    if entry.startswith(".") and time.time() - (folder / entry).stat().st_mtime > 600:
                        (folder / entry).unlink()

    def _mark(self, step: int) -> Path:
        return self.path / "marks" / str(step)

    @contextlib.contextmanager
    def _filling(self, held: Lease, target: Path) -> Iterator[Path]:
        """An empty folder that becomes `target` at the end, durable and at once, or never existed."""
        temporary = target.parent / f"{_TEMPORARY}{held.attempt}-{target.name}"
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        try:
            yield temporary
            self._publish(held, temporary, target)
        except BaseException as error:
            shutil.rmtree(temporary, ignore_errors=True)
            if isinstance(error, OSError):
                held.check()  # a successor has swept the folder up: the lost lease is the reason
            raise


def move(filled: Path, target: Path) -> None:
    if target.exists():  # left unfinished by a kill: what is finished is never written again
        shutil.rmtree(target)
    os.rename(filled, target)


def _sizes(folder: Path) -> dict[str, int]:
    found = {}
    for parent, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(parent, name)
            with contextlib.suppress(OSError):  # removed between the two looks
                found[os.path.relpath(path, folder)] = os.lstat(path).st_size
    return found


def _entries(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _steps(folder: Path) -> list[int]:
    return sorted(int(entry) for entry in _entries(folder) if not digits(entry))


def _read(path: Path) -> Any:
    """The JSON in a file, or None when there is no such file.

    Raises:
        StoreError: the file is damaged.
    """
    try:
        return checked(path, read_json(path, _LARGEST_DOCUMENT))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError as error:
        raise StoreError(f"{path} is damaged: {error}") from None


def _describe(folder: Path) -> dict[str, dict[str, Any]]:
    return {
        file.name: {"sha256": sha256_file(file), "bytes": file.stat().st_size}
        for file in sorted(folder.iterdir())
        if file.is_file()
    }


_sound: dict[str, tuple[int, int, int, str]] = {}


def damage(folder: Path, files: dict[str, dict[str, Any]], trust: bool = True) -> str:
    """What is wrong with the files of a folder, or the empty string.

    With `trust`, a file found sound is not hashed again in this process while its inode, size and time stay.
    """
    for name, expected in files.items():
        path = folder / name
        try:
            stat = path.lstat()
        except FileNotFoundError:
            return f"{name} is missing"
        if not S_ISREG(stat.st_mode):  # a link might lead out of the store
            return f"{name} is no plain file"
        if stat.st_size != expected["bytes"]:
            return f"{name} has {stat.st_size} bytes instead of {expected['bytes']}"
        seen = (stat.st_ino, stat.st_size, stat.st_mtime_ns, expected["sha256"])
        if trust and _sound.get(str(path)) == seen:
            continue
        found = sha256_file(path)
        if found != expected["sha256"]:
            return f"{name} has digest {found[:16]} instead of {expected['sha256'][:16]}"
        _sound[str(path)] = seen
    return ""
