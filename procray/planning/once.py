"""What many parts of a plan have in common, kept once; and how much memory all of it takes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TypeVar

from procray.errors import StoreError

ROOM = 400 << 20  # bytes of a plan in memory; one of 100,000 cells takes a third
_VALUES = 16  # bytes that a value takes in an object of ours, beside the object itself
T = TypeVar("T")


class Once:
    """Gives the same object for equal values, and counts what is new.

    Nobody may change what comes from here: it stands in many places.
    """

    def __init__(self) -> None:
        self._room = 0
        self._texts: dict[str, str] = {}
        self._parts: dict[tuple[str, str], Any] = {}

    def new(self, value: T) -> T:
        """A value that is kept, counted.

        Raises:
            StoreError: there is too much.
        """
        self._room += sys.getsizeof(value) + _VALUES * len(getattr(value, "__dict__", ()))
        if self._room > ROOM:
            raise StoreError(f"it takes more than {ROOM >> 20:,} MB of memory, more than plans do")
        return value

    def text(self, value: Any) -> Any:
        """A text; numbers and such as they are."""
        if type(value) is not str:
            return value
        found = self._texts.get(value)
        if found is None:
            found = self._texts[self.new(value)] = value
            self._room += 100  # of the entry
        return found

    def texts(self, values: list[str]) -> list[str]:
        return self.new([self.text(value) for value in values])

    def lean(self, value: Any) -> Any:
        """Plain data with all texts of it kept once."""
        if isinstance(value, dict):
            return self.new({self.text(key): self.lean(one) for key, one in value.items()})
        if isinstance(value, list | tuple):
            return self.new([self.lean(one) for one in value])
        return self.text(value) if isinstance(value, str) else self.new(value)

    def part(self, kind: str, value: Any, make: Callable[[Any], T]) -> T:
        """What `make` gives for a value of JSON, which is asked once for equal ones."""
        key = (kind, repr(value))
        if key not in self._parts:
            self.new(key[1])
            self.lean(value)  # what is made of it takes about as much
            self._parts[key] = make(value)
        found: T = self._parts[key]
        return found
