"""How many requests a sweep makes of its bucket: what it costs, and how far it is from the service's limits."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from small_plans import phase, plan

from procray.execution.agenda import Agenda
from procray.execution.runner import _items
from procray.execution.segment import run_segment
from procray.store import remote
from procray.store.store import Store


def counted(faulty) -> Counter[str]:
    """Requests by kind since the last time."""
    kinds: Counter[str] = Counter()
    for method, path in faulty.requests:
        kinds["LIST" if "list-type" in path else "DELETE" if re.search(r"\?delete$", path) else method] += 1
    faulty.requests.clear()
    return kinds


def test_a_segment_makes_some_thirty_requests_and_a_decision_of_the_scheduler_a_few(bucket, faulty, monkeypatch):
    monkeypatch.setattr(remote, "FRESH", 1000.0)  # without what comes every few seconds
    small = plan(*[phase(f"p{seed}", [50], seed=seed, every=10) for seed in range(3)], name="requests")
    store = Store(bucket)
    store.write_plan(small.written())
    agenda = Agenda(_items(small, store, "/nonexistent", Path("/nonexistent")), store)
    for first in (True, False, False):
        counted(faulty)
        item = agenda.next()
        assert sum(counted(faulty).values()) <= 2, "to offer a segment"
        run_segment({**item.job, "control": None, "driver": None}, lambda: False)
        made = counted(faulty)
        # docs/store.md and benchmarks/scale.py count on these.
        assert sum(made.values()) <= (40 if first else 30), made
        assert made["PUT"] <= (18 if first else 14), made
        agenda.report(item.key, {"state": "done"})
        assert sum(counted(faulty).values()) <= 6, "to believe that it is done"
    assert agenda.finished()
