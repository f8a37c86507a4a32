"""Counts as people write them: `2M`, `1.5B`, `64Ki`, `1e8`, `1_000`."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Any

_UNITS = {
    "": 1,
    "k": 10**3,
    "K": 10**3,
    "M": 10**6,
    "G": 10**9,
    "B": 10**9,
    "T": 10**12,
    "Ki": 2**10,
    "Mi": 2**20,
    "Gi": 2**30,
}
_COUNT = re.compile(r"([+-]?\d+(?:_\d+)*(?:\.\d+)?(?:[eE][+-]?\d{1,2})?) ?(Ki|Mi|Gi|[kKMGBT])?")
_EXPECTED = "expected a count such as 2M, 1.5B, 64Ki or 1e8"
_COMMAS = re.compile(r"[+-]?\d+(?:,\d+)+(?:\.\d+)?(?:[eE][+-]?\d+)?(?: ?(?:Ki|Mi|Gi|[kKMGBT]))?")
WITHOUT_COMMAS = "a number is written without commas, such as 500000, 500_000 or 0.5"


def parse_count(value: Any) -> int:
    """The whole number that a count stands for. `k M B T` are powers of 1000, `Ki Mi Gi` of 1024.

    Raises:
        ValueError: not a count, or not a whole number.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(_EXPECTED)
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        if not value.is_integer():  # also false for NaN and infinity
            raise ValueError(f"{_EXPECTED}, a whole number")
        return int(value)
    match = _COUNT.fullmatch(value.strip())
    if has_commas(value):
        raise ValueError(f"{_EXPECTED}; {WITHOUT_COMMAS}")
    if match is None:
        near = _COUNT.fullmatch(value.strip().upper())
        raise ValueError(_EXPECTED + (f"; did you mean '{value.strip().upper()}'?" if near else ""))
    exact = Fraction(match[1].replace("_", "")) * _UNITS[match[2] or ""]
    if exact.denominator != 1:
        raise ValueError(f"{_EXPECTED}, a whole number")
    return int(exact)


def has_commas(value: Any) -> bool:
    """Whether a text would be a number but for its commas: `500,000`, `0,5`."""
    return isinstance(value, str) and _COMMAS.fullmatch(value.strip()) is not None


def format_count(count: int) -> str:
    """The shortest text that `parse_count` reads back as `count`: `2M`, `8.19M`, `64Ki`, `1234`."""
    best = str(count)
    for unit in ("k", "M", "B", "T"):
        whole, rest = divmod(abs(count), _UNITS[unit])
        if whole:
            decimals = str(rest).rjust(len(str(_UNITS[unit])) - 1, "0").rstrip("0")
            text = f"{'-' if count < 0 else ''}{whole}{'.' + decimals if decimals else ''}{unit}"
            best = text if len(text) <= len(best) else best
    for unit in ("Ki", "Mi", "Gi"):
        if count and count % _UNITS[unit] == 0:
            best = min(best, f"{count // _UNITS[unit]}{unit}", key=len)
    return best
