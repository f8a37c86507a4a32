"""The files of a corpus on this machine: the standard library, an installed package, globs.

A file's name is its path below the fixed part of its glob. Names and contents are what a corpus of files is;
where the files lie, how the pattern was written and in which order a folder lists them is not.
"""

from __future__ import annotations

import glob
import importlib.util
import os
import sysconfig
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path, PurePosixPath

from procray.errors import CorpusError, CorpusNotHere
from procray.files import digest, sha256_file

_SKIPPED = {"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__"}


@dataclass(frozen=True)
class LocalFile:
    """One file of a corpus. `name` is its path below the fixed part of the glob."""

    name: str
    path: Path


def stdlib_folder() -> Path:
    return Path(sysconfig.get_paths()["stdlib"])


def stdlib_files() -> list[LocalFile]:
    """The standard library's modules without its tests and without files that describe one machine."""
    return _modules("python-stdlib", stdlib_folder())


def package_files(package: str) -> list[LocalFile]:
    """The modules of an installed top-level package without its tests; it is not imported.

    Raises:
        CorpusError: it is not installed, or is one single module.
    """
    found = importlib.util.find_spec(package) if package.isidentifier() else None
    if found is None or not found.submodule_search_locations:
        raise CorpusNotHere(f"python-package: no package '{package}' is installed in this Python")
    return _modules(f"python-package {package}", Path(next(iter(found.submodule_search_locations))))


def _modules(what: str, root: Path) -> list[LocalFile]:
    found = []
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name not in _SKIPPED and not name.startswith("config-")]
        for name in names:
            if name.endswith(".py") and not name.startswith("_sysconfigdata"):
                path = Path(folder, name)
                found.append(LocalFile(path.relative_to(root).as_posix(), path))
    if not found:
        raise CorpusError(f"{what}: no module found under {root}")
    return sorted(found, key=lambda file: file.name)


def matching_files(globs: list[str], base: Path | None = None) -> list[LocalFile]:
    """The regular files that `globs` match, each once, sorted by name; relative globs start from `base`.

    A file met under two names (a link beside it, two globs) has the first of them in the alphabet. Files of one
    name, from two globs, are sorted by content.

    Raises:
        CorpusError: a glob that matches nothing or is a folder; all of them in one message.
    """
    base = Path(base or Path.cwd()).absolute()
    problems: list[str] = []
    folders = False
    found: dict[Path, LocalFile] = {}
    for pattern in globs:
        place = base / os.path.expanduser(pattern)
        if os.path.isdir(place):  # False, not an error, for a name too long for any file; so below
            folders = True
            problems.append(f"'{pattern}' is a folder; write '{pattern.rstrip('/')}/**/*' for the files in it")
            continue
        matches = _matches(pattern, base)
        if not matches:
            problems.append(f"'{pattern}' matches no file{_why_none(pattern, base)}")
        for file in matches:
            known = found.setdefault(file.path.resolve(), file)
            if file.name < known.name:
                found[file.path.resolve()] = file
    if problems:
        kind = CorpusError if folders else CorpusNotHere
        raise kind(f"files: {'; '.join(problems)}; relative paths start from {base}")
    ordered = sorted(found.values(), key=lambda file: file.name)
    repeated = {a.name for a, b in pairwise(ordered) if a.name == b.name}
    return sorted(ordered, key=lambda file: (file.name, file_digest(file) if file.name in repeated else ""))


def _matches(pattern: str, base: Path) -> list[LocalFile]:
    root, rest = _fixed_part(pattern, base)
    # A pipe or a device would block for ever; only files have an end.
    return [
        LocalFile(PurePosixPath(match).as_posix(), root / match)
        for match in glob.iglob(rest, root_dir=root, recursive=True)
        if os.path.isfile(root / match)
    ]


def _fixed_part(pattern: str, base: Path) -> tuple[Path, str]:
    """The folder of a glob before its first wildcard, and the pattern below it.

    A folder or file that is called as the pattern is written is meant itself: `runs [2024]` is first of all a name.
    """
    *folders, last = (base / os.path.expanduser(pattern)).parts
    root = Path(folders[0]) if folders else Path(last)
    for number, part in enumerate(folders[1:], 1):
        if glob.has_magic(part) and not os.path.isdir(root / part):
            return root, os.path.join(*folders[number:], last)
        root /= part
    return root, glob.escape(last) if os.path.exists(root / last) else last


def _why_none(pattern: str, base: Path) -> str:
    root, _ = _fixed_part(pattern, base)
    here = Path.cwd()
    if not os.path.isabs(os.path.expanduser(pattern)) and base != here and (elsewhere := _matches(pattern, here)):
        shown = os.path.relpath(here / pattern, base)
        return (
            f" below {base}, though {len(elsewhere)} below the working directory {here}: paths start from the sweep "
            f"file's folder, so write '{shown}'"
        )
    if not os.path.isdir(root):
        return f" (there is no folder '{root}')"
    if "[" in pattern:
        return (
            f" (brackets stand for one of the characters in them; for brackets in a name write '{_escaped(pattern)}')"
        )
    return ""


def _escaped(pattern: str) -> str:
    return pattern.replace("[", "[[]")


def content_digest(files: list[LocalFile]) -> str:
    """The SHA-256 over the names and contents of `files`."""
    return digest([[file.name, file_digest(file)] for file in files])


def file_digest(file: LocalFile) -> str:
    """The SHA-256 of its content.

    Raises:
        CorpusError: it cannot be read.
    """
    try:
        facts = file.path.stat()
        return _sha256(str(file.path), facts.st_size, facts.st_mtime_ns)
    except OSError as error:
        raise CorpusError(f"files: cannot read {file.path}: {error.strerror}") from error


@lru_cache(maxsize=200_000)
def _sha256(path: str, size: int, modified: int) -> str:
    return sha256_file(path)


def digests_by_name(files: Iterable[LocalFile], suffix: str = "") -> dict[str, str]:
    """Every file's SHA-256 by its name and `suffix`; of several files of one name the later ones are numbered."""
    found: dict[str, str] = {}
    for file in files:
        name, number = f"{file.name}{suffix}", 1
        while name in found:
            number += 1
            name = f"{file.name}{suffix} [{number}]"
        found[name] = file_digest(file)
    return found


@dataclass(frozen=True)
class Comparison:
    """What two lists of files differ in, by name. `text` is one line, empty where nothing differs."""

    changed: list[str]
    new: list[str]
    gone: list[str]

    @property
    def text(self) -> str:
        parts = [(self.changed, "changed"), (self.new, "new"), (self.gone, "gone")]
        return ", ".join(f"{_counted(names)} {what} ({_some(names)})" for names, what in parts if names)


def _counted(names: list[str]) -> str:
    return f"{len(names):,} file{'s' if len(names) > 1 else ''}"


def _some(names: list[str], most: int = 3) -> str:
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")


def compare_files(before: dict[str, str], after: dict[str, str]) -> Comparison:
    """The files that have other contents, came or went between two `{name: digest}`, each sorted by name."""
    return Comparison(
        sorted(name for name in before.keys() & after.keys() if before[name] != after[name]),
        sorted(after.keys() - before.keys()),
        sorted(before.keys() - after.keys()),
    )
