"""The folder of a local Ray's session, and those that killed commands have left behind.

Containers may share /tmp and see none of each other's processes. So a folder is locked for as long as its command
lives, and the kernel, which knows them all, says whether it does.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def session_folder(base: Path | None = None) -> Iterator[Path]:
    """A folder of this user alone, until the block ends; its name begins with `prefix()`.

    Those of commands that were killed are removed first.

    Args:
        base: where; by default the system's place for temporary files, or /tmp where its name is long: Ray's sockets
            allow paths of some 100 characters only.
    """
    if base is None:
        base = Path(tempfile.gettempdir() if len(tempfile.gettempdir()) < 30 else "/tmp")
    for name in os.listdir(base):
        if _NAME.fullmatch(name):
            _remove_if_left(base / name)
    made = Path(tempfile.mkdtemp(prefix=".procray-", dir=base))
    lock = os.open(made, os.O_RDONLY)  # not inherited by what is started from here
    try:
        with contextlib.suppress(OSError):  # a file system without locks: then nobody takes it for left behind either
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        folder = made.rename(base / made.name.replace(".procray-", prefix(), 1))  # locked before anybody looks at it
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(lock)


# What `session_folder` and tempfile make of it; anything else in a place that others write to is not ours to look at.
_NAME = re.compile(rf"procray-{os.getuid()}-[0-9]{{1,9}}-[a-z0-9_]{{8}}")


def prefix() -> str:
    return f"procray-{os.getuid()}-{os.getpid()}-"


def _remove_if_left(folder: Path) -> None:
    try:
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:  # gone meanwhile, no folder, or somebody else's
        return
    try:
        if os.fstat(lock).st_uid != os.getuid():
            return
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
    except OSError:  # its command lives
        pass
    finally:
        os.close(lock)
