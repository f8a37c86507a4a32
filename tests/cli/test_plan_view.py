"""What `procray plan` shows: nothing cut off, and of finished phases the tokens that they really consumed."""

from __future__ import annotations

import re

from procray.cli.plan_view import plan_json, plan_text
from procray.cli.terminal import AT_MOST, short_count
from procray.planning import plan
from procray.planning.load import load_text
from procray.store.store import Store
from tests import growing

LONG = """\
name: long
seeds: [0]
model: {layers: 1, heads: 2, width: 16, context: 128}
procedural:
  task: {mixture: {identity: 0.1, reverse: 0.1, sort: 0.1, set: 0.1, union: 0.1, delete: 0.1, queue: 0.2, stack: 0.2}}
  length: LENGTH
  vocab: 20
  batch: 8
  tokens: {grid: [10k, 20k, 30k, 40k, 50k, 60k, 70k, 80k, 90k, 100k]}
  optimizer: {lr: 1e-3}
diagnostic: {task: haystack, pairs: 4, batch: 8, tokens: 10k, optimizer: {lr: 1e-3}}
"""


def test_long_labels_and_many_marks_can_all_be_read(tmp_path):
    graph = plan(load_text(LONG.replace("LENGTH", "8"), "f.yaml"))
    said = plan_text(graph, Store(tmp_path / "store"))
    (warm,) = [phase for phase in graph.phases.values() if phase.kind == "procedural"]
    assert len(warm.label) > 64
    assert all(phase.label in said for phase in graph.phases.values())
    for step in warm.marks:
        assert re.search(rf"(?<!\S){re.escape(short_count(warm.nominal[step]))}(,|\s)", said)
    table = said[said.index("id ") : said.index("phases ")].splitlines()
    states = [line for line in table if line.endswith("new")]
    assert len(states) == len(graph.phases)
    assert len({line.index("new") for line in states}) == 1, "the columns stay below each other"


def test_what_may_be_less_is_marked_at_every_mark(tmp_path):
    text = LONG.replace("LENGTH", "{start: 2, step: 2, mastery: 0.9, max: 8}")
    text = re.sub(r"task: \{mixture.*", "task: union", text)
    said = plan_text(plan(load_text(text, "f.yaml")), Store(tmp_path / "store"))
    assert said.count(AT_MOST) == 10


def test_of_finished_phases_the_tokens_are_those_consumed(tmp_path):
    graph, store = growing.make(tmp_path), Store(tmp_path / "store")
    before = plan_text(graph, store)
    assert AT_MOST in before
    assert "finished consumed" not in before
    assert not [phase for phase in plan_json(graph, store)["phases"] if "consumed" in phase]
    growing.train(graph, store)
    said, shown = plan_text(graph, store), plan_json(graph, store)
    assert AT_MOST not in said
    by_id = {phase["id"]: phase for phase in shown["phases"]}
    total = 0
    for phase in graph.phases.values():
        tokens = int(store.phase(phase.id).manifest(phase.end)["tokens"])
        if phase.recipe.growing:
            assert by_id[phase.id]["consumed"] == tokens < phase.nominal[phase.end]
            lines = said.splitlines()
            at = next(number for number, line in enumerate(lines) if f"  {phase.label} " in f"{line} ")
            line = lines[at] if lines[at].endswith("done") else lines[at + 1]  # a long label has a line of its own
            assert f" {short_count(tokens)} " in line
            assert line.endswith("done")
            total += tokens
        else:
            assert "consumed" not in by_id[phase.id]
    (warm_ups,) = [line for line in said.splitlines() if line.startswith("warm-ups")]
    assert warm_ups.endswith(f"; those finished consumed {short_count(total)}")
