"""How long a sequence is: one number, a range drawn anew for every batch, or a curriculum.

With one fixed length a copying task can be solved by position instead of by content, and what is
learned that way transfers badly; the range and the curriculum exist for that reason.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from procray.errors import did_you_mean


@dataclass(frozen=True)
class Span:
    """Lengths low..high, both included; every batch draws its own, uniformly."""

    low: int
    high: int


@dataclass(frozen=True)
class Curriculum:
    """Starts at `start` and grows by `step` each time validation accuracy reaches `mastery`, up to `max`.

    The training loop holds the current length and hands it to `sample`.
    """

    start: int
    step: int
    mastery: float
    max: int

    def after(self, length: int) -> int:
        """The length that follows a mastered one."""
        return min(self.max, length + self.step)


Length = int | Span | Curriculum


def read_length(value: Any, shortest: int, longest: int, multiple: int) -> Length:
    """A length as written in a sweep file.

    Args:
        value: a number, `{min, max}`, or `{start, step, mastery, max}` (step and mastery may be left out).
        shortest, longest: what the task can make.
        multiple: lengths must be multiples of this (2 for balanced words).

    Raises:
        ValueError: with every problem, separated by semicolons.
    """
    if not isinstance(value, dict):
        _raise_all(_whole_problems("length", value, shortest, longest, multiple))
        return int(value)
    keys = ("min", "max") if "min" in value or set(value) == {"max"} else ("start", "step", "mastery", "max")
    problems = [
        f"length has the unknown key '{key}'{did_you_mean(key, keys)} (known: {', '.join(keys)})"
        for key in value
        if key not in keys
    ]
    given = {"step": multiple if multiple > 1 else 2, "mastery": 0.99, **value}
    problems += [f"length needs '{key}'" for key in keys if key not in given]
    for key in keys:
        if key in ("min", "max", "start") and key in given:
            problems += _whole_problems(f"length {key}", given[key], shortest, longest, multiple)
    if keys[0] == "start":
        problems += _whole_problems("length step", given["step"], 1, longest, multiple)
        mastery = given["mastery"]
        if isinstance(mastery, bool) or not isinstance(mastery, int | float) or not 0 < mastery <= 1:
            problems.append(f"length mastery is {mastery!r}; expected an accuracy above 0 and at most 1")
    if not problems and given[keys[0]] > given["max"]:
        problems.append(f"length {keys[0]} {given[keys[0]]} is greater than length max {given['max']}")
    _raise_all(problems)
    if keys[0] == "start":
        return Curriculum(int(given["start"]), int(given["step"]), float(given["mastery"]), int(given["max"]))
    # A range of one value is that value: equal data get one identity.
    return Span(int(given["min"]), int(given["max"])) if given["min"] < given["max"] else int(given["min"])


def write_length(length: Length) -> int | dict[str, int | float]:
    """The inverse of `read_length`: plain data with every key filled in."""
    match length:
        case Span(low, high):
            return {"min": low, "max": high}
        case Curriculum(start, step, mastery, highest):
            return {"start": start, "step": step, "mastery": mastery, "max": highest}
        case _:
            return length


def longest_of(length: Length) -> int:
    match length:
        case Span(_, high):
            return high
        case Curriculum(max=highest):
            return highest
        case _:
            return length


def possible(length: Length, multiple: int) -> range:
    """The lengths a batch may have when none is asked for; a curriculum counts as its longest."""
    match length:
        case Span(low, high):
            return range(low, high + 1, multiple)
        case _:
            return range(longest_of(length), longest_of(length) + 1)


def draw_length(length: Length, multiple: int, rng: np.random.Generator) -> int:
    """The length of one batch. Only a range takes a random number; a curriculum gives its start."""
    match length:
        case Span(low, high):
            return low + multiple * int(rng.integers(0, (high - low) // multiple + 1))
        case Curriculum(start=start):
            return start
        case _:
            return length


def _whole_problems(name: str, value: Any, low: int, high: int, multiple: int) -> list[str]:
    kind = {1: "a whole number", 2: "an even number"}.get(multiple, f"a multiple of {multiple}")
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high or value % multiple:
        return [f"{name} is {value!r}; expected {kind} from {low} to {high}"]
    return []


def _raise_all(problems: Iterable[str]) -> None:
    if text := "; ".join(problems):
        raise ValueError(text)
