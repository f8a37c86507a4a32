"""What the plans of a store name: from there everything else that must stay is found."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from procray.corpora.prepared import corpus_folder
from procray.errors import StoreError
from procray.planning.once import Once
from procray.planning.plan_parts import plan_parts
from procray.store.plans import StoredPlan
from procray.store.store import Store
from procray.visible import on_one_line


@dataclass(frozen=True)
class Roots:
    """What every plan.json together names."""

    labels: dict[str, dict[str, None]]  # of a phase, in the sweeps' order
    plans: tuple[tuple[StoredPlan, tuple[str, ...]], ...]  # with the ids of a plan's phases
    needed: set[str]  # phases and checkpoints from outside
    corpora: set[str]
    last: dict[str, int]  # the last step that any sweep wants of a phase
    forgotten: set[str]  # phases of plans that are to be forgotten

    @property
    def sweeps(self) -> dict[str, tuple[str, ...]]:
        """By title, the ids of the phases of all plans of a sweep."""
        found: dict[str, dict[str, None]] = {}
        for plan, phases in self.plans:
            found.setdefault(plan.title, {}).update(dict.fromkeys(phases))
        return {title: tuple(phases) for title, phases in found.items()}


def version(store: Store) -> list[tuple[str, float]]:
    """Changes when a plan is run that was not known before."""
    return [(str(plan.path), plan.written) for plan in store.plans()]


def read(store: Store, forget: Iterable[StoredPlan] = ()) -> Roots:
    """Reads every plan.json.

    Args:
        forget: plans to take as if the store did not have them.

    Raises:
        StoreError: one is damaged, so that nobody can say what is needed.
    """
    labels: dict[str, dict[str, None]] = {}
    plans = []
    gone = {plan.path for plan in forget}
    needed: set[str] = set()
    corpora: set[str] = set()
    last: dict[str, int] = {}
    forgotten: set[str] = set()
    for plan in store.plans():
        once = Once()
        if plan.path in gone:
            with suppress(OSError, ValueError, KeyError, TypeError, StoreError):  # a damaged one can be forgotten too
                forgotten |= {once.text(phase["id"]) for key, phase in _entries(plan) if key == "phases"}
            continue
        phases: list[str] = []
        try:
            for key, one in _entries(plan):
                id = once.text(one["id"])
                needed.add(id)
                if key == "outside":
                    continue
                phases.append(once.new(id))
                labels.setdefault(id, {})[once.new(on_one_line(one["label"]))] = None
                needed |= {once.text(need["phase"]) for need in one["needs"]}
                needed |= {once.text(parent) for parent in one["parents"]}
                last[id] = max(last.get(id, 0), *one["marks"])
                data = one["recipe"]["data"]
                if "corpus" in data:
                    corpora.add(once.part("corpus", data, lambda data: corpus_folder(data, store.corpora).name))
            plans.append((plan, tuple(phases)))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, StoreError) as error:
            raise StoreError(
                f"{plan.path} is damaged ({type(error).__name__}: {error}), so nobody can say what that sweep needs; "
                f"run the same sweep again, which writes it anew, or give it up with `procray store gc --forget "
                f"{plan.title}/{plan.digest} --delete`"
            ) from None
    return Roots(labels, tuple(plans), needed, corpora, last, forgotten)


def _entries(plan: StoredPlan) -> Iterator[tuple[str, Any]]:
    """The phases and outside checkpoints of a plan, as its file has them."""
    found = set()
    for key, value, entry in plan_parts(plan.path, ("phases", "outside")):
        if not entry and value != []:
            raise ValueError(f"'{key}' is no list")
        found.add(key)
        if entry:
            yield key, value
    if "phases" not in found:
        raise ValueError("'phases' is missing")
