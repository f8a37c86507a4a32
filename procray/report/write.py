"""Writes the report of a sweep into its folder in the store."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from procray.errors import StoreError
from procray.files import canonical_json, digest, read_json, write_atomic, write_json
from procray.records import check, is_plain
from procray.report.analysis_section import look_inside, section
from procray.report.interchange import results_json
from procray.report.lineage import lineage_svg
from procray.report.page import page
from procray.report.results import Results, Variant, summarise
from procray.report.runs import Run
from procray.report.settings import settings_of

if TYPE_CHECKING:
    from procray.planning.plan import Plan
    from procray.store.store import Store

LOOK = 2  # raised when the same numbers are drawn or written otherwise than before
_STATE = "made-from.json"


@dataclass(frozen=True)
class ReportPaths:
    """Where the report stands. `pictures` are the PNG and SVG of every picture; not `fresh` when nothing changed."""

    folder: Path
    page: Path
    json: Path
    csv: Path
    curves: Path
    lineage: Path
    pictures: tuple[Path, ...]
    results: Results
    fresh: bool

    def files(self) -> list[Path]:
        """Every file of the report, for copying or uploading."""
        return [self.page, self.json, self.csv, self.curves, self.lineage, *self.pictures]


def write_report(
    plan: Plan,
    store: Store,
    folder: Path | None = None,
    file: str | None = None,
    *,
    analyze: bool = False,
    say: Callable[[str], None] = lambda text: None,
) -> ReportPaths:
    """Writes page, pictures and tables; each file is replaced as a whole.

    Works at any time: what is not finished is marked as such. The same store gives the same page, drawings and
    tables byte for byte, and where nothing has changed since the last report nothing is drawn again.

    Args:
        folder: in place of `report/` in the sweep's folder of the store.
        file: the sweep file as the user named it, for the commands in the page.
        analyze: look inside models that nobody has looked into yet, saying so to `say`.
    """
    folder = folder or store.sweep_folder(plan.name, plan.scale) / "report"
    results = summarise(plan, store)
    settings = settings_of(plan, store, file or f"sweeps/{plan.name}.yaml")
    numbers = results_json(results)
    curves, lineage = _curves_csv(results), lineage_svg(plan, store)
    inner = look_inside(results, plan, store, file or f"sweeps/{plan.name}.yaml", analyze, say)
    made_from = digest([LOOK, _version(), canonical_json(numbers), curves, lineage, repr(settings), *inner.key], 32)
    known = _known(folder)
    if known.get("digest") == made_from and all((folder / name).exists() for name in known.get("files", [])):
        pictures = tuple(folder / name for name in known["files"] if name.startswith("figures/"))
        return _paths(folder, results, pictures, fresh=False)

    from procray.report.figures import pictures as draw  # matplotlib only when there is something to draw

    drawn = draw(results)
    inside, more = section(inner, results, store)
    files: dict[str, bytes | str] = {}
    for picture in (*drawn, *more):
        files[f"figures/{picture.name}.png"] = picture.png
        files[f"figures/{picture.name}.svg"] = picture.svg
    files["lineage.svg"] = lineage
    files["results.csv"] = _results_csv(results)
    files["curves.csv"] = curves
    files["report.html"] = page(results, drawn, lineage, settings, inside)
    for name, content in files.items():
        write_atomic(folder / name, content)
    write_json(folder / "results.json", numbers)
    names = [*files, "results.json"]
    write_json(folder / _STATE, {"digest": made_from, "files": names})
    for name in set(known["files"]) - set(names):  # a picture of an earlier report
        (folder / name).unlink(missing_ok=True)
    if folder.is_relative_to(store.path):
        store.publish(folder)
    return _paths(folder, results, tuple(folder / name for name in names if name.startswith("figures/")), fresh=True)


def _own(name: Any) -> str:
    """As a form: a file of the report, which may be removed. Nothing else is, whatever the list says."""
    parts = name.split("/") if isinstance(name, str) else []
    return "" if parts and all(map(is_plain, parts)) and len(parts) <= 2 else "no file of a report"


_FORM = {"digest?": str, "files": [_own]}


def _known(folder: Path) -> dict[str, Any]:
    try:
        return dict(check(read_json(folder / _STATE), _FORM, _STATE))
    except (OSError, ValueError, StoreError):
        return {"files": []}


def _paths(folder: Path, results: Results, pictures: tuple[Path, ...], fresh: bool) -> ReportPaths:
    return ReportPaths(
        folder,
        folder / "report.html",
        folder / "results.json",
        folder / "results.csv",
        folder / "curves.csv",
        folder / "lineage.svg",
        pictures,
        results,
        fresh,
    )


def _version() -> str:
    try:
        return version("procray") + version("matplotlib")
    except PackageNotFoundError:
        return ""


def _results_csv(results: Results) -> str:
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


def _curves_csv(results: Results) -> str:
    """One row an evaluation of every run, matched reruns included (their `fraction` is below 1)."""
    rows: list[dict[str, Any]] = []
    for variant in results.variants:
        for run in variant.runs:
            rows += _curve_rows(variant, run, 1.0)
        for point in variant.points:
            for run in point.runs:
                rows += _curve_rows(variant, run, point.fraction)
    return _table(rows)


def _curve_rows(variant: Variant, run: Run, fraction: float) -> list[dict[str, Any]]:
    curve = run.curve
    columns = zip(curve.steps, curve.tokens, curve.loss, curve.accuracy, curve.flops, curve.unique, strict=True)
    return [
        {
            "target": variant.target,
            "variant": variant.name,
            "seed": run.seed,
            "fraction": fraction,
            "phase": run.phase,
            "step": step,
            "tokens": tokens,
            "tokens_total": variant.t1 + tokens,
            "loss": _number(loss),
            "accuracy": _number(accuracy),
            "flops_total": _number(flops + run.warmup_flops),
            "unique_tokens": _number(unique),
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
