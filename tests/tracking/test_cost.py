"""What a look costs, in what is read and asked rather than in time."""

from __future__ import annotations

import gc
import importlib
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from procray import links
from procray.planning.plan import Plan
from procray.store.phase import PhaseFolder
from procray.store.store import Store
from procray.tracking import backend, glance, overview, sync
from procray.tracking.connect import open_session
from procray.tracking.sync import write
from tests.tracking import mirror, synthetic


class Counted(list):  # type: ignore[type-arg]
    """A list that knows how often it was gone through."""

    times = 0

    def __iter__(self) -> Any:
        self.times += 1
        return super().__iter__()


class CountedPhases(dict):  # type: ignore[type-arg]
    """Phases of a plan that know how often all of them were gone through."""

    times = 0

    def __iter__(self) -> Any:
        self.times += 1
        return super().__iter__()

    def values(self) -> Any:
        self.times += 1
        return super().values()

    def items(self) -> Any:
        self.times += 1
        return super().items()


def gone_through(store: Store, seeds: tuple[int, ...]) -> tuple[int, int]:
    plan = synthetic.build(seeds=seeds, targets=("code",))
    synthetic.finish_all(store, plan)
    plan.cells, plan.phases = Counted(plan.cells), CountedPhases(plan.phases)
    assert sync(plan, store).complete
    return plan.cells.times, plan.phases.times


def test_the_plan_is_not_gone_through_for_every_phase(store: Store) -> None:
    assert gone_through(store, (0,)) == gone_through(store, (1, 2, 3))


def test_the_first_sync_reads_each_file_of_a_phase_once_and_none_in_vain(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = synthetic.build(seeds=(0,), targets=("code",))
    synthetic.finish_all(store, plan)
    read: Counter[str] = Counter()
    opened = links.open_file

    def open_file(path: Any, flags: int, mode: int = 0o666) -> int:
        if "phases" in Path(path).parts:
            read[str(Path(path).relative_to(store.path / "phases"))] += 1
        return opened(path, flags, mode)

    monkeypatch.setattr(links, "open_file", open_file)
    assert sync(plan, store).complete
    wanted: Counter[str] = Counter()
    for phase, planned in plan.phases.items():
        wanted.update([f"{phase}/status.json", f"{phase}/journal/1.jsonl"])
        wanted.update(f"{phase}/marks/{step}/manifest.json" for step in planned.marks)
        if "task" not in planned.recipe.data:  # the digest of a prepared corpus
            wanted.update([f"{phase}/phase.json"])
    assert read == wanted


@pytest.mark.parametrize("refused", [False, True])
def test_python_looks_for_circles_as_often_as_before_once_a_pass_is_over(
    store: Store, monkeypatch: pytest.MonkeyPatch, refused: bool
) -> None:
    plan = synthetic.build(seeds=(0,), targets=("code",))
    store.write_plan(plan)
    session = open_session(plan, store, backend.tracking_uri(store.path))
    during, before = [], gc.get_threshold()

    def look(*_: Any) -> None:
        during.append(gc.get_threshold())
        if refused:
            raise OSError("the disk is gone")

    monkeypatch.setattr(importlib.import_module("procray.tracking.sync"), "_write_phases", look)
    if refused:
        with pytest.raises(OSError, match="the disk is gone"):
            write(session)
    else:
        write(session)
    assert during[0][0] > before[0]
    assert gc.get_threshold() == before


def test_a_look_at_what_has_not_changed_reads_no_phase_and_asks_for_nothing(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(glance, "SURE", 0.0)
    plan = synthetic.build(seeds=(0,), targets=("code",))
    store.write_plan(plan)
    done, *others = plan.phases
    synthetic.finish(store, plan, done)
    store.phase(others[0]).set_status("failed", reason="loss is NaN")
    session = open_session(plan, store, backend.tracking_uri(store.path))
    write(session)
    read: list[str] = []
    for name in ("status", "curve", "exists_mark", "journals", "description"):
        monkeypatch.setattr(PhaseFolder, name, lambda self, *_, name=name: read.append(name))
    monkeypatch.setattr(Plan, "to_json", lambda self: read.append("plan"))
    monkeypatch.setattr(overview, "plan_lines", lambda plan: read.append("plan"))
    monkeypatch.setattr(overview, "experiment_tags", lambda *_: read.append("page"))

    class Silent:
        def __getattr__(self, name: str) -> Any:
            read.append(name)

    monkeypatch.setattr(session, "client", Silent())
    assert write(session).complete
    assert read == []


@pytest.mark.parametrize("what", ["row", "mark", "status", "report"])
def test_whatever_changes_is_seen(store: Store, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    monkeypatch.setattr(glance, "SURE", 0.0)
    plan = synthetic.build(seeds=(0,), targets=("code",))
    store.write_plan(plan)
    warm, bare, *_ = plan.phases
    synthetic.write_rows(store, plan, warm, 40)
    synthetic.finish(store, plan, bare)
    session = open_session(plan, store, backend.tracking_uri(store.path))
    for _ in range(2):
        write(session)
    if what == "row":
        synthetic.write_rows(store, plan, warm, 50, first=50)
    elif what == "mark":
        synthetic.write_mark(store, plan, warm, 50)
    elif what == "status":
        store.phase(warm).set_status("failed", reason="loss is NaN", step=40)
    else:
        synthetic.write_report(store, plan)
    write(session)
    mlflow = mirror.client(store)
    run = mirror.runs(mlflow, plan)[warm]
    seen = {
        "row": run.data.metrics["tokens/total"] == 50_000,
        "mark": len(mlflow.search_logged_models([mirror.experiment(mlflow, plan)])) == 2,
        "status": run.info.status == "FAILED",
        "report": "summary/data_fraction" in mirror.runs(mlflow, plan)[bare].data.metrics,
    }
    assert [name for name, there in seen.items() if there] == [what]


def test_a_phase_whose_parent_fails_is_skipped_though_nothing_of_its_own_changed(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(glance, "SURE", 0.0)
    plan = synthetic.build(seeds=(0,), targets=("code",))
    store.write_plan(plan)
    warm = next(iter(plan.phases))
    children = [phase for phase, planned in plan.phases.items() if planned.parents]
    synthetic.write_rows(store, plan, children[0], 40)
    session = open_session(plan, store, backend.tracking_uri(store.path))
    write(session)
    store.phase(warm).set_status("failed", reason="loss is NaN", step=10)
    write(session)
    assert {session.states[phase][0] for phase in children} == {"skipped"}
    assert mirror.runs(mirror.client(store), plan)[children[0]].info.status == "KILLED"


def test_a_change_within_the_grain_of_a_date_is_seen(store: Store) -> None:
    """What was read right after a change is read again: a second change then may have the same date."""
    plan = synthetic.build(seeds=(0,), targets=("code",))
    store.write_plan(plan)
    bare = list(plan.phases)[1]
    store.phase(bare).set_status("failed", reason="one", step=0)
    file = store.phase(bare).path / "status.json"
    session = open_session(plan, store, backend.tracking_uri(store.path))
    write(session)
    about = file.stat()
    content = file.read_text().replace('"one"', '"two"')
    with open(file, "r+") as there:  # in place, of the same size and date, as a coarse file system shows it
        there.write(content)
    os.utime(file, ns=(about.st_atime_ns, about.st_mtime_ns))
    write(session)
    run = mirror.runs(mirror.client(store), plan)[bare]
    assert "two" in run.data.tags["mlflow.note.content"]
