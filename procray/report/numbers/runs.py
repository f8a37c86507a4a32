"""What the store holds of each cell: one run is one seed of one variant at one length of schedule."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from procray.selection.standing import Standing, nominal
from procray.store.failure import failed_before

if TYPE_CHECKING:
    from procray.planning.plan import Cell, Plan, PlannedPhase
    from procray.store.store import Store
    from procray.training.recipe import Parent


# Accuracies that some evaluations have beside the one they are judged by; `exact_match` is the fraction of sequences
# with every scored token right.
SCORES = ("official_accuracy", "corrected_accuracy", "first_accuracy", "stop_accuracy", "exact_match")


@dataclass(frozen=True)
class Curve:
    """One phase's evaluations up to the cell's last step; all tuples have one entry an evaluation.

    A phase that was solved goes on at its last values, so that it can be compared with those that trained on.
    """

    steps: tuple[int, ...] = ()
    tokens: tuple[int, ...] = ()
    loss: tuple[float, ...] = ()
    accuracy: tuple[float, ...] = ()  # nan where an evaluation has none
    flops: tuple[float, ...] = ()
    unique: tuple[float, ...] = ()  # tokens seen at least once; all of them where data are always fresh

    def values(self, metric: str) -> tuple[float, ...]:
        return self.accuracy if metric == "accuracy" else self.loss


def side_by_side(curves: Sequence[Curve], metric: str) -> tuple[list[int], list[tuple[float, ...]]]:
    """The evaluations that all curves have, by their steps: the tokens there and the values of every curve.

    Where lengths of sequences differ by seed, as they do where they grow, the tokens are their mean.
    """
    if not curves:
        return [], []
    steps = curves[0].steps
    if all(curve.steps == steps for curve in curves):
        tokens = [curve.tokens for curve in curves]
        values = [curve.values(metric) for curve in curves]
    else:
        tables = [
            dict(zip(curve.steps, zip(curve.tokens, curve.values(metric), strict=True), strict=True))
            for curve in curves
        ]
        shared = [step for step in steps if all(step in table for table in tables)]
        tokens = [tuple(table[step][0] for step in shared) for table in tables]
        values = [tuple(table[step][1] for step in shared) for table in tables]
    first = tokens[0]
    alike = all(one == first for one in tokens)
    places = list(first) if alike else [round(sum(here) / len(here)) for here in zip(*tokens, strict=True)]
    return places, list(zip(*values, strict=True))


def mean_curve(curves: Sequence[Curve], metric: str) -> tuple[list[int], list[float]]:
    """The mean over curves, at the evaluations that all of them have and where all are finite."""
    places, values = side_by_side(curves, metric)
    means = [sum(here) / len(here) for here in values]
    kept = [(place, mean) for place, mean in zip(places, means, strict=True) if not math.isnan(mean)]
    return [place for place, _ in kept], [mean for _, mean in kept]


SINGLE = 2.0**-23  # what a sum in single precision may be wrong by, as a share of it


def resolution(metric: str, sequences: int, value: float) -> float:
    """The smallest difference of two values of a metric that can be measured.

    Of a share one sequence of the validation set, in which all may be right or not; of a loss what arithmetic leaves.
    """
    return SINGLE * abs(value) if metric == "loss" else 1 / sequences


@dataclass(frozen=True)
class Run:
    """One seed of one variant at one length of schedule, after the warm-ups of one donor."""

    seed: int
    phase: str
    label: str
    state: str  # done | running | paused | waiting | failed | skipped
    reason: str
    step: int  # of the last evaluation
    last_step: int  # where the cell ends
    budget: int  # tokens at the cell's last step
    curve: Curve
    warmup_flops: float
    sequences: int  # of the validation set
    loss: float | None = None  # at the cell's last step
    accuracy: float | None = None
    solved: int | None = None  # tokens after which it stopped because its task was solved
    scores: dict[str, float] = field(default_factory=dict)  # by SCORES
    donor: int | None = None  # seed of the warm-ups, where each goes before every seed; None: `seed`, or there are none
    warmup_tokens: int = 0  # procedural tokens consumed before

    @property
    def done(self) -> bool:
        return self.loss is not None

    def value(self, metric: str) -> float | None:
        """The loss, the accuracy or one of SCORES at the end; None where there is none."""
        return {"accuracy": self.accuracy, "loss": self.loss, **self.scores}.get(metric)

    def final(self, metric: str) -> float:
        value = self.value(metric)
        assert value is not None, "only finished runs have a final value"
        return value

    def resolution(self, metric: str) -> float:
        """The smallest difference of final values that can be measured."""
        return resolution(metric, self.sequences, self.final(metric))


_KEPT = 32  # journals; of a large sweep all of them together take more memory than everything found in them


class Reader:
    """The store through the plan's eyes. What is asked of a phase is asked together, so that few journals are held."""

    def __init__(self, plan: Plan, store: Store) -> None:
        self.plan, self.store = plan, store
        self._there = set(store.phases())  # of a large plan most may not have begun: one look tells
        self._rows: dict[str, list[dict[str, Any]]] = {}  # those asked for last
        self._at: dict[tuple[str, int], dict[str, Any] | None] = {}
        self._standing = Standing(plan, store, self._done, self._read_status)

    def rows(self, phase: str) -> list[dict[str, Any]]:
        if phase not in self._rows:
            if len(self._rows) >= _KEPT:
                del self._rows[next(iter(self._rows))]
            self._rows[phase] = self.store.phase(phase).curve() if phase in self._there else []
        return self._rows[phase]

    def status(self, phase: str) -> dict[str, Any]:
        return self._standing.status(phase)

    def _read_status(self, phase: str) -> dict[str, Any]:
        return self.store.phase(phase).status() if phase in self._there else {"state": "waiting"}

    def row(self, phase: str, step: int) -> dict[str, Any] | None:
        """The evaluation that holds at a step: that of the step, or the last one of a phase solved before."""
        if (phase, step) not in self._at:
            last = next((row for row in reversed(self.rows(phase)) if row["step"] <= step), None)
            self._at[phase, step] = last if last and (last["step"] == step or last.get("solved")) else None
        return self._at[phase, step]

    def state(self, phase: str, step: int) -> tuple[str, str, int | None]:
        """State, reason and step of a phase as far as `step` of it is wanted.

        A phase that failed after that step is done for us, or waiting; one that waits for a failed parent is skipped,
        also when nobody wrote that down.
        """
        state, reason = self._standing.of(phase, step)
        if state == "done":
            return state, "", step
        found = failed_before(self.status(phase), step) if state == "failed" else None
        rows = [row for row in self.rows(phase) if row["step"] <= step]
        reached = found.step if found else self.status(phase).get("step")
        if not isinstance(reached, int) or (not found and reached > step):  # on the way to a later mark
            reached = int(rows[-1]["step"]) if rows else None
        return state, reason, reached

    def _done(self, phase: str, step: int) -> bool:
        row = self.row(phase, step)
        return row is not None and finite(row.get("loss")) is not None

    def flops_before(self, parents: Iterable[Parent]) -> float:
        """FLOPs of all phases that the given marks descend from, each counted once."""
        todo, furthest = list(parents), dict[str, int]()
        while todo:
            parent = todo.pop()
            if furthest.get(parent.phase, -1) < parent.step:
                furthest[parent.phase] = parent.step
                planned = self.plan.phases.get(parent.phase)
                todo.extend(planned.parents if planned else ())
        total = 0.0
        for phase, step in furthest.items():
            row = self.row(phase, step)
            total += float((row or {}).get("flops") or 0.0)
        return total

    def t1(self, cell: Cell) -> int:
        """Procedural tokens that were consumed before the compared phase; as planned where that is not known yet.

        A curriculum costs less than its longest length would, and a warm-up that was solved stops early.
        """
        total = cell.t1
        for parent in cell.warmups:
            planned = self.plan.phases[parent.phase]
            if planned.recipe.follows_evaluations:
                total += self.consumed(planned, parent.step) - nominal(planned, parent.step)
        return total

    def consumed(self, planned: PlannedPhase, step: int) -> int:
        """Tokens that a phase consumed up to a step; as planned, which is the most, where that is not known yet."""
        row = self.row(planned.id, step) if planned.recipe.follows_evaluations else None
        return nominal(planned, step) if row is None else int(row["tokens"])

    def _budget(self, planned: PlannedPhase, step: int) -> int:
        """Tokens at the last step of a curve: those of the plan, or consumed where sequences grew on the way.

        The curve of a phase that was solved goes on to its end.
        """
        row = self.row(planned.id, step) if planned.recipe.grows else None
        return nominal(planned, step) if row is None else _tokens_at(planned, row, step)

    def run(self, cell: Cell) -> Run:
        found = self._run(cell.compared, cell.step, cell.seed, cell.warmups)
        return replace(found, donor=cell.donor, warmup_tokens=self.t1(cell))

    def phase_run(self, phase: PlannedPhase) -> Run:
        """A whole phase as a run, such as a warm-up, which no cell compares."""
        return self._run(phase.id, phase.end, phase.recipe.seed, phase.parents)

    def run_among(self, phase: PlannedPhase) -> Run:
        """The procedural data among the text of a phase as a run of their own: its tokens and values are theirs.

        It ends at the last update on them, of which the final values are.
        """
        found = self._run(phase.id, phase.end, phase.recipe.seed, ())
        rows = [row for row in self.rows(phase.id) if row["step"] <= phase.end]
        theirs = [
            {
                "step": row["step"],
                "tokens": row.get("procedural_tokens") or 0,
                "loss": row.get("procedural_loss"),
                "accuracy": row.get("procedural_accuracy"),
                "flops": row.get("flops"),
            }
            for row in rows
        ]
        last: dict[str, Any] = next((row for row in reversed(rows) if "procedural_learned_loss" in row), {})
        return replace(
            found,
            budget=phase.procedural_tokens,
            curve=_curve(theirs),
            loss=finite(last.get("procedural_learned_loss")),
            accuracy=finite(last.get("procedural_learned_accuracy")),
            scores={},
        )

    def values(self, phase: str, step: int) -> tuple[float, float | None] | None:
        """Loss and, where there is one, accuracy of the evaluation that holds at a step; None without a finite loss."""
        row = self.row(phase, step) or {}
        loss = finite(row.get("loss"))
        return None if loss is None else (loss, finite(row.get("accuracy")))

    def _run(self, phase_id: str, step: int, seed: int, above: Iterable[Parent]) -> Run:
        phase = self.plan.phases[phase_id]
        state, reason, _ = self.state(phase.id, step)
        rows = [row for row in self.rows(phase.id) if row["step"] <= step]
        final = self.row(phase.id, step) or {}
        return Run(
            seed=seed,
            phase=phase.id,
            label=phase.label,
            state=state,
            reason=reason,
            step=int(rows[-1]["step"]) if rows else 0,
            last_step=step,
            budget=self._budget(phase, step),
            curve=_curve(rows + _carried_forward(phase, rows, step)),
            warmup_flops=self.flops_before(above),
            sequences=phase.recipe.evaluation.sequences,
            loss=finite(final.get("loss")),
            accuracy=finite(final.get("accuracy")),
            solved=int(final["tokens"]) if final.get("solved") else None,
            scores=_scores(final),
        )


def _scores(row: dict[str, Any]) -> dict[str, float]:
    """The further accuracies of an evaluation that has some."""
    known = {name: value for name in SCORES if (value := finite(row.get(name))) is not None}
    exact = finite(row.get("exact"))
    return {"exact_match": exact, **known} if exact is not None else known


def _carried_forward(phase: PlannedPhase, rows: Sequence[dict[str, Any]], end: int) -> list[dict[str, Any]]:
    """The evaluations that a solved phase no longer made: its last one at every later place of the cadence."""
    if not rows or not rows[-1].get("solved"):
        return []
    last, every = rows[-1], phase.recipe.evaluation.every
    steps = {*range(last["step"] + every, end, every), *([end] if end > last["step"] else [])}
    seen = last["tokens"] if last.get("unique_tokens") is None else last["unique_tokens"]
    return [
        {**last, "step": step, "tokens": _tokens_at(phase, last, step), "unique_tokens": seen} for step in sorted(steps)
    ]


def _tokens_at(phase: PlannedPhase, last: dict[str, Any], step: int) -> int:
    """Tokens of a phase that was solved at its last evaluation, had it gone on to a step at the same length."""
    if phase.recipe.grows:
        return int(last["tokens"]) + round((step - last["step"]) * phase.tokens_per_step)
    return max(nominal(phase, step), int(last["tokens"]))


def finite(value: Any) -> float | None:
    """A finite number as a float, None for anything else."""
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _curve(rows: Sequence[dict[str, Any]]) -> Curve:
    def column(key: str) -> tuple[float, ...]:
        return tuple(math.nan if (value := finite(row.get(key))) is None else value for row in rows)

    return Curve(
        tuple(int(row["step"]) for row in rows),
        tuple(int(row["tokens"]) for row in rows),
        column("loss"),
        column("accuracy"),
        column("flops"),
        tuple(float(row["tokens"] if row.get("unique_tokens") is None else row["unique_tokens"]) for row in rows),
    )
