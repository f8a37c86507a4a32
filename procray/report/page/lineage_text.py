"""The lineage of a sweep, or of one of its phases, as a tree in plain text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from procray.report.numbers.lineage import (
    Box,
    asked_tokens,
    boxes,
    brief,
    budgets,
    carried_by,
    consumed,
    origin,
    streams,
)
from procray.report.numbers.runs import Reader
from procray.report.numbers.wording import count, plural
from procray.selection.naming import find_in

if TYPE_CHECKING:
    from procray.planning.plan import Plan
    from procray.store.store import Store


def lineage_text(plan: Plan, store: Store | None = None, phase: str | None = None) -> str:
    """A tree in plain text: the whole plan grouped, or the ancestors and descendants of one phase.

    Args:
        phase: an id, the beginning of an id, or a label of a phase of the plan.

    Raises:
        StoreError: no phase, or more than one, fits `phase`.
    """
    if phase is not None:
        return _one_phase(plan, store, find_in(plan, phase))
    found = boxes(plan, store)
    children: dict[str, list[tuple[Box, int]]] = {}
    by_key = {box.key: box for box in found}
    for box in found:
        for parent, step in box.links:
            children.setdefault(parent, []).append((box, step))
    lines = [f"{plan.title}: {plural(len(plan.phases), 'phase')} in {len(found)} groups"]

    def show(box: Box, link: str, prefix: str, last: bool, root: bool) -> None:
        lines.append(prefix + ("" if root else "└─ " if last else "├─ ") + link + _line(box))
        below = sorted(children.get(box.key, []), key=lambda item: item[1])
        inner = prefix + ("" if root else "   " if last else "│  ")
        for index, (child, step) in enumerate(below):
            others = [
                f" (with {' | '.join(words)} from {by_key[parent].title})"
                for (parent, at), words in child.links.items()
                if (parent, at) != (box.key, step)
            ]
            mark = "" if box.kind == "outside" else f"at {count(box.marks[step])}, "
            edge = f"{mark}{' | '.join(child.links[box.key, step])}{''.join(others)} → "
            show(child, edge, inner, index == len(below) - 1, False)

    for box in found:
        if not box.carried:
            lines.append("")
            show(box, "", "", True, True)
    return "\n".join(lines)


def _line(box: Box) -> str:
    if box.kind == "outside":
        return f"{box.title}  [{box.data}]"
    frozen = f", {brief(box.frozen)} frozen" if box.frozen else ""
    return f"{box.title}  [{box.data}]  {budgets(box)}, {plural(len(box.seeds), 'seed')}{frozen}, {box.state}"


def _one_phase(plan: Plan, store: Store | None, phase_id: str) -> str:
    reader = Reader(plan, store) if store is not None else None

    def line(one: str) -> str:
        if one in plan.outside:
            return f"{plan.outside[one].name}  [{one}]  {origin(plan.outside[one])}"
        phase = plan.phases.get(one)
        if phase is None:
            return f"{one}  (outside this plan)"
        end = max(phase.marks, default=0)
        state = reader.state(one, end)[0] if reader else "waiting"
        return f"{phase.label}  [{one}]  {phase.recipe.kind}, {count(consumed(phase, end, reader))} tokens, {state}"

    init = plan.phases[phase_id].recipe.init
    lines = [f"* {line(phase_id)}", f"  trained on {streams(plan.phases[phase_id])}"]
    paced_by = plan.phases[phase_id].recipe.paced_by
    if paced_by:
        lines.append(f"  with the lengths, step by step, of {line(paced_by)}")
    if init.perturb is not None:
        about = f" (only {brief(init.perturb.components)})" if init.perturb.components else ""
        lines.append(f"  what was carried is {init.perturb.words}{about}".replace("is noise", "has noise"))
    if init.freeze:
        lines.append(f"  {brief(init.freeze)} frozen")

    def up(one: str, prefix: str) -> None:
        links = carried_by(plan.phases[one]) if one in plan.phases else []
        if not links and prefix == "  ":
            lines.append("  began with random weights")
        for parent, step, components in links:
            tokens = count(asked_tokens(plan.phases[parent], step, reader)) if parent in plan.phases else f"step {step}"
            mark = "" if parent in plan.outside else f", mark at {tokens}"
            lines.append(f"{prefix}{' + '.join(components)} from {line(parent)}{mark}")
            up(parent, prefix + "    ")

    def down(one: str, prefix: str) -> None:
        for child in plan.phases.values():
            for parent, step, components in carried_by(child):
                if parent == one:
                    tokens = count(asked_tokens(plan.phases[one], step, reader))
                    lines.append(f"{prefix}mark at {tokens} gave {' + '.join(components)} to {line(child.id)}")
                    down(child.id, prefix + "    ")

    up(phase_id, "  ")
    down(phase_id, "  ")
    return "\n".join(lines)
