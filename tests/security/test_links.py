"""A link in a store leads nobody out of it, whoever planted it: nothing is read, written or deleted through it."""

from __future__ import annotations

import json
import logging
import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import fuzzing

from procray import links
from procray.errors import ProcrayError, StoreError
from procray.execution.cluster import _keep_logs, _quiet
from procray.files import read_json, write_atomic
from procray.planning import plan
from procray.planning.load import load_text
from procray.store import garbage
from procray.store.folder import GUARDED
from procray.store.runs import is_of_run, is_run
from procray.store.store import Store
from procray.tracking import backend, owner, ui


@pytest.fixture
def precious(tmp_path):
    """What lies outside of the store, with what the store would take for its own."""
    folder = tmp_path / "precious"
    for name in ("0123456789abcdef", "chains@default"):
        (folder / name).mkdir(parents=True)
        (folder / name / "manifest.json").write_text("{}")
        (folder / name / "plan.json").write_text("{}")
        (folder / name / "lock").write_text("kept")
    (folder / "file").write_text("kept")
    for path in (*folder.rglob("*"), folder):
        os.utime(path, (1, 1))
    return folder


@pytest.fixture
def state(precious):
    def look() -> list:
        found = []
        for path in sorted(precious.rglob("*")):
            about = path.lstat()
            found.append((str(path), about.st_mtime, path.read_bytes() if path.is_file() else b""))
        return found

    return look


@pytest.fixture
def store(tmp_path):
    store, _ = fuzzing.small_phase(tmp_path / "store")
    return store


@pytest.mark.parametrize("name", ["phases", "sweeps", "corpora", "analysis"])
def test_a_store_whose_folder_is_a_link_is_refused_with_what_to_do_instead(tmp_path, precious, state, name):
    before = state()
    (tmp_path / "store").mkdir()
    store = Store(tmp_path / "store")
    (tmp_path / "store" / name).symlink_to(precious)
    with pytest.raises(StoreError, match=r"is a link.*move the whole store.*mount --bind"):
        Store(tmp_path / "store")
    with pytest.raises(StoreError, match="is a link"):  # and by one that was opened before
        write_atomic(store.path / name / "numbers" / "x.json", "{}")
    if name != "analysis":
        with pytest.raises(StoreError, match="is a link"):
            garbage.find(store, older_than=0.0)
    assert state() == before


def test_the_stores_own_folder_may_be_a_link(tmp_path, store):
    (tmp_path / "elsewhere").symlink_to(store.path.parent)
    linked = Store(tmp_path / "elsewhere" / "store")
    phase = linked.phase(linked.phases()[0])
    assert phase.marks() == [10]
    assert phase.manifest(10)["step"] == 10
    held = phase.acquire({})
    phase.set_status("done", step=20, attempt=held.attempt)
    held.release()
    linked.write_plan(plan(load_text(fuzzing.SWEEPS[2], "x.yaml")))
    assert len(store.plans()) == 1


@pytest.mark.parametrize("place", ["phases/0123456789abcdef", "corpora/0123456789abcdef", "sweeps/.x.json.abcdefgh"])
def test_what_is_collected_is_no_link_and_has_a_name_of_ours(store, precious, state, place):
    (store.path / place).parent.mkdir(exist_ok=True)
    (store.path / place).symlink_to(precious / "0123456789abcdef")
    for folder, name in (("phases", "notes"), ("phases", ".gone-mine"), ("corpora", "notes"), ("corpora", "0123")):
        (store.path / folder / name).mkdir(parents=True)
        (store.path / folder / name / "text").write_text("kept")
    unplanned = store.phases()
    before = state()
    found = garbage.find(store, older_than=-1.0)
    assert found.phases.keys() == {name for name in unplanned if name != "notes"}
    garbage.collect(store, found)
    assert state() == before
    for folder, name in (("phases", "notes"), ("phases", ".gone-mine"), ("corpora", "notes"), ("corpora", "0123")):
        assert (store.path / folder / name / "text").read_text() == "kept"
    assert store.phases() == ["notes"]


@pytest.mark.parametrize(
    "name", ["status.json", "phase.json", "resume.json", "marks/10/manifest.json", "progress.json"]
)
def test_documents_are_not_read_through_a_link_nor_from_a_pipe(store, name):
    phase = store.phase(store.phases()[0])
    path = phase.path / name
    asked = {
        "status.json": phase.status, "phase.json": phase.description, "resume.json": phase.resume,
        "progress.json": phase.progress,
    }.get(name, lambda: phase.manifest(10))  # fmt: skip
    kept = path.with_name("elsewhere")
    path.rename(kept)
    path.symlink_to(kept)
    with pytest.raises(StoreError, match="is a link"):
        asked()
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(StoreError, match="no plain file"):
        asked()


@pytest.mark.parametrize("place", ["journal/1.jsonl", "journal", "marks", "marks/10"])
def test_curves_and_marks_are_not_read_through_a_link(store, tmp_path, place):
    phase = store.phase(store.phases()[0])
    (phase.path / place).rename(tmp_path / "moved")
    (phase.path / place).symlink_to(tmp_path / "moved")
    with pytest.raises(StoreError, match="is a link"):
        (phase.curve if "journal" in place else phase.marks if place == "marks" else lambda: phase.mark(10))()


def test_a_journal_is_not_written_through_a_link(store, precious, state):
    phase = store.phase(store.phases()[0])
    held = phase.acquire({})
    (phase.path / "journal" / f"{held.attempt}.jsonl").symlink_to(precious / "file")
    before = state()
    with pytest.raises(StoreError, match="is a link"):
        phase.journal(held, {})
    held.release()
    assert state() == before


def test_the_files_of_a_sweep_are_not_written_through_a_link(store, precious, state):
    graph = plan(load_text(fuzzing.SWEEPS[2], "x.yaml"))
    store.write_plan(graph)
    folder = store.plan_folder(graph.title, graph.digest)
    before = state()
    (folder / "report").symlink_to(precious)
    with pytest.raises(StoreError, match="is a link"):
        write_atomic(folder / "report" / "report.html", "x")
    (folder / "word").symlink_to(precious / "file")
    note = store.note(folder / "word")
    for act in (lambda: note.write("stop"), note.read):
        with pytest.raises(StoreError, match="is a link"):
            act()
    note.remove()  # the link itself
    assert not (folder / "word").is_symlink()
    (folder / "logs").mkdir()
    (folder / "logs" / "ray.log").symlink_to(precious / "file")
    with _quiet(folder / "logs" / "ray.log"), pytest.raises(StoreError, match="is a link"):
        logging.getLogger("ray").handlers[0].emit(logging.LogRecord("ray", 30, "", 1, "text", (), None))
    (folder / "logs" / "ray").symlink_to(precious)
    session = store.path.parent / "t" / "r" / "session_x" / "logs"
    session.mkdir(parents=True)
    (session / "raylet.out").write_text("text")
    with pytest.raises(StoreError, match="is a link"):
        _keep_logs(store.path.parent / "t", folder / "logs")
    assert state() == before


@pytest.mark.parametrize("name", ["tracking.lock", "tracking.log", "mlflow.db.lock", ui.LOG, owner.FILE, "mlflow.db"])
def test_locks_and_logs_are_not_written_through_a_link(store, precious, state, name):
    folder = store.path if name in GUARDED else store.title_folder("x@y")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).symlink_to(precious / "file")
    before = state()
    acts = {"mlflow.db": lambda: backend.ensure_database(folder / name), owner.FILE: lambda: owner.store_id(store)}

    def lock():
        with backend.file_lock(folder / name, 1.0):
            pass

    with pytest.raises(StoreError, match="is a link"):
        acts.get(name, lock)()
    with pytest.raises(StoreError, match="is a link"):
        os.close(links.open_file(folder / name, os.O_WRONLY | os.O_TRUNC))
    assert state() == before


def test_what_is_forgotten_is_not_deleted_through_a_link(store, precious, state):
    before = state()
    (store.path / "sweeps").mkdir()
    (store.path / "sweeps" / "chains@default").symlink_to(precious / "chains@default")
    with pytest.raises(ProcrayError, match="is a link"):
        store.forget("chains@default")
    store._backend.forget("chains@default")
    assert state() == before
    assert not (store.path / "sweeps" / "chains@default").is_symlink()  # the link itself goes


@pytest.mark.parametrize("pid", ["²", "１", "-1", "", "1" * 30, "1.5", "١"])
def test_what_python_takes_for_a_digit_is_no_number_in_a_name(pid):
    assert not is_run(f".run-0123abcd-{pid}-0123ab")
    assert not is_of_run(f".run-0123abcd-{pid}-0123ab-ray")
    assert is_of_run(".run-0123abcd-17-0123ab-ray")


def test_paths_outside_of_a_store_may_be_links(tmp_path, precious):
    (tmp_path / "mine").symlink_to(precious)
    write_atomic(tmp_path / "mine" / "new.json", "[1]")
    assert read_json(tmp_path / "mine" / "new.json") == [1]
    assert json.loads((precious / "new.json").read_text()) == [1]
