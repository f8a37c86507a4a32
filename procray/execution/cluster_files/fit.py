"""Whether every phase of a sweep finds a node."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from procray.execution.cluster_files.findings import Findings
from procray.execution.packing import Free
from procray.execution.room import DRIVER
from procray.spec.tree import Place


@dataclass(frozen=True)
class NodeType:
    """Machines of one kind: what each offers, and how many there can be at most."""

    name: str
    resources: dict[str, float]
    most: int


@dataclass(frozen=True)
class Need:
    """What one phase takes.

    Attributes:
        workers: processes that it needs to start, of which each stays on one node.
        group: they form a worker group, which a trial of its own drives.
    """

    label: str
    workers: int
    cpu: float
    gpu: float
    group: bool


def needs_of(plan: Any) -> list[Need]:
    """What the phases of a plan take, each kind of need once, by the first phase that has it."""
    from procray.execution.jobs import needs

    found: dict[tuple[Any, ...], Need] = {}
    for label, executor, resources in needs(plan):
        workers = int(resources.get("least", resources["workers"]))
        cpu, gpu = float(resources["cpu"]), float(resources["gpu"])
        need = Need(label, workers, cpu, gpu, executor != "inprocess")
        found.setdefault((workers, cpu, gpu, need.group), need)
    return list(found.values())


def check_fit(needs: Iterable[Need], types: list[NodeType], place: Place | None, findings: Findings) -> None:
    """Names each phase that no node type has room for."""
    for need in needs:
        each = f"{need.cpu:g} processor{'s' * (need.cpu != 1)}"
        each += f" and {need.gpu:g} GPU{'s' * (need.gpu != 1)}" if need.gpu else ""
        wants = f"phase '{need.label}' wants {need.workers} worker{'s' * (need.workers > 1)} with {each} each"
        rooms = {kind.name: _copies(kind.resources, need) for kind in types}
        if not any(rooms.values()):
            have = "; ".join(f"{kind.name} has {_text(kind.resources)}" for kind in types)
            findings.add(place, f"{wants}, and no node type offers that ({have})")
            continue
        total = sum(rooms[kind.name] * kind.most for kind in types)
        if total < need.workers:
            findings.add(
                place, f"{wants}, and with every node type at its max_workers there is room for {total} of them"
            )
        if need.group and not any(kind.resources.get(DRIVER, 0) for kind in types):
            text = f"phase '{need.label}' is a worker group, and no node type offers `{DRIVER}`, which drives it"
            findings.add(place, f"{text}; write `{DRIVER}: 16` into the head's resources")


def _copies(resources: dict[str, float], need: Need) -> int:
    return Free(resources).copies(need.cpu, need.gpu)


def _text(resources: dict[str, float]) -> str:
    kept = {name: value for name, value in resources.items() if name != DRIVER and value}
    return ", ".join(f"{value:g} {name}" for name, value in kept.items()) or "nothing for training"
