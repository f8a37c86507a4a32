"""One process at a time prepares a corpus, or removes it."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from procray import links

LOCK = "lock"  # in the folder of a corpus; the system frees it when the process dies, however it dies
_EVERY = 0.2  # seconds between two tries


@contextmanager
def alone(folder: Path, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Holds the lock on the folder of a corpus, which is made if it is missing; waits while another process has it.

    Args:
        waiting: called once if it has to be waited for.
    """
    told = False
    while True:
        with _held(folder) as held:
            if held:
                yield
                return
        if not told:
            waiting()
        told = True
        time.sleep(_EVERY)


@contextmanager
def alone_if_free(folder: Path) -> Iterator[bool]:
    """The lock for as long as the block lasts; False where another process has it."""
    with _held(folder) as held:
        yield held


def taken(folder: Path) -> bool:
    """Whether a process is preparing the corpus. Needs no right to write."""
    try:
        with open(folder / LOCK, "rb", opener=links.open_file) as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return False
    except BlockingIOError:
        return True
    except (FileNotFoundError, NotADirectoryError):
        return False


@contextmanager
def _held(folder: Path) -> Iterator[bool]:
    while True:
        links.make_folder(folder)
        try:
            file = open(folder / LOCK, "a", opener=links.open_file)  # noqa: SIM115
        except FileNotFoundError:  # removed between the two
            continue
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            if os.fstat(file.fileno()).st_nlink:  # else who had it removed the corpus, and the lock with it
                yield True
                return
