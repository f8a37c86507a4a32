"""MLflow is told the tokens that were consumed where sequences grow with what is mastered."""

from __future__ import annotations

from pathlib import Path

from procray.store.store import Store
from procray.tracking import sync
from tests import growing
from tests.tracking import mirror


def test_tokens_are_those_consumed(store: Store, tmp_path: Path) -> None:
    graph = growing.make(tmp_path)
    growing.train(graph, store)
    assert sync(graph, store).complete
    mlflow = mirror.client(store)
    runs = mirror.runs(mlflow, graph)
    kept = mlflow.search_logged_models([mirror.experiment(mlflow, graph)], max_results=100)
    models = {model.tags["procray.mark"]: model for model in kept}
    checked = 0
    for phase in graph.phases.values():
        for mark in phase.marks:
            tokens = str(store.phase(phase.id).manifest(mark)["tokens"])
            model = models[f"{phase.id}/{mark}"]
            assert (model.tags["procray.tokens"], model.params["tokens"]) == (tokens, tokens)
        if phase.parents:
            (parent,) = phase.parents
            consumed = store.phase(parent.phase).manifest(parent.step)["tokens"]
            planned = graph.phases[parent.phase]
            assert consumed < planned.nominal[parent.step]
            run = runs[phase.id]
            assert run.data.params["warmup_tokens"] == str(consumed)
            assert f"from [{planned.label} after" in run.data.tags["mlflow.note.content"]
            checked += 1
        if phase.recipe.paced_by:
            note = runs[phase.id].data.tags["mlflow.note.content"]
            assert f"the lengths that those of {graph.phases[phase.recipe.paced_by].label} (" in note
    assert checked == 2 * 2 * 3
