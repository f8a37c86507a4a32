"""What may stand behind `sequences_from:`."""

from __future__ import annotations

from typing import Any

from procray.errors import did_you_mean
from procray.spec.parts import count_at, known_keys, wrong

_OF_FILES = ("path", "field", "cut")
_OF_HUB = ("hf", "config", "split", "revision", "rows")


def sequences_from(value: Any) -> dict[str, Any]:
    """`{path: ..., field: ..., cut: ...}`, or the path alone; or `{hf: ...}` with what says which of a hub dataset."""
    expected = "expected a path, {path: ..., field: ..., cut: ...} or {hf: NAME, split: ..., field: ..., cut: ...}"
    given = {"path": value} if isinstance(value, str) else value
    if not isinstance(given, dict):
        raise wrong(expected, "sequences_from")
    known = ("path", "hf", *_OF_FILES[1:], *_OF_HUB[1:])
    given = known_keys(given, known, "sequences_from")
    for key in given:
        if key not in known:
            raise wrong(f"unknown key '{key}'{did_you_mean(key, known)}", "sequences_from", key)
    if "path" in given and "hf" in given:
        raise wrong("'hf' stands in place of 'path'", "sequences_from", "hf")
    if "path" not in given and "hf" not in given:
        raise wrong("missing key 'path', or 'hf' for a hub dataset", "sequences_from")
    for key in given:
        if key in _OF_HUB and "hf" not in given:
            raise wrong(f"'{key}' belongs to a hub dataset, {{hf: NAME}}", "sequences_from", key)
        if key not in ("cut", "rows") and not (isinstance(given[key], str) and given[key]):
            raise wrong("expected text", "sequences_from", key)
    counts: dict[str, Any] = {
        key: count_at(given[key], "sequences_from", key) for key in ("cut", "rows") if key in given
    }
    if counts.get("rows", 1) < 1:
        raise wrong("must be at least 1", "sequences_from", "rows")
    return {**given, **counts}
