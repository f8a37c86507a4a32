"""Token shards on a disk of this machine: training reads them in random order, which a file server serves slowly."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from procray import links
from procray.errors import StoreError
from procray.files import LARGEST_JSON, cache_folder, digest, holds, read_bytes

# File systems that several machines may have mounted; those of virtual machines share a folder with their host.
_NETWORKS = {
    *("9p", "afs", "beegfs", "ceph", "cifs", "coda", "fuse", "gfs2", "glusterfs", "gpfs", "lustre", "nfs", "nfs4"),
    *("ocfs2", "orangefs", "panfs", "prl_fs", "smb3", "smbfs", "vboxsf", "virtiofs", "wekafs"),
}
# What a prepared corpus consists of; the manifest comes last and makes it complete.
CORPUS_FILE = re.compile(r"tokenizer\.json|shards/(train|validation)-\d{5}\.(bin|mask)")
_ESCAPED = re.compile(r"\\([0-7]{3})")  # a space in a name of mountinfo


def nearby(corpora: Path, name: str, mounts: str = "/proc/self/mountinfo") -> Path:
    """The folder to read corpus `name` from: `corpora`, or where that is on a file server a copy on this machine.

    The copy is made once; a corpus that has grown since is completed. Every shard is checked against its digest
    when it is first read.

    Args:
        mounts: the list of what is mounted where.

    Raises:
        StoreError: the copy cannot be made.
    """
    source = corpora / name
    links.refuse(source)
    if not on_network(corpora, mounts) or not (source / "manifest.json").is_file():
        return corpora
    copies = cache_folder() / "corpora" / digest(str(corpora), 12)
    try:
        with alone(copies / name):
            _copy(source, copies / name)
    except OSError as error:
        raise StoreError(
            f"corpus {source} cannot be copied to {copies}: {error}; set PROCRAY_CACHE to a folder on a local disk "
            "with room"
        ) from error
    return copies


def on_network(path: Path, mounts: str = "/proc/self/mountinfo") -> bool:
    """Whether a path is on a file system that other machines share. False where the system does not tell."""
    try:
        lines = Path(mounts).read_text(encoding="utf-8").splitlines()
    except OSError:
        return False
    best, kind = "", ""
    real = os.path.realpath(path)
    for line in lines:
        before, _, after = line.partition(" - ")
        point = _ESCAPED.sub(lambda found: chr(int(found[1], 8)), before.split(" ")[4])
        if len(point) >= len(best) and (real == point or real.startswith(point.rstrip("/") + "/")):
            best, kind = point, after.split(" ")[0]
    return kind in _NETWORKS or kind.startswith("fuse.")


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """One process of this machine at a time fills a folder of the cache; the others wait."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _copy(source: Path, target: Path) -> None:
    known = target / "manifest.json"
    try:
        manifest = read_bytes(source / "manifest.json", LARGEST_JSON)
    except ValueError as error:
        raise StoreError(f"{source / 'manifest.json'} is damaged: {error}") from None
    if holds(known, [manifest]):
        return
    for file in sorted(source.rglob("*")):
        name = file.relative_to(source).as_posix()
        if CORPUS_FILE.fullmatch(name) and file.is_file():
            copy = target / name
            if copy.is_file() and copy.stat().st_size == file.stat().st_size:
                continue
            copy.parent.mkdir(parents=True, exist_ok=True)
            temporary = copy.with_name(f".{copy.name}")
            with open(file, "rb", opener=links.open_file) as read, open(temporary, "wb") as written:
                shutil.copyfileobj(read, written, 1 << 24)
            os.replace(temporary, copy)
    temporary = target / ".manifest.json"
    temporary.write_bytes(manifest)
    os.replace(temporary, known)
