"""What lies below a store's folder is reached without following a link, whoever put one there.

A store may be shared, or have come from somebody else, and a link in it leads anywhere. So every folder on the way is
opened by itself, from the store's own folder down, and nothing is read, written or deleted by its whole path. The
store's own folder may be a link or lie below one: that is for its user to choose, and so is every other path.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from procray.errors import StoreError

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_guarded: dict[str, frozenset[str]] = {}

Name = str | os.PathLike[str]


def guard(root: Path, names: Iterable[str]) -> None:
    """From here on this process follows no link in what is called so in a folder, or below it.

    Args:
        root: an absolute path; it may be a link itself.
    """
    _guarded[str(root)] = frozenset(names)


def refuse(path: Name) -> None:
    """For what opens files by itself.

    Raises:
        StoreError: a part of a path below a guarded folder is a link.
    """
    found = _place(path)
    if found is not None:
        at = found[0]
        for part in found[1]:
            at = f"{at}/{part}"
            if os.path.islink(at):
                raise _is_link(at)


@contextlib.contextmanager
def folder_of(path: Name, make: bool = False) -> Iterator[int]:
    """A handle on the folder that a file stands in, for `dir_fd`.

    Args:
        make: the folder, where it is missing.

    Raises:
        StoreError: a folder on the way is a link.
        OSError: there is none.
    """
    handle = _descend(Path(path).parent, make)
    try:
        yield handle
    finally:
        os.close(handle)


def open_file(path: Name, flags: int, mode: int = 0o666) -> int:
    """`os.open` of a file; also an `opener` for `open`.

    Raises:
        StoreError: below a guarded folder: it or a folder on the way is a link, or it is no plain file.
    """
    if _place(path) is None:
        return os.open(path, flags | os.O_CLOEXEC, mode)
    with folder_of(path) as folder:
        name = os.path.basename(path)
        try:  # without waiting: a pipe would have no end
            handle = os.open(name, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, mode, dir_fd=folder)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.EMLINK):
                raise _is_link(str(path)) from None
            if error.errno == errno.ENXIO:
                raise StoreError(f"{path} is no plain file") from None
            raise
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise StoreError(f"{path} is no plain file")
    return handle


def remove(path: Name) -> None:
    """Deletes a file, or a link itself; one that is gone already is no error."""
    with contextlib.suppress(FileNotFoundError), folder_of(path) as folder:
        os.unlink(os.path.basename(path), dir_fd=folder)


def remove_tree(path: Name) -> None:
    """Deletes a folder with everything in it, as far as that may be deleted; a link in its place stays."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), folder_of(path) as folder:
        shutil.rmtree(os.path.basename(path), ignore_errors=True, dir_fd=folder)


def _place(path: Name) -> tuple[str, tuple[str, ...]] | None:
    """The guarded folder above a path, the nearest if there are several, and the names below it."""
    if not _guarded:
        return None
    text = os.fspath(path)
    end = len(text)
    while (end := text.rfind("/", 0, end)) > 0:
        names = _guarded.get(text[:end])
        if names is not None:
            parts = tuple(part for part in text[end:].split("/") if part not in ("", "."))
            if parts and parts[0] in names:
                if ".." in parts:
                    raise StoreError(f"{text} leads out of its folder")
                return text[:end], parts
    return None


def _descend(folder: Path, make: bool) -> int:
    found = _place(folder)
    if found is None:
        if make:
            folder.mkdir(parents=True, exist_ok=True)
        return os.open(folder, _FOLDER)
    root, parts = found
    if make:
        os.makedirs(root, exist_ok=True)
    handle, at = os.open(root, _FOLDER), root
    try:
        for part in parts:
            at = f"{at}/{part}"
            if make:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(part, dir_fd=handle)
            try:
                below = os.open(part, _FOLDER | os.O_NOFOLLOW, dir_fd=handle)
            except OSError:
                if stat.S_ISLNK(os.stat(part, dir_fd=handle, follow_symlinks=False).st_mode):
                    raise _is_link(at) from None
                raise
            os.close(handle)
            handle = below
    except BaseException:
        os.close(handle)
        raise
    return handle


def _is_link(path: str) -> StoreError:
    return StoreError(
        f"{path} is a link, which might lead out of the store; nothing is read, written or deleted through it. Where "
        "another disk is meant, move the whole store there (the store's own folder may be a link), or mount that disk "
        f"here: mount --bind ELSEWHERE {path}"
    )
