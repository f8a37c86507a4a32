"""Short names of values, of which the names of variants consist.

A label follows from its value, not from the values beside it, so that another value of a grid renames none of them.
"""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import Any

from procray.files import digest
from procray.model.components import show_heads, show_layers
from procray.spec.axes import Axis
from procray.spec.counts import format_count

# Keys whose values are counts of tokens, shown without their key.
TOKENS = ("tokens", "batch_tokens", "every", "warmup")
_LONGEST = 80


def name_values(axes: list[Axis]) -> None:
    """Gives every value of every axis the short label that stands in names of variants."""
    for i, axis in enumerate(axes):
        key = "mix" if axis.path[-2:] == ("mix", "share") else str(axis.path[-1])
        clash = any(other.path[-1] == axis.path[-1] and _meet(axis, other) for other in axes[:i])
        prefix = _section(axis) if clash else ""
        if "transfer" in axis.path[:-1]:  # inside a composition: the component says what the value is about
            component, *below = axis.path[axis.path.index("transfer") + 1 :]
            labels = [_safe(_inside(str(component), list(map(str, below)), value)) for value in axis.values]
        else:
            labels = [prefix + label(key, value) for value in axis.values]
        told: dict[str, set[str]] = {}
        for text, value in zip(labels, axis.values, strict=True):
            told.setdefault(text, set()).add(digest(value))
        axis.labels = [
            f"{text}-{digest(value)[:4]}" if len(told[text]) > 1 else text
            for text, value in zip(labels, axis.values, strict=True)
        ]


def _section(axis: Axis) -> str:
    """What tells an axis from others of the same key: `diagnostic-`; in a chain the name or number of the phase."""
    above = axis.name.split(".")[:-1]
    if axis.path[0] == "chain":
        name = above[1]
        return f"{above[2] if len(above) > 2 else 'phase'}{int(name) + 1}-" if name.isdigit() else f"{name}-"
    sections = [part for part in above if part != "optimizer"]
    return f"{sections[-1]}-" if sections else ""


def _meet(one: Axis, other: Axis) -> bool:
    """Whether two axes can matter to the same chain."""
    if one.path[0] == "targets" and other.path[0] == "targets":
        return one.path[1] == other.path[1]
    return not (other.path == ("transfer",) and one.path[0] == "targets")


def label(key: str, value: Any) -> str:
    """A short name of one value: `L64`, `L2-24`, `2M`, `lr5e-4`, `full`, `attention=set,mlp=eca`."""
    text = _safe(_label(key, value))
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 7]}-{digest(value)[:6]}"


def _safe(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._+=,-]+", "-", text)


def _label(key: str, value: Any) -> str:
    if key == "freeze":
        return f"freeze-{'+'.join(value)}" if value else "unfrozen"
    if key == "perturb":
        return _perturbation(value) if value else "intact"
    if isinstance(value, bool):
        return key if value else f"no-{key}"
    if isinstance(value, str):
        return value
    if key == "length":
        return f"L{_length(value)}"
    if key in TOKENS and isinstance(value, int):
        return format_count(value)
    if isinstance(value, int | float):
        return key + short_number(value)
    if isinstance(value, list):
        return "-".join(_label(key, item) for item in value)
    if not isinstance(value, dict):
        return f"{key}{value}"
    if key == "mix":
        return "-".join([f"mix{short_number(value.get('share', 1))}", *([value["decay"]] if "decay" in value else [])])
    if key == "transfer":
        return ",".join(f"{component}={_parent(parent)}".replace("=.", ".") for component, parent in value.items())
    if "mixture" in value:
        shares = "+".join(f"{name}{short_number(weight)}" for name, weight in value["mixture"].items())
        return f"{shares}-prefix" if value.get("prefix") else shares
    if "text" in value:
        return f"text-{_entries(value['text'], 'text')}"
    if "sequences_from" in value:
        given = value["sequences_from"]
        words = [given["hf"].rpartition("/")[2] if "hf" in given else PurePath(given["path"]).stem]
        words += [given.get(key) for key in ("config", "split", "field")]
        words += [given["revision"][:7]] if "revision" in given else []
        words += [f"{key}{given[key]}" for key in ("rows", "cut") if key in given]
        return "-".join(["sequences", *(word for word in words if word)])
    if "shuffled" in value:
        return f"shuffled-{_label(key, value['shuffled'])}"
    return _entries(value, key)


def _entries(value: dict[str, Any], key: str) -> str:
    """All that a mapping says, in the order of its keys, what it is first."""
    first = [name for name in ("corpus", "hf", "name", "files") if name in value]
    return "-".join(_label(name, value[name]) for name in [*first, *sorted(value.keys() - set(first))]) or key


def _parent(value: Any) -> str:
    """Who gives a component: `set`, `set.0-5`, `set0.7+union0.3`, the name of an outside checkpoint."""
    if isinstance(value, list):
        return "+".join(_parent(one) for one in value)
    if isinstance(value, str):
        return value.removeprefix("hf:").partition("@")[0].rpartition("/")[2] if value.startswith("hf:") else value
    if not isinstance(value, dict):
        return "?"
    layers = f".{show_layers(dict(value['layers']))}" if "layers" in value else ""
    for key, start in (("heads", "."), ("random_heads", ".random-")):
        if isinstance(value.get(key), list):
            layers = start + show_heads(dict(value[key]))
    if "interpolate" in value:
        weight = value.get("weight", 0.5)
        one, other = (_parent(parent) for parent in value["interpolate"])
        return f"{one}{short_number(round(1 - weight, 12))}+{other}{short_number(weight)}{layers}"
    if "path" in value:
        path = PurePath(value["path"])
        return (path.parent.name if path.name == "model.safetensors" else path.stem) + layers
    return (_parent(value["from"]) if "from" in value else "") + layers


def _inside(component: str, below: list[str], value: Any) -> str:
    """An axis within a composition: `attention=set`, `attention-w0.3`, `attention.0-5`."""
    key = below[-1] if below else "from"
    if key == "weight" and isinstance(value, int | float):
        return f"{component}-w{short_number(value)}"
    if key == "layers":
        return f"{component}.{show_layers(dict(value or ()))}"
    if key == "interpolate" and isinstance(value, list):
        return f"{component}={'..'.join(_parent(one) for one in value)}"
    if key in ("heads", "random_heads") and isinstance(value, list):
        return f"{component}.{'random-' if key == 'random_heads' else ''}{show_heads(dict(value))}"
    if key in ("from", "path"):
        return f"{component}={_parent({'path': value} if key == 'path' else value)}"
    return f"{component}={value if isinstance(value, str | int | float) else _parent(value)}"


def _perturbation(value: dict[str, Any]) -> str:
    """`noise0.05`, `shuffle`, `random-attention+mlp`."""
    kind = next(iter(value))
    name = f"noise{short_number(value[kind])}" if kind == "noise" else kind
    return "-".join([name, *(["+".join(value["components"])] if value.get("components") else [])])


def _length(value: Any) -> str:
    if isinstance(value, dict):
        low = value.get("min", value.get("start", "?"))
        return f"{low}{'-' if 'min' in value else '..'}{value.get('max', '?')}"
    return str(value)


def short_number(value: int | float) -> str:
    """`5e-4`, `0.1`, `3`."""
    if isinstance(value, int) or (value.is_integer() and abs(value) < 1e15):
        return str(int(value))
    text = f"{value:g}"
    plainly = text if "e" not in text else re.sub(r"e([+-])0*", lambda m: "e" + m[1].replace("+", ""), text)
    if abs(value) < 0.01 and "e" not in plainly:
        mantissa, exponent = f"{value:e}".split("e")
        plainly = f"{float(mantissa):g}e{int(exponent)}"
    return plainly if float(plainly) == value else repr(value)
