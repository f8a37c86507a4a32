"""What model a phase trains: its shape, and how many positions it has."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from procray.errors import ProcrayError, did_you_mean
from procray.model.families import DEFAULT, PRESETS, family
from procray.planning.data import Source, names_task
from procray.planning.inspection import Inspection
from procray.spec.cells import Pick
from procray.spec.paths import Path
from procray.spec.structure import Link, SweepSpec
from procray.training.recipe import ModelShape

_COMMON = tuple(field.name for field in fields(ModelShape) if field.name not in ("family", "more"))


def read_shape(inspection: Inspection, link: Link, pick: Pick) -> dict[str, Any] | None:
    """Layers, heads, width and the rest of a phase's model; None where they are impossible or missing."""
    if _unknown(inspection.spec, link, pick):
        return None
    merged, where = _written(inspection.spec, link, pick)
    own = family(merged.get("family", DEFAULT))
    preset = merged.pop("preset", None)
    fits = preset is None or PRESETS[preset]["family"] == own.name
    if not fits:
        other = PRESETS[preset]["family"]
        inspection.report(where["family"], pick, f"the preset {preset} is of the family {other}, not {own.name}")
    known = (*_COMMON, *own.settings)
    strange = [key for key in merged if key not in known and key != "family"] if fits else []
    for key in strange:
        message = f"a {own.title} has no '{key}'{did_you_mean(key, known)} (it has {', '.join(known)})"
        inspection.report(where[key], pick, message)
    missing = [key for key in ("layers", "heads", "width") if key not in merged]
    for key in missing:
        _report_missing(inspection, link, pick, key)
    if missing or strange or not fits:
        return None
    if merged["width"] % merged["heads"]:
        inspection.report(
            where["width"], pick, f"a width of {merged['width']} cannot be divided among {merged['heads']} heads"
        )
        return None
    try:
        shape = ModelShape.from_json({"context": 1, **merged})
    except ProcrayError as error:
        blamed = next((key for key in own.settings if key in str(error) and key in where), "width")
        inspection.report(where[blamed], pick, str(error))
        return None
    return {**{key: getattr(shape, key) for key in _COMMON}, "family": own.name, **dict(shape.more)}


def read_context(inspection: Inspection, link: Link, pick: Pick, source: Source) -> int | None:
    """The positions of the model: a task's own, or what the file asks for."""
    merged, where = _written(inspection.spec, link, pick)
    asked = merged.get("context")
    if source.positions is None:
        if asked is None and not _unknown(inspection.spec, link, pick):
            _report_missing(inspection, link, pick, "context")
        return asked
    own = where.get("context", ("model",))[0] != "model"  # the sweep's own context belongs to its text, if it has any
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
    """The model's settings, overrides applied, and where each of them stands.

    What a preset says stands where the preset does; it replaces all that was written above, and keys beside it win.
    """
    merged: dict[str, Any] = {}
    where: dict[str, Path] = {}
    for path in link.models:
        given = spec.value(path, pick) or {}
        if "preset" in given:
            merged = dict(PRESETS[given["preset"]])
            where = dict.fromkeys(merged, (*path, "preset"))
        for key, value in given.items():
            merged[key] = value
            where[key] = (*path, key)
    return merged, where


def _unknown(spec: SweepSpec, link: Link, pick: Pick) -> bool:
    """Whether a preset or a family is written that is none, which is reported: nobody knows what else it says."""
    return any(
        key not in (spec.value(path, pick) or {}) and spec.written((*path, key), pick)
        for path in link.models
        for key in ("preset", "family")
    )


def _report_missing(inspection: Inspection, link: Link, pick: Pick, key: str) -> None:
    if not any(inspection.spec.written((*path, key), pick) for path in link.models):
        there = "model" in inspection.spec.root.value
        path: Path = ("model",) if there else ()
        name = "" if there else "model."
        why = f", which {'.'.join(map(str, link.section))} needs" if key == "context" else ""
        inspection.report(path, pick, f"missing key '{name}{key}'{why}")
