"""What is too large, or would unpack to too much, is refused by name before it takes the memory."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
import sys
import tracemalloc
import zipfile
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))

import fuzzing

from procray import files
from procray.corpora import formats
from procray.corpora.local import LocalFile
from procray.errors import CorpusError, StoreError, TransferError
from procray.model import pickles
from procray.planning import once, plan, plan_parts
from procray.planning.load import load_text
from procray.planning.plan_json import read_plan
from procray.planning.plan_text import plan_lines
from procray.store import journal
from procray.store.objects import Objects


@pytest.fixture
def phase(tmp_path):
    store, phase_id = fuzzing.small_phase(tmp_path / "store")
    return store.phase(phase_id)


def grown(path: Path, size: int) -> None:
    """A file of any size that takes no room on the disk."""
    with open(path, "r+b") as file:
        file.truncate(size)


# -- JSON ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("piece", ["[],", "{},", '{"":0},', '"ab",', "1000,", "[0],", "1.5,", '{"a":{}},'])
def test_a_bound_on_room_is_one(piece, monkeypatch):
    """What Python takes for values is less than what a text is refused by."""
    text = "[" + piece * 30_000 + "0]"
    monkeypatch.setattr(files, "_ROOM", 0)
    with pytest.raises(ValueError, match="may take") as refused:
        files.refuse_room(text + " " * (1 << 20))
    stated = int(str(refused.value).split("take ")[1].split(" bytes")[0].replace(",", "")) - 2 * (len(text) + (1 << 20))
    tracemalloc.start()
    value = json.loads(text)
    taken = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert len(value) == 30_001
    assert taken < stated + 2 * len(text)


def test_json_that_would_take_too_much_is_refused_before_it_is_parsed(monkeypatch):
    monkeypatch.setattr(files.json, "loads", lambda *_, **__: pytest.fail("it was parsed"))
    with pytest.raises(ValueError, match="its values may take"):
        files.parse_json("[" + "[]," * 6_000_000 + "[]]")


@pytest.mark.parametrize(
    "name", ["status.json", "resume.json", "phase.json", "progress.json", "marks/10/manifest.json"]
)
def test_documents_have_a_size(phase, name):
    grown(phase.path / name, 17 << 20)
    asked = {
        "status.json": phase.status, "phase.json": phase.description, "resume.json": phase.resume,
        "progress.json": phase.progress,
    }.get(name, lambda: phase.manifest(10))  # fmt: skip
    with pytest.raises(StoreError, match=f"{name}.*more than 16,777,216 bytes"):
        asked()


def test_journals_have_a_size_all_together(phase):
    folder = phase.path / "journal"
    grown(folder / "1.jsonl", journal.LARGEST_JOURNAL + 1)
    with pytest.raises(StoreError, match=r"journal.*more than 33,554,432 bytes"):
        phase.curve()
    grown(folder / "1.jsonl", 20 << 20)
    with pytest.raises(StoreError, match=r"line 4, is damaged: more than"):
        phase.curve()
    grown(folder / "1.jsonl", 0)
    (folder / "2.jsonl").touch()
    for number in (1, 2):
        (folder / f"{number}.jsonl").write_bytes((b'{"step": 1, "text": "' + b"x" * 200_000 + b'"}\n') * 100)
    with pytest.raises(StoreError, match="its journals have more than"):
        phase.curve()


# -- plans -----------------------------------------------------------------------------------------------


def test_a_large_plan_is_read_in_little_more_room_than_its_file_takes(tmp_path):
    graph = plan(load_text(fuzzing.SWEEPS[1], "forms.yaml", scale="large"))
    graph.cells = [cell for cell in graph.cells for _ in range(4000 // len(graph.cells))]
    path = tmp_path / "plan.json"
    files.write_atomic(path, plan_lines(graph))
    assert read_plan(path) == graph  # once before, for what is made once
    peaks = []
    for _ in range(3):  # threads that earlier tests have left may allocate meanwhile
        tracemalloc.start()
        found = read_plan(path)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert found.digest == graph.digest
    assert min(peaks) < 1.5 * path.stat().st_size + (4 << 20), "as one piece of JSON it takes six times its size"


@pytest.mark.parametrize("indent", [None, 1, 4])
def test_a_plan_may_be_laid_out_in_any_way(tmp_path, monkeypatch, indent):
    monkeypatch.setattr(plan_parts, "_CHUNK", 7)
    graph = plan(load_text(fuzzing.SWEEPS[2].replace("question", "∑😀"), "chains.yaml"))
    graph.question = "∑😀 \ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16")
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(graph.to_json(), indent=indent, ensure_ascii=indent == 1))
    assert read_plan(path) == graph


@pytest.mark.parametrize(
    "text",
    ['{"a": 1', '{"a": [1, 2', '{"a": 1} x', '{"a": 1, "a": 2}', "[1]", "", '{"a" 1}', '{"a": [1 2]}', '{"a": 1,}',
     '{"a": NaN}', '{"a": ["\\ud800"]}', '{"a": ' + "[" * 5000, '{"a": [[' + "[" * 5000, '{"a": 0x}', '{"a": ',
     '{"a": "' + "x" * 3000 + '"}', '{"a": [1,' + " " * 4000 + '"' + "x" * 3000 + '"]}'],
)  # fmt: skip
def test_a_plan_that_is_none_is_refused(tmp_path, monkeypatch, text):
    monkeypatch.setattr(plan_parts, "LARGEST_PART", 2000)
    path = tmp_path / "plan.json"
    path.write_text(text)
    with pytest.raises(StoreError, match="cannot be read"):
        read_plan(path)


def test_plans_have_a_size_and_what_is_kept_of_them_too(tmp_path, monkeypatch):
    graph = plan(load_text(fuzzing.SWEEPS[2], "chains.yaml"))
    path = tmp_path / "plan.json"
    files.write_atomic(path, plan_lines(graph))
    monkeypatch.setattr(once, "ROOM", 1000)
    with pytest.raises(StoreError, match=r"plan\.json.*memory, more than plans do"):
        read_plan(path)
    grown(path, plan_parts.LARGEST_PLAN + 1)
    with pytest.raises(StoreError, match="more than 536,870,912 bytes"):
        read_plan(path)


# -- a bucket --------------------------------------------------------------------------------------------


class Unread:
    def read(self, *_):
        pytest.fail("it was fetched")

    def close(self) -> None:
        pass


class Client:
    """A bucket in which everything is larger than it should be."""

    def get_object(self, **_):
        return {"ContentLength": 700 << 20, "Body": Unread(), "ETag": '"x"'}


def test_an_object_is_measured_before_it_is_fetched():
    objects = Objects("s3://bucket/store")
    objects.__dict__["_client"] = Client()
    with pytest.raises(StoreError, match=r"progress\.json is damaged: it has 734,003,200 bytes, more than 16,777,216"):
        objects.get("phases/x/progress.json", 1 << 24)


# -- corpora ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["txt.gz", "txt.bz2", "txt.xz", "jsonl.gz", "csv.gz", "txt.zst", "jsonl.zst"])
def test_a_compressed_file_unpacks_to_no_more_than_text_does(tmp_path, monkeypatch, ending):
    monkeypatch.setattr(formats, "_ALWAYS", 1 << 20)
    data = b"text\n" + (b'{"text": "' + b" " * 1000 + b'"}\n') * 8000 if "txt" not in ending else b"a " * (4 << 20)
    data = data.removeprefix(b"text\n") if "jsonl" in ending else data
    path = tmp_path / f"bomb.{ending}"
    pack = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}.get(
        ending.split(".")[1], lambda one: pyarrow.Codec("zstd").compress(one, asbytes=True)
    )
    path.write_bytes(pack(data))
    with pytest.raises(CorpusError, match=rf"bomb\.{ending}: it unpacks to more than"):
        list(formats.documents_of(LocalFile(path.name, path), "text" if "txt" not in ending else None))


def test_a_line_and_a_packed_text_have_a_length(tmp_path, monkeypatch):
    monkeypatch.setattr(formats, "LARGEST_LINE", 1000)
    for name, data, field in (
        ("a.jsonl", b'{"text": "' + b"x" * 2000 + b'"}\n', "text"),
        ("a.csv", b"text\n" + b"x" * 2000, "text"),
        ("a.txt.gz", gzip.compress(b"x" * 2000), None),
    ):
        path = tmp_path / name
        path.write_bytes(data)
        with pytest.raises(CorpusError, match=f"{name}.*more than 1,000"):
            list(formats.documents_of(LocalFile(name, path), field))


def test_a_column_unpacks_to_no_more_than_text_does(tmp_path, monkeypatch):
    monkeypatch.setattr(formats, "_ALWAYS", 1 << 20)
    path = tmp_path / "bomb.parquet"
    for texts in (["x" * (8 << 20)], [str(number) + "x" * 10_000 for number in range(1000)]):
        table = pyarrow.table({"text": texts})
        pyarrow.parquet.write_table(table, path, compression="zstd", use_dictionary=False)
        with pytest.raises(CorpusError, match=r"bomb\.parquet: column 'text' unpacks to"):
            list(formats.documents_of(LocalFile(path.name, path), "text"))


@pytest.mark.parametrize("kind", [pyarrow.string(), pyarrow.large_string(), pyarrow.dictionary("int32", "string")])
def test_a_long_text_that_a_column_has_many_times_stands_in_memory_once(tmp_path, kind):
    path = tmp_path / "many.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"text": pyarrow.array(["x" * 400_000, None] * 400, kind)}), path)
    before = pyarrow.total_allocated_bytes()
    most = 0
    for text, note in formats.documents_of(LocalFile(path.name, path), "text"):
        most = max(most, pyarrow.total_allocated_bytes() - before)
        assert (len(text), note) in ((400_000, None), (0, "null"))
    assert most < 40_000_000


# -- checkpoints -----------------------------------------------------------------------------------------


def test_a_checkpoint_is_no_bomb(tmp_path, monkeypatch):
    path = tmp_path / "x.pth"
    torch.save({"model": {"w": torch.ones(100, 100)}}, path)
    assert pickles.read_pickle(path)["model"]["w"].shape == (100, 100)

    torch.save({"model": {"w": torch.ones(1).expand(10**9)}}, path)
    with pytest.raises(TransferError, match="stand for 4,000,000,000 bytes"):
        pickles.read_pickle(path)

    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/data.pkl", b"\0" * (20 << 20))
    with pytest.raises(TransferError, match="unpacks to 20,971,520 bytes"):
        pickles.read_pickle(path)

    monkeypatch.setattr(pickles, "LARGEST_PICKLE", 2000)
    torch.save({"model": {"w": torch.ones(2)}, "more": list(range(5000))}, path)
    with pytest.raises(TransferError, match=r"data\.pkl has more than 2,000 bytes"):
        pickles.read_pickle(path)
    torch.save({"model": {"w": torch.ones(2)}, "more": list(range(5000))}, path, _use_new_zipfile_serialization=False)
    with pytest.raises(TransferError, match="plain pickle of more than 2,000 bytes"):
        pickles.read_pickle(path)
    torch.save({"model": {f"w{number}": torch.ones(2) for number in range(100)}}, path)
    with pytest.raises(TransferError, match="its list of entries has more"):
        pickles.read_pickle(path)
    assert os.path.getsize(path)
