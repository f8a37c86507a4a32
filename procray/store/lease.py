"""One phase has one writer: claims with a heartbeat in a shared place, a folder or a bucket.

A claim is a document `<attempt>.json` that is created exclusively; the claim with the highest number is
the current one. A dead claim is never overwritten but outnumbered, so that two processes which both
find it dead cannot both win: only one of them creates the next number. The highest claim is never
removed, so attempt numbers only grow.

The heartbeat is the time at which the claim was written last, and its age is told by the clock of the
place (in a folder, against a file made at that moment), so clocks of hosts may disagree.
"""

from __future__ import annotations

import contextlib
import json
import re
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

from procray.errors import ProcrayError, StoreError
from procray.files import parse_json
from procray.records import check
from procray.store.forms import CLAIM
from procray.store.processes import process_alive, this_process

STALE_AFTER = 90.0  # seconds without a heartbeat after which another host may take over
HEARTBEAT_EVERY = 10.0
LARGEST_CLAIM = 1 << 20  # bytes

_CLAIM = re.compile(r"([0-9]{1,18})\.json")


class LeaseLost(StoreError):
    """Another runner took the phase over; whatever this one still holds must not become visible."""


class Claims(Protocol):
    """The claims on one phase, wherever they are kept."""

    name: str  # of the phase
    beat_every: float  # seconds between heartbeats

    def attempts(self) -> list[int]:
        """The attempts that have a claim, in any order."""

    def read(self, attempt: int) -> str | None:
        """A claim's text; None when it is gone."""

    def age(self, attempt: int) -> float:
        """Seconds since its last heartbeat; infinite when it is gone."""

    def create(self, attempt: int, text: str) -> bool:
        """Makes a claim with its whole text, or returns False when it exists already."""

    def beat(self, attempt: int, text: str) -> bool:
        """A heartbeat of the claim with this text; False when the claim is gone."""

    def write(self, attempt: int, text: str) -> None:
        """Replaces the text of one's own claim."""

    def drop(self, attempts: Iterable[int]) -> None:
        """Removes claims; those that are gone already are no error."""


def claims_in(names: Iterable[str]) -> list[int]:
    """The attempts among the names of documents."""
    return [int(found[1]) for name in names if (found := _CLAIM.fullmatch(name))]


@dataclass(frozen=True)
class Holder:
    """The current claim on a phase, as others see it."""

    attempt: int
    process: dict[str, Any]  # as this_process(); empty when the claim cannot be read
    released: bool
    age: Callable[[], float]  # seconds since its last heartbeat, asked only when it matters
    about: dict[str, Any] = field(default_factory=dict)

    def alive(self) -> bool:
        """Whether the phase must be left to this holder."""
        if self.released:
            return False
        known = process_alive(self.process) if self.process else None
        if known is not None:
            return known
        return self.age() < STALE_AFTER


def newest(claims: Claims) -> int:
    """The highest attempt; 0 when nobody ever claimed."""
    return max(claims.attempts(), default=0)


def holder(claims: Claims) -> Holder | None:
    """The newest claim, dead or alive; None when nobody ever claimed."""
    attempt = newest(claims)
    if not attempt:
        return None
    text = claims.read(attempt)
    if text is None:
        return holder(claims)  # outnumbered and removed between the two looks

    def age() -> float:
        return claims.age(attempt)

    try:
        value = check(parse_json(text), CLAIM, f"the claim {attempt}")
        process = {name: value[name] for name in ("host", "pid", "started")}
        return Holder(attempt, process, bool(value.get("released")), age, value.get("about", {}))
    except (ValueError, StoreError):
        return Holder(attempt, {}, False, age)


def acquire(claims: Claims, about: dict[str, Any] | None = None) -> Lease | None:
    """Claims a phase for this process, or returns None when a living process holds it.

    Args:
        about: anything worth knowing about the claimant, kept in the claim.
    """
    before = holder(claims)
    if before is not None and before.alive():
        return None
    attempt = before.attempt + 1 if before else 1
    content = {"attempt": attempt, **this_process(), "since": time.time(), "about": about or {}}
    if not claims.create(attempt, _text(content)):
        return None
    try:
        there = claims.attempts()
        if max(there, default=0) != attempt:  # others came, worked and were outnumbered since we looked
            claims.drop([attempt])
            return None
        claims.drop(other for other in there if other < attempt)
    except BaseException:  # this process lives on: its claim would keep the phase from everybody
        with contextlib.suppress(OSError, ProcrayError):
            claims.drop([attempt])
        raise
    return Lease(claims, attempt, content)


class Lease:
    """The right to write one phase. A thread keeps the heartbeat until `release`."""

    def __init__(self, claims: Claims, attempt: int, content: dict[str, Any]):
        self.attempt = attempt
        self._claims = claims
        self._content = content
        self._lost = False
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._beat, name=f"lease-{attempt}", daemon=True)
        self._thread.start()

    def held(self) -> bool:
        """Whether this is still the newest claim. Looks at the claims: ask right before what must be fenced."""
        if not self._lost and not self._end.is_set() and newest(self._claims) != self.attempt:
            self._lost = True
        return not self._lost and not self._end.is_set()

    def check(self) -> None:
        """Raises LeaseLost unless the lease is held."""
        if not self.held():
            raise LeaseLost(f"attempt {self.attempt} lost its lease on {self._claims.name} to another runner")

    def lost(self) -> bool:
        """What the heartbeat knows, without looking at the claims."""
        return self._lost

    def heartbeat(self) -> None:
        """Tells the others that this process lives."""
        if not self._claims.beat(self.attempt, _text(self._content)):
            self._lost = True

    def release(self) -> None:
        """Gives the phase back at once. Safe to call twice."""
        if self._end.is_set():
            return
        self._end.set()
        self._thread.join(timeout=HEARTBEAT_EVERY)
        if not self._released():
            # This process may live on and train other phases, and would hold this one for as long.
            threading.Thread(target=self._release_later, name=f"release-{self.attempt}", daemon=True).start()

    def _released(self) -> bool:
        """Marks the claim as released, unless it is lost; False when its place does not answer."""
        try:
            if not self._lost and newest(self._claims) == self.attempt:
                self._claims.write(self.attempt, _text({**self._content, "released": True}))
        except (OSError, ProcrayError):
            return False
        return True

    def _release_later(self) -> None:
        while not self._released():
            time.sleep(self._claims.beat_every)

    def _beat(self) -> None:
        while not self._end.wait(self._claims.beat_every):
            with contextlib.suppress(ProcrayError):  # a place that does not answer: the next beat tries again
                self.heartbeat()


def _text(content: dict[str, Any]) -> str:
    return json.dumps(content, sort_keys=True) + "\n"
