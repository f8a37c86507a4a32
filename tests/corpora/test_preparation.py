"""Preparation is idempotent, goes on after any interruption, and happens once where two ask for it."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import tokenizers

from procray import files
from procray.corpora import (
    account,
    compare_files,
    documents,
    file_digests,
    known_files,
    prepare,
    recipe,
    shards,
    summary,
)
from procray.corpora.prepared import corpus_folder
from procray.errors import CorpusError, EnvironmentProblem

# A process that prepares argv[1] below argv[2] with shards of 2,000 tokens, prints each shard that it
# writes, and kills itself without warning at the argv[3]-th write of any file.
PROGRAM = """
import json, os, signal, sys
from pathlib import Path
import procray.files as files
from procray.corpora import documents, prepare, shards
shards.SHARD_TOKENS, documents.BATCH_DOCUMENTS = 2000, 5
deadly, written = int(sys.argv[3]), 0
def replace(source, target, original=os.replace, **folders):
    global written
    written += 1
    if written == deadly:
        os.kill(os.getpid(), signal.SIGKILL)
    original(source, target, **folders)
    if str(target).endswith(".bin"):
        print("shard", Path(target).name, flush=True)
files.os.replace = replace
prepared = prepare(json.loads(sys.argv[1]), Path(sys.argv[2]), 1, lambda line: print(line, flush=True))
print("digest", prepared.digest, flush=True)
"""


def start(made, root, deadly=-1):
    command = [sys.executable, "-c", PROGRAM, json.dumps(made), str(root), str(deadly)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def content(folder):
    """Everything that a preparation leaves, without temporary files of killed ones."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.startswith(".")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.fixture
def made(texts):
    return recipe({"files": texts}, {"bpe": 300})


def test_prepared_once(tmp_path, made, small_shards, monkeypatch):
    first = prepare(made, tmp_path, 1)
    assert first.manifest["splits"]["train"]["complete"]
    assert len(first.manifest["splits"]["train"]["shards"]) > 3

    def no(*_):
        raise AssertionError("prepared a second time")

    monkeypatch.setattr(shards, "write_shard", no)
    second = prepare(made, tmp_path, 10**12)  # a local corpus is always whole
    assert second.digest == first.digest
    assert second.manifest == first.manifest


def test_two_preparations_give_the_same_bytes(tmp_path, made, small_shards):
    one, other = prepare(made, tmp_path / "one", 1), prepare(made, tmp_path / "other", 1)
    assert content(one.folder) == content(other.folder)


def test_shard_size_does_not_change_the_stream(tmp_path, made, monkeypatch):
    whole = prepare(made, tmp_path / "whole", 1)
    monkeypatch.setattr(shards, "SHARD_TOKENS", 777)
    cut = prepare(made, tmp_path / "cut", 1)
    assert cut.train_tokens == whole.train_tokens
    for index in range(3):
        assert (cut.batch(0, index, 4, 50).tokens_BT == whole.batch(0, index, 4, 50).tokens_BT).all()


def test_an_exception_at_any_write_loses_nothing(tmp_path, made, small_shards, monkeypatch):
    """The same bytes come out wherever a preparation is interrupted, and complete shards are kept."""
    monkeypatch.setattr(documents, "BATCH_DOCUMENTS", 5)
    expected = content(prepare(made, tmp_path / "expected", 1).folder)
    original = os.replace
    writes = 0
    deadly = 0

    def replace(source, target, **folders):
        nonlocal writes
        writes += 1
        if writes == deadly:
            raise KeyboardInterrupt
        original(source, target, **folders)

    monkeypatch.setattr(files.os, "replace", replace)
    root = tmp_path / "root"
    interruptions = 0
    while True:
        writes, deadly = 0, 4  # every attempt gets three writes further
        try:
            prepare(made, root, 1)
            break
        except KeyboardInterrupt:
            interruptions += 1
            assert interruptions < 50
    assert interruptions > 3
    assert content(root / corpus_folder(made, root).name) == expected


def test_what_was_read_before_trouble_is_kept(tmp_path, small_shards, monkeypatch):
    """Text is encoded ahead of its packing; an error ahead must not cost what a resumed download would start from."""
    monkeypatch.setattr(documents, "BATCH_DOCUMENTS", 2)
    lines = [json.dumps({"text": f"{n} " * 300}) for n in range(40)]
    (tmp_path / "a.jsonl").write_text("\n".join(lines), encoding="utf-8")
    kept = tmp_path / "held.txt"
    kept.write_text("some text that is held out", encoding="utf-8")
    given = recipe({"files": str(tmp_path / "a.jsonl"), "validation": str(kept)}, "byte")
    read = documents.read_documents

    def gone_at_the_end(*arguments):
        yield from read(*arguments)
        if arguments[-1] == "train":
            raise CorpusError("the disk is gone")

    monkeypatch.setattr(documents, "read_documents", gone_at_the_end)
    with pytest.raises(CorpusError, match="the disk is gone"):
        prepare(given, tmp_path / "corpora", 1)
    manifest = json.loads((corpus_folder(given, tmp_path / "corpora") / "manifest.json").read_text())
    train = manifest["splits"]["train"]
    whole = sum(len(f"{n} " * 300) + 1 for n in range(40))
    assert len(train["shards"]) == whole // manifest["shard_tokens"] > 3
    assert train["cursor"]["position"] >= 34  # the batches that were being encoded are among it


def test_a_broken_line_is_told_before_anything_is_written(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "good"}\n{torn', encoding="utf-8")
    given = recipe({"files": str(tmp_path / "a.jsonl")}, {"bpe": 300})
    with pytest.raises(CorpusError, match="line 2: not JSON"):
        prepare(given, tmp_path / "corpora", 1)
    assert not (corpus_folder(given, tmp_path / "corpora") / "manifest.json").exists()


@pytest.mark.parametrize("deadly", [1, 3, 6])
def test_killed_in_the_middle(tmp_path, made, deadly):
    undisturbed = start(made, tmp_path / "undisturbed")
    killed = start(made, tmp_path / "killed", deadly)
    assert killed.wait(600) == -signal.SIGKILL
    before = [line for line in killed.stdout if line.startswith("shard")]
    again = start(made, tmp_path / "killed")
    out, err = again.communicate()
    assert again.returncode == 0, err
    whole, err = undisturbed.communicate()
    assert undisturbed.returncode == 0, err
    assert out.splitlines()[-1] == whole.splitlines()[-1]
    name = corpus_folder(made, tmp_path).name
    assert content(tmp_path / "killed" / name) == content(tmp_path / "undisturbed" / name)
    repeated = set(before) & set(out.splitlines())
    assert len(repeated) <= 1  # only the one that the manifest did not yet name


def test_two_processes_at_once_prepare_once(tmp_path, made):
    """Both are held at the lock until both wait there; then exactly one works."""
    folder = corpus_folder(made, tmp_path)
    folder.mkdir(parents=True)
    with open(folder / "lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        both = [start(made, tmp_path) for _ in range(2)]
        for process in both:
            assert "another process is preparing it; waiting" in process.stdout.readline()
    outputs = [process.communicate() for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    lines = [out.splitlines() for out, _ in outputs]
    assert lines[0][-1] == lines[1][-1]
    written = [line for out in lines for line in out if line.startswith("shard")]
    assert len(written) == len(set(written)) > 3
    assert any(not any(line.startswith("shard") for line in out) for out in lines)


def test_files_changed_after_planning(tmp_path, made, texts):
    Path(texts).with_name("00.txt").write_text("something else\n")
    with pytest.raises(CorpusError, match="files have changed since the sweep was planned"):
        prepare(made, tmp_path, 1)


def test_nothing_held_out_says_what_to_do(tmp_path):
    (tmp_path / "a.txt").write_text("One question?\nOne answer.\n")
    given = recipe({"name": "deepmind-math", "files": f"{tmp_path}/a.txt", "holdout": 0.01})
    with pytest.raises(CorpusError, match=r"nothing for its validation split; it needs more documents"):
        prepare(given, tmp_path / "root", 1)


def test_files_without_text_are_named_and_counted(tmp_path, texts):
    folder = Path(texts).parent
    (folder / "latin.txt").write_bytes(b"caf\xe9 " * 50)
    (folder / "picture.txt").write_bytes(b"\x89PNG\0\0")
    (folder / "paper.txt").write_bytes(b"%PDF-1.4 and so on")
    (folder / "blank.txt").write_text(" \n")
    prepared = prepare(recipe({"files": texts}, "byte"), tmp_path / "root", 1)
    text = prepared.manifest["text"]
    assert (text["files"], text["documents"], text["empty"], text["replaced"]) == (42, 41, 1, 1)
    assert text["left_out"] == [
        {"name": "paper.txt", "why": "a PDF", "bytes": 18},
        {"name": "picture.txt", "why": "binary", "bytes": 6},
    ]
    assert account(prepared.manifest)[1:] == [
        "left out: 2 files of 24 bytes without text (paper.txt: a PDF; picture.txt: binary), "
        "1 document of white space alone",
        "replaced: in 1 document bytes that are not in the encoding became U+FFFD",
    ]
    assert summary(prepared)["left_out"].startswith("2 files of 24 bytes")


def test_nothing_but_files_without_text_blames_them(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"PK\x03\x04 and so on")
    with pytest.raises(CorpusError, match=r"no text in its files; left out: 1 file .*a\.txt: a zip archive"):
        prepare(recipe({"files": f"{tmp_path}/a.txt"}, "byte"), tmp_path / "root", 1)


def test_the_manifest_names_the_files_with_their_digests(tmp_path, texts):
    made = recipe({"files": texts}, "byte")
    before = prepare(made, tmp_path / "root", 1).manifest["files"]
    assert before == file_digests(made) == known_files(made, tmp_path / "root")
    assert known_files(made, tmp_path / "empty") is None
    assert list(before) == [f"{number:02d}.txt" for number in range(40)]
    folder = Path(texts).parent
    (folder / "03.txt").write_text("something else\n")
    (folder / "new.txt").write_text("something new\n")
    (folder / "07.txt").unlink()
    found = compare_files(before, file_digests(made))
    assert (found.changed, found.new, found.gone) == (["03.txt"], ["new.txt"], ["07.txt"])
    assert found.text == "1 file changed (03.txt), 1 file new (new.txt), 1 file gone (07.txt)"
    assert compare_files(before, before).text == ""


def test_where_files_lie_is_not_what_is_prepared(tmp_path, monkeypatch):
    for place in ("here", "there"):
        folder = tmp_path / place / "texts"
        folder.mkdir(parents=True)
        for number in range(5):
            (folder / f"{number}.txt").write_text(f"{number} and some more words\n" * 20)
    monkeypatch.chdir(tmp_path / "here")
    ways = [
        recipe({"files": "texts/*.txt"}, "byte"),
        recipe({"files": "./texts/*.txt"}, "byte"),
        recipe({"files": [f"{tmp_path}/here/texts/*.txt"]}, "byte"),
        recipe({"files": "texts/*.txt"}, "byte", base=tmp_path / "there"),
    ]
    monkeypatch.chdir("/")
    assert len({corpus_folder(made, tmp_path / "root") for made in ways}) == 1
    assert len({prepare(made, tmp_path / str(number), 1).digest for number, made in enumerate(ways)}) == 1
    first = prepare(ways[0], tmp_path / "root", 1)
    assert prepare(ways[3], tmp_path / "root", 1).folder == first.folder


@pytest.mark.parametrize("work", ["train_from_iterator", "encode_batch_fast"])
def test_a_preparation_hears_a_signal_while_the_library_works(tmp_path, made, monkeypatch, work):
    """What runs in the library cannot be stopped; the preparation leaves it."""
    working, end = threading.Event(), threading.Event()

    def endless(*_, **__):
        working.set()
        end.wait(600)

    def press():
        working.wait(600)
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(f"tokenizers.Tokenizer.{work}", endless)
    threading.Thread(target=press, daemon=True).start()
    try:
        with pytest.raises(KeyboardInterrupt):
            prepare(made, tmp_path, 1)
        assert working.is_set()
    finally:
        end.set()


def test_training_a_tokenizer_says_how_long_it_takes(tmp_path, made, monkeypatch):
    said, end = [], threading.Event()
    monkeypatch.setattr("procray.corpora.tokenizer._SAY_SECONDS", 0.0)
    monkeypatch.setattr("procray.corpora.background.TICK_SECONDS", 0.01)
    train = tokenizers.Tokenizer.train_from_iterator
    monkeypatch.setattr(
        "tokenizers.Tokenizer.train_from_iterator",
        lambda *given: (end.wait(600), train(*given)),  # as if it took long
    )

    def say(line):
        said.append(line)
        if line.endswith(" s"):
            end.set()

    prepare(made, tmp_path, 1, say)
    assert any("training a byte-pair encoding of 300 entries, 0 s" in line for line in said)


def test_explicit_validation_files(tmp_path, texts):
    kept = str(Path(texts).with_name("0[0-3].txt"))
    prepared = prepare(recipe({"files": texts, "validation": kept}, "byte"), tmp_path / "root", 1)
    assert prepared.manifest["splits"]["validation"]["counts"]["documents"] == 4
    assert prepared.manifest["splits"]["train"]["counts"]["documents"] == 36


def test_unwritable_place(tmp_path, made):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(EnvironmentProblem, match="cannot prepare files"):
        prepare(made, tmp_path / "file", 1)


def test_damaged_manifest_is_not_overwritten(tmp_path, made):
    folder = corpus_folder(made, tmp_path)
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text("{")
    with pytest.raises(CorpusError, match=r"damaged.*delete"):
        prepare(made, tmp_path, 1)


def test_wide_vocabularies_take_four_bytes(tmp_path):
    assert shards.dtype_for(65536) == "uint16"
    assert shards.dtype_for(65537) == "uint32"
    tokens = np.arange(70_000, 70_000 + 25)
    entries = [shards.write_shard(tmp_path, "train", i, tokens[i * 10 : i * 10 + 10], None, "uint32") for i in range(3)]
    manifest = {"splits": {"train": {"shards": entries}}, "shard_tokens": 10, "dtype": "uint32"}
    reader = shards.ShardReader(tmp_path, "train", manifest)
    for start_at, length in ((0, 25), (3, 4), (8, 5), (9, 12), (20, 100), (25, 3)):
        assert (reader.read(start_at, length) == tokens[start_at : start_at + length]).all()
