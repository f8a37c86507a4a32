"""The lengths of another phase's sequences, step by step: what the control of a task whose sequences grow follows.

A curriculum grows when its task is mastered, which a task without structure never is. A control that went by its own
evaluations would stay at the first length and see a fraction of the tokens. So it takes the length that the phase of
the real task had at every step, and ends where that one was solved: also where lengths are fixed, since what has no
structure is never solved and would see more tokens.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from procray.errors import StoreError
from procray.training.context import Context
from procray.training.recipe import PhaseRecipe, has_curriculum


@dataclass(frozen=True)
class Pacing:
    """A schedule of lengths, in intervals of steps.

    Attributes:
        phase: whose schedule it is.
        ends: by interval, the step that it ends with.
        lengths: by interval, the length of the sequences of every update in it, None where it does not grow; of text in
            place of a task the tokens of a block, so that a step has as many tokens as one of the task.
        solved_at: the step after which there are none, because the task was solved.
    """

    phase: str
    ends: tuple[int, ...]
    lengths: tuple[int | None, ...]
    solved_at: int | None

    def length(self, step: int) -> int | None:
        """Of update `step`, from 0.

        Raises:
            StoreError: the schedule does not reach so far.
        """
        place = bisect_left(self.ends, step + 1)
        if place == len(self.ends):
            reached = self.ends[-1] if self.ends else 0
            raise StoreError(
                f"the lengths of step {step + 1} are those of phase {self.phase}, whose evaluations reach step "
                f"{reached} only: it must be trained as far before"
            )
        return self.lengths[place]


def pacing(recipe: PhaseRecipe, context: Context) -> Pacing | None:
    """The schedule that a phase follows; None where it follows none.

    Raises:
        StoreError: the other phase's evaluations have no lengths.
    """
    if not recipe.paced_by:
        return None
    rows = context.curve(recipe.paced_by)
    ends, lengths = [], []
    for before, row in pairwise(rows):
        ends.append(int(row["step"]))
        lengths.append(_length(recipe, before, row))
    solved = next((int(row["step"]) for row in rows if row.get("solved")), None)
    return Pacing(recipe.paced_by, tuple(ends), tuple(lengths), solved)


def _length(recipe: PhaseRecipe, before: dict[str, Any], row: dict[str, Any]) -> int | None:
    """Between two evaluations, which all of a curriculum's steps have in common."""
    if "task" in recipe.data and not has_curriculum(recipe.data):
        return None
    if "task" in recipe.data:
        if "length" not in row:
            raise StoreError(f"phase {recipe.paced_by}, step {row['step']}: the evaluation has no length")
        return int(row["length"])
    tokens = (int(row["tokens"]) - int(before["tokens"])) / (int(row["step"]) - int(before["step"]))
    return min(recipe.model.context, max(1, round(tokens / recipe.batch)))
