"""Signals ask a run to save, each in its own way."""

from __future__ import annotations

import os
import signal

import pytest

from procray.execution.stopping import Stop, signals_taken
from procray.store.store import Store

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="this system has no SIGHUP")


@pytest.fixture
def stop(tmp_path):
    return Stop(Store(tmp_path).note(tmp_path / "note"), lambda event: None, graceful=True)


def send(number: int) -> None:
    os.kill(os.getpid(), number)


def test_a_closed_terminal_asks_to_save_however_often_it_says_so(stop):
    before = signal.getsignal(signal.SIGHUP)
    with signals_taken(stop):
        for _ in range(3):  # the kernel sends it, and the shell to all that it has started
            send(signal.SIGHUP)
    assert (stop.reason, stop.signal) == ("signal", signal.SIGHUP)
    assert signal.getsignal(signal.SIGHUP) is before


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_whoever_asks_a_second_time_does_not_wait(stop, second):
    with signals_taken(stop):
        send(signal.SIGHUP)
        with pytest.raises(KeyboardInterrupt):
            send(second)
    assert stop.signal == signal.SIGHUP


def test_before_there_is_anything_to_save_it_ends_at_once(stop):
    stop.graceful = False
    with pytest.raises(KeyboardInterrupt), signals_taken(stop):
        send(signal.SIGHUP)
    assert stop.signal == signal.SIGHUP


def test_under_nohup_a_closed_terminal_stops_nothing(stop):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with signals_taken(stop):
            stop.listen()  # again, as after the start of Ray
            send(signal.SIGHUP)
            assert stop.reason == ""
            send(signal.SIGTERM)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
    assert (stop.reason, stop.signal) == ("signal", signal.SIGTERM)
