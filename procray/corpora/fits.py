"""Whether a corpus can serve a phase: asked before anything trains, of small local files even before that."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from procray.corpora import formats
from procray.corpora.local import LocalFile
from procray.corpora.prepared import Prepared
from procray.corpora.recipe import is_local, local_files, title
from procray.errors import CorpusError


def check_fits(prepared: Prepared, context: int, batch: int, sequences: int, split: str = "validation") -> list[str]:
    """What a phase will meet in its corpus that it can train with, one line each; empty where nothing is to be said.

    Args:
        context: tokens of a block.
        batch: blocks of a step.
        sequences: blocks of an evaluation.
        split: "validation", or "tuning" where settings are chosen.

    Raises:
        CorpusError: too little text to train or to evaluate on, both in one message.
    """
    blocks: dict[str, int] = {}
    problems = []
    for part in ("train", "validation"):
        try:
            blocks[part] = prepared.blocks(context, part)
        except CorpusError as error:
            problems.append(str(error))
    if problems:
        raise CorpusError("; ".join(problems))
    prepared.validation(sequences, context, sequences, split)  # refuses where nothing is left to choose settings on
    notes = []
    if prepared.complete and blocks["train"] < batch:
        notes.append(
            f"corpus {prepared.title}: its {blocks['train']:,} training blocks of {context:,} tokens are fewer than "
            f"the {batch:,} of a step, which repeats them"
        )
    if split == "validation" and blocks["validation"] < sequences:
        notes.append(
            f"corpus {prepared.title}: its validation split has {blocks['validation']:,} blocks of {context:,} tokens, "
            f"and evaluations take these in place of {sequences:,}"
        )
    return notes


def refuse_too_little(recipe: dict[str, Any], context: int) -> None:
    """Looks at local files that are not prepared: with so few bytes there are too few tokens, whatever they hold.

    Only what is certain is refused, and what takes no time: plain files, and tokenizers that make no more tokens of a
    text than it has bytes. `check_fits` knows the rest when the corpus is prepared.

    Args:
        context: tokens of a block.

    Raises:
        CorpusError: not one block to train on and one to evaluate on.
    """
    if not is_local(recipe) or recipe["tokenizer"]["kind"] not in ("byte", "char", "bpe"):
        return
    train, validation = local_files(recipe["corpus"])
    parts = {"files have": (train, 2)} if validation is None else {"files have": (train, 1)}
    parts |= {} if validation is None else {"validation files have": (validation, 1)}
    problems = []
    for what, (files, blocks) in parts.items():
        most = _most_tokens(files, recipe["corpus"].get("field"), blocks * (context + 1))
        if most is not None:
            use = "to train on and one to evaluate on" if blocks == 2 else "of it"
            problems.append(
                f"corpus {title(recipe)}: its {what} {most:,} bytes, too few for a block of {context:,} tokens {use}; "
                "use a larger corpus or a shorter context"
            )
    if problems:
        raise CorpusError("; ".join(problems))


def _most_tokens(files: list[LocalFile], field: str | None, needed: int) -> int | None:
    """Bytes of plain files, where those and an end for each file are fewer tokens than needed; else None."""
    total = 0
    try:
        for file in files:
            total += file.path.stat().st_size
            if total + len(files) >= needed or formats.is_packed(file) or formats.kind_of(file, field) == "parquet":
                return None
        # A byte that is in no encoding becomes a character of three.
        return total if all(_is_utf8(file.path) for file in files) else None
    except OSError:
        return None  # told where it is read


def _is_utf8(path: Path) -> bool:
    try:
        path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return False
    return True
