"""Values as files write them: which of them mean the same, and how a message shows them."""

from __future__ import annotations

import json
from typing import Any

from procray.spec.counts import parse_count


def meaning(value: Any) -> Any:
    """Equal for values that mean the same: `2M` and 2000000."""
    if isinstance(value, bool | dict | list) or value is None:
        return json.dumps(value, sort_keys=True)
    try:
        return parse_count(value)
    except ValueError:
        return value


def show(value: Any) -> str:
    """A value as one would write it in the file."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {show(child)}" for key, child in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(show(child) for child in value) + "]"
    if isinstance(value, str):
        return f"'{value}'"
    return "null" if value is None else f"{value!r}"


def show_shortly(value: Any) -> str:
    """As `show`, at most 60 characters."""
    text = show(value)
    return text if len(text) <= 60 else text[:57] + "..."
