"""Where token ids mean the same, and ids without building the recipe."""

from __future__ import annotations

from dataclasses import replace

import pytest

from procray.files import canonical_json
from procray.planning.identity import phase_id, task_symbols, template, text_symbols
from procray.planning.load import load_text
from procray.planning.planner import plan
from procray.training.recipe import Init, Parent

SET, UNION = {"name": "set", "vocab": 100}, {"name": "union", "vocab": 100}
DYCK, SHUFFLE = {"name": "dyck", "k": 64}, {"name": "dyck_shuffle", "k": 64}
OTHER = {"name": "set", "vocab": 64}
AUTOMATON = {"name": "automaton", "states": 3, "letters": 2}


def mix(*tasks, **more):
    return {"mixture": [{"task": task, "weight": 1} for task in tasks], **more}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (SET, UNION),
        (DYCK, SHUFFLE),
        ({"shuffled": SET}, SET),
        ({"shuffled": mix(SET, UNION)}, SET),
        (mix(SET, UNION), SET),
        (mix(SET, mix(SET, UNION)), UNION),
        (mix(SET, UNION, prefix=False), SET),
        (mix(SET, OTHER), mix(UNION, OTHER)),
        ({"name": "eca", "width": 20, "rule": 110}, {"name": "eca", "width": 20, "rule": 30}),
        ({"name": "haystack", "values": 9, "pairs": 3}, {"name": "haystack", "values": 9, "pairs": 4}),
        (DYCK, {"name": "k_shuffle_dyck", "k": 64}),
        ({"name": "stack", "vocab": 9}, {"name": "queue", "vocab": 9}),
        ({"name": "lime_deduct", "alphabet": 99}, {"name": "lime_induct", "alphabet": 99}),
        (
            {"name": "automaton", "states": 3, "letters": 2, "length": 4},
            {"name": "automaton", "states": 3, "letters": 2},
        ),
    ],
)
def test_tasks_whose_symbols_mean_the_same(one, other):
    assert task_symbols(one) == task_symbols(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (SET, OTHER),
        (SET, DYCK),
        ({"name": "x", "vocab": 64}, DYCK),
        (mix(SET, OTHER), SET),
        (mix(OTHER, SET), OTHER),
        (mix(OTHER, SET), SET),
        (mix(SET, OTHER, SET), SET),
        (mix(SET, OTHER), mix(OTHER, SET)),
        (mix(SET, UNION, prefix=True), SET),
        (mix(SET, OTHER, prefix=True), mix(SET, OTHER)),
        ({"name": "eca", "width": 20}, {"name": "eca", "width": 21}),
        ({"name": "haystack", "values": 9}, {"name": "haystack", "values": 8}),
        ({"name": "eca", "width": 20}, {"name": "haystack", "width": 20}),
        ({"name": "a"}, {"name": "b"}),
        ({"name": "lime_deduct", "alphabet": 99}, {"name": "lime_deduct", "alphabet": 98}),
        ({"name": "hops", "alphabet": 99, "hops": 3}, {"name": "hops", "alphabet": 99, "hops": 4}),
        (AUTOMATON, {"name": "automaton", "states": 2, "letters": 2}),
    ],
)
def test_tasks_whose_symbols_mean_something_else(one, other):
    assert task_symbols(one) != task_symbols(other)


def test_a_tokenizer_that_is_made_from_a_corpus_belongs_to_it():
    for anywhere in ({"kind": "hub", "repo": "gpt2"}, {"kind": "folder", "sha": "0"}, {"kind": "byte"}, "byte"):
        assert text_symbols("c4", anywhere) == text_symbols("wikitext-2", anywhere)
    for own in ({"kind": "bpe", "size": 512}, "bpe"):
        assert text_symbols("c4", own) == text_symbols("c4", own)
        assert text_symbols("c4", own) != text_symbols("wikitext-2", own)
    assert text_symbols("c4", {"kind": "bpe", "size": 512}) != text_symbols("c4", {"kind": "bpe", "size": 513})
    assert text_symbols("c4", {"kind": "bpe", "size": 9}) == text_symbols("c4", {"size": 9, "kind": "bpe"})


@pytest.mark.parametrize(("schedule", "budgets"), [("constant", [None]), ("cosine", [3, 40])])
def test_the_quick_way_to_an_id_is_the_id(schedule, budgets):
    text = (
        "name: t\nmodel: {layers: 1, heads: 1, width: 8, context: 16}\n"
        "diagnostic: {task: haystack, pairs: 4, batch: 8, tokens: 10k, optimizer: {lr: 1e-3, schedule: constant}}\n"
    )
    (phase,) = plan(load_text(text.replace("constant", schedule), "f.yaml")).phases.values()
    parents = Init({"mlp": Parent("0" * 16, 5)})
    cut = template(phase.recipe)
    assert cut == template(replace(phase.recipe, seed=7, init=parents))
    found = set()
    for seed in (0, 12):
        for init in (Init(), parents):
            for steps in budgets:
                one = replace(phase.recipe, seed=seed, init=init, steps=steps)
                found.add(phase_id(cut, canonical_json(one.meaning()["init"]), one.role, seed, steps))
                assert one.id in found
    assert len(found) == 4 * len(budgets)
    assert all(len(id) == 16 for id in found)
