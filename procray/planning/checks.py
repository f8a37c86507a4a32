"""What can be said of a sweep only once its chains of phases are known: whether they hold, and what is searched."""

from __future__ import annotations

import itertools
from collections.abc import Collection
from dataclasses import replace

from procray.errors import Problem, did_you_mean
from procray.planning.chains import Chains
from procray.planning.controlled import check_controls, entry_problem
from procray.planning.facts import Facts
from procray.spec.axes import find_axes_of_targets
from procray.spec.cells import MOST_CELLS, Pick, combinations, picks
from procray.spec.controls import kind_of
from procray.spec.structure import Search, SweepSpec, Tail


def check(spec: SweepSpec, chains: Chains, broken: Collection[str]) -> list[Problem]:
    """Everything that is wrong with the chains of a sweep. Settles `spec.search`.

    Args:
        broken: names of grids that cannot be used; they have been reported.
    """
    for tail in spec.tails:
        cells = combinations(spec.axes, spec.selection, chains.axes_of(tail.links)) * len(spec.seeds)
        cells *= max(1, len(spec.donors)) * (1 + len(spec.controls))
        if cells > MOST_CELLS:
            about = f" of the target '{tail.name}'" if tail.name else ""
            message = f"the grid{about} spans {cells:,} cells, and at most {MOST_CELLS:,} are planned"
            return [Problem(0, 0, message, "", spec.root.place.file)]
    _check_chains(spec, chains, spec.tails)
    check_controls(spec, chains)
    if not chains.problems:  # what is wrong with a chain is wrong with its controls too
        _check_made_controls(spec, chains)
    return [*_settle_search(spec, chains, broken), *chains.problems.values()]


def _check_made_controls(spec: SweepSpec, chains: Chains) -> None:
    """Looks at the chains that `controls:` adds; what is wrong with them is told where it asks for them."""
    for i, entry in enumerate(spec.controls):
        _check_chains(spec, chains, [c for tail in spec.tails for c in tail.controls if c.control == kind_of(entry)])
        found = list(chains.problems.values())
        chains.problems.clear()
        for problem in found:
            told = entry_problem(spec, i, f"{kind_of(entry)}: {problem.message}")
            chains.problems.setdefault((told.file, told.line, told.column), replace(told, not_here=problem.not_here))
        if found:
            return


def _check_chains(spec: SweepSpec, chains: Chains, tails: list[Tail]) -> None:
    """Looks at every phase and every handing-over of weights in every cell once."""
    for tail in tails:
        relevant = chains.axes_of(tail.links)
        cells = picks(spec.axes, spec.selection, relevant, tail.target)
        if not cells and spec.selection.exclude:
            message = "every cell of the grid is excluded" + (f" for the target '{tail.name}'" if tail.name else "")
            chains.report(("exclude",), tuple(-1 for _ in spec.axes), message)
        cold = [i for i, link in enumerate(tail.links) if link.kind != "procedural"]
        for pick in cells:
            for i, link in enumerate(tail.links):
                facts = chains.facts(link, pick)
                if i == tail.compared and facts is not None and facts.decaying and spec.matched:
                    shortest = facts.steps(spec.matched[0])
                    if facts.recipe.optimizer.warmup_steps >= shortest:
                        message = f"{spec.matched[0]:g} of the budget ({shortest} steps) is no longer than its warm-up"
                        chains.report(("matched",), pick, message)
                if i == tail.compared and facts is not None and facts.placing is not None:
                    _check_shortened(spec, chains, facts, pick)
                chains.inherit(tail, i, i - 1 if i else None, pick)
            for before, i in itertools.pairwise(cold):
                if before != i - 1:  # in the baseline, the phases between them are gone
                    chains.inherit(tail, i, before, pick)
    chains.unused_parameters()


def _check_shortened(spec: SweepSpec, chains: Chains, facts: Facts, pick: Pick) -> None:
    """Whether procedural data have room among the text of every matched rerun too."""
    assert facts.placing is not None
    for fraction in spec.matched:
        found = facts.placing.among(facts.steps(fraction), facts.tokens_per_step)
        if isinstance(found, str):
            chains.report(("matched",), pick, f"{fraction:g} of the budget: {found}")


def _settle_search(spec: SweepSpec, chains: Chains, broken: Collection[str]) -> list[Problem]:
    """Settles which axes are searched, and on which seeds."""
    node = spec.root.value.get("select")
    given = spec.base.get("select", {})
    if node is None or not node.is_mapping:
        return []
    problems: list[Problem] = []
    common: frozenset[int] = frozenset()  # the axes that some baseline has
    for tail in spec.tails:
        cold = [link for link in chains.bare(tail).links[: tail.compared + 1] if link.kind != "procedural"]
        common |= chains.axes_of(tuple(cold), bare=True)
    names = [spec.axes[i].name for i in sorted(common)]
    searched: set[int] = set()
    items = node.value["axes"].value if "axes" in node.value else []
    for item in items if isinstance(items, list) else []:
        if not isinstance(item.value, str) or any(name.endswith(item.value) for name in broken):
            continue
        found = find_axes_of_targets(spec.axes, item.value, common)
        if isinstance(found, str):
            problems.append(item.place.problem(f"select.axes: {found}"))
            continue
        for i in sorted(found - common):
            listed = f" (axes of the baseline: {', '.join(names)})" if names else ""
            problems.append(
                item.place.problem(
                    f"select.axes: the baseline does not have {spec.axes[i].name}, so both arms cannot get the same"
                    f" search{did_you_mean(item.value, names)}{listed}"
                )
            )
        for i in sorted(found & searched):
            problems.append(item.place.problem(f"select.axes: {spec.axes[i].name} stands here twice"))
        searched |= found
    for group in spec.selection.groups:
        inside = searched.intersection(group)
        for i in sorted(set(group) - searched) if inside else ():
            problems.append(
                node.place.problem(
                    f"select.axes: {spec.axes[min(inside)].name} is zipped with {spec.axes[i].name}: name both"
                )
            )
    seeds = given.get("seeds", [])
    places = node.value["seeds"].value if "seeds" in node.value else []
    for seed, item in zip(seeds, places if isinstance(places, list) else [], strict=False):
        if seed in spec.seeds or seed in spec.donors:
            what = "a seed of the sweep" if seed in spec.seeds else "one of the donors"
            message = f"select.seeds: {seed} is also {what}; settings are chosen on seeds of their own"
            problems.append(item.place.problem(message))
    spec.search = Search(frozenset(searched), tuple(seeds), given.get("by", "best"))
    return problems
