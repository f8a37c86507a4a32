"""The role of a phase in its chain, which keys what it draws; see `procray.model.draws`.

A role follows from what a phase is for, never from its place alone: the target of a baseline and that of a variant
have one role, and a warm-up has the same one in front of every target. Only phases of one chain that would have the
same role are numbered, in the file's order, so that another phase behind them, or on another task, changes none.
"""

from __future__ import annotations

from procray.planning.chains import Chains
from procray.planning.identity import warmup_role
from procray.spec.cells import Pick
from procray.spec.structure import Tail


def role(chains: Chains, tail: Tail, i: int, pick: Pick, skip: int = 0) -> str:
    """Of link `i` in one cell: `target/semantic`, `warmup/union`, `warmup/union#1`.

    Args:
        skip: so many numbers are left to other phases.
    """
    own = _unnumbered(chains, tail, i, pick)
    assert own is not None, "checked when the file was loaded"
    number = skip + sum(
        1
        for j, link in enumerate(tail.links[:i])
        if link.kind == tail.links[i].kind and _unnumbered(chains, tail, j, pick) == own
    )
    return f"{own}#{number}" if number else own


def _unnumbered(chains: Chains, tail: Tail, i: int, pick: Pick) -> str | None:
    """None where a phase that does not belong to this cell is wrong in it."""
    link = tail.links[i]
    if link.kind != "procedural":
        return f"target/{link.kind}"
    facts = chains.facts(link, pick)
    return None if facts is None else warmup_role(facts.recipe.data)
