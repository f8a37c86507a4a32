"""One phase has one writer: claims with a heartbeat on a shared folder.

A claim is a file `<attempt>.json` that is created exclusively; the claim with the highest number is
the current one. A dead claim is never overwritten but outnumbered, so that two processes which both
find it dead cannot both win: only one of them creates the next number. The highest claim is never
removed, so attempt numbers only grow.

The heartbeat is the modification time of the claim, and its age is taken against a file made at that
moment in the same folder: both times come from the file server, so clocks of hosts may disagree.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import tempfile
import threading
import time
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import psutil

from procray.errors import StoreError
from procray.files import write_json

STALE_AFTER = 90.0  # seconds without a heartbeat after which another host may take over
HEARTBEAT_EVERY = 10.0

_CLAIM = re.compile(r"(\d+)\.json")


class LeaseLost(StoreError):
    """Another runner took the phase over; whatever this one still holds must not become visible."""


@cache
def this_host() -> str:
    """Names the set of processes whose numbers mean the same: host, its boot and its pid namespace."""
    parts = [socket.gethostname()]
    for read in (
        lambda: Path("/proc/sys/kernel/random/boot_id").read_text().strip()[:13],
        lambda: os.readlink("/proc/self/ns/pid").strip("pid:[]"),
    ):
        with contextlib.suppress(OSError):
            parts.append(read())
    return "/".join(parts)


def process_start(pid: int) -> str | None:
    """When process `pid` of this host started, in a form to compare; None when it does not run.

    A killed process that its parent has not collected yet does not run. On Linux the time counts
    from the boot, which a change of the clock leaves alone.
    """
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        if Path("/proc/self/stat").exists():
            return None
    except OSError:
        return None
    else:
        return None if state in "ZX" else fields[18]
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else f"{process.create_time():.2f}"
    except psutil.Error:
        return None


def this_process() -> dict[str, Any]:
    """Identifies this process so that others can tell whether it still runs."""
    return {"host": this_host(), "pid": os.getpid(), "started": process_start(os.getpid())}


def process_alive(who: dict[str, Any]) -> bool | None:
    """Whether the process of a `this_process()` runs; None when it is on another host."""
    if who.get("host") != this_host():
        return None
    return process_start(int(who["pid"])) == who.get("started")


@dataclass(frozen=True)
class Holder:
    """The current claim on a phase, as others see it."""

    attempt: int
    process: dict[str, Any]  # as this_process(); empty when the claim cannot be read
    released: bool
    path: Path
    about: dict[str, Any] = field(default_factory=dict)

    def alive(self) -> bool:
        """Whether the phase must be left to this holder."""
        if self.released:
            return False
        known = process_alive(self.process) if self.process else None
        if known is not None:
            return known
        return _age(self.path) < STALE_AFTER


def holder(folder: Path) -> Holder | None:
    """The newest claim in `folder`, dead or alive; None when nobody ever claimed."""
    attempt = _newest(folder)
    if not attempt:
        return None
    path = folder / f"{attempt}.json"
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        process = {name: value[name] for name in ("host", "pid", "started")}
    except FileNotFoundError:
        return holder(folder)  # outnumbered and removed between the two looks
    except (ValueError, KeyError, TypeError):
        return Holder(attempt, {}, False, path)
    return Holder(attempt, process, bool(value.get("released")), path, value.get("about", {}))


def acquire(folder: Path, about: dict[str, Any] | None = None) -> Lease | None:
    """Claims `folder` for this process, or returns None when a living process holds it.

    Args:
        folder: holds the claims; made when missing.
        about: anything worth knowing about the claimant, kept in the claim.
    """
    folder.mkdir(parents=True, exist_ok=True)
    before = holder(folder)
    if before is not None and before.alive():
        return None
    attempt = before.attempt + 1 if before else 1
    path = folder / f"{attempt}.json"
    content = {"attempt": attempt, **this_process(), "since": time.time(), "about": about or {}}
    if not _create(path, json.dumps(content, sort_keys=True) + "\n"):
        return None
    if _newest(folder) != attempt:  # others came, worked and were outnumbered since we looked
        path.unlink(missing_ok=True)
        return None
    for entry in os.listdir(folder):
        found = _CLAIM.fullmatch(entry)
        if found and int(found[1]) < attempt:
            (folder / entry).unlink(missing_ok=True)
    return Lease(folder, attempt, content)


class Lease:
    """The right to write one phase. A thread keeps the heartbeat until `release`."""

    def __init__(self, folder: Path, attempt: int, content: dict[str, Any]):
        self.attempt = attempt
        self._folder = folder
        self._path = folder / f"{attempt}.json"
        self._content = content
        self._lost = False
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._beat, name=f"lease-{attempt}", daemon=True)
        self._thread.start()

    def held(self) -> bool:
        """Whether this is still the newest claim. Looks at the folder: ask right before a rename."""
        if not self._lost and not self._end.is_set() and _newest(self._folder) != self.attempt:
            self._lost = True
        return not self._lost and not self._end.is_set()

    def check(self) -> None:
        """Raises LeaseLost unless the lease is held."""
        if not self.held():
            raise LeaseLost(f"attempt {self.attempt} lost its lease on {self._folder.parent.name} to another runner")

    def lost(self) -> bool:
        """What the heartbeat knows, without looking at the folder."""
        return self._lost

    def heartbeat(self) -> None:
        """Tells the others that this process lives."""
        try:
            os.utime(self._path)
        except FileNotFoundError:
            self._lost = True
        except OSError:
            pass  # a busy file server: the next beat tries again

    def release(self) -> None:
        """Gives the phase back at once. Safe to call twice."""
        if self._end.is_set():
            return
        held = self.held()
        self._end.set()
        self._thread.join(timeout=HEARTBEAT_EVERY)
        if held:
            write_json(self._path, {**self._content, "released": True})

    def _beat(self) -> None:
        while not self._end.wait(HEARTBEAT_EVERY):
            self.heartbeat()


def _newest(folder: Path) -> int:
    try:
        found = [_CLAIM.fullmatch(entry) for entry in os.listdir(folder)]
    except FileNotFoundError:
        return 0
    return max((int(match[1]) for match in found if match), default=0)


def _create(path: Path, text: str) -> bool:
    """Makes `path` with its whole content, or returns False when it exists already."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".claim-")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(temporary, path)
            return True
        except FileExistsError:
            return os.stat(temporary).st_nlink == 2  # NFS: the answer to a link that worked was lost
        except OSError:  # a file system without hard links
            try:
                with open(path, "x", encoding="utf-8") as file:
                    file.write(text)
                return True
            except FileExistsError:
                return False
    finally:
        os.unlink(temporary)


def _age(path: Path) -> float:
    """Seconds since the last heartbeat of a claim, by the clock of the file server."""
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".clock-") as now:
            return os.stat(now.name).st_mtime - path.stat().st_mtime
    except FileNotFoundError:
        return float("inf")
