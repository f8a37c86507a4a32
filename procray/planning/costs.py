"""What a phase costs by its shape alone: parameters and disk."""

from __future__ import annotations

from collections.abc import Iterable

from procray.model.shape import GPT2Config, parameters
from procray.planning.plan import PlannedPhase
from procray.training.recipe import ModelShape

_BYTES_PER_WEIGHT = 4  # marks and resume states are fp32
_RESUME_COPIES = 3  # weights and both moments of AdamW


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
