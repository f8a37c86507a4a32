"""Tokenizers as transformers' files: the ids of training, by AutoTokenizer."""

from __future__ import annotations

import json

import numpy as np
import pytest

from procray.corpora.exported_tokenizer import tokenizer_files
from procray.corpora.questions import encode_records, special_tokens
from procray.corpora.tokenizer import SEPARATOR, Tokenizer, build_tokenizer, load_tokenizer, tokenizer_recipe
from tests.corpora.test_tokenizer import gpt2_like

SEEN = [
    "def f(x):\n    return x\n\n\n",
    "Ünïcode — 漢字 🎉 tabs\tand  spaces ",
    "hello hello yellow, it's odd . \r\n",
] * 3
HELD_OUT = [
    *SEEN,
    "    for hello in 'world' :\n\t\tpass  # don 't , clean !\n",
    "never seen: ß 한국어 \u0301 \ufffd 🏳️‍🌈 \x00\x7f",
    f"spelt out {SEPARATOR} and <|answer|>, <|unknown|>, <|pad|> [CLS] <s>",
    " ",
    "x" * 3000,
]


def metaspace(folder, entries: int = 0):
    """As Llama's: a token in front of every text, a decoder of its own, and holes among the ids."""
    from tokenizers import AddedToken, decoders, models, pre_tokenizers, processors
    from tokenizers import Tokenizer as Library

    letters = ["<unk>", "<s>", "</s>", "▁", *"abcdefghijklmnopqrstuvwxyz"]
    vocab = {letter: number for number, letter in enumerate(letters)} | {"▁t": 40, "he": 41}
    library = Library(models.BPE(vocab=vocab, merges=[("▁", "t"), ("h", "e")], unk_token="<unk>"))
    library.pre_tokenizer = pre_tokenizers.Metaspace()
    library.decoder = decoders.Metaspace()
    library.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in ("<s>", "</s>")])
    library.post_processor = processors.TemplateProcessing("<s> $A", "<s> $A $B", [("<s>", 1)])
    library.enable_truncation(5)
    folder.mkdir()
    library.save(str(folder / "tokenizer.json"))
    return {"folder": str(folder), "entries": len(vocab)}


def build(name: str, tmp_path) -> Tokenizer:
    given = {
        "byte": lambda: "byte",
        "char": lambda: "char",
        "char with the sign of the unknown": lambda: "char",
        "ascii": lambda: {"char": "ascii"},
        "bpe": lambda: {"bpe": 300},
        "folder": lambda: str(gpt2_like(tmp_path / "small")),
        "metaspace": lambda: metaspace(tmp_path / "llama"),
    }[name]()
    texts = [*SEEN, "\ufffd"] if "sign" in name else SEEN
    return build_tokenizer(tokenizer_recipe(given), lambda: texts)


def loaded(tokenizer: Tokenizer, special, folder):
    """What transformers makes of the files, in the folder of a GPT-2."""
    import transformers

    folder.mkdir()
    for name, content in tokenizer_files(tokenizer, special, 64).items():
        (folder / name).write_text(json.dumps(content, sort_keys=True))
    (folder / "config.json").write_text(json.dumps({"model_type": "gpt2", "vocab_size": tokenizer.vocab_size + 2}))
    transformers.GenerationConfig.from_pretrained(folder)
    return transformers.AutoTokenizer.from_pretrained(folder)


@pytest.mark.parametrize(
    "name", ["byte", "char", "char with the sign of the unknown", "ascii", "bpe", "folder", "metaspace"]
)
def test_the_ids_are_those_of_training(name, tmp_path):
    tokenizer = build(name, tmp_path)
    theirs = loaded(tokenizer, {"separator": tokenizer.separator}, tmp_path / "out")
    for text in HELD_OUT:
        ours, _ = tokenizer.encode([text])
        found = theirs(text, truncation=False)
        assert found["input_ids"] == ours.tolist(), text
        assert set(found) == {"input_ids", "attention_mask"}
        assert theirs.decode(found["input_ids"]) == tokenizer.decode(ours)
        if name in ("byte", "bpe", "folder"):
            assert theirs.decode(found["input_ids"]) == text
    assert theirs.eos_token_id == theirs.bos_token_id == tokenizer.separator
    assert theirs.model_max_length == 64
    assert max(theirs.get_vocab().values()) == tokenizer.vocab_size - 1
    theirs.save_pretrained(tmp_path / "again")
    assert (
        type(theirs).from_pretrained(tmp_path / "again")(HELD_OUT[0])["input_ids"] == theirs(HELD_OUT[0])["input_ids"]
    )


@pytest.mark.parametrize("name", ["byte", "char", "bpe", "metaspace"])
def test_questions_have_their_two_further_tokens(name, tmp_path):
    tokenizer = build(name, tmp_path)
    special = special_tokens(tokenizer)
    theirs = loaded(tokenizer, special, tmp_path / "out")
    record = "the x?\nhe - x"
    ours, _ = encode_records(tokenizer, [record])
    assert theirs(f"{theirs.bos_token}the x?<|answer|>he - x")["input_ids"] == ours.tolist()
    assert theirs.pad_token_id == special["pad"] == max(theirs.get_vocab().values())
    generation = json.loads((tmp_path / "out" / "generation_config.json").read_text())
    assert generation["eos_token_id"] == [special["bos"], special["pad"]]
    assert theirs.decode(np.array([special["sep"], special["pad"]])) == "<|answer|><|pad|>"
    assert theirs.decode([special["sep"], *tokenizer.encode(["he"])[0]], skip_special_tokens=True).strip() == "he"


def test_a_saved_tokenizer_is_exported_as_the_one_that_was_built(tmp_path):
    tokenizer = build("metaspace", tmp_path)
    again = load_tokenizer(tokenizer.kind, tokenizer.content)
    special = {"separator": tokenizer.separator}
    assert tokenizer_files(again, special, 8) == tokenizer_files(tokenizer, special, 8)
