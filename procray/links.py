"""What lies below a store's folder is reached without following a link, whoever put one there.

A store may be shared, or have come from somebody else, and a link in it leads anywhere. So every folder on the way is
opened by itself, from the store's own folder down, and nothing is read, written or deleted by its whole path. The
store's own folder may be a link or lie below one: that is for its user to choose, and so is every other path.

A file where a folder belongs has nothing below it for whoever reads. Whoever writes replaces neither it nor a folder
where a file belongs.
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
_WAY = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC  # asks for no right to list a folder
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
        StoreError: a folder on the way is a link; or, to be made, has a file in its place.
        OSError: there is none.
    """
    handle = _descend(_parent(path), make)
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
    folder, name = _descend(_parent(path), make=False), os.path.basename(path)
    try:
        try:  # without waiting: a pipe would have no end
            handle = os.open(name, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, mode, dir_fd=folder)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.EMLINK):
                raise _is_link(str(path)) from None
            if error.errno in (errno.ENXIO, errno.EISDIR):
                raise _is_no_file(path) from None
            raise
    finally:
        os.close(folder)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise _is_no_file(path)
    return handle


def make_folder(path: Name) -> None:
    """Makes a folder, and those on the way, where they are missing.

    Raises:
        StoreError: one of them is a link, or a file.
    """
    os.close(_descend(os.fspath(path), make=True))


def names_in(path: Name) -> list[str]:
    """The names in a folder, in any order; none where there is no folder.

    Raises:
        StoreError: it or a folder on the way is a link.
    """
    try:
        handle = _descend(os.fspath(path), make=False)
        try:
            listed = os.open(".", _FOLDER, dir_fd=handle)
        finally:
            os.close(handle)
    except (FileNotFoundError, NotADirectoryError):
        return []
    try:
        return os.listdir(listed)
    finally:
        os.close(listed)


def sync(folder: int) -> None:
    """Makes the names in a folder durable, by its handle: a rename alone can be lost in a power cut."""
    handle = os.open(".", _FOLDER, dir_fd=folder)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def status(path: Name) -> os.stat_result:
    """`os.lstat`.

    Raises:
        StoreError: a folder on the way is a link.
        FileNotFoundError, NotADirectoryError: there is nothing.
    """
    with folder_of(path) as folder:
        return os.stat(os.path.basename(path), dir_fd=folder, follow_symlinks=False)


def is_folder(path: Name) -> bool:
    """Whether there is a folder, and no link to one."""
    try:
        return stat.S_ISDIR(status(path).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False


def rename(old: Name, new: Name) -> None:
    """`os.replace`; a link under the new name is replaced, not followed.

    Raises:
        StoreError: below a guarded folder: what stands there is of another kind.
    """
    with folder_of(old) as source, folder_of(new) as target:
        replace(os.path.basename(old), new, source, target)


def replace(name: str, new: Name, source: int, target: int) -> None:
    """`os.replace` of a name in one folder by a path in another, by the handles of `folder_of`.

    Raises:
        StoreError: as `rename`.
    """
    try:
        os.replace(name, os.path.basename(new), src_dir_fd=source, dst_dir_fd=target)
    except (IsADirectoryError, NotADirectoryError) as error:
        if _place(new) is None:
            raise
        raise (_is_no_file(new) if isinstance(error, IsADirectoryError) else _is_no_folder(new)) from None


def remove(path: Name) -> None:
    """Deletes a file, or a link itself; one that is gone already is no error.

    Raises:
        StoreError: below a guarded folder: it is a folder.
    """
    with contextlib.suppress(FileNotFoundError), folder_of(path) as folder:
        try:
            os.unlink(os.path.basename(path), dir_fd=folder)
        except OSError as error:
            if error.errno in (errno.EISDIR, errno.EPERM) and _place(path) is not None and is_folder(path):
                raise _is_no_file(path) from None
            raise


def remove_tree(path: Name) -> None:
    """Deletes a folder with everything in it, as far as that may be deleted; a link in its place stays."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), folder_of(path) as folder:
        shutil.rmtree(os.path.basename(path), ignore_errors=True, dir_fd=folder)


def remove_any(path: Name) -> None:
    """Deletes a folder with everything in it, a file, or a link itself."""
    if is_folder(path):
        remove_tree(path)
    else:
        remove(path)


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


def _parent(path: Name) -> str:
    return os.path.dirname(os.fspath(path).rstrip("/")) or "."


def _descend(folder: str, make: bool) -> int:
    found = _place(folder)
    if found is None:
        if make:
            os.makedirs(folder, exist_ok=True)
        return os.open(folder, _WAY)
    root, parts = found
    if make:
        os.makedirs(root, exist_ok=True)
    handle, at = os.open(root, _WAY), root
    try:
        for part in parts:
            at = f"{at}/{part}"
            if make:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(part, dir_fd=handle)
            try:
                below = os.open(part, _WAY | os.O_NOFOLLOW, dir_fd=handle)
            except OSError as error:
                if stat.S_ISLNK(os.stat(part, dir_fd=handle, follow_symlinks=False).st_mode):
                    raise _is_link(at) from None
                if error.errno != errno.ENOTDIR:
                    raise
                if make:
                    raise _is_no_folder(at) from None
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), folder) from None
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


def _is_no_file(path: Name) -> StoreError:
    return StoreError(f"{os.fspath(path)} is no plain file")


def _is_no_folder(path: Name) -> StoreError:
    return StoreError(f"{os.fspath(path)} is a file where the store needs a folder; move it elsewhere")
