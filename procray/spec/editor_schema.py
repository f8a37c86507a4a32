"""The JSON Schema of a sweep file, by which editors complete and check it."""

from __future__ import annotations

from typing import Any

from procray.spec.sections import GRIDS, Sweep


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a sweep file, for editors: every value of a section may also be a grid.

    What an overlay may complete is not required, so a file that passes may still miss a key.
    """
    schema = Sweep.model_json_schema()
    definitions = schema.pop("$defs")
    for name, definition in definitions.items():
        if name not in ("Resources", "Published", "Select"):
            fixed = ("name", "resources")
            definition["properties"] = {
                key: value if key in fixed else _or_grid(value) for key, value in definition["properties"].items()
            }
    properties = {
        key: _or_grid(value) if key in GRIDS and key not in ("targets", "chain") else value
        for key, value in schema["properties"].items()
    }
    overlay = {key: value for key, value in properties.items() if key not in ("name", "scales")}
    definitions["Overlay"] = {
        "type": "object",
        "description": "What differs at this scale: sections merge, values replace, null removes a key.",
        "properties": {key: {"anyOf": [value, {"type": "null"}]} for key, value in overlay.items()},
        "additionalProperties": False,
    }
    properties["scales"] = {
        "type": "object",
        "description": "named overlays; the first is the default",
        "additionalProperties": {"$ref": "#/$defs/Overlay"},
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A procray sweep",
        "type": "object",
        "properties": properties,
        "required": ["name"],
        "additionalProperties": False,
        "$defs": definitions,
    }


def _or_grid(value: dict[str, Any]) -> dict[str, Any]:
    about: dict[str, Any] = {key: value[key] for key in ("title", "description") if key in value}
    inner = {key: child for key, child in value.items() if key not in ("title", "description", "default")}
    grid = {
        "type": "object",
        "properties": {"grid": {"type": "array", "items": inner, "minItems": 1}},
        "required": ["grid"],
        "additionalProperties": False,
    }
    return {**about, "anyOf": [inner, grid]}
