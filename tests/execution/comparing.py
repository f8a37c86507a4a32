"""Runs of small plans, and the same training without Ray to compare with; fixtures for two folders of tests."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from procray.execution import RunOptions, run, run_segment
from procray.execution.agenda import Agenda
from procray.execution.jobs import items_of
from procray.store.store import Store


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


class Listener:
    """Keeps the events of a run, and reacts to them."""

    def __init__(self, react=lambda event: None):
        self.events: list[dict[str, Any]] = []
        self._react = react
        self._lock = threading.RLock()  # a listener need not be something that can be pickled

    def __call__(self, event: dict[str, Any]) -> None:
        self.events.append(event)
        self._react(event)

    def labels(self, name: str) -> list[str]:
        return [event["label"] for event in self.events if event["event"] == name]


@pytest.fixture
def listen():
    def start(plan, store, react=lambda event: None, **options):
        listener = Listener(react)
        return run(plan, store, RunOptions(on_event=listener, **options)), listener

    return start


@pytest.fixture
def reference(tmp_path):
    """Trains a plan's segments one after the other in this process, undisturbed."""

    def train(plan) -> Store:
        import torch

        torch.set_num_threads(1)
        store = Store(tmp_path / "reference")
        agenda = Agenda(items_of(plan, store, Path("/nonexistent"), Path("/nonexistent")), store)
        while (item := agenda.next()) is not None:
            job = {**item.job, "control": None, "driver": None}
            result = run_segment(job, lambda: False)
            assert result["state"] == "done", result
            agenda.report(item.key, result)
        return store

    return train


TIMING = {"tokens_per_s", "positions_per_s", "mfu", "seconds", "time"}


def compare(plan, one: Store, other: Store) -> None:
    """Asserts that two stores hold the same marks and curves of a plan, bit for bit."""
    for phase in plan.phases.values():
        a, b = one.phase(phase.id), other.phase(phase.id)
        assert a.marks() == b.marks() == sorted(phase.marks)
        for step in phase.marks:
            files = [folder.manifest(step)["files"]["model.safetensors"]["sha256"] for folder in (a, b)]
            assert files[0] == files[1], (phase.label, step)
        curves = [
            [{key: value for key, value in row.items() if key not in TIMING} for row in folder.curve()]
            for folder in (a, b)
        ]
        assert curves[0] == curves[1]


@pytest.fixture
def same_numbers():
    return compare
