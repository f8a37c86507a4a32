"""The live numbers of what runs, as events."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

from procray.execution.agenda import Agenda, Event, Item
from procray.selection.standing import reached
from procray.store.store import Store

if TYPE_CHECKING:
    from procray.planning.plan import Plan


@contextlib.contextmanager
def progress(plan: Plan, agenda: Agenda, store: Store, emit: Callable[[Event], None]) -> Iterator[Callable[[], None]]:
    """What tells the live numbers whenever it is called; those in a bucket are fetched beside the scheduler."""

    def tell(running: list[Item]) -> None:
        live = []
        store.refresh([item.phase for item in running], all=False)
        for item in running:
            step, tokens, row = reached(plan.phases[item.phase], store.phase(item.phase))
            facts = {"step": step, "tokens": tokens, **{key: row.get(key) for key in ("loss", "tokens_per_s", "mfu")}}
            live.append({"phase": item.phase, "label": item.label, "until": item.until, **facts})
        emit({"event": "progress", "phases": live})

    if not store.in_bucket:
        yield lambda: tell(agenda.running())
        return
    with ThreadPoolExecutor(1, "progress") as beside:
        last: list[Future[None]] = []

        def ask() -> None:
            if not last or last[0].done():
                last[:] = [beside.submit(tell, agenda.running())]

        yield ask
