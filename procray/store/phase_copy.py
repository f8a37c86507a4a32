"""This machine's copy of a phase in a bucket: what others wrote is brought here and read as from a folder."""

from __future__ import annotations

import contextlib
import json
import os
import re
import threading
import time
import uuid
from pathlib import Path
from typing import Any

from procray import links
from procray.errors import StoreError
from procray.files import parse_json, read_bytes, read_json
from procray.store.forms import checked
from procray.store.journal import LARGEST_JOURNAL
from procray.store.kept_files import LARGEST_DOCUMENT, MANIFEST, damage, move, steps, write_copy
from procray.store.lease import LARGEST_CLAIM
from procray.store.nearby import alone
from procray.store.objects import Entry, Objects

FRESH = 5.0  # seconds for which what was read of others holds
_CALM = 60.0  # and of phases that nobody trains
_SETTLED = ("done", "failed", "skipped")
_DOCUMENT = re.compile(r"(phase|status|progress|resume)\.json|leases/[0-9]{1,18}\.json|journal/[0-9]{1,18}\.jsonl")
_MANIFEST = re.compile(r"marks/([0-9]{1,18})/manifest\.json")
_INDEX = ".objects.json"  # etags of the documents as they were copied last
_AGE_OF_DELETION = 10.0  # seconds; a file that a listing does not name may have been written since


class PhaseCopy:
    """The copy in `path` of what stands below `at`. Threads may share it.

    Attributes:
        names: of all objects, when they were listed last.
    """

    def __init__(self, path: Path, objects: Objects, at: str):
        self.path = path
        self.names: list[str] = []
        self._objects = objects
        self._at = at
        self._seen = -_CALM
        self._calm = False  # nothing is expected to change soon
        self._empty = False  # nobody has begun it
        self._lock = threading.RLock()

    def refresh(self) -> None:
        """Copies what has changed since the last time.

        Raises:
            StoreError: the bucket cannot be read.
        """
        with self._lock:
            began = time.time()
            listing = self._objects.below(self._at)
            self.names = list(listing.entries)
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
                write_copy(self.path / _INDEX, json.dumps(etags).encode())
            state = self._state() if listing.entries else "waiting"
            self._seen, self._calm, self._empty = time.monotonic(), state in _SETTLED, not listing.entries

    def nothing_there(self) -> None:
        """A listing of all phases did not name this one."""
        self._seen, self._calm, self._empty = time.monotonic(), True, True

    def due(self, begun: bool = False) -> bool:
        """Whether it is time to look again; of a phase that is known to have begun sooner, if it had not."""
        return (begun and self._empty) or time.monotonic() - self._seen >= (_CALM if self._calm else FRESH)

    def outdated(self) -> None:
        """What this process wrote itself shows at the next look."""
        self._seen = -_CALM

    def look(self) -> None:
        """Refreshes when it is time."""
        if self.due():
            self.refresh()

    def bring(self, folder: Path, about: dict[str, Any]) -> str:
        """Makes sure that the files of a mark or a resume state are here; `about` names them.

        Returns:
            Which object has another size than it should, so that nothing was fetched; empty where none has.
        """
        if not damage(folder, about["files"]):
            return ""
        step, kind, attempt = folder.name, folder.parent.name, int(about["attempt"])
        fresh = folder.with_name(f".bring-{uuid.uuid4().hex[:8]}")
        at = f"{self._at}/{kind}/{step}/{attempt}"
        with alone(self.path):  # of the processes of this machine one fetches it
            if not damage(folder, about["files"]):
                return ""
            there = self._objects.below(at).entries
            for file, expected in about["files"].items():
                if file in there and there[file].bytes != expected["bytes"]:
                    return f"{file} has {there[file].bytes:,} bytes instead of {expected['bytes']:,}"
            try:
                for file in about["files"]:
                    self._objects.download(f"{at}/{file}", fresh / file)
                if kind == "marks":
                    write_copy(fresh / MANIFEST, read_bytes(folder / MANIFEST, LARGEST_DOCUMENT))
                move(fresh, folder)
                return ""
            finally:
                links.remove_tree(fresh)

    def parse(self, name: str, data: bytes) -> dict[str, Any]:
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

    def _state(self) -> str:
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            return str(read_json(self.path / "status.json", LARGEST_DOCUMENT)["state"])
        return "unknown"

    def _etags(self) -> dict[str, str]:
        with contextlib.suppress(OSError, ValueError):
            value = read_json(self.path / _INDEX)
            return dict(value) if isinstance(value, dict) else {}
        return {}

    def _copy(self, name: str, etags: dict[str, str]) -> None:
        kind = name.split("/")[0]
        most = {"leases": LARGEST_CLAIM, "journal": LARGEST_JOURNAL}.get(kind, LARGEST_DOCUMENT)
        found = self._objects.get(f"{self._at}/{name}", most)
        if found is not None:
            write_copy(self.path / name, found[0])
            etags[name] = found[1]

    def _copy_mark(self, name: str) -> None:
        """A manifest and the small files beside it; the weights follow when somebody asks for them."""
        found = self._objects.get(f"{self._at}/{name}", LARGEST_DOCUMENT)
        if found is None:
            return
        manifest = self.parse(name, found[0])
        folder = (self.path / name).parent
        for file, expected in manifest["files"].items():
            size = expected["bytes"]
            if file.endswith(".json") and size <= LARGEST_DOCUMENT and damage(folder, {file: expected}):
                small = None
                with contextlib.suppress(StoreError):  # larger than it says: whoever wants the mark is told
                    small = self._objects.get(f"{self._at}/marks/{folder.name}/{manifest['attempt']}/{file}", size)
                if small is not None:
                    write_copy(folder / file, small[0])
        write_copy(folder / MANIFEST, found[0])  # last: it makes the mark exist

    def _forget(self, there: dict[str, Entry], etags: dict[str, str], began: float) -> None:
        """Removes what the bucket no longer has, unless it may have been written since it was asked."""
        here = {*etags, *(f"marks/{step}/{MANIFEST}" for step in steps(self.path / "marks"))}
        for name in here - there.keys():
            copy = self.path / name
            try:
                if links.status(copy).st_mtime >= began - _AGE_OF_DELETION:
                    continue  # at the next look
                links.remove(copy)
            except OSError:
                pass
            if _MANIFEST.fullmatch(name):
                links.remove_tree(copy.parent)
            etags.pop(name, None)

    def _set_ages(self, there: dict[str, Entry], now: float) -> None:
        """Gives the copies of claims the age that the originals have by the clock of the bucket."""
        for name, entry in there.items():
            if name.startswith("leases/"):
                with contextlib.suppress(OSError):
                    os.utime(self.path / name)
                    written = os.stat(self.path / name).st_mtime - (now - entry.modified)
                    os.utime(self.path / name, (written, written))
