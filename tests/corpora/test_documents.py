"""Local files as documents: what is read, what is held out, what is said about bad input."""

from __future__ import annotations

import gzip
import json
import os

import pytest

from procray.corpora import documents
from procray.corpora.documents import (
    LocalFile,
    batches,
    content_digest,
    matching_files,
    package_files,
    read_documents,
    split_files,
    stdlib_files,
)
from procray.errors import CorpusError


def all_texts(files, split, field=None, fraction=0.05, kept=None):
    return [text for text, _ in read_documents(files, kept, field, fraction, split)]


def test_standard_library_without_its_tests():
    names = [file.name for file in stdlib_files()]
    assert names == sorted(names)
    assert {"json/decoder.py", "argparse.py", "asyncio/events.py"} <= set(names)
    parts = {part for name in names for part in name.split("/")[:-1]}
    assert not parts & {"test", "tests", "idle_test", "site-packages", "__pycache__"}
    assert not any(name.startswith("_sysconfigdata") for name in names)
    assert len(names) > 400


def test_held_out_part_of_the_standard_library_is_about_five_percent():
    train, validation = split_files(stdlib_files(), 0.05)
    assert 0.02 < len(validation) / (len(train) + len(validation)) < 0.09
    assert not set(train) & set(validation)


def test_names_do_not_depend_on_the_place(tmp_path):
    for place in ("here", "there/deeper"):
        folder = tmp_path / place / "src" / "pkg"
        folder.mkdir(parents=True)
        (folder / "a.py").write_text("a = 1\n")
        (folder / "b.py").write_text("b = 2\n")
    one = matching_files([f"{tmp_path}/here/src/**/*.py"])
    other = matching_files([f"{tmp_path}/there/deeper/src/**/*.py"])
    assert [file.name for file in one] == ["pkg/a.py", "pkg/b.py"]
    assert content_digest(one) == content_digest(other)
    (tmp_path / "here/src/pkg/a.py").write_text("a = 3\n")
    assert content_digest(one) != content_digest(other)


def test_digest_depends_on_the_name(tmp_path):
    (tmp_path / "a.txt").write_text("same")
    (tmp_path / "b.txt").write_text("same")
    assert content_digest(matching_files([f"{tmp_path}/a.txt"])) != content_digest(
        matching_files([f"{tmp_path}/b.txt"])
    )


def test_a_file_matched_twice_is_read_once(tmp_path):
    (tmp_path / "a.txt").write_text("text")
    os.symlink(tmp_path / "a.txt", tmp_path / "link.txt")
    assert len(matching_files([f"{tmp_path}/*.txt", f"{tmp_path}/a.*"])) == 1


def test_pipes_and_folders_are_not_documents(tmp_path):
    os.mkfifo(tmp_path / "pipe.txt")
    (tmp_path / "folder.txt").mkdir()
    (tmp_path / "a.txt").write_text("text")
    assert [file.name for file in matching_files([f"{tmp_path}/*.txt"])] == ["a.txt"]


def test_every_bad_glob_is_named(tmp_path):
    with pytest.raises(CorpusError) as error:
        matching_files([f"{tmp_path}/*.rs", f"{tmp_path}/no/*.py", str(tmp_path)])
    message = str(error.value)
    assert f"'{tmp_path}/*.rs' matches no file;" in message
    assert f"there is no folder '{tmp_path}/no'" in message
    assert "is a folder; write" in message


@pytest.mark.parametrize("count", [2, 3, 10])
def test_few_files_still_give_both_splits(tmp_path, count):
    for number in range(count):
        (tmp_path / f"{number}.txt").write_text(f"text {number}")
    files = matching_files([f"{tmp_path}/*.txt"])
    train, validation = split_files(files, 0.001)
    assert len(validation) == 1
    assert len(train) == count - 1
    train, validation = split_files(files, 0.999)
    assert len(train) == 1


def test_one_file_gives_its_tail_to_validation(tmp_path):
    lines = [f"line {number}\n" for number in range(1000)]
    (tmp_path / "book.txt").write_text("".join(lines))
    files = matching_files([f"{tmp_path}/book.txt"])
    (train,), (validation,) = all_texts(files, "train"), all_texts(files, "validation")
    assert train + validation == "".join(lines)
    assert train.endswith("\n")
    assert 0.04 < len(validation) / len(train + validation) < 0.06


def test_json_lines_plain_and_compressed(tmp_path):
    rows = [{"body": f"document {number} \ud800 é", "id": number} for number in range(50)]
    content = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "a.jsonl").write_text(content + "\n")
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(content.replace("document", "other").encode()))
    files = matching_files([f"{tmp_path}/*"])
    train, validation = (all_texts(files, split, "body", 0.2) for split in ("train", "validation"))
    assert len(train) + len(validation) == 100
    assert 5 < len(validation) < 40
    assert not set(train) & set(validation)
    assert all("? é" in text for text in train)  # a lone surrogate is no text


def test_equal_lines_fall_on_one_side(tmp_path):
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"text": f"t{n % 10}"}) + "\n" for n in range(100)))
    files = matching_files([f"{tmp_path}/a.jsonl"])
    assert not set(all_texts(files, "train", fraction=0.4)) & set(all_texts(files, "validation", fraction=0.4))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"text": "a"', "line 2: not JSON"),
        ('{"body": "a", "id": 1}', "no text in field 'text' \\(it has: body, id\\)"),
        ("[1]", "it has: list"),
    ],
)
def test_bad_json_names_file_and_line(tmp_path, line, message):
    (tmp_path / "a.jsonl").write_text('{"text": "good"}\n' + line + "\n")
    with pytest.raises(CorpusError, match=message):
        all_texts(matching_files([f"{tmp_path}/a.jsonl"]), "train")


def test_damaged_gzip(tmp_path):
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(b"some text" * 100)[:-20])
    with pytest.raises(CorpusError, match=r"a\.txt\.gz"):
        all_texts(matching_files([f"{tmp_path}/a.txt.gz"]), "train")


def test_what_is_not_text_is_counted(tmp_path):
    (tmp_path / "0.txt").write_bytes(b"caf\xe9 latin")
    (tmp_path / "1.txt").write_bytes(b"\x89PNG\0\0\0")
    (tmp_path / "2.txt").write_text(" \n")
    (tmp_path / "3.txt").write_bytes(b"\xef\xbb\xbfwith a mark")
    files = matching_files([f"{tmp_path}/*.txt"])
    (batch,) = batches(read_documents(files, [], None, 0.05, "train"), None)
    assert batch.texts == ["caf� latin", "with a mark"]
    assert batch.counts == {"replaced": 1, "binary": 1, "empty": 1}


def test_batches_go_on_from_any_position(monkeypatch):
    monkeypatch.setattr(documents, "BATCH_DOCUMENTS", 4)
    everything = [(f"text {n}" if n % 5 else "", None) for n in range(31)]
    whole = list(batches(iter(everything), None))
    assert len(whole) > 3
    for number, batch in enumerate(whole):
        again = list(batches(iter(everything), batch.position))
        assert again == whole[number:]


def test_explicit_validation_files(tmp_path):
    for name in "abc":
        (tmp_path / f"{name}.txt").write_text(name)
    files = [LocalFile(f"{name}.txt", tmp_path / f"{name}.txt") for name in "ab"]
    kept = [LocalFile("c.txt", tmp_path / "c.txt")]
    assert all_texts(files, "train", kept=kept) == ["a", "b"]
    assert all_texts(files, "validation", kept=kept) == ["c"]


def test_a_package_is_read_without_being_imported_and_without_its_tests(tmp_path, monkeypatch):
    package = tmp_path / "procray_example"
    (package / "tests").mkdir(parents=True)
    (package / "__init__.py").write_text("raise ImportError('never imported')\n")
    (package / "part.py").write_text("x = 1\n")
    (package / "tests" / "test_part.py").write_text("assert True\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert [file.name for file in package_files("procray_example")] == ["__init__.py", "part.py"]
