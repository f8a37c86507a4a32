"""What a phase costs by its shape alone: parameters and disk."""

from __future__ import annotations

from collections.abc import Iterable

from procray.model.shape import parameters
from procray.planning.plan import PlannedPhase

_BYTES_PER_WEIGHT = 4  # marks and resume states are fp32
_RESUME_COPIES = 3  # weights and both moments of AdamW


def phase_parameters(phase: PlannedPhase) -> int:
    return parameters(phase.recipe.model.config(phase.vocab, phase.rows))


def disk_bytes(phases: Iterable[PlannedPhase]) -> int:
    """Marks and the last resume state of every phase."""
    return sum(phase_parameters(phase) * _BYTES_PER_WEIGHT * (len(phase.marks) + _RESUME_COPIES) for phase in phases)
