"""The language of sweep files: YAML with places, overlays, schema, axes and names, up to a checked `SweepSpec`."""

from __future__ import annotations

from typing import Any


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a sweep file, for editors."""
    from procray.spec.editor_schema import json_schema as build  # pydantic: only readers of YAML need it

    return build()
