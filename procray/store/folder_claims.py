"""Claims on a phase as files of a folder; what they are for says `lease.py`."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable
from pathlib import Path

from procray import links
from procray.files import read_bytes, write_atomic
from procray.modes import file_mode
from procray.store.kept_files import clock, entries
from procray.store.lease import HEARTBEAT_EVERY, LARGEST_CLAIM, claims_in


class FolderClaims:
    """Claims as files of a folder; made when missing."""

    beat_every = HEARTBEAT_EVERY

    def __init__(self, folder: Path):
        self.name = folder.parent.name
        self._folder = folder

    def attempts(self) -> list[int]:
        return claims_in(entries(self._folder))

    def read(self, attempt: int) -> str | None:
        try:
            return read_bytes(self._path(attempt), LARGEST_CLAIM).decode("utf-8", "replace")
        except FileNotFoundError:
            return None
        except (PermissionError, ValueError):  # its writer let nobody else read it: it counts while it is kept alive
            return ""

    def age(self, attempt: int) -> float:
        try:
            return clock(self._folder) - links.status(self._path(attempt)).st_mtime
        except FileNotFoundError:
            return float("inf")

    def create(self, attempt: int, text: str) -> bool:
        links.make_folder(self._folder)
        return _create(self._path(attempt), text)

    def beat(self, attempt: int, text: str) -> bool:
        try:
            with links.folder_of(self._path(attempt)) as folder:
                os.utime(self._path(attempt).name, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            return False
        except OSError:
            pass  # a busy file server: the next beat tries again
        return True

    def write(self, attempt: int, text: str) -> None:
        write_atomic(self._path(attempt), text)

    def drop(self, attempts: Iterable[int]) -> None:
        for attempt in attempts:
            links.remove(self._path(attempt))

    def _path(self, attempt: int) -> Path:
        return self._folder / f"{attempt}.json"


def _create(path: Path, text: str) -> bool:
    """Makes `path` with its whole content, or returns False when it exists already."""
    temporary = f".claim-{secrets.token_hex(4)}"
    new = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    with links.folder_of(path) as folder:
        handle = os.open(temporary, new, 0o600, dir_fd=folder)
        try:
            os.fchmod(handle, file_mode())  # who may read the store may see who writes in it
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            try:
                os.link(temporary, path.name, src_dir_fd=folder, dst_dir_fd=folder)
                return True
            except FileExistsError:
                # NFS: the answer to a link that worked was lost
                return os.stat(temporary, dir_fd=folder, follow_symlinks=False).st_nlink == 2
            except OSError:  # a file system without hard links
                try:
                    with os.fdopen(os.open(path.name, new, file_mode(), dir_fd=folder), "w", encoding="utf-8") as file:
                        file.write(text)
                    return True
                except FileExistsError:
                    return False
        finally:
            os.unlink(temporary, dir_fd=folder)
