"""Sequences that grow with what is mastered: the most that they cost, and controls that follow them."""

from __future__ import annotations

import json

import pytest

from procray.errors import SpecError
from procray.files import encode
from procray.planning import plan
from procray.planning.controlled import share_of_controls
from procray.planning.load import load_text
from procray.planning.notes import notes
from procray.planning.plan_json import plan_from_json
from procray.planning.plan_text import plan_lines

GROWS = "{start: 2, step: 2, mastery: 0.9, max: 16}"
FILE = f"""\
name: growing
seeds: [0, 1]
model: {{layers: 1, heads: 2, width: 16, context: 128}}
procedural:
  task: union
  length: {GROWS}
  vocab: 50
  batch: 64
  tokens: {{grid: [40k, 100k]}}
  optimizer: {{lr: 1e-3}}
semantic:
  corpus: c4
  tokenizer: gpt2
  tokens: 100Ki
  batch: 8
  optimizer: {{lr: 1e-3, schedule: cosine}}
"""
CONTROLS = "controls: [shuffled, {text: {corpus: wikitext-103, tokenizer: gpt2}}, random, more_semantic]\n"


def build(text: str = FILE + CONTROLS, **settings):
    return plan(load_text(text, "f.yaml", set=settings or None))


def warm(graph, name: str):
    warm_ups = [phase for phase in graph.phases.values() if phase.kind == "procedural" and phase.recipe.seed == 0]
    (phase,) = [phase for phase in warm_ups if phase.variant.startswith(name)]
    return phase


def test_controls_follow_the_phase_that_they_are_controls_of():
    graph = build()
    real = warm(graph, "union")
    for name in ("shuffled-union", "text-"):
        control = warm(graph, name)
        assert control.recipe.paced_by == real.id
        assert control.recipe.id == control.id, "the quick way to an id gives the same"
        assert (control.parents, control.marks, control.nominal) == ([], real.marks, real.nominal)
        assert list(graph.phases).index(real.id) < list(graph.phases).index(control.id)
        assert {variant for variant in control.variants if "/" in variant} <= set(real.variants)
        segments = [segment for segment in graph.segments() if segment.phase == control.id]
        assert [(real.id, mark) in segment.needs for mark, segment in zip(real.marks, segments, strict=True)] == [
            True
        ] * 2
    text = warm(graph, "text-")
    assert text.recipe.batch * 128 >= real.tokens_per_step > (text.recipe.batch - 1) * 128
    random = next(cell for cell in graph.cells if cell.control == "random")
    assert [mark.phase for mark in random.warmups] == [real.id], "random weights take the place of what it gives"


def test_what_is_there_without_controls_stays_the_same():
    plain, controlled = build(FILE), build()
    assert set(plain.phases) <= set(controlled.phases)
    assert {id: phase.recipe for id, phase in plain.phases.items()} == {
        id: controlled.phases[id].recipe for id in plain.phases
    }


def test_the_controls_of_several_tasks_follow_each_its_own():
    graph = build(**{"procedural.task": {"grid": ["union", "set"]}, "procedural.length.max": {"grid": [8, 16]}})
    paced = [phase for phase in graph.phases.values() if phase.recipe.paced_by]
    assert len(paced) == 2 * 2 * 2 * 2  # tasks, lengths, kinds, seeds
    for phase in paced:
        real = graph.phases[phase.recipe.paced_by]
        assert real.recipe.seed == phase.recipe.seed
        if "task" in phase.recipe.data:
            assert phase.recipe.data["task"]["shuffled"] == real.recipe.data["task"]
    names = [phase.variant for phase in paced if phase.recipe.seed == 0]
    assert len(set(names)) == 8
    assert not [name for name in names if "~" in name], "all seeds of one warm-up have one name"


def test_a_shuffled_task_that_the_file_writes_out_follows_the_same_phase():
    alone = build(FILE, **{"procedural.task": {"shuffled": "union"}})
    beside = build(FILE, **{"procedural.task": {"grid": [{"shuffled": "union"}, "union"]}})
    added = build(FILE + "controls: [shuffled]\n")
    for graph in (alone, beside, added):
        real, control = warm(graph, "union"), warm(graph, "shuffled-union")
        assert control.recipe.paced_by == real.id
        assert (real.id, control.id) == (warm(added, "union").id, warm(added, "shuffled-union").id)
    assert set(warm(alone, "union").variants) == {"40k", "100k"}, "it is trained for the lengths alone"
    assert alone.totals["phases"] == alone.totals["naive_phases"] - 4  # marks on one run


def test_all_of_a_chain_of_warm_ups_follow_the_chain():
    chain = (
        FILE.partition("procedural:")[0].replace("growing", "chained")
        + f"""\
chain:
  - {{name: a, procedural: {{task: set, length: {GROWS}, vocab: 20, batch: 8, tokens: 10k, optimizer: {{lr: 1e-3}}}}}}
  - {{name: b, procedural: {{task: union, length: {GROWS}, vocab: 20, batch: 8, tokens: 20k, optimizer: {{lr: 1e-3}}}}}}
  - {{name: probe, diagnostic: {{task: haystack, pairs: 4, batch: 8, tokens: 10k, optimizer: {{lr: 1e-3}}}}}}
controls: [shuffled]
"""
    )
    graph = build(chain)
    by_label = {phase.label: phase for phase in graph.phases.values() if phase.recipe.seed == 0}
    for task, more in (("set", ""), ("union", " b")):
        real = next(phase for label, phase in by_label.items() if label.startswith(task))
        control = next(phase for label, phase in by_label.items() if label.startswith(f"shuffled-{task}"))
        assert control.recipe.paced_by == real.id, more
    second = next(phase for label, phase in by_label.items() if label.startswith("shuffled-union"))
    assert second.parents[0].phase == next(p.id for label, p in by_label.items() if label.startswith("shuffled-set"))


def test_the_plan_says_that_its_tokens_are_the_most():
    graph, fixed = build(), build(**{"procedural.length": 16})
    assert graph.totals["tokens_at_most"] is True
    assert "tokens_at_most" not in fixed.totals
    assert "tokens_at_most" not in encode(fixed.to_json())
    most = {phase["variant"] for phase in graph.summary()["phases"] if phase.get("tokens_at_most")}
    assert most == {phase.variant for phase in graph.phases.values() if phase.kind == "procedural"}
    told = "\n".join(notes(graph))
    assert "union/L2..16: its sequences grow with what is mastered, so" in told
    assert "have the lengths that those of union/L2..16 had at the same steps" in told
    assert "blocks are cut to the tokens that those of union/L2..16 had" in told
    assert "more_semantic: nobody knows before how many tokens a warm-up consumes that grows or ends" in told


def test_the_plan_is_read_back_as_it_was():
    graph = build()
    text = b"".join(plan_lines(graph)).decode()
    assert json.loads(text) == json.loads(encode(graph.to_json()))
    again = plan_from_json(json.loads(text))
    assert again.phases == graph.phases
    assert again.segments() == graph.segments()


def test_controls_cost_what_only_they_need():
    share = share_of_controls(build())
    assert share is not None
    real = {phase.id for phase in build(FILE).phases.values()}
    assert set(share.without) == real


def test_blocks_too_few_for_a_step_are_told_where_they_are_written():
    with pytest.raises(SpecError) as caught:
        build(FILE + "controls: [{text: {corpus: wikitext-103, tokenizer: gpt2, batch: 3}}]\n")
    assert "3 blocks of 128 tokens have no room for the" in str(caught.value)
    assert "f.yaml:17:12: controls.0" in str(caught.value)
