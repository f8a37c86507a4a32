"""Which phase a user means, in every command: by its label, by its id or the beginning of one, with a mark or without.

    union L8 s0           a label, as `procray status` and `procray plan` show it
    1ed09d32              the beginning of an id that no other phase of the store has
    union L8 s0@300k      its mark at 300k tokens; a number with a unit counts tokens
    1ed09d32@3606         its mark at step 3606; a number without one counts steps

Labels of former plans are known too: what the newest plan of each sweep calls so comes first.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from procray.errors import StoreError, did_you_mean
from procray.planning.once import Once
from procray.planning.plan_parts import plan_parts
from procray.records import Every, check, count, digits, plain
from procray.spec.counts import format_count, parse_count
from procray.visible import on_one_line

if TYPE_CHECKING:
    from procray.planning.plan import Plan
    from procray.store.plans import StoredPlan
    from procray.store.store import Store

_MARK = re.compile(r"(.+)@(\d[\d_]*(?:\.\d+)?)([kKMGBT]i?)?")
_SHOWN = 6  # candidates that an error lists
_SHORT = 8  # digits of an id that are shown
_PHASE = {"id": plain, "label": str, "asked?": Every([count], digits), "nominal?": Every(count, digits)}


@dataclass(frozen=True)
class Named:
    """A phase that was named.

    Attributes:
        label: as the newest plan calls it; the id where no plan has it.
        step: of the mark that was named; None without one.
        plan: the newest plan that has it; None for what no plan has.
    """

    phase: str
    label: str
    step: int | None
    plan: StoredPlan | None


@dataclass(frozen=True)
class _Known:
    """A phase as one plan has it. `budgets` and `nominal` are tokens and the step of the mark that ends there."""

    id: str
    label: str
    budgets: tuple[tuple[int, int], ...]
    nominal: tuple[tuple[int, int], ...]


def find(text: str, store: Store) -> Named:
    """The one phase of a store, or of its plans, that `text` names.

    Raises:
        StoreError: there is none, or more than one, which are listed; or it has no mark at so many tokens.
    """
    name, number, unit = text, "", ""
    if match := _MARK.fullmatch(text):
        name, number, unit = match[1], match[2].replace("_", ""), match[3] or ""
    plans = _newest_first(store)
    phase = _find(name, store, plans)
    having = [(plan, known) for plan in plans for known in _phases_in(plan) if known.id == phase]
    label = having[0][1].label if having else phase
    step = None
    if unit:
        step = _step_at(parse_count(number + unit), phase, label, [known for _, known in having], store)
    elif number:
        if not number.isdigit():
            raise StoreError(f"'{text}': a mark is named by its tokens (@300k) or by its step (@3606), not '@{number}'")
        step = int(number)
    return Named(phase, label, step, having[0][0] if having else None)


def find_in(plan: Plan, text: str) -> str:
    """The id of the one phase of a plan that `text` names by its label, its id or the beginning of one.

    Raises:
        StoreError: there is none, or more than one, which are listed.
    """
    labels = {phase.id: phase.label for phase in plan.phases.values()}
    found = _fitting(text, labels, ((id, label) for id, label in labels.items()))
    return _one(text, found, labels, plan.title)


def label_of(store: Store, phase: str) -> str:
    """What the newest plan that has a phase calls it; its id where no plan of the store has it."""
    return next(
        (known.label for plan in _newest_first(store) for known in _phases_in(plan) if known.id == phase), phase
    )


def short_ids(ids: Iterable[str]) -> dict[str, str]:
    """Beginnings of ids, of one length, that tell them apart."""
    known = list(ids)
    length = _SHORT
    while length < 16 and len({id[:length] for id in known}) < len(set(known)):
        length += 1
    return {id: id[:length] for id in known}


def _find(name: str, store: Store, plans: list[StoredPlan]) -> str:
    labels: dict[str, str] = {}
    for plan in plans:
        for known in _phases_in(plan):
            labels.setdefault(known.id, known.label)
    ids = dict.fromkeys([*store.phases(), *labels])
    found = _fitting(name, ids, ())
    if not found:
        found = _labelled(name, plans)
    return _one(name, found, {**ids, **labels}, f"the store {store}")


def _labelled(name: str, plans: list[StoredPlan]) -> list[str]:
    """What the newest plan of each sweep calls by a name; where none does, what their former plans did."""
    by_title: dict[str, list[str]] = {}
    for newest in (True, False):
        for plan in plans:
            if plan.newest == newest and not by_title.get(plan.title):
                by_title[plan.title] = [known.id for known in _phases_in(plan) if known.label == name]
        if any(by_title.values()):
            break
    return list(dict.fromkeys(id for ids in by_title.values() for id in ids))


def _fitting(text: str, ids: Iterable[str], labels: Iterable[tuple[str, str]]) -> list[str]:
    known = list(ids)
    if text in known:
        return [text]
    return list(
        dict.fromkeys([*(id for id, label in labels if label == text), *(i for i in known if i.startswith(text))])
    )


def _one(text: str, found: list[str], labels: Mapping[str, str | None], where: str) -> str:
    if len(found) == 1:
        return found[0]
    if found:
        listed = ", ".join(f"{id} ({labels[id]})" if labels.get(id) else id for id in found[:_SHOWN])
        more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        raise StoreError(f"'{text}' means {len(found)} phases of {where}: {listed}{more}; give more of the id")
    known = [*labels, *(label for label in labels.values() if label)]
    raise StoreError(
        f"{where} has no phase '{text}'{did_you_mean(text, known)}"
        " (a phase is named by its label, its id or the beginning of it; `procray status FILE` lists them)"
    )


def _step_at(tokens: int, phase: str, label: str, known: list[_Known], store: Store) -> int:
    """The step of the mark at so many tokens: as the sweep file asks for them, or as they are shown."""
    for one in known:
        steps = [step for budget, step in one.budgets if budget == tokens]
        steps += [step for nominal, step in one.nominal if tokens in (nominal, float(f"{nominal:.3g}"))]
        if steps:
            return steps[0]
    marks = {step: tokens for one in known for tokens, step in one.nominal}
    folder = store.phase(phase)
    for step in folder.marks():
        marks.setdefault(step, int(folder.manifest(step).get("tokens", 0)))
        if marks[step] == tokens:
            return step
    listed = ", ".join(f"{format_count(marks[step])} (step {step})" for step in sorted(marks)) or "none"
    raise StoreError(f"{label} ({phase}) has no mark at {format_count(tokens)} tokens; its marks: {listed}")


def _newest_first(store: Store) -> list[StoredPlan]:
    return sorted(store.plans(), key=lambda plan: (not plan.newest, -plan.written, plan.title))


def _phases_in(plan: StoredPlan) -> tuple[_Known, ...]:
    return _read(plan.path, plan.written)


@lru_cache(maxsize=64)  # a plan can be large, and every look asks for a name
def _read(path: Path, written: float) -> tuple[_Known, ...]:
    once = Once()
    found: list[_Known] = []
    try:
        for key, phase, _ in plan_parts(path, ("phases",)):
            if phase != []:
                check(phase, _PHASE, f"{key}[{len(found)}]")
                found.append(_known(phase, once))
    except (OSError, ValueError, StoreError) as error:
        raise StoreError(f"{path} cannot be read: {error}") from None
    return tuple(found)


def _known(phase: dict[str, Any], once: Once) -> _Known:
    by_step = tuple((budget, int(step)) for step, budgets in phase.get("asked", {}).items() for budget in budgets)
    nominal = tuple((tokens, int(step)) for step, tokens in phase.get("nominal", {}).items())
    return once.new(
        _Known(
            once.text(phase["id"]),
            once.new(on_one_line(phase["label"])),
            once.part("asked", by_step, lambda ends: ends),
            once.part("nominal", nominal, lambda ends: ends),
        )
    )
