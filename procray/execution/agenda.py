"""Which segment may start next. Plain bookkeeping over the store, without Ray.

A segment may start when the marks it needs exist in the store. Of those that may, the one with the
longest chain of work behind it goes first, so that the sweep's critical path is never idle. What a
runner reports is believed only as far as the store bears it out.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from enum import Enum
from itertools import islice, pairwise
from typing import Any

from procray.errors import StoreError
from procray.garbage import keeping_everything
from procray.store.failure import failed_before
from procray.store.store import Store

Event = dict[str, Any]

NODES_LOST = 20  # so often may a segment lose its node; more means that it takes the node down itself
_TOGETHER = 30.0  # seconds between the death of a worker and the news that its node is gone, at most
_SAY_EVERY = 60.0  # seconds
_LOOKS = 8  # at phases that other sweeps train, in one answer to the scheduler


@dataclass(frozen=True, slots=True)
class Item:
    """One segment: a phase trained until its next wanted mark."""

    phase: str
    label: str
    until: int
    marks: tuple[int, ...]  # steps that must have a mark when the segment is done; the last is `until`
    needs: tuple[tuple[str, int], ...]  # (phase, step) of marks of other phases
    weight: float  # work, in any unit
    resources: dict[str, float] = field(default_factory=dict)  # workers, cpu and gpu of each
    executor: str = "inprocess"
    make_job: Callable[[], dict[str, Any]] = dict

    @property
    def job(self) -> dict[str, Any]:
        """What the runner gets; made when it is asked for, because a large plan has as many as it has phases."""
        return self.make_job()

    @property
    def key(self) -> str:
        return f"{self.phase}@{self.until}"


class State(Enum):
    BLOCKED = "blocked"
    READY = "ready"
    RUNNING = "running"
    ELSEWHERE = "elsewhere"  # another sweep trains that phase at the moment
    DONE = "done"
    FAILED = "failed"
    SKIPPED = "skipped"
    PAUSED = "paused"


def complete(item: Item, store: Store) -> bool:
    """Whether the store holds what the segment is to make."""
    folder = store.phase(item.phase)
    return all(folder.exists_mark(step) for step in item.marks)


class Agenda:
    """The segments of one run of one sweep and how far they are.

    Args:
        items: all segments, those that exist already included.
        retries: how often a segment whose runner died is offered again.
        retry_failed: try again what an earlier run recorded as failed for good.
        on_event: told what happens, see `procray.execution.runner`.
        on_full: told that there is no room on the disk; must `stop`, or the other segments run into it one by one.
        recheck: seconds between two looks at a phase that another sweep trains.
    """

    @keeping_everything()
    def __init__(
        self,
        items: Iterable[Item],
        store: Store,
        *,
        retries: int = 2,
        retry_failed: bool = False,
        on_event: Callable[[Event], None] = lambda event: None,
        on_full: Callable[[str], None] = lambda reason: None,
        recheck: float = 1.0,
    ):
        self.items = {item.key: item for item in items}
        self.facts: dict[str, Any] = {}  # that all runners are told beside their jobs
        self.failed: dict[str, str] = {}  # by phase id
        self.skipped: dict[str, str] = {}
        self._store = store
        self._retries = retries
        self._emit = on_event
        self._on_full = on_full
        self._recheck = recheck
        self._stopping = ""
        self._say_again = 0.0
        self._crashes: dict[str, int] = {}
        self._nodes_lost: dict[str, int] = {}
        self._doubts: dict[str, tuple[float, str, bool]] = {}  # died when, why, and whether it waits for the answer
        self._state = dict.fromkeys(self.items, State.BLOCKED)
        self._in: dict[State, dict[str, None]] = {state: {} for state in State}
        self._in[State.BLOCKED] = dict.fromkeys(self.items)
        self._look: dict[str, float] = {}  # when to look again at what runs elsewhere, the earliest first
        self._of_phase: dict[str, list[str]] = {}
        for key, item in self.items.items():
            self._of_phase.setdefault(item.phase, []).append(key)
        self._order = {key: number for number, key in enumerate(self.items)}
        self._heaps: dict[tuple[tuple[str, float], ...], list[tuple[float, int, str]]] = {}  # by what they need

        self._before = self._requirements()
        self._after: dict[str, list[str]] = {}
        for key, before in self._before.items():
            for parent in before:
                self._after.setdefault(parent, []).append(key)
        self._chain = self._chains()

        begun = set(store.phases())  # one look at the store for all that are new
        store.refresh({item.phase for item in self.items.values()} & begun)
        for key, item in self.items.items():
            if item.phase in begun and complete(item, self._store):
                self._set(key, State.DONE)
        for key, item in self.items.items() if begun and not retry_failed else ():
            if item.phase in begun and self._state[key] is State.BLOCKED:
                found = failed_before(store.phase(item.phase).status(), item.until)
                if found and found.final:
                    self._fail(key, f"{found.reason} (in an earlier run)", record=False)
        for key in [key for key in self._in[State.BLOCKED] if self._free(key)]:
            self._push(key)

    # -- for the scheduler ---------------------------------------------------------------------------

    def next(self, fits: Callable[[Item], bool] = lambda item: True) -> Item | None:
        """The segment to start now, counted as running from here on; None when there is none now.

        Args:
            fits: whether there is room for it; asked of the most urgent first. Where not, one that needs something
                else may go first.
        """
        self._look_elsewhere()
        refused = set()
        while not self._stopping:
            tops = [(heap[0], need) for need, heap in self._heaps.items() if heap and need not in refused]
            if not tops:
                break
            (_, _, key), need = min(tops)
            if not fits(self.items[key]):
                refused.add(need)
            elif (item := self._take(self._heaps[need])) is not None:
                return item
        return None

    def no_room(self) -> None:
        """Nothing runs, and what may start finds no room: said at once, and every minute."""
        if not self._any(State.READY) or self._any(State.RUNNING) or self._stopping:
            return
        now = time.monotonic()
        if now >= self._say_again:
            self._say_again = now + _SAY_EVERY
            self._tell("waiting", self.items[next(iter(self._in[State.READY]))])

    def finished(self) -> bool:
        """Whether nothing runs and nothing more will be offered."""
        if self._stopping:
            return not self._any(State.RUNNING)
        return not self._any(State.RUNNING, State.READY, State.ELSEWHERE)

    def report(self, key: str, result: dict[str, Any]) -> None:
        """Takes what `run_segment` returned for a running segment."""
        item = self.items[key]
        self._store.refresh([item.phase])
        state = result.get("state")
        if state == "done":
            if complete(item, self._store):
                self._finish(key)
            else:
                self.crash(
                    key,
                    "it reported success, but its marks are not in the store; "
                    f"do all nodes share the store {self._store}?",
                )
        elif state == "failed":
            self._fail(key, str(result.get("reason", "failed")), record=False)
        elif state == "leased":
            self._wait_elsewhere(key)
        elif state == "full":
            self._set(key, State.PAUSED)
            self._tell("paused", item, reason=result["reason"])
            self._on_full(str(result["reason"]))
        elif state == "paused":
            reason = result.get("reason")
            self._tell("paused", item, step=result.get("step"), **({"reason": reason} if reason else {}))
            if self._stopping:
                self._set(key, State.PAUSED)
            else:  # its node goes away: it continues elsewhere, and that is no failure
                self._push(key)
        else:
            self.crash(key, str(result.get("reason") or "its worker ended without a result"))

    def crash(self, key: str, reason: str, node: bool | None = False) -> None:
        """A running segment ended in a way that another try may cure.

        Args:
            node: its node was lost, for which the phase cannot be blamed: that is counted apart. None: perhaps,
                `settle` will tell.
        """
        item = self.items[key]
        self._store.refresh([item.phase])
        if complete(item, self._store):  # it died after its last mark
            self._finish(key)
            return
        if self._stopping:
            self._set(key, State.PAUSED)
            self._tell("paused", item, reason=reason)
            return
        if node is None:
            last = self._crashes.get(key, 0) >= self._retries
            self._doubts[key] = time.monotonic(), reason, last
            if last:
                return  # it would be the end of the phase: that can wait
        count, most = (self._nodes_lost, NODES_LOST) if node else (self._crashes, self._retries)
        count[key] = count.get(key, 0) + 1
        if count[key] <= most:
            self._tell("retry", item, reason=reason, attempt=count[key], of=most)
            self._push(key)
        else:
            self._fail(key, reason, record=True)

    def settle(self, lost: float) -> None:
        """Decides about what may have died with its node; called often.

        Args:
            lost: when the cluster last lost a node, by the monotonic clock; it takes some seconds to find out.
        """
        for key, (died, reason, last) in list(self._doubts.items()):
            guilty, over = lost >= died - _TOGETHER, time.monotonic() > died + _TOGETHER
            if not guilty and not over:
                continue
            del self._doubts[key]
            if last:
                self.crash(key, reason, node=guilty)
            elif guilty:
                self._crashes[key] -= 1
                self._nodes_lost[key] = self._nodes_lost.get(key, 0) + 1

    def again(self) -> None:
        """Whatever runs is offered once more, and nothing is counted: Ray itself is gone."""
        self._doubts = {key: doubt for key, doubt in self._doubts.items() if not doubt[-1]}
        for item in self.running():
            if complete(item, self._store):
                self._finish(item.key)
            elif self._stopping:
                self._set(item.key, State.PAUSED)
            else:
                self._push(item.key)

    def stop(self, reason: str) -> None:
        """Offers nothing more. What runs is reported as usual."""
        self._stopping = self._stopping or reason

    def give_up_waiting(self, begun: Collection[str]) -> bool:
        """Takes back what was offered and waits for room, if it is to stop and nothing that has `begun` runs any more.

        Returns:
            Whether it did.
        """
        running = self.running() if self._stopping else []
        if not running or any(item.key in begun for item in running):
            return False
        for item in running:
            self._doubts.pop(item.key, None)
            self._set(item.key, State.PAUSED)
            self._tell("paused", item, reason="no room was found for it")
        return True

    def open(self) -> list[Item]:
        """Segments that will be offered, now or later."""
        over = {State.DONE, State.FAILED, State.SKIPPED}
        return [item for key, item in self.items.items() if self._state[key] not in over]

    def tell_runners(self, **facts: Any) -> None:
        """Adds entries to the jobs of all segments."""
        self.facts.update(facts)

    def running(self) -> list[Item]:
        return [self.items[key] for key in sorted(self._in[State.RUNNING], key=self._order.__getitem__)]

    def state(self, key: str) -> State:
        return self._state[key]

    def unfinished(self) -> list[str]:
        """Phases that are neither done nor failed nor skipped."""
        over = {State.DONE, State.FAILED, State.SKIPPED}
        return list(dict.fromkeys(item.phase for key, item in self.items.items() if self._state[key] not in over))

    # -- bookkeeping ---------------------------------------------------------------------------------

    def _take(self, heap: list[tuple[float, int, str]]) -> Item | None:
        """Starts the first segment of a heap; None where it need not or cannot be started."""
        key = heapq.heappop(heap)[2]
        item = self.items[key]
        if complete(item, self._store):  # another sweep made it meanwhile
            self._finish(key)
            return None
        holder = self._store.phase(item.phase).holder()
        if holder is not None and holder.alive():
            self._wait_elsewhere(key)
            return None
        self._set(key, State.RUNNING)
        self._tell("start", item, until=item.until)
        return item

    def _requirements(self) -> dict[str, list[str]]:
        """For each segment those that come before it: makers of its parents' marks, and its phase's previous."""
        maker: dict[tuple[str, int], str] = {}
        for key, item in self.items.items():
            for step in item.marks:
                maker[item.phase, step] = key
        before: dict[str, list[str]] = {}
        for key, item in self.items.items():
            own = before[key] = list[str]()
            for need in item.needs:
                if need in maker:
                    own.append(maker[need])
                elif not self._store.phase(need[0]).exists_mark(need[1]):
                    raise StoreError(f"{item.label} starts from step {need[1]} of phase {need[0]}, which nothing makes")
        for keys in self._of_phase.values():
            if len(keys) > 1:
                for earlier, later in pairwise(sorted(keys, key=lambda key: self.items[key].until)):
                    before[later].append(earlier)
        return {key: list(dict.fromkeys(own)) if len(own) > 1 else own for key, own in before.items()}

    def _chains(self) -> dict[str, float]:
        """The work from the start of each segment to the end of the longest chain behind it."""
        chain: dict[str, float] = {}
        left = {key: len(after) for key, after in self._after.items()}
        ready = [key for key in self.items if key not in left]
        while ready:
            key = ready.pop()
            after = self._after.get(key)
            chain[key] = self.items[key].weight + (max([chain[child] for child in after]) if after else 0.0)
            for parent in self._before[key]:
                left[parent] -= 1
                if left[parent] == 0:
                    ready.append(parent)
        assert len(chain) == len(self.items), "segments depend on each other in a circle"
        return chain

    def _free(self, key: str) -> bool:
        return all(self._state[parent] is State.DONE for parent in self._before[key])

    def _push(self, key: str) -> None:
        self._set(key, State.READY)
        need = tuple(sorted(self.items[key].resources.items()))
        heapq.heappush(self._heaps.setdefault(need, []), (-self._chain[key], self._order[key], key))

    def _finish(self, key: str) -> None:
        item = self.items[key]
        self._set(key, State.DONE)
        whole = all(self._state[other] is State.DONE for other in self._of_phase[item.phase])
        self._tell("done", item, step=item.until, whole=whole)
        for child in self._after.get(key, ()):
            if self._state[child] is State.BLOCKED and self._free(child):
                self._push(child)

    def _fail(self, key: str, reason: str, record: bool) -> None:
        """Fails a segment and the rest of its phase; skips whatever starts from them."""
        item = self.items[key]
        if record:
            self._store.phase(item.phase).set_status("failed", reason=reason, final=False)
        self.failed[item.phase] = reason
        self._set(key, State.FAILED)
        self._tell("failed", item, reason=reason)
        because = f"{item.label} failed: {reason}"
        ahead = list(self._after.get(key, ()))
        while ahead:
            child = self.items[ahead.pop()]
            if self._state[child.key] is not State.BLOCKED:
                continue  # done already, or met on another way
            ahead += self._after.get(child.key, ())
            if child.phase == item.phase:
                self._set(child.key, State.FAILED)
                continue
            self._set(child.key, State.SKIPPED)
            if child.phase not in self.skipped:
                self.skipped[child.phase] = because
                folder = self._store.phase(child.phase)
                holder = folder.holder()
                if holder is None or not holder.alive():
                    folder.set_status("skipped", reason=because, parent=item.phase)
                self._tell("skipped", child, reason=because)

    def _wait_elsewhere(self, key: str) -> None:
        item = self.items[key]
        self._set(key, State.ELSEWHERE)
        self._look[key] = time.monotonic() + self._recheck
        holder = self._store.phase(item.phase).holder()
        process = holder.process if holder else {}
        self._tell("elsewhere", item, host=str(process.get("host", "")).split("/")[0], pid=process.get("pid"))

    def _look_elsewhere(self) -> None:
        """Looks at what other sweeps train, a few at a time: the scheduler waits for the answer."""
        now = time.monotonic()
        for key, due in list(islice(self._look.items(), _LOOKS)):
            if due > now:
                break
            item = self.items[key]
            folder = self._store.phase(item.phase)
            holder = folder.holder()
            if complete(item, self._store):
                self._finish(key)
            elif holder is None or not holder.alive():
                found = failed_before(folder.status(), item.until)
                if found and found.final:
                    self._fail(key, found.reason, record=False)
                else:
                    self._push(key)
            else:
                del self._look[key]
                self._look[key] = now + self._recheck

    def _set(self, key: str, state: State) -> None:
        del self._in[self._state[key]][key]
        self._in[state][key] = None
        self._state[key] = state
        self._look.pop(key, None)

    def _any(self, *states: State) -> bool:
        return any(self._in[state] for state in states)

    def _tell(self, event: str, item: Item, **facts: Any) -> None:
        self._emit({"event": event, "phase": item.phase, "label": item.label, **facts})
