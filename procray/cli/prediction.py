"""How long a sweep will take on this machine, from what `procray doctor` measured."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from procray.cli.terminal import short_time

if TYPE_CHECKING:
    from procray.planning import Plan
    from procray.planning.controlled import Share
    from procray.planning.makespan import Estimate
    from procray.store.store import Store

START_SECONDS = 12.0  # Ray, and the workers with what they import; measured on two cores


@dataclass(frozen=True)
class Prediction:
    """What is left of a sweep.

    Attributes:
        seconds: from the start of the run to the end of its last phase.
        exact: the very shapes of its phases were measured; else rates are interpolated by width.
    """

    seconds: float
    left: Estimate
    device: str
    concurrent: int
    exact: bool


def predict(plan: Plan, store: Store, have: set[str]) -> Prediction | None:
    """None where this machine has not been measured for this store.

    Args:
        have: ids of the phases that are finished.
    """
    from procray.files import read_json
    from procray.planning.calibration import phase_seconds, well_measured
    from procray.planning.makespan import estimate

    path = store.path / "machine.json"
    left = [phase for phase in plan.phases.values() if phase.id not in have]
    if not path.exists() or not left:
        return None
    machine = read_json(path)
    concurrent = side_by_side(plan)
    cost = estimate(left, plan.segments(), lambda phase: phase_seconds(phase, machine), concurrent=concurrent)
    return Prediction(START_SECONDS + cost.seconds, cost, machine["device"], concurrent, well_measured(left, machine))


def seconds_of_controls(plan: Plan, store: Store, have: set[str], share: Share) -> float | None:
    """How much sooner what is left would end without the controls; None where this machine has not been measured."""
    from procray.files import read_json
    from procray.planning.calibration import phase_seconds
    from procray.planning.makespan import makespan

    found = predict(plan, store, have)
    if found is None:
        return None
    machine = read_json(store.path / "machine.json")
    left = {phase.id: phase for phase in plan.phases.values() if phase.id not in have and phase.id in share.without}
    segments = [one for one in plan.segments() if one.phase in left and one.until <= share.without[one.phase]]
    times = {id: phase_seconds(phase, machine) for id, phase in left.items()}
    return max(0.0, found.left.seconds - makespan(segments, left, times, found.concurrent))


def side_by_side(plan: Plan) -> int:
    """How many phases this machine trains at a time."""
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    widest = max(phase.resources["cpu"] * phase.resources["workers"] for phase in plan.phases.values())
    return max(1, int(processors // widest))


def against(predicted: float | None, seconds: float) -> str:
    """`took 2 min 37 s; predicted 2 min 50 s (+8 %)`."""
    took = f"took {short_time(seconds)}"
    if predicted is None:
        return f"{took}; `procray doctor FILE` measures this machine once, then times are predicted"
    return f"{took}; predicted {short_time(predicted)} ({100 * (predicted / seconds - 1):+.0f} %)"
