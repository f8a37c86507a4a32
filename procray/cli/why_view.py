"""What `procray plan --why` prints: why phases whose names the store knows would be trained again."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from procray.selection import former

if TYPE_CHECKING:
    from procray.planning import Plan
    from procray.selection.former import Why
    from procray.selection.why import Retrained
    from procray.store.store import Store

_NAMES = 4  # labels that a line lists


def reasons(plan: Plan, store: Store) -> Why:
    return former.why(plan, store)


def why_text(plan: Plan, found: Why) -> str:
    """One paragraph for all phases with the same reasons."""
    count = sum(len(phases) for _, phases in found.retrained)
    lines = [
        f"{plan.title}: {found.begun} of {found.phases} phases have something in the store"
        + (f"; {count} would be trained anew although a former plan has them under another id" if count else "")
    ]
    for stored, phases in found.retrained:
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(stored.written))
        lines += ["", f"compared with plan {stored.digest} of {stored.title}, {when}"]
        for names, reasons in _grouped(phases):
            lines += [f"  {names}", *(f"      {reason}" for reason in reasons)]
    if found.new:
        known = "no former plan of the store" if count or found.begun else "no plan of the store"
        lines += ["", f"new: {_listed(found.new)}, of which {known} has anything of that name or place"]
    if found.begun == found.phases:
        lines.append("nothing would be trained from its beginning, so there is nothing to explain")
    return "\n".join(lines)


def why_json(found: Why) -> list[dict[str, Any]]:
    """Every phase that a former plan had otherwise, with that plan's digest."""
    return [{**phase.to_json(), "plan": stored.digest} for stored, phases in found.retrained for phase in phases]


def _grouped(phases: tuple[Retrained, ...]) -> list[tuple[str, list[str]]]:
    """Phases with the same reasons together; those that only follow from others come last, as one."""
    groups: dict[tuple[str, ...], list[Retrained]] = {}
    for phase in phases:
        key = *(str(one) for one in phase.differences), phase.form, "parents" * bool(phase.parents)
        groups.setdefault(key, []).append(phase)
    found = []
    for members in sorted(groups.values(), key=lambda members: not members[0].differences):
        first = members[0]
        parents = list(dict.fromkeys(parent for member in members for parent in member.parents))
        reasons = [str(one) for one in first.differences] + ([first.form] if first.form else [])
        if parents:
            only = "" if reasons else "nothing else: "
            reasons.append(f"{only}its parent differs, see there ({_listed(parents)})")
        found.append((_listed([_name(member) for member in members]), reasons))
    return found


def _name(phase: Retrained) -> str:
    return phase.label if phase.label == phase.name_before else f"{phase.label} (then {phase.name_before})"


def _listed(names: list[str] | tuple[str, ...]) -> str:
    shown = ", ".join(names[:_NAMES])
    return shown if len(names) <= _NAMES else f"{shown} and {len(names) - _NAMES} more"
