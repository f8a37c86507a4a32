"""From measured training rates to a predicted time."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from procray.sweep.plan import PlannedPhase


def phase_rate(phase: PlannedPhase, machine: dict[str, Any]) -> float:
    """FLOP/s at which this machine trains a phase: interpolated in log width between measured shapes.

    Narrow models reach a small part of the peak, so one rate for all would mislead by a factor of ten.

    Args:
        machine: as `procray doctor` stores it; `shapes` with `width` and `flops_per_s`.
    """
    points = sorted((math.log(shape["width"]), math.log(shape["flops_per_s"])) for shape in machine["shapes"])
    place = math.log(phase.recipe.model.width)
    if place <= points[0][0]:
        return math.exp(points[0][1])
    for (x0, y0), (x1, y1) in itertools.pairwise(points):
        if place <= x1:
            share = (place - x0) / (x1 - x0) if x1 > x0 else 1.0
            return math.exp(y0 + share * (y1 - y0))
    return math.exp(points[-1][1])


def mean_rate(phases: Iterable[PlannedPhase], machine: dict[str, Any]) -> float:
    """FLOP/s over all of `phases`: their FLOPs divided by the sum of their times."""
    work = [(phase.flops, phase_rate(phase, machine)) for phase in phases]
    return sum(flops for flops, _ in work) / sum(flops / rate for flops, rate in work)
