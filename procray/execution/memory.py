"""What the memory monitor of a node does to a sweep: it kills processes before the kernel kills whatever it finds.

Its word comes as the error of an actor, of one of its tasks, or of a worker group, three thousand characters long.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import Any

from ray.air.execution._internal.actor_manager import RayActorManager
from ray.exceptions import OutOfMemoryError, RayActorError

_WORD = "running low on memory"  # torch has an OutOfMemoryError too, of a GPU
_USED = re.compile(r"was ([\d.]+) ?GB used / ([\d.]+) ?GB limit")


def is_memory_kill(text: str) -> bool:
    """Whether the text of an error is the monitor's."""
    return _WORD in text


def memory_kill(text: str) -> str:
    """The reason in one line, out of the text of the error."""
    used = _USED.search(text)
    amount = f" ({used[1]} of {used[2]} GB were used)" if used else ""
    return f"its node ran low on memory{amount}: Ray's memory monitor killed its worker process"


@contextlib.contextmanager
def memory_kills_are_deaths() -> Iterator[None]:
    """Has Tune take a process that the monitor killed for one that died.

    The error is neither one of an actor nor one of a task, and with any other Tune ends the whole run.
    """
    known = RayActorManager._actor_task_failed

    def failed(self: RayActorManager, tracked_actor_task: Any, exception: Exception) -> None:
        if isinstance(exception, OutOfMemoryError):
            exception = RayActorError(error_msg=f"OutOfMemoryError: {exception}")
        known(self, tracked_actor_task, exception)

    RayActorManager._actor_task_failed = failed
    try:
        yield
    finally:
        RayActorManager._actor_task_failed = known
