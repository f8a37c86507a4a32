"""A control that has the lengths of another phase's sequences, step by step, and ends where that one was solved."""

from dataclasses import replace

import pytest

from procray import tasks
from procray.errors import StoreError
from procray.training import FolderContext, pack, task_source, train
from procray.training.recipe import Evaluation, PhaseRecipe, Solved

from .phases import curve, recipe, resume, run, weights

END = 22
GROWTH = {"start": 1, "step": 1, "mastery": 0.12, "max": 6}
CURRICULUM = {"task": tasks.get("identity", length=GROWTH, vocab=12).recipe()}
REAL = recipe(data=CURRICULUM)
SHUFFLED = {"task": {"shuffled": CURRICULUM["task"]}}


def control(real: PhaseRecipe = REAL, **changes) -> PhaseRecipe:
    return recipe(data=SHUFFLED, role="warmup/shuffled-identity", paced_by=real.id, **changes)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pacing")
    run(REAL, folder / REAL.id, END)
    run(control(), folder / "whole", END, marks=(10,))
    return folder


def test_the_control_has_the_lengths_of_the_real_task_at_the_same_steps(root):
    real, own = curve(root / REAL.id), curve(root / "whole")
    grown = [row["length"] for row in real]
    assert grown[-1] > 3, "it grows"
    shared = {row["step"]: (row["length"], row["tokens"]) for row in own}
    assert [shared[row["step"]] for row in real] == [(row["length"], row["tokens"]) for row in real]
    alone = run(replace(control(), paced_by=""), root / "by itself", END).tokens
    assert alone != real[-1]["tokens"], "by its own evaluations it would grow otherwise"


def test_every_batch_of_the_control_is_one_of_the_real_task_shuffled(root):
    """Also between evaluations: the length of an update is that of the same update."""
    made = []
    source = task_source(control())

    class Seen:
        def batch(self, step, length):
            made.append((step, length))
            return source.batch(step, length)

        def __getattr__(self, name):
            return getattr(source, name)

    train(control(), Seen(), FolderContext(root / "seen"), until=END, marks=())
    ends = [row["step"] for row in curve(root / REAL.id)]
    of = {row["step"]: row["length"] for row in curve(root / REAL.id)}
    assert made == [(step, of[min(end for end in ends if end > step)]) for step in range(END)]


@pytest.mark.parametrize("stops", [(3,), (8, 13), (20,)])
def test_interrupted_it_gives_the_same_bits(root, stops):
    folder = root / f"stopped at {stops}"
    for step in stops:
        assert run(control(), folder, END, marks=(10,), stop_at=[step]).status == "paused"
    run(control(), folder, END, marks=(10,))
    assert curve(folder) == curve(root / "whole")
    assert weights(folder, END) == weights(root / "whole", END)
    assert resume(folder, END) == resume(root / "whole", END)


def test_another_cadence_of_the_control_changes_no_update(root):
    phase = control(evaluation=Evaluation(every=7, sequences=16))
    assert phase.id == control().id, "how often it is looked at is no part of what it is"
    run(phase, root / "sevens", END)
    assert weights(root / "sevens", END) == weights(root / "whole", END)
    assert curve(root / "sevens")[-1]["tokens"] == curve(root / "whole")[-1]["tokens"]


def test_a_pack_of_controls_follows_too(root):
    contexts = [FolderContext(root / "packed")]
    pack.train_pack([control()], [task_source(control())], contexts, until=END, marks=(10,))
    shape = [(row["step"], row["length"], row["tokens"]) for row in curve(root / "packed")]
    assert shape == [(row["step"], row["length"], row["tokens"]) for row in curve(root / "whole")]


def test_it_waits_for_the_real_phase(root):
    missing = control(replace(REAL, seed=9))
    with pytest.raises(StoreError, match=f"those of phase {missing.paced_by}, whose evaluations reach step 0 only"):
        run(missing, root / "early", END)
    with pytest.raises(StoreError, match=f"reach step {END} only: it must be trained as far before"):
        run(control(), root / "far", END + 4)


def test_it_ends_where_the_real_task_was_solved(tmp_path):
    rule = Evaluation(every=4, sequences=16, solved=Solved(accuracy=0.01, evaluations=2))
    real = recipe(data=CURRICULUM, evaluation=rule)
    done = run(real, tmp_path / real.id, 60, marks=(50,))
    assert done.step < 50
    found = run(control(real, evaluation=Evaluation(every=5, sequences=16)), tmp_path / "control", 60, marks=(50,))
    assert (found.step, found.tokens) == (done.step, done.tokens)
    assert weights(tmp_path / "control", 50) == weights(tmp_path / "control", 60)


@pytest.mark.parametrize("shuffled", [True, False])
def test_where_lengths_are_fixed_it_ends_where_the_real_task_was_solved(tmp_path, shuffled):
    rule = Evaluation(every=4, sequences=16, solved=Solved(accuracy=0.01, evaluations=2))
    fixed = {"task": tasks.get("identity", length=6, vocab=12).recipe()}
    real = recipe(data=fixed, evaluation=rule)
    done = run(real, tmp_path / real.id, 60)
    assert done.step < 60
    data = {"task": {"shuffled": fixed["task"]}} if shuffled else fixed
    control = recipe(data=data, role="warmup/other", paced_by=real.id, evaluation=Evaluation(every=5, sequences=16))
    found = run(control, tmp_path / "control", 60)
    assert (found.step, found.tokens) == (done.step, done.tokens)


def test_the_id_says_whom_it_follows():
    other = replace(control(), paced_by="0" * 16)
    assert len({other.id, control().id, replace(control(), paced_by="").id}) == 3
    assert PhaseRecipe.from_json(other.to_json()) == other
    assert "paced_by" not in REAL.to_json(), "ids of all others stay"
    with pytest.raises(StoreError, match="no plain name"):
        PhaseRecipe.from_json({**other.to_json(), "paced_by": "../up"})


def test_only_what_is_decided_by_evaluations_has_them_in_its_id():
    rare = Evaluation(every=40, sequences=16)
    assert replace(REAL, evaluation=rare).id != REAL.id
    twice = {"task": tasks.from_recipe({"shuffled": SHUFFLED["task"]}).recipe()}
    assert recipe(data=twice).grows, "shuffled twice it still grows"
