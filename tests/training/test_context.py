import json

import pytest

from procray.errors import StoreError
from procray.training import FolderContext
from procray.training.recipe import Parent


def write(folder):
    (folder / "model.safetensors").write_bytes(b"weights")
    return {"sha256": "no such digest"}


def test_a_mark_is_whole_or_absent_and_never_written_twice(tmp_path):
    context = FolderContext(tmp_path / "a")

    def breaks(folder):
        (folder / "model.safetensors").write_bytes(b"half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        context.save_mark(3, breaks, {})
    assert list((tmp_path / "a" / "marks").iterdir()) == []
    context.save_mark(3, write, {"loss": 1.5})
    manifest = tmp_path / "a" / "marks" / "3" / "manifest.json"
    assert json.loads(manifest.read_text()) == {"loss": 1.5, "sha256": "no such digest"}
    context.save_mark(3, breaks, {})


def test_only_the_newest_resume_state_stays(tmp_path):
    context = FolderContext(tmp_path)
    assert context.latest_resume() is None
    for step in (2, 10):
        context.save_resume(step, lambda folder: (folder / "state").write_text("x") and None)
    assert context.latest_resume() == tmp_path / "resume" / "10"
    assert [path.name for path in (tmp_path / "resume").iterdir()] == ["10"]


def test_leftovers_of_a_killed_process_are_removed(tmp_path):
    left = tmp_path / "resume" / ".tmp-7"
    left.mkdir(parents=True)
    FolderContext(tmp_path)
    assert not left.exists()


def test_a_row_is_written_once_and_a_different_one_refused(tmp_path):
    context = FolderContext(tmp_path)
    context.journal({"step": 0, "tokens": 0, "loss": 4.0, "time": 1})
    context.journal({"step": 4, "tokens": 8, "loss": 3.0, "time": 2})
    context.journal({"step": 4, "tokens": 8, "loss": 3.0, "time": 9})
    assert [row["time"] for row in context.rows()] == [1, 2]
    with pytest.raises(StoreError, match=r"step 4: loss was 3\.0 and is now 3\.0000001"):
        context.journal({"step": 4, "tokens": 8, "loss": 3.0000001})
    with pytest.raises(StoreError, match="step 4: tokens was 8 and is now 9"):
        context.journal({"step": 4, "tokens": 9, "loss": 3.0})


def test_several_processes_may_differ_a_little(tmp_path):
    context = FolderContext(tmp_path, world_size=2)
    context.journal({"step": 4, "tokens": 8, "loss": 3.0})
    context.journal({"step": 4, "tokens": 8, "loss": 3.01})
    with pytest.raises(StoreError, match="loss"):
        context.journal({"step": 4, "tokens": 8, "loss": 4.0})


def test_a_torn_line_is_written_over(tmp_path):
    context = FolderContext(tmp_path)
    context.journal({"step": 0, "loss": 4.0})
    with open(tmp_path / "journal.jsonl", "ab") as file:
        file.write(b'{"step": 4, "lo')
    assert len(context.rows()) == 1
    context.journal({"step": 4, "loss": 3.0})
    assert [row["step"] for row in context.rows()] == [0, 4]


def test_parents_are_siblings_and_damage_is_named(tmp_path):
    FolderContext(tmp_path / "first").save_mark(5, write, {})
    child = FolderContext(tmp_path / "second")
    with pytest.raises(StoreError, match="differs from its manifest"):
        child.parent(Parent("first", 5))
    with pytest.raises(StoreError, match="the mark of phase first at step 6 was expected in"):
        child.parent(Parent("first", 6))
