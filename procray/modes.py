"""The mode of files that are made under a temporary name: what the user's umask gives, and never a wider one."""

from __future__ import annotations

import os
import threading

_swapping = threading.Lock()


def file_mode() -> int:
    """What `open` would give a new file here: 0o600 under a umask of 077, 0o644 under one of 022."""
    return 0o666 & ~_umask()


def _umask() -> int:
    try:  # Linux tells it; elsewhere it is known only by setting another
        with open("/proc/self/status", encoding="ascii", errors="replace") as status:
            for line in status:
                if line.startswith("Umask:"):
                    return int(line.split()[1], 8)
    except OSError:
        pass
    with _swapping:
        mask = os.umask(0o077)
        os.umask(mask)
    return mask
