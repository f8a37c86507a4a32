"""Plans of a few seconds, made of recipes directly."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from procray import tasks
from procray.files import digest
from procray.training.recipe import Evaluation, Init, ModelShape, Optimizer, Parent, PhaseRecipe, Solved


@dataclass
class Phase:
    recipe: PhaseRecipe
    label: str
    marks: list[int]
    resources: dict[str, Any] = field(default_factory=lambda: {"workers": 1, "gpu": 0.0, "cpu": 1})

    @property
    def flops(self) -> float:
        model = self.recipe.model
        return float(self.marks[-1] * self.recipe.batch * model.layers * model.width**2)

    @property
    def id(self) -> str:
        return self.recipe.id


@dataclass(frozen=True)
class Segment:
    phase: str
    until: int
    marks: list[int]
    needs: list[tuple[str, int]]


@dataclass
class SmallPlan:
    name: str
    phases: dict[str, Phase]
    scale: str = "test"
    retries: int = 2
    search: None = None
    outside: dict[str, Any] = field(default_factory=dict)
    then: None = None
    file: str = ""

    @property
    def title(self) -> str:
        return f"{self.name}@{self.scale}"

    @property
    def digest(self) -> str:
        return digest([[phase.id, phase.marks] for phase in self.phases.values()], 12)

    def segments(self) -> list[Segment]:
        found = []
        for phase in self.phases.values():
            needs = [(parent.phase, parent.step) for parent in phase.recipe.init.parents()]
            if phase.recipe.steps is None:
                found += [Segment(phase.id, step, [step], needs) for step in phase.marks]
            else:
                found.append(Segment(phase.id, phase.marks[-1], phase.marks, needs))
        return found

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "phases": {key: phase.recipe.to_json() for key, phase in self.phases.items()}}


def plan(*phases: Phase, name: str = "small") -> SmallPlan:
    return SmallPlan(name, {phase.id: phase for phase in phases})


def phase(
    label: str,
    marks: list[int],
    *,
    parent: tuple[Phase, int] | None = None,
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
) -> Phase:
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
    return Phase(recipe, label, marks, {"workers": 1, "gpu": 0.0, "cpu": 1, **resources})


def kill_plan() -> SmallPlan:
    """A chain and a second one beside it, long enough to be interrupted in."""
    shape: dict[str, Any] = {"width": 32, "layers": 2, "batch": 16}
    warm = phase("warm", [50, 400], **shape)
    tail = phase("tail", [50, 400], parent=(warm, 400), task="reverse", decaying=True, **shape)
    return plan(warm, tail, phase("baseline", [50, 400], task="reverse", decaying=True, **shape), name="killed")
