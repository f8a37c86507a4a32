"""Batches of a prepared corpus: pure, every block once per epoch, targets one further."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from procray.corpora import load, prepare, recipe, summary
from procray.corpora.shards import shard_path
from procray.errors import CorpusError


def stream(prepared, split="train"):
    """All tokens of a split, straight from its files."""
    count = len(prepared.manifest["splits"][split]["shards"])
    paths = [shard_path(prepared.folder, split, index) for index in range(count)]
    return np.concatenate([np.fromfile(path, dtype=prepared.manifest["dtype"]) for path in paths])


def test_batches_are_cut_from_the_stream(code):
    tokens = stream(code).astype(np.int64)
    context, size = 64, 16
    blocks = code.blocks(context)
    assert blocks == (len(tokens) - 1) // context
    seen = []
    for index in range(blocks // size):
        batch = code.batch(0, index, size, context)
        assert batch.tokens_BT.shape == (size, context)
        assert (batch.tokens_BT[:, 1:] == batch.targets_BT[:, :-1]).all()
        assert batch.mask_BT.all()
        assert batch.nominal_tokens == size * context
        seen.append(np.concatenate([batch.tokens_BT, batch.targets_BT[:, -1:]], axis=1))
    rows = {row.tobytes() for row in np.concatenate(seen)}
    whole = {tokens[block * context : block * context + context + 1].tobytes() for block in range(blocks)}
    assert rows <= whole
    assert len(whole - rows) <= blocks % size  # those of the last, shorter batch


def test_every_block_once_per_epoch(code):
    context = 500
    blocks = code.blocks(context)
    epochs = [
        np.concatenate([code.batch(0, e * blocks + i, 1, context).tokens_BT for i in range(blocks)]) for e in (0, 1)
    ]
    whole = stream(code)[: blocks * context].reshape(blocks, context)
    for epoch in epochs:
        assert sorted(row.tobytes() for row in epoch) == sorted(row.astype(np.int64).tobytes() for row in whole)
    assert (epochs[0] != epochs[1]).any()


def test_a_batch_is_a_function_of_its_arguments(code, code_recipe):
    first = code.batch(5, 9, 8, 128)
    other = load(code_recipe, code.folder.parent)
    other.batch(5, 3, 8, 128)
    again = other.batch(5, 9, 8, 128)
    assert (first.tokens_BT == again.tokens_BT).all()
    assert (first.targets_BT == again.targets_BT).all()
    assert (first.tokens_BT != code.batch(6, 9, 8, 128).tokens_BT).any()
    assert (first.tokens_BT != code.batch(5, 10, 8, 128).tokens_BT).any()


def test_batch_size_only_groups_the_stream_of_blocks(code):
    large = code.batch(1, 0, 12, 96).tokens_BT
    small = np.concatenate([code.batch(1, index, 4, 96).tokens_BT for index in range(3)])
    assert (large == small).all()


def test_a_batch_may_span_epochs(code):
    context = 1000
    blocks = code.blocks(context)
    batch = code.batch(0, 0, blocks + 5, context)
    assert len({row.tobytes() for row in batch.tokens_BT}) == blocks
    following = np.concatenate([code.batch(0, blocks + number, 1, context).tokens_BT for number in range(5)])
    assert (batch.tokens_BT[blocks:] == following).all()


def test_validation_is_fixed_and_a_larger_set_begins_with_a_smaller(code):
    tokens = stream(code, "validation").astype(np.int64)
    context = 64
    small = np.concatenate([batch.tokens_BT for batch in code.validation(5, context, 2)])
    large = np.concatenate([batch.tokens_BT for batch in code.validation(20, context, 8)])
    assert len(small) == 5
    assert (large[:5] == small).all()
    whole = {tokens[start : start + context].tobytes() for start in range(0, len(tokens) - context, context)}
    assert {row.tobytes() for row in large} <= whole
    everything = list(code.validation(10**9, context, 7))
    assert sum(len(batch.tokens_BT) for batch in everything) == code.blocks(context, "validation")
    assert all((batch.tokens_BT[:, 1:] == batch.targets_BT[:, :-1]).all() for batch in everything)


def test_training_and_validation_share_no_document(code):
    separator = code.manifest["tokenizer"]["special"]["separator"]
    documents = {}
    for split in ("train", "validation"):
        tokens = stream(code, split)
        assert tokens[-1] == separator
        documents[split] = {part.tobytes() for part in np.split(tokens, np.flatnonzero(tokens == separator))}
    counts = {split: entry["counts"]["documents"] for split, entry in code.manifest["splits"].items()}
    cut = code.manifest["text"]["held_out"]["cut"]  # is in both, one part each
    assert sum(counts.values()) == len(list(code_files())) + cut
    assert len(documents["validation"]) == counts["validation"] + 1  # the end of the last separator
    assert len(documents["train"] & documents["validation"]) <= 1


def code_files():
    from procray.corpora.local import stdlib_folder

    for name in ("json", "http", "logging"):
        yield from (stdlib_folder() / name).glob("*.py")


def test_exposure_counts_epochs_and_unique_tokens(code):
    blocks = code.blocks(100)
    assert code.exposure(0, 100) == {"epoch": 0.0, "unique_tokens": 0}
    assert code.exposure(blocks // 2, 100) == {"epoch": (blocks // 2) / blocks, "unique_tokens": blocks // 2 * 100}
    assert code.exposure(3 * blocks, 100) == {"epoch": 3.0, "unique_tokens": blocks * 100}


def test_decode_gives_the_source_back(code):
    from procray.corpora.local import stdlib_folder

    text = code.decode(stream(code))
    source = (stdlib_folder() / "json" / "decoder.py").read_text()
    assert source in text or source in code.decode(stream(code, "validation"))
    assert "<|endoftext|>" in text


@pytest.mark.parametrize("split", ["train", "validation"])
def test_too_few_tokens_for_one_block(code, split):
    take = {"train": lambda: code.batch(0, 0, 1, 10**7), "validation": lambda: code.validation(1, 10**7, 1)}[split]
    with pytest.raises(CorpusError, match=f"its {split} split has .* tokens, too few for one block of 10,000,000"):
        take()


def test_summary_is_readable(code):
    facts = summary(code)
    assert facts["digest"] == code.digest
    assert facts["train"]["tokens"] == facts["unique_tokens"] == code.train_tokens
    assert facts["validation"]["documents"] >= 1
    assert 200 < facts["entries_used"] <= code.vocab_size == 512
    assert facts["bytes"] == sum(path.stat().st_size for path in (code.folder / "shards").iterdir())
    assert len(facts["sample"]) > 200


class TestDamage:
    @pytest.fixture
    def copy(self, code, tmp_path):
        return shutil.copytree(code.folder, tmp_path / code.folder.name)

    def test_not_prepared(self, code_recipe, tmp_path):
        with pytest.raises(CorpusError, match=r"is not prepared in .*procray data prepare"):
            load(code_recipe, tmp_path)

    @pytest.mark.parametrize("split", ["train", "validation"])
    def test_changed_shard_is_refused_by_name(self, code_recipe, copy, split):
        path = shard_path(copy, split, 0)
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
        prepared = load(code_recipe, copy.parent)
        with pytest.raises(CorpusError, match=rf"{split}-00000\.bin does not have the content"):
            prepared.verify()
        with pytest.raises(CorpusError, match=rf"{split}-00000\.bin"):
            prepared.batch(0, 0, 1, 64) if split == "train" else list(prepared.validation(1, 64, 1))

    def test_cut_off_and_missing_shards(self, code_recipe, copy):
        path = shard_path(copy, "train", 0)
        path.write_bytes(path.read_bytes()[:-2])
        with pytest.raises(CorpusError, match="bytes long"):
            load(code_recipe, copy.parent)
        path.unlink()
        with pytest.raises(CorpusError, match=r"train-00000\.bin is missing"):
            load(code_recipe, copy.parent)

    def test_edited_manifest(self, code, code_recipe, copy):
        path = copy / "manifest.json"
        path.write_text(path.read_text().replace(code.manifest["splits"]["train"]["shards"][0]["sha256"], "0" * 64))
        with pytest.raises(CorpusError, match="does not match its own digest"):
            load(code_recipe, copy.parent)
        path.write_text("{")
        with pytest.raises(CorpusError, match="damaged"):
            load(code_recipe, copy.parent)

    def test_changed_tokenizer(self, code_recipe, copy):
        path = copy / "tokenizer.json"
        path.write_text(path.read_text().replace("Ġ", "G", 1))
        with pytest.raises(CorpusError, match=r"tokenizer\.json does not have the content"):
            load(code_recipe, copy.parent).decode([1, 2])


@pytest.mark.parametrize("tokenizer", ["byte", "char"])
def test_other_tokenizers(tmp_path, texts, tokenizer):
    prepared = prepare(recipe({"files": texts}, tokenizer), tmp_path / "root", 1)
    text = prepared.decode(stream(prepared))
    assert text.startswith("Document ")
    assert text.count("<|endoftext|>") == prepared.manifest["splits"]["train"]["counts"]["documents"]
    if tokenizer == "byte":
        assert prepared.train_tokens == len(text.encode()) - text.count("<|endoftext|>") * (len("<|endoftext|>") - 1)


def test_the_standard_library_whole(tmp_path_factory):
    prepared = prepare(recipe("python-stdlib", "byte"), tmp_path_factory.mktemp("stdlib"), 1)
    assert prepared.train_tokens > 5_000_000
    assert 0.01 < prepared.validation_tokens / prepared.train_tokens < 0.2
    assert prepared.batch(0, 0, 8, 512).tokens_BT.max() < prepared.vocab_size == 257
    prepared.verify()


def test_documents_are_held_out_text_again(tmp_path):
    (tmp_path / "text.txt").write_text("a line of text\n" * 400)
    text = recipe({"files": [str(tmp_path / "text.txt")], "holdout": 0.5}, "byte")
    prepared = prepare(text, tmp_path / "store", 1)
    documents = prepared.documents(10**6)
    assert len("".join(documents)) + len(documents) == prepared.validation_tokens
    assert set("".join(documents).splitlines()) <= {"a line of text", "ine of text", ""} | {
        "a line of text"[start:] for start in range(14)
    }
    assert sum(len(document) for document in prepared.documents(50)) <= 50


def test_documents_of_questions_are_records(tmp_path):
    (tmp_path / "sums.txt").write_text("".join(f"What is {n} + 1?\n{n + 1}\n\n" for n in range(300)))
    sums = recipe({"name": "deepmind-math", "files": str(tmp_path / "sums.txt")}, "char")
    documents = prepare(sums, tmp_path / "store", 1).documents(10**6)
    assert documents
    for document in documents:
        words = document.split(" ")
        assert document == f"What is {words[2]} + 1? {int(words[2]) + 1}"
