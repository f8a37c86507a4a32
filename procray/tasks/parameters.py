"""Parameters of tasks: default, meaning and allowed values stand beside the dataclass field."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from procray.errors import did_you_mean

# A wide enough ceiling that value * length still fits into 32 bits, which sorting relies on.
LARGEST_VOCAB = 65_536


@dataclass(frozen=True)
class Parameter:
    """What `describe` shows and `get` checks. `read` returns the value or raises ValueError."""

    meaning: str
    read: Callable[[Any], Any] | None  # None: a length, which the task's own bounds decide


Metadata = dict[str, Parameter]


def length_of(meaning: str) -> Metadata:
    """For a field that takes a number, a range or a curriculum."""
    return {"parameter": Parameter(meaning, None)}


def whole(meaning: str, low: int, high: int) -> Metadata:
    """For a field that takes a whole number from `low` to `high`."""

    def read(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ValueError(f"is {value!r}; expected a whole number from {low} to {high}")
        return value

    return {"parameter": Parameter(f"{meaning} ({low} to {high})", read)}


def choice(meaning: str, options: Collection[str]) -> Metadata:
    """For a field that takes one of a few words."""

    def read(value: Any) -> str:
        if not isinstance(value, str) or value not in options:
            hint = did_you_mean(value, options) if isinstance(value, str) else ""
            raise ValueError(f"is {value!r}; expected {' or '.join(options)}{hint}")
        return value

    return {"parameter": Parameter(f"{meaning} ({' or '.join(options)})", read)}


def fraction(meaning: str) -> Metadata:
    """For a field that takes a probability, ends included."""

    def read(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            raise ValueError(f"is {value!r}; expected a number from 0 to 1")
        return float(value)

    return {"parameter": Parameter(f"{meaning} (0 to 1)", read)}


def number(meaning: str, low: float, high: float) -> Metadata:
    """For a field that takes a number, ends included."""

    def read(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise ValueError(f"is {value!r}; expected a number from {low:g} to {high:g}")
        return float(value) + 0.0

    return {"parameter": Parameter(f"{meaning} ({low:g} to {high:g})", read)}


def above_zero(meaning: str, high: float) -> Metadata:
    """For a field that takes a number above 0."""

    def read(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= high:
            raise ValueError(f"is {value!r}; expected a number above 0, at most {high:g}")
        return float(value)

    return {"parameter": Parameter(f"{meaning} (above 0, at most {high:g})", read)}


def vocabulary(low: int = 2) -> Metadata:
    """For the field `vocab`, as the papers count it."""
    return whole("V: data symbols are 1..V-1; the separator is V, the padding V+1", low, LARGEST_VOCAB)
