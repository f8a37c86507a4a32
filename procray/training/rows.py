"""What two rows of a journal must have in common when both are of one step of one phase.

How often a warm-up is evaluated, and on how many sequences, is not part of what it is, so another run of it may
measure elsewhere or otherwise. What was measured alike must then still be the same.
"""

from __future__ import annotations

from typing import Any

from procray.batch import EXACT_MATCH, PARTS

# Of the phase up to the step, however it was measured. Counts; equal on every machine. What is computed (`positions`,
# `flops`) is not: how a batch is cut, and with it what is trimmed, depends on the device.
COUNTERS = (
    "step", "tokens", "scored_tokens", "epoch", "unique_tokens", "length", "tokens_by_task",
    "procedural_updates", "procedural_tokens",
)  # fmt: skip
# On how many held-out sequences a row was measured, and over how many steps before it its means run; noted where
# either may differ from row to row.
SEQUENCES, MEAN_STEPS = "sequences", "mean_steps"
_INSERTED = (
    "procedural_loss", "procedural_accuracy", "procedural_learned_loss", "procedural_learned_accuracy",
)  # fmt: skip  # of a task among text
_HELD_OUT = ("loss", "accuracy", "exact", *PARTS, EXACT_MATCH, *_INSERTED)
_MEANS = ("train_loss", "grad_norm", "procedural_train_loss")
VALUES = (*_HELD_OUT, *_MEANS, "lr")
LOSS = "loss"


def alike(known: dict[str, Any], new: dict[str, Any]) -> tuple[str, ...]:
    """The entries that both rows must agree in: counters, and what was measured in the same way for both."""
    names: tuple[str, ...] = (*COUNTERS, "lr")
    if known.get(SEQUENCES) == new.get(SEQUENCES):
        names += _HELD_OUT
    if known.get(MEAN_STEPS) == new.get(MEAN_STEPS):
        names += _MEANS
    return names
