"""What `procray plan` prints: what would be trained, what is there already, and what it costs."""

from __future__ import annotations

from collections import Counter
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from procray.cli.prediction import predict, seconds_of_controls
from procray.cli.terminal import AT_MOST, short_bytes, short_count, short_time
from procray.garbage import keeping_everything
from procray.planning.controlled import share_of_controls
from procray.planning.notes import notes
from procray.selection import select
from procray.selection.naming import short_ids
from procray.selection.prepared import check_plan
from procray.selection.standing import consumed

if TYPE_CHECKING:
    from procray.model.outside import Outside
    from procray.planning import Plan
    from procray.planning.plan import PlannedPhase
    from procray.store.store import Store

_ROWS = 40
_WIDEST = 64  # characters of a label beside which the rest stands
_MARKS = 24  # characters of a line of marks


def plan_text(plan: Plan, store: Store) -> str:
    """The plan as text. Reads the store; writes and downloads nothing.

    Raises:
        CorpusError: a corpus that is prepared already has too little text for one of the phases.
    """
    have = finished(plan, store)
    totals = plan.totals
    lines = [f"{plan.title} ({plan.setting})"]
    if plan.question:
        lines.append(plan.question)
    shown = list(plan.phases.values())[:_ROWS]
    wide = min(_WIDEST, max(38, *(len(phase.label) for phase in shown))) if shown else 38
    ids = short_ids(plan.phases)
    room = len(next(iter(ids.values()), ""))
    lines += ["", f"{'id':{room}}  {'phase':{wide}} {'tokens':>8}  {'marks':{_MARKS}} state"]
    for phase in shown:
        *marks, budget = [_tokens_at(phase, step, store) for step in phase.marks]
        first, *rest = wrap(", ".join(marks), _MARKS) or ["-"]
        name = f"{ids[phase.id]}  {phase.label:{wide}}"
        if len(phase.label) > wide:  # it stands on a line of its own rather than cut off
            lines.append(name)
            name = " " * (room + 2 + wide)
        lines.append(f"{name} {budget:>8}  {first:{_MARKS}} {state(phase, store, have)}")
        lines += [f"{'':{room + 2 + wide + 11}}{more}" for more in rest]
    if len(plan.phases) > _ROWS:
        lines.append(f"... and {len(plan.phases) - _ROWS} more")
    # Of sequences that grow with what is mastered nobody knows before how many tokens they will be.
    growing = [phase for phase in plan.phases.values() if phase.recipe.growing]
    most = "at most " if growing else ""
    most_t1 = "at most " if any(phase.kind == "procedural" for phase in growing) else ""
    # Procedural data among text are no warm-up.
    t1 = "T1 tokens" if any(phase.procedural_tokens for phase in plan.phases.values()) else "warm-ups "
    kinds = Counter(phase.kind for phase in plan.phases.values())
    lines += [
        "",
        *donor_lines(plan),
        f"phases    {totals['phases']} unique ({', '.join(f'{n} {kind}' for kind, n in kinds.items())}); "
        f"run one by one the grid would need {totals['naive_phases']}",
        f"tokens    {most}{_beside_naive(totals['tokens'], totals['naive_tokens'])}{_consumed_text(plan, store, have)}",
        f"{t1} {most_t1}{_beside_naive(totals['t1_tokens'], totals['naive_t1_tokens'])}"
        f"{_consumed_text(plan, store, have, 'procedural')}",
        f"compute   {most}{totals['flops']:.3g} FLOP",
        *control_lines(plan, store, have),
        f"in store  {len(have)} of {totals['phases']} phases are finished",
        *(f"outside   {outside_text(outside)}" for outside in plan.outside.values()),
        prediction(plan, store, have),
        *search_lines(plan, store),
        *power_lines(plan, store),
        *(f"note      {note}" for note in [*notes(plan), *check_plan(plan, store)]),
    ]
    return "\n".join(lines)


def _tokens_at(phase: PlannedPhase, step: int, store: Store) -> str:
    """Tokens of a phase at a mark: consumed where it is there; as planned, the most where its sequences grow."""
    folder = store.phase(phase.id)
    if phase.recipe.follows_evaluations and folder.exists_mark(step):
        return short_count(consumed(phase, folder, step))
    return (AT_MOST if phase.recipe.growing else "") + short_count(phase.nominal[step])


def _consumed_text(plan: Plan, store: Store, have: set[str], kind: str = "") -> str:
    """What the finished phases have really consumed, where that need not be what was planned."""
    done = [phase for phase in plan.phases.values() if phase.id in have and kind in ("", phase.kind)]
    if not any(phase.recipe.follows_evaluations for phase in done):
        return ""
    tokens = sum(consumed(phase, store.phase(phase.id), phase.end) for phase in done)
    return f"; those finished consumed {short_count(tokens)}"


def donor_lines(plan: Plan) -> list[str]:
    """How many warm-ups there are for how many targets, where each of them goes before each."""
    whole = select.foreseen(plan)
    donors, targets = len(whole.donors), len({cell.seed for cell in whole.cells})
    if not donors:
        return []
    return [
        f"seeds     {donors} donor{'s' * (donors != 1)} x {targets} target{'s' * (targets != 1)}: "
        "the warm-ups of each go before each"
    ]


def control_lines(plan: Plan, store: Store, have: set[str]) -> list[str]:
    """What `controls:` adds to the sweep."""
    share = share_of_controls(plan)
    if share is None:
        return []
    seconds = seconds_of_controls(plan, store, have, share)
    time = "" if seconds is None else f", about {short_time(seconds)} of what is left"
    return [f"controls  {share.phases} of the phases, {short_count(share.tokens)} of the tokens{time}"]


def controls_json(plan: Plan, store: Store) -> dict[str, Any]:
    """The same for machines; `seconds` is null where this machine has not been measured, or nothing is left.

    `variants` has for every variant, by kind, the variant that is its control.
    """
    share = share_of_controls(plan)
    seconds = None if share is None else seconds_of_controls(plan, store, finished(plan, store), share)
    return {
        "variants": plan.controls,
        "phases": share.phases if share else 0,
        "tokens": share.tokens if share else 0,
        "seconds": seconds,
    }


def _beside_naive(tokens: int, naive: int) -> str:
    if not tokens:
        return "none"
    return f"{short_count(tokens)}; one by one {short_count(naive)} ({naive / tokens:.2f}x)"


@keeping_everything()
def plan_json(plan: Plan, store: Store) -> dict[str, Any]:
    """The plan's summary for machines, with its seeds and what only the store can add: their power.

    `consumed` of a finished phase: its tokens, where evaluations decided how many of its budget it takes.
    """
    from procray.report.numbers.power import power

    shown = plan.summary()
    shown["totals"] = {**plan.totals, "power": [vars(one) for one in power(plan, store)]}
    found = select.read(plan, store)
    outside = [one.to_json() for one in plan.outside.values()]
    whole = select.foreseen(plan)
    for phase in shown["phases"]:
        planned, folder = plan.phases[phase["id"]], store.phase(phase["id"])
        if planned.recipe.follows_evaluations and folder.exists_mark(planned.end):
            phase["consumed"] = consumed(planned, folder, planned.end)
    shown |= {"seeds": sorted({cell.seed for cell in whole.cells}), "donors": whole.donors}
    shown["controls"] = controls_json(plan, store)
    told = [*notes(plan), *check_plan(plan, store)]
    return {**shown, "notes": told, "search": select.to_json(found) if found else None, "outside": outside}


def outside_text(outside: Outside) -> str:
    """A checkpoint from outside with what identifies it."""
    where = outside.origin
    if "hf" in where:
        return f"hf:{where['hf']}@{where['revision']}, fetched when the sweep runs"
    assert outside.digest is not None
    return f"{where['path']}, sha256 {outside.digest[:16]}"


def search_lines(plan: Plan, store: Store) -> list[str]:
    """How far the search of a sweep with `select:` is, and what follows it."""
    found = select.read(plan, store)
    if found is None:
        return []
    cells = [cell for cell in found.tried if cell.state == "done"]
    seeds = ", ".join(map(str, found.seeds))
    lines = [
        f"search    {', '.join(found.axes)} on seeds {seeds}: {len(cells)} of {len(found.tried)} settings "
        f"of {len(found.variants)} variants are done"
    ]
    if plan.then is not None:
        return [*lines, f"then      up to {plan.totals['then_phases']} phases with the chosen settings"]
    chosen = [cell for cell in found.tried if cell.chosen]
    return [*lines, *(f"chosen    {cell.variant}: {cell.label}" for cell in chosen)]


def power_lines(plan: Plan, store: Store) -> list[str]:
    """What the planned seeds can show, for every target."""
    from procray.report.numbers.power import power, power_text

    found = power(plan, store)
    return [f"power     {f'{one.title}: ' if len(found) > 1 else ''}{power_text(one)}" for one in found]


def finished(plan: Plan, store: Store) -> set[str]:
    """The phases whose every wanted mark exists."""
    begun = set(store.phases())
    return {
        phase.id
        for phase in plan.phases.values()
        if phase.id in begun and all(store.phase(phase.id).exists_mark(step) for step in phase.marks)
    }


def state(phase: Any, store: Store, have: set[str]) -> str:
    """`done`, `new`, or where the phase would go on from."""
    if phase.id in have:
        return "done"
    folder = store.phase(phase.id)
    missing = next(step for step in phase.marks if not folder.exists_mark(step))
    usable = [step for step in folder.resumes() if step <= missing]
    if usable:
        return f"continues at {short_count(consumed(phase, folder, usable[-1]))}"
    return "starts again" if folder.resumes() else "new"


def prediction(plan: Plan, store: Store, have: set[str]) -> str:
    """The predicted time of what is left, where `procray doctor` has measured this machine."""
    if len(have) == len(plan.phases):
        return "left      nothing"
    found = predict(plan, store, have)
    if found is None:
        return "left      no prediction yet: `procray doctor FILE` measures this sweep on this machine"
    text = f"left      about {short_time(found.seconds)} on {found.device}, {found.concurrent} at a time"
    if not found.exact:
        text += " (roughly: `procray doctor FILE` measures its own shapes)"
    if found.left.gpu_hours:
        text += f"; {found.left.gpu_hours:.2g} GPU-hours"
    return f"{text}; {short_bytes(found.left.disk_bytes)} of disk"
