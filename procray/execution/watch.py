"""Whether Ray itself still lives, and which nodes it has.

Without its head (the GCS) a cluster starts nothing, and Ray ends every process connected to it after a minute, without
a word. So it is asked from a thread, and what is found is raised in Tune's loop. Calls that need the head must not be
made from there: they would wait in it.
"""

from __future__ import annotations

import contextlib
import math
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from procray.errors import Stopped
from procray.execution.room import Nodes, look

_EVERY = 0.5
_ANSWER_WITHIN = 2.0
_SILENT_AFTER = 5.0  # a head that is merely busy answers within this
_RAY_ALLOWS = float(os.environ.get("RAY_gcs_rpc_server_reconnect_timeout_s", "60"))  # noqa: SIM112
_BEFORE_RAY = 10.0
_REACT_WITHIN = 20.0


class RayLost(Stopped):
    """Ray's head is gone, or a daemon of the local Ray."""


class Away(BaseException):
    """Leaves Tune's loop. Not an Exception: after one of those Tune waits ten minutes for actors that are gone."""


class Watch:
    """What is known of the cluster."""

    def __init__(self, nodes: Nodes):
        self.nodes = nodes
        self.node_lost = -math.inf  # when a node was last found gone that had not been drained
        self.lost = ""
        self._seen = threading.Event()

    def check(self) -> None:
        """Called from Tune's loop.

        Raises:
            Away: Ray is lost.
        """
        if self.lost:
            self._seen.set()
            raise Away

    def explain(self, within: float) -> None:
        """After an error of Ray: was it this?

        Raises:
            RayLost: it was, as turns out in time.
        """
        until = time.monotonic() + within
        while not self.lost and time.monotonic() < until:
            time.sleep(_EVERY / 5)
        if self.lost:
            self._seen.set()
            raise RayLost(self.lost)

    def noticed(self, within: float) -> bool:
        """Whether `check` has raised, or does so in time."""
        return self._seen.wait(within)


@contextlib.contextmanager
def watching(
    tell: Callable[[dict[str, Any]], None], stuck: Callable[[str], None], allow: float | None = None
) -> Iterator[Watch]:
    """Watches the Ray that this process is connected to, for as long as the block lasts.

    One that this process has started cannot come back; another one is given some time.

    Args:
        tell: takes events: `ray` with state `silent` (seconds: how long it will be waited for) or `answers`.
        stuck: is called from the thread when Ray is lost and nobody has noticed: the loop waits inside of Ray.
        allow: seconds for a head that does not answer; by default some less than Ray's own.
    """
    import ray

    watch, over = Watch(look()), threading.Event()
    node = ray._private.worker._global_node
    address = ray.get_runtime_context().gcs_address
    allowed = allow if allow is not None else max(_SILENT_AFTER, _RAY_ALLOWS - _BEFORE_RAY)

    def daemons() -> None:
        while not over.wait(_EVERY):
            for name, started in node.all_processes.items():
                codes = [one.process.poll() for one in started]
                if name in ("gcs_server", "raylet") and any(code is not None for code in codes):
                    _lose(watch, f"a daemon of the local Ray died ({name}, exit code {codes[0]})", over, stuck)
                    return

    def head() -> None:
        alive = _asker(address)
        answered, silent = time.monotonic(), False
        while not over.wait(_EVERY):
            said, now = alive(), time.monotonic()
            if said:
                if silent:
                    tell({"event": "ray", "state": "answers"})
                answered, silent = now, False
            elif now - answered > _SILENT_AFTER and not silent:
                silent = True
                tell({"event": "ray", "state": "silent", "seconds": allowed})
            if now - answered > allowed:
                _lose(
                    watch, f"the head of the Ray cluster at {address} has not answered for {allowed:.0f} s", over, stuck
                )
                return

    def nodes() -> None:
        while not over.wait(2 * _EVERY):
            with contextlib.suppress(Exception):
                before, watch.nodes = watch.nodes, look()
                if before.names - before.leaving - watch.nodes.names:
                    watch.node_lost = time.monotonic()

    jobs = (daemons,) if node is not None and "gcs_server" in node.all_processes else (head, nodes)
    threads = [threading.Thread(target=job, name=f"watch-{job.__name__}", daemon=True) for job in jobs]
    for thread in threads:
        thread.start()
    try:
        yield watch
    finally:
        over.set()
        threads[0].join(_ANSWER_WITHIN + _EVERY)


def _asker(address: str) -> Callable[[], bool]:
    """Whether a head answers: a plain health check on a connection of its own, which nothing else can block."""
    import grpc
    from ray._private.grpc_utils import init_grpc_channel

    check = init_grpc_channel(address).unary_unary("/grpc.health.v1.Health/Check")
    silence = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)

    def alive() -> bool:
        try:
            check(b"", timeout=_ANSWER_WITHIN)
        except grpc.RpcError as error:
            return error.code() not in silence  # a refusal is an answer
        return True

    return alive


def _lose(watch: Watch, reason: str, over: threading.Event, stuck: Callable[[str], None]) -> None:
    watch.lost = reason
    if not watch.noticed(_REACT_WITHIN) and not over.is_set():
        stuck(reason)
