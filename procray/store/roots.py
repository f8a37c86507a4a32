"""What the plans of a store name: from there everything else that must stay is found."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from procray.corpora.prepared import corpus_folder
from procray.errors import StoreError
from procray.files import read_json
from procray.store.store import Store


@dataclass(frozen=True)
class Roots:
    """What every plan.json together names."""

    labels: dict[str, dict[str, None]]  # of a phase, in the sweeps' order
    sweeps: dict[str, tuple[str, ...]]  # the ids of a sweep's phases
    needed: set[str]  # phases and checkpoints from outside
    corpora: set[str]
    last: dict[str, int]  # the last step that any sweep wants of a phase
    forgotten: set[str]  # phases of sweeps that are to be forgotten


def version(store: Store) -> list[tuple[str, int, int]]:
    """Changes when a sweep is started."""
    return [(str(path), path.stat().st_mtime_ns, path.stat().st_size) for path in store.plans()]


def read(store: Store, forget: Iterable[str] = ()) -> Roots:
    """Reads every plan.json.

    Args:
        forget: sweeps to take as if the store did not have them.

    Raises:
        StoreError: one is damaged, so that nobody can say what is needed.
    """
    labels: dict[str, dict[str, None]] = {}
    sweeps: dict[str, tuple[str, ...]] = {}
    needed: set[str] = set()
    corpora: set[str] = set()
    last: dict[str, int] = {}
    forgotten: set[str] = set()
    for path in store.plans():
        name = path.parent.name
        try:
            value = read_json(path)
            if name in forget:
                forgotten |= {phase["id"] for phase in value["phases"]}
                continue
            sweeps[name] = tuple(phase["id"] for phase in value["phases"])
            for phase in value["phases"]:
                labels.setdefault(phase["id"], {})[phase["label"]] = None
                needed |= {phase["id"], *(need["phase"] for need in phase["needs"]), *phase["parents"]}
                last[phase["id"]] = max(last.get(phase["id"], 0), *phase["marks"])
                if "corpus" in phase["recipe"]["data"]:
                    corpora.add(corpus_folder(phase["recipe"]["data"], store.corpora).name)
            needed |= {one["id"] for one in value.get("outside", ())}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise StoreError(
                f"{path} is damaged ({type(error).__name__}: {error}), so nobody can say what that sweep needs; "
                "run the sweep again, which writes it anew, or remove its folder"
            ) from None
    return Roots(labels, sweeps, needed, corpora, last, forgotten)
