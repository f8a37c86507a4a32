"""Which commands run a plan now: each keeps its word to the runners beside the plan, under a name that tells whose."""

from __future__ import annotations

import os
import re
import uuid

from procray.files import digest
from procray.store.processes import process_start, this_host

_NAME = re.compile(r"\.run-(?P<host>[0-9a-f]{8})-(?P<pid>[0-9]{1,9})-[0-9a-f]{6}")
_SCRATCH = "-ray"  # ends the name of Ray's own folder of a run


def name_of_run() -> str:
    """A new name for what a run of this process keeps in the folder of its plan."""
    return f"{of_this_host()}{os.getpid()}-{uuid.uuid4().hex[:6]}"


def of_this_host() -> str:
    """What the names of all runs of this host begin with."""
    return f".run-{digest(this_host(), 8)}-"


def is_run(name: str) -> bool:
    """Whether it is the name of a run's word, and not of anything else that the run keeps."""
    return _NAME.fullmatch(name) is not None


def is_of_run(name: str) -> bool:
    """Whether it is the name of anything that a run keeps beside its plan: its word, or what Ray keeps for itself."""
    return is_run(name.removesuffix(_SCRATCH))


def running(name: str) -> int | None:
    """The process of a run by its name: 0 when it is over, None when it is on another host."""
    found = _NAME.fullmatch(name.removesuffix(_SCRATCH))
    assert found is not None, f"{name} is no run"
    if not name.startswith(of_this_host()):
        return None
    pid = int(found["pid"])
    return pid if process_start(pid) is not None else 0
