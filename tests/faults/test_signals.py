"""The command is told to end: it saves, says how to go on, and its exit code names the signal."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from procray.store.store import Store

pytestmark = pytest.mark.timeout(300)

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
    until = time.monotonic() + 120
    while not any((store.phase(phase).progress() or {}).get("step") for phase in store.phases()):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.05)
    family = psutil.Process(process.pid).children(recursive=True)
    asked = time.monotonic()
    process.send_signal(told)
    out, err = process.communicate(timeout=120)
    assert process.returncode == code, err
    assert f"interrupted; everything trained so far is kept. Continue with\n  procray sweep {file} --store" in err
    assert "Traceback" not in out + err
    paused = [phase for phase in store.phases() if store.phase(phase).status()["state"] == "paused"]
    assert paused
    assert all(store.phase(phase).holder().released for phase in paused), "the next command need not wait"
    begun = [phase for phase in paused if store.phase(phase).status()["step"]]  # one may have been asked at its step 0
    assert begun
    assert all(store.phase(phase).resumes()[-1] == store.phase(phase).status()["step"] for phase in begun)
    psutil.wait_procs(family, timeout=20)
    assert not [one for one in family if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]
    print(f"{told.name} to exit: {time.monotonic() - asked:.1f} s")
