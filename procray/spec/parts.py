"""Problems with a part of a value, told at that part; what several values have in common."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from pydantic_core import PydanticCustomError

from procray.errors import did_you_mean
from procray.spec.counts import parse_count
from procray.spec.written import show_shortly


def wrong(message: str, *path: str | int) -> PydanticCustomError:
    """A problem at `path` below the value that a validator looks at."""
    return PydanticCustomError("wrong", "{message}", {"message": message, "path": path})


def below(check: Callable[[Any], Any], value: Any, *path: str | int) -> Any:
    """A part of a value, whose problems are told below that part."""
    try:
        return check(value)
    except PydanticCustomError as error:
        context = error.context or {}
        raise wrong(context["message"], *path, *context["path"]) from None


def known_keys(value: dict[str, Any], known: Collection[str], *path: str | int) -> dict[str, Any]:
    """A mapping without the known keys that have no value: they are as if they were not written."""
    for key, child in value.items():
        if child is None and key not in known:
            raise wrong(f"unknown key '{key}'{did_you_mean(key, known)}", *path, key)
    return {key: child for key, child in value.items() if child is not None}


def count_at(value: Any, *path: str) -> int:
    """A count at a place within a value."""
    try:
        return parse_count(value)
    except ValueError as error:
        raise wrong(f"{error} (got {show_shortly(value)})", *path) from None
