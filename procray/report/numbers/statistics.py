"""Means, spreads and intervals over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

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

    `low` and `high` come from Student's t with n - 1 degrees of freedom and are None for n = 1. `bootstrap` holds
    the percentile interval over resampled pairs, only from n = 10.
    """

    mean: float
    low: float | None
    high: float | None
    n: int
    bootstrap: tuple[float, float] | None = None

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


def paired_difference(values: Sequence[float], references: Sequence[float]) -> Difference | None:
    """The mean of `values - references`, pair by pair (one pair a seed); None for no pairs.

    Pairing takes out what the seed gives to both sides (initial weights, order of the data), which is most of the
    spread between seeds.

    Raises:
        ValueError: not as many references as values.
    """
    if len(values) != len(references):
        raise ValueError(f"{len(values)} values cannot be paired with {len(references)} references")
    differences = np.asarray(values, dtype=np.float64) - np.asarray(references, dtype=np.float64)
    count = len(differences)
    if not count:
        return None
    mean = float(differences.mean())
    if count == 1:
        return Difference(mean, None, None, 1)
    half = t_quantile(count - 1) * float(differences.std(ddof=1)) / count**0.5
    bootstrap = None
    if count >= BOOTSTRAP_FROM:
        # A fixed seed: the same store gives the same report.
        picks = np.random.default_rng(0).integers(0, count, (_RESAMPLES, count))
        low, high = np.quantile(differences[picks].mean(axis=1), [0.025, 0.975])
        bootstrap = (float(low), float(high))
    return Difference(mean, mean - half, mean + half, count, bootstrap)


def t_quantile(degrees: int, probability: float = 0.975) -> float:
    """The quantile of Student's t; the default is the factor of a two-sided 95 % interval."""
    from scipy.special import stdtrit  # type: ignore[import-untyped]

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


def smallest_difference(sd: float, n: int, power: float = 0.8) -> float | None:
    """The smallest true mean difference that n pairs show, two-sided at 5 %, with this probability.

    The usual approximation for a paired t-test: (t_0.975 + t_power) * sd / sqrt(n), both quantiles with n - 1
    degrees of freedom.

    Args:
        sd: of the paired differences; the result is in its unit.
        n: pairs; None is returned for fewer than two, which show nothing.
    """
    if n < 2:
        return None
    return (t_quantile(n - 1) + t_quantile(n - 1, power)) * sd / n**0.5


def ratio(part: float | None, whole: float | None) -> float | None:
    """`part / whole`; None where either is not known or the whole is nothing."""
    return part / whole if part is not None and whole else None
