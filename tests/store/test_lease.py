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

from procray.errors import StoreError
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
    attempt = ready.get(timeout=600)
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
    assert lease.acquire(FolderClaims(tmp_path)).attempt == 2  # asked once


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
        value = wins.get(timeout=600)
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


class Noted:
    """Claims in memory, in the hands of a test: what is `there`, how `old`, and what happens at a call."""

    name = "phase"
    beat_every = 0.01

    def __init__(self, *attempts: int, old: float = 0.0):
        self.there = {attempt: _claim(attempt) for attempt in attempts}
        self.old = old
        self.beats: list[int] = []
        self.before = lambda call, attempt: None

    def attempts(self) -> list[int]:
        return list(self.there)

    def read(self, attempt: int) -> str | None:
        self.before("read", attempt)
        return self.there.get(attempt)

    def age(self, attempt: int) -> float:
        return self.old if attempt in self.there else float("inf")

    def create(self, attempt: int, text: str) -> bool:
        self.before("create", attempt)
        return self.there.setdefault(attempt, text) is text

    def beat(self, attempt: int, text: str) -> bool:
        self.beats.append(attempt)
        self.before("beat", attempt)
        return attempt in self.there

    def write(self, attempt: int, text: str) -> None:
        self.before("write", attempt)
        self.there[attempt] = text

    def drop(self, attempts) -> None:
        for attempt in attempts:
            self.there.pop(attempt, None)

    def released(self, attempt: int) -> bool:
        return json.loads(self.there[attempt]).get("released", False)


def _claim(attempt: int, **more) -> str:
    return json.dumps({"attempt": attempt, "host": "elsewhere", "pid": 1, "started": "1", **more})


def _until(true) -> None:
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_the_newest_claim_counts_and_outlives_the_older_ones():
    claims = Noted(3, 12, 5)
    assert (lease.newest(Noted()), lease.holder(Noted())) == (0, None)
    assert lease.newest(claims) == lease.holder(claims).attempt == 12
    assert lease.acquire(claims) is None
    claims.there[12] = _claim(12, released=True, about={"sweep": "y"})
    found = lease.holder(claims)
    assert (found.alive(), found.about) == (False, {"sweep": "y"}), "older ones that would live do not matter"
    held = lease.acquire(claims, {"sweep": "x"})
    assert held.attempt == 13
    assert list(claims.there) == [13]
    content = json.loads(claims.there[13])
    assert content["about"] == {"sweep": "x"}
    assert abs(content["since"] - time.time()) < 600
    held.release()
    assert claims.released(13)


@pytest.mark.parametrize("content", ["", "[1]", "{}", '{"host": 1, "pid": 1, "started": "1"}'])
def test_a_claim_that_nobody_can_read_is_believed_while_it_is_kept_alive(content):
    claims = Noted(4, old=lease.STALE_AFTER - 0.1)
    claims.there[4] = content
    found = lease.holder(claims)
    assert (found.attempt, found.process, found.released, found.alive()) == (4, {}, False, True)
    claims.old = lease.STALE_AFTER
    assert not lease.holder(claims).alive()


def test_a_claim_that_goes_between_two_looks_gives_way_to_the_one_after_it():
    claims = Noted(1)

    def overtaken(call, attempt):
        if call == "read" and attempt == 1:
            claims.there = {2: _claim(2)}

    claims.before = overtaken
    assert lease.holder(claims).attempt == 2


def test_who_comes_too_late_leaves_nothing():
    """Between the look and the claim: others claim, work, and are outnumbered; or one claims the same number."""
    claims = Noted()

    def overtaken(call, attempt):
        if call == "create":
            claims.there[4] = _claim(4)

    claims.before = overtaken
    assert lease.acquire(claims) is None
    assert list(claims.there) == [4]
    claims = Noted()
    claims.before = lambda call, attempt: claims.there.update({1: _claim(1)}) if call == "create" else None
    assert lease.acquire(claims) is None
    assert claims.there == {1: _claim(1)}


def test_heartbeats_go_on_through_an_outage_and_end_with_the_release():
    claims = Noted()
    held = lease.acquire(claims)

    def away(call, attempt):
        if call == "beat" and len(claims.beats) < 3:
            raise StoreError("no answer")

    claims.before = away
    _until(lambda: len(claims.beats) >= 5)
    assert held.held()
    assert not held.lost()
    held.release()
    beats = len(claims.beats)
    time.sleep(0.1)
    assert len(claims.beats) == beats
    assert set(claims.beats) == {1}


def test_a_lost_lease_is_known_once_it_was_seen_and_marks_nothing_as_released():
    claims = Noted()
    claims.beat_every = 1000.0
    held = lease.acquire(claims)
    held.check()
    claims.there[2] = _claim(2)
    assert not held.lost(), "nobody has looked"
    with pytest.raises(lease.LeaseLost, match="attempt 1 lost its lease on phase to another runner"):
        held.check()
    assert held.lost()
    del claims.there[2]
    assert not held.held(), "and it does not come back"
    held.release()
    assert not claims.released(1)
    held = lease.acquire(Noted())
    held.release()
    assert not held.lost(), "given back is not lost"


def test_a_lease_that_was_outnumbered_unseen_marks_nothing_as_released():
    claims = Noted()
    claims.beat_every = 1000.0
    held = lease.acquire(claims)
    claims.there[2] = _claim(2)
    held.release()
    assert not claims.released(1)
    assert claims.there[2] == _claim(2)


@pytest.mark.parametrize("error", [OSError("stale handle"), StoreError("no answer")])
def test_a_release_that_found_no_answer_is_made_up_for(error):
    claims, tries = Noted(), []

    def away(call, attempt):
        if call == "write":
            tries.append(attempt)
            if len(tries) < 3:
                raise error

    held = lease.acquire(claims)
    claims.before = away
    held.release()
    held.release()
    _until(lambda: len(tries) == 3 and claims.released(1))
    assert not held.held()
    time.sleep(0.05)
    assert tries == [1, 1, 1], "once it has worked, that is all"


# Claims as files


def test_claims_in_a_folder(tmp_path):
    claims = FolderClaims(tmp_path / "phase" / "leases")
    assert (claims.name, claims.attempts()) == ("phase", [])
    assert (claims.read(1), claims.beat(1, "")) == (None, False)
    assert claims.create(1, "mine")
    assert not claims.create(1, "theirs")
    (tmp_path / "phase" / "leases" / "note.txt").touch()
    (tmp_path / "phase" / "leases" / "2.json.part").touch()
    assert (claims.attempts(), claims.read(1)) == ([1], "mine")
    file = tmp_path / "phase" / "leases" / "1.json"
    assert file.stat().st_mode & 0o777 == 0o644, "others may see who writes"
    now = time.time()
    os.utime(file, (now - 500, now - 500))
    assert 400 < claims.age(1) < 1000
    assert claims.beat(1, "mine")
    assert claims.age(1) < 300
    claims.write(1, "released")
    assert claims.read(1) == "released"
    file.write_bytes(b"\xff")
    assert claims.read(1) == "�"
    claims.drop([7, 1])
    assert (claims.attempts(), claims.read(1), claims.age(1)) == ([], None, float("inf"))
    assert sorted(os.listdir(file.parent)) == ["2.json.part", "note.txt"]


def test_a_claim_is_whole_on_the_disk_before_it_exists(tmp_path, monkeypatch):
    seen = []

    def sync(handle):
        (draft,) = tmp_path.iterdir()
        assert os.path.samestat(os.fstat(handle), draft.stat()), "what is to become the claim"
        seen.append((draft.suffix, draft.read_text()))

    monkeypatch.setattr(os, "fsync", sync)
    assert FolderClaims(tmp_path).create(1, "mine")
    assert seen == [("", "mine")]


def test_a_claim_that_may_not_be_read_counts_while_it_is_kept_alive(tmp_path, monkeypatch):
    claims = FolderClaims(tmp_path)
    claims.create(1, "theirs")

    def refuse(*_, **__):
        raise PermissionError("not yours")

    monkeypatch.setattr("procray.links.open_file", refuse)
    assert claims.read(1) == ""


def test_a_busy_file_server_does_not_end_a_lease(tmp_path, monkeypatch):
    held = lease.acquire(FolderClaims(tmp_path))

    def refuse(*_, **__):
        raise OSError("busy")

    monkeypatch.setattr(os, "utime", refuse)
    held.heartbeat()
    assert held.held()
    monkeypatch.undo()
    held.release()


def test_a_link_whose_answer_was_lost_is_ours(tmp_path, monkeypatch):
    """NFS: the link is there, and a repeated request says that it exists."""
    whole = os.link

    def lost(source, target, **folders):
        whole(source, target, **folders)
        raise FileExistsError

    monkeypatch.setattr(os, "link", lost)
    assert FolderClaims(tmp_path).create(1, "mine")
    assert os.listdir(tmp_path) == ["1.json"]


def test_a_claim_that_fails_half_way_is_taken_back(tmp_path, monkeypatch):
    """Its process lives on: what it claimed and never got would be kept from everybody."""

    def refuse(self, attempts):
        if attempts != [1]:
            raise OSError("no answer")
        drop(self, attempts)

    drop = FolderClaims.drop
    monkeypatch.setattr(FolderClaims, "drop", refuse)
    with pytest.raises(OSError, match="no answer"):
        lease.acquire(FolderClaims(tmp_path))
    monkeypatch.undo()
    held = lease.acquire(FolderClaims(tmp_path))
    assert held.attempt == 1
    held.release()
