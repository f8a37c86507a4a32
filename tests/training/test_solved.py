"""A phase whose task is solved stops, and is to everybody else as if it had trained to the end."""

import json
from dataclasses import replace

import pytest

from procray import tasks
from procray.files import canonical_json
from procray.training.recipe import Evaluation, Optimizer, PhaseRecipe, Solved

from .phases import CURRICULUM, curve, recipe, resume, run, weights

# Right from step 12 on; the third such evaluation is that of step 20.
EASY = {"task": tasks.get("identity", length=1, vocab=4).recipe()}
RULE = Evaluation(every=4, sequences=16, solved=Solved(accuracy=0.995, evaluations=3))
PHASE = recipe(data=EASY, evaluation=RULE)


def manifest(folder, step):
    return json.loads((folder / "marks" / str(step) / "manifest.json").read_text())


def journal(folder):
    return [json.loads(line) for line in (folder / "journal.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    run(PHASE, folder, 60, marks=(8, 30))
    return folder


def test_training_ends_at_the_third_evaluation_in_a_row(whole):
    rows = journal(whole)
    assert [row["step"] for row in rows] == [0, 4, 8, 12, 16, 20]
    assert [row.get("solved") for row in rows] == [None] * 5 + [True]
    assert [row["accuracy"] >= 0.995 for row in rows[2:]] == [False, True, True, True]
    assert rows[-1]["tokens"] == 20 * rows[1]["tokens"] / 4  # what was really consumed


def test_later_marks_hold_the_weights_of_that_step(whole):
    assert weights(whole, 30) == weights(whole, 60) != weights(whole, 8)
    assert [manifest(whole, step).get("solved_at") for step in (8, 30, 60)] == [None, 20, 20]
    assert [manifest(whole, step)["step"] for step in (8, 30, 60)] == [8, 30, 60]
    assert manifest(whole, 60)["tokens"] == journal(whole)[-1]["tokens"]


@pytest.mark.parametrize("stops", [[1, 7, 12, 13, 16, 19], [18]])
def test_interruptions_leave_no_trace(tmp_path, whole, stops):
    for stop in stops:
        assert run(PHASE, tmp_path, 60, marks=(8, 30), stop_at=[stop]).status == "paused"
    assert run(PHASE, tmp_path, 60, marks=(8, 30)).status == "done"
    assert curve(tmp_path) == curve(whole)
    assert weights(tmp_path, 60) == weights(whole, 60)
    assert resume(tmp_path, 20) == resume(whole, 20)


def test_a_solved_phase_stays_solved_when_it_is_extended(tmp_path, whole):
    for until in (8, 14, 24, 30, 60, 90):  # also between two evaluations of the streak
        outcome = run(PHASE, tmp_path, until)
        assert (outcome.status, outcome.step) == ("done", min(until, 20))
    assert weights(tmp_path, 90) == weights(whole, 60)
    assert [row for row in curve(tmp_path) if row["step"] != 14] == curve(whole)


def test_the_schedule_is_that_of_the_whole_budget(tmp_path):
    decaying = {"data": EASY, "optimizer": Optimizer(lr=3e-3, schedule="linear"), "steps": 60}
    run(recipe(**decaying, evaluation=RULE), tmp_path / "solved", 60)
    run(recipe(**decaying), tmp_path / "whole", 60)
    stopped = curve(tmp_path / "solved")
    assert 3 < len(stopped) < 16
    assert stopped == curve(tmp_path / "whole")[: len(stopped)]


def test_a_curriculum_is_solved_at_its_last_length_only(tmp_path):
    rule = replace(RULE, solved=Solved(accuracy=0.0, evaluations=2))
    run(recipe(data=CURRICULUM, evaluation=rule), tmp_path, 60)
    rows = journal(tmp_path)
    assert [row["length"] for row in rows][-2:] == [6, 6]
    assert 6 not in [row["length"] for row in rows][:-2]


def test_the_rule_is_part_of_the_identity_and_its_absence_is_not(tmp_path):
    plain = recipe(data=EASY)
    assert "solved" not in canonical_json(plain.to_json())
    assert len({phase.id for phase in (plain, PHASE, replace(PHASE, evaluation=replace(RULE, every=5)))}) == 3
    for phase in (plain, PHASE):
        assert PhaseRecipe.from_json(json.loads(json.dumps(phase.to_json()))) == phase
