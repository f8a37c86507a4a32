"""A file where a store needs a folder, and a folder where it needs a file: nothing to a reader, kept by a writer."""

from __future__ import annotations

import shutil
import sys
from functools import partial
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import fuzzing

from procray.errors import StoreError
from procray.planning import plan
from procray.planning.load import load_text
from procray.store import garbage
from procray.store.contents import contents
from procray.store.store import Store
from procray.tracking.glance import glance
from procray.training.recipe import PhaseRecipe


@pytest.fixture
def phase(tmp_path):
    store, phase_id = fuzzing.small_phase(tmp_path / "store")
    return store.phase(phase_id)


def swapped(path: Path) -> Path:
    """A file in place of a folder, or a folder with something in it in place of a file."""
    if path.is_dir():
        shutil.rmtree(path)
        path.write_text("kept")
    else:
        path.unlink()
        path.mkdir()
        (path / "text").write_text("kept")
    return path


def test_below_a_file_there_is_nothing(phase):
    store = Store(phase.path.parents[1])
    swapped(phase.path / "resume" / "20")
    assert phase.resume() is None
    for name in ("marks", "journal", "leases"):
        swapped(phase.path / name)
    assert (phase.marks(), phase.curve(), phase.holder()) == ([], [], None)
    swapped(phase.path)
    assert (phase.status()["state"], phase.description(), phase.resumes()) == ("waiting", None, [])
    swapped(store.path / "phases")
    assert store.phases() == []
    assert not contents(store).phases
    assert not garbage.find(store, older_than=0.0).phases


@pytest.mark.parametrize("place", ["phases", "phases/ID", "phases/ID/leases"])
def test_a_file_in_place_of_a_folder_is_named_to_whoever_claims(phase, place):
    path = swapped(phase.path.parents[1] / place.replace("ID", phase.id))
    with pytest.raises(StoreError, match=f"{path} is a file where the store needs a folder"):
        phase.acquire({})
    assert path.read_text() == "kept"


@pytest.mark.parametrize("place", ["journal", "marks", "resume", "marks/20", "resume/30"])
def test_a_file_in_place_of_a_folder_is_named_to_whoever_trains(phase, place):
    held = phase.acquire({})
    path = phase.path / place
    path.mkdir(exist_ok=True)
    swapped(path)
    if place == "journal":
        write = partial(phase.journal, held, {})
    elif "marks" in place:
        write = partial(phase.write_mark, held, 20, lambda folder: {}, {})
    else:
        write = partial(phase.write_resume, held, 30, lambda folder: None, keep=False)
    try:
        with pytest.raises(StoreError, match=f"{path} is a file where the store needs a folder"):
            write()
        assert path.read_text() == "kept"
    finally:
        held.release()


def test_a_folder_in_place_of_a_file_is_named_and_kept(phase):
    held = phase.acquire({})
    recipe = PhaseRecipe.from_json(phase.description()["recipe"])
    writes = {
        "status.json": lambda: phase.set_status("paused"),
        "progress.json": lambda: phase.write_progress({"step": 20}),
        "resume.json": lambda: phase._point(held, {}),
        "phase.json": lambda: phase.write_description(recipe, {}, held.attempt, "d" * 64),
        f"journal/{held.attempt}.jsonl": lambda: phase.journal(held, {}),
    }
    try:
        for name, write in writes.items():
            path = phase.path / name
            path.touch()
            swapped(path)
            with pytest.raises(StoreError, match=f"{path} is no plain file"):
                write()
            assert (path / "text").read_text() == "kept"
            assert not [left for left in path.parent.iterdir() if left.name.startswith(".")]
    finally:
        held.release()


def test_a_folder_in_place_of_a_mark_of_completeness_is_not_deleted(phase):
    held = phase.acquire({})
    path = swapped(phase.path / "marks" / "10" / "manifest.json")
    with pytest.raises(StoreError, match=f"{path} is no plain file"):
        phase.discard(held, "marks", 10)
    held.release()
    assert (path / "text").read_text() == "kept"


def test_a_word_or_a_plan_finds_another_kind_in_its_place(phase):
    store = Store(phase.path.parents[1])
    graph = plan(load_text(fuzzing.SWEEPS[2], "x.yaml"))
    path = store.write_plan(graph)
    note = store.note(path.parent / "word")
    note.write("stop")
    swapped(path.parent / "word")
    for act in (lambda: note.write("stop"), note.read, note.remove):
        with pytest.raises(StoreError, match="word is no plain file"):
            act()
    swapped(path)
    with pytest.raises(StoreError, match="no plain file"):
        store.write_plan(graph)
    swapped(path.parent)
    with pytest.raises(StoreError, match="is a file where the store needs a folder"):
        store.write_plan(graph)
    assert note.read() == ""


def test_a_glance_at_a_phase_sees_that_another_kind_came(phase):
    before = glance(str(phase.path))
    (phase.path / "journal" / "2.jsonl").symlink_to("nowhere")
    linked = glance(str(phase.path))
    swapped(phase.path / "journal")
    assert len({before, linked, glance(str(phase.path))}) == 3
