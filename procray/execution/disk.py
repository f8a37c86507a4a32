"""A disk that is full: recognised whatever raised it, and said in words."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

_CODES = (errno.ENOSPC, errno.EDQUOT)
_TEXTS = ("No space left on device", "Disk quota exceeded", "database or disk is full")


def disk_full(error: BaseException | None) -> bool:
    """Whether an error comes of a full disk. Libraries and Ray pass the text on, not always the number."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, OSError) and error.errno in _CODES:
            return True
        if any(text in str(error) for text in _TEXTS):
            return True
        seen.add(id(error))
        error = getattr(error, "cause", None) or error.__cause__ or error.__context__
    return False


def full_text(folder: str | Path) -> str:
    """Where there is no room, and how much there is."""
    path = Path(folder)
    while not path.exists():
        path = path.parent
    usage = shutil.disk_usage(path)
    return (
        f"the disk of the store is full: {usage.free / 1e6:,.0f} of {usage.total / 1e6:,.0f} MB are free in {path}; "
        "make room there"
    )
