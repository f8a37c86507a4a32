"""Where a curve reaches a level for good."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Literal

Mode = Literal["min", "max"]


def tokens_to_match(
    tokens: Sequence[float], values: Sequence[float], target: float, mode: Mode = "min"
) -> float | None:
    """The smallest number of tokens from which a curve stays at or better than `target`.

    A touch that is lost again does not count: the crossing must last to the end of the curve. Between two
    evaluations the curve is taken as linear in the logarithm of the tokens; next to an evaluation at 0 tokens,
    which has no logarithm, as linear in the tokens. Nothing is extrapolated.

    Args:
        tokens: where the curve was evaluated, strictly ascending, none negative.
        values: the curve at those places. A value that is not finite is worse than every target, and no line is
            drawn to it.
        target: the level to match.
        mode: `min` when lower is better (loss), `max` when higher is (accuracy).

    Returns:
        A number between the first and the last of `tokens`, or None when the curve ends worse than the target
        (or is empty). When the whole curve is good enough, its first place.

    Raises:
        ValueError: lengths that differ, tokens out of order, a target that is not finite, another mode.
    """
    if mode not in ("min", "max"):
        raise ValueError(f"mode must be 'min' or 'max', not {mode!r}")
    if len(tokens) != len(values):
        raise ValueError(f"a curve has one value at each place: {len(tokens)} tokens, {len(values)} values")
    if not math.isfinite(target):
        raise ValueError(f"the target must be a finite number, not {target}")
    if any(b <= a for a, b in itertools.pairwise(tokens)) or (len(tokens) and tokens[0] < 0):
        raise ValueError("tokens must be ascending and not negative")

    def behind(value: float) -> float:
        """How far the value is from being good enough; at most 0 when it is."""
        if not math.isfinite(value):
            return math.inf
        return value - target if mode == "min" else target - value

    first = len(tokens)  # of the evaluations that are good to the end
    while first > 0 and behind(values[first - 1]) <= 0:
        first -= 1
    if first == len(tokens):
        return None
    if first == 0:
        return float(tokens[0])
    low, high = float(tokens[first - 1]), float(tokens[first])
    before, after = behind(values[first - 1]), behind(values[first])
    if not math.isfinite(before):
        return high
    share = before / (before - after)  # of the way from low to high, in (0, 1]
    place = low + (high - low) * share if low == 0 else low * (high / low) ** share
    return min(max(place, low), high)  # rounding must not step outside


def value_at(tokens: Sequence[float], values: Sequence[float], place: float) -> float | None:
    """A cumulative count (FLOPs, unique tokens) at a place between evaluations, linear in the tokens.

    None outside the curve or for an empty one.
    """
    if not len(tokens) or place < tokens[0] or place > tokens[-1]:
        return None
    for index in range(len(tokens)):
        if tokens[index] >= place:
            if tokens[index] == place:
                return float(values[index])
            low, high = tokens[index - 1], tokens[index]
            share = (place - low) / (high - low)
            return float(values[index - 1] + (values[index] - values[index - 1]) * share)
    return None
