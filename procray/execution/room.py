"""Which segments have room on the nodes of a cluster, now, later or never.

A worker needs all of its processors and GPUs on one node; only the workers of a group may be spread.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from procray.errors import EnvironmentProblem
from procray.execution.agenda import Item
from procray.execution.growth import node_types
from procray.execution.packing import Free, is_whole

DRIVER = "train_driver"  # the resource of a trial that drives a worker group
Node = dict[str, float]  # its resources, by Ray's names

_KINDS = (("cpu", "CPU", "processors"), ("gpu", "GPU", "GPUs"))
_LOOK_EVERY = 1.0
_COPIES = 1000  # of a node type that may grow without bounds


@dataclass(frozen=True)
class Nodes:
    """What a cluster has and what it may grow to.

    Attributes:
        live: nodes that take work now.
        more: nodes that its autoscaler may add to them.
        names: of all that live, by Ray's ids.
        leaving: those that are being drained.
    """

    live: tuple[Node, ...]
    more: tuple[Node, ...] = ()
    names: frozenset[str] = frozenset()
    leaving: frozenset[str] = frozenset()

    @property
    def all(self) -> tuple[Node, ...]:
        return self.live + self.more


def look() -> Nodes:
    """The nodes of the cluster that Ray is connected to; those that are being drained take no work any more."""
    import ray
    from ray._private.state import state

    leaving = state.get_draining_nodes()
    nodes = {node["NodeID"]: node["Resources"] for node in ray.nodes() if node["Alive"]}
    live = [resources for name, resources in nodes.items() if name not in leaving]
    return Nodes(tuple(live), tuple(_growth(live, node_types())), frozenset(nodes), frozenset(leaving))


def _growth(live: Sequence[Node], types: Iterable[tuple[Node, int]]) -> list[Node]:
    """Nodes that may come, of node types with the most that there may be (negative: any number).

    A node does not say which type it is of. Where several have its shape it counts once, for the first with a place.
    """
    found = []
    there = Counter(_shape(node) for node in live)
    for resources, most in types:
        limit = _COPIES if most < 0 else most
        up = min(limit, there[_shape(resources)])
        there[_shape(resources)] -= up
        found += [{name: float(count) for name, count in resources.items()}] * (limit - up)
    return found


def _shape(node: Node) -> tuple[float, ...]:
    return tuple(float(node.get(name, 0.0)) for name in ("CPU", "GPU"))


class Room:
    """Whether there is room for one segment more beside those that run. Looks at the cluster once a second."""

    def __init__(self, look: Callable[[], Nodes], lost: Callable[[], float] = lambda: -math.inf):
        """`lost` says when the cluster last lost a node that had not been announced, by the monotonic clock."""
        self._look = look
        self._lost = lost
        self._next = 0.0
        self._nodes = Nodes(())
        self._known: tuple[Any, ...] = ()
        self._left: list[Free] = []
        self._workers: dict[str, int] = {}  # with how many each of those that run has started

    @property
    def lost(self) -> float:
        return self._lost()

    @property
    def many(self) -> bool:
        """Whether the cluster has, or may have, more than one node."""
        return len(self._nodes.all) > 1

    def asker(self, running: Sequence[Item]) -> Callable[[Item], bool]:
        """Says of one segment after the other, the most urgent first, whether it may start beside those that run.

        For the first that has to wait, room is kept: what is free on the nodes that lack the least for it. Otherwise
        smaller segments would take each GPU as soon as it is free, and a phase of several would start after them all.
        """
        self._refresh(running)
        left = self._left
        kept = False

        def may_start(item: Item) -> bool:
            nonlocal left, kept
            if _place(item, left) is not None:
                return True
            if not kept:
                kept, left = True, self._without(item)
            return False

        return may_start

    def fits(self, item: Item, running: Sequence[Item]) -> bool:
        return self.asker(running)(item)

    def _refresh(self, running: Sequence[Item]) -> None:
        """Brings what is left up to date."""
        if time.monotonic() >= self._next:
            self._nodes = self._look()
            self._next = time.monotonic() + _LOOK_EVERY
        known = (self._nodes, tuple(one.key for one in running))
        if self._known == known:
            return
        self._known = known
        self._left = [Free(node) for node in self._nodes.all]
        self._workers = {one.key: self._workers[one.key] for one in running if one.key in self._workers}
        # What finds no place runs on a node that is gone: its end is near. Those that have started just now come last,
        # since an elastic one has taken what the others left.
        for one in sorted(running, key=lambda one: (one.key not in self._workers, -_size(one))):
            for workers in range(self._workers.get(one.key, int(one.resources["workers"])), least_workers(one) - 1, -1):
                if (after := _place(one, self._left, workers)) is not None:
                    self._left, self._workers[one.key] = after, workers
                    break

    def _without(self, item: Item) -> list[Free]:
        """What is left for others while room is kept for `item`; all of it where the cluster has no room for it."""
        cpu, gpu = _each(item)
        whole = [Free(node) for node in self._nodes.all]
        left = [node.copy() for node in self._left]
        for _ in range(least_workers(item)):
            able = [at for at, node in enumerate(whole) if node.has_room(cpu, gpu)]
            if not able:
                return self._left
            best = min(able, key=lambda at: (left[at].lacks(cpu, gpu), whole[at].size))
            whole[best].take(cpu, gpu)
            left[best].take(cpu, gpu)
        return left


def _size(item: Item) -> float:
    return item.resources["gpu"] * 1e6 + item.resources["cpu"]


def _each(item: Item) -> tuple[float, float]:
    """Processors and GPUs of one worker."""
    return item.resources["cpu"], item.resources["gpu"]


def _place(item: Item, left: list[Free], workers: int | None = None) -> list[Free] | None:
    """What remains of `left` beside the workers of a segment (by default the fewest); None where they do not fit.

    Each worker goes to the node where it fits most tightly.
    """
    cpu, gpu = _each(item)
    rest = list(left)
    for _ in range(least_workers(item) if workers is None else workers):
        roomy = [at for at, node in enumerate(rest) if node.has_room(cpu, gpu)]
        if not roomy:
            return None
        best = min(roomy, key=lambda at: rest[at].size)
        rest[best] = rest[best].copy()
        rest[best].take(cpu, gpu)
    return rest


def least_workers(item: Item) -> int:
    """With how many workers a segment may start."""
    return int(item.resources.get("least", item.resources["workers"]))


def slots(items: Iterable[Item], nodes: Sequence[Node]) -> int:
    """How many segments fit side by side, at most: as many of the smallest as there is room for, and so on."""
    kinds = {tuple(sorted(item.resources.items())): item for item in items}
    left, count = [Free(node) for node in nodes], 0
    for item in sorted(kinds.values(), key=lambda item: _size(item) * least_workers(item)):
        cpu, gpu = _each(item)
        copies = [node.copies(cpu, gpu) for node in left]
        whole = sum(copies) // least_workers(item)
        workers = whole * least_workers(item)
        for node, most in zip(left, copies, strict=True):
            for _ in range(min(most, workers)):
                node.take(cpu, gpu)
            workers -= min(most, workers)
        count += whole
    return max(1, count)


def check_feasible(items: Iterable[Item], nodes: Sequence[Node], where: str) -> None:
    """Refuses what could never start; Ray would wait for it for ever.

    Args:
        nodes: those that the cluster has or may grow to.

    Raises:
        EnvironmentProblem: names the phase, what it wants and what there is.
    """
    kinds = {(tuple(sorted(item.resources.items())), item.executor): item for item in reversed(list(items))}
    for item in reversed(kinds.values()):
        workers = least_workers(item)
        wants = f"phase '{item.label}' wants {workers} worker{'s' * (workers > 1)} with"
        for each, name, text in _KINDS:
            one, total = item.resources[each], sum(node.get(name, 0.0) for node in nodes)
            most = max((node.get(name, 0.0) for node in nodes), default=0.0)
            if workers * one > total + 1e-9:
                raise EnvironmentProblem(
                    f"{wants} {one:g} {text} each, {workers * one:g} in all, but {where} has {total:g}; {_CURE}"
                )
            if one > most + 1e-9:
                raise EnvironmentProblem(
                    f"{wants} {one:g} {text} each, but no node of {where} has more than {most:g}; {_CURE}"
                )
        if item.resources["gpu"] > 1 and not is_whole(item.resources["gpu"]):
            raise EnvironmentProblem(f"{wants} {item.resources['gpu']:g} GPUs each; above 1, GPUs are whole")
        copies = sum(Free(node).copies(*_each(item)) for node in nodes)
        if copies < workers:
            each = " and ".join(f"{item.resources[each]:g} {text}" for each, _, text in _KINDS if item.resources[each])
            raise EnvironmentProblem(
                f"{wants} {each} each, but the nodes of {where} have room for {copies} such at once"
                f"{_SHARES if 0 < item.resources['gpu'] < 1 else ''}; {_CURE}"
            )
        if item.executor != "inprocess" and not any(node.get(DRIVER, 0.0) for node in nodes):
            raise EnvironmentProblem(
                f"phase '{item.label}' wants a worker group, but no node of {where} offers the resource `{DRIVER}`, "
                f"which drives it; start the head with --resources '{{\"{DRIVER}\": 16}}'"
            )


_CURE = "lower `resources:` in the sweep file or use another machine"
_SHARES = " (the share of a worker lies on one GPU)"
