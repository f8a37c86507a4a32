"""Files as the store keeps them: listed, read, described with their digests, checked, moved into place."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import time
import uuid
from pathlib import Path
from stat import S_ISREG
from typing import Any

from procray import links
from procray.errors import StoreError
from procray.files import read_json, sha256_file
from procray.records import digits
from procray.store.forms import checked

MANIFEST = "manifest.json"  # of a mark or a corpus; written last, it makes it exist
LARGEST_DOCUMENT = 1 << 24  # bytes of a JSON file of a phase, or of a small file beside weights


def entries(folder: Path) -> list[str]:
    """The names in a folder, in any order; none where there is no folder."""
    return links.names_in(folder)


def steps(folder: Path) -> list[int]:
    """The entries that are steps, ascending."""
    return sorted(int(entry) for entry in entries(folder) if not digits(entry))


def sizes(folder: Path) -> dict[str, int]:
    """Bytes of every file below a folder, by its name relative to it."""
    links.refuse(folder)
    found = {}
    for parent, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(parent, name)
            with contextlib.suppress(OSError):  # removed between the two looks
                found[os.path.relpath(path, folder)] = os.lstat(path).st_size
    return found


def clock(folder: Path) -> float:
    """The time by the clock that dates the files of a folder; of the file server, where it is on one.

    Where this process may not write, it can only be guessed: by this machine's clock, but never before the newest
    date in the folder. Whoever may not write decides nothing by it, and takes no claim over.

    Raises:
        FileNotFoundError: there is no such folder.
    """
    try:
        name = f".clock-{secrets.token_hex(4)}"
        with links.folder_of(folder / name) as handle:
            os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=handle))
            try:
                return os.stat(name, dir_fd=handle, follow_symlinks=False).st_mtime
            finally:
                os.unlink(name, dir_fd=handle)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
    return max(time.time(), last_written(folder))


def last_written(folder: Path) -> float:
    """The newest date of a folder and of all that is below it; 0 where there is nothing."""
    links.refuse(folder)
    newest = 0.0
    for parent, folders, names in os.walk(folder):
        for path in (parent, *(os.path.join(parent, name) for name in (*folders, *names))):
            with contextlib.suppress(OSError):  # removed between the two looks
                newest = max(newest, os.lstat(path).st_mtime)
    return newest


def read_document(path: Path | str) -> Any:
    """The JSON in a file, or None when there is no such file.

    Raises:
        StoreError: the file is damaged.
    """
    try:
        return checked(path, read_json(path, LARGEST_DOCUMENT))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError as error:
        raise StoreError(f"{path} is damaged: {error}") from None


def described(folder: Path) -> dict[str, dict[str, Any]]:
    """Digest and bytes of every file of a folder, by its name."""
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
    links.refuse(folder)
    for name, expected in files.items():
        path = folder / name
        try:
            stat = path.lstat()
        except (FileNotFoundError, NotADirectoryError):
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


def move(filled: Path, target: Path) -> None:
    """Gives a filled folder the name under which others find it, at once."""
    if links.is_folder(target):  # left unfinished by a kill: what is finished is never written again
        links.remove_tree(target)
    links.rename(filled, target)


def write_copy(path: Path, data: bytes, make: bool = True) -> None:
    """Writes a copy, whole or not at all. It need not survive a power cut: the bucket has it.

    Args:
        make: the folder that it stands in, where it is missing.
    """
    temporary = f".{uuid.uuid4().hex[:8]}-{path.name}"
    with links.folder_of(path, make) as folder:
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666, dir_fd=folder)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            links.replace(temporary, path, folder, folder)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary, dir_fd=folder)
            raise
