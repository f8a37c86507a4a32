"""`procray export`: a folder that transformers loads, with the tokenizer that the phase was trained with, or none."""

from __future__ import annotations

import json
import shutil

import pytest
import torch

from procray.corpora.tokenizer import load_tokenizer
from procray.model import load_model, save_weights
from procray.store.store import Store


@pytest.fixture(scope="module")
def ids(finished):
    command, _ = finished
    return {row["kind"]: row["id"] for row in json.loads(command("status", command.file, "--json").stdout)}


@pytest.fixture(scope="module")
def text(finished, ids, tmp_path_factory):
    command, _ = finished
    folder = tmp_path_factory.mktemp("text") / "deep" / "out"
    return folder, command("export", ids["semantic"], folder).stdout


def test_a_phase_of_text_brings_its_tokenizer(text):
    from transformers import AutoTokenizer

    folder, said = text
    assert "tokenizer of local files, 257 entries" in said
    theirs, ours = AutoTokenizer.from_pretrained(folder), load_tokenizer("byte", "")
    for held_out in ("the quick brown fox 7777 jumps\n\n", "  never seen: Ü — 漢字 🎉 <|endoftext|> , it's ."):
        tokens = theirs(held_out)["input_ids"]
        assert tokens == ours.encode([held_out])[0].tolist()
        assert theirs.decode(tokens) == held_out
    assert (theirs.eos_token_id, theirs.model_max_length) == (256, 32)


def test_it_generates_what_our_model_generates(text):
    from transformers import AutoTokenizer, GPT2LMHeadModel

    folder, _ = text
    tokenizer, theirs = AutoTokenizer.from_pretrained(folder), GPT2LMHeadModel.from_pretrained(folder)
    assert theirs.generation_config.eos_token_id == 256
    prompt = tokenizer("the quick", return_tensors="pt")
    made = theirs.generate(**prompt, max_new_tokens=8, do_sample=False)
    ours, tokens = load_model(folder).eval(), prompt["input_ids"]
    with torch.no_grad():
        while tokens.shape[1] < made.shape[1]:
            tokens = torch.cat([tokens, ours(tokens)[:, -1:].argmax(-1)], dim=1)
    assert made.tolist() == tokens.tolist()
    assert tokenizer.decode(made[0]).startswith("the quick")
    assert len(tokenizer) == theirs.config.vocab_size == 257


def test_a_phase_of_symbols_has_none_and_says_so(finished, ids, tmp_path):
    from transformers import AutoTokenizer, GPT2LMHeadModel

    command, _ = finished
    said = command("export", ids["procedural"], tmp_path / "out").stdout
    assert "no tokenizer: this phase was trained on symbols of the task reverse, not on text" in said
    assert "No tokenizer: this phase was trained on symbols of the task reverse" in (
        tmp_path / "out" / "README.md"
    ).read_text(encoding="utf-8")
    GPT2LMHeadModel.from_pretrained(tmp_path / "out")
    with pytest.raises((ValueError, OSError)):
        AutoTokenizer.from_pretrained(tmp_path / "out")
    # Of a mark that was written before config.json said so, too.
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    del config["tokenizer_class"]
    (tmp_path / "out" / "config.json").write_text(json.dumps(config))
    with pytest.raises((ValueError, OSError)):
        AutoTokenizer.from_pretrained(tmp_path / "out")


def test_without_its_corpus_a_phase_of_text_has_none_and_says_so(finished, ids, tmp_path):
    from transformers import AutoTokenizer

    from procray.store.export import export_mark

    command, _ = finished
    shutil.copytree(command.store, tmp_path / "store")
    store = Store(tmp_path / "store")
    for corpus in store.corpora_sizes():
        store.remove_corpus(corpus)
    phase = store.phase(ids["semantic"])
    said = export_mark(store, phase, phase.marks()[-1], tmp_path / "out")
    assert "is no longer in the store" in said
    assert "is no longer in the store" in (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    with pytest.raises((ValueError, OSError)):
        AutoTokenizer.from_pretrained(tmp_path / "out")


def test_nothing_is_left_where_a_folder_cannot_be_made(finished, ids, tmp_path):
    command, _ = finished
    (tmp_path / "out").mkdir()
    assert "exists already" in command("export", ids["semantic"], tmp_path / "out", code=2).stderr
    assert list(tmp_path.rglob("*")) == [tmp_path / "out"]
    command("export", ids["semantic"], tmp_path / "other", "--step", 1234567, code=2)
    assert list(tmp_path.rglob("*")) == [tmp_path / "out"]


def test_what_a_folder_of_weights_becomes_keeps_no_foreign_tokenizer(finished, text, tmp_path):
    """A model that is loaded and saved again, by us, names no tokenizer either."""
    from transformers import AutoTokenizer

    save_weights(load_model(text[0]), tmp_path / "again")
    with pytest.raises((ValueError, OSError)):
        AutoTokenizer.from_pretrained(tmp_path / "again")
