"""The plan: every cell of a sweep as a chain of phases, and each distinct phase once.

Planning is pure: it reads no network and trains nothing. Phases are equal when their recipes are, so
warm-ups are shared among targets, transfer modes and sweeps; with a constant schedule budgets share
a phase too, as marks on one run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path as FilePath
from typing import Any, NamedTuple

from procray.errors import StoreError
from procray.files import canonical_json, read_json
from procray.garbage import keeping_everything
from procray.model.components import parts_of
from procray.model.outside import OUTSIDE_FORM, Outside
from procray.planning.chains import Chains, Facts
from procray.planning.sweep import Sweep
from procray.planning.transfer import Giver, Inheritance
from procray.records import Every, check, count, digits, of, plain
from procray.redaction import redact, redacted
from procray.spec.cells import Pick, picks
from procray.spec.names import label
from procray.spec.structure import Tail
from procray.training.recipe import Init, Kind, Parent, PhaseRecipe, Share

BASELINE = "baseline"

Choices = Mapping[str, Mapping[str, Any]]  # by variant, the values of the searched axes


@dataclass
class PlannedPhase:
    """One phase to train.

    Attributes:
        label: for people, with the seed.
        variant: the label without the seed: the variant's name, or a warm-up's own.
        marks: steps at which the weights are wanted, ascending; the last is the end.
        nominal: by mark, the tokens that its steps consume (separators and padding included).
        asked: by mark, the budgets of the file that round up to it.
        parents: the marks of other phases of the plan that it starts from; outside checkpoints stand in its recipe.
        variants: whose chains it belongs to.
        tokens_per_step: nominal tokens of one step (expected, where lengths are drawn).
        vocab, rows: what the data give to the model's shape.
        flops: of the whole phase.
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

    @property
    def kind(self) -> Kind:
        return self.recipe.kind

    @property
    def end(self) -> int:
        return self.marks[-1]


@dataclass(slots=True)
class Cell:
    """One chain of the grid at one seed, and where its result stands.

    Attributes:
        variant: every axis that varies, in the file's order: `union/L64/2M/mlp`.
        axes: by dotted name, the values of the axes that matter here.
        target: the name of the tail, empty where there is only one.
        compared, step: the phase whose curve is the result, read up to this step.
        warmups: the procedural marks that the compared phase descends from.
        baseline: the variant of the same tail from random weights (of itself, for a baseline).
        t1: nominal procedural tokens before the compared phase.
        fraction: of T2, for a matched rerun; None at full length.
        stages: all marks after the warm-ups, the compared one among them, where there are several.
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

    @property
    def is_baseline(self) -> bool:
        return self.variant == self.baseline


@dataclass(slots=True)
class Trial:
    """One setting that `select:` tries for a variant, at one tuning seed; its result is the tuning loss at `step`.

    Attributes:
        variant: that the setting would stand for: the name without the axes that are searched.
        setting: by dotted name, the values of the searched axes.
        label: the same, short: `lr1e-3/weight_decay0.1`.
    """

    variant: str
    setting: dict[str, Any]
    label: str
    seed: int
    target: str
    compared: str
    step: int
    baseline: str


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
    then: Callable[[Choices], Plan] | None = field(default=None, repr=False, compare=False)

    @property
    def variants(self) -> list[str]:
        """The names of all variants, each target's baseline first."""
        return list(dict.fromkeys(cell.variant for cell in self.cells))

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
                found.append(Segment(phase.id, mark, (mark,), needs + before))
                before = ((phase.id, mark),)
        return found

    def summary(self) -> dict[str, Any]:
        """The short JSON form: sweep, scale, phases and totals."""
        return {
            "sweep": self.name,
            "scale": self.scale,
            "phases": [_summary(phase) for phase in self.phases.values()],
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
            "phases": [_phase_json(phase) for phase in self.phases.values()],
            "totals": self.totals,
            "cells": [
                {
                    **{name: getattr(cell, name) for name in _CELL_FIELDS},
                    "warmups": [dict(vars(parent)) for parent in cell.warmups],
                    "stages": [dict(vars(mark)) for mark in cell.stages],
                }
                for cell in self.cells
            ],
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
        }

    @staticmethod
    def read(path: FilePath) -> Plan:
        """The plan in a plan.json.

        Raises:
            StoreError: it cannot be read, or is damaged.
        """
        try:
            return Plan.from_json(read_json(path))
        except (OSError, ValueError) as error:
            raise StoreError(f"{path} cannot be read: {error}") from None
        except StoreError as error:
            raise StoreError(f"{path}: {error}") from None

    @staticmethod
    @keeping_everything()
    def from_json(value: dict[str, Any]) -> Plan:
        """What `to_json` gave.

        Raises:
            StoreError: something else, or it names phases that it does not have.
        """
        check(value, _FORM, "the plan")
        _check_references(value)
        phases = [_phase_from_json(phase) for phase in value["phases"]]
        return Plan(
            name=value["sweep"],
            phases={phase.id: phase for phase in phases},
            cells=[
                Cell(
                    warmups=[Parent(**parent) for parent in cell["warmups"]],
                    stages=tuple(Parent(**mark) for mark in cell.get("stages", ())),
                    **{name: cell[name] for name in _CELL_FIELDS},
                )
                for cell in value["cells"]
            ],
            **{name: value[name] for name in _PLAN_FIELDS},
            search=value.get("search"),
            trials=[Trial(**trial) for trial in value.get("trials", ())],
            outside={one["id"]: Outside.from_json(one) for one in value.get("outside", ())},
        )


def _check_references(value: dict[str, Any]) -> None:
    """Raises StoreError where a plan names what it does not have."""
    steps: dict[str, set[int]] = {one["id"]: {0} for one in value.get("outside", ())}
    for phase in value["phases"]:
        for parent in phase["needs"]:
            if parent["phase"] not in steps:
                raise StoreError(
                    f"phase {phase['id']} comes after {parent['phase']}, which the plan does not name before"
                )
        marks = phase["marks"]
        if not marks or marks != sorted(set(marks)) or any(str(mark) not in phase["nominal"] for mark in marks):
            raise StoreError(f"the marks of phase {phase['id']} are not ascending steps with their tokens")
        steps[phase["id"]] = set(marks)
    for cell in (*value["cells"], *value.get("trials", ())):
        for mark in (
            {"phase": cell["compared"], "step": cell["step"]}, *cell.get("warmups", ()), *cell.get("stages", ())
        ):  # fmt: skip
            if mark["phase"] not in steps:
                raise StoreError(f"{cell['variant']} is read from phase {mark['phase']}, which the plan does not have")


_CELL_FIELDS = ("variant", "seed", "axes", "target", "compared", "step", "baseline", "t1", "fraction")
_PLAN_FIELDS = (
    "scale", "setting", "question", "spec", "source", "resources", "retries", "matched", "published", "axes", "totals"
)  # fmt: skip
_PHASE_FIELDS = ("label", "marks", "resources", "variants", "tokens_per_step", "vocab", "rows", "flops")


_MARK = of(Parent, phase=plain, step=count)
_RESOURCES = {"workers": count, "gpu": float, "cpu": float, "executor?": str}
_FORM = {
    "sweep": plain, "scale": plain, "setting": str, "question": str, "source": str, "spec": dict, "resources": dict,
    "retries": count, "matched": [float], "published": [dict], "axes": [dict], "totals": dict,
    "search?": ({"axes": [str], "seeds": [int]}, type(None)), "trials?": [of(Trial, compared=plain, step=count)],
    "outside?": [OUTSIDE_FORM],
    "phases": [
        {
            "id": plain, "kind": str, "variant": str, "label": str, "recipe": dict, "needs": [_MARK], "marks": [count],
            "nominal": Every(count, digits), "asked": Every([count], digits), "resources": _RESOURCES,
            "variants": [str], "tokens_per_step": float, "vocab": count, "rows": (count, type(None)), "flops": float,
        }
    ],
    "cells": [
        {
            "variant": str, "seed": int, "axes": dict, "target": str, "compared": plain, "step": count,
            "warmups": [_MARK], "baseline": str, "t1": count, "fraction": (float, type(None)), "stages?": [_MARK],
        }
    ],
}  # fmt: skip


def _enough_for_both(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """The resources of a phase that two parts of a sweep describe; what need not be said only where they agree."""
    may_lack = {"executor", "min_workers"}
    merged = {key: max(one[key], other[key]) for key in one.keys() - may_lack}
    return {**merged, **{key: one[key] for key in may_lack & one.keys() if one[key] == other.get(key)}}


def _summary(phase: PlannedPhase) -> dict[str, Any]:
    return {
        "id": phase.id,
        "kind": phase.kind,
        "variant": phase.variant,
        "tokens": phase.nominal[phase.end],
        "parents": list(dict.fromkeys(parent.phase for parent in phase.parents)),
    }


def _phase_json(phase: PlannedPhase) -> dict[str, Any]:
    return {
        **_summary(phase),
        **{name: getattr(phase, name) for name in _PHASE_FIELDS},
        "recipe": phase.recipe.to_json(),
        "needs": [dict(vars(parent)) for parent in phase.parents],
        "nominal": {str(step): tokens for step, tokens in phase.nominal.items()},
        "asked": {str(step): budgets for step, budgets in phase.asked.items()},
    }


def _phase_from_json(value: dict[str, Any]) -> PlannedPhase:
    return PlannedPhase(
        id=value["id"],
        variant=value["variant"],
        recipe=PhaseRecipe.from_json(value["recipe"]),
        parents=[Parent(**parent) for parent in value["needs"]],
        nominal={int(step): tokens for step, tokens in value["nominal"].items()},
        asked={int(step): budgets for step, budgets in value["asked"].items()},
        **{name: value[name] for name in _PHASE_FIELDS},
    )


def plan(spec: Sweep, choices: Choices | None = None) -> Plan:
    """Turns a sweep into its graph of phases and its cells. Pure, and quick: 100,000 cells in seconds.

    Args:
        choices: what the search of a sweep with `select:` has chosen; without them only the search is planned.
            A variant that is not named has no cells.
    """
    with keeping_everything():
        result = _Planner(spec, choices).plan()
    if spec.search and choices is None:
        result.then = lambda found: plan(spec, found)
        first: dict[str, dict[str, Any]] = {}
        for trial in result.trials:
            first.setdefault(trial.variant, trial.setting)
        whole = _Planner(spec, first)
        key = "naive_phases" if _reaches_others(spec, whole.chains) else "phases"
        result.totals["then_phases"] = whole.plan().totals[key] - result.totals[key]
    return result


def _reaches_others(spec: Sweep, chains: Chains) -> bool:
    """Whether a searched axis changes phases that variants share: how many there will be depends on the choices."""
    assert spec.search
    return any(
        spec.search.axes & (chains.own_axes(link) | chains.transfer_axes(link))
        for tail in spec.tails
        for i, link in enumerate(tail.links)
        if i != tail.compared
    )


class _Mark(NamedTuple):
    """A phase up to a step, with everything before it."""

    phase: str
    step: int
    tokens: int
    kind: Kind
    before: tuple[_Mark, ...]  # distinct


class _Planner:
    def __init__(self, spec: Sweep, choices: Choices | None = None):
        self.spec, self.choices = spec, choices
        self.searched = spec.search.axes if spec.search else frozenset[int]()
        self.tuning_seeds = frozenset(spec.search.seeds if spec.search else ())
        self.trials: list[Trial] = []
        self.chains = spec.chains
        self.phases: dict[str, PlannedPhase] = {}
        self.marks: dict[str, dict[int, dict[int, None]]] = {}  # phase -> step -> budgets asked for
        self.members: dict[str, dict[str, None]] = {}  # phase -> variants
        self.built: dict[tuple[Any, ...], _Mark] = {}
        self.used: dict[tuple[Any, ...], frozenset[int]] = {}
        self.cells: list[Cell] = []
        self.outside: dict[str, Outside] = {}
        self.naive_phases = 0
        self.naive_tokens = 0
        self.naive_t1 = 0

    def plan(self) -> Plan:
        spec = self.spec
        for tail in spec.tails:
            self._tail(tail)
        for id, phase in self.phases.items():
            asked = self.marks[id]
            phase.marks = sorted(asked)
            phase.nominal = {step: round(step * phase.tokens_per_step) for step in phase.marks}
            phase.asked = {step: sorted(asked[step]) for step in phase.marks}
            phase.variants = list(self.members[id])
            phase.flops *= phase.end
        result = Plan(
            name=spec.name,
            scale=spec.scale,
            setting=spec.setting,
            question=spec.question,
            spec=spec.resolved,
            source=spec.source,
            phases=self.phases,
            cells=self.cells,
            resources=spec.resources,
            retries=spec.retries,
            matched=spec.matched,
            published=spec.published,
            axes=[{"name": axis.name, "values": axis.values, "labels": axis.labels} for axis in spec.axes],
            trials=self.trials,
            outside=self.outside,
        )
        if spec.search:
            names = [spec.axes[i].name for i in sorted(self.searched)]
            result.search = {"axes": names, "seeds": list(spec.search.seeds), "by": spec.search.by}
        ends = [(phase.kind, phase.nominal[phase.end]) for phase in self.phases.values()]
        result.totals = {
            "phases": len(self.phases),
            "naive_phases": self.naive_phases,
            "tokens": sum(tokens for _, tokens in ends),
            "naive_tokens": self.naive_tokens,
            "t1_tokens": sum(tokens for kind, tokens in ends if kind == "procedural"),
            "naive_t1_tokens": self.naive_t1,
            "flops": float(sum(phase.flops for phase in self.phases.values())),
        }
        return result

    def _tail(self, tail: Tail) -> None:
        """Adds the cells of one tail: the baselines, then everything else in the file's order."""
        spec, chains = self.spec, self.chains
        cold = tuple(i for i, link in enumerate(tail.links) if link.kind != "procedural")
        warm = tuple(range(len(tail.links)))
        all_picks = picks(spec.axes, spec.selection, chains.axes_of(tail.links), tail.target)
        bare = chains.axes_of(tuple(tail.links[i] for i in cold), bare=True)
        # By variant, the settings that compete for it: one where nothing is searched.
        cold_variants: dict[Pick, dict[Pick, Pick]] = {}
        for pick in {chains.restrict(pick, bare): None for pick in all_picks}:
            used = chains.restrict(pick, self._used(tail, cold, pick, bare=True))
            cold_variants.setdefault(self._without_searched(used), {}).setdefault(used, used)
        names: dict[Pick, str] = {}
        for variant, settings in cold_variants.items():
            names[variant] = self._name(tail, variant, baseline=True)
            self._variant(tail, cold, settings, names[variant], names[variant])
        if len(cold) == len(warm) and not chains.transfer_axes(tail.links[0]) and not self._begins(tail, all_picks):
            return
        variants: dict[Pick, dict[Pick, Pick]] = {}
        for pick in all_picks:
            used = chains.restrict(pick, self._used(tail, warm, pick, bare=False))
            variants.setdefault(self._without_searched(used), {}).setdefault(used, pick)
        taken = set(names.values())
        for variant, settings in variants.items():
            bottom = chains.restrict(next(iter(settings.values())), bare)
            baseline = names[self._without_searched(chains.restrict(bottom, self._used(tail, cold, bottom, bare=True)))]
            name = self._name(tail, variant, baseline=False)
            if name in taken:
                name = next(f"{name}~{n}" for n in range(2, len(variants) + 2) if f"{name}~{n}" not in taken)
            taken.add(name)
            self._variant(tail, warm, settings, name, baseline)

    def _without_searched(self, pick: Pick) -> Pick:
        return tuple([-1 if i in self.searched else value for i, value in enumerate(pick)]) if self.searched else pick

    def _variant(self, tail: Tail, kept: tuple[int, ...], settings: dict[Pick, Pick], name: str, baseline: str) -> None:
        """One variant: the search among its settings, and the cells of the one that is chosen."""
        spec = self.spec
        for used, pick in settings.items():
            setting = {spec.axes[i].name: spec.axes[i].values[used[i]] for i in sorted(self.searched) if used[i] >= 0}
            if len(settings) > 1:
                self._trials(tail, kept, pick, used, setting, name, baseline)
                if self.choices is None or self.choices.get(name) != setting:
                    continue
            elif spec.search and self.choices is None:
                continue
            self._cells(tail, kept, pick, used, name, baseline)

    def _trials(
        self,
        tail: Tail,
        kept: tuple[int, ...],
        pick: Pick,
        used: Pick,
        setting: dict[str, Any],
        name: str,
        baseline: str,
    ) -> None:
        """One setting of a variant at every tuning seed."""
        axes = self.spec.axes
        label = "/".join(axes[i].labels[used[i]] for i in sorted(self.searched) if used[i] >= 0 and axes[i].varies)
        full = f"tuning/{name}/{label}"
        for seed in sorted(self.tuning_seeds):
            end = self._build(tail, kept, kept.index(tail.compared), pick, seed, None, full, name == baseline)
            self.trials.append(Trial(name, setting, label, seed, tail.name, end.phase, end.step, baseline))
            self._count(end, full)

    def _begins(self, tail: Tail, cells: list[Pick]) -> bool:
        """Whether the first phase of a chain begins with anything but random weights, or with frozen ones."""
        found = self.chains.inherit(tail, 0, None, cells[0]) if cells else None
        return found is not None and bool(found.taken or found.freeze)

    def _used(self, tail: Tail, kept: tuple[int, ...], pick: Pick, bare: bool) -> frozenset[int]:
        """The axes on which a chain really depends in this cell."""
        found = self._used_by(tail, kept, kept[-1], pick, bare)
        return found if kept[-1] == tail.compared else found | self._used_by(tail, kept, tail.compared, pick, bare)

    def _used_by(self, tail: Tail, kept: tuple[int, ...], i: int, pick: Pick, bare: bool) -> frozenset[int]:
        key = (id(tail), kept, i, bare, self.chains.values(pick, self.chains.bearing_axes(tail, i)))
        if key not in self.used:
            self.used[key] = self._read_used(tail, kept, i, pick, bare)
        return self.used[key]

    def _read_used(self, tail: Tail, kept: tuple[int, ...], i: int, pick: Pick, bare: bool) -> frozenset[int]:
        link = tail.links[i]
        facts = self.chains.facts(link, pick)
        assert facts is not None, "checked when the file was loaded"
        found = self.chains.own_axes(link) - facts.unused
        inherited = self._inherited(tail, kept, i, pick, bare)
        if inherited is None:
            return found
        found |= self.chains.transfer_axes(link)
        if not inherited.taken and link.perturb:  # there is nothing to perturb
            found -= self.spec.relevant(link.perturb)
        for giver in {giver for one in inherited.taken for giver in one.givers if not giver.outside}:
            found |= self._used_by(tail, kept, giver.link, giver.pick, bare) - giver.replaced
        return found

    def _inherited(self, tail: Tail, kept: tuple[int, ...], i: int, pick: Pick, bare: bool) -> Inheritance | None:
        """What a phase of the chain begins with; None for random weights, all of them trained.

        A baseline lacks the warm-ups: what they would have given is random in it, and a phase that would have
        begun with nothing else is no longer frozen either.
        """
        before = [j for j in kept if j < i]
        if bare and not before:
            return None
        inherited = self.chains.inherit(tail, i, before[-1] if before else None, pick)
        assert inherited is not None, "checked when the file was loaded"
        if not bare:
            return inherited
        taken = tuple(one for one in inherited.taken if all(g.outside or g.link in before for g in one.givers))
        orphan = bool(inherited.taken) and not taken
        return None if orphan else replace(inherited, taken=taken)

    def _name(self, tail: Tail, pick: Pick, *, baseline: bool) -> str:
        axes = self.spec.axes
        parts = [axis.labels[i] for axis, i in zip(axes, pick, strict=True) if i >= 0 and axis.varies]
        if baseline:
            parts.insert(0, BASELINE)
        elif not parts:
            warm = next((link for link in tail.links if link.kind == "procedural"), None)
            mode = next((link.transfer for link in tail.links[bool(warm) :] if link.transfer), None)
            value = self.spec.value(mode, pick) if mode else None
            task = (*warm.section, "task") if warm else ()
            if warm is not None and all(pick[i] >= 0 for i in self.spec.relevant(task)):
                parts.append(label("task", self.spec.value(task, pick)))
            if warm is not None or value is not None:
                parts.append(label("transfer", value or "full"))
            for key in ("perturb", "freeze") if value != "none" else ("freeze",):
                said = next((path for link in tail.links if (path := getattr(link, key))), None)
                done = self.spec.value(said, pick) if said else None
                parts += [label(key, done)] if done else []
        return "/".join([tail.name, *parts] if tail.name else parts)

    def _cells(self, tail: Tail, kept: tuple[int, ...], pick: Pick, used: Pick, name: str, baseline: str) -> None:
        """One variant at every seed, and its matched reruns. `used` is the pick without what does not matter."""
        spec, compared = self.spec, kept.index(tail.compared)
        axes = {axis.name: axis.values[i] for axis, i in zip(spec.axes, used, strict=True) if i >= 0}
        facts = self.chains.facts(tail.links[tail.compared], pick)
        assert facts is not None, "checked when the file was loaded"
        for seed in spec.seeds:
            whole = self._build(tail, kept, compared, pick, seed, None, name, name == baseline)
            ends = [whole]
            if compared < len(kept) - 1:
                ends = [self._build(tail, kept, len(kept) - 1, pick, seed, None, name, name == baseline)]
            warmups = [mark for mark in _ancestors(whole) if mark.kind == "procedural"]
            parents = [Parent(mark.phase, mark.step) for mark in warmups]
            t1 = sum(mark.tokens for mark in warmups)
            cell = Cell(name, seed, axes, tail.name, whole.phase, whole.step, parents, baseline, t1)
            whole_chain = (ends[-1], *_ancestors(ends[-1]))
            stages = [Parent(mark.phase, mark.step) for mark in whole_chain[::-1] if mark.kind != "procedural"]
            cell.stages = tuple(stages) if len(stages) > 1 else ()
            self.cells.append(cell)
            for fraction in spec.matched if name != baseline else ():
                phase = whole.phase
                if facts.decaying:  # with a constant schedule the shorter run is the beginning of the longer
                    ends.append(self._build(tail, kept, compared, pick, seed, fraction, name, name == baseline))
                    phase = ends[-1].phase
                self.cells.append(replace(cell, compared=phase, step=facts.steps(fraction), fraction=fraction))
            for end in ends:
                self._count(end, name)

    def _count(self, end: _Mark, name: str) -> None:
        """Notes who needs the phases of a chain, and what it would cost by itself."""
        chain = {mark.phase: mark for mark in (*_ancestors(end), end)}
        self.naive_phases += len(chain)
        for mark in chain.values():
            self.naive_tokens += mark.tokens
            self.naive_t1 += mark.tokens if mark.kind == "procedural" else 0
            self.members[mark.phase][name] = None

    def _build(
        self,
        tail: Tail,
        kept: tuple[int, ...],
        at: int,
        pick: Pick,
        seed: int,
        fraction: float | None,
        name: str,
        bare: bool,
    ) -> _Mark:
        """The phase of `kept[at]` in one cell, planned with everything before it; `bare` in a baseline."""
        chains, i = self.chains, kept[at]
        axes = chains.axes_of(tail.links[: i + 1])
        key = (tail.links[i], kept[: at + 1], bare, chains.values(pick, axes), seed, fraction)
        if key in self.built:
            return self.built[key]
        facts = chains.facts(tail.links[i], pick)
        assert facts is not None
        if i == tail.compared and seed in self.tuning_seeds:
            facts = chains.on_tuning_split(facts)
        before: dict[str, _Mark] = {}

        def parent(giver: Giver) -> Parent:
            if giver.outside:
                self.outside[giver.outside] = chains.outside[giver.outside]
                return Parent(giver.outside, 0)
            mark = self._build(tail, kept, kept.index(giver.link), giver.pick, seed, None, name, bare)
            before[f"{mark.phase}@{mark.step}"] = mark
            return Parent(mark.phase, mark.step)

        inherited = self._inherited(tail, kept, i, pick, bare)
        init = Init() if inherited is None else _init(inherited, parent)
        step = facts.steps(fraction)
        id = self._register(tail, kept, at, facts, init, pick, seed, fraction, step, name)
        asked = facts.budget if fraction is None else round(facts.budget * fraction)
        self.marks[id].setdefault(step, {})[asked] = None
        mark = _Mark(id, step, facts.nominal(step), tail.links[i].kind, tuple(before.values()))
        self.built[key] = mark
        return mark

    def _register(
        self,
        tail: Tail,
        kept: tuple[int, ...],
        at: int,
        facts: Facts,
        init: Init,
        pick: Pick,
        seed: int,
        fraction: float | None,
        step: int,
        name: str,
    ) -> str:
        steps = step if facts.decaying else None
        id = phase_id(facts, init, seed, steps)
        if id not in self.phases:
            recipe = PhaseRecipe(**{**vars(facts.recipe), "init": init, "seed": seed, "steps": steps})
            variant = self._phase_name(tail, kept, at, facts, pick, fraction, name)
            self.phases[id] = PlannedPhase(
                id=id,
                recipe=recipe,
                label=f"{variant.replace('/', ' ') if recipe.kind == 'procedural' else variant} s{seed}",
                variant=variant,
                marks=[],
                nominal={},
                asked={},
                parents=[parent for parent in init.parents() if parent.phase not in self.outside],
                resources=facts.resources,
                variants=[],
                tokens_per_step=facts.tokens_per_step,
                vocab=facts.vocab,
                rows=facts.rows,
                flops=facts.flops_per_step,
            )
            self.marks[id] = {}
            self.members[id] = {}
        elif self.phases[id].resources != facts.resources:
            self.phases[id].resources = _enough_for_both(self.phases[id].resources, facts.resources)
        return id

    def _phase_name(
        self, tail: Tail, kept: tuple[int, ...], at: int, facts: Facts, pick: Pick, fraction: float | None, name: str
    ) -> str:
        link = tail.links[kept[at]]
        if link.kind != "procedural":
            several = sum(tail.links[j].kind != "procedural" for j in kept) > 1
            text = f"{name}/{link.name}" if several and kept[at] != tail.compared else name
            return text if fraction is None else f"{text}@{fraction:g}"
        section = self.spec.value(link.section, pick)
        parts = [facts.label] + (
            [label("length", section["length"])] if "length" in section and "task" in facts.recipe.data else []
        )
        for i in sorted(self.chains.own_axes(link) - facts.unused):
            axis = self.spec.axes[i]
            budget = axis.path == (*link.section, "tokens") and not facts.decaying
            if axis.varies and axis.path[-1] not in ("task", "length") and not budget:
                parts.append(axis.labels[pick[i]])
        return "/".join(parts)


def _ancestors(mark: _Mark) -> Iterator[_Mark]:
    """Everything before a mark, each phase and step once."""
    seen: set[tuple[str, int]] = set()
    waiting = list(mark.before)
    while waiting:
        one = waiting.pop(0)
        if (one.phase, one.step) not in seen:
            seen.add((one.phase, one.step))
            yield one
            waiting.extend(one.before)


def _init(inherited: Inheritance, parent: Callable[[Giver], Parent]) -> Init:
    """What a phase begins with, its givers turned into marks."""
    components: dict[str, Parent] = {}
    shares: list[Share] = []
    for one in inherited.taken:
        first = parent(one.giver)
        second = parent(one.second) if one.second else None
        if one.layers is None and second in (None, first):
            components[one.part] = first
        else:
            blend = second if second != first else None
            shares.append(Share(one.part, first, one.layers, blend, one.weight if blend else None))
    carried = parts_of([*components, *(share.part for share in shares)])
    return Init(
        components,
        inherited.embeddings if "embeddings" in carried else "copy",
        tuple(sorted(shares, key=lambda share: (share.part, share.layers or ()))),
        inherited.perturb if carried else None,
        inherited.freeze,
    )


def phase_id(facts: Facts, init: Init, seed: int, steps: int | None) -> str:
    """`PhaseRecipe.id` of the facts with these parents, seed and steps, without building it."""
    head, between, after, end = facts.template
    start = canonical_json(init.to_json())
    text = f"{head}{start}{between}{seed}{after}{'null' if steps is None else steps}{end}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]
