from __future__ import annotations

import json
from pathlib import Path

from procray.planning import planner
from procray.planning.load import load_text
from procray.store.store import Store
from procray.tracking import backend, facts, sync
from procray.tracking.index import Index
from tests.tracking import mirror, synthetic


def test_lineage(store: Store) -> None:
    plan = synthetic.build(seeds=(0,), targets=("code",))
    synthetic.finish_all(store, plan)
    sync(plan, store)
    mlflow = mirror.client(store)
    found = mirror.runs(mlflow, plan)
    warm = plan.cells[-1].warmups[0]
    models = {m.tags["procray.mark"]: m for m in mlflow.search_logged_models([mirror.experiment(mlflow, plan)])}
    source = models[f"{warm.phase}/{warm.step}"]
    manifest = store.phase(warm.phase).manifest(warm.step)["files"]["model.safetensors"]
    assert source.tags["procray.sha256"] == manifest["sha256"]
    assert source.tags["procray.bytes"] == str(manifest["bytes"])
    assert Path(source.tags["procray.path"], "model.safetensors").is_file()
    assert source.source_run_id == found[warm.phase].info.run_id

    users = {cell.compared for cell in plan.cells if cell.warmups}
    for phase in users:
        run = mlflow.get_run(found[phase].info.run_id)
        assert [item.model_id for item in run.inputs.model_inputs] == [source.model_id]
        assert f"/models/{source.model_id}" in run.data.tags["mlflow.note.content"]
        splits = {item.dataset.name: item.tags[0].value for item in run.inputs.dataset_inputs}
        assert splits == {"files train": "train", "files validation": "validation"}
        path = mlflow.download_artifacts(run.info.run_id, "transfer.json")
        assert json.loads(Path(path).read_text())["copied"]["from"] == warm.phase
    # What makes MLflow list them on the checkpoint's page:
    listed = {metric.run_id for metric in source.metrics}
    assert listed == {found[phase].info.run_id for phase in (*users, warm.phase)}
    bare = mlflow.get_run(found[plan.cells[0].compared].info.run_id)
    assert bare.inputs.model_inputs == []
    task_data = mlflow.get_run(found[warm.phase].info.run_id).inputs.dataset_inputs[0].dataset
    assert task_data.source_type == "code"
    assert json.loads(task_data.source)["tags"]["stream"] == "train"


def test_composition_names_both_parents(store: Store) -> None:
    """A phase with two parents is listed on the pages of both."""
    from procray.training.recipe import Init, Parent

    plan = synthetic.build(seeds=(0, 1), targets=("code",))
    warm = [phase for phase in plan.phases.values() if phase.kind == "procedural"]
    init = Init({"attention": Parent(warm[0].id, 100), "mlp": Parent(warm[1].id, 50)})
    both = synthetic.planned(synthetic.recipe("semantic", synthetic.TEXT, 7, init), "both s7", [200], ["both"])
    plan.phases[both.id] = both
    synthetic.finish_all(store, plan)
    sync(plan, store)
    assert sync(plan, store).points == 0
    mlflow = mirror.client(store)
    run = mirror.runs(mlflow, plan)[both.id]
    models = {m.tags["procray.mark"]: m for m in mlflow.search_logged_models([mirror.experiment(mlflow, plan)])}
    for mark in (f"{warm[0].id}/100", f"{warm[1].id}/50"):
        assert run.info.run_id in {metric.run_id for metric in models[mark].metrics}
    assert run.data.metrics["tokens/total"] == 350_000
    assert mirror.double_points(store.path / backend.DATABASE) == []


def test_an_outside_checkpoint_is_a_model_that_lists_its_users(store: Store, tmp_path: Path) -> None:
    from procray.model import GPT2, GPT2Config, Perturbation, save_weights
    from procray.model.outside import look_up
    from procray.selection.outside import bring_outside
    from procray.training.recipe import Init, Parent, Share

    plan = synthetic.build(seeds=(0,), targets=("code",))
    save_weights(GPT2(GPT2Config(1, 1, 8, 10, 8), seed=0), tmp_path / "gpt2-tiny")
    outside = look_up({"path": str(tmp_path / "gpt2-tiny")})
    plan.outside[outside.id] = outside
    (warm,) = [phase for phase in plan.phases.values() if phase.kind == "procedural"]
    first, second = Parent(outside.id, 0), Parent(warm.id, 100)
    init = Init({"mlp": first}, shares=(Share("attention", second, None, first, 0.25),),
                perturb=Perturbation("noise", 0.05, ("mlp",)), freeze=("attention",))  # fmt: skip
    both = synthetic.planned(synthetic.recipe("semantic", synthetic.TEXT, 7, init), "both s7", [200], ["both"])
    both.parents = [second]
    plan.phases[both.id] = both
    bring_outside(plan, store)
    synthetic.finish_all(store, plan)
    sync(plan, store)
    assert sync(plan, store).points == 0
    mlflow = mirror.client(store)
    run = mlflow.get_run(mirror.runs(mlflow, plan)[both.id].info.run_id)
    models = {m.tags["procray.mark"]: m for m in mlflow.search_logged_models([mirror.experiment(mlflow, plan)])}
    model = models[f"{outside.id}/0"]
    assert (model.name, model.tags["procray.sha256"]) == ("outside gpt2-tiny", outside.digest)
    assert run.info.run_id in {metric.run_id for metric in model.metrics}
    assert {item.model_id for item in run.inputs.model_inputs} == {
        model.model_id,
        models[f"{warm.id}/100"].model_id,
    }
    note = run.data.tags["mlflow.note.content"]
    assert "**mlp + 25 % of attention** from [the outside checkpoint gpt2-tiny]" in note
    assert f"**75 % of attention** from [{warm.label} after " in note
    assert "Done to what was carried: noise 0.05, mlp only." in note
    assert "Frozen: attention." in note
    assert (run.data.params["freeze"], run.data.params["transfer"]) == ("attention", "attention+mlp")
    assert run.data.params["perturb"] == '{"components":["mlp"],"noise":0.05}'


def test_a_runs_donor_is_the_seed_of_its_warm_ups():
    text = """\
name: crossed
donors: [5, 6]
model: {layers: 1, heads: 1, width: 8, context: 16}
procedural: {task: set, length: 4, batch: 4, tokens: 1k, optimizer: {lr: 1e-3}}
diagnostic: {task: haystack, pairs: 2, batch: 4, tokens: 1k, optimizer: {lr: 1e-3}}
"""
    index = Index(planner.plan(load_text(text, "f.yaml")))
    found = {planned.label: facts.parameters(index, phase, 0).get("donor") for phase, planned in index.phases.items()}
    assert sorted(found.values(), key=str) == ["5", "6", None, None, None]
    assert found["baseline s0"] is None
    assert {label: donor for label, donor in found.items() if donor} == {
        label: label.split()[-2][1:] for label in found if " d" in label
    }
