"""Short names of values, of which the names of variants consist."""

from __future__ import annotations

import re
from typing import Any

from procray.sweep.counts import format_count
from procray.sweep.grid import Axis

# Keys whose values are counts of tokens, shown without their key.
_TOKENS = ("tokens", "batch_tokens", "every", "warmup")


def name_values(axes: list[Axis]) -> None:
    """Gives every value of every axis the short label that stands in names of variants."""
    for i, axis in enumerate(axes):
        key = str(axis.path[-1])
        clash = any(other.path[-1] == key and other.varies and _meet(axis, other) for other in axes[:i])
        sections = [part for part in axis.name.split(".")[:-1] if part != "optimizer"]
        prefix = f"{sections[-1]}-" if clash and sections else ""
        common = _common(axis.values)
        labels = [prefix + label(key, value, common) for value in axis.values]
        axis.labels = [f"{text}-{n}" if labels.count(text) > 1 else text for n, text in enumerate(labels, 1)]


def _meet(one: Axis, other: Axis) -> bool:
    """Whether two axes can matter to the same chain."""
    if one.path[0] == "targets" and other.path[0] == "targets":
        return one.path[1] == other.path[1]
    return not (other.path == ("transfer",) and one.path[0] == "targets")


def _common(values: list[Any]) -> dict[str, Any]:
    """The entries that all of several mappings share: they tell nothing apart."""
    if len(values) < 2 or not all(isinstance(value, dict) for value in values):
        return {}
    return {
        key: value
        for key, value in values[0].items()
        if all(key in other and other[key] == value for other in values[1:])
    }


def label(key: str, value: Any, common: dict[str, Any] | None = None) -> str:
    """A short name of one value: `L64`, `L2-24`, `2M`, `lr5e-4`, `full`, `attention=set,mlp=eca`."""
    text = _label(key, value, common or {})
    return re.sub(r"[^A-Za-z0-9._+=,-]+", "-", text)


def _label(key: str, value: Any, common: dict[str, Any]) -> str:
    if isinstance(value, bool):
        return key if value else f"no-{key}"
    if isinstance(value, str):
        return value
    if key == "length":
        return f"L{_length(value)}"
    if key in _TOKENS and isinstance(value, int):
        return format_count(value)
    if isinstance(value, int | float):
        return key + short_number(value)
    if isinstance(value, list):
        return "-".join(_label(key, item, {}) for item in value)
    if not isinstance(value, dict):
        return f"{key}{value}"
    if key == "transfer":
        return ",".join(f"{component}={parent}" for component, parent in value.items())
    if "mixture" in value:
        return "+".join(f"{name}{short_number(weight)}" for name, weight in value["mixture"].items())
    if "shuffled" in value:
        return f"shuffled-{_label(key, value['shuffled'], {})}"
    for name in ("hf", "name"):  # corpora
        if name in value:
            return str(value[name])
    parts = [_label(name, child, {}) for name, child in value.items() if name not in common]
    return "-".join(parts) or key


def _length(value: Any) -> str:
    if isinstance(value, dict):
        low = value.get("min", value.get("start", "?"))
        return f"{low}{'-' if 'min' in value else '..'}{value.get('max', '?')}"
    return str(value)


def short_number(value: int | float) -> str:
    """`5e-4`, `0.1`, `3`."""
    if isinstance(value, int) or value.is_integer():
        return str(int(value))
    text = f"{value:g}"
    plainly = text if "e" not in text else re.sub(r"e([+-])0*", lambda m: "e" + m[1].replace("+", ""), text)
    if abs(value) < 0.01 and "e" not in plainly:
        mantissa, exponent = f"{value:e}".split("e")
        plainly = f"{float(mantissa):g}e{int(exponent)}"
    return plainly if float(plainly) == value else repr(value)
