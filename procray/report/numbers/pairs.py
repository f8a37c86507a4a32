"""Runs beside the baseline's of the same target seed, as arrays that the statistics take.

Where a sweep crosses donors with target seeds, one baseline run is the partner of several runs: the arrays then have
one row a donor and one column a target seed, and are never taken for so many independent seeds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from procray.report.numbers.runs import Run
from procray.report.numbers.statistics import Difference, crossed_difference, full_table, paired_difference

Key = int | tuple[int, int]  # of a run within its variant: the seed, or donor and target seed
Pair = tuple[Run, Run]


def key_of(run: Run) -> Key:
    return run.seed if run.donor is None else (run.donor, run.seed)


@dataclass(frozen=True)
class Cells:
    """Pairs in the order of an array: `shape` is (n,), or (donors, targets) where they are crossed."""

    pairs: tuple[Pair, ...]
    shape: tuple[int, ...]

    @property
    def crossed(self) -> bool:
        return len(self.shape) == 2

    @property
    def units(self) -> int:
        """Independent ones: pairs, or the fewer of donors and target seeds."""
        return min(self.shape)

    def resolution(self, metric: str) -> float:
        """The smallest difference of final values that can be measured in all pairs; 0 without any."""
        return max((run.resolution(metric) for pair in self.pairs for run in pair), default=0.0)

    def array(self, value: Callable[[Pair], float | Sequence[float]]) -> np.ndarray:
        """`(n,)` or `(D, T)`, with a leading axis where `value` gives several numbers."""
        values = np.asarray([value(pair) for pair in self.pairs], dtype=np.float64)
        return np.moveaxis(values, 0, -1).reshape(*values.shape[1:], *self.shape)


def cells(pairs: Sequence[Pair]) -> Cells:
    """All pairs; of crossed ones the largest part without gaps."""
    by_key: dict[tuple[int | None, int], Pair] = {
        (run.donor, run.seed): (run, other) for run, other in pairs if run.donor is not None
    }
    if not by_key:
        return Cells(tuple(pairs), (len(pairs),))
    donors, targets = full_table(by_key)
    return Cells(tuple(by_key[d, t] for d in donors for t in targets), (len(donors), len(targets)))


def difference(pairs: Sequence[Pair], metric: str) -> Difference | None:
    """The mean of the final values of the runs minus those of their partners; None for no pairs."""
    if not pairs:
        return None
    found = cells(pairs)
    least = found.resolution(metric)
    if found.crossed:
        return crossed_difference(found.array(lambda pair: pair[0].final(metric) - pair[1].final(metric)), least)
    own, others = ([pair[at].final(metric) for pair in found.pairs] for at in (0, 1))
    return paired_difference(own, others, least)


def partners(runs: Sequence[Run], others: Sequence[Run]) -> list[Pair]:
    """Finished runs with the finished other of the same donor and target seed; of the target seed, without donors."""
    by_key = {key_of(run): run for run in others if run.done}
    if not any(run.donor is not None for run in others):
        return [(run, by_key[run.seed]) for run in runs if run.done and run.seed in by_key]
    return [(run, by_key[key_of(run)]) for run in runs if run.done and key_of(run) in by_key]
