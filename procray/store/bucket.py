"""A store in a bucket; what others wrote is copied to this machine and read there as from a folder.

store.json          written once conditional writes are known to work
phases/<id>/        see `phase_in_bucket.py`
sweeps/, corpora/   as in a folder
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from procray import links
from procray.corpora.prepared import corpus_files
from procray.corpora.shards import shard_path
from procray.errors import StoreError
from procray.files import LARGEST_JSON, cache_folder, digest, holds, parse_json
from procray.planning.plan_parts import LARGEST_PLAN
from procray.records import is_plain
from procray.store import phase_copy
from procray.store.folder import Folder
from procray.store.kept_files import MANIFEST, write_copy
from procray.store.nearby import CORPUS_FILE, alone
from procray.store.objects import Entry, Objects
from procray.store.phase_in_bucket import PhaseInBucket
from procray.store.plans import NEWEST, PLAN, title_of
from procray.store.runs import is_run

_THREADS = 16
_ASKED_FOR = "asked-for"  # of a corpus: its date says when it was prepared, or asked for, last


class Bucket:
    """What `Store` asks of a bucket; see `Backend`. Making one connects to nothing; threads may share it."""

    in_bucket = True

    def __init__(self, url: str, patience: float):
        self._objects = Objects(url, patience)
        self.address = self._objects.url
        place = digest([self.address, os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")], 12)
        self.path = cache_folder() / "stores" / f"{self._objects.bucket}-{place}"
        self._copy = Folder(self.path)
        self._known: dict[str, PhaseInBucket] = {}
        self._phases: tuple[float, list[str]] = (-phase_copy.FRESH, [])

    def be_patient(self, seconds: float) -> None:
        self._objects.patience = seconds

    def check(self) -> None:
        self._objects.check_conditions()

    def place(self, path: Path) -> str:
        return f"{self.address}/{path.relative_to(self.path).as_posix()}"

    def publish(self, path: Path) -> None:
        files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
        for file in files:
            name = file.relative_to(self.path).as_posix()
            if not self._objects.holds(file, name):
                self._objects.upload(file, name)

    # -- phases and sweeps ---------------------------------------------------------------------------

    def phase(self, phase_id: str) -> PhaseInBucket:
        if phase_id not in self._known:
            self._known[phase_id] = PhaseInBucket(self.path / "phases" / phase_id, self._objects, self._list_again)
        return self._known[phase_id]

    def phases(self) -> list[str]:
        if time.monotonic() - self._phases[0] >= phase_copy.FRESH:
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
                    self.phase(phase).copy.nothing_there()
            wanted = [phase for phase in wanted if phase in begun and (all or self.phase(phase).copy.due(begun=True))]
        if len(wanted) == 1:
            self.phase(wanted[0]).copy.refresh()
        elif wanted:
            with ThreadPoolExecutor(_THREADS, "store") as pool:
                list(pool.map(lambda phase: self.phase(phase).copy.refresh(), wanted))

    def plans(self, title: str | None = None) -> dict[Path, float]:
        at = "sweeps" if title is None else f"sweeps/{title}"
        there = {}
        for name, entry in self._objects.below(at).entries.items():
            path = Path(name if title is None else f"{title}/{name}")
            if not all(map(is_plain, path.parts)):
                continue
            if title_of(path) is not None:
                there[path] = entry.modified
            elif path.name != NEWEST or len(path.parts) != 2:
                continue
            self._fetch(path, entry)
        for path in self._copy.plans(title):
            if path not in there:  # forgotten on another machine
                links.remove(self.path / "sweeps" / path)
        return {path: modified for path, modified in there.items() if (self.path / "sweeps" / path).is_file()}

    def runs(self, place: str) -> dict[str, float]:
        listing = self._objects.below(f"sweeps/{place}")
        return {name: listing.now - entry.modified for name, entry in listing.entries.items() if is_run(name)}

    def forget(self, place: str) -> None:
        names = list(self._objects.below(f"sweeps/{place}").entries)
        names.sort(key=lambda name: name.rpartition("/")[2] != PLAN)  # first: it is what names phases
        self._objects.remove(f"sweeps/{place}/{name}" for name in names)
        self._objects.remove([f"sweeps/{place}"])  # where it is a file
        self._copy.forget(place)

    def _fetch(self, path: Path, entry: Entry) -> None:
        copy = self.path / "sweeps" / path
        if _md5(copy) == entry.etag.strip('"'):
            return
        if entry.bytes > LARGEST_PLAN:
            raise StoreError(
                f"{self.address}/sweeps/{path.as_posix()} is damaged: it has {entry.bytes:,} bytes, more than "
                f"{LARGEST_PLAN:,}"
            )
        self._objects.download(f"sweeps/{path.as_posix()}", copy)

    def _list_again(self) -> None:
        self._phases = (-phase_copy.FRESH, [])

    # -- corpora -------------------------------------------------------------------------------------

    def bring_corpus(self, name: str) -> Path:
        self._fetch_corpus(name)
        return self.path / "corpora"

    def _fetch_corpus(self, name: str) -> None:
        """Copies a prepared corpus, or what it has grown by, to this machine; once, whoever asks."""
        folder, at = self.path / "corpora" / name, f"corpora/{name}"
        manifest = self._objects.get(f"{at}/{MANIFEST}", LARGEST_JSON)
        if manifest is None or holds(folder / MANIFEST, [manifest[0]]):
            return
        try:
            sizes = corpus_files(parse_json(manifest[0]), f"{self.address}/{at}/{MANIFEST}")
        except ValueError as error:
            raise StoreError(f"{self.address}/{at}/{MANIFEST} is damaged: {error}") from None
        with alone(folder):
            for file, entry in self._objects.below(at).entries.items():
                copy, least, most = folder / file, *sizes.get(file, (0, -1))
                if not CORPUS_FILE.fullmatch(file) or (copy.is_file() and copy.stat().st_size == entry.bytes):
                    continue
                if least <= entry.bytes <= most:  # else reading says what is wrong with it
                    self._objects.download(f"{at}/{file}", copy)
            write_copy(folder / MANIFEST, manifest[0])

    def publish_corpus(self, name: str) -> None:
        folder = self.path / "corpora" / name
        there = self._objects.below(f"corpora/{name}").entries
        for file in sorted(folder.rglob("*")):
            kept = file.relative_to(folder).as_posix()
            if CORPUS_FILE.fullmatch(kept) and (kept not in there or there[kept].bytes != file.stat().st_size):
                self._objects.upload(file, f"corpora/{name}/{kept}")
        self.publish(folder / MANIFEST)
        self._objects.put(f"corpora/{name}/{_ASKED_FOR}", b"")  # whoever asked for it is about to read it

    def corpora_sizes(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for name, entry in self._objects.below("corpora").entries.items():
            corpus = name.split("/")[0]
            found[corpus] = found.get(corpus, 0) + entry.bytes
        return found

    def examine_corpus(self, name: str) -> str:
        found = self._objects.get(f"corpora/{name}/{MANIFEST}", LARGEST_JSON)
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

    def corpus_age(self, name: str) -> float:
        listing = self._objects.below(f"corpora/{name}")
        return listing.now - max((entry.modified for entry in listing.entries.values()), default=0.0)

    def remove_corpus(self, name: str) -> bool:
        self._objects.remove([f"corpora/{name}/{MANIFEST}"])
        self._objects.remove(f"corpora/{name}/{file}" for file in self._objects.below(f"corpora/{name}").entries)
        self._copy.remove_corpus(name)
        return True

    def strays(self, older_than: float) -> dict[str, int]:
        return {}  # an object is there as a whole or not at all

    def remove_stray(self, name: str) -> None:
        raise AssertionError(f"nothing in a bucket is unfinished, such as '{name}'")


def _md5(path: Path) -> str | None:
    """As the etag of an object that was written in one part."""
    try:
        with open(path, "rb", opener=links.open_file) as file:
            return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    except OSError:
        return None
