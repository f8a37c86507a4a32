"""Claims on a phase as files of a folder; what they are for says `lease.py`."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

from procray.files import write_atomic
from procray.modes import file_mode
from procray.store.kept_files import clock
from procray.store.lease import HEARTBEAT_EVERY, claims_in


class FolderClaims:
    """Claims as files of a folder; made when missing."""

    beat_every = HEARTBEAT_EVERY

    def __init__(self, folder: Path):
        self.name = folder.parent.name
        self._folder = folder

    def attempts(self) -> list[int]:
        try:
            return claims_in(os.listdir(self._folder))
        except FileNotFoundError:
            return []

    def read(self, attempt: int) -> str | None:
        try:
            return self._path(attempt).read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return None
        except PermissionError:  # its writer let nobody else read it: it counts while it is kept alive
            return ""

    def age(self, attempt: int) -> float:
        try:
            return clock(self._folder) - self._path(attempt).stat().st_mtime
        except FileNotFoundError:
            return float("inf")

    def create(self, attempt: int, text: str) -> bool:
        self._folder.mkdir(parents=True, exist_ok=True)
        return _create(self._path(attempt), text)

    def beat(self, attempt: int, text: str) -> bool:
        try:
            os.utime(self._path(attempt))
        except FileNotFoundError:
            return False
        except OSError:
            pass  # a busy file server: the next beat tries again
        return True

    def write(self, attempt: int, text: str) -> None:
        write_atomic(self._path(attempt), text)

    def drop(self, attempts: Iterable[int]) -> None:
        for attempt in attempts:
            self._path(attempt).unlink(missing_ok=True)

    def _path(self, attempt: int) -> Path:
        return self._folder / f"{attempt}.json"


def _create(path: Path, text: str) -> bool:
    """Makes `path` with its whole content, or returns False when it exists already."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".claim-")
    try:
        os.fchmod(handle, file_mode())  # who may read the store may see who writes in it
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
