"""The word to stop, as runners hear it: from the command's note, and sooner by way of Ray where that is in a bucket.

A look at a bucket costs money, so runners take one every five seconds; `ray job stop` and many a supervisor wait for
three, and then kill. Ray's head costs nothing to ask.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable

from procray.execution.segment import any_of, stop_flag

_LOOK_EVERY = 0.5
_NAMESPACE = b"procray"

_heard: dict[str, threading.Event] = {}


def announce(address: str) -> None:
    """Tells the runners of this Ray to stop. Does not wait: a head that is away would not answer."""
    if _by_ray(address) and "ray" in sys.modules:
        threading.Thread(target=_put, args=(address,), name="announce", daemon=True).start()


def retract(address: str) -> None:
    """Forgets the word, when nobody is left to hear it."""
    from ray.experimental.internal_kv import _internal_kv_del

    if _by_ray(address):
        with contextlib.suppress(Exception):
            _internal_kv_del(address, namespace=_NAMESPACE)


def told_to_stop(address: str | None) -> Callable[[], bool]:
    """A `should_stop` for a runner in Ray.

    Args:
        address: of the command's note; None: it is never told.
    """
    flag = stop_flag(address)
    return any_of(_heard_by_ray(address).is_set, flag) if address and _by_ray(address) else flag


def _by_ray(address: str) -> bool:
    return "://" in address


def _heard_by_ray(address: str) -> threading.Event:
    """Set when the word is out; a thread asks, so that training does not wait for answers."""
    if address not in _heard:
        _heard[address] = threading.Event()
        threading.Thread(target=_ask, args=(address,), name="word", daemon=True).start()
    return _heard[address]


def _ask(address: str) -> None:
    from ray.experimental.internal_kv import _internal_kv_exists

    while True:
        with contextlib.suppress(Exception):  # no answer: the next look tries again, and the note is there as well
            if _internal_kv_exists(address, namespace=_NAMESPACE):
                _heard[address].set()
                return
        time.sleep(_LOOK_EVERY)


def _put(address: str) -> None:
    from ray.experimental.internal_kv import _internal_kv_initialized, _internal_kv_put

    with contextlib.suppress(Exception):
        if _internal_kv_initialized():
            _internal_kv_put(address, b"stop", namespace=_NAMESPACE)
