"""Saved views: the charts that MLflow's page of a sweep opens with.

MLflow keeps a shared view as a tag of the experiment, in a form that is its own business and first came
with 3.15. All knowledge of that form is here; a wrong guess costs the ready-made view and nothing else.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

from procray.tracking import facts

if TYPE_CHECKING:
    from procray.tracking.index import Index

ALL_RUNS = "procray-runs"
MEANS = "procray-means"
_TAG = "mlflow.sharedViewState."
_LONGEST = 20_000  # characters that MLflow allows in a tag of an experiment
_RUNS = 200  # drawn in one chart


class Extent(NamedTuple):
    """Where the interesting part of a loss curve lies."""

    low: float
    high: float


def extent(rows: list[dict[str, Any]]) -> Extent | None:
    """From the best loss up to the loss at a tenth of the tokens: before that every curve falls alike."""
    found = [(row["tokens"], row["loss"]) for row in rows if row["tokens"] > 0 and facts.finite(row.get("loss"))]
    if len(found) < 3:
        return None
    early = [loss for tokens, loss in found if tokens >= found[-1][0] / 10]
    return Extent(min(loss for _, loss in found), max(early))


def supported() -> bool:
    """Whether the installed MLflow has shared views in the form written here."""
    try:
        major, minor = (int(part) for part in version("mlflow").split(".")[:2])
    except (PackageNotFoundError, ValueError):
        return False
    return major == 3 and minor >= 15


def deep_link(address: str, experiment: str, view: str = ALL_RUNS) -> str:
    """The page of an experiment with its charts, opened on a saved view.

    Without `workflowType` a browser that never saw MLflow lands on its page about language-model traces.
    """
    link = f"{address.rstrip('/')}/#/experiments/{quote(experiment)}/runs?workflowType=machine_learning"
    if supported():
        link += f"&viewStateShareKey={quote(view)}"
    return link + "&compareRunsMode=CHART"


def tags(index: Index, extents: Mapping[str, Extent], created: int = 0) -> dict[str, str]:
    """The tags of the experiment that hold the two views; none where MLflow does not know them.

    Args:
        extents: of the loss curves of compared phases, as far as they are known.
        created: milliseconds since 1970, shown beside the view's name.
    """
    if not supported():
        return {}
    found = {}
    for key, name, grouped in ((ALL_RUNS, "All runs", False), (MEANS, "Means by variant", True)):
        value = encode(name, state(index, extents, grouped), created)
        if len(value) <= _LONGEST:
            found[_TAG + key] = value
    return found


def encode(name: str, content: dict[str, Any], created: int = 0) -> str:
    """A view as MLflow stores it: JSON around deflated JSON."""
    packed = base64.b64encode(zlib.compress(json.dumps(content, sort_keys=True).encode(), 9)).decode()
    return json.dumps({"name": name, "createdAt": created, "updatedAt": created, "state": f"deflate;{packed}"})


def decode(value: str) -> tuple[str, dict[str, Any]]:
    """The inverse of `encode`."""
    outer = json.loads(value)
    kind, _, packed = outer["state"].partition(";")
    if kind != "deflate":
        raise ValueError(f"a view in an unknown form: {kind!r}")
    return outer["name"], json.loads(zlib.decompress(base64.b64decode(packed)))


def state(index: Index, extents: Mapping[str, Extent], grouped: bool) -> dict[str, Any]:
    """The state of MLflow's chart page: which runs, which columns, which charts."""
    sections: list[dict[str, Any]] = []
    charts: list[dict[str, Any]] = []
    columns = ["tags.`variant`", "params.`seed`"]

    def section(name: str) -> str:
        key = f"section-{len(sections)}"
        made = {"uuid": key, "name": name, "display": True, "isReordered": True, "deleted": False, "isGenerated": False}
        sections.append(made)
        return key

    def chart(where: str, kind: str, metric: str, **more: Any) -> None:
        common = {
            "uuid": f"chart-{len(charts)}",
            "type": kind,
            "runsCountToCompare": _RUNS,
            "metricSectionId": where,
            "deleted": False,
            "isGenerated": False,
            "displayName": metric,
            "metricKey": metric,
        }
        charts.append(common | (_LINE if kind == "LINE" else {}) | more)

    tails = _one_of_each_target(index)

    def title(words: str, phase: str) -> str:
        target = facts.cells_of(index, phase)[0].target
        return f"{words}: {target}" if target else words

    for phase in tails:
        diagnostic = facts.is_diagnostic(index, phase)
        curve = facts.metric(index, phase, "accuracy/val" if diagnostic else "loss/val")
        level = _ACCURACIES if diagnostic else _loss_range(index, phase, extents)
        here = section(title("Data efficiency", phase))
        chart(here, "LINE", curve, range=level)
        chart(here, "LINE", curve, range=level, xAxisScaleType="log")
        chart(here, "LINE", curve, range=level, xAxisKey="metric", selectedXAxisMetricKey=facts.TOTAL)
    for phase in tails:
        here = section(title("Results", phase))
        final, *rest = ("final_accuracy", facts.FINAL) if facts.is_diagnostic(index, phase) else (facts.FINAL,)
        for name in (final, "data_fraction", "tokens_to_match", *rest, facts.START):
            chart(here, "BAR", facts.summary(index, phase, name))
        columns += [f"metrics.`{facts.summary(index, phase, name)}`" for name in (final, "data_fraction")]
    here = section("Training")
    for phase in tails:
        if facts.is_diagnostic(index, phase):
            chart(here, "LINE", facts.metric(index, phase, "loss/val"))
        elif "task" in index.phases[phase].recipe.data:
            chart(here, "LINE", facts.metric(index, phase, "accuracy/val"))
        chart(here, "LINE", facts.metric(index, phase, "loss/train"))
    chart(here, "LINE", "optim/lr")
    chart(here, "LINE", "perf/tokens_per_s")
    # MLflow adds a chart for every metric that has none; this one is an axis.
    chart(here, "LINE", facts.TOTAL, deleted=True)
    columns += [f"params.`{name}`" for name in ("task", "length", "warmup_tokens", "transfer", "target")]
    return {
        "searchFilter": "tags.`procray.role` = 'compared'",
        "orderByKey": "attributes.start_time",
        "orderByAsc": True,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": columns,
        "columnOrder": [],
        "columnWidths": {},
        "runsHiddenMode": "SHOW_ALL",
        "compareRunCharts": charts,
        "compareRunSections": sections,
        "viewMaximized": False,
        "runListHidden": False,
        "isAccordionReordered": True,
        "useGroupedValuesInCharts": True,
        "hideEmptyCharts": True,
        "groupBy": _BY_VARIANT if grouped else None,
        "groupsExpanded": {},
        "globalLineChartConfig": {"xAxisKey": "step", "lineSmoothness": 0, "selectedXAxisMetricKey": ""},
        "chartsSearchFilter": "",
    }


_BY_VARIANT = {"aggregateFunction": "average", "groupByKeys": [{"mode": "tag", "groupByData": "variant"}]}
_ACCURACIES = {"yMin": -0.02, "yMax": 1.02}
_LINE = {
    "lineSmoothness": 0,
    "xAxisScaleType": "linear",
    "scaleType": "linear",
    "range": {},
    "xAxisKey": "step",
    "selectedXAxisMetricKey": "",
    "yAxisKey": "metric",
    "yAxisExpressions": [],
    "ignoreOutliers": False,
    "useGlobalXaxisKey": False,
    "useGlobalLineSmoothing": True,
}


def _one_of_each_target(index: Index) -> list[str]:
    """A full-length compared phase of every target."""
    found: dict[str, str] = {}
    for cell in index.plan.cells:
        if cell.fraction is None:
            found.setdefault(cell.target, cell.compared)
    return list(found.values())


def _loss_range(index: Index, phase: str, extents: Mapping[str, Extent]) -> dict[str, float]:
    """The losses to show of a target, rounded outwards so that a running sweep seldom changes them."""
    target = facts.cells_of(index, phase)[0].target
    phases = {cell.compared for cell in index.plan.cells if cell.target == target and cell.fraction is None}
    known = [extents[phase] for phase in sorted(phases) if phase in extents]
    if not known:
        return {}
    low, high = min(item.low for item in known), _most(item.high for item in known)
    step = 0.1 if high - low > 0.5 else 0.02
    return {"yMin": round((low // step) * step - step / 2, 4), "yMax": round((high // step + 1) * step, 4)}


def _most(values: Iterable[float]) -> float:
    """The median's double distance at most: one diverged run must not flatten all the others."""
    found = sorted(values)
    middle, first = found[len(found) // 2], found[0]
    return min(found[-1], middle + 2 * (middle - first) + 0.1 * abs(middle))
