"""Controls of warm-ups that end when they are solved, and texts of a grid beside warm-ups that end early."""

from __future__ import annotations

import pytest

from procray.errors import SpecError
from procray.planning.notes import notes
from tests.planning.test_growing import FILE, GROWS, build, warm

SOLVED = FILE.replace(GROWS, "8").replace(
    "  optimizer: {lr: 1e-3}\nsemantic", "  evaluate: {solved: {accuracy: 0.9}}\n  optimizer: {lr: 1e-3}\nsemantic"
)
TEXT = {"text": {"corpus": "wikitext-103", "tokenizer": "gpt2"}}
TOGETHER = "controls: [shuffled, {text: {corpus: wikitext-103, tokenizer: gpt2}}, random, more_semantic]\n"


def test_controls_of_a_warm_up_that_ends_when_it_is_solved_end_with_it():
    graph = build(SOLVED + TOGETHER)
    real = warm(graph, "union")
    assert real.recipe.evaluation.solved is not None
    for name in ("shuffled-union", "text-"):
        control = warm(graph, name)
        assert control.recipe.paced_by == real.id
        assert control.recipe.evaluation.solved is None, "it would never be solved by itself"
        assert (control.marks, control.nominal) == (real.marks, real.nominal)
    told = "\n".join(notes(graph))
    assert "it ends where union/L8 is solved, so it is trained after it" in told
    assert "more_semantic: nobody knows before how many tokens a warm-up consumes that grows or ends when" in told


@pytest.mark.parametrize("text", [FILE, SOLVED])
def test_a_text_beside_one_task_follows_it_as_a_control_would(text):
    graph = build(text, **{"procedural.task": {"grid": ["union", {"shuffled": "union"}, TEXT]}})
    real, written = warm(graph, "union"), warm(graph, "text-")
    assert written.recipe.paced_by == real.id
    assert (written.marks, written.nominal) == (real.marks, real.nominal)
    added = warm(build(text + "controls: [{text: {corpus: wikitext-103, tokenizer: gpt2}}]\n"), "text-")
    assert written.recipe.data == added.recipe.data
    assert (written.recipe.batch, written.recipe.paced_by) == (added.recipe.batch, added.recipe.paced_by)
    assert not [note for note in notes(graph) if "follows none" in note]


@pytest.mark.parametrize(
    "beside",
    [
        {"procedural.task": {"grid": ["union", "set", TEXT]}},
        {"procedural.task": {"grid": ["union", TEXT]}, "procedural.vocab": {"grid": [50, 60]}},
        {"procedural.task": {"grid": [{"shuffled": "union"}, TEXT]}},
    ],
)
def test_a_text_beside_several_warm_ups_follows_none_and_that_is_told(beside):
    graph = build(SOLVED, **beside)
    assert warm(graph, "text-").recipe.paced_by == ""
    assert any(note.startswith("warm-up text-") and "follows none of them" in note for note in notes(graph))


def test_a_text_beside_a_task_of_fixed_budget_is_as_it_was():
    graph = build(FILE.replace(GROWS, "8"), **{"procedural.task": {"grid": ["union", TEXT]}})
    assert [phase.recipe.paced_by for phase in graph.phases.values()] == [""] * len(graph.phases)
    assert not [note for note in notes(graph) if "follows" in note]


def test_too_few_blocks_for_the_task_beside_are_told_where_they_are_written():
    few = {"text": {**TEXT["text"], "batch": 3}}
    with pytest.raises(SpecError, match=r"task.*: 3 blocks of 128 tokens have no room for the"):
        build(FILE, **{"procedural.task": {"grid": ["union", few]}})
