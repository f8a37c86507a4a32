"""The store: atomic, checked, one curve, one writer."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from procray.errors import StoreError
from procray.planning.plan import Plan
from procray.store import journal
from procray.store.context import StoreContext
from procray.store.lease import LeaseLost
from procray.store.store import Store
from procray.training.recipe import Evaluation, ModelShape, Optimizer, Parent, PhaseRecipe

RECIPE = PhaseRecipe(
    "procedural", ModelShape(1, 1, 8, 16), {"task": {"name": "set"}}, 2, Optimizer(1e-3), Evaluation(10, 4), 0
)
CPU = {"device_type": "cpu", "threads": 1, "world_size": 1}


def write_weights(text: str = "weights"):
    def write(folder: Path) -> dict:
        (folder / "model.safetensors").write_text(text)
        (folder / "config.json").write_text("{}")
        return {"parameters": 7}

    return write


def write_state(folder: Path) -> None:
    (folder / "state.pt").write_text("state " + folder.name)


def row(step: int, **values) -> dict:
    return {"step": step, "tokens": step * 10, "loss": 1.0 / (step + 1), "grad_norm": None, "seconds": 0.1, **values}


@pytest.fixture(params=["folder", "bucket"])
def store(request, tmp_path):
    return Store(tmp_path / "store" if request.param == "folder" else request.getfixturevalue("bucket"))


@pytest.fixture
def folder(store):
    return store.phase("0123456789abcdef")


@pytest.fixture
def plain(tmp_path):
    """For what looks at the files themselves; test_store_in_bucket.py has the counterparts in a bucket."""
    return Store(tmp_path / "store").phase("0123456789abcdef")


def context(folder, held, store=None, **options) -> StoreContext:
    store = store or Store(folder.path.parent.parent)
    return StoreContext(folder, held, store, 0, 1, "cpu", lambda: False, **options)  # type: ignore[arg-type]


def test_a_folder_needs_nothing_of_a_bucket_and_opening_it_makes_nothing(tmp_path):
    code = (
        "import sys; from procray.store.store import Store; store = Store(sys.argv[1]);"
        "assert store.phases() == store.plans() == store.phase('0123456789abcdef').marks() == [];"
        "print([name for name in sys.modules if name.startswith(('boto', 'procray.store.bucket'))])"
    )
    place = tmp_path / "store"
    done = subprocess.run([sys.executable, "-c", code, str(place)], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
    assert not place.exists()


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("gs://bucket/runs", "no conditional writes.*Filestore"),
        ("hdfs://host/runs", "'hdfs://' is not supported"),
        ("s3://key:secret@bucket/runs", "holds no keys"),
        ("s3://bucket/runs?endpoint_override=localhost", "set AWS_ENDPOINT_URL"),
        ("s3://bucket/../other", "plain names"),
        ("s3://B", "plain names"),
    ],
)
def test_what_cannot_be_a_store_is_refused_with_the_reason(address, reason):
    with pytest.raises(StoreError, match=reason) as refused:
        Store(address)
    assert "secret" not in str(refused.value)


def test_a_file_is_no_store(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="is a file"):
        Store(tmp_path / "file")


def test_reading_an_absent_phase_makes_nothing(folder):
    assert folder.marks() == []
    assert folder.curve() == []
    assert folder.status() == {"state": "waiting"}
    assert folder.progress() is None
    assert folder.holder() is None
    assert folder.resume() is None
    assert not folder.path.exists()


def test_a_mark_has_manifest_and_digests(folder):
    held = folder.acquire()
    folder.write_mark(held, 40, write_weights(), {"tokens": 400})
    assert folder.marks() == [40]
    manifest = folder.manifest(40)
    assert manifest["tokens"] == 400
    assert manifest["parameters"] == 7
    assert manifest["files"]["model.safetensors"]["bytes"] == len("weights")
    assert (folder.mark(40) / "model.safetensors").read_text() == "weights"
    with pytest.raises(StoreError, match=r"no mark at step 41; its marks: 40"):
        folder.mark(41)


@pytest.mark.parametrize("damage", [b"weightS", b"weight", None])
def test_a_damaged_mark_is_refused_by_name(plain, damage):
    held = plain.acquire()
    plain.write_mark(held, 40, write_weights(), {})
    plain.mark(40)
    path = plain.path / "marks/40/model.safetensors"
    path.unlink() if damage is None else path.write_bytes(damage)
    with pytest.raises(StoreError, match=r"0123456789abcdef at step 40 is damaged: model\.safetensors"):
        plain.mark(40)


def test_a_phase_that_cannot_be_tidied_is_not_kept_from_others(plain):
    """Its process lives on, with other phases: a claim that nobody will release would never end."""
    plain.acquire().release()
    resume = plain.path / "resume.json"
    resume.write_text("[")
    with pytest.raises(StoreError, match=r"resume\.json is damaged"):
        plain.acquire()
    assert not plain.holder().alive()
    resume.unlink()
    plain.acquire().release()


def test_checking_a_mark_twice_hashes_once(plain, monkeypatch):
    held = plain.acquire()
    plain.write_mark(held, 40, write_weights(), {})
    plain.mark(40)

    def refuse(path):
        raise AssertionError("hashed again")

    monkeypatch.setattr("procray.store.kept_files.sha256_file", refuse)
    plain.mark(40)


def test_a_mark_is_never_written_twice(folder):
    held = folder.acquire()
    folder.write_mark(held, 40, write_weights("first"), {})
    folder.write_mark(held, 40, write_weights("second"), {})
    assert (folder.mark(40) / "model.safetensors").read_text() == "first"


def test_a_failing_write_leaves_nothing(folder):
    held = folder.acquire()

    def fail(path: Path) -> dict:
        (path / "model.safetensors").write_text("half")
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        folder.write_mark(held, 40, fail, {})
    assert os.listdir(folder.path / "marks") == []


def test_the_newest_resumes_and_the_kept_ones_stay(folder):
    held = folder.acquire()
    ctx = context(folder, held, keep_resumes=[20])
    for step in (10, 20, 30, 40, 50):
        ctx.save_resume(step, write_state)
    assert folder.resumes() == [20, 40, 50]
    assert sorted(os.listdir(folder.path / "resume")) == ["20", "40", "50"]
    assert folder.resume().name == "50"
    assert folder.resume(45).name == "40"
    assert folder.resume(39).name == "20"
    assert folder.resume(19) is None
    assert context(folder, held, resume_at_most=45).latest_resume().name == "40"


def test_a_damaged_resume_state_gives_way_to_the_one_before(plain):
    held = plain.acquire()
    for step in (10, 20):
        plain.write_resume(held, step, write_state, keep=False)
    (plain.path / "resume/20/state.pt").write_text("nonsense")
    assert plain.resume().name == "10"


def test_resumes_of_a_finished_schedule_are_dropped(folder):
    held = folder.acquire()
    folder.write_resume(held, 10, write_state, keep=True)
    folder.drop_resumes(held)
    assert folder.resume() is None
    assert not (folder.path / "resume").exists()


def test_temporary_folders_of_dead_attempts_are_swept_up(plain):
    plain.acquire().release()
    for name in ("marks/.tmp-1-40", "resume/.tmp-1-40", "resume/77"):
        (plain.path / name).mkdir(parents=True)
        (plain.path / name / "model.safetensors").write_text("half")
    held = plain.acquire()
    assert held.attempt == 2
    assert os.listdir(plain.path / "marks") == os.listdir(plain.path / "resume") == []


def test_the_loser_of_the_lease_makes_nothing_visible(plain):
    old = plain.acquire()
    ctx = context(plain, old)
    ctx.journal(row(0))

    def overtaken(path: Path) -> dict:
        (path / "model.safetensors").write_text("late")
        (plain.path / "leases/2.json").write_text("{}")  # another host outnumbers us in the middle
        return {}

    with pytest.raises(LeaseLost, match="attempt 1 lost its lease on 0123456789abcdef"):
        ctx.save_mark(40, overtaken, {})
    with pytest.raises(LeaseLost):
        ctx.save_resume(40, write_state)
    with pytest.raises(LeaseLost):
        ctx.journal(row(10))
    with pytest.raises(LeaseLost):
        ctx.should_stop()
    ctx.progress(row(10))
    assert plain.marks() == []
    assert plain.resumes() == []
    assert plain.progress() is None
    assert [r["step"] for r in plain.curve()] == [0]


def test_a_successor_that_sweeps_up_shows_as_a_lost_lease(plain):
    held = plain.acquire()

    def swept(path: Path) -> dict:
        (plain.path / "leases/2.json").write_text("{}")
        shutil.rmtree(path)
        (path / "model.safetensors").write_text("late")
        return {}

    with pytest.raises(LeaseLost):
        plain.write_mark(held, 40, swept, {})


def test_other_ranks_write_nothing(folder, tmp_path):
    ctx = StoreContext(folder, None, Store(tmp_path / "store"), 1, 2, "cpu", lambda: True)  # type: ignore[arg-type]
    ctx.journal(row(0))
    ctx.save_mark(10, write_weights(), {})
    ctx.save_resume(10, write_state)
    ctx.progress(row(0))
    assert ctx.should_stop()
    assert not folder.path.exists()


def test_parents_are_checked(folder):
    held = folder.acquire()
    ctx = context(folder, held)
    ctx.save_mark(40, write_weights(), {})
    assert ctx.parent(Parent(folder.id, 40)) == folder.path / "marks/40"
    (folder.path / "marks/40/model.safetensors").write_text("other")
    with pytest.raises(StoreError, match="damaged"):
        ctx.parent(Parent(folder.id, 40))


def test_the_curve_merges_attempts_without_doubles(folder):
    provenance = {1: CPU, 2: CPU}
    first = folder.acquire()
    ctx = context(folder, first, provenance=provenance)
    for step in (0, 10, 20):
        ctx.journal(row(step))
    ctx.close()
    first.release()
    second = folder.acquire()
    ctx = context(folder, second, provenance=provenance)
    for step in (10, 20, 30):
        ctx.journal(row(step, seconds=9.9))
    ctx.close()
    assert [r["step"] for r in folder.curve()] == [0, 10, 20, 30]
    assert len((folder.path / "journal/2.jsonl").read_text().splitlines()) == 1


def test_another_value_on_replay_names_phase_step_and_both(folder):
    for _ in range(2):
        held = folder.acquire()
        held.release()
    log = journal.Journal("fedc", folder.path / "journal", 1, {1: CPU, 2: CPU})
    log.add(row(10))
    again = journal.Journal("fedc", folder.path / "journal", 2, {1: CPU, 2: CPU})
    with pytest.raises(StoreError, match=r"phase fedc, step 10: loss was 0\.0909\d* and is now 0\.0909\d*"):
        again.add(row(10, loss=1 / 11 + 1e-12))


def test_another_machine_may_differ_a_little(folder):
    log = journal.Journal("fedc", folder.path / "journal", 1, {})
    log.add(row(10, loss=2.0, grad_norm=1.0))
    many = {**CPU, "threads": 4}
    again = journal.Journal("fedc", folder.path / "journal", 2, {1: CPU, 2: many})
    assert not again.add(row(10, loss=2.09, grad_norm=1.5))
    assert folder.curve()[0]["loss"] == 2.0
    with pytest.raises(StoreError, match=r"loss was 2\.0 and is now 2\.11"):
        again.add(row(10, loss=2.11))
    with pytest.raises(StoreError, match="tokens was 100 and is now 101"):
        again.add(row(10, loss=2.0, tokens=101))


@pytest.mark.parametrize("change", [{"device_type": "cuda"}, {"world_size": 2}])
def test_bits_are_promised_for_one_process_on_a_cpu_only(folder, change):
    where = {**CPU, **change}
    journal.Journal("fedc", folder.path / "journal", 1, {}).add(row(10, loss=2.0))
    again = journal.Journal("fedc", folder.path / "journal", 2, {1: where, 2: where})
    assert not again.add(row(10, loss=2.0 + 1e-6))


def test_nan_never_enters_a_journal(folder):
    log = journal.Journal("fedc", folder.path / "journal", 1, {})
    with pytest.raises(StoreError, match="phase fedc, step 3: the evaluation holds a NaN"):
        log.add(row(3, loss=float("nan")))
    assert folder.curve() == []


@settings(max_examples=60, deadline=None)
@given(cut=st.integers(0, 400), steps=st.integers(1, 8))
def test_a_torn_line_is_ignored_and_never_merged(tmp_path_factory, cut, steps):
    folder = tmp_path_factory.mktemp("journal")
    log = journal.Journal("fedc", folder, 1, {})
    for step in range(steps):
        log.add(row(step))
    log.close()
    data = (folder / "1.jsonl").read_bytes()[:cut]
    (folder / "1.jsonl").write_bytes(data)
    whole = data.count(b"\n")
    assert [r["step"] for r in journal.read_rows(folder / "1.jsonl")] == list(range(whole))
    log = journal.Journal("fedc", folder, 2, {1: CPU, 2: CPU})
    for step in range(steps + 1):
        log.add(row(step))
    assert [r for _, r in journal.merged(folder).values()] == [row(step) for step in range(steps + 1)]


def test_changed_data_are_refused_by_name(folder):
    held = folder.acquire()
    assert folder.write_description(RECIPE, CPU, held.attempt, "a" * 64) == {1: CPU}
    assert folder.write_description(RECIPE, {**CPU, "threads": 2}, 2, "a" * 64)[2]["threads"] == 2
    with pytest.raises(StoreError, match=f"0123456789abcdef was begun with data {'a' * 16}.*{'b' * 16}"):
        folder.write_description(RECIPE, CPU, 3, "b" * 64)
    assert PhaseRecipe.from_json(folder.description()["recipe"]) == RECIPE


def test_running_without_a_process_reads_as_paused(folder):
    held = folder.acquire()
    folder.set_status("running", step=3, attempt=1)
    assert folder.status()["state"] == "running"
    held.release()
    assert folder.status()["state"] == "paused"
    folder.set_status("failed", reason="NaN")
    assert folder.status()["reason"] == "NaN"


def test_a_damaged_status_is_named(folder):
    folder.path.mkdir(parents=True)
    (folder.path / "status.json").write_text("{")
    with pytest.raises(StoreError, match=r"status\.json is damaged"):
        folder.status()


def _write_for_ever(path: str) -> None:
    folder = Store(path).phase("0123456789abcdef")
    held = folder.acquire()
    ctx = context(folder, held, provenance=dict.fromkeys(range(1, 100), CPU))
    step = max(folder.marks(), default=0)
    while True:
        step += 1
        ctx.journal(row(step, text="x" * 3000))
        ctx.save_mark(step, write_weights(f"weights {step}"), {})
        ctx.save_resume(step, write_state)


def test_killed_anywhere_the_store_stays_whole(tmp_path):
    """SIGKILL at many moments: every visible mark and resume state is sound, the next attempt goes on."""
    folder = Store(tmp_path).phase("0123456789abcdef")
    spawn = multiprocessing.get_context("fork")
    for life in range(12):
        before = max(folder.marks(), default=0)
        process = spawn.Process(target=_write_for_ever, args=(str(tmp_path),))
        process.start()
        deadline = time.monotonic() + 600
        while max(folder.marks(), default=0) <= before + life % 3 and time.monotonic() < deadline:
            time.sleep(0.0007 * life)
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        marks = folder.marks()
        assert marks[-1] > before
        for step in marks:
            assert (folder.mark(step) / "model.safetensors").read_text() == f"weights {step}"
        newest = folder.resume()
        assert newest is None or newest.name in map(str, folder.resumes())
        steps = [r["step"] for r in folder.curve()]
        assert steps == list(range(1, len(steps) + 1))
        assert steps[-1] >= marks[-1]
    held = folder.acquire()
    assert held is not None
    assert held.attempt == 13
    assert not [name for name in os.listdir(folder.path / "marks") if name.startswith(".")]


def test_plans_are_written_once(tmp_path):
    def planned(*published):
        return Plan("substitutive", "laptop", "", "", {}, "", {}, [], {}, 0, [], [*published], [])

    store = Store(tmp_path)
    few, more = planned({"a": 1}), planned({"a": 1}, {"variant": "größer"})
    path = store.write_plan(few)
    before = path.stat().st_ino
    store.write_plan(few)
    assert path.stat().st_ino == before
    assert path.parent == store.plan_folder("substitutive@laptop", few.digest)
    for plan in (few, more, few):  # one is where the other begins
        store.write_plan(plan)
        assert json.loads(path.read_text(encoding="utf-8")) == json.loads(json.dumps(plan.to_json()))
    store.write_plan(more)
    assert ' {"variant": "größer"}' in path.read_text(encoding="utf-8").splitlines()  # an entry has its own line


def measured(step: int, sequences: int, over: int, **values) -> dict:
    return row(step, sequences=sequences, mean_steps=over, train_loss=1.0 / over, **values)


def test_rows_of_several_cadences_are_one_curve(folder):
    """Measured every 10 steps on 16 sequences, then every 4 on 64: each step once, the first row for good."""
    attempts = dict.fromkeys((1, 2, 3), CPU)
    first = folder.acquire()
    ctx = context(folder, first, provenance=attempts)
    for step in (0, 10, 20):
        ctx.journal(measured(step, 16, 10))
    ctx.close()
    first.release()
    second = folder.acquire()
    ctx = context(folder, second, provenance=attempts)
    for step in (12, 16, 20, 24):
        ctx.journal(measured(step, 64, 4, loss=0.5))
    ctx.save_mark(20, write_weights(), {"loss": 0.5, "accuracy": 0.1})
    ctx.save_mark(24, write_weights(), {"loss": 0.4})
    ctx.close()
    second.release()
    curve = folder.curve()
    assert [(r["step"], r["sequences"]) for r in curve] == [(0, 16), (10, 16), (12, 64), (16, 64), (20, 16), (24, 64)]
    told = {step: (folder.manifest(step)["loss"], folder.manifest(step)["sequences"]) for step in (20, 24)}
    assert told == {20: (1 / 21, 16), 24: (0.5, 64)}, "a mark says what the curve says"
    third = folder.acquire()
    ctx = context(folder, third, provenance=attempts)
    for row_again in curve:
        ctx.journal({**row_again, "seconds": 9.9})
    with pytest.raises(StoreError, match=r"step 16: loss was 0\.5 and is now 0\.6"):
        ctx.journal(measured(16, 64, 8, loss=0.6))  # another cadence, but the same sequences
    ctx.close()
    third.release()
    assert folder.curve() == curve


@pytest.mark.parametrize(
    ("changes", "refused"),
    [
        ({"sequences": 64, "loss": 9.0, "accuracy": 0.9}, ""),
        ({"sequences": 64, "train_loss": 9.0}, "train_loss"),
        ({"sequences": 64, "tokens": 1}, "tokens"),
        ({"sequences": 64, "lr": 2.0}, "lr"),
        ({"mean_steps": 3, "train_loss": 9.0, "grad_norm": 9.0}, ""),
        ({"mean_steps": 3, "loss": 9.0}, "loss"),
    ],
)
@pytest.mark.parametrize("exact", [True, False])
def test_only_what_was_measured_alike_is_compared(folder, changes, refused, exact):
    known = measured(10, 16, 10, accuracy=0.5, lr=1.0)
    where = {1: CPU, 2: CPU if exact else {**CPU, "threads": 2}}
    journal.Journal("fedc", folder.path / "journal", 1, where).add(known)
    again = journal.Journal("fedc", folder.path / "journal", 2, where)
    if refused in (("",) if exact else ("", "train_loss", "lr")):
        assert not again.add({**known, **changes})
    else:
        with pytest.raises(StoreError, match=f"step 10: {refused} was"):
            again.add({**known, **changes})
