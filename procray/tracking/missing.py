"""Which points MLflow lacks of a phase, as far as the curve alone does not say it. Nothing here asks or writes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Set
from typing import Any

from procray.tracking import facts
from procray.tracking.facts import Point
from procray.tracking.session import Known

Measured = Set[tuple[str, str, str, float]]  # as `Session.measured`


def curves(run: Known, rows: list[tuple[int, list[Point]]], renamed: Mapping[str, Set[int]]) -> list[list[Point]]:
    """The points of evaluations that MLflow lacks: of new ones all, of others those whose name is a new one.

    Args:
        rows: the tokens of every evaluation and its points.
        renamed: by name, the steps that MLflow has where that does not follow from `run.steps`.
    """
    groups = []
    for tokens, points in rows:
        if tokens in run.steps:
            points = [point for point in points if point.name in renamed and tokens not in renamed[point.name]]
        if points:
            groups.append(points)
    return groups


def late(
    measured: Measured, run: Known, name: str, rows: list[dict[str, Any]], kept: dict[int, str]
) -> list[list[Point]]:
    """The losses of checkpoints that came after their rows had been written.

    Each is the same point as in the curve, so the curve gains nothing and the model's page gains its loss.
    """
    found = []
    for row in rows:
        if row["step"] in kept and int(row["tokens"]) in run.steps and facts.finite(row.get("loss")):
            model = kept[row["step"]]
            if (model, run.id, name, float(row["loss"])) not in measured:
                found.append([Point(name, float(row["loss"]), facts.milliseconds(row), int(row["tokens"]), model)])
    return found


def news(
    measured: Measured, run: Known, numbers: list[Point], sources: list[str], latest: Callable[[str], int]
) -> list[list[Point]]:
    """What MLflow lacks of the numbers of the whole run, each also for the checkpoints that the run started from.

    One group for each checkpoint: two of them in one request would be one point written twice.

    Args:
        latest: of a metric of the run, the latest time that a point of it has.
    """
    groups: list[list[Point]] = []
    for point in numbers:
        before = run.metrics.get(point.name)
        # The latest counts: a number that changed since (a larger budget) is told with the time of now, or with a
        # later one where the machine that told the one before has a clock that is ahead.
        changed = before is not None and before != point.value
        moment = max(int(time.time() * 1000), latest(point.name) + 1) if changed else point.time
        for place, model in enumerate(sources or [None]):
            shown = before == point.value if model is None else (model, run.id, point.name, point.value) in measured
            if not shown:
                groups += [[] for _ in range(place + 1 - len(groups))]
                groups[place].append(point._replace(time=moment, model=model))
    return [group for group in groups if group]
