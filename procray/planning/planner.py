"""From a sweep to its plan: variants, their cells and the settings that are tried for them.

Planning is pure: it reads no network and trains nothing. Phases are equal when their recipes are, so
warm-ups are shared among targets, transfer modes and sweeps; with a constant schedule budgets share
a phase too, as marks on one run.
"""

from __future__ import annotations

import itertools
from collections.abc import Container, Sequence
from dataclasses import replace
from typing import Any

from procray.files import digest
from procray.garbage import keeping_everything
from procray.planning.chains import Chains
from procray.planning.controlled import has_heads
from procray.planning.dependence import Chain, Dependence
from procray.planning.graph import Graph, asked_of_warmups
from procray.planning.naming import axis_labels, variant_name
from procray.planning.plan import Cell, Choices, Plan, Trial
from procray.planning.relevance import restrict
from procray.planning.sweep import Sweep
from procray.spec.cells import Pick, picks
from procray.spec.controls import kind_of
from procray.spec.structure import Tail
from procray.training.recipe import Parent


def plan(spec: Sweep, choices: Choices | None = None) -> Plan:
    """Turns a sweep into its graph of phases and its cells. Pure, and quick: 100,000 cells in seconds.

    Args:
        choices: what the search of a sweep with `select:` has chosen; without them only the search is planned.
            A variant that is not named has no cells.
    """
    with keeping_everything():
        result = _Planner(spec, choices).plan()
    if spec.search and choices is None:
        result.then = lambda found: plan(spec, found)
        first: dict[str, dict[str, Any]] = {}
        for trial in result.trials:
            first.setdefault(trial.variant, trial.setting)
        whole = _Planner(spec, first).plan()
        key = "naive_phases" if _reaches_others(spec, spec.chains) else "phases"
        result.totals["then_phases"] = whole.totals[key] - result.totals[key]
    return result


def _reaches_others(spec: Sweep, chains: Chains) -> bool:
    """Whether a searched axis changes phases that variants share: how many there will be depends on the choices."""
    assert spec.search
    return any(
        spec.search.axes & (chains.relevance.own(link) | chains.relevance.begin(link))
        for tail in spec.tails
        for i, link in enumerate(tail.links)
        if i != tail.compared
    )


class _Planner:
    def __init__(self, spec: Sweep, choices: Choices | None = None):
        self.spec, self.choices, self.chains = spec, choices, spec.chains
        self.searched = spec.search.axes if spec.search else frozenset[int]()
        self.tuning_seeds = frozenset(spec.search.seeds if spec.search else ())
        self.dependence = Dependence(spec.chains)
        self.graph = Graph(spec.chains, self.dependence, self.tuning_seeds, self.searched)
        self.same: dict[str, str] = {}
        self.controls: dict[str, dict[str, str]] = {}
        self.cells: list[Cell] = []
        self.trials: list[Trial] = []

    def plan(self) -> Plan:
        spec = self.spec
        for tail in spec.tails:
            self._tail(tail)
        totals = self.graph.finish()
        search = None
        if spec.search:
            names = [spec.axes[i].name for i in sorted(self.searched)]
            search = {"axes": names, "seeds": list(spec.search.seeds), "by": spec.search.by}
        return Plan(
            name=spec.name,
            scale=spec.scale,
            setting=spec.setting,
            question=spec.question,
            spec=spec.resolved,
            source=spec.source,
            phases=self.graph.phases,
            cells=self.cells,
            resources=spec.resources,
            retries=spec.retries,
            matched=spec.matched,
            published=spec.published,
            axes=[{"name": axis.name, "values": axis.values, "labels": axis.labels} for axis in spec.axes],
            totals=totals,
            search=search,
            trials=self.trials,
            outside=self.graph.outside,
            same=self.same,
            controls=self.controls,
            settings=spec.settings,
            file=spec.file,
        )

    def _tail(self, tail: Tail) -> None:
        """Adds the cells of one tail: the baselines, then everything else in the file's order."""
        spec, chains = self.spec, self.chains
        kept = tuple(i for i, link in enumerate(tail.links) if link.kind != "procedural")
        cold = Chain(chains.bare(tail), kept, bare=True)
        warm = Chain(tail, tuple(range(len(tail.links))), bare=False)
        all_picks = picks(spec.axes, spec.selection, chains.axes_of(tail.links), tail.target)
        bare = chains.axes_of(tuple(cold.tail.links[i] for i in cold.kept), bare=True)
        # By variant, the settings that compete for it: one where nothing is searched.
        cold_variants: dict[Pick, dict[Pick, Pick]] = {}
        for pick in {restrict(pick, bare): None for pick in all_picks}:
            used = restrict(pick, self.dependence.axes(cold, pick))
            cold_variants.setdefault(self._without_searched(used), {}).setdefault(used, used)
        names: dict[Pick, str] = {}
        known: dict[Any, tuple[str, str]] = {}  # by what is read of a variant: its name and that of its baseline
        for variant, settings in cold_variants.items():
            name = self._distinct(variant_name(spec, tail, variant, baseline=True), variant, {*names.values()})
            names[variant] = self._variant(cold, settings, name, "", known)
        same = cold.tail is tail and cold.kept == warm.kept
        if same and not chains.relevance.begin(tail.links[0]) and not self._begins(tail, all_picks):
            return
        made: list[tuple[Pick, dict[Pick, Pick], str, str]] = []
        variants: dict[Pick, dict[Pick, Pick]] = {}
        for pick in all_picks:
            used = restrict(pick, self.dependence.axes(warm, pick))
            variants.setdefault(self._without_searched(used), {}).setdefault(used, pick)
        taken = {*names.values()}
        for variant, settings in variants.items():
            bottom = restrict(next(iter(settings.values())), bare)
            baseline = names[self._without_searched(restrict(bottom, self.dependence.axes(cold, bottom)))]
            name = self._distinct(variant_name(spec, tail, variant, baseline=False), variant, taken)
            taken.add(name)
            if self._variant(warm, settings, name, baseline, known) == name:
                made.append((variant, settings, name, baseline))
        for control in map(kind_of, spec.controls):
            for variant, settings, name, baseline in made:
                chain = self._control(tail, control, cold, warm, settings)
                if chain is None:
                    continue
                own = {restrict(pick, self.dependence.axes(chain, pick)): pick for pick in settings.values()}
                its_name = self._distinct(f"{name}/{control}", variant, taken)
                taken.add(its_name)
                found = self._variant(chain, own, its_name, baseline, known, control)
                if found not in (name, baseline):
                    self.controls.setdefault(name, {})[control] = found

    def _control(self, tail: Tail, kind: str, cold: Chain, warm: Chain, settings: dict[Pick, Pick]) -> Chain | None:
        """The chain of a control of one variant; None where it has no warm-up, or names no heads to draw others of."""
        t1 = asked_of_warmups(self.graph.place(warm, warm.compared, next(iter(settings.values()))))
        if not t1:
            return None
        if kind == "more_semantic":
            return Chain(self.chains.longer(cold.tail, t1), cold.kept, bare=True)
        if kind == "random_heads" and not has_heads(self.chains, tail, next(iter(settings.values()))):
            return None
        found = next((control for control in tail.controls if control.control == kind), None)
        return None if found is None else Chain(found, warm.kept, bare=False)

    def _distinct(self, name: str, variant: Pick, taken: Container[str]) -> str:
        """A name that nothing else has: where labels of several axes are alike, with digits of what they stand for."""
        if name not in taken:
            return name
        axes = {axis.name: axis.values[i] for axis, i in zip(self.spec.axes, variant, strict=True) if i >= 0}
        return f"{name}~{digest(axes)[:4]}"

    def _without_searched(self, pick: Pick) -> Pick:
        return tuple([-1 if i in self.searched else value for i, value in enumerate(pick)]) if self.searched else pick

    def _begins(self, tail: Tail, cells: list[Pick]) -> bool:
        """Whether the first phase of a chain begins with anything but random weights, or with frozen ones."""
        found = self.chains.inherit(tail, 0, None, cells[0]) if cells else None
        return found is not None and bool(found.taken or found.freeze)

    def _variant(
        self,
        chain: Chain,
        settings: dict[Pick, Pick],
        name: str,
        baseline: str,
        known: dict[Any, tuple[str, str]],
        control: str = "",
    ) -> str:
        """One variant: the search among its settings, and the cells of the one that is chosen.

        Args:
            baseline: empty for a baseline.
            known: what is read of the variants of this tail; gains this one.
            control: which control it is; empty for a variant of the grid.

        Returns:
            Its name: an earlier one's where this is the same by another name, of which only `same` then tells.
        """
        spec = self.spec
        if len(settings) > 1 or not spec.search or self.choices is not None:
            seed = min(self.tuning_seeds) if len(settings) > 1 else spec.seeds[0]
            donor = None if seed in self.tuning_seeds else next(iter(spec.donors), None)
            read = tuple(self._read(chain, used, pick, seed, donor) for used, pick in settings.items())
            first, its_baseline = known.setdefault(read, (name, baseline))
            if first != name and its_baseline in ("", baseline):
                self.same[name] = first
                return first
        baseline = baseline or name
        for used, pick in settings.items():
            setting = {spec.axes[i].name: spec.axes[i].values[used[i]] for i in sorted(self.searched) if used[i] >= 0}
            if len(settings) > 1:
                self._trials(chain, pick, used, setting, name, baseline, control)
                if self.choices is None or self.choices.get(name) != setting:
                    continue
            elif spec.search and self.choices is None:
                continue
            self._cells(chain, pick, used, name, baseline, control)
        return name

    def _read(self, chain: Chain, used: Pick, pick: Pick, seed: int, donor: int | None) -> tuple[Any, ...]:
        """The compared mark and the last one; at a tuning seed, which trains no later phases, the pick."""
        last = len(chain.kept) - 1
        compared = self.graph.mark(self.graph.place(chain, chain.compared, pick), seed, donor)
        if chain.compared == last:
            return compared.phase, compared.step
        if seed in self.tuning_seeds:
            return compared.phase, compared.step, used
        end = self.graph.mark(self.graph.place(chain, last, pick), seed, donor)
        return compared.phase, compared.step, end.phase, end.step

    def _trials(
        self, chain: Chain, pick: Pick, used: Pick, setting: dict[str, Any], name: str, baseline: str, control: str
    ) -> None:
        """One setting of a variant at every tuning seed."""
        label = "/".join(axis_labels(self.spec, restrict(used, self.searched)))
        full = f"tuning/{name}/{label}"
        place = self.graph.place(chain, chain.compared, pick)
        for seed in sorted(self.tuning_seeds):
            end = self.graph.mark(place, seed)
            self.trials.append(
                Trial(name, setting, label, seed, chain.tail.name, end.phase, end.step, baseline, control)
            )
            self.graph.count(end, full)

    def _cells(self, chain: Chain, pick: Pick, used: Pick, name: str, baseline: str, control: str) -> None:
        """One variant, or the baseline, at every seed, after the warm-ups of every donor, and its matched reruns.

        Args:
            used: the pick without what does not matter.
        """
        spec, graph, tail, last = self.spec, self.graph, chain.tail, len(chain.kept) - 1
        axes = {axis.name: axis.values[i] for axis, i in zip(spec.axes, used, strict=True) if i >= 0}
        axes |= {"controls": control} if control else {}
        place = graph.place(chain, chain.compared, pick)
        place_of_end = place if chain.compared == last else graph.place(chain, last, pick)
        # The baseline too may do better with a schedule of its own for fewer tokens.
        fractions = () if control else spec.matched
        own = place.decaying or place.facts.placing is not None  # else a shorter run is the beginning of the longer
        reruns = [graph.place(chain, place.at, pick, fraction) if own else place for fraction in fractions]
        warm = place.warm or place_of_end.warm
        donors: Sequence[int | None] = spec.donors if warm and spec.donors else [None]
        for seed, donor in itertools.product(spec.seeds, donors):
            whole = graph.mark(place, seed, donor)
            end = graph.mark(place_of_end, seed, donor)
            ends = [end]
            begun = whole.begun
            stages = (*end.begun.others, *([Parent(end.phase, end.step)] if end.kind != "procedural" else ()))
            cell = Cell(
                name, seed, axes, tail.name, whole.phase, whole.step, begun.warmups, baseline, begun.t1 + whole.among,
                stages=stages if len(stages) > 1 else (), donor=donor, control=control,
            )  # fmt: skip
            self.cells.append(cell)
            for fraction, rerun in zip(fractions, reruns, strict=True):
                shorter = graph.mark(rerun, seed, donor)
                ends += [shorter] if rerun is not place else []
                self.cells.append(
                    replace(cell, compared=shorter.phase, step=place.facts.steps(fraction), fraction=fraction)
                )
            for one in ends:
                graph.count(one, name)
