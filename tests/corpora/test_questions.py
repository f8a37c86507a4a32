"""Questions and answers: records stay whole, the loss is on the answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from procray.corpora import mathematics, prepare, recipe
from procray.corpora.documents import read_documents
from procray.corpora.local import matching_files
from procray.corpora.questions import encode_records, records_of, row_bounds
from procray.corpora.split import share_of, survey
from procray.corpora.tokenizer import build_tokenizer
from procray.errors import CorpusError, EnvironmentProblem

RECORDS = [(f"What is {a} + {b}?", str(a + b)) for a in range(12) for b in range(0, 90, 7)]


@pytest.fixture
def sums(tmp_path):
    path = tmp_path / "sums.txt"
    path.write_text("".join(f"{question}\n{answer}\n\n" for question, answer in RECORDS))
    return str(path)


def read_all(path, split, fraction=0.1):
    files = matching_files([path])
    share, _ = share_of(survey(files, None, records_of, True, print), fraction, True)
    return list(read_documents(files, None, records_of, share, split))


def test_both_layouts_of_a_file_give_the_same(tmp_path, sums):
    other = tmp_path / "alternate.txt"
    other.write_text("".join(f"{question}\r\n{answer}\r\n" for question, answer in RECORDS))
    assert read_all(sums, "train") == read_all(str(other), "train")
    assert set(read_all(sums, "train")) | set(read_all(sums, "validation")) == {f"{q}\n{a}" for q, a in RECORDS}
    assert 4 < len(read_all(sums, "validation")) < 40


@pytest.mark.parametrize(
    ("content", "line"),
    [("q\na\n\nlonely\n\nq\na\n", 4), ("q\na\nextra\n\nq\na\n\n", 3), ("q\na\nq\n", 3), ("q\na\n\nq", 4)],
)
def test_record_without_an_answer_names_its_line(tmp_path, content, line):
    (tmp_path / "bad.txt").write_text(content)
    with pytest.raises(CorpusError, match=rf"bad\.txt, line {line}: expected a question and an answer"):
        read_all(str(tmp_path / "bad.txt"), "train")


def test_encoding_against_a_plain_loop():
    tokenizer = build_tokenizer({"kind": "char", "alphabet": "ascii"}, list)
    tokens, mask = encode_records(tokenizer, [f"{q}\n{a}" for q, a in RECORDS])
    expected: list[tuple[int, bool]] = []
    for question, answer in RECORDS:
        expected += [(96, False), *((ord(c) - 32, False) for c in question), (97, False)]
        expected += [(ord(c) - 32, True) for c in answer]
    assert list(zip(tokens.tolist(), mask.tolist(), strict=True)) == expected


@given(st.lists(st.integers(1, 12), min_size=1, max_size=40), st.integers(1, 30))
@settings(max_examples=100, deadline=None)
def test_rows_against_a_plain_loop(lengths, context):
    expected, row = [], []
    position = 0
    for length in lengths:
        if length > context:
            row, expected = [], [*expected, *([(row[0], row[-1])] if row else [])]
        elif row and position + length - row[0] > context:
            expected.append((row[0], row[-1]))
            row = [position, position + length]
        else:
            row = [*(row or [position]), position + length]
        position += length
    expected += [(row[0], row[-1])] if row else []
    starts = np.cumsum([0, *lengths[:-1]])
    assert [tuple(one) for one in row_bounds(starts, position, context).tolist()] == expected


@pytest.mark.parametrize("tokenizer", [None, "byte", {"bpe": 300}])
def test_batches_score_answers_and_nothing_else(tmp_path, sums, tokenizer):
    prepared = prepare(recipe({"name": "deepmind-math", "files": sums}, tokenizer), tmp_path / "root", 1)
    known = dict(RECORDS)
    batch = prepared.batch(0, 0, 4, 100)
    assert batch.tokens_BT.shape == batch.targets_BT.shape == batch.mask_BT.shape == (4, 100)
    assert batch.nominal_tokens == 400
    for tokens, targets, mask in zip(batch.tokens_BT, batch.targets_BT, batch.mask_BT, strict=True):
        assert (targets[:-1] == tokens[1:]).all()
        assert tokens.max() < prepared.vocab_size
        text = prepared.decode(tokens).replace("<|endoftext|>", "<|question|>")
        records = [one.split("<|answer|>") for one in text.split("<|pad|>")[0].split("<|question|>")[1:]]
        assert len(records) >= 3
        assert all(known[question] == answer for question, answer in records)
        assert prepared.decode(targets[mask]) == "".join(answer for _, answer in records)


def test_every_record_that_fits_is_in_one_epoch(tmp_path, sums):
    prepared = prepare(recipe({"name": "deepmind-math", "files": sums}), tmp_path / "root", 1)
    rows = prepared.blocks(64)
    batch = prepared.batch(3, 0, rows, 64)
    asked = prepared.decode(batch.tokens_BT).split("<|question|>")[1:]
    assert sorted(one.split("<|answer|>")[0] for one in asked) == sorted(
        record.partition("\n")[0] for record in read_all(sums, "train", 0.05)
    )


def test_the_papers_vocabulary(tmp_path, sums):
    made = recipe({"name": "deepmind-math", "files": sums})
    assert prepare(made, tmp_path / "root", 1).vocab_size == 99


def test_missing_package_says_how_to_go_on(tmp_path, monkeypatch):
    monkeypatch.setattr(mathematics.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(EnvironmentProblem, match=r"pip install 'procray\[math\]'; or read questions from files"):
        prepare(recipe("deepmind-math"), tmp_path, 1)


def test_generation_goes_on_where_it_stopped(tmp_path, monkeypatch):
    """Parts that exist are kept; the others are made, each once."""
    monkeypatch.setattr(mathematics, "PART_RECORDS", 10)
    monkeypatch.setattr(mathematics, "require_package", lambda: None)
    made: list[list[str]] = []

    class Process:
        returncode = 0

        def __init__(self, command, **_):
            split, first, count, path = command[-4:]
            made.append([split, first, count])
            lines = [f"{split} {number}\n{number}\n\n" for number in range(int(first), int(first) + int(count))]
            Path(path).write_text("".join(lines))

        def poll(self):
            return 0

        def communicate(self):
            return b"", b""

    monkeypatch.setattr(mathematics.subprocess, "Popen", Process)
    said: list[str] = []
    paths = mathematics.generate(tmp_path / "g", "train", 25, said.append)
    assert sorted(made) == [["train", "0", "10"], ["train", "10", "10"], ["train", "20", "5"]]
    assert sum(path.read_text().count("\n\n") for path in paths) == 25
    assert len(said) == 3
    paths[1].unlink()
    assert mathematics.generate(tmp_path / "g", "train", 25, said.append) == paths
    assert made[3:] == [["train", "10", "10"]]


def test_a_generator_that_fails_says_why(tmp_path, monkeypatch):
    monkeypatch.setattr(mathematics, "require_package", lambda: None)
    with pytest.raises(EnvironmentProblem, match=r"generating questions failed: .*no-such-split"):
        mathematics.generate(tmp_path / "g", "no-such-split", 1, lambda line: None)


@pytest.mark.slow
def test_the_real_package(tmp_path):
    pytest.importorskip("mathematics_dataset")
    made = recipe({"name": "deepmind-math", "records": 60, "validation_records": 20})
    prepared = prepare(made, tmp_path, 1)
    assert prepared.manifest["splits"]["train"]["counts"]["documents"] == 60
    assert prepared.batch(0, 0, 2, 256).mask_BT.any()
