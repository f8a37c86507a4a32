from __future__ import annotations

import pytest

from procray.store.store import Store
from procray.tracking import deep_link, sync, views
from procray.tracking.index import Index
from tests.tracking import mirror, synthetic


def test_views_are_tags_that_decode(store: Store) -> None:
    plan = synthetic.build(seeds=(0,))
    synthetic.finish_all(store, plan)
    sync(plan, store)
    mlflow = mirror.client(store)
    tags = mlflow.get_experiment(mirror.experiment(mlflow, plan)).tags
    found = {key: views.decode(tags[f"mlflow.sharedViewState.{key}"]) for key in (views.ALL_RUNS, views.MEANS)}
    assert [name for name, _ in found.values()] == ["All runs", "Means by variant"]
    all_runs, means = (state for _, state in found.values())
    assert all_runs["groupBy"] is None
    assert means["groupBy"]["groupByKeys"] == [{"mode": "tag", "groupByData": "variant"}]

    # Every chart draws a metric that exists, in a section that exists.
    metrics = set().union(*(run.data.metrics for run in mirror.runs(mlflow, plan).values()))
    metrics |= {"haystack/data_fraction", "haystack/tokens_to_match", "code/data_fraction", "code/tokens_to_match"}
    sections = {section["uuid"] for section in all_runs["compareRunSections"]}
    for chart in all_runs["compareRunCharts"]:
        assert chart["metricKey"] in metrics
        assert chart["metricSectionId"] in sections
    drawn = {chart["metricKey"] for chart in all_runs["compareRunCharts"] if not chart["deleted"]}
    assert not any(name.startswith("procedural/") for name in drawn)
    main = [chart for chart in all_runs["compareRunCharts"] if chart["metricKey"] == "code/loss/val"]
    assert [chart["xAxisScaleType"] for chart in main] == ["linear", "log", "linear"]
    assert main[2]["selectedXAxisMetricKey"] == "tokens/total"
    level = main[0]["range"]
    ends = [synthetic.row(plan, cell.compared, 200)["loss"] for cell in plan.cells if cell.target == "code"]
    assert level["yMin"] < min(ends)
    assert max(ends) < level["yMax"] < 4.0  # the first steps do not flatten the rest
    # The filter lets the compared runs through and nothing else.
    passed = mlflow.search_runs([mirror.experiment(mlflow, plan)], filter_string=all_runs["searchFilter"])
    assert {run.data.tags["procray.phase"] for run in passed} == {c.compared for c in plan.cells if c.fraction is None}


def test_one_diverged_run_does_not_flatten_the_others() -> None:
    plan = synthetic.build(seeds=(0, 1), targets=("code",))
    phases = [cell.compared for cell in plan.cells if cell.fraction is None]
    extents = {phase: views.Extent(2.0, 3.0) for phase in phases}
    extents[phases[0]] = views.Extent(2.0, 900.0)
    charts = views.state(Index(plan), extents, grouped=False)["compareRunCharts"]
    assert charts[0]["range"]["yMax"] < 6


def test_extent_skips_the_first_fall() -> None:
    rows = [{"tokens": t, "loss": loss} for t, loss in ((0, 9.0), (4, 8.0), (10, 5.0), (50, 4.0), (100, None))]
    assert views.extent(rows) == views.Extent(4.0, 5.0)
    assert views.extent(rows[:2]) is None


def test_another_mlflow_only_loses_the_views(monkeypatch: pytest.MonkeyPatch, store: Store) -> None:
    monkeypatch.setattr(views, "version", lambda name: "4.0.1")
    plan = synthetic.build(seeds=(0,), targets=("code",))
    synthetic.finish_all(store, plan)
    assert sync(plan, store).complete
    mlflow = mirror.client(store)
    tags = mlflow.get_experiment(mirror.experiment(mlflow, plan)).tags
    assert not any(name.startswith("mlflow.sharedViewState") for name in tags)
    assert "mlflow.note.content" in tags
    assert "viewStateShareKey" not in deep_link("http://h", "1")


def test_views_stay_under_the_limit_of_a_tag() -> None:
    targets = tuple(f"a target with a rather long name {n}" for n in range(12))
    plan = synthetic.build(seeds=(0,), targets=targets)
    found = views.tags(Index(plan), {})
    assert len(found) == 2
    assert all(len(value) <= 20_000 for value in found.values())


def test_deep_link() -> None:
    assert deep_link("http://127.0.0.1:5001/", "7") == (
        "http://127.0.0.1:5001/#/experiments/7/runs?workflowType=machine_learning"
        "&viewStateShareKey=procray-runs&compareRunsMode=CHART"
    )
