"""Plans of a few seconds, made of recipes directly."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from procray import tasks
from procray.planning.plan import Plan, PlannedPhase, Segment
from procray.training.recipe import Evaluation, Init, ModelShape, Optimizer, Parent, PhaseRecipe, Solved


class SmallPlan(Plan):
    """A plan without cells. A phase whose schedule decays is one segment, whatever marks it has."""

    def segments(self) -> list[Segment]:
        found: list[Segment] = []
        for one in super().segments():
            if found and found[-1].phase == one.phase and self.phases[one.phase].recipe.steps is not None:
                before = found.pop()
                one = replace(one, marks=before.marks + one.marks, needs=before.needs)
            found.append(one)
        return found


def plan(*phases: PlannedPhase, name: str = "small", retries: int = 2) -> SmallPlan:
    return SmallPlan(
        name=name, scale="test", setting="", question="", spec={}, source="", phases={one.id: one for one in phases},
        cells=[], resources={}, retries=retries, matched=[], published=[], axes=[],
    )  # fmt: skip


def phase(
    label: str,
    marks: list[int],
    *,
    parent: tuple[PlannedPhase, int] | None = None,
    task: str = "identity",
    seed: int = 0,
    lr: float = 1e-3,
    decaying: bool = False,
    width: int = 16,
    layers: int = 1,
    batch: int = 4,
    every: int = 10,
    solved: Solved | None = None,
    **resources: Any,
) -> PlannedPhase:
    """A phase on a tiny task; `parent` hands its attention and its perceptrons down."""
    stream = tasks.get(task, length=6, vocab=16)
    init = Init()
    if parent is not None:
        origin = Parent(parent[0].id, parent[1])
        init = Init({"attention": origin, "mlp": origin})
    recipe = PhaseRecipe(
        kind="procedural" if parent is None else "diagnostic",
        model=ModelShape(layers, 2, width, stream.positions),
        data={"task": stream.recipe()},
        batch=batch,
        optimizer=Optimizer(lr=lr, schedule="cosine" if decaying else "constant"),
        evaluation=Evaluation(every, 8, solved=solved),
        seed=seed,
        steps=marks[-1] if decaying else None,
        init=init,
    )
    size = batch * stream.positions
    return PlannedPhase(
        id=recipe.id,
        recipe=recipe,
        label=label,
        variant=label,
        marks=marks,
        nominal={step: step * size for step in marks},
        asked={step: [step * size] for step in marks},
        parents=[] if parent is None else [origin],
        resources={"workers": 1, "gpu": 0.0, "cpu": 1, **resources},
        variants=[],
        tokens_per_step=size,
        vocab=stream.vocab_size,
        rows=stream.rows,
        flops=float(marks[-1] * batch * layers * width**2),
    )


def kill_plan() -> SmallPlan:
    """A chain and a second one beside it, long enough to be interrupted in."""
    shape: dict[str, Any] = {"width": 32, "layers": 2, "batch": 16}
    warm = phase("warm", [50, 200], **shape)
    tail = phase("tail", [50, 400], parent=(warm, 200), task="reverse", decaying=True, **shape)
    return plan(warm, tail, phase("baseline", [50], task="reverse", decaying=True, **shape), name="killed")
