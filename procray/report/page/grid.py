"""The form of a table across variants, whichever is drawn of it: in a terminal or on the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from procray.report.numbers.wording import listing

MARKS = {"better": "▲", "worse": "▼", "unclear": "~"}


@dataclass(frozen=True)
class Entry:
    """One cell: `verdict` against the baseline (better, worse, unclear, or empty), `details` for the page."""

    text: str
    verdict: str = ""
    details: tuple[str, ...] = ()


@dataclass(frozen=True)
class Row:
    labels: tuple[str, ...]
    entries: tuple[Entry | None, ...]  # None: the sweep has no such cell


@dataclass(frozen=True)
class Grid:
    """A table. `heads` name the columns of labels first, then those of entries; a terminal shows `brief` rows."""

    name: str
    title: str
    heads: tuple[str, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    brief: int = 60


def legend(rows: Sequence[Row]) -> str:
    """What the marks mean, of those that occur."""
    seen = {entry.verdict for row in rows for entry in row.entries if entry}
    meant = {"better": "better", "worse": "worse", "unclear": "not told apart"}
    words = [f"{MARKS[verdict]} {word}" for verdict, word in meant.items() if verdict in seen]
    if not words:
        return ""
    return f"{listing(words)}: against none, paired by seed, at 5 % for the whole table (Holm's correction)."
