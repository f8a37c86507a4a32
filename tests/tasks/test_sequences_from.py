from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from procray import tasks
from procray.corpora import identity
from procray.errors import TaskError
from procray.tasks.sequence_files import read_sequences

ROWS = [[1, 2, 3], [4, 5], [6, 7, 8, 9], [0, 3], *([i % 11, i % 7, 40] for i in range(60))]
TABLE = np.array([[i, 2 * i % 50, 3 * i % 50, i % 4] for i in range(50)])


def write(folder, kind, rows=ROWS, name="a", field="input_ids"):
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.{kind}"
    if kind == "jsonl":
        path.write_text("\n".join(json.dumps({field: row}) for row in rows) + "\n")
    elif kind == "parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.table({field: rows}), path, row_group_size=7)
    elif kind == "npy":
        np.save(path, np.array(rows, np.uint16))
    else:
        from safetensors.numpy import save_file

        save_file({field: np.array(rows, np.int32)}, path)
    return path


def shown(task, stream, count, seed=0):
    """The sequences that a stream shows, without padding."""
    found = []
    for index in range(-(-count // 8)):
        batch = task.sample(seed, stream, index, 8)
        assert batch.nominal_tokens == (batch.tokens_BT != task.pad).sum()
        assert batch.nominal_tokens == task.nominal_tokens(seed, stream, index, 8)
        for tokens, targets, mask in zip(batch.tokens_BT, batch.targets_BT, batch.mask_BT, strict=True):
            row = [token for token in tokens.tolist() if token != task.pad]
            assert tokens[: len(row)].tolist() == row
            assert targets.tolist() == [*tokens[1:].tolist(), task.pad]
            assert mask.tolist() == [place < len(row) - 1 for place in range(len(mask))]
            found.append(tuple(row))
    return found[:count]


@pytest.mark.parametrize("kind", ["jsonl", "parquet", "npy", "safetensors"])
def test_all_kinds_give_their_sequences_once_an_epoch_and_hold_the_same_ones_out(tmp_path, kind):
    rows = TABLE.tolist() if kind in ("npy", "safetensors") else ROWS
    task = tasks.get("sequences_from", path=str(write(tmp_path / "data", kind, rows)))
    assert (task.vocab_size, task.positions) == (max(map(max, rows)) + 2, max(map(len, rows)))
    assert task.mean_tokens == pytest.approx(np.mean([len(row) for row in rows]))
    held_out = max(2, round(0.05 * len(rows)))
    epoch = len(rows) - held_out
    trained = shown(task, "train/warmup", 2 * epoch)
    assert sorted(trained[:epoch]) == sorted(trained[epoch:])
    assert trained[:epoch] != trained[epoch:]
    assert shown(task, "train", epoch, seed=1) != trained[:epoch]
    validation, tuning = set(shown(task, "validation", 50)), set(shown(task, "tuning", 50))
    assert len(validation) + len(tuning) == held_out
    assert sorted([*trained[:epoch], *validation, *tuning]) == sorted(map(tuple, rows))
    assert set(shown(task, "validation", 50, seed=3)) == validation


def test_shards_of_a_folder_are_one_set_in_the_order_of_their_names(tmp_path):
    whole = tasks.get("sequences_from", path=str(write(tmp_path / "whole", "npy", TABLE)))
    write(tmp_path / "parts", "npy", TABLE[:20], "0")
    write(tmp_path / "parts", "npy", TABLE[20:], "1")
    (tmp_path / "parts" / "README.txt").write_text("not data")
    parts = tasks.get("sequences_from", path="parts", base=str(tmp_path))
    assert parts.recipe()["files"] == ["parts/0.npy", "parts/1.npy"]
    assert (parts.sequences, parts.tokens, parts.ids) == (whole.sequences, whole.tokens, whole.ids)
    seen = {*shown(parts, "train", 48), *shown(parts, "validation", 10), *shown(parts, "tuning", 10)}
    assert seen == set(map(tuple, TABLE.tolist()))


def test_identity_is_the_content_wherever_it_lies(tmp_path):
    a = tasks.get("sequences_from", path=str(write(tmp_path / "a", "jsonl")))
    b = tasks.get("sequences_from", path="other.jsonl", base=str(write(tmp_path / "b", "jsonl", name="other").parent))
    other = tasks.get("sequences_from", path=str(write(tmp_path / "c", "jsonl", ROWS[1:])))
    assert a == b
    for wrap in (lambda task: task, lambda task: tasks.get("shuffled", task=task),
                 lambda task: tasks.get("mixture", parts=[(task, 1), (tasks.get("set"), 2)])):  # fmt: skip
        one, two, three = (identity({"task": wrap(task).recipe()}) for task in (a, b, other))
        assert one == two != three
        assert str(tmp_path) not in str(one)
        assert tasks.from_recipe(json.loads(json.dumps(wrap(a).recipe()))) == wrap(a)
    assert tasks.get("sequences_from", path=a.recipe()["files"][0], base=a.recipe()["base"], cut=2) != a
    assert tasks.get("sequences_from", path=a.recipe()["files"][0], base=a.recipe()["base"], cut=99) == a


def test_a_cut_shortens(tmp_path):
    task = tasks.get("sequences_from", path=str(write(tmp_path / "a", "jsonl")), cut=2)
    assert task.positions == 2
    assert set(map(len, shown(task, "train", 61))) == {2}


def test_files_that_changed_are_refused(tmp_path):
    path = write(tmp_path / "a", "jsonl")
    recipe = tasks.get("sequences_from", path=str(path)).recipe()
    write(tmp_path / "a", "jsonl", ROWS[2:])
    with pytest.raises(TaskError, match=r"a\.jsonl changed since the sweep was planned"):
        tasks.from_recipe({**recipe, "ids": recipe["ids"] + 1}).sample(0, "train", 0, 2)
    path.unlink()
    with pytest.raises(TaskError, match="every machine that trains needs the files"):
        tasks.from_recipe({**recipe, "ids": recipe["ids"] + 2}).sample(0, "train", 0, 2)


@pytest.mark.parametrize(
    ("name", "content", "params", "messages"),
    [
        ("a.jsonl", "[1, 2]\n[3, x]\n", {}, ["a.jsonl: line 2 is no JSON"]),
        ("a.jsonl", "[1, 2]\n[3, 4.5]\n", {}, ["line 2: expected a list of whole numbers"]),
        ("a.jsonl", '[1, 2]\n{"tokens": [1, 2]}\n', {}, ["line 2", "a record with one in 'input_ids'"]),
        ("a.jsonl", "[1, 2]\n[3]\n", {}, ["sequence 1 has 1 tokens; expected at least 2"]),
        ("a.jsonl", "[1, 2]\n[3, -4]\n", {}, ["sequence 1, token 1 is -4; expected ids from 0 to"]),
        ("a.jsonl", "", {}, ["holds no sequences"]),
        ("a.jsonl", "[1, 2]\n[1, 2]\n", {}, ["holds 2 sequences; expected at least 3"]),
        ("a.npy", np.zeros((3, 4)), {}, ["holds float64; expected whole numbers"]),
        ("a.npy", np.zeros(3, int), {}, ["has the shape (3,); expected sequences x tokens"]),
        ("a.npy", np.array([[{}, {}]], object), {}, ["a.npy"]),
        ("a.safetensors", "no", {}, ["is damaged, cut off, or no safetensors file"]),
        ("a.parquet", "no", {}, ["is damaged, cut off, or no parquet file"]),
        ("a.jsonl", b"[1, 2]\n\xff\n", {}, ["a.jsonl: is no UTF-8 text (byte 7)"]),
        ("a.npy", "1, 2, 3", {}, ["a.npy: is no npy file; expected what numpy.save writes"]),
        ("a.npy", b"PK\x03\x04 and more", {}, ["a.npy: is an npz archive; expected what numpy.save writes"]),
        ("a.npy", b"\x93NUMPY\x01\x00v\x00{'descr", {}, ["a.npy: is damaged or cut off: its 17 bytes are not"]),
        ("a.pkl", pickle.dumps([[1, 2]]), {}, ["is of an unknown kind", "pickles are never read"]),
        ("b.npy", TABLE, {}, ["there is no file or folder", "did you mean 'b.npy'?"]),
        ("a.npy", TABLE, {"cut": 1, "feild": "x"}, ["cut is 1; expected a whole number from 2", "parameter 'feild'"]),
    ],
)
def test_what_is_wrong_is_named_with_its_place(tmp_path, name, content, params, messages):
    path = tmp_path / name
    if isinstance(content, np.ndarray):
        np.save(path, content, allow_pickle=True)
    elif isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(content)
    asked = tmp_path / "bb.npy" if name == "b.npy" else path
    with pytest.raises(TaskError) as error:
        tasks.get("sequences_from", path=str(asked), **params)
    for message in messages:
        assert message in str(error.value)


def test_a_column_that_is_not_there(tmp_path):
    path = write(tmp_path / "a", "parquet", field="tokens")
    with pytest.raises(TaskError, match="has no column 'token'; did you mean 'tokens'"):
        tasks.get("sequences_from", path=str(path), field="token")
    assert tasks.get("sequences_from", path=str(path), field="tokens").sequences == len(ROWS)


@given(size=st.integers(1, 90), seed=st.integers(0, 2**64), index=st.integers(0, 2**30))
@settings(max_examples=15, deadline=None)
def test_batches_are_parts_of_one_order(tmp_path_factory, size, seed, index):
    path = tmp_path_factory.getbasetemp() / "same" / "a.npy"
    if not path.exists():
        write(path.parent, "npy", TABLE)
    task = tasks.get("sequences_from", path=str(path))
    whole = task.sample(seed, "train", index, 2 * size)
    halves = [task.sample(seed, "train", 2 * index + half, size) for half in range(2)]
    assert np.array_equal(whole.tokens_BT, np.concatenate([half.tokens_BT for half in halves]))


def test_exposure_counts_epochs(tmp_path):
    task = tasks.get("sequences_from", path=str(write(tmp_path / "a", "npy", TABLE)))
    assert task.exposure(24) == {"epoch": 0.5, "unique_tokens": 96}
    assert task.exposure(96) == {"epoch": 2.0, "unique_tokens": 192}


def test_a_shard_that_was_cut_off_is_told_in_words_about_the_file(tmp_path):
    for number in range(3):
        np.save(tmp_path / f"{number}.npy", np.arange(4000).reshape(40, 100))
    whole = (tmp_path / "1.npy").read_bytes()
    (tmp_path / "1.npy").write_bytes(whole[:-1000])
    np.save(tmp_path / "2.npy", np.array([[1, None]]), allow_pickle=True)
    with pytest.raises(TaskError) as error:
        tasks.get("sequences_from", path=".", base=tmp_path)
    cut, objects = str(error.value).split("\n")
    assert cut.startswith(
        f"sequences_from: {tmp_path / '1.npy'}: is damaged or cut off: its {len(whole) - 1000:,} bytes"
    )
    assert objects.endswith("2.npy: holds Python objects, which are never read; expected whole numbers")


def test_an_array_without_rows_is_no_damage(tmp_path):
    np.save(tmp_path / "none.npy", np.zeros((0, 5), np.int64))
    with pytest.raises(TaskError, match=r"none\.npy: holds no sequences"):
        tasks.get("sequences_from", path="none.npy", base=tmp_path)


def test_a_file_that_cannot_be_read_is_not_called_damaged(tmp_path, monkeypatch):
    """A disk or a permission says nothing of what the file holds."""
    np.save(tmp_path / "a.npy", np.ones((4, 5), np.int32))

    def refuse(*given, **options):
        raise PermissionError(13, "Permission denied", str(tmp_path / "a.npy"))

    monkeypatch.setattr(np, "load", refuse)
    with pytest.raises(TaskError, match=r"a\.npy: cannot be read \(Permission denied\)"):
        read_sequences([tmp_path / "a.npy"], "tokens")
