"""Outside checkpoints in the store, and phases that begin with them."""

from __future__ import annotations

import json
import textwrap
import threading

import pytest
import torch
from safetensors.torch import load_file

from procray.errors import StoreError
from procray.execution import run_segment
from procray.execution.agenda import Agenda
from procray.execution.runner import _items
from procray.model import GPT2, GPT2Config, component_of, load_weights, save_weights
from procray.planning.load import load_text
from procray.planning.plan import Plan
from procray.planning.plan_json import plan_from_json
from procray.planning.planner import plan
from procray.selection import outside as room
from procray.selection.outside import bring_outside
from procray.store.store import Store

TEXT = """\
name: outside
model: {layers: 2, heads: 2, width: 16}
procedural: {task: set, length: 6, vocab: 12, batch: 4, tokens: 200, optimizer: {lr: 1e-3}}
transfer: {attention: {path: PATH}, mlp: procedural}
diagnostic: {task: haystack, pairs: 2, batch: 4, tokens: 200, optimizer: {lr: 1e-3}}
"""


@pytest.fixture
def gpt2(tmp_path):
    torch.set_num_threads(1)
    folder = tmp_path / "gpt2-tiny"
    save_weights(GPT2(GPT2Config(2, 2, 16, 60, 40), seed=7), folder)
    return folder


def build(text, gpt2) -> Plan:
    return plan(load_text(text.replace("PATH", str(gpt2)), "f.yaml"))


def train(graph: Plan, store: Store, tmp_path) -> None:
    bring_outside(graph, store)
    agenda = Agenda(_items(graph, store, tmp_path, tmp_path), store)
    while (item := agenda.next()) is not None:
        result = run_segment({**item.job, "control": None, "driver": None}, lambda: False)
        assert result["state"] == "done", result
        agenda.report(item.key, result)
    assert agenda.finished()


def test_the_plan_lists_it_and_phases_need_it(gpt2):
    graph = build(TEXT, gpt2)
    (outside,) = graph.outside.values()
    assert outside.name == "gpt2-tiny"
    assert plan_from_json(json.loads(json.dumps(graph.to_json()))) == graph
    (cell,) = [cell for cell in graph.cells if not cell.is_baseline]
    phase = graph.phases[cell.compared]
    assert phase.recipe.init.components["attention"].phase == outside.id
    assert [parent.phase for parent in phase.parents] == [cell.warmups[0].phase]  # of the plan's own phases
    (segment,) = [one for one in graph.segments() if one.phase == phase.id]
    assert (outside.id, 0) in segment.needs
    with pytest.raises(StoreError, match=f"from step 0 of phase {outside.id}, which nothing makes"):
        Agenda(_items(graph, Store(gpt2.parent / "store"), gpt2, gpt2), Store(gpt2.parent / "store"))


def test_a_phase_begins_with_its_weights_and_tells_its_digest(gpt2, tmp_path):
    graph, store = build(TEXT, gpt2), Store(tmp_path / "store")
    train(graph, store, tmp_path)
    (cell,) = [cell for cell in graph.cells if not cell.is_baseline]
    told = json.loads((store.phase(cell.compared).mark(cell.step) / "transfer.json").read_text())
    (outside,) = graph.outside.values()
    for name, entry in told["parameters"].items():
        if component_of(name) == "attention":
            assert (entry["from"], entry["digest"]) == ("gpt2-tiny (outside)", outside.digest)
    folder = store.phase(outside.id)
    assert folder.status()["state"] == "done"
    assert folder.description()["kind"] == "outside"
    assert folder.marks() == [0]
    theirs, _ = load_weights(gpt2)
    ours = load_file(folder.mark(0) / "model.safetensors")
    assert all(torch.equal(ours[name], value) for name, value in theirs.items())


def test_without_a_warm_up_there_is_a_baseline_to_compare_with(gpt2):
    lines = [line for line in TEXT.splitlines() if not line.startswith("procedural")]
    text = "\n".join(lines).replace("mlp: procedural", "mlp: none")
    graph = build(text, gpt2)
    assert graph.variants == ["baseline", "attention=gpt2-tiny,mlp=none"]
    inits = {cell.variant: graph.phases[cell.compared].recipe.init for cell in graph.cells}
    assert inits["baseline"].parents() == []
    assert list(inits["attention=gpt2-tiny,mlp=none"].components) == ["attention"]


def test_several_commands_bring_it_in_once(gpt2, tmp_path, monkeypatch):
    graph, store = build(TEXT, gpt2), Store(tmp_path / "store")
    done = []
    real = room.bring_in
    monkeypatch.setattr(room, "bring_in", lambda *given: done.append(1) or real(*given))
    monkeypatch.setattr(room, "_LOOK_AGAIN", 0.01)
    threads = [threading.Thread(target=bring_outside, args=(graph, store)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert done == [1]
    bring_outside(graph, store)
    assert done == [1]


def test_a_damaged_copy_is_refused(gpt2, tmp_path):
    graph, store = build(TEXT, gpt2), Store(tmp_path / "store")
    bring_outside(graph, store)
    (outside,) = graph.outside
    weights = store.phase(outside).mark(0) / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"1234")
    with pytest.raises(StoreError, match="is damaged"):
        bring_outside(graph, store)


def test_nothing_is_left_of_a_checkpoint_that_changed(gpt2, tmp_path):
    graph, store = build(TEXT, gpt2), Store(tmp_path / "store")
    save_weights(GPT2(GPT2Config(2, 2, 16, 60, 40), seed=8), gpt2)
    with pytest.raises(StoreError, match="has changed meanwhile"):
        bring_outside(graph, store)
    (outside,) = graph.outside
    assert store.phase(outside).marks() == []
    assert store.phase(outside).acquire() is not None  # and nobody holds it


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((2, 2, 32, 60, 40), "models of different width: gpt2-tiny has 32, diagnostic has 16"),
        ((3, 2, 16, 60, 40), "models of different layers: gpt2-tiny has 3, diagnostic has 2; 'layers' maps them"),
        ((2, 4, 16, 60, 40), "models of different heads: gpt2-tiny has 4, diagnostic has 2"),
    ],
)
def test_another_shape_is_told_when_the_file_is_read(gpt2, shape, message):
    save_weights(GPT2(GPT2Config(*shape), seed=1), gpt2)
    with pytest.raises(Exception, match=message):
        build(TEXT, gpt2)
    if shape[0] == 3:
        build(textwrap.dedent(TEXT).replace("{path: PATH}", "{path: PATH, layers: {0: 2, 1: 0}}"), gpt2)
