"""The command is told to end: it saves, says how to go on, and its exit code names the signal."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
from raylets import wait

from procray.store.store import Store

# The command at a terminal of its own, as under a shell.
TERMINAL = "import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); from procray.cli import main; main()"
FILE = """\
name: told
seeds: [0]
model: {layers: 2, heads: 2, width: 32}
procedural:
  {task: identity, length: 6, vocab: 16, batch: 16, tokens: 500k, optimizer: {lr: 1e-3}, evaluate: {every: 5k}}
transfer: attention
diagnostic:
  {task: reverse, length: 6, vocab: 16, batch: 16, tokens: 20k, optimizer: {lr: 1e-3}, evaluate: {every: 10k}}
resources: {workers: 1, cpu: 1}
"""


def lives(process: psutil.Process) -> bool:
    """Not so where nobody fetches what is left of one that has ended."""
    with contextlib.suppress(psutil.Error):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def until_it_trains(store, process):
    until = time.monotonic() + 600
    while not any((store.phase(phase).progress() or {}).get("step") for phase in store.phases()):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("told", "code"),
    [(signal.SIGTERM, 143), pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow)],
)
def test_the_command_saves_and_names_the_line_that_continues(tmp_path, told, code):
    file, store = tmp_path / "told.yaml", Store(tmp_path / "store")
    file.write_text(FILE)
    words = ["sweep", str(file), "--store", str(store.path), "--no-tracking"]
    process = subprocess.Popen(
        [sys.executable, "-c", "from procray.cli import main; main()", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "NO_COLOR": "1"},
        start_new_session=True,
    )
    until_it_trains(store, process)
    family = psutil.Process(process.pid).children(recursive=True)
    asked = time.monotonic()
    process.send_signal(told)
    out, err = process.communicate()
    assert process.returncode == code, err
    assert f"interrupted; everything trained so far is kept. Continue with\n  procray sweep {file} --store" in err
    assert "Traceback" not in out + err
    paused = [phase for phase in store.phases() if store.phase(phase).status()["state"] == "paused"]
    assert paused
    assert all(store.phase(phase).holder().released for phase in paused), "the next command need not wait"
    begun = [phase for phase in paused if store.phase(phase).status()["step"]]  # one may have been asked at its step 0
    assert begun
    assert all(store.phase(phase).resumes()[-1] == store.phase(phase).status()["step"] for phase in begun)
    wait(lambda: not any(lives(one) for one in family), 600.0)
    print(f"{told.name} to exit: {time.monotonic() - asked:.1f} s")


def test_a_terminal_that_is_closed_loses_nothing(tmp_path):
    """As with a connection by ssh that breaks: SIGHUP for the command and for Ray below it, and words go nowhere."""
    file, store = tmp_path / "told.yaml", Store(tmp_path / "store")
    file.write_text(FILE)
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", TERMINAL, "sweep", str(file), "--store", str(store.path), "--no-tracking"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "PYTHONIOENCODING": "latin-1", "TERM": "xterm"},
        start_new_session=True,
    )
    os.close(theirs)
    seen = []

    def read():
        with contextlib.suppress(OSError):
            while part := os.read(ours, 10_000):
                seen.append(part)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    until_it_trains(store, process)
    family = psutil.Process(process.pid).children(recursive=True)
    daemons = [one for one in family if one.name() in ("raylet", "gcs_server")]
    assert len(daemons) == 2
    for daemon in daemons if sys.platform == "linux" else []:  # without them saving would be a matter of luck
        blocked = re.search(r"SigBlk:\s*(\w+)", Path(f"/proc/{daemon.pid}/status").read_text())
        assert int(blocked[1], 16) >> (signal.SIGHUP - 1) & 1, daemon.name()
    until = time.monotonic() + 600
    while b"running" not in b"".join(seen):  # the live table
        assert time.monotonic() < until
        time.sleep(0.05)
    os.dup2(os.open(os.devnull, os.O_RDONLY), ours)  # the last end that the reader holds, too
    os.killpg(process.pid, signal.SIGHUP)  # as a shell does to all that it has started
    assert process.wait(timeout=600) == 129
    paused = [phase for phase in store.phases() if store.phase(phase).status()["state"] == "paused"]
    assert paused
    assert all(store.phase(phase).status()["reason"] == "asked to stop" for phase in paused)
    begun = [phase for phase in paused if store.phase(phase).status()["step"]]
    assert begun
    assert all(store.phase(phase).resumes()[-1] == store.phase(phase).status()["step"] for phase in begun)
    assert list((store.path / "sweeps").glob("*/*/report/report.html")), "the command came to its own end"
    wait(lambda: not any(lives(one) for one in family), 600.0)
