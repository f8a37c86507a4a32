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
class Contents:
    """What a store holds. `sweeps` maps a sweep to the ids of its phases, `corpora` a corpus to its bytes."""

    phases: tuple[Kept, ...]
    sweeps: dict[str, tuple[str, ...]]
    corpora: dict[str, int]


def contents(store: Store) -> Contents:
    """Lists a store.

    Raises:
        StoreError: a plan.json or a manifest is damaged.
    """
    named = roots.read(store)
    ids = store.phases()
    store.refresh(ids)
    phases = []
    for phase in ids:
        folder = store.phase(phase)
        sweeps = tuple(sweep for sweep, members in named.sweeps.items() if phase in members)
        labels = tuple(named.labels.get(phase, ()))
        size = sum(folder.sizes().values())
        phases.append(Kept(phase, labels, sweeps, folder.status()["state"], tuple(folder.marks()), size))
    return Contents(tuple(phases), named.sweeps, store.corpora_sizes())
