"""A sweep with a search in MLflow: first the settings tried, then everything else beside them."""

from __future__ import annotations

from dataclasses import replace

from procray.planning.plan import Plan, Trial
from procray.store.store import Store
from procray.tracking import sync
from tests.tracking import mirror, synthetic


def stages() -> tuple[Plan, Plan]:
    """The search alone, and the whole plan after it."""
    tried, rest = synthetic.build(seeds=(7,)), synthetic.build(seeds=(0,))
    trials = [
        Trial(cell.variant, {"lr": 1e-3}, "lr1e-3", 7, cell.target, cell.compared, cell.step, cell.baseline)
        for cell in tried.cells
        if cell.fraction is None
    ]
    search = {"axes": ["lr"], "seeds": [7], "by": "best"}
    first = replace(tried, cells=[], trials=trials, search=search)
    return first, replace(rest, phases={**tried.phases, **rest.phases}, trials=trials, search=search)


def test_settings_tried_stay_and_are_never_drawn_beside_results(store: Store) -> None:
    first, whole = stages()
    synthetic.finish_all(store, first)
    assert sync(first, store).complete
    mlflow = mirror.client(store)
    before = mirror.runs(mlflow, first)
    assert before.keys() >= first.phases.keys()

    synthetic.finish_all(store, whole)
    assert sync(whole, store).complete
    after = mirror.runs(mlflow, whole)
    assert after.keys() >= whole.phases.keys()
    for trial in whole.trials:
        run = after[trial.compared]
        assert run.info.run_id == before[trial.compared].info.run_id
        assert run.data.tags["procray.role"] == "tuning"
        assert f"tuning/{trial.target}/loss/val" in run.data.metrics
        assert not any(name.startswith(f"{trial.target}/") for name in run.data.metrics)
    roles = {after[cell.compared].data.tags["procray.role"] for cell in whole.cells if cell.fraction is None}
    assert roles == {"compared"}
