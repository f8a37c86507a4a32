"""Numbers from inside models that the store keeps, so that nobody looks twice."""

from __future__ import annotations

from typing import TYPE_CHECKING

from procray.files import may_write, read_json, write_json
from procray.report.numbers.analysis import inspect
from procray.report.numbers.inside import Inside

if TYPE_CHECKING:
    from pathlib import Path

    from procray.store.store import Store

VERSION = 1  # raised when the same model gives other numbers than before


def cached(store: Store, phase: str, step: int, write: bool = False) -> Inside | None:
    """What `inspect` says without options, from the store if it has been asked before.

    Args:
        write: look now where nobody has, and keep the answer; else None is returned.
    """
    path = _cache(store, phase, step)
    digest = store.phase(phase).manifest(step).get("sha256")
    try:
        value = read_json(path)
        if value["version"] == VERSION and value["sha256"] == digest:
            return Inside.from_json(value["inside"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    if not write:
        return None
    inside = inspect(store, phase, step)
    keep(store, inside)
    return inside


def has_numbers(store: Store, phase: str, step: int) -> bool:
    """Whether somebody has looked before, as far as can be told without reading the answer."""
    return _cache(store, phase, step).is_file()


def keep(store: Store, inside: Inside) -> None:
    """Writes what `inspect` said without options, for `cached`."""
    folder = store.phase(inside.phase)
    if not folder.exists_mark(inside.step):
        return
    facts = {"version": VERSION, "sha256": folder.manifest(inside.step).get("sha256"), "inside": inside.to_json()}
    path = _cache(store, inside.phase, inside.step)
    if may_write(path.parent):  # in somebody else's store everybody looks for himself
        write_json(path, facts)


def _cache(store: Store, phase: str, step: int) -> Path:
    return store.path / "analysis" / "numbers" / f"{phase}@{step}-{VERSION}.json"
