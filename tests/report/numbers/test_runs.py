"""A phase that stopped because it was solved counts as trained to the end of its cell."""

import json

import pytest

from procray.report.numbers.runs import Reader
from procray.report.numbers.summary import summarise
from procray.store.store import Store

from ..synthetic import fill, make_plan


@pytest.fixture
def solved(tmp_path):
    """The finished sweep, but one baseline of the task that ends at full accuracy, 300k of its 400k tokens."""
    plan, store = make_plan(tmp_path), Store(tmp_path / "store")
    fill(plan, store)
    phase = next(p for p in plan.phases.values() if p.label == "find/baseline s0")
    journal = store.phase(phase.id).path / "journal" / "1.jsonl"
    rows = [json.loads(line) for line in journal.read_text().splitlines()]
    rows = [row for row in rows if row["accuracy"] < 1] + [{**next(r for r in rows if r["accuracy"] == 1)}]
    rows[-1]["solved"] = True
    journal.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return plan, store, phase, rows


def test_its_curve_goes_on_at_the_last_values(solved):
    plan, store, phase, rows = solved
    cell = next(cell for cell in plan.cells if cell.compared == phase.id)
    run = Reader(plan, store).run(cell)
    assert (run.state, run.done, run.accuracy) == ("done", True, 1.0)
    assert run.step == rows[-1]["step"] < run.last_step  # what was really trained
    assert run.curve.steps[-1] == cell.step
    assert run.curve.tokens[-1] == run.budget
    added = len(run.curve.steps) - len(rows)
    assert added == 5  # 320k, 340k, ... 400k
    assert set(run.curve.accuracy[-added:]) == {1.0}
    assert set(run.curve.flops[-added:]) == {rows[-1]["flops"]}  # nothing more was spent


def test_the_report_is_the_one_of_a_phase_that_trained_on(solved, results):
    plan, store, _, _ = solved
    found = {variant.name: variant for variant in summarise(plan, store).variants}
    for variant in results.variants:
        assert found[variant.name].state == "complete"
        assert found[variant.name].final_accuracy == variant.final_accuracy
        assert found[variant.name].levels == variant.levels


def test_a_phase_that_was_cut_off_is_not_taken_for_solved(solved):
    plan, store, phase, rows = solved
    del rows[-1]["solved"]
    path = store.phase(phase.id).path / "journal" / "1.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    cell = next(cell for cell in plan.cells if cell.compared == phase.id)
    assert not Reader(plan, store).run(cell).done


def test_every_donor_is_a_run_paired_with_the_baseline_of_its_target(tmp_path):
    plan, store = make_plan(tmp_path, donors=[7, 8]), Store(tmp_path / "store")
    fill(plan, store)
    for target in summarise(plan, store).targets:
        for variant in target.variants:
            runs = [(run.seed, run.donor) for run in variant.runs]
            donors = [None] if variant.is_baseline else [7, 8]
            assert runs == [(seed, donor) for seed in (0, 1, 2) for donor in donors]
            assert variant.state == "complete"
            base = {run.seed: run for run in target.baseline_of(variant).runs}
            expected = [run.final(target.metric) - base[run.seed].final(target.metric) for run in variant.runs]
            assert target.seed_differences(variant) == expected


def test_controls_are_known_by_their_variants(tmp_path):
    words = {"controls": ["shuffled", {"text": "python-stdlib"}, "random", "more_semantic"], "matched": []}
    plan, store = make_plan(tmp_path, **words), Store(tmp_path / "store")
    fill(plan, store)
    for target in summarise(plan, store).targets:
        found = {variant.name: variant for variant in target.variants}
        assert {variant.control for variant in target.baselines} == {""}
        for variant in target.warmed:
            assert variant.state == "complete"
            assert set(variant.controls) == (set() if variant.control else set(kinds(words)))
            for kind, name in variant.controls.items():
                assert (found[name].control, found[name].baseline) == (kind, variant.baseline)
                assert found[name].family != variant.family  # they are no points of its curve
            if variant.controls:
                assert found[variant.controls["more_semantic"]].t2 >= variant.t1 + variant.t2 - 1024
                assert abs(found[variant.controls["text"]].t1 - variant.t1) <= 1024


def kinds(words):
    return [next(iter(one)) if isinstance(one, dict) else one for one in words["controls"]]


CHAIN = """name: long
model: {layers: 1, heads: 2, width: 16, context: 64}
chain:
  - {procedural: {task: union, length: 8, batch: 8, tokens: 10k, optimizer: {lr: 1e-3}}}
  - {procedural: {task: set, length: 8, batch: 8, tokens: 20k, optimizer: {lr: 1e-3}}}
  - {diagnostic: {task: haystack, pairs: 4, batch: 8, tokens: 10k, optimizer: {lr: 1e-3}}}
"""


def test_what_a_warm_up_began_with_has_its_cost_too(tmp_path):
    plan, store = make_plan(tmp_path, CHAIN), Store(tmp_path / "store")
    fill(plan, store)
    (compared,) = {cell.compared for cell in plan.cells if not cell.is_baseline}
    reader = Reader(plan, store)
    above = [phase for phase in plan.phases.values() if phase.kind == "procedural"]
    assert len(above) == 2
    spent = sum(reader.rows(phase.id)[-1]["flops"] for phase in above)
    assert reader.flops_before(plan.phases[compared].parents) == spent > 0


def test_a_warm_up_that_was_solved_cost_what_it_consumed(tmp_path):
    solved = "tokens: 20k, evaluate: {every: 4k, solved: {accuracy: 0.9, evaluations: 1}}, optimizer"
    plan = make_plan(tmp_path, CHAIN.replace("tokens: 20k, optimizer", solved))
    store = Store(tmp_path / "store")

    def formula(phase, tokens):
        there = phase.recipe.evaluation.solved is not None and tokens > 7000
        return {"loss": 1.0, "accuracy": 0.95 if there else 0.1, **({"solved": True} if there else {})}

    fill(plan, store, formula)
    cell = next(cell for cell in plan.cells if not cell.is_baseline)
    reader = Reader(plan, store)
    used = [reader.rows(phase.id)[-1]["tokens"] for phase in plan.phases.values() if phase.kind == "procedural"]
    assert 17_000 < sum(used) < 20_000 < cell.t1
    assert reader.t1(cell) == sum(used)
