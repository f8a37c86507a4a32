"""How long some phases take, one beside the other where they may be, and what that costs."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from procray.planning.costs import disk_bytes
from procray.planning.plan import PlannedPhase, Segment

SEGMENT_SECONDS = 0.4  # between two segments of a worker: marks, leases, the scheduler


@dataclass(frozen=True)
class Estimate:
    """Predicted cost of some phases.

    Attributes:
        seconds: wall time with `concurrent` segments at a time, in the order in which a sweep takes them.
        gpu_hours: GPUs asked for x the time of each phase.
        cost: in the currency of the price; None without a price.
    """

    flops: float
    seconds: float
    gpu_hours: float
    disk_bytes: int
    cost: float | None


def estimate(
    phases: Iterable[PlannedPhase],
    segments: Iterable[Segment],
    seconds: Callable[[PlannedPhase], float],
    *,
    concurrent: int = 1,
    price_per_gpu_hour: float | None = None,
) -> Estimate:
    """What some phases of a plan cost.

    Args:
        segments: of the plan, parents first; those of other phases are done and wait for nothing.
        seconds: the time of a whole phase.
        concurrent: segments that train at the same time.
        price_per_gpu_hour: for `cost`.
    """
    left = {phase.id: phase for phase in phases}
    times = {id: seconds(phase) for id, phase in left.items()}
    gpu_hours = sum(times[p.id] * p.resources["gpu"] * p.resources["workers"] for p in left.values()) / 3600
    return Estimate(
        flops=sum(phase.flops for phase in left.values()),
        seconds=makespan([one for one in segments if one.phase in left], left, times, concurrent),
        gpu_hours=gpu_hours,
        disk_bytes=disk_bytes(left.values()),
        cost=None if price_per_gpu_hour is None else gpu_hours * price_per_gpu_hour,
    )


def makespan(
    segments: list[Segment], phases: Mapping[str, PlannedPhase], times: Mapping[str, float], concurrent: int
) -> float:
    """Seconds until the last of some segments ends, `concurrent` at a time, the longest chain first.

    Args:
        segments: parents first.
        phases: whose segments they are, by id.
        times: of whole phases, by id.
    """
    duration: dict[tuple[str, int], float] = {}
    reached: dict[str, int] = {}
    for one in segments:
        phase = phases[one.phase]
        duration[one.phase, one.until] = times[one.phase] * (one.until - reached.get(one.phase, 0)) / phase.end
        duration[one.phase, one.until] += SEGMENT_SECONDS
        reached[one.phase] = one.until
    children: dict[tuple[str, int], list[tuple[str, int]]] = {key: [] for key in duration}
    waits: dict[tuple[str, int], int] = {}
    for one in segments:
        needs = [need for need in one.needs if need in duration]
        waits[one.phase, one.until] = len(needs)
        for need in needs:
            children[need].append((one.phase, one.until))
    chain: dict[tuple[str, int], float] = {}
    for key in reversed(duration):
        chain[key] = duration[key] + max((chain[child] for child in children[key]), default=0.0)
    ready = [(-chain[key], key) for key, count in waits.items() if count == 0]
    heapq.heapify(ready)
    running: list[tuple[float, tuple[str, int]]] = []
    now = 0.0
    while ready or running:
        while ready and len(running) < concurrent:
            key = heapq.heappop(ready)[1]
            heapq.heappush(running, (now + duration[key], key))
        now, key = heapq.heappop(running)
        for child in children[key]:
            waits[child] -= 1
            if waits[child] == 0:
                heapq.heappush(ready, (-chain[child], child))
    return now
