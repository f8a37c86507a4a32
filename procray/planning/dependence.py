"""On which axes a variant's chain really depends in one cell, when what is never read or carried is left out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

from procray.planning.chains import Chains
from procray.planning.inheritance import Inheritance, randomised
from procray.spec.cells import Pick
from procray.spec.structure import Tail


class Chain(NamedTuple):
    """The links of a tail that a variant has.

    Attributes:
        kept: their numbers, ascending; in a baseline without the warm-ups.
        bare: it is a baseline.
    """

    tail: Tail
    kept: tuple[int, ...]
    bare: bool

    @property
    def compared(self) -> int:
        """The place of the compared link in `kept`."""
        return self.kept.index(self.tail.compared)


def inherited(chains: Chains, chain: Chain, i: int, pick: Pick) -> Inheritance | None:
    """What link `i` of the chain begins with; None for random weights, all of them trained.

    A baseline lacks the warm-ups: what they would have given is random in it, and a phase that would have
    begun with nothing else is no longer frozen either.
    """
    before = [j for j in chain.kept if j < i]
    if chain.bare and not before:
        return None
    found = chains.inherit(chain.tail, i, before[-1] if before else None, pick)
    assert found is not None, "checked when the file was loaded"
    if not chain.bare:
        return found
    taken = tuple(one for one in found.taken if all(g.outside or g.link in before for g in one.givers))
    orphan = bool(found.taken) and not taken
    return None if orphan else replace(found, taken=taken)


class Dependence:
    """Sets of axes, by chain and by the values that decide them."""

    def __init__(self, chains: Chains):
        self._chains = chains
        self._used: dict[tuple[Any, ...], frozenset[int]] = {}

    def axes(self, chain: Chain, pick: Pick) -> frozenset[int]:
        """The axes on which a chain really depends in this cell."""
        last, compared = chain.kept[-1], chain.tail.compared
        found = self.up_to(chain, last, pick)
        return found if last == compared else found | self.up_to(chain, compared, pick)

    def up_to(self, chain: Chain, i: int, pick: Pick) -> frozenset[int]:
        """The same for link `i` and all that it begins with."""
        relevance = self._chains.relevance
        tail, kept, bare = chain
        facts = self._chains.facts(tail.links[i], pick)
        assert facts is not None, "checked when the file was loaded"
        key = (id(tail), kept, i, bare, relevance.values(pick, relevance.bearing(tail, i)))
        if key not in self._used:
            self._used[key] = self._beginning(chain, i, pick)
        return (relevance.own(tail.links[i]) - facts.unused) | self._used[key]

    def _beginning(self, chain: Chain, i: int, pick: Pick) -> frozenset[int]:
        """The axes on which what link `i` begins with depends; how the link itself is trained plays no part."""
        chains, link = self._chains, chain.tail.links[i]
        found: frozenset[int] = frozenset()
        begins = inherited(chains, chain, i, pick)
        if begins is None:
            return found
        found |= chains.relevance.begin(link)
        if link.perturb and (not begins.taken or randomised(chain.tail, link, begins.taken)):
            # There is nothing to perturb, or a control does otherwise.
            found -= chains.spec.relevant(link.perturb)
        for giver in {giver for one in begins.taken for giver in one.givers if not giver.outside}:
            found |= self.up_to(chain, giver.link, giver.pick) - giver.replaced
        return found
