"""What a stream of batches is made of: parts of a mixture and lengths of a range, each with its share of sequences.

A few batches drawn as in training are a poor sample of both. A held-out set therefore takes every part by its weight
and lengths spread evenly over those that training draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from procray.batch import Batch, RowBatch
from procray.tasks.lengths import Span, possible
from procray.tasks.mixture import Mixture, of_part
from procray.tasks.shuffled import Shuffled
from procray.tasks.task import BaseTask, Task

MOST_LENGTHS = 32  # of one range; more of them would make batches of very few sequences


@dataclass(frozen=True)
class Stratum:
    """Sequences of one kind.

    Attributes:
        task: what draws them.
        part: the way to it through mixtures, by the numbers of their parts.
        length: of all of them; None where the task has but one, or a curriculum says it.
        count: how many, at least one.
    """

    task: Task
    part: tuple[int, ...]
    length: int | None
    count: int

    def sample(self, seed: int, stream: str, index: int, size: int, length: int | None = None) -> Batch | RowBatch:
        """As `Task.sample`; `length` is a curriculum's current one."""
        return of_part(self.task, self.part, seed, stream, index, size, self.length if length is None else length)


def strata(task: Task, count: int) -> list[Stratum]:
    """Splits `count` sequences by what training draws; those of few sequences leave out what weighs least.

    Parts of a mixture have their shares by largest remainder. Of a range, up to `MOST_LENGTHS` lengths stand in the
    middle of equal shares of what is drawn, and take equally many sequences.
    """
    found = [Stratum(task, part, length, size) for part, length, size in _split(task, count) if size]
    # In an order in which the first few are no poor sample either.
    return [found[i] for i in sorted(range(len(found)), key=lambda i: _spread(i, len(found)))]


def _split(task: Task, count: int) -> list[tuple[tuple[int, ...], int | None, int]]:
    if isinstance(task, Shuffled):
        return _split(task.task, count)
    if isinstance(task, Mixture):
        sizes = apportion([weight for _, weight in task.parts], count)
        return [
            ((number, *part), length, found)
            for number, ((inner, _), size) in enumerate(zip(task.parts, sizes, strict=True))
            for part, length, found in _split(inner, size)
        ]
    made = cast(BaseTask, task)
    if not isinstance(made.length, Span):
        return [((), None, count)]
    lengths = possible(made.length, made.multiple)
    kinds = min(len(lengths), MOST_LENGTHS, max(1, count))
    middle = [lengths[(2 * kind + 1) * len(lengths) // (2 * kinds)] for kind in range(kinds)]
    return [((), length, size) for length, size in zip(middle, apportion([1.0] * kinds, count), strict=True)]


def apportion(weights: Sequence[float], count: int) -> list[int]:
    """Whole numbers that sum to `count`, in proportion to the weights, by largest remainder.

    Equal remainders are served in an order spread over their places, so that no end of a range gets them all.
    """
    total = sum(weights)
    exact = [weight / total * count for weight in weights]
    sizes = [int(share + 1e-9) for share in exact]
    left = count - sum(sizes)
    turn = sorted(range(len(weights)), key=lambda i: (-round(exact[i] - sizes[i], 9), _spread(i, len(weights)), i))
    for i in turn[:left]:
        sizes[i] += 1
    return sizes


def _spread(number: int, count: int) -> int:
    """The bits of a place in reverse: 0, 4, 2, 6, 1, ... come one after the other."""
    bits = max(1, (count - 1).bit_length())
    return int(f"{number:0{bits}b}"[::-1], 2)


def stratified(recipe: dict[str, Any]) -> bool:
    """Whether a task, by its recipe, draws lengths or parts, so that its held-out sets have several strata."""
    if "shuffled" in recipe:
        return stratified(recipe["shuffled"])
    length = recipe.get("length")
    return "mixture" in recipe or (isinstance(length, dict) and "min" in length)
