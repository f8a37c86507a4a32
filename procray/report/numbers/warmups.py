"""The warm-ups of a sweep: whether they were learned, how they ended, and on what they were judged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from procray.planning.titles import task_among, title_of
from procray.report.numbers.runs import Curve, Reader, Run, mean_curve
from procray.report.numbers.statistics import Spread, spread
from procray.report.numbers.wording import percent, plural

if TYPE_CHECKING:
    from procray.planning.plan import Plan, PlannedPhase

_LAST = 0.8  # of the tokens: what comes after this is the last fifth
_STILL = 0.05  # of the whole way: a last fifth that brings more than this is still improving


@dataclass(frozen=True)
class Mark:
    """A place of a warm-up from which weights are taken: its tokens, and the values of the finished seeds.

    Attributes:
        tokens: consumed, the mean over seeds; as planned where that is not known yet.
    """

    tokens: int
    loss: Spread | None
    accuracy: Spread | None


@dataclass(frozen=True)
class Warmup:
    """One warm-up with all of its seeds.

    Attributes:
        marks: ascending; the last is the end.
        chance: accuracies of cheap strategies, by their names; empty for text.
        validation: what it was judged on, in words.
        last_fifth: the share of the whole improvement of the mean loss that came in the last fifth of the tokens.
        variants: whose chains it belongs to.
    """

    name: str
    title: str
    runs: tuple[Run, ...]
    marks: tuple[Mark, ...]
    chance: dict[str, float] = field(default_factory=dict)
    validation: str = ""
    last_fifth: float | None = None
    variants: tuple[str, ...] = ()

    @property
    def finished(self) -> tuple[Run, ...]:
        return tuple(run for run in self.runs if run.done)

    @property
    def state(self) -> str:
        """`complete`, or what keeps it from being so: the most telling state among the unfinished seeds."""
        states = {run.state for run in self.runs if not run.done}
        return next((s for s in ("failed", "skipped", "running", "paused", "waiting") if s in states), "complete")

    @property
    def accuracy(self) -> Spread | None:
        return self.marks[-1].accuracy

    @property
    def loss(self) -> Spread | None:
        return self.marks[-1].loss

    @property
    def still_improving(self) -> bool:
        return self.last_fifth is not None and self.last_fifth > _STILL


def warmups(plan: Plan, reader: Reader) -> tuple[Warmup, ...]:
    """Every warm-up of a plan, and all procedural data among the text of a phase, in its order."""
    by_name: dict[str, list[PlannedPhase]] = {}
    for phase in plan.phases.values():
        if phase.kind == "procedural" or task_among(phase.recipe) is not None:
            by_name.setdefault(phase.variant, []).append(phase)
    return tuple(
        _warmup(name, phases, reader) if phases[0].kind == "procedural" else _among(name, phases, reader)
        for name, phases in by_name.items()
    )


def _among(name: str, phases: Sequence[PlannedPhase], reader: Reader) -> Warmup:
    phases = sorted(phases, key=lambda phase: phase.recipe.seed)
    first, data = phases[0], task_among(phases[0].recipe)
    assert data is not None
    assert first.recipe.interleaving is not None
    runs = tuple(reader.run_among(phase) for phase in phases)
    losses = [run.loss for run in runs if run.loss is not None]
    accuracies = [run.accuracy for run in runs if run.accuracy is not None]
    sequences = plural(first.recipe.interleaving.sequences, "sequence")
    return Warmup(
        f"{name}, among the text", title_of(data), runs,
        (Mark(first.procedural_tokens, spread(losses), spread(accuracies)),), chance_of(data),
        f"{sequences} drawn for it, the same for every seed, right after the last update on it (data among text)",
        None, tuple(dict.fromkeys(first.variants)),
    )  # fmt: skip


def _warmup(name: str, phases: Sequence[PlannedPhase], reader: Reader) -> Warmup:
    phases = sorted(phases, key=lambda phase: phase.recipe.seed)
    first = phases[0]
    runs = tuple(reader.phase_run(phase) for phase in phases)
    marks = []
    for mark in first.marks:
        rows = [row for phase in phases if (row := reader.values(phase.id, mark))]
        losses = [loss for loss, _ in rows]
        accuracies = [accuracy for _, accuracy in rows if accuracy is not None]
        consumed = [reader.consumed(phase, mark) for phase in phases]
        marks.append(Mark(round(sum(consumed) / len(consumed)), spread(losses), spread(accuracies)))
    data = first.recipe.data
    return Warmup(
        name, title_of(data), runs, tuple(marks), chance_of(data), validation_text(first),
        last_fifth([run.curve for run in runs if run.done], "loss"), tuple(dict.fromkeys(first.variants)),
    )  # fmt: skip


def chance_of(data: dict[str, Any]) -> dict[str, float]:
    """What cheap strategies score on a stream of data; empty for text."""
    if "task" not in data:
        return {}
    from procray import tasks  # numpy and more, which readers of results do not need
    from procray.tasks.chance import chance

    return chance(tasks.from_recipe(data["task"]))


def chance_text(chance: dict[str, float]) -> str:
    """`one answer 0.8 %, among the shown 13.3 %`; empty where none is known."""
    return ", ".join(f"{name} {percent(value, 1)}" for name, value in chance.items())


def validation_text(phase: PlannedPhase) -> str:
    """What a phase is judged on: `256 sequences that are drawn for it, the same for every seed`."""
    evaluation = phase.recipe.evaluation
    split = " of the tuning split" if evaluation.split == "tuning" else ""
    if "task" in phase.recipe.data:
        return f"{plural(evaluation.sequences, 'sequence')} drawn for it{split}, the same for every seed"
    blocks = f"{plural(evaluation.sequences, 'block')} of {phase.recipe.model.context} tokens"
    return f"{blocks}{split or ' of the held-out text'}, the same for every seed"


def last_fifth(curves: Sequence[Curve], metric: str) -> float | None:
    """The share of all that the mean curve gained which came after four fifths of the tokens.

    None for curves too short to tell, and for one that gained nothing.
    """
    tokens, values = mean_curve(curves, metric)
    before = [value for place, value in zip(tokens, values, strict=True) if place <= _LAST * tokens[-1]]
    if len(before) < 2:
        return None
    sign = -1 if metric == "accuracy" else 1
    whole = sign * (values[0] - values[-1])
    return sign * (before[-1] - values[-1]) / whole if whole > 0 else None


def still_text(share: float | None) -> str:
    """`still improving: 12 % of all that it gained came in the last fifth`; empty where it is not."""
    if share is None or share <= _STILL:
        return ""
    return f"still improving: {percent(share)} of all that it gained came in the last fifth of the tokens"
