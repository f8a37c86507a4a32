"""Which phases need not be read again: a look at a few dates instead of at every document, curve and mark."""

from __future__ import annotations

import contextlib
import os
import time

Glance = tuple[tuple[object, ...], ...]

# A date may be as coarse as two seconds, so what is read right after a change may be half of what has that date.
SURE = 2.5  # seconds


def glance(folder: str) -> Glance:
    """What changes whenever a phase's status, marks or evaluations do; empty where the phase has no folder.

    Documents are replaced as a whole, marks and journals are added to their folders, and a journal only grows.
    """
    try:
        os.stat(folder)
    except OSError:
        return ()
    found: list[tuple[object, ...]] = []
    for name in ("status.json", "marks", "journal"):
        try:
            about = os.stat(f"{folder}/{name}")
            found.append((about.st_ino, about.st_size, about.st_mtime_ns))
        except OSError:
            found.append(())
    if found[2]:
        with contextlib.suppress(NotADirectoryError), os.scandir(f"{folder}/journal") as files:
            found.extend(sorted((file.name, file.stat(follow_symlinks=False).st_size) for file in files))
    return tuple(found)


class Rest:
    """The phases of which everything was written, with what they looked like at a glance before they were read."""

    def __init__(self) -> None:
        self._since: dict[str, tuple[Glance, float]] = {}
        self._sure: dict[str, Glance] = {}

    def holds(self, phase: str, now: Glance) -> bool:
        return self._sure.get(phase) == now

    def note(self, phase: str, before: Glance, settled: bool) -> None:
        """Remembers that a phase was read, which looked like `before` and left nothing to do, or not."""
        self._sure.pop(phase, None)
        if not settled:
            return
        first, when = self._since.get(phase, (None, 0.0))
        if first != before:
            when = time.monotonic()
            self._since[phase] = before, when
        if not before or time.monotonic() - when >= SURE:
            self._sure[phase] = before

    def clear(self) -> None:
        self._since.clear()
        self._sure.clear()
