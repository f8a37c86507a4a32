"""Which process has claimed something, and whether it still runs."""

from __future__ import annotations

import contextlib
import os
import socket
from functools import cache
from pathlib import Path
from typing import Any

import psutil


@cache
def this_host() -> str:
    """Names the set of processes whose numbers mean the same: host, its boot and its pid namespace."""
    parts = [socket.gethostname()]
    for read in (
        lambda: Path("/proc/sys/kernel/random/boot_id").read_text().strip()[:13],
        lambda: os.readlink("/proc/self/ns/pid").strip("pid:[]"),
    ):
        with contextlib.suppress(OSError):
            parts.append(read())
    return "/".join(parts)


def process_start(pid: int) -> str | None:
    """When process `pid` of this host started, in a form to compare; None when it does not run.

    A killed process that its parent has not collected yet does not run. On Linux the time counts
    from the boot, which a change of the clock leaves alone.
    """
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        if Path("/proc/self/stat").exists():
            return None
    except OSError:
        return None
    else:
        return None if state in "ZX" else fields[18]
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else f"{process.create_time():.2f}"
    except (psutil.Error, ValueError, OverflowError):  # the last: a number that no process has
        return None


def this_process() -> dict[str, Any]:
    """Identifies this process so that others can tell whether it still runs."""
    return {"host": this_host(), "pid": os.getpid(), "started": process_start(os.getpid())}


def process_alive(who: dict[str, Any]) -> bool | None:
    """Whether the process of a `this_process()` runs; None when it is on another host."""
    if who.get("host") != this_host():
        return None
    return process_start(int(who["pid"])) == who.get("started")
