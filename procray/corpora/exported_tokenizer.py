"""A phase's tokenizer as the files that `AutoTokenizer.from_pretrained` reads, with the ids that training saw."""

from __future__ import annotations

from typing import Any

from procray.corpora.tokenizer import SEPARATOR, UNKNOWN, Tokenizer
from procray.files import parse_json

ANSWER, PAD = "<|answer|>", "<|pad|>"
_UNKNOWN_ENTRY = "<|unknown|>"  # what decodes to UNKNOWN, which may itself be a character of the alphabet


def tokenizer_files(tokenizer: Tokenizer, special: dict[str, int], context: int) -> dict[str, dict[str, Any]]:
    """`tokenizer.json`, `tokenizer_config.json` and `generation_config.json`, by name.

    Encoding adds no token of its own, as in training. A text that spells the separator is still only text; but for
    questions, whose prompts have to name the token before the answer.

    Args:
        special: the corpus's special tokens, as its manifest has them: `separator`, or `bos`, `sep` and `pad`.
        context: positions of the model.
    """
    content, separator = _library(tokenizer)
    records = "sep" in special
    names = {separator: tokenizer.separator}
    if records:
        names |= {ANSWER: special["sep"], PAD: special["pad"]}
    for name, token in names.items():
        _add(content, name, token)
    content |= {"truncation": None, "padding": None, "post_processor": _quiet(content.get("post_processor"))}
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": separator,
        "eos_token": separator,
        **({"pad_token": PAD} if records else {}),
        "model_max_length": context,
        "model_input_names": ["input_ids", "attention_mask"],  # GPT-2 would add embeddings of token types
        "clean_up_tokenization_spaces": False,
        "split_special_tokens": not records,
    }
    generation = {
        "bos_token_id": tokenizer.separator,
        "eos_token_id": [tokenizer.separator, special["pad"]] if records else tokenizer.separator,
        "pad_token_id": special["pad"] if records else tokenizer.separator,
    }
    return {"tokenizer.json": content, "tokenizer_config.json": config, "generation_config.json": generation}


def _library(tokenizer: Tokenizer) -> tuple[dict[str, Any], str]:
    """The content of a tokenizer.json and the separator's name in it."""
    if tokenizer.kind == "byte":
        bytes_ = {name: byte for byte, name in enumerate(_byte_names())}
        level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
        return _pairs(bytes_, None, level, {**level, "use_regex": True}), SEPARATOR
    if tokenizer.kind == "char":
        alphabet = [*parse_json(tokenizer.content), _UNKNOWN_ENTRY]
        decoder = {
            "type": "Sequence",
            "decoders": [
                {"type": "Replace", "pattern": {"String": _UNKNOWN_ENTRY}, "content": UNKNOWN},
                {"type": "Fuse"},
            ],
        }
        return _pairs({name: token for token, name in enumerate(alphabet)}, _UNKNOWN_ENTRY, None, decoder), SEPARATOR
    if tokenizer.kind == "library":
        saved = parse_json(tokenizer.content)
        return parse_json(saved["library"]), saved["separator"]
    return parse_json(tokenizer.content), SEPARATOR


def _pairs(vocab: dict[str, int], unknown: str | None, splitter: Any, decoder: Any) -> dict[str, Any]:
    """A byte-pair encoding without pairs: every character is its own token."""
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": splitter,
        "post_processor": None,
        "decoder": decoder,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": unknown,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": vocab,
            "merges": [],
        },
    }


def _byte_names() -> list[str]:
    """The character that stands for each byte in a byte-level vocabulary: itself where it prints, else one from 256."""
    printed = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(0x100, 0x200))
    return [chr(byte) if byte in printed else chr(next(others)) for byte in range(256)]


def _add(content: dict[str, Any], name: str, token: int) -> None:
    """Makes a name stand for a token, as a special one, unless it does so already."""
    added = content.setdefault("added_tokens", [])
    if any(entry["content"] == name for entry in added):
        return
    vocab = content["model"]["vocab"]
    if isinstance(vocab, dict):  # a name in the vocabulary keeps its id; others are numbered on
        vocab.setdefault(name, token)
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    added.append({"id": token, "content": name, **plain})


def _quiet(processor: dict[str, Any] | None) -> dict[str, Any] | None:
    """What adds no tokens, which training did not see, to a text."""
    return processor if processor is not None and processor.get("type") == "ByteLevel" else None
