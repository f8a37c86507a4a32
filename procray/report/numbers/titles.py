"""The question of a sweep, in a few words."""

from __future__ import annotations


def question_of(source: str) -> str:
    """The comment that a sweep file begins with, up to its first empty line."""
    lines: list[str] = []
    for line in source.splitlines():
        text = line.strip()
        if text.startswith(("#!", "# yaml-language-server")):
            continue
        if not text.startswith("#") or (lines and not text.strip("# ")):
            break
        if text.strip("# "):
            lines.append(text.lstrip("#").strip())
    return " ".join(lines)
