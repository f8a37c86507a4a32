"""What a plan costs: FLOPs, disk, time and money, from shapes alone."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from procray.model.shape import GPT2Config, flops_per_token, parameters
from procray.training.recipe import ModelShape

if TYPE_CHECKING:
    from procray.planning.plan import Plan, PlannedPhase, Segment

__all__ = ["Estimate", "config", "disk_bytes", "estimate", "flops_per_token", "makespan", "phase_parameters"]

_BYTES_PER_WEIGHT = 4  # marks and resume states are fp32
_RESUME_COPIES = 3  # weights and both moments of AdamW
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


def config(shape: ModelShape, vocab: int, rows: int | None) -> GPT2Config:
    """The full configuration of a phase's model."""
    return GPT2Config(
        shape.layers,
        shape.heads,
        shape.width,
        vocab,
        shape.context,
        tied=shape.tied,
        dropout=shape.dropout,
        rows=rows,
    )


def phase_parameters(phase: PlannedPhase) -> int:
    return parameters(config(phase.recipe.model, phase.vocab, phase.rows))


def disk_bytes(phases: Iterable[PlannedPhase]) -> int:
    """Marks and the last resume state of every phase."""
    return sum(phase_parameters(phase) * _BYTES_PER_WEIGHT * (len(phase.marks) + _RESUME_COPIES) for phase in phases)


def estimate(
    plan: Plan,
    seconds: Callable[[PlannedPhase], float],
    *,
    concurrent: int = 1,
    price_per_gpu_hour: float | None = None,
    done: Iterable[str] = (),
) -> Estimate:
    """What is left to pay for a plan.

    Args:
        seconds: the time of a whole phase.
        concurrent: segments that train at the same time.
        price_per_gpu_hour: for `cost`.
        done: ids of phases that the store holds already.
    """
    finished = set(done)
    left = {phase.id: phase for phase in plan.phases.values() if phase.id not in finished}
    times = {id: seconds(phase) for id, phase in left.items()}
    gpu_hours = sum(times[p.id] * p.resources["gpu"] * p.resources["workers"] for p in left.values()) / 3600
    return Estimate(
        flops=sum(phase.flops for phase in left.values()),
        seconds=makespan([one for one in plan.segments() if one.phase in left], plan, times, concurrent),
        gpu_hours=gpu_hours,
        disk_bytes=disk_bytes(left.values()),
        cost=None if price_per_gpu_hour is None else gpu_hours * price_per_gpu_hour,
    )


def makespan(segments: list[Segment], plan: Plan, times: Mapping[str, float], concurrent: int) -> float:
    """Seconds until the last of some segments ends, `concurrent` at a time, the longest chain first.

    Args:
        segments: parents first.
        times: of whole phases, by id.
    """
    duration: dict[tuple[str, int], float] = {}
    reached: dict[str, int] = {}
    for one in segments:
        phase = plan.phases[one.phase]
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
