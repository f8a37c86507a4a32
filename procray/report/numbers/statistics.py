"""Means, spreads, intervals and tests over seeds. docs/claims.md has the definitions with their sources."""

from __future__ import annotations

import functools
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np

LEVEL = 0.05  # of every test, two-sided, for a whole table

BOOTSTRAP_FROM = 10  # below this many pairs a resampled interval is narrower than it should be
_RESAMPLES = 10_000


@dataclass(frozen=True)
class Spread:
    """`mean`, standard deviation `sd` (n - 1 in the denominator; None for n = 1) and number `n`."""

    mean: float
    sd: float | None
    n: int


@dataclass(frozen=True)
class Difference:
    """The mean of paired differences with its 95 % interval.

    `low` and `high` come from Student's t and are None for n = 1. `bootstrap` holds the percentile interval over
    resampled pairs, only from n = 10. `p` is two-sided, for this difference by itself.

    Where donors are crossed with target seeds, `n` is the number of donors, `targets` that of target seeds, and
    `donor_sd` and `target_sd` tell the spread between the ones from that between the others (0 where a negative
    variance would be the estimate). `rest_sd` is what both leave: by how much one pair of a donor and a target seed
    differs from what the two are worth elsewhere.
    """

    mean: float
    low: float | None
    high: float | None
    n: int
    bootstrap: tuple[float, float] | None = None
    p: float | None = None
    targets: int | None = None
    donor_sd: float | None = None
    target_sd: float | None = None
    rest_sd: float | None = None

    @property
    def units(self) -> int:
        """How many independent values the interval rests on: pairs, or the fewer of donors and target seeds."""
        return self.n if self.targets is None else min(self.n, self.targets)

    @property
    def excludes_zero(self) -> bool | None:
        """Whether the interval leaves out "no difference"; None without an interval."""
        if self.low is None or self.high is None:
            return None
        return self.low > 0 or self.high < 0


def spread(values: Sequence[float]) -> Spread | None:
    """Mean, sd and n of finite numbers; None for none."""
    if not values:
        return None
    array = np.asarray(values, dtype=np.float64)
    return Spread(float(array.mean()), float(array.std(ddof=1)) if len(array) > 1 else None, len(array))


def paired_difference(
    values: Sequence[float], references: Sequence[float], resolution: float = 0.0
) -> Difference | None:
    """The mean of `values - references`, pair by pair (one pair a seed); None for no pairs.

    Pairing takes out what the seed gives to both sides (initial weights, order of the data), which is most of the
    spread between seeds.

    Args:
        resolution: the smallest difference that can be measured; see `mean_and_error`.

    Raises:
        ValueError: not as many references as values.
    """
    if len(values) != len(references):
        raise ValueError(f"{len(values)} values cannot be paired with {len(references)} references")
    differences = np.asarray(values, dtype=np.float64) - np.asarray(references, dtype=np.float64)
    count = len(differences)
    if not count:
        return None
    if count == 1:
        return Difference(float(differences[0]), None, None, 1)
    found = _with_interval(differences, False, resolution)
    bootstrap = None
    if count >= BOOTSTRAP_FROM:
        low, high = np.quantile(differences[_picks(count)].mean(axis=1), [0.025, 0.975])
        least = t_quantile(count - 1) * resolution / count**0.5
        bootstrap = (min(float(low), found.mean - least), max(float(high), found.mean + least))
    return replace(found, bootstrap=bootstrap)


@functools.lru_cache(maxsize=2)
def _picks(count: int) -> np.ndarray:
    """Which pairs are drawn, by a fixed seed: the same store gives the same report."""
    return np.random.default_rng(0).integers(0, count, (_RESAMPLES, count))


def crossed_difference(values_DT: np.ndarray, resolution: float = 0.0) -> Difference:
    """The mean of differences of D donors, each tried on the same T target seeds; its unit is the donor.

    The baseline of a target seed stands in all differences of its column, and the donor in all of its row. So the
    variance of the mean has a part of the donors and one of the targets (two-way random effects, as for MRMC
    studies), and the degrees of freedom are those of the fewer of both. Without two of each there is no interval.
    """
    donors, targets = values_DT.shape
    mean = float(values_DT.mean())
    if donors < 2 or targets < 2:
        return Difference(mean, None, None, donors, targets=targets)
    donor, target, rest = (float(square) for square in _mean_squares(values_DT))
    found = _with_interval(values_DT, True, resolution)
    spreads = max(0.0, donor - rest) / targets, max(0.0, target - rest) / donors
    parts = {"donor_sd": spreads[0] ** 0.5, "target_sd": spreads[1] ** 0.5, "rest_sd": rest**0.5}
    return replace(found, n=donors, targets=targets, **parts)


def _with_interval(values: np.ndarray, crossed: bool, resolution: float) -> Difference:
    means, errors, degrees = mean_and_error(values, crossed, resolution)
    mean, error = float(means), float(errors)
    half = t_quantile(degrees) * error
    return Difference(mean, mean - half, mean + half, values.shape[-1], p=p_value(mean, error, degrees))


def mean_and_error(values: np.ndarray, crossed: bool, resolution: float = 0.0) -> tuple[np.ndarray, np.ndarray, int]:
    """Means, their standard errors and degrees of freedom.

    Args:
        values: shape (..., n), or (..., donors, targets) where `crossed`; two of each at least.
        resolution: the smallest difference that can be measured. Values that are alike as far as can be told may still
            differ by as much, so no standard deviation between independent ones is taken for less.
    """
    if not crossed:
        count = values.shape[-1]
        deviations = np.maximum(values.std(axis=-1, ddof=1), resolution)
        return values.mean(axis=-1), deviations / count**0.5, count - 1
    donors, targets = values.shape[-2:]
    donor, target, rest = _mean_squares(values)
    # The unbiased estimate is `donor + target - rest`; it may come out below either part, and is then not believed.
    square = np.maximum(donor + target - rest, np.maximum(donor, target))
    # Scores of few sequences can differ from cell to cell while all rows and columns agree: the rest is left then.
    square = np.where(square <= 1e-12 * rest, rest, square)
    errors = np.maximum(np.sqrt(square / (donors * targets)), resolution / min(donors, targets) ** 0.5)
    return values.mean(axis=(-2, -1)), errors, min(donors, targets) - 1


def _mean_squares(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of a two-way table (..., donors, targets) with one value a cell: between rows, between columns, the rest."""
    donors, targets = values.shape[-2:]
    rows, columns = values.mean(axis=-1), values.mean(axis=-2)
    rest = values - rows[..., :, None] - columns[..., None, :] + values.mean(axis=(-2, -1))[..., None, None]
    squares = (rest**2).sum(axis=(-2, -1)) / ((donors - 1) * (targets - 1))
    return targets * rows.var(axis=-1, ddof=1), donors * columns.var(axis=-1, ddof=1), squares


def full_table(cells: Collection[tuple[int | None, int]]) -> tuple[list[int | None], list[int]]:
    """Donors and target seeds of the largest part of a table without gaps, found by leaving out the emptiest line."""
    donors = list(dict.fromkeys(donor for donor, _ in cells))
    targets = list(dict.fromkeys(target for _, target in cells))
    while donors and targets:
        lacks_by_donor = [sum((d, t) not in cells for t in targets) for d in donors]
        lacks_by_target = [sum((d, t) not in cells for d in donors) for t in targets]
        if not any(lacks_by_donor):
            break
        if max(lacks_by_donor) / len(targets) >= max(lacks_by_target) / len(donors):
            donors.pop(lacks_by_donor.index(max(lacks_by_donor)))
        else:
            targets.pop(lacks_by_target.index(max(lacks_by_target)))
    return donors, targets


def p_value(mean: float, error: float, degrees: int) -> float:
    """Two-sided, by Student's t. Without any spread it is 0, and 1 for no difference."""
    from scipy.special import stdtr  # type: ignore[import-untyped]

    if error == 0:
        return 0.0 if mean else 1.0
    return 2 * float(stdtr(degrees, -abs(mean / error)))


@dataclass(frozen=True)
class Corrected:
    """A test among several: its p after Holm's correction, and the level at which it was tested by itself."""

    p: float | None
    level: float

    @property
    def rejected(self) -> bool:
        return self.p is not None and self.p <= LEVEL


def holm(p_values: Sequence[float | None], family: int) -> list[Corrected]:
    """Holm's step-down correction (1979) for `family` tests, those without a p (None) among them.

    The chance of any false rejection is at most 5 %, however the tests depend on each other. A test that is not
    rejected has the level of the step at which the rejections ended, so that an interval at `level` excludes "no
    difference" exactly where the test is rejected.
    """
    assert family >= len(p_values), "every test belongs to the family"
    found = [Corrected(None, LEVEL / max(family, 1))] * len(p_values)
    order = sorted((p, i) for i, p in enumerate(p_values) if p is not None)
    highest, level, ended = 0.0, LEVEL / max(family, 1), False
    for rank, (p, i) in enumerate(order):
        if not ended:
            level = LEVEL / (family - rank)
        highest = max(highest, min(1.0, (family - rank) * p))
        ended = ended or p > level
        found[i] = Corrected(highest, level)
    return found


def binomial_interval(k: int, n: int, level: float = LEVEL) -> tuple[float, float]:
    """The interval of Clopper and Pearson (1934) for a share of which k of n were seen."""
    from scipy.special import betaincinv

    low = 0.0 if k == 0 else float(betaincinv(k, n - k + 1, level / 2))
    high = 1.0 if k == n else float(betaincinv(k + 1, n - k, 1 - level / 2))
    return low, high


def fisher_exact(k: int, n: int, other_k: int, other_n: int) -> float:
    """Fisher's exact test, two-sided: the probability of tables at most as likely as that of k of n and k of n."""
    total = k + other_k
    ways = [math.comb(n, i) * math.comb(other_n, total - i) for i in range(min(total, n) + 1)]
    return sum(way for way in ways if way <= ways[k]) / math.comb(n + other_n, total)


@functools.lru_cache(maxsize=1024)  # a table asks for few of them, and for each many times
def t_quantile(degrees: int, probability: float = 0.975) -> float:
    """The quantile of Student's t; the default is the factor of a two-sided 95 % interval."""
    from scipy.special import stdtrit

    return float(stdtrit(degrees, probability))


def pooled_sd(groups: Sequence[Sequence[float]]) -> float | None:
    """One standard deviation for several groups with means of their own, each weighted by its n - 1.

    None when no group has two values.
    """
    squares, degrees = 0.0, 0
    for group in groups:
        if len(group) > 1:
            squares += (len(group) - 1) * float(np.var(np.asarray(group, dtype=np.float64), ddof=1))
            degrees += len(group) - 1
    return (squares / degrees) ** 0.5 if degrees else None


def smallest_difference(sd: float, n: int, power: float = 0.8, family: int = 1) -> float | None:
    """The smallest true mean difference that n pairs show, two-sided at 5 %, with this probability.

    The usual approximation for a paired t-test: (t_0.975 + t_power) * sd / sqrt(n), both quantiles with n - 1
    degrees of freedom. In a table of several variants the level is that of the first step of Holm's correction.

    Args:
        sd: of the paired differences; the result is in its unit.
        n: pairs; None is returned for fewer than two, which show nothing.
        family: variants in the table.
    """
    if n < 2:
        return None
    return (t_quantile(n - 1, 1 - LEVEL / 2 / family) + t_quantile(n - 1, power)) * sd / n**0.5


def ratio(part: float | None, whole: float | None) -> float | None:
    """`part / whole`; None where either is not known or the whole is nothing."""
    return part / whole if part is not None and whole else None
