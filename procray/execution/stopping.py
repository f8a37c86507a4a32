"""Why a run stops before its end: a signal, the time that it was given, or a full disk."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from procray.errors import EnvironmentProblem
from procray.execution.agenda import Agenda, Event
from procray.execution.segment import STOP
from procray.execution.word import announce
from procray.store.note import Note

_HANG_UP = getattr(signal, "SIGHUP", None)  # of a terminal that was closed; Windows has none
_SIGNALS = tuple(one for one in (signal.SIGINT, signal.SIGTERM, _HANG_UP) if one is not None)


@dataclass
class Stop:
    """Why the run should stop, and how signals are taken at the moment."""

    control: Note
    emit: Callable[[Event], None]
    reason: str = ""
    why: str = ""  # in words
    signal: int = 0
    graceful: bool = False
    agenda: Agenda | None = field(default=None)
    running: bool = False  # there may be somebody who reads the note

    def ask(self, reason: str, why: str = "") -> None:
        """Running segments save and return; nothing new starts."""
        if self.reason:
            return
        self.reason, self.why = reason, why
        if self.agenda is not None:
            self.agenda.stop(reason)
        if self.running:
            announce(self.control.address)
            # The store may be away; a second signal does not wait.
            with contextlib.suppress(EnvironmentProblem, OSError):
                self.control.write(STOP)
        self.emit({"event": "stopping", "reason": reason})

    def listen(self) -> None:
        """Takes the signals, again where Ray has taken them away: it would print a trace and exit with 1."""
        if threading.current_thread() is threading.main_thread():
            for number in _taken():
                signal.signal(number, self.on_signal)

    def on_signal(self, number: int, frame: Any) -> None:
        if number == _HANG_UP and self.reason == "signal":
            return  # the kernel and the shell both send it: nobody asks a second time
        self.signal = self.signal or number
        if not self.graceful or self.reason == "signal":  # nothing to save, or asked a second time
            self.reason = "signal"
            raise KeyboardInterrupt
        self.ask("signal")


def _taken() -> list[int]:
    """The signals that ask to stop. SIGHUP is none where it is ignored, as under `nohup`."""
    return [one for one in _SIGNALS if one != _HANG_UP or signal.getsignal(one) is not signal.SIG_IGN]


@contextlib.contextmanager
def signals_taken(stop: Stop) -> Iterator[None]:
    """Takes SIGINT, SIGTERM and SIGHUP while the block runs; in a thread of somebody else's program it does not."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in _taken()}
    stop.listen()
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def deadline(stop: Stop, hours: float | None, started: float) -> Iterator[None]:
    """Asks to stop so many hours after `started`, a time of the monotonic clock; None: never."""
    if hours is None:
        yield
        return
    timer = threading.Timer(max(0.0, hours * 3600 - (time.monotonic() - started)), stop.ask, ["time"])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
