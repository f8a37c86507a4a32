"""What may happen to a store: clocks that disagree, damage, two commands at once, an MLflow that hardly answers."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import plans
import pytest
from raylets import Raylets, trainer_of

from procray.errors import StoreError
from procray.execution import run_segment
from procray.execution.jobs import items_of
from procray.store import lease
from procray.store.folder_claims import FolderClaims
from procray.store.store import Store

# Holds a claim as a process of another host would, with a clock that is an hour off.
HOLD = """
import sys, time
real, off = time.time, float(sys.argv[2])
time.time = lambda: real() + off
import pathlib
from procray.store import lease, processes
from procray.store.folder_claims import FolderClaims
processes.this_host = lambda: "another host"
held = lease.acquire(FolderClaims(pathlib.Path(sys.argv[1])))
print(held.attempt, flush=True)
sys.stdin.read()
"""

# Read by every Python that starts: the clock of a node is an hour off.
SKEW = "import time\nreal = time.time\ntime.time = lambda: real() + 3600\n"


@pytest.mark.parametrize("off", [3600.0, -3600.0])
def test_a_clock_that_is_an_hour_off_neither_steals_nor_holds(tmp_path, off):
    words = [sys.executable, "-c", HOLD, str(tmp_path), str(off)]
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "1\n"
        claims = FolderClaims(tmp_path)
        assert lease.holder(claims).alive()
        assert lease.acquire(claims) is None, "it was heard of a moment ago"
        since = json.loads((tmp_path / "1.json").read_text())["since"]
        assert abs(since - time.time()) > 3000, "its clock was off when it wrote that"
        silent = time.time() - lease.STALE_AFTER - 5
        os.utime(tmp_path / "1.json", (silent, silent))
        assert lease.acquire(claims).attempt == 2, "it was silent, whatever its clock says"
    finally:
        process.communicate()


@pytest.mark.slow
def test_a_node_whose_clock_is_an_hour_off_gives_the_same_numbers(sweep, store, reference, same_numbers, tmp_path):
    (tmp_path / "skew").mkdir()
    (tmp_path / "skew" / "sitecustomize.py").write_text(SKEW)
    raylets = Raylets(nodes=1)
    try:
        path = os.pathsep.join([str(tmp_path / "skew"), os.environ.get("PYTHONPATH", "")])
        skewed = raylets.add(env={**os.environ, "PYTHONPATH": path})
        small = plans.pair(1500)
        running = sweep("pair:1500", store, raylets.address)
        on = {raylets.of(trainer_of(store, phase)) for phase in list(small.phases)[:2]}
        assert skewed in on
        assert running.result()["done"] == ["behind", "one", "two"]
        raylets.rest()
    finally:
        raylets.end()
    same_numbers(small, store, reference(small))
    rows = [row for phase in store.phases() for row in store.phase(phase).curve()]
    assert any(row["time"] > time.time() + 3000 for row in rows), "some of it was trained on that node"


def train(small, store, phase, stop=lambda: False):
    for item in items_of(small, store, Path("/nonexistent"), Path("/nonexistent")):
        if item.phase == phase:
            result = run_segment({**item.job, "control": None, "driver": None}, stop)
            if result["state"] != "done":
                return result
    return result


SLOW = {"marks": pytest.mark.slow}


@pytest.mark.parametrize("how", ["flipped", pytest.param("truncated", **SLOW), pytest.param("missing", **SLOW)])
def test_a_damaged_resume_state_is_replayed_from_the_one_before(store, reference, same_numbers, how):
    small = plans.plan(plans.phase("one", [50, 100, 200], decaying=True, **plans.SHAPE))
    (phase,) = small.phases
    steps = iter(range(10**6))
    assert train(small, store, phase, lambda: next(steps) == 150)["state"] == "paused"
    folder = store.phase(phase)
    assert folder.resumes() == [100, 150]
    file = max((folder.path / "resume" / "150").iterdir(), key=lambda path: path.stat().st_size)
    data = bytearray(file.read_bytes())
    if how == "truncated":
        file.write_bytes(data[: len(data) // 2])
    elif how == "flipped":
        data[len(data) // 2] ^= 1
        file.write_bytes(data)
    else:
        file.unlink()
    assert train(small, store, phase)["state"] == "done"
    same_numbers(small, store, reference(small))


def test_a_damaged_mark_of_a_parent_is_refused_by_name(store):
    small = plans.pair(60)
    one, _, behind = small.phases
    train(small, store, one)
    file = store.phase(one).path / "marks" / "60" / "model.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    result = train(small, store, behind)
    assert result["state"] == "failed"
    assert f"the mark of phase {one} at step 60 is damaged: model.safetensors has digest" in result["reason"]
    assert not store.phase(behind).status()["final"], "the next run tries it again without being told"


@pytest.mark.parametrize(
    "name", ["status.json", pytest.param("resume.json", **SLOW), pytest.param("phase.json", **SLOW)]
)
def test_a_truncated_file_is_refused_by_name(store, name):
    small = plans.plan(plans.phase("one", [50, 100], decaying=True, **plans.SHAPE))
    (phase,) = small.phases
    steps = iter(range(10**6))
    train(small, store, phase, lambda: next(steps) == 70)
    file = store.phase(phase).path / name
    file.write_bytes(file.read_bytes()[:-10])
    try:
        said = str(store.phase(phase).status().get("reason")) + str(train(small, store, phase).get("reason"))
    except StoreError as refused:
        said = str(refused)
    assert f"{name} is damaged" in said


@pytest.mark.slow
def test_two_commands_on_one_sweep_train_everything_once(sweep, store, reference, same_numbers):
    small = plans.pair(1500)
    commands = [sweep("pair:1500", store) for _ in range(2)]
    for command in commands:
        assert command.result()["done"] == ["behind", "one", "two"]
    same_numbers(small, store, reference(small))
    for phase in map(store.phase, small.phases):
        steps = [json.loads(line)["step"] for path in phase.journals() for line in path.read_text().splitlines()]
        assert len(steps) == len(set(steps)), "no evaluation was made twice"
    assert any(command.named("elsewhere") for command in commands), "one waited for what the other trained"


@pytest.mark.slow
def test_an_mlflow_that_accepts_and_never_answers_costs_nothing(tmp_path):
    """Training does not wait for it; at the end it gets the time it always gets, and is made up for later."""
    silent = socket.create_server(("127.0.0.1", 0))
    kept = []

    def accept():
        while True:
            try:
                kept.append(silent.accept()[0])
            except OSError:
                return

    threading.Thread(target=accept, daemon=True).start()
    file = tmp_path / "told.yaml"
    file.write_text(
        "name: told\nseeds: [0]\nmodel: {layers: 1, heads: 2, width: 16}\n"
        "procedural: {task: identity, length: 6, vocab: 16, batch: 16, tokens: 20k, optimizer: {lr: 1e-3}}\n"
        "transfer: attention\n"
        "diagnostic: {task: reverse, length: 6, vocab: 16, batch: 16, tokens: 20k, optimizer: {lr: 1e-3}}\n"
    )
    process = subprocess.run(
        [sys.executable, "-c", "from procray.cli import main; main()", "sweep", str(file), "--store", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "NO_COLOR": "1", "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{silent.getsockname()[1]}"},
    )
    silent.close()
    assert process.returncode == 0, process.stderr
    assert kept, "it was asked"
    assert "procray sync" in process.stderr, "how to make up for it"
    took = json.loads(next(tmp_path.glob("sweeps/*/report/results.json")).read_text())
    assert took
    assert all(store.status()["state"] == "done" for store in map(Store(tmp_path).phase, Store(tmp_path).phases()))
