"""Whether the node of this process is going away: a spot notice, a scale-down, maintenance.

Ray says that a node is being drained and gives it a deadline, mostly of some seconds or two minutes. What runs there
saves at once and returns; it goes on elsewhere, and nothing counts as a failure.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable

_ASK_EVERY = 1.0

_gone = threading.Event()
_lock = threading.Lock()
_asking = False


class NodeLeaving(RuntimeError):
    """The segment is saved and its node is going away.

    Raised by a trial in place of a result, because Tune keeps the process of a trial that ends well for the next one.
    """


def node_leaving() -> Callable[[], bool]:
    """A flag that turns true about a second after Ray drains the node of this process, and stays so.

    A thread asks: the answer may take long while the cluster has other troubles, and training does not wait for it.
    """
    global _asking
    with _lock:
        if not _asking:
            _asking = True
            threading.Thread(target=_ask, name="node-leaving", daemon=True).start()
    return _gone.is_set


def leaving_now() -> bool:
    """Asks at once; false where nobody answers."""
    import ray
    from ray._private.state import state

    with contextlib.suppress(Exception):
        if ray.get_runtime_context().get_node_id() in state.get_draining_nodes():
            _gone.set()
    return _gone.is_set()


def _ask() -> None:
    while not leaving_now():
        time.sleep(_ASK_EVERY)
