"""Numbers as a reader wants them: 2M tokens, 33 %, −0.031."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Sequence

MINUS = "\N{MINUS SIGN}"
_UNITS = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k"))


def count(value: float) -> str:
    """Three significant digits and a unit: `2M`, `820k`, `1.64B`, `12.5k`, `640`."""
    if value < 0:
        return MINUS + count(-value)
    for size, unit in _UNITS:
        if value >= size * 0.9995:
            return _digits(value / size) + unit
    return f"{value:.0f}"


def _digits(value: float) -> str:
    decimals = 0 if value >= 99.95 else 1 if value >= 9.995 else 2
    text = f"{value:.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def signed(value: float, decimals: int = 3) -> str:
    """`+0.012`, `−0.031`; a value that rounds to nothing has no sign."""
    text = f"{abs(value):.{decimals}f}"
    if not text.strip("0."):
        return text
    return ("+" if value > 0 else MINUS) + text


def amount(metric: str, value: float, unit: bool = True) -> str:
    """A difference as a reader wants it: `−0.056 nats`, or `+12.5 points` of accuracy."""
    scale, name, decimals = (100, "points", 1) if metric == "accuracy" else (1, "nats", 3)
    return signed(scale * value, decimals) + (f" {name}" if unit else "")


def percent(share: float, decimals: int = 0) -> str:
    """`0.331` as `33 %`, with a narrow space that never breaks."""
    return f"{100 * share:.{decimals}f}\N{NARROW NO-BREAK SPACE}%"


def share_interval(low: float | None, high: float | None) -> str:
    """`73 to 78 %`; `60 % to none within the budget` where no upper limit was found."""
    first = 0.0 if low is None else low
    if high is None:
        return f"{percent(first)} to none within the budget"
    decimals = 0 if high >= 0.1 else 1
    return f"{100 * first:.{decimals}f} to {percent(high, decimals)}"


def probability(p: float) -> str:
    """`p = 0.04`, with two digits; `p < 0.001`."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"


# `95 %`, `3 donors`, `1.5M tokens`, `p = 0.04`, `84.6 ± 1.2`: no line ends within them.
_UNIT = r"(?=[%±]|(?!(?:a|and|as|at|by|for|from|in|is|it|of|on|or|that|the|to|with)\b)[A-Za-z])"
_TOGETHER = re.compile(rf"(?<=\d) {_UNIT}|(?<=\d[kMBT]) {_UNIT}|(?<=[=<>≤±]) (?=\S)|(?<=\S) (?=[=<>≤] )")
_NO_BREAK = "\N{NO-BREAK SPACE}"


def wrapped(text: str, width: int, first: str = "", rest: str = "", long_words: bool = True) -> list[str]:
    """Lines of a terminal; what is a number and its unit stays on one, as do words with hyphens.

    Args:
        first, rest: what the first line and all others begin with.
        long_words: whether what is longer than a line is broken; a path stays whole, to be copied.
    """
    lines = textwrap.wrap(
        _TOGETHER.sub(_NO_BREAK, text), width, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False,
        break_long_words=long_words,
    )  # fmt: skip
    return [line.replace(_NO_BREAK, " ") for line in lines]


def plural(number: int, noun: str, many: str | None = None) -> str:
    return f"{number} {noun if number == 1 else many or noun + 's'}"


def seeds(numbers: Iterable[int], what: str = "seed") -> str:
    """`3 seeds`, or `1-3 seeds` where cells have unlike numbers."""
    known = sorted(set(numbers))
    if not known:
        return f"no {what}s yet"
    return plural(known[0], what) if len(known) == 1 else f"{known[0]}-{known[-1]} {what}s"


def listing(words: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return _joined(words, "and")


def alternatives(words: Sequence[str]) -> str:
    """`a`, `a or b`, `a, b or c`."""
    return _joined(words, "or")


def _joined(words: Sequence[str], last: str) -> str:
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} {last} {words[-1]}"


def distinct(words: Iterable[str]) -> list[str]:
    """Each once, in the order of their first appearance."""
    return list(dict.fromkeys(words))
