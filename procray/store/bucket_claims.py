"""Claims on a phase as objects of a bucket; what they are for says `lease.py`.

A heartbeat writes the claim again, and its age is told by the clock of the bucket.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from procray.store.lease import LARGEST_CLAIM, claims_in
from procray.store.objects import Objects


class BucketClaims:
    """Claims as objects below `at`; `changed` is told whenever this process has written one."""

    beat_every = 30.0  # a heartbeat is a request that costs money

    def __init__(self, objects: Objects, name: str, at: str, changed: Callable[[], None]):
        self.name = name
        self._objects = objects
        self._at = at
        self._changed = changed
        self._etag: str | None = None

    def attempts(self) -> list[int]:
        return claims_in(self._objects.below(self._at).entries)

    def read(self, attempt: int) -> str | None:
        found = self._objects.get(self._name(attempt), LARGEST_CLAIM)
        return found[0].decode("utf-8", "replace") if found else None

    def age(self, attempt: int) -> float:
        age = self._objects.age(self._name(attempt))
        return float("inf") if age is None else age

    def create(self, attempt: int, text: str) -> bool:
        self._etag = self._objects.create(self._name(attempt), text.encode())
        self._changed()
        return self._etag is not None

    def beat(self, attempt: int, text: str) -> bool:
        assert self._etag is not None, "only the owner of a claim keeps it alive"
        etag = self._objects.swap(self._name(attempt), text.encode(), self._etag)
        self._etag = etag or self._etag
        return etag is not None

    def write(self, attempt: int, text: str) -> None:
        assert self._etag is not None, "only the owner of a claim writes it"
        self._objects.swap(self._name(attempt), text.encode(), self._etag)
        self._changed()

    def drop(self, attempts: Iterable[int]) -> None:
        self._objects.remove(self._name(attempt) for attempt in attempts)

    def _name(self, attempt: int) -> str:
        return f"{self._at}/{attempt}.json"
