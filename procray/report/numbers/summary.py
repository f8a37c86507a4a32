"""Gathers what a sweep found: every planned cell from the plan and the store, finished or not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from procray.garbage import keeping_everything
from procray.planning.notes import notes
from procray.planning.titles import task_title, title_of
from procray.redaction import redact
from procray.report.numbers.evidence import judge
from procray.report.numbers.gate import with_gates
from procray.report.numbers.matching import against_baseline
from procray.report.numbers.results import MatchedPoint, Results, Stage, Target, Trouble, Variant
from procray.report.numbers.runs import Reader, Run
from procray.report.numbers.titles import question_of
from procray.report.numbers.warmups import chance_of, validation_text, warmups
from procray.selection.select import read as read_search

if TYPE_CHECKING:
    from procray.planning.plan import Cell, Plan, PlannedPhase
    from procray.store.store import Store


@keeping_everything()
def summarise(plan: Plan, store: Store) -> Results:
    """Reads every cell of the plan from the store; unfinished and failed ones stay in, marked as such."""
    reader = Reader(plan, store)
    by_target: dict[str, list[Cell]] = {}
    for cell in plan.cells:
        by_target.setdefault(cell.target, []).append(cell)
    search = read_search(plan, store)
    targets = with_gates([_target(name, cells, plan, reader) for name, cells in by_target.items()], reader, search)
    failed: list[Trouble] = []
    skipped: list[Trouble] = []
    done = 0
    for phase in plan.phases.values():
        state, reason, step = reader.state(phase.id, max(phase.marks, default=0))
        done += state == "done"
        if state in ("failed", "skipped"):
            trouble = Trouble(phase.id, phase.label, tuple(phase.variants), reason, step)
            (failed if state == "failed" else skipped).append(trouble)
    return Results(
        plan.name, plan.scale, plan.settings, plan.setting, redact(plan.question or question_of(plan.source)),
        targets, tuple(failed), tuple(skipped), done, len(plan.phases), tuple(plan.published),
        search, tuple(notes(plan)), warmups(plan, reader),
    )  # fmt: skip


def _target(name: str, cells: list[Cell], plan: Plan, reader: Reader) -> Target:
    phase = plan.phases[cells[0].compared]
    kind = phase.recipe.kind
    metric = _metric(kind)
    variants: dict[str, Variant] = {}
    by_variant: dict[str, list[Cell]] = {}
    for cell in cells:
        by_variant.setdefault(cell.variant, []).append(cell)
    for variant, own in by_variant.items():
        full = [cell for cell in own if cell.fraction is None]
        if not full:
            continue
        names = _names(full[0], plan)
        whole = {cell.compared for cell in full}
        runs = tuple(reader.run(cell) for cell in sorted(full, key=_order))
        reruns: dict[float, list[Run]] = {}
        for cell in own:
            # With a constant schedule the full-length run is the rerun for every fraction: nothing to add.
            if cell.fraction is not None and cell.compared not in whole:
                reruns.setdefault(cell.fraction, []).append(reader.run(cell))
        variants[variant] = Variant(
            target=name,
            name=variant,
            short=names[0],
            family=names[1],
            setting=names[2],
            carried=names[3],
            labels=names[4],
            parameters=_parameters(plan.phases[full[0].compared]),
            shares=_shares(full[0], plan),
            stages=_stages(full, plan, reader),
            baseline=full[0].baseline or variant,
            control=full[0].control,
            controls=dict(plan.controls.get(variant, {})),
            axes=dict(full[0].axes),
            metric=metric,
            t1=round(sum(reader.t1(cell) for cell in full) / len(full)),
            t2=max(run.budget for run in runs),
            runs=runs,
            constant=all(plan.phases[cell.compared].recipe.steps is None for cell in full),
            points=tuple(
                MatchedPoint(fraction, max(run.budget for run in again), None, None, tuple(again))
                for fraction, again in sorted(reruns.items())
            ),
        )
    filled = [against_baseline(variant, variants.get(variant.baseline)) for variant in variants.values()]
    filled.sort(key=lambda variant: not variant.is_baseline)  # baselines first, the plan's order otherwise
    data = phase.recipe.data
    chance = chance_of(data) if metric == "accuracy" else {}
    target = Target(name, name or title_of(data), kind, metric, tuple(filled), chance)
    return judge(replace(target, validation=validation_text(phase)))


def _order(cell: Cell) -> tuple[int, int]:
    return cell.seed, -1 if cell.donor is None else cell.donor


def _metric(kind: str) -> str:
    """What a phase of this kind is judged by."""
    return "accuracy" if kind == "diagnostic" else "loss"


def _parameters(phase: PlannedPhase) -> int:
    from procray.model.shape import parameters

    return parameters(phase.recipe.model.config(phase.vocab, phase.rows))


def _shares(cell: Cell, plan: Plan) -> dict[str, float]:
    """How a variant's only warm-up is divided among tasks; empty for none, several, or one on text."""
    warmups = {parent.phase for parent in cell.warmups}
    data = plan.phases[warmups.pop()].recipe.data if len(warmups) == 1 else {}
    if "task" not in data:
        return {}
    parts = data["task"].get("mixture") or [{"task": data["task"], "weight": 1.0}]
    total = sum(part["weight"] for part in parts)
    shares: dict[str, float] = {}
    for part in parts:
        name = task_title(part["task"])
        shares[name] = shares.get(name, 0.0) + part["weight"] / total
    return shares


def _stages(cells: Sequence[Cell], plan: Plan, reader: Reader) -> tuple[Stage, ...]:
    found = []
    cells = sorted(cells, key=_order)
    for marks in zip(*(cell.stages for cell in cells), strict=True):
        recipe = plan.phases[marks[0].phase].recipe
        runs = tuple(
            reader.run(replace(cell, compared=mark.phase, step=mark.step))
            for cell, mark in zip(cells, marks, strict=True)
        )
        found.append(Stage(recipe.kind, title_of(recipe.data), _metric(recipe.kind), runs))
    return tuple(found)


def _names(cell: Cell, plan: Plan) -> tuple[str, str, str, str, dict[str, str]]:
    """Short name, family, setting, transfer mode and labels of a variant."""
    prefix = f"{cell.target}/" if cell.target else ""
    short = cell.variant.removeprefix(prefix)
    labels: dict[str, str] = {}
    searched = plan.search["axes"] if plan.search else ()  # chosen for a variant, so no part of its name
    for axis in plan.axes:
        if axis["name"] in searched:
            continue
        if axis["name"] in cell.axes and len(axis["values"]) > 1 and cell.axes[axis["name"]] in axis["values"]:
            labels[axis["name"]] = axis["labels"][axis["values"].index(cell.axes[axis["name"]])]
    if cell.control:
        labels["controls"] = cell.control
    kinds = {name: name.split(".") for name in labels}
    mode = next((labels[name] for name, parts in kinds.items() if parts[-1] == "transfer"), "")

    def without(skip: Callable[[list[str]], bool]) -> str:
        return "/".join(label for name, label in labels.items() if not skip(kinds[name])) or "warm-up"

    family = without(lambda parts: parts[-1] == "tokens" and "procedural" in parts)
    return short, family, without(lambda parts: parts[-1] == "transfer"), mode, labels
