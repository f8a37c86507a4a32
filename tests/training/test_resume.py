"""Interrupted or not, one CPU process with one thread count gives the same bits."""

import multiprocessing
import os
import random
import signal
from dataclasses import replace

import pytest
import torch

from procray.errors import StoreError
from procray.training import FolderContext, keep, losses, pace
from procray.training import loop as loop_module
from procray.training.recipe import Optimizer, Solved

from .phases import CURRICULUM, RANGE, ROWS, SET, SHAPE, curve, recipe, resume, run, weights

N = 10

PHASES = {
    "plain": recipe(data=SET),
    "dropout": recipe(data=RANGE, model=replace(SHAPE, dropout=0.3)),
    "curriculum": recipe(data=CURRICULUM),
    "rows": recipe(data=ROWS),
    "decaying": recipe(data=RANGE, optimizer=Optimizer(lr=3e-3, schedule="wsd", warmup_steps=3), steps=2 * N),
    "bfloat16": recipe(data=SET, precision="bf16"),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Each phase trained in one go, when it is first asked for."""
    torch.set_num_threads(1)
    done = {}

    def folder(name):
        if name not in done:
            done[name] = tmp_path_factory.mktemp(name)
            run(PHASES[name], done[name], 2 * N)
        return done[name]

    return folder


def assert_same(folder, expected, step=2 * N):
    assert weights(folder, step) == weights(expected, step)
    assert resume(folder, step) == resume(expected, step)
    steps = {row["step"] for row in curve(expected)}
    assert [row for row in curve(folder) if row["step"] in steps] == curve(expected)


@pytest.mark.parametrize("name", PHASES)
def test_two_halves_are_the_whole(tmp_path, whole, name):
    assert run(PHASES[name], tmp_path, N).step == N
    outcome = run(PHASES[name], tmp_path, 2 * N)
    assert (outcome.status, outcome.step) == ("done", 2 * N)
    assert_same(tmp_path, whole(name))


@pytest.mark.parametrize("name", ["dropout", "curriculum"])
def test_stops_at_any_step_leave_no_trace(tmp_path, whole, name):
    stops = [1, 2, 4, 7, 13, 19]  # before, at and between evaluations
    for stop in stops:
        outcome = run(PHASES[name], tmp_path, 2 * N, stop_at=[stop])
        assert (outcome.status, outcome.step) == ("paused", stop)
    run(PHASES[name], tmp_path, 2 * N)
    assert curve(tmp_path) == curve(whole(name))
    assert_same(tmp_path, whole(name))


def test_the_curriculum_grew(whole):
    lengths = [row["length"] for row in curve(whole("curriculum"))]
    assert lengths[0] == 1
    assert lengths[-1] > 2
    assert lengths == sorted(lengths)


@pytest.mark.parametrize("name", ["plain", "curriculum"])
def test_marks_change_nothing_that_follows(tmp_path, whole, name):
    run(PHASES[name], tmp_path, 2 * N, marks=(0, 3, 5, 8, 11))
    assert sorted(int(path.name) for path in (tmp_path / "marks").iterdir()) == [0, 3, 5, 8, 11, 20]
    assert [row["step"] for row in curve(tmp_path)] == [0, 3, 4, 5, 8, 11, 12, 16, 20]
    assert_same(tmp_path, whole(name))


def test_a_constant_schedule_is_extended_bit_for_bit(tmp_path, whole):
    for until in (2, 9, 2 * N):
        run(PHASES["plain"], tmp_path, until)
    assert_same(tmp_path, whole("plain"))


def test_a_mark_asked_for_where_a_stop_was_is_kept(tmp_path, whole):
    for stop in (6, 8):
        run(PHASES["plain"], tmp_path, 2 * N, stop_at=[stop])
        assert not (tmp_path / "marks" / str(stop)).exists()
        assert run(PHASES["plain"], tmp_path, stop).status == "done"
        assert (tmp_path / "marks" / str(stop)).is_dir()
    run(PHASES["plain"], tmp_path, 2 * N)
    assert_same(tmp_path, whole("plain"))


def test_a_finished_phase_is_left_alone(tmp_path, whole, monkeypatch):
    run(PHASES["plain"], tmp_path, 4)
    monkeypatch.setattr(loop_module, "evaluate", None)
    outcome = run(PHASES["plain"], tmp_path, 4)
    assert (outcome.status, outcome.step, outcome.evaluation["step"]) == ("done", 4, 4)


class Deadly(FolderContext):
    """Kills its process at a chosen moment."""

    def __init__(self, folder, moment):
        super().__init__(folder)
        self.moment, self.saves = moment, 0

    def kill(self, moment):
        if moment == self.moment:
            os.kill(os.getpid(), signal.SIGKILL)

    def journal(self, row):
        super().journal(row)
        if row["step"] == 12:
            with open(self.folder / "journal.jsonl", "ab") as file:
                file.write(b'{"step": 16, "lo')
            self.kill("journal")
            os.truncate(self.folder / "journal.jsonl", os.path.getsize(self.folder / "journal.jsonl") - 16)

    def save_mark(self, step, write, about):
        def torn(folder):
            facts = write(folder)
            if step == 14:
                os.truncate(folder / "model.safetensors", 100)
                self.kill("mark")
            return facts

        super().save_mark(step, torn if self.moment == "mark" else write, about)
        if step == 14:
            self.kill("between")

    def save_resume(self, step, write):
        def torn(folder):
            write(folder)
            if step == 14:
                os.truncate(folder / "state.safetensors", 100)
                self.kill("resume")

        if step == 14 and self.moment == "pointer":
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("procray.training.context.write_json", lambda path, value: self.kill("pointer"))
                super().save_resume(step, write)
        super().save_resume(step, torn if self.moment == "resume" else write)


def _train_and_die(folder, moment):
    torch.set_num_threads(1)
    phase = PHASES["dropout"]
    loop_module.train(phase, loop_module_source(phase), Deadly(folder, moment), until=2 * N, marks=[5, 14])


def loop_module_source(phase):
    from procray.training import task_source

    return task_source(phase)


@pytest.mark.parametrize("moment", ["journal", "mark", "between", "resume", "pointer"])
def test_sigkill_in_the_middle_of_writing(tmp_path, whole, moment):
    process = multiprocessing.get_context("fork").Process(target=_train_and_die, args=(tmp_path, moment))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    state = FolderContext(tmp_path).latest_resume()
    assert state is not None
    assert state.name == "5", "the last good state is still the one"
    run(PHASES["dropout"], tmp_path, 2 * N, marks=(5, 14))
    assert_same(tmp_path, whole("dropout"))


def test_rows_are_recomputed_and_checked(tmp_path, whole):
    """After a kill the rows behind the last state are there already; a replay must agree with them."""
    phase = PHASES["plain"]
    run(phase, tmp_path, 2 * N, stop_at=[9])
    with open(tmp_path / "journal.jsonl", "ab") as file:
        lines = (whole("plain") / "journal.jsonl").read_bytes().splitlines(keepends=True)
        file.writelines(lines[3:4])
    run(phase, tmp_path, 2 * N)
    assert_same(tmp_path, whole("plain"))

    other = tmp_path / "other"
    run(phase, other, 2 * N, stop_at=[9])
    with open(other / "journal.jsonl", "ab") as file:
        file.write(lines[3].replace(b'"loss": ', b'"loss": 1'))
    with pytest.raises(StoreError, match="step 12: loss was"):
        run(phase, other, 2 * N)


def test_a_state_of_another_phase_is_refused(tmp_path):
    run(PHASES["plain"], tmp_path, 4)
    with pytest.raises(StoreError, match=r"is of phase .* not of phase"):
        run(replace(PHASES["plain"], seed=1), tmp_path, 8)
    with pytest.raises(StoreError, match="at step 4, beyond step 2 that is wanted"):
        run(PHASES["plain"], tmp_path, 2)


def test_a_damaged_state_is_named(tmp_path):
    run(PHASES["plain"], tmp_path, 4)
    os.truncate(tmp_path / "resume" / "4" / "state.safetensors", 50)
    with pytest.raises(StoreError, match="resume/4 cannot be read"):
        run(PHASES["plain"], tmp_path, 8)


def test_time_decides_when_to_save_but_not_what(tmp_path, whole, monkeypatch):
    """A save at every evaluation and at every reading of the losses."""
    monkeypatch.setattr(keep, "SAVE_AT_EVALUATION_SECONDS", 0.0)
    monkeypatch.setattr(keep, "SAVE_ANYWHERE_SECONDS", 0.0)
    monkeypatch.setattr(losses, "PENDING", 3)
    monkeypatch.setattr(pace, "PROGRESS_SECONDS", 1e9)  # showing progress reads the losses early
    saved = []
    monkeypatch.setattr(
        FolderContext,
        "save_resume",
        lambda self, step, write, original=FolderContext.save_resume: (saved.append(step), original(self, step, write)),
    )
    run(PHASES["dropout"], tmp_path, 2 * N)
    assert saved == [3, 4, 7, 8, 11, 12, 15, 16, 19, 20]
    assert_same(tmp_path, whole("dropout"))


@pytest.mark.slow
def test_many_random_interruptions(tmp_path, whole):
    chance = random.Random(0)
    for number in range(20):
        folder, step = tmp_path / str(number), 0
        while step < 2 * N:
            step = chance.randint(step + 1, 2 * N + 4)
            marks = tuple(chance.sample(range(2 * N), 3))
            run(PHASES["curriculum"], folder, 2 * N, marks=marks, stop_at=[step])
        assert_same(folder, whole("curriculum"))


def test_another_cadence_changes_no_weight_and_adds_its_own_rows(tmp_path, whole):
    phase = PHASES["plain"]
    run(phase, tmp_path, 2 * N, stop_at=[9])
    finer = replace(phase, evaluation=replace(phase.evaluation, every=3, sequences=24))
    assert finer.id == phase.id
    run(finer, tmp_path, 2 * N)
    assert weights(tmp_path, 2 * N) == weights(whole("plain"), 2 * N)
    assert resume(tmp_path, 2 * N) == resume(whole("plain"), 2 * N)
    rows = FolderContext(tmp_path).rows()
    found = [(row["step"], row["sequences"], row["mean_steps"]) for row in rows]
    assert found == [(0, 16, 0), (4, 16, 4), (8, 16, 4), (12, 24, 4), (15, 24, 3), (18, 24, 3), (20, 24, 2)]
    before = (tmp_path / "journal.jsonl").read_bytes()
    (tmp_path / "resume.json").unlink()  # from the beginning, over rows that were measured otherwise
    run(finer, tmp_path, 2 * N)
    assert (tmp_path / "journal.jsonl").read_bytes().startswith(before)
    steps = [row["step"] for row in FolderContext(tmp_path).rows()]
    assert len(steps) == len(set(steps))


@pytest.mark.parametrize("name", ["curriculum", "solved"])
def test_where_evaluations_decide_what_is_trained_they_are_part_of_the_phase(name):
    phase = PHASES["curriculum"] if name == "curriculum" else PHASES["plain"]
    if name == "solved":
        phase = replace(phase, evaluation=replace(phase.evaluation, solved=Solved(0.9)))
    changes = ({"every": 3}, {"sequences": 24})
    assert len({phase.id, *(replace(phase, evaluation=replace(phase.evaluation, **one)).id for one in changes)}) == 3
