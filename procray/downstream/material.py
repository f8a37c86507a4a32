"""What items are made of: tokens to draw from, and where there is text a tokenizer and held-out documents."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from procray.corpora.tokenizer import UNKNOWN, Tokenizer
from procray.errors import CorpusError


@dataclass(frozen=True)
class Material:
    """What the items of probes are made of. Models with equal material and seed are asked the same.

    Attributes:
        entries: int64, ascending: tokens that random ones are drawn from, never a special one.
        tokenizer: of the model; None for one that was trained on symbols.
        texts: held-out documents.
    """

    entries: np.ndarray
    tokenizer: Tokenizer | None = None
    texts: tuple[str, ...] = field(default=(), repr=False)

    @cached_property
    def documents(self) -> list[np.ndarray]:
        """The tokens of every text, int64."""
        assert self.tokenizer is not None
        tokens, lengths = self.tokenizer.encode(list(self.texts))
        return np.split(tokens.astype(np.int64), lengths.cumsum()[:-1])

    @cached_property
    def stream(self) -> np.ndarray:
        """All texts in one, a separator behind each, as training packs them."""
        assert self.tokenizer is not None
        end = np.array([self.tokenizer.separator])
        return np.concatenate([part for document in self.documents for part in (document, end)])

    @cached_property
    def commonest(self) -> float:
        """The share of the commonest token in the texts: what always saying it gets right."""
        counts = np.bincount(np.concatenate(self.documents))
        return float(counts.max() / counts.sum())

    @cached_property
    def pieces(self) -> list[str]:
        """What each of `entries` decodes to."""
        assert self.tokenizer is not None
        return [self.tokenizer.decode(np.array([entry])) for entry in self.entries]

    def encode(self, texts: Sequence[str]) -> list[np.ndarray]:
        """The tokens of each text, int64."""
        assert self.tokenizer is not None
        tokens, lengths = self.tokenizer.encode(list(texts))
        return np.split(tokens.astype(np.int64), lengths.cumsum()[:-1])

    def endings(self, contexts: Sequence[str], endings: Sequence[str]) -> tuple[list[np.ndarray], list[int]]:
        """The tokens of each context with its ending behind it, and how many of them are the ending's.

        Both are encoded as one text. Spaces at the end of a context belong to the ending, where most tokenizers have
        them, and a token that holds a part of both counts to the ending.
        """
        cut = [context.rstrip(" ") for context in contexts]
        whole = self.encode([context + ending for context, ending in zip(contexts, endings, strict=True)])
        counts = []
        for before, both in zip(self.encode(cut), whole, strict=True):
            shared = min(len(before), len(both) - 1)
            differ = np.flatnonzero(before[:shared] != both[:shared])
            counts.append(len(both) - int(differ[0] if len(differ) else shared))
        return whole, counts


def of_symbols(symbols: int) -> Material:
    """For a model without a tokenizer, whose tokens below `symbols` are data."""
    return Material(np.arange(symbols, dtype=np.int64))


def of_text(tokenizer: Tokenizer, texts: Sequence[str]) -> Material:
    """For a model of text: random tokens are those that occur in the texts.

    Others of the vocabulary may never have been trained. Texts that the tokenizer cannot give back are left out.

    Raises:
        CorpusError: no text is left.
    """
    every = Material(np.empty(0, np.int64), tokenizer, tuple(text for text in texts if text))
    pairs = zip(every.texts, every.documents, strict=True) if every.texts else ()
    kept = [(text, tokens) for text, tokens in pairs if UNKNOWN not in text and tokenizer.decode(tokens) == text]
    if not kept:
        raise CorpusError("there is no held-out text that the tokenizer can write, and these probes are made from it")
    documents = [tokens for _, tokens in kept]
    seen = np.unique(np.concatenate(documents))
    found = Material(np.intersect1d(seen, ordinary_entries(tokenizer)), tokenizer, tuple(text for text, _ in kept))
    vars(found)["documents"] = documents  # encoding them once is enough
    return found


def ordinary_entries(tokenizer: Tokenizer) -> np.ndarray:
    """The tokens of a tokenizer that stand for text, int64 and ascending: no separator, no special one, no unknown."""
    if tokenizer.kind == "byte":
        return np.arange(256, dtype=np.int64)
    if tokenizer.kind == "char":
        return np.arange(len(json.loads(tokenizer.content)), dtype=np.int64)
    saved: dict[str, Any] = json.loads(tokenizer.content)
    library: dict[str, Any] = json.loads(saved["library"]) if tokenizer.kind == "library" else saved
    vocab = library["model"]["vocab"]
    names = vocab if isinstance(vocab, dict) else {entry[0]: number for number, entry in enumerate(vocab)}
    added = {entry["id"]: entry["special"] for entry in library.get("added_tokens", [])}
    unknown = names.get(library["model"].get("unk_token"))
    ids = {*names.values(), *added} - {id for id, special in added.items() if special} - {tokenizer.separator, unknown}
    return np.array(sorted(ids), dtype=np.int64)
