"""The word to stop reaches runners by way of Ray, where the store is a bucket that is looked at every five seconds."""

from __future__ import annotations

import time
import uuid

from procray.execution import word
from procray.execution.segment import GO
from procray.execution.stopping import Stop
from procray.store.note import open_note


def test_runners_hear_it_without_a_look_at_the_bucket(local_ray, bucket, monkeypatch):
    import ray

    monkeypatch.setattr("procray.store.note._ObjectNote.look_every", 1e9)
    note = open_note(f"{bucket}/sweeps/a/.run-{uuid.uuid4().hex[:6]}")
    note.write(GO)
    flag = word.told_to_stop(note.address)
    assert not flag()  # the one look at the bucket

    @ray.remote(num_cpus=1, max_calls=1)  # nobody else gets its process
    def runner(address: str) -> bool:
        from procray.store.note import _ObjectNote

        _ObjectNote.look_every = 1e9
        heard, until = word.told_to_stop(address), time.monotonic() + 600
        while not heard() and time.monotonic() < until:
            time.sleep(0.05)
        return heard()

    waiting = runner.remote(note.address)
    events = []
    stop = Stop(note, events.append, running=True)
    stop.ask("signal")
    assert ray.get(waiting, timeout=600)
    until = time.monotonic() + 600
    while not flag():
        assert time.monotonic() < until
        time.sleep(0.05)
    assert events == [{"event": "stopping", "reason": "signal"}]
    word.retract(note.address)
    word._heard.clear()
    note.write(GO)
    assert not word.told_to_stop(note.address)()
    time.sleep(3 * word._LOOK_EVERY)
    assert not word._heard[note.address].is_set(), "the next run of this address is not told"


def test_a_store_in_a_folder_needs_no_ray(tmp_path):
    note = open_note(str(tmp_path / "note"))
    flag = word.told_to_stop(note.address)
    assert not flag()
    word.announce(note.address)
    assert note.address not in word._heard
    assert not word.told_to_stop(None)()
