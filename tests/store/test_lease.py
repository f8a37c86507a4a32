"""Leases: one writer, dead ones replaced at once, attempt numbers that only grow."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time

import pytest

from procray.store import folder_claims, lease
from procray.store.folder_claims import FolderClaims
from procray.store.processes import process_start

FORK = multiprocessing.get_context("fork")


def _hold(folder, ready) -> None:
    held = lease.acquire(FolderClaims(folder))
    ready.put(held.attempt if held else None)
    signal.pause()


def _hold_and_be_killed(folder) -> int:
    ready = FORK.Queue()
    process = FORK.Process(target=_hold, args=(folder, ready))
    process.start()
    attempt = ready.get(timeout=20)
    assert lease.acquire(FolderClaims(folder)) is None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    return attempt


def test_a_live_holder_keeps_others_out(tmp_path):
    held = lease.acquire(FolderClaims(tmp_path), {"sweep": "x"})
    assert held.held()
    assert lease.acquire(FolderClaims(tmp_path)) is None
    assert lease.holder(FolderClaims(tmp_path)).about == {"sweep": "x"}
    held.release()
    held.release()
    assert not held.held()
    again = lease.acquire(FolderClaims(tmp_path))
    assert again.attempt == 2
    assert os.listdir(tmp_path) == ["2.json"]


def test_a_dead_process_of_this_host_is_replaced_at_once(tmp_path):
    assert _hold_and_be_killed(tmp_path) == 1
    before = time.monotonic()
    held = lease.acquire(FolderClaims(tmp_path))
    assert held.attempt == 2
    assert time.monotonic() - before < 2


def test_an_unreaped_dead_process_does_not_hold(tmp_path):
    code = (
        "import pathlib, sys; from procray.store import lease; from procray.store.folder_claims import FolderClaims;"
        "l = lease.acquire(FolderClaims(pathlib.Path(sys.argv[1])));"
        "print(l.attempt, flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout.readline() == b"1\n"
    process.kill()
    while process_start(process.pid) is not None:
        pass
    assert lease.acquire(FolderClaims(tmp_path)).attempt == 2  # a zombie until now
    process.communicate()


def test_a_reused_pid_is_not_the_holder(tmp_path):
    held = lease.acquire(FolderClaims(tmp_path))
    content = json.loads((tmp_path / "1.json").read_text())
    (tmp_path / "1.json").write_text(json.dumps({**content, "started": "1"}))
    assert held.held()
    assert lease.acquire(FolderClaims(tmp_path)).attempt == 2
    assert not held.held()
    with pytest.raises(lease.LeaseLost):
        held.check()


@pytest.mark.parametrize("content", ['{"attempt": 3, "host": "elsewhere", "pid": 1, "started": "1"}', ""])
def test_another_host_is_replaced_after_a_silence(tmp_path, content):
    claim = tmp_path / "3.json"
    claim.write_text(content)
    assert lease.acquire(FolderClaims(tmp_path)) is None
    silent = time.time() - lease.STALE_AFTER
    os.utime(claim, (silent + 5, silent + 5))
    assert lease.acquire(FolderClaims(tmp_path)) is None
    os.utime(claim, (silent - 5, silent - 5))
    assert lease.acquire(FolderClaims(tmp_path)).attempt == 4


def test_a_heartbeat_is_seen_and_finds_the_loss(tmp_path):
    held = lease.acquire(FolderClaims(tmp_path))
    os.utime(tmp_path / "1.json", (0, 0))
    held.heartbeat()
    assert time.time() - (tmp_path / "1.json").stat().st_mtime < 60
    os.rename(tmp_path / "1.json", tmp_path / "2.json")
    assert not held.lost()
    held.heartbeat()
    assert held.lost()
    held.release()
    assert not (tmp_path / "1.json").exists()


def _race(folder, start, wins) -> None:
    start.wait()
    for _ in range(40):
        held = lease.acquire(FolderClaims(folder))
        if held is not None:
            wins.put((held.attempt, time.monotonic_ns()))
            held.release()
    wins.put(None)


def test_racing_processes_never_share_an_attempt(tmp_path):
    start, wins = FORK.Event(), FORK.Queue()
    processes = [FORK.Process(target=_race, args=(tmp_path, start, wins)) for _ in range(4)]
    for process in processes:
        process.start()
    start.set()
    won, ended = [], 0
    while ended < 4:
        value = wins.get(timeout=30)
        ended += value is None
        won += [value] if value else []
    for process in processes:
        process.join()
    attempts = [attempt for attempt, _ in won]
    assert len(set(attempts)) == len(attempts) > 0
    by_time = [attempt for attempt, _ in sorted(won, key=lambda item: item[1])]
    assert by_time == sorted(by_time)


def test_without_hard_links_the_claim_is_still_exclusive(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError("no links here")

    monkeypatch.setattr(os, "link", refuse)
    held = lease.acquire(FolderClaims(tmp_path))
    assert held.attempt == 1
    assert lease.acquire(FolderClaims(tmp_path)) is None
    assert not folder_claims._create(tmp_path / "1.json", "x")
