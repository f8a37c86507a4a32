"""Whether a prepared corpus can serve a phase: asked before anything trains."""

from __future__ import annotations

from procray.corpora.prepared import Prepared
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
