"""Text in the place of a procedural task: the control that asks whether any warm-up would have done.

It stays a procedural phase and its tokens count as T1. For a fair comparison it takes the same budget in steps
of nearly the same number of tokens as the tasks that stand beside it in the grid: a block of text is as long as
the sweep's context, so fewer of them make a step.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from procray.spec.cells import Pick
from procray.spec.names import label
from procray.spec.paths import Path, starts_with
from procray.spec.structure import Link

if TYPE_CHECKING:
    from procray.planning.chains import Chains, Source


def of(section: dict[str, Any]) -> dict[str, Any] | None:
    """What `task: {text: ...}` of a section says; None where a task stands there."""
    task = section.get("task")
    return task["text"] if isinstance(task, dict) and "text" in task else None


def data(chains: Chains, link: Link, section: dict[str, Any], pick: Pick) -> Source | None:
    """The text as a source of data. Parameters of tasks do not concern it."""
    where: Path = (*link.section, "task")
    given = of(section)
    assert given is not None
    if link.kind != "procedural":
        chains.report(where, pick, "text stands in place of a procedural task; as a target it is a semantic phase")
        return None
    inside = "corpus" if chains.spec.written((*where, "text", "corpus"), pick) else None
    source = chains.text_data(given, pick, (*where, "text"), inside)
    if source is None:
        return None
    unused = frozenset(
        i
        for i, axis in enumerate(chains.spec.axes)
        if starts_with(axis.path, link.section) and axis.path[len(link.section)] in chains.parameters(section)
    )
    return replace(source, unused=unused, label=label("task", section["task"]))


def batch(chains: Chains, link: Link, section: dict[str, Any], pick: Pick, context: int) -> int | None:
    """Blocks in one step: as the file says, else as many tokens as a step of the first task beside it has."""
    given = of(section)
    assert given is not None
    if "batch" in given or "batch" not in section:
        return given.get("batch")
    length = _length_beside(chains, link, pick)
    return section["batch"] if length is None else max(1, round(section["batch"] * length / context))


def _length_beside(chains: Chains, link: Link, pick: Pick) -> float | None:
    """Mean tokens of a sequence of the first task of the same grid, its parameters at their first values."""
    path = (*link.section, "task")
    axes = chains.spec.axes
    deciding = next((i for i, axis in enumerate(axes) if starts_with(path, axis.path)), None)
    for index in range(len(axes[deciding].values) if deciding is not None else 0):
        other = tuple(
            index if i == deciding else 0 if value >= 0 and starts_with(axis.path, link.section) else value
            for i, (axis, value) in enumerate(zip(axes, pick, strict=True))
        )
        section = chains.spec.value(link.section, other)
        if isinstance(section, dict) and "task" in section and of(section) is None:
            length = chains.mean_tokens(section)
            if length is not None:
                return length
    return None
