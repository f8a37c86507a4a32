"""The distinct phases of a plan: each is registered once, under its id, with every mark that somebody needs of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from procray.model.components import parts_of
from procray.model.outside import Outside
from procray.planning.chains import Chains
from procray.planning.dependence import Chain, inherited
from procray.planning.facts import Facts
from procray.planning.identity import phase_id
from procray.planning.inheritance import Giver, Inheritance
from procray.planning.naming import phase_name
from procray.planning.plan import PlannedPhase
from procray.spec.axes import Pick
from procray.training.recipe import Init, Kind, Parent, PhaseRecipe, Share


class Mark(NamedTuple):
    """A phase up to a step, with everything before it."""

    phase: str
    step: int
    tokens: int
    kind: Kind
    before: tuple[Mark, ...]  # distinct


class Graph:
    """Phases by id, parents before children, and the outside checkpoints that they begin with.

    Args:
        tuning_seeds: at which the compared phase is evaluated on the tuning split.
    """

    def __init__(self, chains: Chains, tuning_seeds: frozenset[int]):
        self.chains, self.tuning_seeds = chains, tuning_seeds
        self.phases: dict[str, PlannedPhase] = {}
        self.outside: dict[str, Outside] = {}
        self._marks: dict[str, dict[int, dict[int, None]]] = {}  # phase -> step -> budgets asked for
        self._members: dict[str, dict[str, None]] = {}  # phase -> variants
        self._built: dict[tuple[Any, ...], Mark] = {}
        self._naive_phases = 0
        self._naive_tokens = 0
        self._naive_t1 = 0

    def count(self, end: Mark, name: str) -> None:
        """Notes that a variant needs the phases of a chain, and what it would cost by itself."""
        chain = {mark.phase: mark for mark in (*ancestors(end), end)}
        self._naive_phases += len(chain)
        for mark in chain.values():
            self._naive_tokens += mark.tokens
            self._naive_t1 += mark.tokens if mark.kind == "procedural" else 0
            self._members[mark.phase][name] = None

    def build(self, chain: Chain, at: int, pick: Pick, seed: int, name: str, fraction: float | None = None) -> Mark:
        """The phase of `chain.kept[at]` in one cell, planned with everything before it.

        Args:
            name: the variant's; it names the phases that no other variant has.
            fraction: of the budget, for a matched rerun.
        """
        chains, (tail, kept, bare) = self.chains, chain
        i = kept[at]
        axes = chains.relevance.chain(tail.links[: i + 1])
        key = (tail.links[i], kept[: at + 1], bare, chains.relevance.values(pick, axes), seed, fraction)
        if key in self._built:
            return self._built[key]
        facts = chains.facts(tail.links[i], pick)
        assert facts is not None
        if i == tail.compared and seed in self.tuning_seeds:
            facts = chains.on_tuning_split(facts)
        before: dict[str, Mark] = {}

        def parent(giver: Giver) -> Parent:
            if giver.outside:
                self.outside[giver.outside] = chains.checkpoints.found[giver.outside]
                return Parent(giver.outside, 0)
            mark = self.build(chain, kept.index(giver.link), giver.pick, seed, name)
            before[f"{mark.phase}@{mark.step}"] = mark
            return Parent(mark.phase, mark.step)

        begins = inherited(chains, chain, i, pick)
        init = Init() if begins is None else _init(begins, parent)
        step = facts.steps(fraction)
        id = phase_id(facts.template, init, seed, step if facts.decaying else None)
        if id not in self.phases:
            own = chains.relevance.own(tail.links[i])
            variant = phase_name(chains.spec, chain, at, facts, own, pick, fraction, name)
            self._add(id, facts, init, seed, step, variant)
        elif self.phases[id].resources != facts.resources:
            self.phases[id].resources = _enough_for_both(self.phases[id].resources, facts.resources)
        asked = facts.budget if fraction is None else round(facts.budget * fraction)
        self._marks[id].setdefault(step, {})[asked] = None
        mark = Mark(id, step, facts.nominal(step), tail.links[i].kind, tuple(before.values()))
        self._built[key] = mark
        return mark

    def _add(self, id: str, facts: Facts, init: Init, seed: int, step: int, variant: str) -> None:
        steps = step if facts.decaying else None
        recipe = PhaseRecipe(**{**vars(facts.recipe), "init": init, "seed": seed, "steps": steps})
        self.phases[id] = PlannedPhase(
            id=id,
            recipe=recipe,
            label=f"{variant.replace('/', ' ') if recipe.kind == 'procedural' else variant} s{seed}",
            variant=variant,
            marks=[],
            nominal={},
            asked={},
            parents=[parent for parent in init.parents() if parent.phase not in self.outside],
            resources=facts.resources,
            variants=[],
            tokens_per_step=facts.tokens_per_step,
            vocab=facts.vocab,
            rows=facts.rows,
            flops=facts.flops_per_step,
        )
        self._marks[id] = {}
        self._members[id] = {}

    def finish(self) -> dict[str, Any]:
        """Completes the phases, once all are there; returns the plan's totals."""
        for id, phase in self.phases.items():
            asked = self._marks[id]
            phase.marks = sorted(asked)
            phase.nominal = {step: round(step * phase.tokens_per_step) for step in phase.marks}
            phase.asked = {step: sorted(asked[step]) for step in phase.marks}
            phase.variants = list(self._members[id])
            phase.flops *= phase.end  # until here, of one step
        ends = [(phase.kind, phase.nominal[phase.end]) for phase in self.phases.values()]
        return {
            "phases": len(self.phases),
            "naive_phases": self._naive_phases,
            "tokens": sum(tokens for _, tokens in ends),
            "naive_tokens": self._naive_tokens,
            "t1_tokens": sum(tokens for kind, tokens in ends if kind == "procedural"),
            "naive_t1_tokens": self._naive_t1,
            "flops": float(sum(phase.flops for phase in self.phases.values())),
        }


def ancestors(mark: Mark) -> Iterator[Mark]:
    """Everything before a mark, each phase and step once."""
    seen: set[tuple[str, int]] = set()
    waiting = list(mark.before)
    while waiting:
        one = waiting.pop(0)
        if (one.phase, one.step) not in seen:
            seen.add((one.phase, one.step))
            yield one
            waiting.extend(one.before)


def _init(begins: Inheritance, parent: Callable[[Giver], Parent]) -> Init:
    """What a phase begins with, its givers turned into marks."""
    components: dict[str, Parent] = {}
    shares: list[Share] = []
    for one in begins.taken:
        first = parent(one.giver)
        second = parent(one.second) if one.second else None
        if one.layers is None and second in (None, first):
            components[one.part] = first
        else:
            blend = second if second != first else None
            shares.append(Share(one.part, first, one.layers, blend, one.weight if blend else None))
    carried = parts_of([*components, *(share.part for share in shares)])
    return Init(
        components,
        begins.embeddings if "embeddings" in carried else "copy",
        tuple(sorted(shares, key=lambda share: (share.part, share.layers or ()))),
        begins.perturb if carried else None,
        begins.freeze,
    )


def _enough_for_both(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """The resources of a phase that two parts of a sweep describe; what need not be said only where they agree."""
    may_lack = {"executor", "min_workers"}
    merged = {key: max(one[key], other[key]) for key in one.keys() - may_lack}
    return {**merged, **{key: one[key] for key in may_lack & one.keys() if one[key] == other.get(key)}}
