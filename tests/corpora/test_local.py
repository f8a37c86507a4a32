"""Which files a corpus has: names do not tell where they lie, and every bad glob is explained."""

from __future__ import annotations

import os

import pytest

from procray.corpora import identity, recipe
from procray.corpora.local import content_digest, matching_files, package_files, stdlib_files
from procray.errors import CorpusError


def names_of(*globs, base=None):
    return [file.name for file in matching_files(list(globs), base)]


def test_standard_library_without_its_tests():
    names = [file.name for file in stdlib_files()]
    assert names == sorted(names)
    assert {"json/decoder.py", "argparse.py", "asyncio/events.py"} <= set(names)
    parts = {part for name in names for part in name.split("/")[:-1]}
    assert not parts & {"test", "tests", "idle_test", "site-packages", "__pycache__"}
    assert not any(name.startswith("_sysconfigdata") for name in names)
    assert len(names) > 400


def test_a_package_is_read_without_being_imported_and_without_its_tests(tmp_path, monkeypatch):
    package = tmp_path / "procray_example"
    (package / "tests").mkdir(parents=True)
    (package / "__init__.py").write_text("raise ImportError('never imported')\n")
    (package / "part.py").write_text("x = 1\n")
    (package / "tests" / "test_part.py").write_text("assert True\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert [file.name for file in package_files("procray_example")] == ["__init__.py", "part.py"]


def test_names_do_not_depend_on_the_place(tmp_path):
    for place in ("here", "there/deeper"):
        folder = tmp_path / place / "src" / "pkg"
        folder.mkdir(parents=True)
        (folder / "a.py").write_text("a = 1\n")
        (folder / "b.py").write_text("b = 2\n")
    one = matching_files([f"{tmp_path}/here/src/**/*.py"])
    other = matching_files(["src/**/*.py"], tmp_path / "there/deeper")
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


@pytest.mark.parametrize("order", [["a.txt", "b.txt"], ["b.txt", "a.txt"]])
def test_a_file_and_its_link_are_one_by_the_first_name(tmp_path, monkeypatch, order):
    (tmp_path / "b.txt").write_text("text")
    os.symlink("b.txt", tmp_path / "a.txt")
    monkeypatch.setattr("glob.iglob", lambda *_, **__: iter(order))  # as a folder may list them
    assert names_of("*.txt", base=tmp_path) == ["a.txt"]


@pytest.mark.parametrize("globs", [["sub/*.txt", "**/*.txt"], ["**/*.txt", "sub/*.txt"]])
def test_a_file_of_two_globs_is_read_once(tmp_path, globs):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/a.txt").write_text("text")
    assert names_of(*globs, base=tmp_path) == ["a.txt"]


def test_files_of_one_name_are_sorted_by_content(tmp_path):
    for one, other in (("x/1", "y/2"), ("x/2", "y/1")):
        (tmp_path / one).mkdir(parents=True)
        (tmp_path / other).mkdir(parents=True)
        (tmp_path / one / "a.txt").write_text("one")
        (tmp_path / other / "a.txt").write_text("other")
    first = matching_files([f"{tmp_path}/x/1/*", f"{tmp_path}/y/2/*"])
    second = matching_files([f"{tmp_path}/x/2/*", f"{tmp_path}/y/1/*"])
    swapped = matching_files([f"{tmp_path}/y/2/*", f"{tmp_path}/x/1/*"])
    assert content_digest(first) == content_digest(second) == content_digest(swapped)


def test_pipes_and_folders_are_not_documents(tmp_path):
    os.mkfifo(tmp_path / "pipe.txt")
    (tmp_path / "folder.txt").mkdir()
    (tmp_path / "a.txt").write_text("text")
    os.symlink("nowhere", tmp_path / "broken.txt")
    assert names_of(f"{tmp_path}/*.txt") == ["a.txt"]


@pytest.mark.parametrize("name", ["x" * 300, "[" * 300, "x" * 300 + "/*.txt", "[a]" * 100 + "/x", "x/" * 3000])
def test_a_name_too_long_for_any_file_matches_none(tmp_path, name):
    with pytest.raises(CorpusError, match="matches no file"):
        matching_files([name], tmp_path)


def test_every_bad_glob_is_named(tmp_path):
    with pytest.raises(CorpusError) as error:
        matching_files([f"{tmp_path}/*.rs", f"{tmp_path}/no/*.py", str(tmp_path)])
    message = str(error.value)
    assert f"'{tmp_path}/*.rs' matches no file;" in message
    assert f"there is no folder '{tmp_path}/no'" in message
    assert "is a folder; write" in message


def test_what_lies_below_the_working_directory_is_told(tmp_path, monkeypatch):
    (tmp_path / "work/texts").mkdir(parents=True)
    (tmp_path / "sweeps").mkdir()
    (tmp_path / "work/texts/a.txt").write_text("text")
    monkeypatch.chdir(tmp_path / "work")
    with pytest.raises(CorpusError) as error:
        recipe({"files": "texts/*.txt"}, base=tmp_path / "sweeps")
    message = str(error.value)
    assert f"matches no file below {tmp_path}/sweeps, though 1 below the working directory {tmp_path}/work" in message
    assert "write '../work/texts/*.txt'" in message
    assert names_of("../work/texts/*.txt", base=tmp_path / "sweeps") == ["a.txt"]


def test_brackets_in_the_name_of_a_folder_are_meant_literally(tmp_path):
    folder = tmp_path / "runs [2024]" / "texts [a]"
    folder.mkdir(parents=True)
    (folder / "a.txt").write_text("text")
    (folder / "a [1].txt").write_text("text")
    assert names_of(f"{folder}/*.txt") == ["a [1].txt", "a.txt"]
    assert names_of("texts [a]/*.txt", base=folder.parent) == ["a [1].txt", "a.txt"]
    assert names_of("**/*.txt", base=tmp_path / "runs [2024]") == ["texts [a]/a [1].txt", "texts [a]/a.txt"]
    assert names_of("a [1].txt", base=folder) == ["a [1].txt"]
    (tmp_path / "runs 2").mkdir()
    (tmp_path / "runs 2/b.txt").write_text("text")
    assert names_of("runs [0-9]/*.txt", base=tmp_path) == ["runs 2/b.txt"]
    with pytest.raises(CorpusError, match=r"for brackets in a name write 'a \[\[\]1\]\*\.md'"):
        names_of("a [1]*.md", base=folder)


def test_identity_is_what_is_left_without_places(tmp_path):
    (tmp_path / "a.txt").write_text("some words\n" * 9)
    (tmp_path / "v.txt").write_text("other words\n" * 9)
    made = [
        recipe({"files": "a.txt", "validation": "v.txt"}, "byte", tmp_path),
        recipe({"files": f"{tmp_path}/*.txt", "validation": f"{tmp_path}/v.txt"}, "byte", "/"),
    ]
    assert identity(made[0]) == identity(made[1]) != identity(recipe({"files": "*.txt"}, "byte", tmp_path))
    assert str(tmp_path) not in str(identity(made[0]))
    for other in ({"task": {"name": "set"}}, recipe("c4"), {"corpus": {"source": "files", "files": ["x"]}}):
        assert identity(other) == other  # an earlier version's recipe of files stays what it was


def test_said_or_not_the_usual_field_is_one_corpus(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "one"}\n{"text": "two"}\n')
    assert recipe({"files": "a.jsonl"}, base=tmp_path) == recipe({"files": "a.jsonl", "field": "text"}, base=tmp_path)
