"""Environment variables of processes that train. Needs no torch, so that a command can start workers quickly."""

from __future__ import annotations

import platform

# glibc gives large blocks back to the kernel and faults them in again on every step; OpenMP threads that
# spin while they wait collapse when processes share the cores. Both are read when a process starts.
_ALLOCATOR = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "1000000000000",
    "MALLOC_TOP_PAD_": "268435456",
}


def worker_environment(threads: int) -> dict[str, str]:
    """Environment variables for processes that train; they must be set before the process starts."""
    variables = {"OMP_WAIT_POLICY": "passive", "OMP_NUM_THREADS": str(threads)}
    if platform.libc_ver()[0] == "glibc":
        variables |= _ALLOCATOR
    return variables
