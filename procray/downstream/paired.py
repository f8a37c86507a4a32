"""Two models on the same items."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from procray.downstream.ask import Answer
from procray.downstream.compression import Compression
from procray.errors import ProcrayError


@dataclass(frozen=True)
class Interval:
    """A mean over items with its 95 % t-interval; without one, from -inf to inf, where there is one item only."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """The first model less the second, over the same items: accuracy as a share, loss in nats."""

    accuracy: Interval
    loss: Interval
    items: int


def compare(one: Answer, other: Answer) -> Difference:
    """The paired difference of two models' answers. It says how sure these two models are told apart by such items.

    It says nothing about other seeds of training: for that, pair the accuracies of several.

    Raises:
        ProcrayError: they were asked other items.
    """
    if (one.probe, one.value, one.digest) != (other.probe, other.value, other.digest):
        raise ProcrayError(
            f"{one.probe} {one.value:g} and {other.probe} {other.value:g} are not the same items: only answers with "
            "equal material, seed and number of items can be compared"
        )
    return Difference(
        interval(one.scores.right_N - other.scores.right_N),
        interval(one.scores.loss_N - other.scores.loss_N),
        len(one.scores.right_N),
    )


def compare_texts(one: Compression, other: Compression) -> Interval:
    """The difference of two models in bits per byte of one text, over its pieces, whatever their tokenizers.

    Pieces of unequal length weigh as much as they have bytes.

    Raises:
        ProcrayError: they have read two texts.
    """
    if one.sha256 != other.sha256:
        raise ProcrayError(f"{one.domain} and {other.domain} are not the same text")
    bits_P = (one.nats_P - other.nats_P) / math.log(2)
    return interval(bits_P / one.bytes_P.mean())


def interval(values_N: np.ndarray) -> Interval:
    """The mean of some values and its 95 % t-interval."""
    mean, count = float(values_N.mean()), len(values_N)
    if count < 2:
        return Interval(mean, -math.inf, math.inf)
    from scipy.special import stdtrit  # type: ignore[import-untyped]

    half = float(stdtrit(count - 1, 0.975) * values_N.std(ddof=1) / math.sqrt(count))
    return Interval(mean, mean - half, mean + half)
