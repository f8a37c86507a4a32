"""One state for a phase in every room, and only as far as the plan wants the phase."""

from __future__ import annotations

import pytest

from procray.cli import live
from procray.planning import plan
from procray.planning.load import load_text
from procray.report.numbers.runs import Reader
from procray.selection import select
from procray.selection.standing import Standing
from procray.store.store import Store

FILE = """\
name: t
model: {layers: 1, heads: 1, width: 16, context: 32}
procedural: {task: set, length: 8, batch: 4, tokens: {grid: [2k, 8k]}, optimizer: {lr: 1e-3}}
transfer: full
diagnostic: {task: reversed_addition, digits: 3, batch: 4, tokens: 4k, optimizer: {lr: 1e-3}, evaluate: {every: 1k}}
"""
SEARCH = """\
name: s
model: {layers: 1, heads: 1, width: 16, context: 32}
diagnostic:
  task: reversed_addition
  digits: 3
  batch: 4
  tokens: 4k
  optimizer: {lr: {grid: [1e-3, 1e-2]}}
select: {axes: [lr], seeds: [100]}
"""


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def everywhere(graph, store, phase):
    """State and reason of a phase, which all that tell it must agree on."""
    row = next(row for row in live.Watcher(graph, store).rows() if row.id == phase.id)
    told = {
        Standing(graph, store).of(phase.id),
        (row.state, row.reason or ""),
        Reader(graph, store).state(phase.id, phase.end)[:2],
    }
    assert len(told) == 1, told
    return told.pop()


def mark(store, phase, step):
    folder = store.phase(phase.id)
    held = folder.acquire()
    journal = folder.journal(held, {})
    journal.add({"step": step, "tokens": step, "loss": 1.0})
    journal.close()
    folder.write_mark(held, step, lambda path: {}, {})
    held.release()


def test_a_failure_between_two_budgets_fails_the_later_one(store):
    graph = plan(load_text(FILE, "f.yaml"))
    warm = next(phase for phase in graph.phases.values() if phase.kind == "procedural")
    early, late = warm.marks
    children = {
        parent.step: phase for phase in graph.phases.values() for parent in phase.parents if parent.phase == warm.id
    }
    mark(store, warm, early)
    store.phase(warm.id).set_status("failed", reason="NaN", final=True, step=early + 1)
    assert everywhere(graph, store, warm) == ("failed", "NaN")
    assert everywhere(graph, store, children[late]) == ("skipped", f"its parent {warm.label} failed")
    assert everywhere(graph, store, children[early]) == ("waiting", "")
    store.phase(children[late].id).set_status("skipped", reason=f"{warm.label} failed: NaN", parent=warm.id)
    assert everywhere(graph, store, children[late]) == ("skipped", f"{warm.label} failed: NaN")

    lower = plan(load_text(FILE.replace("{grid: [2k, 8k]}", "2k"), "f.yaml"))
    assert warm.id in lower.phases
    assert everywhere(lower, store, lower.phases[warm.id]) == ("done", "")
    less = plan(load_text(FILE.replace("{grid: [2k, 8k]}", "1k"), "f.yaml"))
    assert everywhere(less, store, less.phases[warm.id]) == ("waiting", "")


def test_what_was_skipped_waits_once_its_parent_can_be_made(store):
    graph = plan(load_text(FILE, "f.yaml"))
    warm = next(phase for phase in graph.phases.values() if phase.kind == "procedural")
    child = next(phase for phase in graph.phases.values() if phase.parents)
    store.phase(warm.id).set_status("failed", reason="NaN", final=True, step=1)
    store.phase(child.id).set_status("skipped", reason=f"{warm.label} failed: NaN", parent=warm.id)
    assert everywhere(graph, store, child)[0] == "skipped"
    store.phase(warm.id).set_status("paused", step=1)  # tried again by somebody
    store.phase(warm.id).set_status("running", until=warm.end)
    assert everywhere(graph, store, child) == ("waiting", "")


@pytest.mark.parametrize("beyond", [0, 1])
def test_a_trial_that_failed_beyond_its_budget_is_still_to_come(store, beyond):
    graph = plan(load_text(SEARCH, "f.yaml"))
    trial = graph.trials[0]
    store.phase(trial.compared).set_status("failed", reason="NaN", final=True, step=trial.step + beyond)
    found = next(cell for cell in select.read(graph, store).tried if cell.label == trial.label)
    assert (found.state, found.reason) == (("pending", "") if beyond else ("failed", "seed 100: NaN"))
