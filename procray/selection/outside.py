"""Checkpoints from outside a sweep, brought into the store, where each stands like a phase with one mark at step 0.

So whatever reads marks (the agenda, transfer, lineage) reads them too. Their `phase.json` says `kind: outside` and
where they came from.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from procray.errors import StoreError
from procray.model.outside import Outside, bring_in
from procray.store.store import Store

if TYPE_CHECKING:
    from procray.planning.plan import Plan

_LOOK_AGAIN = 0.5  # seconds, while another command brings the same checkpoint in


def bring_outside(plan: Plan, store: Store, progress: Callable[[str], None] = lambda message: None) -> None:
    """Brings every outside checkpoint of a plan into the store that is not there yet.

    Raises:
        StoreError: a file is gone, or is not the one that was planned with.
        TransferError: not a GPT-2 as we build it.
        EnvironmentProblem: the hub cannot be reached.
    """
    for outside in plan.outside.values():
        bring(outside, store, progress)


def bring(outside: Outside, store: Store, progress: Callable[[str], None] = lambda message: None) -> None:
    """One checkpoint; at once, or not at all. Of several commands one brings it in, and the others wait."""
    folder = store.phase(outside.id)
    if folder.exists_mark(0):
        folder.mark(0)  # its digest is checked
        return
    while (held := folder.acquire({"outside": outside.name})) is None:
        time.sleep(_LOOK_AGAIN)
    try:
        if not folder.exists_mark(0):
            progress(f"outside checkpoint {outside.name}: into the store")
            about = {"kind": "outside", "tokens": 0}
            folder.write_mark(held, 0, lambda place: bring_in(outside, place), about)
            facts = folder.manifest(0)["outside"]
            for note in facts.get("notes", ()):
                progress(f"outside checkpoint {outside.name}: {note}")
            folder.describe_outside(facts)
            folder.set_status("done", step=0, attempt=held.attempt)
    except OSError as error:
        raise StoreError(f"outside checkpoint {outside.name} cannot be written into the store: {error}") from error
    finally:
        held.release()
