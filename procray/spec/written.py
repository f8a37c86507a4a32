"""Values as files write them: which of them mean the same, and how a message shows them."""

from __future__ import annotations

import json
import math
from fractions import Fraction
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


def one_spelling(value: Any) -> Any:
    """A converted value in the one form that all of its spellings share.

    A mapping that says no more than its only entry is that entry, a list of one is that one, a range of one length is
    that length, and the weights of a mixture are shares.
    """
    if isinstance(value, list):
        return one_spelling(value[0]) if len(value) == 1 else [one_spelling(one) for one in value]
    if not isinstance(value, dict):
        return value
    # Layers are pairs, in a list also where there is only one.
    found = {key: child if key == "layers" else one_spelling(child) for key, child in one_mixture(value).items()}
    if found.keys() in ({"from"}, {"name"}):
        return next(iter(found.values()))
    return found["min"] if found.keys() == {"min", "max"} and found["min"] == found["max"] else found


def one_mixture(task: Any) -> Any:
    """A task in which the weights of a mixture stand in the order of names and as shares of 1.

    Shares without an end are whole numbers in their ratio instead, so that `{set: 1, sort: 2}` and `{sort: .2, set:
    .1}` come out alike.
    """
    if not isinstance(task, dict):
        return task
    if "shuffled" in task:
        return {**task, "shuffled": one_mixture(task["shuffled"])}
    if "mixture" not in task:
        return task
    exact = {name: Fraction(repr(weight)) for name, weight in sorted(task["mixture"].items())}
    total = sum(exact.values())
    shares = {name: weight / total for name, weight in exact.items()}
    scale = math.lcm(*(share.denominator for share in shares.values()))
    if 10**9 % scale and scale < 2**53:
        shares = {name: share * scale for name, share in shares.items()}
    return {**task, "mixture": {name: float(share) for name, share in shares.items()}}


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
