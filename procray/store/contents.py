"""What a store holds: its sweeps, phases and corpora with the room they take."""

from __future__ import annotations

from dataclasses import dataclass

from procray.store import roots
from procray.store.store import Store


@dataclass(frozen=True)
class Kept:
    """One phase of a store, in short."""

    phase: str
    labels: tuple[str, ...]  # in the sweeps that name it
    sweeps: tuple[str, ...]
    state: str
    marks: tuple[int, ...]
    bytes: int


@dataclass(frozen=True)
class KeptPlan:
    """One plan of a store, in short; `written` in seconds since 1970, `path` of its plan.json on this machine."""

    title: str
    digest: str
    newest: bool
    written: float
    path: str
    phases: int


@dataclass(frozen=True)
class Contents:
    """What a store holds. `sweeps` gives the ids of the phases of a sweep, in any of its plans, `corpora` bytes."""

    phases: tuple[Kept, ...]
    plans: tuple[KeptPlan, ...]
    sweeps: dict[str, tuple[str, ...]]
    corpora: dict[str, int]


def contents(store: Store) -> Contents:
    """Lists a store.

    Raises:
        StoreError: a plan.json or a manifest is damaged.
    """
    named = roots.read(store)
    members = named.sweeps
    plans = tuple(
        KeptPlan(plan.title, plan.digest, plan.newest, plan.written, str(plan.path), len(of))
        for plan, of in named.plans
    )
    ids = store.phases()
    store.refresh(ids)
    sets = {sweep: set(names) for sweep, names in members.items()}
    phases = []
    for phase in ids:
        folder = store.phase(phase)
        sweeps = tuple(sweep for sweep, names in sets.items() if phase in names)
        labels = tuple(named.labels.get(phase, ()))
        size = sum(folder.sizes().values())
        phases.append(Kept(phase, labels, sweeps, folder.status()["state"], tuple(folder.marks()), size))
    return Contents(tuple(phases), plans, members, store.corpora_sizes())
