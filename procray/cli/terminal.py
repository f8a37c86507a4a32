"""Where words go: answers on stdout, progress on stderr, JSON for machines."""

from __future__ import annotations

import json
import shutil
import sys
from typing import Any


def say(text: str = "") -> None:
    """A line of progress or advice for a person (stderr)."""
    print(text, file=sys.stderr, flush=True)


def answer(text: str) -> None:
    """What the command was asked for (stdout)."""
    print(text, flush=True)


def width() -> int:
    """Columns of the terminal that answers go to, within reason; 120 for a file or a pipe."""
    return min(max(shutil.get_terminal_size((120, 24)).columns, 60), 160) if sys.stdout.isatty() else 120


def answer_json(value: Any) -> None:
    print(json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False), flush=True)


def short_count(value: float) -> str:
    """12345678 -> `12.3M`."""
    for limit, suffix in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= limit:
            return f"{value / limit:.3g}{suffix}"
    return f"{value:.3g}"


def short_time(seconds: float) -> str:
    """4000 -> `1 h 7 min`."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60} min"


def short_bytes(value: float) -> str:
    for limit, suffix in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if value >= limit:
            return f"{value / limit:.3g} {suffix}"
    return f"{value:.0f} B"
