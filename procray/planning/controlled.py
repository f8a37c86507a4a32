"""Which of the controls that a sweep asks for cannot be made, and what all of them cost."""

from __future__ import annotations

from dataclasses import dataclass

from procray.errors import Problem
from procray.planning.chains import Chains
from procray.planning.inheritance import names_heads
from procray.planning.plan import Plan
from procray.planning.relevance import restrict
from procray.spec.cells import Pick, picks
from procray.spec.controls import kind_of
from procray.spec.paths import Path
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
                    chains.report(("controls", i), pick, f"{kind}: {already}")
            if kind == "random_heads" and not any(_heads(chains, other) for other in spec.tails):
                message = (
                    "random_heads: no transfer here names heads of a warm-up, as {attention: {heads: {0: [1, 3]}}} does"
                )
                chains.report(("controls", i), nothing, message)


def _about(spec: SweepSpec, tail: Tail, at: int) -> frozenset[int]:
    """The axes of what `_already` looks at."""
    paths = [(*link.section, "task") for link in _procedural(tail)]
    starts = [path for path in (tail.links[at].perturb, tail.links[at].transfer) if path]
    return frozenset().union(*(spec.relevant(path) for path in [*paths, *starts]))


def has_heads(chains: Chains, tail: Tail, pick: Pick) -> bool:
    """Whether a phase of a chain takes over named heads of warm-ups."""
    for i, link in enumerate(tail.links):
        found = chains.inherit(tail, i, i - 1 if i else None, pick)
        if found is not None and names_heads(tail, link, found.taken):
            return True
    return False


def _heads(chains: Chains, tail: Tail) -> bool:
    """Whether any cell of a chain takes over named heads of warm-ups; also where that is not known."""
    cells = picks(chains.spec.axes, chains.spec.selection, chains.axes_of(tail.links), tail.target)
    return bool(chains.problems) or any(has_heads(chains, tail, pick) for pick in cells)


def _already(spec: SweepSpec, tail: Tail, at: int, kind: str, pick: Pick) -> str:
    """Why a cell of the file cannot have a control: it is one itself; and what to write. Empty where it can."""
    follower = tail.links[at]
    if kind == "random" and (path := follower.perturb) is not None:
        done = spec.value(path, pick)
        if done and done.keys() == {"random"}:
            advice = _advice(spec, path, "leave perturb out, and this control does it")
            return f"a variant begins with {show(done)}, which is this control; {advice}"
    if kind == "random_heads" and (path := follower.transfer) is not None:
        mode = spec.value(path, pick)
        parents = mode.values() if isinstance(mode, dict) else ()
        given = [one for parent in parents for one in (parent if isinstance(parent, list) else [parent])]
        if any(isinstance(one, dict) and "random_heads" in one for one in given):
            advice = _advice(spec, path, "write heads in place of random_heads, and this control draws the others")
            return f"a variant carries random_heads, which is this control; {advice}"
    if kind not in ("shuffled", "text"):
        return ""
    for link in _procedural(tail):
        task, path = spec.value((*link.section, "task"), pick), (*link.section, "task")
        if not isinstance(task, dict):
            continue
        named = f"{'.'.join(map(str, link.section))} trains on {show(task)}"
        if "text" in task and kind == "text":
            return f"{named}, which is this control; {_advice(spec, path, 'write the task of which it is the control')}"
        if "text" in task:
            advice = _advice(spec, path, "write a task, or leave shuffled out of controls")
            return f"{named}, which is no task that could be shuffled; {advice}"
        if "shuffled" in task and kind == "shuffled":
            advice = _advice(spec, path, f"write {show(task['shuffled'])}, and this control shuffles it")
            return f"{named}, which is shuffled already; {advice}"
    return ""


def _procedural(tail: Tail) -> list[Link]:
    """The warm-ups of a chain, and the procedural data among its text."""
    links = [link.among or link for link in tail.links]
    return [link for link in links if link.kind == "procedural"]


def _advice(spec: SweepSpec, path: Path, otherwise: str) -> str:
    """What to do about a value that is a control itself: of a grid others are left, else it must be another."""
    several = any(spec.axes[i].size > 1 for i in spec.relevant(path))
    return "leave it out of the grid" if several else otherwise


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
