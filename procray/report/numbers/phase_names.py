"""Which phase a user means: by its id, the beginning of it, or its label."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from procray.errors import StoreError, did_you_mean
from procray.files import read_json
from procray.report.numbers.wording import listing

if TYPE_CHECKING:
    from pathlib import Path

    from procray.planning.plan import Plan
    from procray.store.store import Store


def find_phase(plan: Plan, text: str) -> str:
    """The id of the one phase of a plan that `text` names.

    Raises:
        StoreError: no phase, or more than one, of that name.
    """
    if text in plan.phases:
        return text
    fits = [phase.id for phase in plan.phases.values() if phase.label == text or phase.id.startswith(text)]
    if len(fits) == 1:
        return fits[0]
    if fits:
        names = listing([f"{phase} ({plan.phases[phase].label})" for phase in fits[:5]])
        raise StoreError(f"'{text}' fits {len(fits)} phases of {plan.name}@{plan.scale}: {names}; give more of the id")
    known = [*plan.phases, *(phase.label for phase in plan.phases.values())]
    raise StoreError(f"{plan.name}@{plan.scale} has no phase '{text}'{did_you_mean(text, known)}")


def resolve(text: str, store: Store) -> tuple[str, int | None]:
    """The phase of a store, and the step, that a user means; `@STEP` may follow the name.

    Raises:
        StoreError: nothing or several things of that name in the store.
    """
    name, at, step = text.rpartition("@")
    if not at or not step.isdigit():
        name, step = text, ""
    known = store.phases()
    found = [phase for phase in known if phase == name] or [phase for phase in known if phase.startswith(name)]
    labels = labels_of(store)
    if not found or not name:
        found = [phase for phase in known if name in labels.get(phase, ())]
    if len(found) == 1:
        return found[0], int(step) if step else None
    if found:
        listed = ", ".join(f"{phase} ({labels[phase][0]})" if phase in labels else phase for phase in found[:6])
        raise StoreError(f"'{name}' means {len(found)} phases of the store {store}: {listed}")
    names = [label for phase in known for label in labels.get(phase, ())]
    raise StoreError(
        f"the store {store} has no phase '{name}'{did_you_mean(name, [*known, *names])}"
        " (a phase is named by its id, the beginning of it, or its label; `procray status FILE` lists them)"
    )


def labels_of(store: Store) -> dict[str, tuple[str, ...]]:
    """The labels of every phase in any sweep of the store."""
    found: dict[str, dict[str, None]] = {}
    for plan in store.plans():
        for phase, label in _labels_in(plan.path, plan.written):
            found.setdefault(phase, {})[label] = None
    return {phase: tuple(labels) for phase, labels in found.items()}


@lru_cache(maxsize=64)  # a plan can be large, and every look asks for a name
def _labels_in(path: Path, changed: float) -> tuple[tuple[str, str], ...]:
    return tuple((phase["id"], phase["label"]) for phase in read_json(path)["phases"])


def label_of(store: Store, phase: str) -> str:
    """The phase's first label; its id where no sweep has it."""
    labels = labels_of(store).get(phase, ())
    return labels[0] if labels else phase
