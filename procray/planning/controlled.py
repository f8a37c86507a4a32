"""Which of the controls that a sweep asks for cannot be made, and what all of them cost."""

from __future__ import annotations

from dataclasses import dataclass

from procray.errors import Problem
from procray.planning.chains import Chains
from procray.planning.plan import Plan
from procray.planning.relevance import restrict
from procray.spec.cells import Pick, picks
from procray.spec.controls import kind_of
from procray.spec.structure import Link, SweepSpec, Tail
from procray.spec.tails import follower, has_text
from procray.spec.written import show
from procray.training.recipe import Parent


def check_controls(spec: SweepSpec, chains: Chains) -> None:
    """Reports the controls that a target or a value of the grid cannot have, each at its entry of `controls:`."""
    for i, entry in enumerate(spec.controls):
        kind = kind_of(entry)
        for tail in spec.tails:
            at, nothing = follower(tail), tuple(-1 for _ in spec.axes)
            if at is None or tail.compared < at:
                if any(link.kind == "procedural" for link in tail.links):  # else there is a problem of its own
                    message = (
                        f"{kind}: the compared phase does not come after the warm-ups, so none of them bears on it"
                    )
                    chains.report(("controls", i), nothing, message)
                continue
            if entry == "text" and not has_text(tail.links[at]):
                about = f"the target '{tail.name}'" if tail.name else "the target"
                message = f"text: {about} is a diagnostic, which has no text; name a corpus: {{text: CORPUS}}"
                chains.report(("controls", i), nothing, message)
            axes = _about(spec, tail, at)
            cells = picks(spec.axes, spec.selection, chains.axes_of(tail.links), tail.target)
            for pick in {restrict(cell, axes): None for cell in cells}:
                already = _already(spec, tail, at, kind, pick)
                if already:
                    chains.report(("controls", i), pick, f"{kind}: {already}; leave it out of the grid")


def _about(spec: SweepSpec, tail: Tail, at: int) -> frozenset[int]:
    """The axes of what `_already` looks at."""
    paths = [(*link.section, "task") for link in _procedural(tail)]
    start = tail.links[at].perturb
    return frozenset().union(*(spec.relevant(path) for path in [*paths, *([start] if start else [])]))


def _already(spec: SweepSpec, tail: Tail, at: int, kind: str, pick: Pick) -> str:
    """Why a cell of the file cannot have a control: it is one itself. Empty where it can."""
    if kind == "random":
        link = tail.links[at]
        done = spec.value(link.perturb, pick) if link.perturb else None
        return (
            f"a variant begins with {show(done)}, which is this control" if done and done.keys() == {"random"} else ""
        )
    if kind not in ("shuffled", "text"):
        return ""
    for link in _procedural(tail):
        task = spec.value((*link.section, "task"), pick)
        if not isinstance(task, dict):
            continue
        if "text" in task:
            named = f"{'.'.join(map(str, link.section))} trains on {show(task)}"
            return f"{named}, which {'is this control' if kind == 'text' else 'is no task that could be shuffled'}"
        if "shuffled" in task and kind == "shuffled":
            return f"{'.'.join(map(str, link.section))} trains on {show(task)}, which is shuffled already"
    return ""


def _procedural(tail: Tail) -> list[Link]:
    """The warm-ups of a chain, and the procedural data among its text."""
    links = [link.among or link for link in tail.links]
    return [link for link in links if link.kind == "procedural"]


def entry_problem(spec: SweepSpec, number: int, message: str) -> Problem:
    """A problem with an entry of `controls:`."""
    return spec.problem(("controls", number), tuple(-1 for _ in spec.axes), message)


@dataclass(frozen=True)
class Share:
    """What the controls of a plan add to it.

    Attributes:
        phases: that only controls need.
        tokens: nominal, of these and of what only controls need of others.
        without: by phase, the last step that is wanted without controls; phases that are not wanted are not there.
    """

    phases: int
    tokens: int
    without: dict[str, int]


def share_of_controls(plan: Plan) -> Share | None:
    """What a plan would not train without `controls:`; None where it has none."""
    if not plan.controls:
        return None
    without: dict[str, int] = {}
    for cell in plan.cells:
        if not cell.control:
            for mark in (Parent(cell.compared, cell.step), *cell.stages):
                _want(plan, mark, without)
    for trial in plan.trials:
        if not trial.control:
            _want(plan, Parent(trial.compared, trial.step), without)
    tokens = 0
    for phase in plan.phases.values():
        tokens += phase.nominal[phase.end] - phase.nominal.get(without.get(phase.id, 0), 0)
        tokens += 0 if phase.id in without else phase.procedural_tokens
    return Share(len(plan.phases) - len(without), tokens, without)


def _want(plan: Plan, mark: Parent, without: dict[str, int]) -> None:
    waiting = [mark]
    while waiting:
        mark = waiting.pop()
        known = without.get(mark.phase)
        without[mark.phase] = max(mark.step, known or 0)
        if known is None:
            planned = plan.phases[mark.phase]
            waiting += [
                *planned.parents,
                *([Parent(planned.recipe.paced_by, mark.step)] * bool(planned.recipe.paced_by)),
            ]
