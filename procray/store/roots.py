"""What the plans of a store name: from there everything else that must stay is found."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

from procray.corpora.prepared import corpus_folder
from procray.errors import StoreError
from procray.files import read_json
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
        if plan.path in gone:
            with suppress(OSError, ValueError, KeyError, TypeError):  # a damaged one can be forgotten too
                forgotten |= {phase["id"] for phase in read_json(plan.path)["phases"]}
            continue
        try:
            value = read_json(plan.path)
            plans.append((plan, tuple(phase["id"] for phase in value["phases"])))
            for phase in value["phases"]:
                labels.setdefault(phase["id"], {})[on_one_line(phase["label"])] = None
                needed |= {phase["id"], *(need["phase"] for need in phase["needs"]), *phase["parents"]}
                last[phase["id"]] = max(last.get(phase["id"], 0), *phase["marks"])
                if "corpus" in phase["recipe"]["data"]:
                    corpora.add(corpus_folder(phase["recipe"]["data"], store.corpora).name)
            needed |= {one["id"] for one in value.get("outside", ())}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise StoreError(
                f"{plan.path} is damaged ({type(error).__name__}: {error}), so nobody can say what that sweep needs; "
                f"run the same sweep again, which writes it anew, or give it up with `procray store gc --forget "
                f"{plan.title}/{plan.digest} --delete`"
            ) from None
    return Roots(labels, tuple(plans), needed, corpora, last, forgotten)
