from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from procray import tasks
from procray.batch import RowBatch
from procray.errors import TaskError

NAMES = [
    "identity", "reverse", "sort", "set", "union", "delete", "stack", "dyck", "dyck_shuffle", "eca_rows", "eca_tokens",
    "queue", "lime_deduct", "lime_abduct", "lime_induct", "hops", "automaton",
    "k_shuffle_dyck", "rnn", "nca", "mp_struct", "mp_struct_core",
    "haystack", "addition", "reversed_addition", "multiplication", "sorting",
]  # fmt: skip
DIAGNOSTICS = NAMES[NAMES.index("haystack") :]

SMALL = {
    "dyck": {"length": 24, "k": 3},
    "dyck_shuffle": {"length": 24, "k": 3},
    "eca_rows": {"length": 5, "width": 12},
    "k_shuffle_dyck": {"length": 24, "k": 3},
    "nca": {"length": 30, "side": 6, "states": 3, "simplest": 0.0, "most_complex": 2.0},
}


def small(name):
    return tasks.get(name, **SMALL.get(name, {} if name in DIAGNOSTICS else {"length": 12}))


EXAMPLES = [
    *(small(name) for name in NAMES),
    tasks.get("set", length={"min": 2, "max": 9}, vocab=30),
    tasks.get("sort", length={"start": 2, "step": 3, "mastery": 0.9, "max": 9}),
    tasks.get("shuffled", task=small("union")),
    tasks.get("mixture", parts=[(small("set"), 3), (tasks.get("shuffled", task=small("dyck")), 2)]),
    tasks.get("mixture", parts=[(small("set"), 3), (small("dyck"), 2)], prefix=True),
    tasks.get("shuffled", task=tasks.get("mixture", parts=[(small("set"), 1), (small("union"), 2)])),
]


def test_names():
    assert tasks.names() == NAMES
    assert [name for name in NAMES if tasks.describe(name)[2]] == DIAGNOSTICS


@pytest.mark.parametrize("task", EXAMPLES, ids=lambda task: task.name)
def test_a_recipe_is_plain_complete_and_leads_back(task):
    recipe = task.recipe()
    again = tasks.from_recipe(json.loads(json.dumps(recipe)))
    assert again == task
    assert again.recipe() == recipe
    a, b = task.sample(1, "train", 2, 5), again.sample(1, "train", 2, 5)
    arrays = ("rows_BTW", "targets_BTW") if isinstance(a, RowBatch) else ("tokens_BT", "targets_BT")
    for name in (*arrays, "mask_BT"):
        assert np.array_equal(getattr(a, name), getattr(b, name))


@pytest.mark.parametrize("name", NAMES)
def test_defaults_stand_in_the_recipe_and_in_the_description(name):
    summary, parameters, _ = tasks.describe(name)
    assert summary
    assert "\n" not in summary
    assert tasks.get(name).recipe() == {"name": name} | {key: default for key, (default, _) in parameters.items()}
    assert all(meaning for _, meaning in parameters.values())


@pytest.mark.parametrize("task", EXAMPLES, ids=lambda task: task.name)
def test_batches_fit_the_model_that_the_task_asks_for(task):
    for index in range(5):
        batch = task.sample(0, "train", index, 20)
        if isinstance(batch, RowBatch):
            assert batch.rows_BTW.shape[1:] == (task.positions, task.rows)
            continue
        assert batch.tokens_BT.shape[1] <= task.positions
        assert batch.tokens_BT.min() >= 0
        assert batch.tokens_BT.max() < task.vocab_size
        assert batch.targets_BT.max() < task.vocab_size
        used = batch.tokens_BT != task.pad
        assert used[:, -1].any(), "trimmed to the longest row"
        assert (batch.targets_BT[batch.mask_BT] != task.pad).all(), "padding is never scored"
        assert batch.nominal_tokens == task.nominal_tokens(0, "train", index, 20)
        assert batch.nominal_tokens >= used.sum()


@pytest.mark.parametrize("task", EXAMPLES, ids=lambda task: task.name)
def test_mean_tokens_are_the_mean_of_nominal_tokens(task):
    if task.curriculum is None:
        mean = np.mean([task.nominal_tokens(0, "train", index, 1) for index in range(1500)])
        assert mean == pytest.approx(task.mean_tokens, rel=0.05)


@pytest.mark.parametrize(
    ("make", "messages"),
    [
        (lambda: tasks.get("unoin"), ["there is no task 'unoin'; did you mean 'union'?", "identity, reverse"]),
        (
            lambda: tasks.get("union", lenght=3, vocab=1, k=4),
            [
                "union: there is no parameter 'lenght'; did you mean 'length'? (parameters: length, vocab)",
                "union: vocab is 1; expected a whole number from 2 to 65536",
                "union: there is no parameter 'k'",
            ],
        ),
        (lambda: tasks.get("union", length=1), ["length is 1; expected a whole number from 2"]),
        (lambda: tasks.get("dyck", p_open=1.2, k=0), ["p_open is 1.2; expected a number from 0 to 1", "k is 0"]),
        (lambda: tasks.get("dyck", p_open=float("nan")), ["p_open is nan"]),
        (lambda: tasks.get("eca_rows", width=1001), ["width is 1001; expected a whole number from 1 to 1000"]),
        (lambda: tasks.get("set", vocab="100"), ["vocab is '100'"]),
        (
            lambda: tasks.get("addition", digits=18, mask="corect"),
            [
                "digits is 18; expected a whole number from 1 to 17",
                "mask is 'corect'; expected corrected or official; did you mean 'corrected'?",
            ],
        ),
        (
            lambda: tasks.get("hops", length=40, alphabet=20),
            ["hops: alphabet is 20; expected at least 40, so that 40 names can differ"],
        ),
        (
            lambda: tasks.get("k_shuffle_dyck", min_depth=9, max_depth=5),
            ["k_shuffle_dyck: min_depth is 9; expected at most 5, the max_depth"],
        ),
        (
            lambda: tasks.get("rnn", temperature=0, radius="eigen"),
            [
                "rnn: temperature is 0; expected a number above 0",
                "radius is 'eigen'; expected estimated or eigenvalue; did you mean 'eigenvalue'?",
            ],
        ),
        (
            lambda: tasks.get("nca", patch=5, states=40, simplest=0.6, most_complex=0.4),
            [
                "nca: patch is 5; expected a divisor of the grid's 12",
                "40 states would make",
                "simplest is 0.6; expected less than 0.4, the most_complex",
            ],
        ),
        (
            lambda: tasks.get("nca", length=38),
            ["nca: length is too short; expected at least 39, one frame and a token"],
        ),
        (lambda: tasks.describe("stck"), ["there is no task 'stck'; did you mean 'stack'?"]),
        (lambda: tasks.from_recipe("set"), ["a task is written as a mapping, not 'set'"]),
        (lambda: tasks.from_recipe({"length": 4}), ["a task needs a name, or one of shuffled, mixture"]),
        (lambda: tasks.from_recipe({"name": "set", 3: 4}), ["set: parameters have names; was given 3"]),
        (lambda: tasks.from_recipe({"shuffled": {"name": "set"}, "length": 4}), ["'shuffled' stands alone"]),
        (lambda: tasks.from_recipe({"shuffled": {"name": "sett"}}), ["no task 'sett'; did you mean 'set'?"]),
        (lambda: tasks.from_recipe({"mixture": {"set": 1}}), ["mixture: a list of {task, weight} was expected"]),
        (lambda: tasks.from_recipe({"mixture": [{"set": 1}]}), ["mixture: a part is written as {task, weight}"]),
        (lambda: tasks.from_recipe({"mixture": []}), ["mixture: needs at least one part"]),
        (lambda: tasks.get("mixture", parts=[], prefix="yes"), ["prefix is 'yes'; expected true or false"]),
        (
            lambda: tasks.from_recipe({"mixture": [], "prefixes": True}),
            ["'mixture' stands alone, but was given with prefixes"],
        ),
        (
            lambda: tasks.get("mixture", parts=[(tasks.get("mixture", parts=[(small("set"), 1)], prefix=True), 1)]),
            ["a part cannot itself be a mixture with prefix"],
        ),
        (lambda: tasks.get("shuffled", tasks=1), ["no parameter 'tasks'; did you mean 'task'?", "needs task"]),
        (lambda: tasks.get("shuffled", task="set"), ["shuffled: expected a task, not 'set'"]),
        (lambda: tasks.get("shuffled", task=tasks.get("haystack")), ["haystack is a diagnostic"]),
        (
            lambda: tasks.get(
                "mixture",
                parts=[
                    (tasks.get("eca_rows"), 1),
                    (tasks.get("set"), -1),
                    (tasks.get("set"), float("inf")),
                    ({"name": "st"}, 1),
                    (tasks.get("sort", length={"start": 2, "max": 8}), 1),
                ],
            ),
            [
                "eca_rows makes rows, not tokens",
                "the weight of set is -1; expected a number above 0",
                "the weight of set is inf",
                "there is no task 'st'",
                "sort has a curriculum",
            ],
        ),
    ],
)
def test_mistakes_are_named_all_at_once(make, messages):
    with pytest.raises(TaskError) as error:
        make()
    for message in messages:
        assert message in str(error.value)


@pytest.mark.parametrize("name", tasks.names())
def test_the_shortest_sequences_score_something(name):
    task = small(name)
    if name not in DIAGNOSTICS and name != "nca":  # whose shortest depends on its frames
        task = replace(task, length=task.shortest)
    assert task.sample(0, "train", 0, 64).mask_BT.any()


def test_samples_are_readable():
    lines = tasks.samples(tasks.get("union", length=6, vocab=10), 3)
    assert len(lines) == 3
    for line in lines:
        a, b, union = line.split(" | ")
        assert union.split() == list(dict.fromkeys(a.split() + b.split()))
    assert len(tasks.samples(tasks.get("reverse"), 1, length=2)[0].split()) == 5
    varied = tasks.samples(tasks.get("identity", length={"min": 1, "max": 20}), 10)
    assert len({len(line.split()) for line in varied}) > 3


def test_planning_needs_no_torch():
    code = "import sys, procray.tasks; sys.exit('torch' in sys.modules or 'pydantic' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
