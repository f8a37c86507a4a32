"""A store in a bucket: what others wrote is copied to this machine and read there as from a folder.

    store.json                                    written once conditional writes are known to work
    phases/<id>/phase.json, status.json, ...      as in a folder
               /leases/<attempt>.json             created only where missing; a heartbeat writes it again
               /journal/<attempt>.jsonl           written as a whole, some seconds after an evaluation
               /marks/<step>/manifest.json        created only where missing: it makes the mark exist
               /marks/<step>/<attempt>/           its files
               /resume/<step>/<attempt>/          files of a resume state
               /resume.json                       names the usable ones; replaced only where unchanged since it was read
    sweeps/, corpora/                             as in a folder

Files carry the number of the attempt that wrote them, and what makes them visible is one conditional write, so a
runner that lost its lease cannot spoil what its successor made.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from procray.corpora.shards import shard_path
from procray.errors import StoreError
from procray.files import cache_folder, digest, parse_json
from procray.records import is_plain
from procray.store import lease
from procray.store.forms import checked
from procray.store.journal import Journal
from procray.store.lease import Lease, LeaseLost
from procray.store.nearby import CORPUS_FILE, alone
from procray.store.objects import Entry, Objects, StoreUnreachable
from procray.store.store import MANIFEST, PhaseFolder, damage, move

FRESH = 5.0  # seconds for which what was read of others holds
_CALM = 60.0  # and of phases that nobody trains
_SETTLED = ("done", "failed", "skipped")
_THREADS = 16
_QUIET = 60.0  # seconds without live numbers after the bucket did not answer
_BEAT_EVERY = 30.0  # a heartbeat is a request that costs money
_DOCUMENT = re.compile(r"(phase|status|progress|resume)\.json|leases/[0-9]{1,18}\.json|journal/[0-9]{1,18}\.jsonl")
_MANIFEST = re.compile(r"marks/([0-9]{1,18})/manifest\.json")
_STORED = re.compile(r"(marks|resume)/([0-9]{1,18})/([0-9]{1,18})/([^/]+)")
_INDEX = ".objects.json"  # etags of the documents as they were copied last
_AGE_OF_DELETION = 10.0  # seconds; a file that a listing does not name may have been written since


class Bucket:
    """What `Store` needs of a bucket. Threads may share it."""

    def __init__(self, url: str, patience: float):
        self._objects = Objects(url, patience)
        self.url = self._objects.url
        place = digest([self.url, os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")], 12)
        self.path = cache_folder() / "stores" / f"{self._objects.bucket}-{place}"
        self._known: dict[str, RemotePhase] = {}
        self._phases: tuple[float, list[str]] = (-FRESH, [])

    def phase(self, phase_id: str) -> RemotePhase:
        if phase_id not in self._known:
            self._known[phase_id] = RemotePhase(self.path / "phases" / phase_id, self._objects, self._list_again)
        return self._known[phase_id]

    def _list_again(self) -> None:
        self._phases = (-FRESH, [])

    def phases(self) -> list[str]:
        if time.monotonic() - self._phases[0] >= FRESH:
            found = [name for name in self._objects.children("phases") if is_plain(name)]
            self._phases = (time.monotonic(), sorted(found))
        return self._phases[1]

    def refresh(self, phases: Iterable[str], all: bool) -> None:
        """Copies what has changed of some phases. Of many, those that nobody has begun are not asked for."""
        wanted = list(phases)
        if len(wanted) > _THREADS or not all:
            begun = set(self.phases())
            for phase in wanted:
                if phase not in begun:
                    self.phase(phase).nothing_there()
            wanted = [phase for phase in wanted if phase in begun and (all or self.phase(phase).due(begun=True))]
        if len(wanted) == 1:
            self.phase(wanted[0]).refresh()
        elif wanted:
            with ThreadPoolExecutor(_THREADS, "store") as pool:
                list(pool.map(lambda phase: self.phase(phase).refresh(), wanted))

    def be_patient(self, seconds: float) -> None:
        self._objects.patience = seconds

    def check(self) -> None:
        self._objects.check_conditions()

    def fetch_plans(self) -> None:
        there = [name for name in self._objects.children("sweeps") if is_plain(name)]
        for name in there:
            self._fetch(f"sweeps/{name}/plan.json")
        for path in self.path.glob("sweeps/*/plan.json"):
            if path.parent.name not in there:  # forgotten on another machine
                path.unlink(missing_ok=True)

    def forget(self, sweep: str) -> None:
        self._objects.remove([f"sweeps/{sweep}/plan.json"])
        self._objects.remove(f"sweeps/{sweep}/{name}" for name in self._objects.below(f"sweeps/{sweep}").entries)

    def publish(self, path: Path) -> None:
        files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
        for file in files:
            name = file.relative_to(self.path).as_posix()
            if not self._objects.holds(file, name):
                self._objects.upload(file, name)

    def fetch_corpus(self, name: str) -> None:
        """Copies a prepared corpus, or what it has grown by, to this machine; once, whoever asks."""
        folder, at = self.path / "corpora" / name, f"corpora/{name}"
        manifest = self._objects.get(f"{at}/{MANIFEST}")
        if manifest is None or _content(folder / MANIFEST) == manifest[0]:
            return
        with alone(folder):
            for file, entry in self._objects.below(at).entries.items():
                copy = folder / file
                if CORPUS_FILE.fullmatch(file) and not (copy.is_file() and copy.stat().st_size == entry.bytes):
                    self._objects.download(f"{at}/{file}", copy)
            _replace(folder / MANIFEST, manifest[0])

    def publish_corpus(self, name: str) -> None:
        folder = self.path / "corpora" / name
        there = self._objects.below(f"corpora/{name}").entries
        for file in sorted(folder.rglob("*")):
            kept = file.relative_to(folder).as_posix()
            if CORPUS_FILE.fullmatch(kept) and (kept not in there or there[kept].bytes != file.stat().st_size):
                self._objects.upload(file, f"corpora/{name}/{kept}")
        self.publish(folder / MANIFEST)

    def corpora_sizes(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for name, entry in self._objects.below("corpora").entries.items():
            corpus = name.split("/")[0]
            found[corpus] = found.get(corpus, 0) + entry.bytes
        return found

    def examine_corpus(self, name: str) -> str:
        found = self._objects.get(f"corpora/{name}/{MANIFEST}")
        if found is None:
            return ""  # its preparation has not come to an end
        manifest = parse_json(found[0])
        for split, part in manifest["splits"].items():
            for index, entry in enumerate(part["shards"]):
                for suffix, key in (("bin", "sha256"), ("mask", "mask_sha256")):
                    file = shard_path(Path(), split, index, suffix).as_posix()
                    if key in entry and self._objects.sha256(f"corpora/{name}/{file}") != entry[key]:
                        return f"{file} is missing or does not have the content that its manifest says"
        return ""

    def remove_corpus(self, name: str) -> None:
        self._objects.remove([f"corpora/{name}/{MANIFEST}"])
        self._objects.remove(f"corpora/{name}/{file}" for file in self._objects.below(f"corpora/{name}").entries)

    def _fetch(self, name: str) -> None:
        if not ((self.path / name).is_file() and self._objects.holds(self.path / name, name)):
            self._objects.download(name, self.path / name)


class RemotePhase(PhaseFolder):
    """What a bucket holds of one phase, and this machine's copy of it in `path`."""

    def __init__(self, path: Path, objects: Objects, came_or_went: Callable[[], None]):
        super().__init__(path)
        self._came_or_went = came_or_went
        self._objects = objects
        self._at = f"phases/{self.id}"
        self._seen = -_CALM
        self._say_again = 0.0
        self._calm = False  # nothing is expected to change soon
        self._empty = False  # nobody has begun it
        self._names: list[str] = []  # of all objects, when they were listed last
        self._lock = threading.RLock()

    # -- reading -------------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Copies what has changed since the last time.

        Raises:
            StoreError: the bucket cannot be read.
        """
        with self._lock:
            began = time.time()
            listing = self._objects.below(self._at)
            self._names = list(listing.entries)
            etags = self._etags()
            manifests = {}
            for name, entry in listing.entries.items():
                copy = self.path / name
                if _DOCUMENT.fullmatch(name) and (etags.get(name) != entry.etag or not copy.exists()):
                    self._copy(name, etags)
                elif _MANIFEST.fullmatch(name) and (etags.get(name) != entry.etag or not copy.exists()):
                    manifests[name] = entry.etag
            for name, etag in manifests.items():
                self._copy_mark(name)
                etags[name] = etag
            self._forget(listing.entries, etags, began)
            self._set_ages(listing.entries, listing.now)
            if etags or self.path.exists():
                _replace(self.path / _INDEX, json.dumps(etags).encode())
            state = self._state() if listing.entries else "waiting"
            self._seen, self._calm, self._empty = time.monotonic(), state in _SETTLED, not listing.entries

    def _state(self) -> str:
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            return str(json.loads((self.path / "status.json").read_bytes())["state"])
        return "unknown"

    def where(self, step: int) -> str:
        return f"{self._objects.url}/{self._at}/marks/{step}/{self.manifest(step)['attempt']}"

    def nothing_there(self) -> None:
        """A listing of all phases did not name this one."""
        self._seen, self._calm, self._empty = time.monotonic(), True, True

    def due(self, begun: bool = False) -> bool:
        """Whether it is time to look again; of a phase that is known to have begun sooner, if it had not."""
        return (begun and self._empty) or time.monotonic() - self._seen >= (_CALM if self._calm else FRESH)

    def _outdated(self) -> None:
        """What this process wrote itself shows at the next look."""
        self._seen = -_CALM

    def _look(self) -> None:
        if self.due():
            self.refresh()

    def _bring(self, folder: Path, about: dict[str, Any]) -> None:
        if not damage(folder, about["files"]):
            return
        step, kind, attempt = folder.name, folder.parent.name, int(about["attempt"])
        fresh = folder.with_name(f".bring-{uuid.uuid4().hex[:8]}")
        with alone(self.path):  # of the processes of this machine one fetches it
            if not damage(folder, about["files"]):
                return
            try:
                for file in about["files"]:
                    self._objects.download(f"{self._at}/{kind}/{step}/{attempt}/{file}", fresh / file)
                if kind == "marks":
                    _replace(fresh / MANIFEST, (folder / MANIFEST).read_bytes())
                move(fresh, folder)
            finally:
                shutil.rmtree(fresh, ignore_errors=True)

    def _etags(self) -> dict[str, str]:
        with contextlib.suppress(OSError, ValueError):
            value = json.loads((self.path / _INDEX).read_bytes())
            return dict(value) if isinstance(value, dict) else {}
        return {}

    def _copy(self, name: str, etags: dict[str, str]) -> None:
        found = self._objects.get(f"{self._at}/{name}")
        if found is not None:
            _replace(self.path / name, found[0])
            etags[name] = found[1]

    def _read(self, name: str, data: bytes) -> dict[str, Any]:
        """The content of a manifest or of resume.json.

        Raises:
            StoreError: it is damaged, or names files outside of its folder.
        """
        place = f"{self._objects.url}/{self._at}/{name}"
        try:
            value: dict[str, Any] = checked(place, parse_json(data))
        except ValueError as error:
            raise StoreError(f"{place} is damaged: {error}") from None
        if name.startswith("marks/") and "attempt" not in value:
            raise StoreError(f"{place} is damaged: it does not say which attempt wrote it")
        return value

    def _copy_mark(self, name: str) -> None:
        """A manifest and the small files beside it; the weights follow when somebody asks for them."""
        found = self._objects.get(f"{self._at}/{name}")
        if found is None:
            return
        manifest = self._read(name, found[0])
        folder = (self.path / name).parent
        for file, expected in manifest["files"].items():
            if file.endswith(".json") and damage(folder, {file: expected}):
                small = self._objects.get(f"{self._at}/marks/{folder.name}/{manifest['attempt']}/{file}")
                if small is not None:
                    _replace(folder / file, small[0])
        _replace(folder / MANIFEST, found[0])  # last: it makes the mark exist

    def _forget(self, there: dict[str, Entry], etags: dict[str, str], began: float) -> None:
        """Removes what the bucket no longer has, unless it may have been written since it was asked."""
        here = {*etags, *(f"marks/{step}/{MANIFEST}" for step in self._local("marks") if step.isdigit())}
        for name in here - there.keys():
            copy = self.path / name
            try:
                if copy.stat().st_mtime >= began - _AGE_OF_DELETION:
                    continue  # at the next look
                copy.unlink()
            except OSError:
                pass
            if _MANIFEST.fullmatch(name):
                shutil.rmtree(copy.parent, ignore_errors=True)
            etags.pop(name, None)

    def _set_ages(self, there: dict[str, Entry], now: float) -> None:
        """Gives the copies of claims the age that the originals have by the clock of the bucket."""
        for name, entry in there.items():
            if name.startswith("leases/"):
                with contextlib.suppress(OSError):
                    os.utime(self.path / name)
                    written = os.stat(self.path / name).st_mtime - (now - entry.modified)
                    os.utime(self.path / name, (written, written))

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

    def discard(self, held: Lease, kind: str, step: int) -> None:
        if kind == "marks":
            held.check()
            self._objects.remove([f"{self._at}/marks/{step}/{MANIFEST}"])
            self.refresh()
            self._remove(kind, lambda found, attempt: int(found) == step)
        super().discard(held, kind, step)

    def leftovers(self, older_than: float) -> list[str]:
        self.refresh()
        used = self._used()
        listing = self._objects.below(self._at)
        parts = [(_STORED.fullmatch(name), entry) for name, entry in listing.entries.items()]
        return [
            found[0]
            for found, entry in parts
            if found and (found[1], found[2], found[3]) not in used and listing.now - entry.modified > older_than
        ]

    def clear(self, names: Iterable[str]) -> None:
        self._objects.remove(f"{self._at}/{name}" for name in names)

    def remove(self, held: Lease) -> None:
        held.check()
        names = list(self._objects.below(self._at).entries)
        # What makes things visible goes first, what keeps others out goes last.
        rank = {"manifest.json": 0, "resume.json": 0}
        names.sort(key=lambda name: 2 if name.startswith("leases/") else rank.get(name.rsplit("/", 1)[-1], 1))
        self._objects.remove(f"{self._at}/{name}" for name in names)
        shutil.rmtree(self.path, ignore_errors=True)
        self._outdated()
        self._came_or_went()

    def _used(self) -> set[tuple[str, str, str]]:
        """Kind, step and attempt of the files that a manifest or resume.json names."""
        used = {("resume", step, str(entry["attempt"])) for step, entry in self._resumes().items()}
        return used | {("marks", str(step), str(self.manifest(step)["attempt"])) for step in self.marks()}

    # -- writing -------------------------------------------------------------------------------------

    def journal(self, held: Lease, provenance: dict[int, dict[str, Any]]) -> Journal:
        self._look()
        lines = _Lines(self._objects, f"{self._at}/journal/{held.attempt}.jsonl", held, self._outdated)
        return Journal(self.id, self.path / "journal", held.attempt, provenance, lines)

    def fence(self, held: Lease) -> None:
        if held.lost():  # a line is only kept in memory; whether it may be written is asked when it is
            held.check()

    def write_progress(self, row: dict[str, Any]) -> None:
        now = time.monotonic()
        if now < self._say_again:
            return
        self._say_again = now + FRESH
        try:
            self._objects.put(f"{self._at}/progress.json", json.dumps(row).encode(), patience=0.0)
        except StoreUnreachable:  # live numbers must not keep the training waiting
            self._say_again = now + _QUIET

    def acquire(self, about: dict[str, Any] | None = None) -> Lease | None:
        self._objects.check_conditions()
        self.refresh()
        self._came_or_went()
        return super().acquire(about)

    def _write(self, name: str, value: dict[str, Any]) -> None:
        self._objects.put(f"{self._at}/{name}", _json(value))
        _replace(self.path / name, _json(value))

    def _claims(self) -> lease.Claims:
        return _Claims(self._objects, self.id, f"{self._at}/leases", self._outdated)

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
        known, before = self._objects.get(name), {}
        if known is None:
            written = self._objects.create(name, value)
        elif (before := self._read("resume.json", known[0])).get("attempt", 0) > held.attempt:
            written = None
        else:
            written = self._objects.swap(name, value, known[1])
        if written is None:
            held.check()
            raise LeaseLost(f"another attempt than {held.attempt} has written resume states of phase {self.id}")
        _replace(self.path / "resume.json", value)
        for step, entry in before.get("states", {}).items():
            if states.get(step, {}).get("attempt") != entry["attempt"]:
                at = f"{self._at}/resume/{step}/{int(entry['attempt'])}"
                self._objects.remove(f"{at}/{file}" for file in entry["files"])
        for entry in self._local("resume"):
            if entry.isdigit() and entry not in states:
                shutil.rmtree(self.path / "resume" / entry, ignore_errors=True)

    def _sweep_up(self, held: Lease) -> None:
        """Removes what dead attempts left: files that no manifest and no resume.json names."""
        self.refresh()  # what the one before wrote until it lost the phase
        used = self._used()
        for kind in ("marks", "resume"):

            def left(step: str, attempt: str, kind: str = kind) -> bool:
                return int(attempt) < held.attempt and (kind, step, attempt) not in used

            self._remove(kind, left)
            for entry in self._local(kind):
                dead = entry.startswith(".tmp-") and int(entry.split("-")[1]) < held.attempt
                if dead or (kind == "resume" and entry.isdigit() and entry not in self._resumes()):
                    shutil.rmtree(self.path / kind / entry, ignore_errors=True)

    def _remove(self, kind: str, which: Any) -> None:
        """Deletes the files of those (step, attempt) of one kind for which `which` holds, as last listed."""
        parts = [_STORED.fullmatch(name) for name in self._names]
        self._objects.remove(
            f"{self._at}/{found[0]}" for found in parts if found and found[1] == kind and which(found[2], found[3])
        )

    def _local(self, kind: str) -> list[str]:
        with contextlib.suppress(FileNotFoundError):
            return os.listdir(self.path / kind)
        return []


class _Claims:
    """Claims as objects; a heartbeat writes the claim again, and its age is told by the clock of the bucket."""

    beat_every = _BEAT_EVERY

    def __init__(self, objects: Objects, name: str, at: str, changed: Callable[[], None]):
        self.name = name
        self._objects = objects
        self._at = at
        self._changed = changed
        self._etag: str | None = None

    def attempts(self) -> list[int]:
        return lease.claims_in(self._objects.below(self._at).entries)

    def read(self, attempt: int) -> str | None:
        found = self._objects.get(self._name(attempt))
        return found[0].decode("utf-8", "replace") if found else None

    def age(self, attempt: int) -> float:
        age = self._objects.age(self._name(attempt))
        return float("inf") if age is None else age

    def create(self, attempt: int, text: str) -> bool:
        self._etag = self._objects.create(self._name(attempt), text.encode())
        self._changed()
        return self._etag is not None

    def beat(self, attempt: int, text: str) -> bool:
        assert self._etag is not None, "only the owner of a claim keeps it alive"
        etag = self._objects.swap(self._name(attempt), text.encode(), self._etag)
        self._etag = etag or self._etag
        return etag is not None

    def write(self, attempt: int, text: str) -> None:
        assert self._etag is not None, "only the owner of a claim writes it"
        self._objects.swap(self._name(attempt), text.encode(), self._etag)
        self._changed()

    def drop(self, attempts: Iterable[int]) -> None:
        self._objects.remove(self._name(attempt) for attempt in attempts)

    def _name(self, attempt: int) -> str:
        return f"{self._at}/{attempt}.json"


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
        if time.monotonic() - self._when >= FRESH:
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


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def _replace(path: Path, data: bytes) -> None:
    """Writes a copy, whole or not at all. It need not survive a power cut: the bucket has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{uuid.uuid4().hex[:8]}-{path.name}")
    temporary.write_bytes(data)
    os.replace(temporary, path)
