"""Long work of other libraries, done beside the main thread, which goes on to say how far it is and to hear signals.

A thread of `concurrent.futures` would be waited for when the process leaves, and Ctrl-C with it; these are daemons.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")
TICK_SECONDS = 0.5


def start(work: Callable[[], T]) -> Future[T]:
    """Begins `work` in a thread of its own."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


def wait(future: Future[T], tick: Callable[[], None] = lambda: None) -> T:
    """What the work gave or raised; `tick` is called about twice a second until then."""
    while True:
        try:
            return future.result(TICK_SECONDS)
        except TimeoutError:
            if future.done():  # it raised that itself, or has just come to its end
                return future.result()
            tick()
