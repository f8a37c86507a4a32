"""Segments, marks and an agenda that notes what it tells, for tests without Ray."""

from __future__ import annotations

from procray.execution.agenda import Agenda, Item
from procray.store.store import Store


def item(phase: str, until: int = 10, needs=(), weight: float = 1.0, marks=None) -> Item:
    return Item(phase, phase.upper(), until, tuple(marks or [until]), tuple(needs), weight)


def make(store: Store, phase: str, *steps: int) -> None:
    folder = store.phase(phase)
    held = folder.acquire()
    for step in steps:
        folder.write_mark(held, step, lambda path: {}, {})
    held.release()


class Watched(Agenda):
    def __init__(self, items, store, **options):
        self.events: list[dict] = []
        super().__init__(items, store, on_event=self.events.append, recheck=0.0, **options)

    def told(self, event: str) -> list[str]:
        return [e["phase"] for e in self.events if e["event"] == event]

    def succeed(self, store: Store, key: str) -> None:
        done = self.items[key]
        make(store, done.phase, *done.marks)
        self.report(key, {"state": "done"})


def everything(agenda: Watched, store: Store) -> list[str]:
    """Runs one segment after the other."""
    order = []
    while not agenda.finished():
        nxt = agenda.next()
        assert nxt is not None
        order.append(nxt.key)
        agenda.succeed(store, nxt.key)
    return order
