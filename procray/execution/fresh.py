"""The last resort of a command whose main thread waits in a Ray that is gone: the same command in a fresh process."""

from __future__ import annotations

import contextlib
import os
import sys

import psutil

from procray.execution.on_ray import RAYS_LOST

_COUNT = "PROCRAY_RAYS_LOST"


def may_begin_afresh() -> bool:
    """Whether the command may be replaced once more."""
    return int(os.environ.get(_COUNT, "0")) < RAYS_LOST


def begin_afresh() -> None:
    """Kills what this process has started and replaces it by a new run of its command line. Does not return.

    Only for commands: a program that uses procray as a library would lose whatever else it holds.
    """
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            child.kill()
    os.environ[_COUNT] = str(int(os.environ.get(_COUNT, "0")) + 1)
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
