"""A search and what follows it, run as one: on a real Ray, in two stages, however often it is stopped."""

from __future__ import annotations

import json
import textwrap

from procray.execution import RunOptions, run
from procray.planning import plan
from procray.planning.load import load_text
from procray.selection import select

FILE = textwrap.dedent("""\
    name: tuned
    seeds: [0, 1]
    model: {layers: 1, heads: 2, width: 16}
    procedural:
      {task: identity, length: 4, vocab: 8, batch: 4, tokens: 240, optimizer: {lr: 1e-3}, evaluate: {sequences: 8}}
    transfer: attention
    diagnostic:
      {task: reverse, length: 4, vocab: 8, batch: 4, tokens: 240, evaluate: {every: 120, sequences: 32},
       optimizer: {lr: {grid: [1e-3, 1e-2, 1e30]}, clip: 0}}
    select: {axes: [lr], seeds: [7, 8]}
    """)


def test_the_search_then_the_rest_with_what_it_chose(local_ray, store, listen):
    graph = plan(load_text(FILE, "f.yaml"))
    assert all(phase.recipe.seed in (7, 8) for phase in graph.phases.values())
    stopped, _ = listen(graph, store, max_hours=0.0)
    assert stopped.out_of_time
    assert stopped.plan is graph

    result, heard = listen(graph, store, max_concurrent=1)
    found = select.read(graph, store)
    assert found.settled
    assert set(found.choices) == {"baseline", "identity/attention"}
    for variant in found.variants:
        low, high, broken = found.of(variant)
        assert (broken.state, broken.n, broken.chosen) == ("failed", 0, False)
        best = max((low, high), key=lambda cell: (cell.mean, -sum(cell.losses)))
        assert best.chosen
    (whole,) = [event["plan"] for event in heard.events if event["event"] == "chosen"]
    assert result.plan is whole
    assert {cell.seed for cell in whole.cells} == {0, 1}
    for cell in whole.cells:
        recipe = whole.phases[cell.compared].recipe
        assert recipe.optimizer.lr == found.choices[cell.variant]["diagnostic.optimizer.lr"]
        assert recipe.evaluation.split == "validation"
        assert store.phase(cell.compared).exists_mark(cell.step)
    assert len(result.failed) == 4  # two variants at two seeds
    assert all(label.startswith("tuning/") and "/lr1e30 " in label for label in result.failed)
    assert sorted([*result.done, *result.failed]) == sorted(phase.label for phase in whole.phases.values())

    file = store.plan_folder(whole.title, whole.digest) / "selection.json"
    kept = file.read_text()
    assert {v["name"]: v["chosen"] for v in json.loads(kept)["variants"]} == found.choices
    again, heard = listen(graph, store)
    assert (again.trained, again.plan.to_json()) == (0, whole.to_json())
    assert file.read_text() == kept
    assert json.loads((file.parent / "plan.json").read_text())["cells"]


def test_where_no_setting_survives_nothing_follows(local_ray, store):
    text = FILE.replace("[1e-3, 1e-2, 1e30]", "[1e29, 1e30]").replace("seeds: [7, 8]", "seeds: [7]")
    result = run(plan(load_text(text, "f.yaml")), store, RunOptions(max_concurrent=1))
    assert result.plan.cells == []
    assert len(result.failed) == 4
    assert result.done == ["identity L4 s7"]
