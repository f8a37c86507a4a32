"""The distinct phases of a plan: each is registered once, under its id, with every mark that somebody needs of it."""

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from procray.files import canonical_json
from procray.model.outside import Outside
from procray.planning.chains import Chains
from procray.planning.dependence import Chain, Dependence, inherited
from procray.planning.facts import Facts
from procray.planning.identity import phase_id
from procray.planning.inheritance import Giver, Inheritance
from procray.planning.initial import initial
from procray.planning.naming import phase_name, tuning_name
from procray.planning.plan import PlannedPhase
from procray.planning.relevance import restrict
from procray.planning.roles import role
from procray.spec.cells import Pick
from procray.spec.structure import Link
from procray.training.recipe import Evaluation, Init, Kind, Parent, PhaseRecipe

Seeds = tuple[int, int | None]  # of a phase, and of the warm-ups before it where those have one of their own


class Mark(NamedTuple):
    """A phase up to a step, with everything before it."""

    phase: str
    step: int
    tokens: int
    kind: Kind
    begun: Begun
    pace: Mark | None = None  # of the phase whose lengths it follows
    among: int = 0  # procedural tokens among its text, which `tokens` does not count


class Begun:
    """What a phase begins with, at its seed and its donor's. Once for all phases that differ only in how they go on.

    Attributes:
        text: the canonical JSON of `init`.
        before: the marks that it begins with, distinct.
        ancestors: everything before, each phase and step once, the nearest first.
        warmups, t1: the procedural ones among them; their tokens, and those of procedural data among text.
        others: the rest, parents first.
        phases, tokens, warm_tokens: of the chain so far, each phase counted once.
        paces: what the phases among the ancestors follow, and everything before it.
    """

    def __init__(self, init: Init, outside: Container[str], before: tuple[Mark, ...]):
        self.init = init
        self.text = canonical_json(init.to_json())
        self.parents = [parent for parent in init.parents() if parent.phase not in outside]
        self.before = before
        self.ancestors = tuple(_ancestors(before))
        warmups = [mark for mark in self.ancestors if mark.kind == "procedural"]
        self.warmups = [Parent(mark.phase, mark.step) for mark in warmups]
        self.t1 = sum(mark.tokens for mark in warmups) + sum(mark.among for mark in self.ancestors)
        self.others = tuple(Parent(m.phase, m.step) for m in self.ancestors[::-1] if m.kind != "procedural")
        chain = {mark.phase: mark for mark in self.ancestors}
        self.phases = tuple(chain)
        self.tokens = sum(mark.tokens + mark.among for mark in chain.values())
        self.warm_tokens = sum(mark.tokens for mark in chain.values() if mark.kind == "procedural")
        self.warm_tokens += sum(mark.among for mark in chain.values())
        paces = {one.phase: one for mark in self.ancestors if mark.pace for one in _leading(mark.pace)}
        self.paces = tuple(one for one in paces.values() if one.phase not in chain)


class _Beginning(NamedTuple):
    """What a phase begins with before its seed is known."""

    inherits: Inheritance | None
    places: dict[Giver, Place]  # of the givers that are no outside checkpoints
    at_seed: dict[Seeds, Begun]

    @property
    def warm(self) -> bool:
        """Whether a warm-up is among what it descends from."""
        return any(place.facts.link.kind == "procedural" or place.warm for place in self.places.values())


@dataclass(frozen=True, eq=False, slots=True)
class Place:
    """A phase in one cell before its seed is known: everything that its seeds share.

    Attributes:
        at: its number among the kept links of the chain.
        role, skip: see `roles.role`.
        roles: of the phase and of all before, what tells phases of one role apart.
        fraction: of the budget, for a matched rerun.
        asked: tokens as asked for; `step` and `tokens` are what they come to.
        warm: whether warm-ups come before it.
        pace: the place of the phase whose lengths it follows.
    """

    chain: Chain
    at: int
    pick: Pick
    fraction: float | None
    facts: Facts
    decaying: bool
    asked: int
    step: int
    tokens: int
    beginning: _Beginning
    role: str
    skip: int
    roles: dict[str, Any]
    warm: bool
    pace: Place | None = None
    at_seed: dict[Seeds, Mark] = field(default_factory=dict)
    names: dict[bool, str] = field(default_factory=dict)  # of the phase, by whether the seed is one of tuning


def asked_of_warmups(place: Place) -> int:
    """The tokens that the file asks for of all warm-ups before a place, and of data among text, each of them once."""
    asked: dict[tuple[str, int], int] = {}  # what comes before one phase differs in its roles, or is one phase
    waiting = [place]
    while waiting:
        one = waiting.pop()
        waiting += one.beginning.places.values()
        if one.facts.placing is not None:
            asked[one.role, one.step] = one.facts.placing.asked or one.facts.tokens_among(one.step)
        elif one.facts.link.kind == "procedural" and one is not place:
            asked[one.role, one.step] = one.asked
    return sum(asked.values())


class Graph:
    """Phases by id, parents before children, and the outside checkpoints that they begin with.

    Args:
        tuning_seeds: at which the compared phase is evaluated on the tuning split.
        searched: the axes whose values are tried there.
    """

    def __init__(self, chains: Chains, dependence: Dependence, tuning_seeds: frozenset[int], searched: frozenset[int]):
        self.chains, self.dependence = chains, dependence
        self.tuning_seeds, self.searched = tuning_seeds, searched
        self._labels: set[str] = set()
        self.phases: dict[str, PlannedPhase] = {}
        self.outside: dict[str, Outside] = {}
        self._places: dict[tuple[Any, ...], Place] = {}
        self._beginnings: dict[tuple[Any, ...], _Beginning] = {}
        self._among: dict[str, Facts] = {}  # by phase, of those with procedural data among their text
        self._naive_phases = 0
        self._naive_tokens = 0
        self._naive_t1 = 0

    def count(self, end: Mark, name: str) -> None:
        """Notes that a variant needs the phases of a chain, and what it would cost by itself."""
        begun = end.begun
        self._naive_phases += len(begun.phases) + 1
        self._naive_tokens += begun.tokens + end.tokens + end.among
        self._naive_t1 += begun.warm_tokens + end.among + (end.tokens if end.kind == "procedural" else 0)
        # Of what is followed only the lengths are needed, but for them it must be trained.
        self._naive_phases += len(begun.paces)
        self._naive_tokens += sum(mark.tokens for mark in begun.paces)
        self._naive_t1 += sum(mark.tokens for mark in begun.paces)
        for phase in (*begun.phases, *(mark.phase for mark in begun.paces), end.phase):
            members = self.phases[phase].variants
            if not members or members[-1] != name:  # a variant is counted to its end before the next begins
                members.append(name)

    def place(self, chain: Chain, at: int, pick: Pick, fraction: float | None = None, skip: int = 0) -> Place:
        """The phase of `chain.kept[at]` in one cell, with everything before it; `mark` plans it at a seed.

        Args:
            fraction: of the budget, for a matched rerun.
            skip: see `roles.role`.
        """
        chains, (tail, kept, bare) = self.chains, chain
        link = tail.links[kept[at]]
        axes = chains.relevance.chain(tail.links[: kept[at] + 1])
        key = (link, kept[: at + 1], bare, chains.relevance.values(pick, axes), fraction, skip)
        if key not in self._places:
            facts = chains.facts(link, pick)
            assert facts is not None, "checked when the file was loaded"
            facts = facts.shortened(fraction)
            asked = facts.budget if fraction is None else round(facts.budget * fraction)
            step = facts.steps(fraction)
            beginning, its_role = self._beginning(chain, at, pick), role(chains, tail, kept[at], pick, skip)
            before = beginning.places.values()
            own = (link, self._told_apart(link, pick), step if facts.decaying else None, frozenset(map(id, before)))
            roles = {name: one for place in before for name, one in place.roles.items()}
            self._places[key] = Place(
                chain, at, pick, fraction, facts, facts.decaying, asked, step, facts.nominal(step), beginning,
                its_role, skip, {**roles, its_role: own}, beginning.warm,
                self._pace(chain, at, pick) if facts.paced else None,
            )  # fmt: skip
        return self._places[key]

    def _pace(self, chain: Chain, at: int, pick: Pick) -> Place:
        """The place of the phase whose lengths one follows.

        Of a control that `controls:` adds it is the phase that it is a control of; of a shuffled task that the file
        writes out the same phase on the task as it is; of a text the one that stands beside it in the grid.
        """
        tail, kept, bare = chain
        beside = self.chains.followed(tail.links[kept[at]], pick)
        if beside is not None:
            return self.place(chain, at, beside)
        added = tail.links[kept[at]].control is not None and tail.of is not None
        real = tail.of if added and tail.of is not None else self.chains.unshuffled(tail, kept[at])
        return self.place(Chain(real, kept, bare), at, pick)

    def _told_apart(self, link: Link, pick: Pick) -> Any:
        """What two phases of one role differ in: of text that takes the place of tasks, which task it is.

        Two warm-ups are then two texts, of as many tokens together.
        """
        replaced = link.control is not None and link.control.kind == "text" and link.kind == "procedural"
        facts = self.chains.facts(link.control.of if replaced and link.control else link, pick)
        assert facts is not None, "checked when the file was loaded"
        return facts.template

    def _beginning(self, chain: Chain, at: int, pick: Pick) -> _Beginning:
        relevance, (tail, kept, bare) = self.chains.relevance, chain
        i = kept[at]
        key = (id(tail), kept[: at + 1], bare, relevance.values(pick, relevance.bearing(tail, i)))
        if key not in self._beginnings:
            inherits = inherited(self.chains, chain, i, pick)
            givers = [giver for one in inherits.taken for giver in one.givers if not giver.outside] if inherits else []
            self._beginnings[key] = _Beginning(inherits, self._givers(chain, givers), {})
        return self._beginnings[key]

    def _givers(self, chain: Chain, givers: list[Giver]) -> dict[Giver, Place]:
        """The places of what a phase begins with, no two of them, nor of what is before them, in one role.

        That takes care only where a giver stands in for the warm-up of its cell: links of one cell are numbered.
        """
        places: dict[Giver, Place] = {}
        roles: dict[str, Any] = {}
        for giver in sorted(dict.fromkeys(givers), key=lambda one: bool(one.replaced)):
            place = self.place(chain, chain.kept.index(giver.link), giver.pick)
            while place.role in roles and roles[place.role] != place.roles[place.role]:
                place = self.place(chain, place.at, giver.pick, skip=place.skip + 1)
            places[giver] = place
            roles |= place.roles
        return places

    def mark(self, place: Place, seed: int, donor: int | None = None) -> Mark:
        """A place planned at a seed.

        Args:
            donor: the seed of the warm-ups before it, and of all that those begin with; None: its own.
        """
        if place.facts.link.kind == "procedural":
            seed, donor = (seed if donor is None else donor), None
        elif not place.warm:
            donor = None
        seeds = seed, donor
        if seeds in place.at_seed:
            return place.at_seed[seeds]
        chain, facts, step = place.chain, place.facts, place.step
        if seed in self.tuning_seeds and place.at == chain.compared:
            facts = facts.on_tuning_split
        begun = place.beginning.at_seed.get(seeds) or self._begin(place.beginning, seeds)
        steps = step if place.decaying else None
        pace = None if place.pace is None else self.mark(place.pace, *seeds)
        paced_by = "" if pace is None else pace.phase
        id = phase_id(facts.template, begun.text, place.role, seed, steps, paced_by)
        phase = self.phases.get(id)
        if phase is None:
            name = self._name(place, seed in self.tuning_seeds)
            phase = self._add(id, facts, begun, place.role, seeds, steps, name, paced_by)
        else:
            if phase.resources != facts.resources:
                phase.resources = _enough_for_both(phase.resources, facts.resources)
            if phase.recipe.evaluation != facts.recipe.evaluation:
                phase.recipe = replace(
                    phase.recipe, evaluation=_fine_enough_for_both(phase.recipe.evaluation, facts.recipe.evaluation)
                )
        budgets = phase.asked.setdefault(step, [])
        if place.asked not in budgets:
            budgets.append(place.asked)
        mark = Mark(id, step, place.tokens, facts.link.kind, begun, pace, facts.tokens_among(step))
        place.at_seed[seeds] = mark
        return mark

    def _name(self, place: Place, tuning: bool) -> str:
        if tuning not in place.names:
            spec, chain, at, facts = self.chains.spec, place.chain, place.at, place.facts
            used = self.dependence.up_to(chain, chain.kept[at], place.pick)
            searched = self.searched & used if facts.link.kind != "procedural" else frozenset[int]()
            name = phase_name(spec, chain, at, facts, used - searched, place.pick, place.fraction)
            if tuning and facts.link.kind != "procedural":
                name = tuning_name(spec, chain, at, name, restrict(place.pick, searched))
            place.names[tuning] = f"{name}#{place.skip}" if place.skip else name
        return place.names[tuning]

    def _begin(self, beginning: _Beginning, seeds: Seeds) -> Begun:
        before: dict[str, Mark] = {}

        def parent(giver: Giver) -> Parent:
            if giver.outside:
                self.outside[giver.outside] = self.chains.checkpoints.found[giver.outside]
                return Parent(giver.outside, 0)
            mark = self.mark(beginning.places[giver], *seeds)
            before[f"{mark.phase}@{mark.step}"] = mark
            return Parent(mark.phase, mark.step)

        init = Init() if beginning.inherits is None else initial(beginning.inherits, parent, seeds[0])
        begun = beginning.at_seed[seeds] = Begun(init, self.outside, tuple(before.values()))
        return begun

    def _add(
        self,
        id: str,
        facts: Facts,
        begun: Begun,
        role: str,
        seeds: Seeds,
        steps: int | None,
        variant: str,
        paced_by: str = "",
    ) -> PlannedPhase:
        seed, donor = seeds
        ending = f"s{seed}" if donor is None else f"d{donor} s{seed}"
        own = {"init": begun.init, "role": role, "seed": seed, "steps": steps, "paced_by": paced_by}
        recipe = PhaseRecipe(**{**vars(facts.recipe), **own})
        shown = variant.replace("/", " ") if recipe.kind == "procedural" else variant
        if f"{shown} {ending}" in self._labels:  # what the file tells apart by more than grids, such as two targets
            variant, shown = f"{variant}~{id[:4]}", f"{shown}~{id[:4]}"
        self._labels.add(f"{shown} {ending}")
        phase = self.phases[id] = PlannedPhase(
            id=id,
            recipe=recipe,
            label=f"{shown} {ending}",
            variant=variant,
            marks=[],
            nominal={},
            asked={},
            parents=begun.parents,
            resources=facts.resources,
            variants=[],
            tokens_per_step=facts.tokens_per_step,
            vocab=facts.vocab,
            rows=facts.rows,
            flops=facts.flops_per_step,
        )
        if facts.placing is not None:
            self._among[id] = facts
        return phase

    def finish(self) -> dict[str, Any]:
        """Completes the phases, once all are there; returns the plan's totals."""
        for phase in self.phases.values():
            phase.marks = sorted(phase.asked)
            phase.nominal = {step: round(step * phase.tokens_per_step) for step in phase.marks}
            phase.asked = {step: sorted(phase.asked[step]) for step in phase.marks}
            phase.flops *= phase.end  # until here, of one step
        for id, facts in self._among.items():
            phase = self.phases[id]
            phase.procedural_tokens = facts.tokens_among(phase.end)
            assert facts.placing is not None
            phase.flops += facts.placing.flops * facts.inserted(phase.end)
        ends = [(phase.kind, phase.nominal[phase.end]) for phase in self.phases.values()]
        ends += [("procedural", phase.procedural_tokens) for phase in self.phases.values()]
        return {
            "phases": len(self.phases),
            "naive_phases": self._naive_phases,
            "tokens": sum(tokens for _, tokens in ends),
            "naive_tokens": self._naive_tokens,
            "t1_tokens": sum(tokens for kind, tokens in ends if kind == "procedural"),
            "naive_t1_tokens": self._naive_t1,
            "flops": float(sum(phase.flops for phase in self.phases.values())),
            **({"tokens_at_most": True} if any(phase.recipe.growing for phase in self.phases.values()) else {}),
        }


def _leading(mark: Mark) -> list[Mark]:
    """Everything that must be trained for a mark, what is followed included, and itself."""
    return list(_ancestors((mark,), paces=True))


def _ancestors(before: tuple[Mark, ...], paces: bool = False) -> Iterator[Mark]:
    """Everything that leads to some marks and they themselves, each phase and step once.

    Args:
        paces: also what they follow.
    """
    seen: set[tuple[str, int]] = set()
    waiting = list(before)
    while waiting:
        one = waiting.pop(0)
        if (one.phase, one.step) not in seen:
            seen.add((one.phase, one.step))
            yield one
            waiting.extend(one.begun.before)
            if paces and one.pace is not None:
                waiting.append(one.pace)


def _enough_for_both(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """The resources of a phase that two parts of a sweep describe; what need not be said only where they agree."""
    may_lack = {"executor", "min_workers"}
    merged = {key: max(one[key], other[key]) for key in one.keys() - may_lack}
    return {**merged, **{key: one[key] for key in may_lack & one.keys() if one[key] == other.get(key)}}


def _fine_enough_for_both(one: Evaluation, other: Evaluation) -> Evaluation:
    """How a warm-up is evaluated that two parts of a sweep look at: as often and on as much as either asks."""
    return replace(one, every=min(one.every, other.every), sequences=max(one.sequences, other.sequences))
