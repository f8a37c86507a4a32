"""Crossed donors: `donors:` trains the warm-ups at seeds of their own and sets each before every seed."""

from __future__ import annotations

import pytest
from chain_texts import DIAGNOSTIC, HEAD, TEXT, WARM, build, check, links, step

from procray.errors import SpecError
from procray.planning.load import load_text
from procray.planning.plan import Plan

DONORS = "donors: [5, 6, 7]\n"


def seeds(graph: Plan, kind: str) -> list[int]:
    return [phase.recipe.seed for phase in graph.phases.values() if phase.kind == kind]


def test_every_donor_goes_before_every_target_and_is_trained_once():
    graph = build(DONORS + WARM + TEXT)
    assert graph.donors == [5, 6, 7]
    assert sorted(seeds(graph, "procedural")) == [5, 5, 5, 6, 6, 6, 7, 7, 7]  # three tasks
    assert len(seeds(graph, "semantic")) == 2 * (1 + 3 * 3)
    pairs = [(cell.seed, cell.donor) for cell in graph.cells if cell.variant == "union"]
    assert pairs == [(seed, donor) for seed in (0, 1) for donor in (5, 6, 7)]
    assert [(cell.seed, cell.donor) for cell in graph.cells if cell.is_baseline] == [(0, None), (1, None)]
    labels = {phase.label for phase in graph.phases.values()}
    assert {"baseline s0", "union d5 s1", "union L8 s5"} <= labels


def test_a_donor_of_the_targets_own_seed_is_the_phase_of_a_sweep_without_donors():
    paired, crossed = build(WARM + TEXT), build("donors: [0, 1]\n" + WARM + TEXT)
    assert paired.phases.keys() < crossed.phases.keys()
    assert {cell.donor for cell in paired.cells} == {None}
    own = [cell.compared for cell in crossed.cells if cell.donor in (None, cell.seed)]
    assert own == [cell.compared for cell in paired.cells]
    assert paired.digest != crossed.digest


def test_all_targets_and_reruns_share_the_donors():
    tails = f"""\
targets:
  - name: text
    {TEXT.strip()}
  - name: probe
    {DIAGNOSTIC.strip()}
matched: [0.5]
"""
    graph = build(DONORS + WARM + tails)
    assert len(seeds(graph, "procedural")) == 9
    whole = [(c.variant, c.seed, c.donor) for c in graph.cells if c.fraction is None and not c.is_baseline]
    again = [(c.variant, c.seed, c.donor) for c in graph.cells if c.fraction == 0.5 and not c.is_baseline]
    assert whole == again
    assert len(whole) == len(set(whole)) == (3 + 6) * 2 * 3


def test_all_warm_ups_of_a_cell_have_one_donor():
    pairs = "transfer: {attention: {grid: [union, set]}, mlp: {grid: [union, set]}}\n"
    graph = build(DONORS + WARM + pairs + TEXT)
    assert len(seeds(graph, "procedural")) == 2 * 3
    assert len([cell for cell in graph.cells if not cell.is_baseline]) == 4 * 2 * 3
    chained = build(DONORS + links(step("first", "union"), step("second", "set")))
    for phase in chained.phases.values():
        if phase.kind == "procedural":
            assert all(chained.phases[parent.phase].recipe.seed == phase.recipe.seed for parent in phase.parents)
    assert sorted(seeds(chained, "procedural")) == [5, 5, 6, 6, 7, 7]


def test_phases_between_have_the_targets_seed_and_what_a_warm_up_begins_with_the_donors():
    more = "  - {name: more, finetune: {corpus: c4, tokenizer: byte, tokens: 50k, batch: 8, optimizer: {lr: 1e-4}}}\n"
    graph = build(DONORS + links(step("warm", "set")) + more)
    assert sorted(seeds(graph, "semantic")) == [0] * 4 + [1] * 4
    for cell in graph.cells:
        assert [graph.phases[mark.phase].recipe.seed for mark in cell.stages] == [cell.seed] * 2
    first = f"chain:\n  - {{name: first, {TEXT.rstrip()}}}\n"
    late = build(DONORS + first + step("warm", "set") + f"  - {{{TEXT.rstrip()}}}\n")
    check(late)
    for phase in late.phases.values():
        if phase.kind == "procedural":
            assert [late.phases[parent.phase].recipe.seed for parent in phase.parents] == [phase.recipe.seed]


def test_what_carries_nothing_has_no_donor():
    graph = build(DONORS + WARM + "transfer: {grid: [full, none]}\nfreeze: attention\n" + TEXT)
    assert [(cell.seed, cell.donor) for cell in graph.cells if cell.variant == "none"] == [(0, None), (1, None)]


def test_excluded_cells_are_gone_for_every_donor():
    graph = build(DONORS + WARM + "exclude: [{task: [union, sort]}]\n" + TEXT)
    assert graph.variants == ["baseline", "set"]
    assert len(seeds(graph, "procedural")) == 3


def test_settings_are_searched_after_the_warm_up_of_the_tuning_seed():
    text = DONORS + WARM + DIAGNOSTIC + "select: {axes: [diagnostic.optimizer.lr], seeds: [100]}\n"
    search = build(text)
    assert set(seeds(search, "procedural")) == {100}
    assert search.then is not None
    whole = search.then({trial.variant: trial.setting for trial in search.trials})
    check(whole)
    assert set(seeds(whole, "procedural")) == {5, 6, 7, 100}
    assert {(c.seed, c.donor) for c in whole.cells if not c.is_baseline} == {(s, d) for s in (0, 1) for d in (5, 6, 7)}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("donors: []\n" + WARM + TEXT, "f.yaml:4:1: donors: expected at least one seed"),
        ("donors: [1, 1]\n" + WARM + TEXT, "f.yaml:4:13: donors.1: seed 1 stands here twice"),
        ("donors: [-1]\n" + WARM + TEXT, "f.yaml:4:10: donors.0: a seed is a whole number from 0 to 2^32 - 1 (got -1)"),
        ("donors: 3\n" + WARM + TEXT, "f.yaml:4:9: donors: expected a list of whole numbers"),
        ("donors: {grid: [[1], [2]]}\n" + WARM + TEXT, "f.yaml:4:10: donors: a grid cannot stand here"),
        ("donors: [1]\n" + TEXT, "f.yaml:4:1: donors: the seeds of warm-ups, and this file has no warm-up"),
        ("donor: [1]\n" + WARM + TEXT, "did you mean 'donors'?"),
        (
            "donors: [9, 100]\n" + WARM + DIAGNOSTIC + "select: {axes: [diagnostic.optimizer.lr], seeds: [100]}\n",
            "select.seeds: 100 is also one of the donors; settings are chosen on seeds of their own",
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_with_donors_is_told_with_its_place(text, message):
    with pytest.raises(SpecError) as error:
        load_text(HEAD + text, "f.yaml")
    assert message in str(error.value)


def test_the_order_of_donors_names_nothing():
    text = HEAD + DONORS + WARM + TEXT
    assert load_text(text, "f.yaml", set={"donors": [7, 5, 6]}).settings == ""
    assert load_text(text, "f.yaml", set={"donors": [5, 6]}).settings == "donors=5+6"


def test_too_many_cells_are_counted_with_their_donors():
    text = HEAD + "donors: [" + ", ".join(map(str, range(1000))) + "]\n" + WARM + TEXT
    with pytest.raises(SpecError, match="the grid spans 3,000,000 cells"):
        load_text(text.replace("seeds: [0, 1]", f"seeds: {[*range(1000)]}"), "f.yaml")
