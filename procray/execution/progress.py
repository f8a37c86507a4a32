"""The live numbers of what runs, as events."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from procray.execution.agenda import Agenda, Event, Item
from procray.store.store import Store


@contextlib.contextmanager
def progress(agenda: Agenda, store: Store, emit: Callable[[Event], None]) -> Iterator[Callable[[], None]]:
    """What tells the live numbers whenever it is called; those in a bucket are fetched beside the scheduler."""

    def tell(running: list[Item]) -> None:
        live = []
        store.refresh([item.phase for item in running], all=False)
        for item in running:
            row = store.phase(item.phase).progress() or {}
            facts = {key: row.get(key) for key in ("step", "tokens", "loss", "tokens_per_s", "mfu")}
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
