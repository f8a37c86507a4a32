"""The results and the curves as CSV."""

from __future__ import annotations

import csv
import io
from typing import Any

from procray.files import canonical_json
from procray.report.numbers.interchange import results_json
from procray.report.numbers.results import Results
from procray.report.numbers.runs import Run


def results_csv(results: Results) -> str:
    """One row a variant; an empty field is a number that does not exist, and the state columns say why."""
    rows = [_flat(entry) for entry in results_json(results)["variants"]]
    return _table(rows)


def _flat(entry: dict[str, Any]) -> dict[str, Any]:
    """Nested mappings as `a.b`; lists of cells have their own files or columns elsewhere."""
    flat: dict[str, Any] = {}
    for name, value in entry.items():
        if name in ("per_seed", "matched_points", "stages"):
            continue
        if name in ("axes", "labels", "warmup_shares"):
            flat[name] = canonical_json(value)
        elif isinstance(value, dict):
            flat.update({f"{name}.{key}": inner for key, inner in _flat(value).items()})
        else:
            flat[name] = value
    return flat


def curves_csv(results: Results) -> str:
    """One row an evaluation of every run, matched reruns included (their `fraction` is below 1).

    Warm-ups stand last, with an empty target and `warm-up` for their role.
    """
    rows: list[dict[str, Any]] = []
    for variant in results.variants:
        for run in variant.runs:
            rows += _rows(variant.target, variant.name, run, 1.0)
        for point in variant.points:
            for run in point.runs:
                rows += _rows(variant.target, variant.name, run, point.fraction)
    for warmup in results.warmups:
        for run in warmup.runs:
            rows += [{**row, "role": "warm-up"} for row in _rows("", warmup.name, run, 1.0)]
    return _table(rows)


def _rows(target: str, name: str, run: Run, fraction: float) -> list[dict[str, Any]]:
    curve = run.curve
    columns = zip(curve.steps, curve.tokens, curve.loss, curve.accuracy, curve.flops, curve.unique, strict=True)
    return [
        {
            "target": target,
            "variant": name,
            "seed": run.seed,
            "donor": "" if run.donor is None else run.donor,
            "fraction": fraction,
            "phase": run.phase,
            "step": step,
            "tokens": tokens,
            "tokens_total": run.warmup_tokens + tokens,
            "loss": _number(loss),
            "accuracy": _number(accuracy),
            "flops_total": _number(flops + run.warmup_flops),
            "unique_tokens": _number(unique),
            "role": "target",
        }
        for step, tokens, loss, accuracy, flops, unique in columns
    ]


def _number(value: float) -> float | str:
    return "" if value != value else value


def _table(rows: list[dict[str, Any]]) -> str:
    text = io.StringIO()
    names = list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.DictWriter(text, names, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
