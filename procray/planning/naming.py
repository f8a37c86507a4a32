"""The names of variants and phases: every axis that varies and matters, in the file's order."""

from __future__ import annotations

from procray.planning.dependence import Chain
from procray.planning.facts import Facts
from procray.planning.plan import BASELINE
from procray.spec.axes import Pick
from procray.spec.names import label
from procray.spec.structure import SweepSpec, Tail


def variant_name(spec: SweepSpec, tail: Tail, pick: Pick, *, baseline: bool) -> str:
    """`union/L64/2M/mlp`; `pick` has the values that matter only."""
    parts = [axis.labels[i] for axis, i in zip(spec.axes, pick, strict=True) if i >= 0 and axis.varies]
    if baseline:
        parts.insert(0, BASELINE)
    elif not parts:
        warm = next((link for link in tail.links if link.kind == "procedural"), None)
        mode = next((link.transfer for link in tail.links[bool(warm) :] if link.transfer), None)
        value = spec.value(mode, pick) if mode else None
        task = (*warm.section, "task") if warm else ()
        if warm is not None and all(pick[i] >= 0 for i in spec.relevant(task)):
            parts.append(label("task", spec.value(task, pick)))
        if warm is not None or value is not None:
            parts.append(label("transfer", value or "full"))
        for key in ("perturb", "freeze") if value != "none" else ("freeze",):
            said = next((path for link in tail.links if (path := getattr(link, key))), None)
            done = spec.value(said, pick) if said else None
            parts += [label(key, done)] if done else []
    return "/".join([tail.name, *parts] if tail.name else parts)


def phase_name(
    spec: SweepSpec,
    chain: Chain,
    at: int,
    facts: Facts,
    own: frozenset[int],
    pick: Pick,
    fraction: float | None,
    variant: str,
) -> str:
    """Of the phase `chain.kept[at]`: the variant's, or a warm-up's own, which variants share.

    Args:
        own: the axes that the phase itself depends on.
        fraction: of a matched rerun.
    """
    link = chain.tail.links[chain.kept[at]]
    if link.kind != "procedural":
        several = sum(chain.tail.links[j].kind != "procedural" for j in chain.kept) > 1
        text = f"{variant}/{link.name}" if several and chain.kept[at] != chain.tail.compared else variant
        return text if fraction is None else f"{text}@{fraction:g}"
    section = spec.value(link.section, pick)
    parts = [facts.label] + (
        [label("length", section["length"])] if "length" in section and "task" in facts.recipe.data else []
    )
    for i in sorted(own - facts.unused):
        axis = spec.axes[i]
        budget = axis.path == (*link.section, "tokens") and not facts.decaying
        if axis.varies and axis.path[-1] not in ("task", "length") and not budget:
            parts.append(axis.labels[pick[i]])
    return "/".join(parts)
