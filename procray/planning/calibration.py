"""From measured times to the time of a phase."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any

from procray.files import digest

if TYPE_CHECKING:
    from procray.planning.plan import PlannedPhase
    from procray.training.recipe import PhaseRecipe

_SPEED = ("model", "data", "batch", "precision")  # what of a recipe decides the time of a step


def speed_key(recipe: PhaseRecipe) -> str:
    """Equal for phases whose steps and evaluations take equal times: seeds, rates and inits do not matter."""
    value = recipe.to_json()
    about = {name: value[name] for name in _SPEED}
    return digest({**about, "sequences": recipe.evaluation.sequences, "optimizer": recipe.optimizer.clip > 0}, 16)


def phase_rate(width: int, machine: dict[str, Any]) -> float:
    """FLOP/s at which this machine trains models of a width: interpolated in log width between measured shapes.

    Narrow models reach a small part of the peak, so one rate for all would mislead by a factor of ten.

    Args:
        machine: as `procray doctor` stores it; `shapes` with `width` and `flops_per_s`.
    """
    points = sorted((math.log(shape["width"]), math.log(shape["flops_per_s"])) for shape in machine["shapes"])
    place = math.log(width)
    if place <= points[0][0]:
        return math.exp(points[0][1])
    for (x0, y0), (x1, y1) in itertools.pairwise(points):
        if place <= x1:
            share = (place - x0) / (x1 - x0) if x1 > x0 else 1.0
            return math.exp(y0 + share * (y1 - y0))
    return math.exp(points[-1][1])


def phase_seconds(phase: PlannedPhase, machine: dict[str, Any]) -> float:
    """Training and evaluations of a whole phase, on the workers that it asks for."""
    known = machine.get("measured", {}).get(speed_key(phase.recipe))
    workers = phase.resources["workers"]
    if known is None:
        return phase.flops / phase_rate(phase.recipe.model.width, machine) / workers
    every, end = phase.recipe.evaluation.every, phase.end
    evaluations = 1 + len({*range(every, end + 1, every), *phase.marks})
    among = phase.procedural_tokens / phase.nominal[end]  # procedural data take the time of as much text
    return (end * (1 + among) * known["step_s"] + evaluations * known["evaluation_s"]) / workers


def well_measured(plan_phases: list[PlannedPhase], machine: dict[str, Any]) -> bool:
    """Whether the very shapes of all phases were measured, and nothing has to be interpolated."""
    return all(speed_key(phase.recipe) in machine.get("measured", {}) for phase in plan_phases)
