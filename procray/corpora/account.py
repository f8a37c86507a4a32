"""What became of a corpus' text at its preparation, in words: what is held out, and what was left out and why."""

from __future__ import annotations

from typing import Any

_NAMED = 3  # files that a line names


def account(manifest: dict[str, Any]) -> list[str]:
    """Lines about a corpus' manifest: what was read and held out, what was left out, which bytes were replaced."""
    text = manifest.get("text", {})
    lines = [_held_out(manifest), left_out(manifest)]
    if text.get("replaced"):
        lines.append(
            f"replaced: in {_counted(text['replaced'], 'document')} bytes that are not in the encoding became U+FFFD"
        )
    return [line for line in lines if line]


def _held_out(manifest: dict[str, Any]) -> str:
    text, splits = manifest.get("text", {}), manifest.get("splits", {})
    held = text.get("held_out")
    if held is not None:
        share = 100 * held["characters"] / max(1, text["characters"])
        noun = "record" if held["records"] else "document"
        whole, cut = held["documents"] - held["cut"], held["cut"]
        parts = [_counted(whole, noun)] if whole else []
        if cut:
            parts.append(f"the end of one {'more ' if whole else ''}" if cut == 1 else f"the end of {cut:,} equal ones")
        return (
            f"held out: {share:.3g} % of {text['characters']:,} characters in {_counted(text['documents'], noun)}: "
            + " and ".join(parts).rstrip()
        )
    if "validation" not in splits:
        return ""
    counts = splits["validation"]["counts"]
    return f"held out: {_counted(counts.get('documents', 0), 'document')} of the validation split"


def left_out(manifest: dict[str, Any]) -> str:
    """One line about files and documents that give no text; empty where all do."""
    text = manifest.get("text", {})
    parts = []
    files = text.get("left_out", [])
    if files:
        named = "; ".join(f"{file['name']}: {file['why']}" for file in files[:_NAMED])
        more = f"; and {len(files) - _NAMED:,} more" if len(files) > _NAMED else ""
        size = sum(file["bytes"] for file in files)
        parts.append(f"{_counted(len(files), 'file')} of {size:,} bytes without text ({named}{more})")
    counts = [text, *(split["counts"] for split in manifest.get("splits", {}).values())]
    empty, null = (sum(one.get(name, 0) for one in counts) for name in ("empty", "null"))
    if empty:
        parts.append(f"{_counted(empty, 'document')} of white space alone")
    if null:
        reader = "" if text else " or a cell that the dataset's reader takes for nothing, as NA, None and null in a CSV"
        parts.append(f"{_counted(null, 'document')} that {'is' if null == 1 else 'are'} null{reader}")
    return "left out: " + ", ".join(parts) if parts else ""


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
