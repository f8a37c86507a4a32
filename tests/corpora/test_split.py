"""What is held out: a share of the text, by the documents alone."""

from __future__ import annotations

import random

import pytest

from procray.corpora import account, prepare, recipe
from procray.corpora.documents import read_documents
from procray.corpora.formats import documents_of
from procray.corpora.local import LocalFile
from procray.corpora.split import Share, _cut, share_of, survey


def words(rng, count):
    return " ".join(rng.choice(("river", "mill", "road", "stone", "who", "built")) for _ in range(count)) + ".\n"


def halves(folder, texts, fraction=0.05):
    """Training and validation texts of one file for each of `texts`."""
    folder.mkdir(exist_ok=True)
    files = []
    for number, text in enumerate(texts):
        path = folder / f"{number}.txt"
        path.write_text(text, encoding="utf-8")
        files.append(LocalFile(path.name, path))
    read = lambda file: documents_of(file, None)
    share, held = share_of(survey(files, None, read, False, print), fraction, False)
    assert Share.from_json(share.to_json()) == share
    parts = [list(read_documents(files, None, read, share, split)) for split in ("train", "validation")]
    assert held["characters"] == pytest.approx(sum(map(len, parts[1])), rel=0.1)
    assert held["documents"] == len(parts[1])
    return parts


@pytest.mark.parametrize("sizes", [[6000], [6000, 30], [30, 6000], [300] * 3, [400] * 8, [3] * 2000, [5, 90, 700] * 40])
@pytest.mark.parametrize("fraction", [0.05, 0.3])
def test_the_share_is_one_of_data(tmp_path, sizes, fraction):
    rng = random.Random(1)
    texts = [words(rng, size) for size in sizes]
    train, validation = halves(tmp_path / "t", texts, fraction)
    total = sum(map(len, texts))
    assert sum(map(len, train)) + sum(map(len, validation)) == total
    assert sum(map(len, validation)) / total == pytest.approx(fraction, rel=0.1)
    cut = [text for text in train + validation if text not in texts]
    assert len(cut) in (0, 2)  # the head of one document and its tail
    assert all(text[-1] in " \n" for text in cut)  # not inside a word


def test_the_small_readme_beside_the_big_file(tmp_path):
    rng = random.Random(0)
    (tmp_path / "input.txt").write_text(words(rng, 40_000))
    (tmp_path / "readme.txt").write_text(words(rng, 200))
    prepared = prepare(recipe({"files": "*.txt"}, "byte", tmp_path), tmp_path / "root", 1)
    total = prepared.train_tokens + prepared.validation_tokens
    assert prepared.validation_tokens / total == pytest.approx(0.05, abs=0.002)
    (line,) = account(prepared.manifest)
    assert line.startswith("held out: 5 % of ")
    assert "in 2 documents:" in line


def test_order_and_names_do_not_matter(tmp_path):
    rng = random.Random(2)
    texts = [words(rng, rng.randrange(5, 400)) for _ in range(60)]
    train, validation = halves(tmp_path / "a", texts)
    again = halves(tmp_path / "b", texts[::-1])
    assert (sorted(train), sorted(validation)) == (sorted(again[0]), sorted(again[1]))


def test_more_documents_move_few(tmp_path):
    rng = random.Random(3)
    texts = [words(rng, 50) for _ in range(400)]
    _, before = halves(tmp_path / "a", texts)
    train, _ = halves(tmp_path / "b", texts + [words(rng, 50) for _ in range(20)])
    assert len(set(before) & set(train)) <= 2


def test_equal_documents_fall_on_one_side(tmp_path):
    rng = random.Random(4)
    texts = [words(rng, 50) for _ in range(10)] * 10
    train, validation = halves(tmp_path / "a", texts, 0.2)
    assert not set(train) & set(validation)
    train, validation = halves(tmp_path / "b", [words(rng, 500)] * 3, 0.2)
    assert len(set(train)) == len(set(validation)) == 1


def test_a_cut_is_at_a_line_where_one_is_near_and_never_at_an_end():
    lines = "".join(f"line {number}\n" for number in range(1000))
    at = _cut(lines, 0.05)
    assert lines[at - 1] == "\n"
    assert at == pytest.approx(0.95 * len(lines), rel=0.01)
    assert _cut("x" * 1000, 0.05) == 950
    assert _cut("x" * 999 + "\n", 0.001) == 999
    assert _cut("ab", 0.01) == 1
