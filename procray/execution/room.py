"""Which segments have room on the nodes of a cluster, now, later or never.

A worker needs all of its processors and GPUs on one node; only the workers of a group may be spread.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from procray.errors import EnvironmentProblem
from procray.execution.agenda import Item

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
    config = state.get_cluster_config()
    groups = [] if config is None else [(dict(g.resources), g.max_count) for g in config.node_group_configs]
    return Nodes(tuple(live), tuple(_growth(live, groups)), frozenset(nodes), frozenset(leaving))


def _growth(live: Sequence[Node], groups: Iterable[tuple[Node, int]]) -> list[Node]:
    """Nodes that may come, of node types with the most that there may be (negative: any number)."""
    found = []
    for resources, most in groups:
        there = sum(
            1 for node in live if all(node.get(name, 0.0) == resources.get(name, 0.0) for name in ("CPU", "GPU"))
        )
        found += [{name: float(count) for name, count in resources.items()}] * max(
            0, (_COPIES if most < 0 else most) - there
        )
    return found


class Room:
    """Whether there is room for one segment more beside those that run. Looks at the cluster once a second."""

    def __init__(self, look: Callable[[], Nodes], lost: Callable[[], float] = lambda: -math.inf):
        """`lost` says when the cluster last lost a node that had not been announced, by the monotonic clock."""
        self._look = look
        self._lost = lost
        self._next = 0.0
        self._nodes = Nodes(())
        self._known: tuple[Any, ...] = ()
        self._left: list[Node] = []

    @property
    def lost(self) -> float:
        return self._lost()

    @property
    def many(self) -> bool:
        """Whether the cluster has, or may have, more than one node."""
        return len(self._nodes.all) > 1

    def fits(self, item: Item, running: Sequence[Item]) -> bool:
        if time.monotonic() >= self._next:
            self._nodes = self._look()
            self._next = time.monotonic() + _LOOK_EVERY
        known = (self._nodes, tuple(one.key for one in running))
        if self._known != known:
            self._left = [dict(node) for node in self._nodes.all]
            for one in sorted(running, key=lambda one: -_size(one)):
                _place(one, self._left)  # what finds no place runs on a node that is gone: its end is near
            self._known = known
        return _place(item, [dict(node) for node in self._left])


def _size(item: Item) -> float:
    return item.resources["gpu"] * 1e6 + item.resources["cpu"]


def _place(item: Item, left: list[Node]) -> bool:
    """Takes the resources of a segment's workers from `left`, each on the node where it fits most tightly."""
    for _ in range(int(least_workers(item))):
        roomy = [node for node in left if _copies(node, item)]
        if not roomy:
            return False
        node = min(roomy, key=lambda node: (node.get("GPU", 0.0), node.get("CPU", 0.0)))
        for each, name, _text in _KINDS:
            node[name] = node.get(name, 0.0) - item.resources[each]
    return True


def least_workers(item: Item) -> int:
    """With how many workers a segment may start."""
    return int(item.resources.get("least", item.resources["workers"]))


def _copies(node: Node, item: Item) -> int:
    """How many of a segment's workers a node has room for."""
    fits = [node.get(name, 0.0) / item.resources[each] for each, name, _ in _KINDS if item.resources[each]]
    return max(0, math.floor(min(fits, default=1.0) + 1e-9))


def slots(items: Iterable[Item], nodes: Sequence[Node]) -> int:
    """How many segments fit side by side."""
    kinds = {tuple(sorted(item.resources.items())): item for item in items}
    counts = [sum(_copies(node, item) for node in nodes) // least_workers(item) for item in kinds.values()]
    return max([1, *counts])


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
        copies = sum(_copies(node, item) for node in nodes)
        if copies < workers:
            each = " and ".join(f"{item.resources[each]:g} {text}" for each, _, text in _KINDS if item.resources[each])
            raise EnvironmentProblem(
                f"{wants} {each} each, but the nodes of {where} have room for {copies} such at once; {_CURE}"
            )
        if item.executor != "inprocess" and not any(node.get(DRIVER, 0.0) for node in nodes):
            raise EnvironmentProblem(
                f"phase '{item.label}' wants a worker group, but no node of {where} offers the resource `{DRIVER}`, "
                f"which drives it; start the head with --resources '{{\"{DRIVER}\": 16}}'"
            )


_CURE = "lower `resources:` in the sweep file or use another machine"
