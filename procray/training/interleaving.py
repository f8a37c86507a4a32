"""Procedural data among the text of one phase: one optimiser and one schedule for both.

A step of such a phase is one update on text, with the updates on the task that stand before it. So steps, tokens,
marks and evaluations are those of text, and they fall where they fall in the baseline; text comes in the baseline's
order. The symbols of the task have rows of their own in embedding and head, behind those of the tokenizer; the baseline
has the same rows and no data for them. The softmax of each kind of data is over its own rows, in both of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

from procray.errors import StoreError

Decay = Literal["none", "linear", "cosine"]


@dataclass(frozen=True)
class Interleaving:
    """What stands where. Plain data, part of the identity of a phase.

    Attributes:
        rows: of embedding and head, behind those of the tokenizer.
        task: recipe of the task; None: the rows are there, and nothing is trained on them.
        role: keys its stream of batches, as it does in a phase of its own.
        batch: sequences of one update.
        updates: on the task, in all.
        weight: of one of them in the schedule: its tokens, in steps of text.
        start: updates on text before the first of them can come.
        span: the updates on text among which they are spread; 1: all of them stand before one.
        decay: how updates on the task for each update on text fall to none over the span.
        sequences: size of the fixed validation set.
    """

    rows: int
    task: dict[str, Any] | None = None
    role: str = ""
    batch: int = 0
    updates: int = 0
    start: int = 0
    span: int = 1
    decay: Decay = "none"
    sequences: int = 0
    weight: float = 1.0

    def due(self, step: int) -> int:
        """Updates on the task that are made before update `step` on text, from 0. Pure, and never falling."""
        reached = step + 1 - self.start
        if reached <= 0:
            return 0
        if reached >= self.span:
            return self.updates
        if self.decay == "linear":
            return self.updates * (self.span**2 - (self.span - reached) ** 2) // self.span**2
        if self.decay == "cosine":
            share = reached / self.span
            # Sines of other machines differ in the last digit, which must not move an update.
            return math.floor(self.updates * (share + math.sin(math.pi * share) / math.pi) + 1e-6)
        return self.updates * reached // self.span

    def to_json(self) -> dict[str, Any]:
        """Plain data; of unused rows only how many."""
        return {"rows": self.rows} if self.task is None else dict(vars(self))

    @staticmethod
    def from_json(value: dict[str, Any]) -> Interleaving:
        """Raises StoreError for what is none."""
        numbers = ("batch", "updates", "span", "sequences")
        fits = value.keys() <= Interleaving.__dataclass_fields__.keys() and _is_count(value.get("rows"), 1)
        if fits and len(value) > 1:
            fits = (
                isinstance(value.get("task"), dict)
                and isinstance(value.get("role"), str)
                and value.get("decay") in get_args(Decay)
                and _is_count(value.get("start"), 0)
                and all(_is_count(value.get(name), 1) for name in numbers)
                and isinstance(value.get("weight"), float)
                and 0 < value["weight"] < math.inf
            )
        if not fits:
            raise StoreError(f"the recipe of a phase is damaged: {str(value)[:100]} is no interleaving")
        return Interleaving(**value)


def _is_count(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value < 2**63
