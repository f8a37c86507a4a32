"""What a plan costs: FLOPs, disk, time and money, from shapes alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from procray.model.shape import GPT2Config, flops_per_token, parameters
from procray.training.recipe import ModelShape

if TYPE_CHECKING:
    from procray.sweep.plan import Plan, PlannedPhase

__all__ = ["Estimate", "config", "disk_bytes", "estimate", "flops_per_token", "phase_parameters"]

_BYTES_PER_WEIGHT = 4  # marks and resume states are fp32
_RESUME_COPIES = 3  # weights and both moments of AdamW


@dataclass(frozen=True)
class Estimate:
    """Predicted cost of some phases.

    Attributes:
        seconds: wall time with `concurrent` phases at a time; at least that of the longest chain.
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
    flops_per_second: float,
    *,
    concurrent: int = 1,
    price_per_gpu_hour: float | None = None,
    done: Iterable[str] = (),
) -> Estimate:
    """What is left to pay for a plan.

    Args:
        flops_per_second: calibrated for one phase's resources, as counted by `flops_per_token`.
        concurrent: phases that train at the same time.
        price_per_gpu_hour: for `cost`.
        done: ids of phases that the store holds already.
    """
    finished = set(done)
    left = [phase for phase in plan.phases.values() if phase.id not in finished]
    seconds = {phase.id: phase.flops / (flops_per_second * phase.resources["workers"]) for phase in left}
    ends: dict[str, float] = {}
    for phase in plan.phases.values():  # parents come first
        start = max((ends[parent.phase] for parent in phase.parents), default=0.0)
        ends[phase.id] = start + seconds.get(phase.id, 0.0)
    gpu_hours = sum(seconds[p.id] * p.resources["gpu"] * p.resources["workers"] for p in left) / 3600
    return Estimate(
        flops=sum(phase.flops for phase in left),
        seconds=max([sum(seconds.values()) / max(1, concurrent), *ends.values()]) if ends else 0.0,
        gpu_hours=gpu_hours,
        disk_bytes=disk_bytes(left),
        cost=None if price_per_gpu_hour is None else gpu_hours * price_per_gpu_hour,
    )
