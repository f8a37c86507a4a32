"""The plan: every cell of a sweep as a chain of phases, and each distinct phase once.

Data only: `planner` makes it of a sweep, `plan_json` reads back what `Plan.to_json` gave.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

from procray.garbage import keeping_everything
from procray.model.outside import Outside
from procray.redaction import redact, redacted
from procray.training.recipe import Kind, Parent, PhaseRecipe

BASELINE = "baseline"

Choices = Mapping[str, Mapping[str, Any]]  # by variant, the values of the searched axes


def title(name: str, scale: str | None, settings: str = "") -> str:
    """What people and MLflow call the result of a sweep; see `Plan.title`."""
    return f"{name}@{scale or 'default'}" + (f"+{settings}" if settings else "")


@dataclass
class PlannedPhase:
    """One phase to train.

    Attributes:
        label: for people, with the seed: `union L64 s0`; after the warm-ups of a donor of its own `union/mlp d1 s0`.
        variant: the label without the seed: the variant's name, or a warm-up's own.
        marks: steps at which the weights are wanted, ascending; the last is the end.
        nominal: by mark, the tokens that its steps consume (separators and padding included); the most that they may
            consume where its sequences grow as they are mastered (`recipe.growing`).
        asked: by mark, the budgets of the file that round up to it.
        parents: the marks of other phases of the plan that it starts from; outside checkpoints stand in its recipe.
        variants: whose chains it belongs to.
        tokens_per_step: nominal tokens of one step (expected, where lengths are drawn).
        vocab, rows: what the data give to the model's shape.
        flops: of the whole phase.
        procedural_tokens: nominal, of procedural data among its text; `nominal` does not count them.
    """

    id: str
    recipe: PhaseRecipe
    label: str
    variant: str
    marks: list[int]
    nominal: dict[int, int]
    asked: dict[int, list[int]]
    parents: list[Parent]
    resources: dict[str, Any]
    variants: list[str]
    tokens_per_step: float
    vocab: int
    rows: int | None
    flops: float
    procedural_tokens: int = 0

    @property
    def kind(self) -> Kind:
        return self.recipe.kind

    @property
    def end(self) -> int:
        return self.marks[-1]

    def summary(self) -> dict[str, Any]:
        """The short JSON form. `tokens_at_most`: its sequences grow as they are mastered, so it may consume fewer."""
        return {
            "id": self.id,
            "kind": self.kind,
            "variant": self.variant,
            "tokens": self.nominal[self.end],
            **({"tokens_at_most": True} if self.recipe.growing else {}),
            **({"procedural_tokens": self.procedural_tokens} if self.procedural_tokens else {}),
            "parents": list(dict.fromkeys(parent.phase for parent in self.parents)),
        }

    def to_json(self) -> dict[str, Any]:
        """Everything, with the fields of `summary` among it."""
        return {
            **self.summary(),
            "label": self.label,
            "marks": self.marks,
            "resources": self.resources,
            "variants": self.variants,
            "tokens_per_step": self.tokens_per_step,
            "vocab": self.vocab,
            "rows": self.rows,
            "flops": self.flops,
            "recipe": self.recipe.to_json(),
            "needs": [dict(vars(parent)) for parent in self.parents],
            "nominal": {str(step): tokens for step, tokens in self.nominal.items()},
            "asked": {str(step): budgets for step, budgets in self.asked.items()},
        }


@dataclass(slots=True)
class Cell:
    """One chain of the grid at one seed, and where its result stands.

    Attributes:
        variant: every axis that varies, in the file's order: `union/L64/2M/mlp`.
        axes: by dotted name, the values of the axes that matter here; of a control also which it is, as `controls`.
        target: the name of the tail, empty where there is only one.
        compared, step: the phase whose curve is the result, read up to this step.
        warmups: the procedural marks that the compared phase descends from.
        baseline: the variant of the same tail from random weights (of itself, for a baseline).
        t1: nominal procedural tokens before the compared phase, as `PlannedPhase.nominal`, and among its text.
        fraction: of T2, for a matched rerun; None at full length.
        stages: all marks after the warm-ups, the compared one among them, where there are several.
        donor: the seed of the warm-ups, where the sweep says `donors`; None: it is `seed`, or there are none.
        control: which of `controls:` it is (`shuffled`, `text`, `random`, `random_heads`, `more_semantic`); empty for a
            variant of the grid. Of which variants it is one stands in `Plan.controls`.
    """

    variant: str
    seed: int
    axes: dict[str, Any]
    target: str
    compared: str
    step: int
    warmups: list[Parent]
    baseline: str
    t1: int
    fraction: float | None = None
    stages: tuple[Parent, ...] = ()
    donor: int | None = None
    control: str = ""

    @property
    def is_baseline(self) -> bool:
        return self.variant == self.baseline

    def to_json(self) -> dict[str, Any]:
        return {
            "variant": self.variant,
            "seed": self.seed,
            "donor": self.donor,
            "control": self.control,
            "axes": self.axes,
            "target": self.target,
            "compared": self.compared,
            "step": self.step,
            "baseline": self.baseline,
            "t1": self.t1,
            "fraction": self.fraction,
            "warmups": [dict(vars(parent)) for parent in self.warmups],
            "stages": [dict(vars(mark)) for mark in self.stages],
        }


@dataclass(slots=True)
class Trial:
    """One setting that `select:` tries for a variant, at one tuning seed; its result is the tuning loss at `step`.

    Attributes:
        variant: that the setting would stand for: the name without the axes that are searched.
        setting: by dotted name, the values of the searched axes.
        label: the same, short: `lr1e-3/weight_decay0.1`.
        control: as of a cell.
    """

    variant: str
    setting: dict[str, Any]
    label: str
    seed: int
    target: str
    compared: str
    step: int
    baseline: str
    control: str = ""


@dataclass(frozen=True)
class Segment:
    """A phase's training up to one mark; `needs` are the marks that must exist before."""

    phase: str
    until: int
    marks: tuple[int, ...]
    needs: tuple[tuple[str, int], ...]


@dataclass
class Plan:
    """A sweep as a graph of unique phases (parents before children) and the cells that read them.

    A sweep with `select:` has two stages. Planned from the file alone it holds the search only (`trials`, no
    cells), and `then` plans the whole from what the search has chosen; see `procray.selection.select`.
    """

    name: str
    scale: str
    setting: str
    question: str
    spec: dict[str, Any]
    source: str
    phases: dict[str, PlannedPhase]
    cells: list[Cell]
    resources: dict[str, Any]
    retries: int
    matched: list[float]
    published: list[dict[str, Any]]
    axes: list[dict[str, Any]]
    totals: dict[str, Any] = field(default_factory=dict)
    search: dict[str, Any] | None = None  # what is searched, on which seeds; None without `select:`
    trials: list[Trial] = field(default_factory=list)
    outside: dict[str, Outside] = field(default_factory=dict)  # by id, checkpoints that phases begin with
    same: dict[str, str] = field(default_factory=dict)  # by name, variants that are another by its name
    # By variant and by kind, the variant that is its control; where several have the same, it stands there once.
    controls: dict[str, dict[str, str]] = field(default_factory=dict)
    settings: str = ""  # what `--set` changed, in short; empty where nothing
    file: str = ""  # the sweep file's absolute path; empty where it is not known
    then: Callable[[Choices], Plan] | None = field(default=None, repr=False, compare=False)

    @property
    def title(self) -> str:
        """What people and MLflow call the result: `name@scale`, and what `--set` changed."""
        return title(self.name, self.scale, self.settings)

    @cached_property
    def digest(self) -> str:
        """Twelve hex digits over what is trained and what is read from it, but not over how it is told or run.

        The order in which the file lists seeds and the values of grids is no part of it.
        """
        lines = [f"{phase.id} {phase.marks}" for phase in self.phases.values()]
        lines += [
            f"{cell.variant} {cell.seed} {cell.compared}@{cell.step} {cell.baseline} {cell.fraction}"
            + ("" if cell.donor is None else f" {cell.donor}")
            for cell in self.cells
        ]
        lines += [f"{trial.variant} {trial.label} {trial.seed} {trial.compared}@{trial.step}" for trial in self.trials]
        return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()[:12]

    @property
    def variants(self) -> list[str]:
        """The names of all variants, each target's baseline first."""
        return list(dict.fromkeys(cell.variant for cell in self.cells))

    @property
    def donors(self) -> list[int]:
        """The seeds of the warm-ups where each goes before every seed; empty where every target has its own."""
        return sorted({cell.donor for cell in self.cells if cell.donor is not None})

    @property
    def targets(self) -> list[str]:
        return list(dict.fromkeys([cell.target for cell in self.cells] + [trial.target for trial in self.trials]))

    @keeping_everything()
    def segments(self) -> list[Segment]:
        """One segment for each wanted mark, parents first."""
        found: list[Segment] = []
        for phase in self.phases.values():
            needs = tuple((parent.phase, parent.step) for parent in phase.recipe.init.parents())
            before: tuple[tuple[str, int], ...] = ()
            for mark in phase.marks:
                pace = ((phase.recipe.paced_by, mark),) if phase.recipe.paced_by else ()
                found.append(Segment(phase.id, mark, (mark,), needs + pace + before))
                before = ((phase.id, mark),)
        return found

    def summary(self) -> dict[str, Any]:
        """The short JSON form: sweep, scale, phases and totals."""
        return {
            "sweep": self.name,
            "scale": self.scale,
            "phases": [phase.summary() for phase in self.phases.values()],
            "totals": self.totals,
        }

    @keeping_everything()
    def to_json(self) -> dict[str, Any]:
        """Everything, with the fields of `summary` among it."""
        return {
            "sweep": self.name,
            "scale": self.scale,
            "setting": self.setting,
            "question": redact(self.question),
            "phases": [phase.to_json() for phase in self.phases.values()],
            "totals": self.totals,
            "cells": [cell.to_json() for cell in self.cells],
            "axes": self.axes,
            "resources": self.resources,
            "retries": self.retries,
            "matched": self.matched,
            "published": self.published,
            "search": self.search,
            "trials": [asdict(trial) for trial in self.trials],
            "outside": [outside.to_json() for outside in self.outside.values()],
            "spec": redacted(self.spec),
            "source": redact(self.source),
            "same": self.same,
            "controls": self.controls,
            "settings": redact(self.settings),
            "file": self.file,
        }
