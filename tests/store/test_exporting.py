"""What leaves the store besides phases of plain text: questions, rows of an automaton, checkpoints from outside."""

from __future__ import annotations

import json

import pytest

from procray import corpora
from procray.corpora.questions import encode_records
from procray.model import FAMILIES, GPT2, GPT2Config, build, save_weights
from procray.model.outside import look_up
from procray.selection.outside import bring
from procray.store.export import export_mark
from procray.store.store import Store
from procray.training.interleaving import Interleaving
from procray.training.recipe import Evaluation, ModelShape, Optimizer, PhaseRecipe


def stored(
    store: Store,
    data: dict,
    vocab: int,
    rows: int | None = None,
    family: str = "gpt2",
    among: Interleaving | None = None,
):
    """A phase on some data, with a mark at step 10."""
    shape = ModelShape.from_json({"layers": 1, "heads": 2, "width": 16, "context": 32, "family": family})
    recipe = PhaseRecipe("semantic", shape, data, 2, Optimizer(1e-3), Evaluation(10, 4), 0, interleaving=among)
    phase = store.phase(recipe.id)
    held = phase.acquire({})
    phase.write_description(recipe, {}, held.attempt)
    model = build(shape.config(vocab, rows), seed=0)
    phase.write_mark(held, 10, lambda place: save_weights(model, place), {"tokens": 640})
    held.release()
    return phase


def refused(folder) -> None:
    from transformers import AutoTokenizer

    with pytest.raises((ValueError, OSError)):
        AutoTokenizer.from_pretrained(folder)


@pytest.mark.parametrize("family", ["gpt2", "neox", "llama"])
def test_questions_are_asked_as_they_were_in_training(tmp_path, family):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    records = "".join(f"What is {n} + {n + 1}?\n{2 * n + 1}\n" for n in range(200))
    (tmp_path / "sums.txt").write_text(records)
    store = Store(tmp_path / "store")
    data = corpora.recipe({"name": "deepmind-math", "files": str(tmp_path / "sums.txt")}, "char")
    prepared = corpora.prepare(data, store.corpora, 1)
    phase = stored(store, data, prepared.vocab_size, family=family)
    said = export_mark(store, phase, 10, tmp_path / "out")
    assert "a prompt is <|endoftext|>QUESTION<|answer|>" in said
    assert "<|endoftext|>QUESTION<|answer|>" in (tmp_path / "out" / "README.md").read_text()
    tokenizer, model = (one.from_pretrained(tmp_path / "out") for one in (AutoTokenizer, AutoModelForCausalLM))
    assert type(model).__name__ == FAMILIES[family].architecture
    ours, answers = encode_records(prepared.tokenizer, ["What is 7 + 8?\n15"])
    prompt = tokenizer("<|endoftext|>What is 7 + 8?<|answer|>", return_tensors="pt")
    assert prompt["input_ids"].tolist() == [ours[~answers].tolist()]
    assert len(tokenizer) == model.config.vocab_size
    assert model.generation_config.pad_token_id == tokenizer.pad_token_id == prepared.vocab_size - 1
    assert model.generate(**prompt, max_new_tokens=3, do_sample=False).shape[1] > prompt["input_ids"].shape[1]


def test_rows_of_an_automaton_are_no_text_and_not_for_transformers(tmp_path):
    store = Store(tmp_path / "store")
    phase = stored(store, {"task": {"name": "eca"}}, 2, rows=6)
    assert "symbols of the task eca, not on text" in export_mark(store, phase, 10, tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    assert "`procray.model.load_model` loads it, not transformers" in card
    assert "library_name" not in card
    assert "step 10, 640 tokens" in card
    refused(tmp_path / "out")


def test_of_a_checkpoint_from_outside_the_text_is_not_known(tmp_path):
    save_weights(GPT2(GPT2Config(1, 2, 16, 20, 16), seed=0), tmp_path / "theirs")
    store, outside = Store(tmp_path / "store"), look_up({"path": str(tmp_path / "theirs")})
    bring(outside, store)
    assert "no tokenizer: " in export_mark(store, store.phase(outside.id), 0, tmp_path / "out")
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["kind"] == "outside"
    refused(tmp_path / "out")


def test_rows_behind_the_tokenizer_are_told(tmp_path):
    (tmp_path / "a.txt").write_text("some words and others\n" * 400)
    store = Store(tmp_path / "store")
    data = corpora.recipe({"files": [str(tmp_path / "a.txt")]}, "byte")
    prepared = corpora.prepare(data, store.corpora, 1)
    phase = stored(store, data, prepared.vocab_size + 22, among=Interleaving(22))
    assert "257 entries; behind them 22 rows for symbols that are no text" in export_mark(
        store, phase, 10, tmp_path / "out"
    )
