"""How many requests a sweep makes of its bucket: what it costs, and how far it is from the service's limits."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
from small_plans import phase, plan

from procray.execution.agenda import Agenda
from procray.execution.jobs import items_of
from procray.execution.segment import run_segment
from procray.store import phase_copy
from procray.store.bucket_claims import BucketClaims
from procray.store.store import Store
from procray.training import keep, pace


def counted(faulty) -> Counter[str]:
    """Requests by kind since the last time; those that a slow service made the client repeat count once."""
    kinds: Counter[str] = Counter()
    for method, path in faulty.answered.values():
        kinds["LIST" if "list-type" in path else "DELETE" if re.search(r"\?delete$", path) else method] += 1
    faulty.answered.clear()
    return kinds


@pytest.fixture
def no_clock(monkeypatch):
    """Nothing that comes every few seconds, however slow the machine is."""
    monkeypatch.setattr(phase_copy, "FRESH", 1e6)
    monkeypatch.setattr(phase_copy, "_CALM", 1e6)
    monkeypatch.setattr(BucketClaims, "beat_every", 1e6)
    monkeypatch.setattr(keep, "SAVE_AT_EVALUATION_SECONDS", 1e6)
    monkeypatch.setattr(keep, "SAVE_ANYWHERE_SECONDS", 1e6)
    monkeypatch.setattr(pace, "PROGRESS_SECONDS", 1e6)


def test_a_segment_makes_some_thirty_requests_and_a_decision_of_the_scheduler_a_few(bucket, faulty, no_clock):
    small = plan(*[phase(f"p{seed}", [50], seed=seed, every=10) for seed in range(3)], name="requests")
    store = Store(bucket)
    store.write_plan(small)
    agenda = Agenda(items_of(small, store, "/nonexistent", Path("/nonexistent")), store)
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
