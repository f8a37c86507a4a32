"""Hub datasets: streamed as far as needed, extended later, the same whatever the history."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import numpy as np
import pytest

from procray.corpora import account, hub, prepare, recipe, shards
from procray.corpora.prepared import corpus_folder
from procray.errors import CorpusError, EnvironmentProblem

from test_preparation import content  # isort: skip


def texts_of(count, word="word"):
    return [f"{word} {number}: " + " ".join(str(number * k) for k in range(20)) for number in range(count)]


@pytest.fixture
def stories(fake_hub, small_shards):
    """A dataset of 600 stories without a validation split, some 75 kB."""
    return fake_hub("some/stories", "train", texts_of(600))


def test_streams_as_far_as_needed_and_extends(tmp_path, stories):
    made = recipe({"hf": "some/stories", "validation_documents": 10}, "byte")
    short = prepare(made, tmp_path / "root", 3000)
    assert not short.complete
    assert 2 <= len(short.manifest["splits"]["train"]["shards"]) <= 4
    first = [short.batch(0, index, 3, 100).tokens_BT for index in range(10)]
    assert prepare(made, tmp_path / "root", 3000).manifest == short.manifest

    longer = prepare(made, tmp_path / "root", 20_000)
    assert longer.train_tokens >= 20_000 > short.train_tokens
    whole = prepare(made, tmp_path / "root", 10**9)
    assert whole.complete
    for prepared in (longer, whole):
        assert prepared.digest == short.digest
        for index, tokens in enumerate(first):
            assert (prepared.batch(0, index, 3, 100).tokens_BT == tokens).all()

    at_once = prepare(made, tmp_path / "at-once", 10**9)
    assert content(at_once.folder) == content(whole.folder)


@pytest.mark.parametrize("min_tokens", [1, 1999, 2000, 5000, 12_345])
@pytest.mark.parametrize("context", [16, 100, 125])
def test_what_is_prepared_is_enough(tmp_path, stories, min_tokens, context):
    prepared = prepare(recipe({"hf": "some/stories"}, "byte"), tmp_path, min_tokens)
    blocks = -(-min_tokens // context)
    seen = np.concatenate([prepared.batch(0, index, 1, context).tokens_BT for index in range(blocks)])
    assert len({row.tobytes() for row in seen}) == blocks  # nothing is repeated within the first pass
    assert prepared.exposure(blocks, context) == {"epoch": 0.0, "unique_tokens": blocks * context}


def test_more_than_prepared_is_an_error_and_not_a_repetition(tmp_path, stories):
    prepared = prepare(recipe({"hf": "some/stories"}, "byte"), tmp_path, 2000)
    with pytest.raises(CorpusError, match="run `procray data prepare` with a larger number of tokens"):
        prepared.batch(0, 1000, 1, 100)


def test_a_complete_stream_repeats_in_another_order(tmp_path, fake_hub, small_shards):
    fake_hub("some/few", "train", texts_of(100))
    prepared = prepare(recipe({"hf": "some/few"}, "byte"), tmp_path, 10**9)
    blocks = prepared.blocks(100)
    epochs = [
        [prepared.batch(0, epoch * blocks + number, 1, 100).tokens_BT.tobytes() for number in range(blocks)]
        for epoch in (0, 1)
    ]
    assert sorted(epochs[0]) == sorted(epochs[1])
    assert len(set(epochs[0])) == blocks
    assert epochs[0] != epochs[1]
    assert prepared.exposure(2 * blocks + blocks // 2, 100)["epoch"] == pytest.approx(2.5, abs=0.02)


def test_resumes_from_the_last_complete_shard(tmp_path, stories, fake_hub, monkeypatch):
    """After a loss of the connection the stream is not read from its beginning again."""
    fake_hub("some/stories", "test", texts_of(10, "held"))
    made = recipe({"hf": "some/stories", "validation": "test"}, "byte")
    expected = content(prepare(made, tmp_path / "expected", 10**9).folder)
    rows_read = []
    original = hub._rows

    def failing(*arguments):
        for number, batch in enumerate(original(*arguments)):
            rows_read.append(batch.texts[0])
            if fail_after is not None and number >= fail_after:
                raise ConnectionResetError("gone")
            yield batch

    monkeypatch.setattr(hub, "_rows", failing)
    fail_after = 30
    with pytest.raises(EnvironmentProblem):
        prepare(made, tmp_path / "root", 10**9)
    first = list(rows_read)
    rows_read.clear()
    fail_after = None
    prepared = prepare(made, tmp_path / "root", 10**9)
    assert content(prepared.folder) == expected
    assert len(first) > 30
    assert len(set(first) & set(rows_read)) <= 4  # at most the batches since the last shard


def test_lost_connection_is_an_environment_problem(tmp_path, stories, monkeypatch):
    class Lost:
        def iter(self, batch_size):
            yield {"text": ["a story"] * batch_size}
            raise ConnectionResetError("peer went away")

        def state_dict(self):
            return {}

    monkeypatch.setattr(hub, "open_stream", lambda *facts: Lost())
    with pytest.raises(EnvironmentProblem, match="ConnectionResetError: peer went away; corpora that need no network"):
        prepare(recipe({"hf": "some/stories"}, "byte"), tmp_path, 1)


def test_rows_that_are_null_are_counted_and_said(tmp_path, fake_hub):
    fake_hub("some/set", "train", [*texts_of(30), None, "", *texts_of(9, "more")])
    fake_hub("some/set", "test", texts_of(10, "held"))
    prepared = prepare(recipe({"hf": "some/set", "validation": "test"}, "byte"), tmp_path, 10**9)
    assert prepared.manifest["splits"]["train"]["counts"] == {"documents": 39, "null": 1, "empty": 1}
    assert account(prepared.manifest) == [
        "held out: 10 documents of the validation split",
        "left out: 1 document of white space alone, 1 document that is null or a cell that the dataset's reader takes "
        "for nothing, as NA, None and null in a CSV",
    ]


def test_a_column_of_nothing_says_so(tmp_path, fake_hub):
    fake_hub("some/set", "train", [None] * 30)
    fake_hub("some/set", "test", texts_of(10, "held"))
    with pytest.raises(CorpusError, match=r"nothing for its train split; .*left out: 30 documents that are null"):
        prepare(recipe({"hf": "some/set", "validation": "test"}, "byte"), tmp_path, 10**9)


def test_a_column_of_numbers_is_refused(tmp_path, fake_hub):
    fake_hub("some/set", "train", texts_of(30))
    with pytest.raises(CorpusError, match=r"corpus 'some/set': field 'n' holds int 1, not text; set `field:`"):
        prepare(recipe({"hf": "some/set", "field": "n"}, "byte"), tmp_path, 10**9)


def test_document_limit_and_own_validation_split(tmp_path, fake_hub, small_shards):
    fake_hub("some/set", "train", texts_of(50))
    fake_hub("some/set", "test", texts_of(30, "held"))
    given = {"hf": "some/set", "documents": 20, "validation": "test", "validation_documents": 11}
    prepared = prepare(recipe(given, "byte"), tmp_path, 10**9)
    assert prepared.complete
    counts = {split: entry["counts"]["documents"] for split, entry in prepared.manifest["splits"].items()}
    assert counts == {"train": 20, "validation": 11}
    text = prepared.decode(np.concatenate([b.tokens_BT[0] for b in prepared.validation(100, 100, 1)]))
    assert "held" in text
    assert "word" not in text


def test_validation_from_another_dataset(tmp_path, fake_hub, small_shards):
    opened = fake_hub("some/code", "train", texts_of(30), field="content")
    fake_hub("some/code-valid", "train", texts_of(30), field="content")
    given = {"hf": "some/code", "field": "content", "validation": {"hf": "some/code-valid", "split": "train"}}
    prepared = prepare(recipe(given, "byte"), tmp_path, 1)
    assert prepared.manifest["revisions"] == {"some/code": "commit-of-main", "some/code-valid": "commit-of-main"}
    assert ("some/code-valid", None, "train", "commit-of-main") in opened


def test_held_out_documents_are_never_trained_on(tmp_path, stories):
    prepared = prepare(recipe({"hf": "some/stories", "holdout": 0.2}, "byte"), tmp_path, 10**9)
    both = {}
    for split, reader in prepared._splits.items():
        both[split] = set(prepared.decode(reader.read(0, reader.tokens)).split("<|endoftext|>")) - {""}
    assert not both["train"] & both["validation"]
    assert len(both["train"]) + len(both["validation"]) == 600
    assert 80 < len(both["validation"]) < 160


def test_the_first_found_revision_stays(tmp_path, stories, monkeypatch):
    made = recipe({"hf": "some/stories"}, "byte")
    prepare(made, tmp_path, 2000)
    monkeypatch.setattr(hub, "resolve_revision", lambda *facts: "a-later-commit")
    prepare(made, tmp_path, 20_000)
    assert {commit for *_, commit in stories} == {"commit-of-main"}


ARTICLES = [
    (" = First = \n", " Some text . \n", " = = Part = = \n", " More text . \n"),
    (" = Second one = \n", "", " Text = of it . \n"),
    *((f" = Number {n} = \n", *(f" Line {k} of {n} . \n" for k in range(n % 9))) for n in range(60)),
]


@pytest.mark.parametrize("first_tokens", [None, 1500])
def test_wikitext_gives_whole_articles(tmp_path, fake_hub, monkeypatch, first_tokens):
    monkeypatch.setattr(shards, "SHARD_TOKENS", 700)
    rows = [row for article in ARTICLES for row in ("", *article)]
    fake_hub("Salesforce/wikitext", "train", rows)
    fake_hub("Salesforce/wikitext", "validation", [row for article in ARTICLES[:3] for row in article])
    made = recipe("wikitext-2", "byte")
    if first_tokens:
        assert not prepare(made, tmp_path, first_tokens).complete
    prepared = prepare(made, tmp_path, 10**9)
    reader = prepared._splits["train"]
    found = prepared.decode(reader.read(0, reader.tokens)).split("<|endoftext|>")
    assert found == [*("".join(article) for article in ARTICLES), ""]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"hf": "some/stories", "field": "body"}, r"no field 'body' \(it has: n, text\); set `field:`"),
        ({"hf": "some/stories", "split": "trian"}, r"Bad split: trian. Available splits: \['train'\]"),
        ({"hf": "some/stories", "validation": "test"}, "Bad split: test"),
    ],
)
def test_wrong_names_of_a_dataset(tmp_path, stories, given, message):
    with pytest.raises(CorpusError, match=message):
        prepare(recipe(given, "byte"), tmp_path, 1)


@pytest.mark.parametrize(
    ("change", "cause"),
    [({"HF_HUB_OFFLINE": "1"}, "HF_HUB_OFFLINE is set"), ({"HF_ENDPOINT": "http://127.0.0.1:9"}, "refused")],
)
def test_without_network(tmp_path, change, cause):
    """In a process of its own, because the hub's client reads its settings once."""
    program = (
        "import atexit, sys, time; from pathlib import Path\n"
        "slept, time.sleep = [], lambda seconds: slept.append(seconds)\n"
        "atexit.register(lambda: print(sum(slept), file=sys.stderr))\n"
        "from procray.corpora import prepare, recipe\n"
        "from procray.errors import EnvironmentProblem\n"
        "try: prepare(recipe('c4'), Path(sys.argv[1]), 1)\n"
        "except EnvironmentProblem as error: print(error, error.exit_code)"
    )
    environment = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    environment |= {"HF_HOME": str(tmp_path), "NO_PROXY": "127.0.0.1", **change}
    command = [sys.executable, "-c", program, str(tmp_path / "root")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert float(done.stderr.splitlines()[-1]) < 20, "seconds slept between tries"
    assert done.stdout.startswith("corpus 'allenai/c4' needs the network, and the hub cannot be reached: "), done
    assert cause in done.stdout
    assert "python-stdlib" in done.stdout
    assert done.stdout.endswith(" 3\n")


def test_a_question_without_an_answer_ends(monkeypatch):
    from procray.corpora import network

    with pytest.raises(TimeoutError, match="no answer within"):
        network.within(0.05, lambda: time.sleep(5))


def test_missing_datasets_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(EnvironmentProblem, match="pip install datasets"):
        hub.open_stream("a/b", None, "train", "main")


def test_an_encoding_is_trained_on_the_stream(tmp_path, stories):
    prepared = prepare(recipe({"hf": "some/stories"}, {"bpe": 280}), tmp_path, 1)
    assert prepared.vocab_size == 280
    assert prepared.folder == corpus_folder(prepared.manifest["recipe"], tmp_path)
