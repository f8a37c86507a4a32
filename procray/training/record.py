"""What an evaluation writes into the journal, and what follows from it: a solved phase, a longer curriculum."""

from __future__ import annotations

import time
from typing import Any

from procray.training.evaluate import Metrics
from procray.training.pacing import Pacing
from procray.training.recipe import PhaseRecipe
from procray.training.rows import MEAN_STEPS, SEQUENCES
from procray.training.schedule import lr_at
from procray.training.source import Curriculum, Source
from procray.training.state import State


def row(state: State, metrics: Metrics, recipe: PhaseRecipe, source: Source, mfu: float | None) -> dict[str, Any]:
    """The row of an evaluation at the state's step, with what was done since the one of the cadence before.

    Args:
        mfu: of the training since then.
    """
    trained, seconds = state.since_steps > 0, state.since_seconds
    return {
        "step": state.step,
        "tokens": state.tokens,
        "scored_tokens": state.scored_tokens,
        "positions": state.positions,
        "flops": state.flops,
        "loss": metrics.loss,
        "accuracy": metrics.accuracy,
        "exact": metrics.exact if source.whole_answers else None,
        **metrics.parts,
        "train_loss": state.since_loss / state.since_scored if trained else None,
        "lr": lr_at(recipe.place(state.step - 1, state.inserted), recipe.optimizer, recipe.length)
        if state.step
        else None,
        "grad_norm": state.since_norm / state.since_steps if trained else None,
        "tokens_per_s": state.since_tokens / seconds if trained and seconds else None,
        "positions_per_s": state.since_positions / seconds if trained and seconds else None,
        "mfu": mfu if trained else None,
        "seconds": state.seconds,
        **_seen(state, source),
        **_how(state, recipe),
        **({} if state.length is None else {"length": state.length}),
        **({} if state.solved_at is None else {"solved": True}),
        "time": time.time(),
    }


def inserted(state: State, metrics: Metrics) -> dict[str, Any]:
    """What the row of an evaluation says of a task that stands among the text, beside what it says of text.

    What was `learned` stands for the moment right after the last update on it, wherever that was.
    """
    scored = state.since_inserted_scored
    names = ("procedural_learned_loss", "procedural_learned_accuracy")
    return {
        "procedural_updates": state.inserted,
        "procedural_tokens": state.inserted_tokens,
        "procedural_loss": metrics.loss,
        "procedural_accuracy": metrics.accuracy,
        "procedural_train_loss": state.since_inserted_loss / scored if scored else None,
        **dict(zip(names, state.learned or (), strict=False)),
    }


def _seen(state: State, source: Source) -> dict[str, Any]:
    """What the source says of its data; of blocks that were cut off no more tokens were seen than consumed."""
    seen = source.exposure(state.step)
    return {**seen, "unique_tokens": min(seen["unique_tokens"], state.tokens)} if "unique_tokens" in seen else seen


def _how(state: State, recipe: PhaseRecipe) -> dict[str, int]:
    """How the row was measured, where other rows of the phase may be measured otherwise."""
    if recipe.kind != "procedural":
        return {}
    return {SEQUENCES: recipe.evaluation.sequences, MEAN_STEPS: state.since_steps}


def judge(
    state: State, accuracy: float, recipe: PhaseRecipe, curriculum: Curriculum | None, paced: Pacing | None = None
) -> None:
    """Notes whether this evaluation solves the phase, or is where the one that it follows was.

    Only the cadence counts, and a curriculum only at its last length.
    """
    if paced is not None:
        state.solved_at = paced.solved_at if state.step == paced.solved_at else None
        return
    rule = recipe.evaluation.solved
    if rule is None or state.step == 0 or state.step % recipe.evaluation.every:
        return
    grown = curriculum is None or state.length is None or curriculum.after(state.length) == state.length
    state.streak = state.streak + 1 if grown and accuracy >= rule.accuracy else 0
    if state.streak >= rule.evaluations:
        state.solved_at = state.step


def begin_interval(state: State, curriculum: Curriculum | None) -> None:
    """After an evaluation of the cadence: the sums begin anew, and a mastered curriculum grows."""
    assert state.row is not None
    if curriculum is not None and state.length is not None and state.row["accuracy"] >= curriculum.mastery:
        state.length = curriculum.after(state.length)
    state.since_loss = state.since_norm = state.since_seconds = state.since_flops = state.since_inserted_loss = 0.0
    state.since_scored = state.since_steps = state.since_tokens = state.since_positions = 0
    state.since_inserted_scored = 0
