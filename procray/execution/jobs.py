"""The segments of a plan as jobs: how each is run, on what, and what its runner has to know."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from procray.execution.agenda import Item
from procray.garbage import keeping_everything
from procray.store.processes import this_process
from procray.store.store import Store

if TYPE_CHECKING:
    from procray.planning.plan import Plan, PlannedPhase, Segment

# A group of its own costs a segment 10 to 20 s. It is worth them from some minutes of training on, for which the speed
# of a fast machine stands: where training is slower than that, a warm group is no loss.
FRESH_FROM_SECONDS = 300.0
FLOPS_OF_PROCESSOR = 1e11
FLOPS_OF_GPU = 4e14


@keeping_everything()
def items_of(
    plan: Plan, store: Store, control: str | Path, scratch: Path, profile: tuple[int, int] | None = None
) -> list[Item]:
    """The plan's segments with what their runners need."""
    driver = this_process()
    common = {
        "store": store.address,
        "control": str(control),
        "scratch": str(scratch),
        "profile": profile,
        "driver": driver,
        "about": {"sweep": plan.title, "driver": driver},
    }
    items = []
    order = {phase: number for number, phase in enumerate(plan.phases)}
    for segment, phase, flops in _sized(plan, lambda segment: (order[segment.phase], segment.until)):
        resources, executor = _resources(phase), executor_of(phase, flops)
        items.append(
            Item(
                phase=phase.id,
                label=phase.label,
                until=segment.until,
                marks=tuple(segment.marks),
                needs=tuple([(need[0], need[1]) for need in segment.needs if need[0] != phase.id]),
                weight=flops,
                resources=resources,
                executor=executor,
                make_job=partial(_job, common, phase, segment, resources, executor),
            )
        )
    return items


def _job(
    common: dict[str, Any], phase: PlannedPhase, segment: Segment, resources: dict[str, float], executor: str
) -> dict[str, Any]:
    """What the runner of a segment needs."""
    return {
        **common,
        "phase": phase.id,
        "label": phase.label,
        "recipe": phase.recipe.to_json(),
        "until": segment.until,
        "marks": list(segment.marks),
        "last": segment.until == phase.marks[-1],
        "keep": list(phase.marks),
        "threads": threads_of(resources),
        "device": "cuda" if resources["gpu"] else "cpu",
        "resources": resources,
        "executor": executor,
    }


def threads_of(resources: dict[str, float]) -> int:
    """Threads of each worker of a segment."""
    return max(1, int(resources["cpu"]))


def needs(plan: Plan) -> Iterator[tuple[str, str, dict[str, float]]]:
    """Of every segment: the label of its phase, how it runs and what it takes, without a store."""
    for _, phase, flops in _sized(plan, lambda segment: (segment.phase, segment.until)):
        yield phase.label, executor_of(phase, flops), _resources(phase)


def _sized(plan: Plan, order: Callable[[Segment], Any]) -> Iterator[tuple[Segment, PlannedPhase, float]]:
    """The segments in an order that keeps those of a phase in theirs, each with its phase and its FLOPs."""
    reached: dict[str, int] = {}
    for segment in sorted(plan.segments(), key=order):
        phase = plan.phases[segment.phase]
        yield segment, phase, (segment.until - reached.get(phase.id, 0)) * phase.flops / phase.marks[-1]
        reached[phase.id] = segment.until


def executor_of(phase: PlannedPhase, flops: float) -> str:
    """How to run a segment of so many FLOPs, unless the sweep file says it."""
    asked = phase.resources.get("executor", "auto")
    if asked != "auto":
        return str(asked)
    resources = _resources(phase)
    if "least" in resources:
        return "train"
    if resources["workers"] == 1:
        return "inprocess"
    each = FLOPS_OF_GPU * resources["gpu"] if resources["gpu"] else FLOPS_OF_PROCESSOR * resources["cpu"]
    return "train" if flops / (resources["workers"] * each) >= FRESH_FROM_SECONDS else "train-warm"


def _resources(phase: PlannedPhase) -> dict[str, float]:
    given = phase.resources
    return {
        "workers": int(given.get("workers", 1)),
        **({"least": int(given["min_workers"])} if "min_workers" in given else {}),
        "gpu": float(given.get("gpu", 0.0)),
        "cpu": float(given.get("cpu", 1)),
    }
