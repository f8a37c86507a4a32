"""Whatever was prepared, run, opened again, killed and forgotten: upkeep never offers what somebody still needs.

Runners are on other hosts, so that only their heartbeat tells that they live. Time passes by dating every file back;
the local clock of whoever cleans up is hours off, which must not matter.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from procray.corpora.lock import alone
from procray.corpora.prepared import corpus_folder
from procray.errors import StoreError
from procray.planning import Plan, plan
from procray.planning.load import load_text
from procray.store import garbage, lease
from procray.store.lease import Lease
from procray.store.store import Store

HOUR = 3600.0
QUICK = settings(deadline=None, suppress_health_check=list(HealthCheck))
TEXTS = ("alpha", "beta")
SWEEP = """\
name: {name}
seeds: [{seed}]
model: {{layers: 1, heads: 1, width: 8, context: 32}}
procedural:
  task: reverse
  length: 6
  batch: 4
  tokens: {{grid: {budgets}}}
  optimizer: {{lr: 1e-3, schedule: constant}}
transfer: attention
semantic:
  corpus: {{files: {folder}/{text}.txt}}
  tokenizer: byte
  tokens: 600
  batch_tokens: 128
  optimizer: {{lr: 1e-3, schedule: constant}}
"""


@cache
def _texts() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="procray-texts-"))
    for text in TEXTS:
        (folder / f"{text}.txt").write_text(f"{text} and some more words\n" * 50)
    return folder


@cache
def planned(name: str, seed: int, budgets: str, text: str, named: bool) -> Plan:
    """Of one name, of other settings: with `named`, the settings stand in the title, as those of `--set` do."""
    content = SWEEP.format(name=name, seed=seed, budgets=budgets, text=text, folder=_texts())
    found = plan(load_text(content, str(_texts() / "x.yaml")))
    return replace(found, settings=f"seeds={seed}") if named else found


plans = st.builds(
    planned,
    st.sampled_from(["one", "two"]),
    st.sampled_from([0, 1]),
    st.sampled_from(["[200]", "[200, 400]"]),
    st.sampled_from(TEXTS),
    st.booleans(),
)


@dataclass(eq=False)
class Runner:
    """One host that runs one plan; `held` is the phase in hand, whose next mark is being written below `folder`."""

    host: str
    plan: Plan
    held: Lease | None = None
    phase: str = ""
    step: int = 0
    writing: ExitStack = field(default_factory=ExitStack)
    folder: Path | None = None


class Upkeep(RuleBasedStateMachine):
    """The real store, real plans, files in place of training."""

    def __init__(self):
        super().__init__()
        self.place = Path(tempfile.mkdtemp(prefix="procray-gc-"))
        self.store = Store(self.place / "store")
        self.runners: list[Runner] = []
        self.run: dict[tuple[str, str], Plan] = {}  # by title and digest; not forgotten
        self.marks: dict[str, set[int]] = {}  # that were finished and may still be needed
        self.preparing: dict[str, ExitStack] = {}
        self.killed: list[tuple[float, Runner]] = []  # and when; kept, since what they were writing stays half written
        self.asked: dict[str, float] = {}  # corpus -> when it was asked for last, in hours
        self.now = 0.0
        self.hosts = 0
        self.quick = mock.patch("os.fsync")  # no power cut is part of the game
        self.quick.start()

    # -- what users do -------------------------------------------------------------------------------

    @rule(graph=plans)
    def prepare(self, graph: Plan) -> None:
        """`data prepare`: begins, or asks for what is there."""
        recipe = corpus_of(graph)
        folder = corpus_folder(recipe, self.store.corpora)
        if folder.name in self.preparing:
            return
        if (folder / "manifest.json").exists():
            self.store.publish_corpus(recipe)
            self.asked[folder.name] = self.now
            return
        lock = self.preparing[folder.name] = ExitStack()
        lock.enter_context(alone(folder))
        (folder / "shards").mkdir(exist_ok=True)
        (folder / "shards" / "train-00000.bin").write_text("tokens")

    @precondition(lambda self: self.preparing)
    @rule(data=st.data())
    def prepared(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.preparing)))
        (self.store.corpora / name / "manifest.json").write_text("{}")
        self.preparing.pop(name).close()
        self.asked[name] = self.now

    @precondition(lambda self: len(self.runners) < 2)
    @rule(graph=plans)
    def open(self, graph: Plan) -> None:
        """`sweep`: for the first time, again, or with other settings, beside another one or alone."""
        self.hosts += 1
        self.store.write_plan(graph)
        self.run[graph.title, graph.digest] = graph
        self.runners.append(Runner(f"host-{self.hosts}", graph))
        newest = self.store.newest(graph.title)
        assert newest is not None
        assert newest.digest == graph.digest

    @precondition(lambda self: self.runners)
    @rule(data=st.data(), marks=st.integers(1, 4))
    def train(self, data: st.DataObject, marks: int) -> None:
        """A runner writes some marks, and is then in the middle of the next one."""
        runner = data.draw(st.sampled_from(self.runners))
        for _ in range(marks):
            self._finish(runner)
            if not self._begin(runner):
                return

    @precondition(lambda self: self.runners)
    @rule(data=st.data(), killed=st.booleans())
    def leave(self, data: st.DataObject, killed: bool) -> None:
        """A runner comes to its end, or is killed with half a mark written."""
        runner = data.draw(st.sampled_from(self.runners))
        self.runners.remove(runner)
        if not killed:
            self._finish(runner)
        elif runner.held is not None:
            runner.held._end.set()  # no more heartbeats, and nothing released
            self.killed.append((self.now, runner))

    @precondition(lambda self: self.run)
    @rule(data=st.data())
    def forget(self, data: st.DataObject) -> None:
        title, digest = data.draw(st.sampled_from(sorted(self.run)))
        meant = [one for one in self.store.plans(title) if one.digest == digest]
        ours = [runner for runner in self.runners if (runner.plan.title, runner.plan.digest) == (title, digest)]
        holds = any(runner.held and runner.phase in self.run[title, digest].phases for runner in self.runners
                    if runner.plan.title == title)  # fmt: skip
        if holds:
            with pytest.raises(StoreError, match="is being run"):
                garbage.find(self.store, forget=meant)
        elif not ours and not any(self.now - when < 0.1 for when, _ in self.killed):  # these may seem to live
            found = garbage.find(self.store, forget=meant)
            forgotten = self.run.pop((title, digest))
            try:
                self._nothing_needed(found)
            except AssertionError:
                self.run[title, digest] = forgotten
                raise
            self.store.forget(title, digest)

    @rule(hours=st.sampled_from([0.01, 0.5, 2.0]))
    def wait(self, hours: float) -> None:
        self.now += hours
        for path in self.place.rglob("*"):
            dated = path.lstat().st_mtime - hours * HOUR
            os.utime(path, (dated, dated), follow_symlinks=False)
        for runner in self.runners:
            if runner.held is not None:
                runner.held.heartbeat()

    @rule(ahead=st.sampled_from([-2.0, 0.0, 2.0]), resume_states=st.booleans())
    def collect(self, ahead: float, resume_states: bool) -> None:
        """`store gc --delete` on a machine whose clock is wrong."""
        real = time.time
        with mock.patch("time.time", side_effect=lambda: real() + ahead * HOUR):
            found = garbage.find(self.store, resume_states)
            self._nothing_needed(found)
            garbage.collect(self.store, found)
        for name in found.corpora:
            self.asked.pop(name, None)
        for phase in found.phases:
            self.marks.pop(phase, None)

    # -- what must hold ------------------------------------------------------------------------------

    @invariant()
    def what_is_needed_is_there(self) -> None:
        for phase, steps in self.marks.items():
            if phase in self._needed():
                assert set(self.store.phase(phase).marks()) >= steps, "a finished mark is gone"
        for runner in self.runners:
            if runner.folder is not None:
                assert (runner.folder / "model.safetensors").exists(), "a checkpoint in the making is gone"
        for name in self._corpora_needed():
            assert (self.store.corpora / name / "shards" / "train-00000.bin").exists(), "a corpus is gone"

    def teardown(self) -> None:
        """Once nobody is there and everything is forgotten, nothing stays: what was kept was kept for its reason."""
        try:
            for runner in self.runners:
                self._finish(runner)
            self.runners.clear()
            for name in sorted(self.preparing):
                self.preparing.pop(name).close()
            for title in {title for title, _ in self.run}:
                self.store.forget(title)
            self.wait(2.0)
            garbage.collect(self.store, garbage.find(self.store))
            assert self.store.phases() == self.store.plans() == []
            assert self.store.corpora_sizes() == {}
            assert not [path for path in self.store.path.rglob("*") if path.is_file()]
        finally:
            self.quick.stop()
            shutil.rmtree(self.place)

    def _needed(self) -> set[str]:
        """Phases of plans and runners; all that they were made from is among them."""
        return {phase for graph in self.run.values() for phase in graph.phases} | {
            phase for runner in self.runners for phase in runner.plan.phases
        }

    def _corpora_needed(self) -> set[str]:
        graphs = [*self.run.values(), *(runner.plan for runner in self.runners)]
        read = {corpus_folder(corpus_of(graph), self.store.corpora).name for graph in graphs}
        recent = {name for name, when in self.asked.items() if self.now - when < 0.9}
        return (read & self.asked.keys()) | recent | self.preparing.keys()

    def _nothing_needed(self, found: garbage.Garbage) -> None:
        assert not self._needed() & found.phases.keys()
        held = {runner.phase for runner in self.runners if runner.held is not None}
        assert not held & (found.phases.keys() | found.leftovers.keys() | found.resumes.keys())
        assert not self._corpora_needed() & found.corpora.keys()

    # -- what a runner does --------------------------------------------------------------------------

    def _begin(self, runner: Runner) -> bool:
        """Takes the next mark in hand; False where nothing is left, or all that is left is in other hands."""
        for phase in runner.plan.phases.values():
            at = self.store.phase(phase.id)
            missing = [step for step in phase.marks if not at.exists_mark(step)]
            if not missing or not all(self.store.phase(one.phase).exists_mark(one.step) for one in phase.parents):
                continue
            who = {"host": runner.host, "pid": 1, "started": "1"}
            with mock.patch.object(lease, "this_process", lambda who=who: who):
                runner.held = at.acquire({"sweep": runner.plan.title})
            if runner.held is None:
                continue
            at.write_description(phase.recipe, {}, runner.held.attempt)
            runner.phase, runner.step = phase.id, missing[0]
            runner.folder = runner.writing.enter_context(at._filling(runner.held, at._mark(runner.step)))
            (runner.folder / "model.safetensors").write_text("weights")
            (runner.folder / "manifest.json").write_text('{"step": 1, "files": {}}')
            return True
        return False

    def _finish(self, runner: Runner) -> None:
        """What is in hand becomes visible, and is given back."""
        if runner.held is None:
            return
        at = self.store.phase(runner.phase)
        runner.writing.close()
        self.marks.setdefault(runner.phase, set()).add(runner.step)
        at.write_resume(runner.held, runner.step, lambda path: path.joinpath("state").write_text("x"), keep=True)
        at.set_status("done", step=runner.step, attempt=runner.held.attempt)
        runner.held.release()
        runner.held = runner.folder = None


def corpus_of(graph: Plan) -> dict:
    return next(phase.recipe.data for phase in graph.phases.values() if "corpus" in phase.recipe.data)


def test_nothing_that_a_plan_or_a_runner_needs_is_ever_offered():
    run_state_machine_as_test(Upkeep, settings=settings(QUICK, max_examples=20, stateful_step_count=20))


@pytest.mark.slow
def test_nothing_that_a_plan_or_a_runner_needs_is_ever_offered_for_long():
    run_state_machine_as_test(Upkeep, settings=settings(QUICK, max_examples=300, stateful_step_count=50))
