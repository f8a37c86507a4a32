"""What model a phase trains: its shape, and how many positions it has."""

from __future__ import annotations

from typing import Any

from procray.planning.data import Source, names_task
from procray.planning.inspection import Inspection
from procray.spec.axes import Path, Pick
from procray.spec.structure import Link, SweepSpec


def read_shape(inspection: Inspection, link: Link, pick: Pick) -> dict[str, Any] | None:
    """Layers, heads, width and the rest of a phase's model; None where they are impossible or missing."""
    merged, where = _written(inspection.spec, link, pick)
    missing = [key for key in ("layers", "heads", "width") if key not in merged]
    for key in missing:
        _report_missing(inspection, link, pick, key)
    if missing:
        return None
    if merged["width"] % merged["heads"]:
        inspection.report(
            where["width"], pick, f"a width of {merged['width']} cannot be divided among {merged['heads']} heads"
        )
        return None
    return {"tied": True, "dropout": 0.0, **merged}


def read_context(inspection: Inspection, link: Link, pick: Pick, source: Source) -> int | None:
    """The positions of the model: a task's own, or what the file asks for."""
    merged, where = _written(inspection.spec, link, pick)
    asked = merged.get("context")
    if source.positions is None:
        if asked is None:
            _report_missing(inspection, link, pick, "context")
        return asked
    own = where.get("context") != ("model", "context")  # the sweep's own context belongs to its text, if it has any
    text = any(not names_task(other) for tail in inspection.spec.tails for other in tail.links)
    if asked is None or (not own and (text or link.kind == "procedural")):
        return source.positions
    if asked < source.positions:
        inspection.report(
            where["context"],
            pick,
            f"a context of {asked} is smaller than the {source.positions} positions that {source.label} needs",
        )
    return asked if own else source.positions


def _written(spec: SweepSpec, link: Link, pick: Pick) -> tuple[dict[str, Any], dict[str, Path]]:
    """The model's settings, overrides applied, and where each of them stands."""
    merged: dict[str, Any] = {}
    where: dict[str, Path] = {}
    for path in link.models:
        for key, value in (spec.value(path, pick) or {}).items():
            merged[key] = value
            where[key] = (*path, key)
    return merged, where


def _report_missing(inspection: Inspection, link: Link, pick: Pick, key: str) -> None:
    if not any(inspection.spec.written((*path, key), pick) for path in link.models):
        there = "model" in inspection.spec.root.value
        path: Path = ("model",) if there else ()
        name = "" if there else "model."
        why = f", which {'.'.join(map(str, link.section))} needs" if key == "context" else ""
        inspection.report(path, pick, f"missing key '{name}{key}'{why}")
