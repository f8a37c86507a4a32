"""A store in a bucket, beyond what it has in common with a folder (test_store.py)."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
from pathlib import Path

import boto3
import pytest

from procray.errors import EnvironmentProblem, StoreError
from procray.store import bucket as bucket_room
from procray.store import bucket_claims, lease, objects, phase_copy, phase_in_bucket
from procray.store.lease import LeaseLost
from procray.store.nearby import nearby, on_network
from procray.store.objects import StoreUnreachable
from procray.store.store import Store

PHASE = "0123456789abcdef"


def weights(text: str = "weights"):
    def write(folder: Path) -> dict:
        (folder / "model.safetensors").write_text(text)
        (folder / "config.json").write_text("{}")
        return {}

    return write


def state(folder: Path) -> None:
    (folder / "state.safetensors").write_text("state")


@pytest.fixture
def machines(bucket, monkeypatch, tmp_path):
    """Opens the same store as on different machines, each with a disk of its own."""

    def on(machine: str, patience: float = 20.0) -> Store:
        monkeypatch.setenv("PROCRAY_CACHE", str(tmp_path / machine))
        return Store(bucket, patience)

    return on


def stored(bucket: str) -> tuple[object, str]:
    name, _, prefix = bucket.removeprefix("s3://").partition("/")
    return boto3.resource("s3").Bucket(name), f"{prefix}/phases/{PHASE}"


def names(bucket: str) -> list[str]:
    place, prefix = stored(bucket)
    return sorted(item.key.removeprefix(f"{prefix}/") for item in place.objects.filter(Prefix=prefix))


def test_another_machine_goes_on_from_what_one_wrote(machines, bucket):
    here, there = machines("one").phase(PHASE), machines("two").phase(PHASE)
    assert there.marks() == []
    held = here.acquire()
    log = here.journal(held, {})
    log.add({"step": 10, "loss": 1.0})
    log.close()
    here.write_mark(held, 10, weights(), {"tokens": 100})
    here.write_resume(held, 10, state, keep=False)
    here.set_status("paused", step=10)
    held.release()
    there.copy.refresh()
    assert there.marks() == [10]
    assert there.manifest(10)["tokens"] == 100
    assert (there.mark(10) / "model.safetensors").read_text() == "weights"
    assert (there.resume() / "state.safetensors").read_text() == "state"
    assert there.curve() == [{"step": 10, "loss": 1.0}]
    assert there.status()["state"] == "paused"
    held = there.acquire()
    assert held.attempt == 2
    there.write_resume(held, 20, state, keep=False)
    there.write_resume(held, 30, state, keep=False)
    assert [name for name in names(bucket) if name.startswith("resume/")] == [
        "resume/20/2/state.safetensors",
        "resume/30/2/state.safetensors",
    ]
    there.drop_resumes(held)
    assert not [name for name in names(bucket) if name.startswith("resume/")]
    assert there.where(10) == f"{bucket}/phases/{PHASE}/marks/10/1"


def test_a_damaged_copy_is_fetched_again_and_a_damaged_object_is_refused_by_name(machines, bucket):
    here, there = machines("one").phase(PHASE), machines("two").phase(PHASE)
    here.write_mark(here.acquire(), 10, weights(), {})
    (there.mark(10) / "model.safetensors").write_text("weightS")
    assert (there.mark(10) / "model.safetensors").read_text() == "weights"
    place, prefix = stored(bucket)
    for content in (b"weightS", b"weigh"):
        place.put_object(Key=f"{prefix}/marks/10/1/model.safetensors", Body=content)
        fresh = machines(f"three-{len(content)}").phase(PHASE)
        with pytest.raises(StoreError, match=rf"mark of phase {PHASE} at step 10 is damaged: model\.safetensors"):
            fresh.mark(10)


def test_a_damaged_resume_state_gives_way_to_the_one_before(machines, bucket):
    here = machines("one").phase(PHASE)
    held = here.acquire()
    for step in (10, 20):
        here.write_resume(held, step, state, keep=False)
    place, prefix = stored(bucket)
    place.put_object(Key=f"{prefix}/resume/20/1/state.safetensors", Body=b"nonsense")
    assert machines("two").phase(PHASE).resume().name == "10"


def test_a_runner_that_lost_its_lease_spoils_nothing(machines, bucket, monkeypatch):
    monkeypatch.setattr(phase_copy, "FRESH", 1000.0)  # nobody looks at what the other wrote, however slow it is
    old, new = machines("one").phase(PHASE), machines("two").phase(PHASE)
    mine = old.acquire()
    monkeypatch.setattr(lease, "process_alive", lambda who: None)  # as from another host
    assert new.acquire() is None
    monkeypatch.setattr(lease, "STALE_AFTER", -1.0)
    theirs = new.acquire()
    assert theirs.attempt == 2
    new.write_mark(theirs, 10, weights("new"), {})
    new.write_resume(theirs, 10, state, keep=False)
    for attempt in (
        lambda: old.write_mark(mine, 10, weights("old"), {}),
        lambda: old.write_mark(mine, 20, weights("old"), {}),
        lambda: old.write_resume(mine, 20, state, keep=False),
        mine.check,
    ):
        with pytest.raises(LeaseLost):
            attempt()
    # Even one that looked right before it was outnumbered is stopped by the condition of its write.
    monkeypatch.setattr(mine, "check", lambda: None)
    old.copy.nothing_there()
    with pytest.raises(LeaseLost):
        old._point(mine, {})
    fresh = machines("three").phase(PHASE)
    assert (fresh.mark(10) / "model.safetensors").read_text() == "new"
    assert fresh.resumes() == [10]
    mine.heartbeat()
    assert mine.lost()
    theirs.heartbeat()
    assert not theirs.lost()
    assert [name for name in names(bucket) if name.startswith("leases/")] == ["leases/2.json"]


class Skewed:
    """The module `time` of a machine whose clock is wrong."""

    def __init__(self, skew: float):
        self._skew = skew

    def time(self) -> float:
        return time.time() + self._skew

    def __getattr__(self, name: str):
        return getattr(time, name)


def test_only_the_clock_of_the_bucket_says_how_old_a_claim_is(machines, monkeypatch):
    machines("one").phase(PHASE).acquire()
    monkeypatch.setattr(lease, "process_alive", lambda who: None)
    for skew in (-7200, 7200):
        for room in (lease, objects, bucket_room, phase_copy, phase_in_bucket):
            monkeypatch.setattr(room, "time", Skewed(skew))
        other = machines(f"skewed {skew}").phase(PHASE)
        assert other.holder().alive()
        assert other.acquire() is None
    monkeypatch.setattr(lease, "STALE_AFTER", 1.5)
    deadline = time.monotonic() + 600
    while (held := machines("late").phase(PHASE).acquire()) is None and time.monotonic() < deadline:
        time.sleep(0.2)
    assert held.attempt == 2


def test_a_request_that_went_through_counts_though_its_answer_was_lost(machines, faulty):
    folder = machines("one").phase(PHASE)
    lost: list[str] = []

    def lose(method: str, path: str):
        if method == "PUT" and path not in lost and ("leases/" in path or path.endswith(".json")):
            lost.append(path)
            return "lose"
        return None

    faulty.decide = lose
    held = folder.acquire()
    assert held.attempt == 1
    folder.write_mark(held, 10, weights(), {})
    folder.write_resume(held, 10, state, keep=False)
    held.heartbeat()
    assert not held.lost()
    assert folder.marks() == [10]
    assert any("leases/1.json" in path for path in lost)
    assert any("manifest.json" in path for path in lost)


@pytest.mark.parametrize("verdict", ["503", "drop"])
def test_an_outage_is_waited_for_and_one_without_end_is_named(machines, faulty, verdict, bucket, monkeypatch):
    monkeypatch.setattr(objects.random, "uniform", lambda low, high: 0.2)
    folder = machines("one").phase(PHASE)
    held = folder.acquire()
    end = time.monotonic() + 1.0
    faulty.decide = lambda method, path: verdict if time.monotonic() < end else None
    folder.write_mark(held, 10, weights(), {})
    assert time.monotonic() > end
    assert machines("two").phase(PHASE).marks() == [10]
    faulty.decide = lambda method, path: verdict
    with pytest.raises(StoreUnreachable, match=f"{bucket} has not answered for 1 s") as gone:
        machines("three", patience=1.0).phase(PHASE).marks()
    assert gone.value.exit_code == 3


def test_a_slow_service_is_only_slow(machines, faulty):
    faulty.decide = lambda method, path: 0.05
    folder = machines("one").phase(PHASE)
    folder.write_mark(folder.acquire(), 10, weights(), {})
    assert (machines("two").phase(PHASE).mark(10) / "model.safetensors").read_text() == "weights"


def test_live_numbers_never_keep_a_training_waiting(machines, faulty, monkeypatch):
    monkeypatch.setattr(phase_in_bucket, "_QUIET", 600.0)  # a busy machine may take long between two steps
    folder = machines("one").phase(PHASE)
    folder.acquire()
    faulty.decide = lambda method, path: "drop" if "progress" in path else None
    tried = []
    for step in (1, 2):
        folder.write_progress({"step": step})
        tried.append(sum("progress" in path for _, path in faulty.requests))
    assert tried[0] == tried[1] <= 3, "a few tries, and then it is left for a while"


def test_a_release_that_fails_is_made_up_for(machines, faulty, monkeypatch):
    monkeypatch.setattr(bucket_claims.BucketClaims, "beat_every", 0.2)
    folder = machines("one", patience=0.2).phase(PHASE)
    held = folder.acquire()
    faulty.decide = lambda method, path: "503"
    held.release()
    faulty.decide = lambda method, path: None
    deadline = time.monotonic() + 600
    while (again := machines("two").phase(PHASE).acquire()) is None and time.monotonic() < deadline:
        time.sleep(0.2)
    assert again.attempt == 2


def test_what_cannot_be_reached_or_trusted_is_refused_with_the_reason(machines, faulty, bucket, monkeypatch):
    with pytest.raises(StoreError, match="there is no bucket 'no-such-bucket'"):
        Store("s3://no-such-bucket/x").phases()
    faulty.decide = lambda method, path: "bare"
    with pytest.raises(StoreError, match="ignores conditional writes"):
        machines("one").phase(PHASE).acquire()
    assert names(bucket) == []
    faulty.decide = lambda method, path: None
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    with pytest.raises(EnvironmentProblem, match="no AWS credentials"):
        machines("two").phases()


@pytest.mark.parametrize("name", ["../../../leak", "/etc/passwd", "a/b", ".."])
def test_a_manifest_that_leads_out_of_its_folder_is_refused(machines, bucket, name, tmp_path):
    place, prefix = stored(bucket)
    manifest = {"attempt": 1, "step": 10, "files": {name: {"sha256": "0" * 64, "bytes": 1}}}
    place.put_object(Key=f"{prefix}/marks/10/manifest.json", Body=json.dumps(manifest).encode())
    with pytest.raises(StoreError, match="no plain name"):
        machines("one").phase(PHASE).mark(10)
    assert not list(tmp_path.rglob("leak*"))


def test_a_large_file_goes_in_parts(machines, faulty):
    folder = machines("one").phase(PHASE)

    def large(path: Path) -> dict:
        with open(path / "model.safetensors", "wb") as file:
            file.truncate(objects._PART + 5)
        return {}

    folder.write_mark(folder.acquire(), 10, large, {})
    assert sum("partNumber" in path for _, path in faulty.requests) == 2
    found = machines("two").phase(PHASE).mark(10) / "model.safetensors"
    assert found.stat().st_size == objects._PART + 5


def test_what_was_removed_from_the_bucket_is_gone_from_the_copy(machines, bucket, monkeypatch):
    monkeypatch.setattr(phase_copy, "_AGE_OF_DELETION", -1.0)
    here, there = machines("one").phase(PHASE), machines("two").phase(PHASE)
    here.write_mark(here.acquire(), 10, weights(), {})
    there.mark(10)
    place, prefix = stored(bucket)
    place.objects.filter(Prefix=prefix).delete()
    for folder in (here, there):
        folder.copy.refresh()
        assert folder.marks() == []
        assert not (folder.path / "marks/10").exists()


def _write_for_ever(bucket: str, written) -> None:
    folder = Store(bucket).phase(PHASE)
    held = folder.acquire()
    assert held is not None
    where = {"device_type": "cpu", "world_size": 1}
    log = folder.journal(held, dict.fromkeys(range(1, 100), where))
    step = max(folder.marks(), default=0)
    while True:
        step += 1
        log.add({"step": step, "loss": 1.0})
        log.sync()
        written.value += 1
        folder.write_mark(held, step, weights(f"weights {step}"), {})
        written.value += 1
        folder.write_resume(held, step, state, keep=False)
        written.value += 1


def test_killed_anywhere_the_store_stays_whole(machines, bucket):
    fork = multiprocessing.get_context("fork")
    for life in range(6):
        machines(f"life {life % 2}")
        written = fork.Value("i", 0, lock=False)
        process = fork.Process(target=_write_for_ever, args=(bucket, written))
        process.start()
        deadline = time.monotonic() + 600
        while written.value < 3 + life and time.monotonic() < deadline:
            time.sleep(0.002)
        time.sleep(0.004 * life)
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        seen = machines(f"look {life}").phase(PHASE)
        marks = seen.marks()
        assert marks == list(range(1, len(marks) + 1))
        assert len(marks) > life
        for step in marks[-3:]:
            assert (seen.mark(step) / "model.safetensors").read_text() == f"weights {step}"
        assert seen.resume() is not None
        assert [row["step"] for row in seen.curve()][: len(marks)] == marks
    held = machines("end").phase(PHASE).acquire()
    assert held.attempt == 7
    used = {f"marks/{step}/{machines('end').phase(PHASE).manifest(step)['attempt']}" for step in marks}
    left = [name for name in names(bucket) if name.startswith("marks/") and not name.endswith("manifest.json")]
    assert {name.rsplit("/", 1)[0] for name in left} == used


MOUNTS = """\
22 1 254:0 / / rw - ext4 /dev/vda rw
36 22 0:40 / {root}/shared rw - nfs4 server:/export rw,vers=4.1
37 36 0:41 / {root}/shared/scratch rw - ext4 /dev/vdb rw
38 22 0:42 / {root}/with\\040space rw - fuse.sshfs host: rw
39 22 0:43 / {root}/Übung rw shared:7 master:1 - cifs //host/share rw
40 36 0:44 / {root}/shared/twice rw - ext4 /dev/vdc rw
41 36 0:45 / {root}/shared/twice rw - lustre mds@tcp:/fs rw
"""


def test_shards_on_a_file_server_are_copied_to_this_machine_once(tmp_path, monkeypatch):
    monkeypatch.setenv("PROCRAY_CACHE", str(tmp_path / "cache"))
    mounts = tmp_path / "mounts"
    mounts.write_text(MOUNTS.format(root=tmp_path))
    assert on_network(tmp_path / "shared/store", str(mounts))
    assert on_network(tmp_path / "with space/store", str(mounts))
    assert on_network(tmp_path / "Übung/store", str(mounts))
    assert on_network(tmp_path / "shared/twice/store", str(mounts))  # what is mounted last hides what was there
    (tmp_path / "link").symlink_to(tmp_path / "shared")
    assert on_network(tmp_path / "link/store", str(mounts))
    assert not on_network(tmp_path / "shared/scratch/store", str(mounts))
    assert not on_network(tmp_path / "shared-not", str(mounts))
    assert not on_network(tmp_path / "store", str(mounts))
    corpora = tmp_path / "shared/store/corpora"
    shard = corpora / "abc/shards/train-00000.bin"
    shard.parent.mkdir(parents=True)
    shard.write_bytes(b"tokens")
    for name in ("manifest.json", "tokenizer.json", "other.txt"):
        (corpora / "abc" / name).write_text("{}")
    root = nearby(corpora, "abc", str(mounts))
    assert root.is_relative_to(tmp_path / "cache")
    copies = sorted(str(file.relative_to(root / "abc")) for file in (root / "abc").rglob("*") if file.is_file())
    assert copies == ["lock", "manifest.json", "shards/train-00000.bin", "tokenizer.json"]
    before = (root / "abc/shards/train-00000.bin").stat().st_mtime_ns
    (corpora / "abc/shards/train-00001.bin").write_bytes(b"more")
    (corpora / "abc/manifest.json").write_text("{ }")
    assert nearby(corpora, "abc", str(mounts)) == root
    assert (root / "abc/shards/train-00001.bin").read_bytes() == b"more"
    assert (root / "abc/shards/train-00000.bin").stat().st_mtime_ns == before
    assert nearby(tmp_path / "local", "abc", str(mounts)) == tmp_path / "local"


def test_a_corpus_is_prepared_once_and_read_on_every_machine(machines, bucket, faulty, tmp_path):
    from procray import corpora
    from procray.store import verification

    for number in range(12):
        (tmp_path / f"{number}.txt").write_text(f"some text of document {number}\n" * 30)
    recipe = corpora.recipe({"files": [str(tmp_path / "*.txt")]}, "byte")
    here = machines("one")
    corpora.prepare(recipe, here.corpora, 100)
    here.publish_corpus(recipe)
    for file in tmp_path.glob("*.txt"):
        file.unlink()
    there = machines("two")
    prepared = corpora.load(recipe, there.bring_corpus(recipe))
    prepared.verify()
    assert prepared.decode(prepared.batch(0, 0, 1, 8).tokens_BT[0])
    faulty.requests.clear()
    there.bring_corpus(recipe)
    assert len(faulty.requests) == 1, "only the manifest is looked at"
    (corpora_name,) = there.corpora_sizes()
    assert verification.verify(there) == ([], 1)
    place, prefix = stored(bucket)
    key = f"{prefix.rpartition('/phases/')[0]}/corpora/{corpora_name}/shards/train-00000.bin"
    place.put_object(Key=key, Body=b"x" * (there.corpora / corpora_name / "shards/train-00000.bin").stat().st_size)
    (damaged,), _ = verification.verify(there)
    assert (damaged.kind, damaged.phase) == ("corpus", corpora_name)
    assert "shards/train-00000.bin" in damaged.text
    assert verification.discard(there, [damaged]) == []
    assert there.corpora_sizes() == {}


def test_a_mark_that_was_discarded_and_made_again_replaces_the_copy(machines):
    def write(text: str):
        def fill(folder: Path) -> dict:
            (folder / "model.safetensors").write_text(text)
            (folder / "config.json").write_text(json.dumps(text))
            return {}

        return fill

    here, there = machines("one").phase(PHASE), machines("two").phase(PHASE)
    held = here.acquire()
    here.write_mark(held, 10, write("old"), {})
    assert (there.mark(10) / "model.safetensors").read_text() == "old"
    here.discard(held, "marks", 10)
    held.release()
    again = here.acquire()
    here.write_mark(again, 10, write("new"), {})
    there.copy.refresh()
    assert json.loads((there.path / "marks/10/config.json").read_text()) == "new"
    assert (there.mark(10) / "model.safetensors").read_text() == "new"
