"""Where sequences grow with what is mastered, tokens are those consumed: from real training to tables and files."""

from __future__ import annotations

import csv
import io
from statistics import fmean

import pytest

from procray.cli.live import Row, line, row
from procray.report import lineage_text, results_json, summarise
from procray.report.numbers.spreadsheets import curves_csv
from procray.selection.standing import Standing
from procray.store.store import Store
from tests import growing


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("growing")
    graph, store = growing.make(folder), Store(folder / "store")
    growing.train(graph, store)
    return graph, store


@pytest.fixture(scope="module")
def results(trained):
    return summarise(*trained)


def warmups(graph, kind):
    """By seed."""
    return {p.recipe.seed: p for p in graph.phases.values() if p.kind == "procedural" and p.label.startswith(kind)}


def consumed(store, phase, step):
    return next(row["tokens"] for row in store.phase(phase.id).curve() if row["step"] == step)


def test_controls_consume_what_the_real_task_consumed_step_by_step(trained):
    graph, store = trained
    for seed, real in warmups(graph, "identity").items():
        there = {row["step"]: (row["tokens"], row["length"]) for row in store.phase(real.id).curve()}
        assert there[real.end][0] < real.nominal[real.end], "it was not always as long as it may get"
        shuffled, text = warmups(graph, "shuffled")[seed], warmups(graph, "text")[seed]
        own = {row["step"]: (row["tokens"], row["length"]) for row in store.phase(shuffled.id).curve()}
        assert own == there
        blocks = text.recipe.batch
        for one in store.phase(text.id).curve():
            assert abs(one["tokens"] - there[one["step"]][0]) <= blocks / 2 * one["step"], "to half a token a block"
            assert one["unique_tokens"] <= one["tokens"]


def test_interrupted_often_they_give_the_same_bits(trained, tmp_path):
    """A command that is stopped every few steps, and one that is not."""
    graph, whole = trained

    def soon():
        left = iter(range(7))
        return lambda: next(left, None) is None

    store = Store(tmp_path / "store")
    growing.train(graph, store, soon)
    for phase in graph.phases.values():
        for mark in phase.marks:
            one, other = (there.phase(phase.id).manifest(mark) for there in (whole, store))
            assert one["files"]["model.safetensors"] == other["files"]["model.safetensors"], phase.label
            assert one["tokens"] == other["tokens"], phase.label


def test_t1_is_what_was_consumed(trained, results):
    graph, store = trained
    (target,) = results.targets
    found = {variant.name: variant for variant in target.variants}
    real = warmups(graph, "identity")
    for name, mark in (("1k", 0), ("3k", 1)):
        t1 = round(fmean(consumed(store, phase, phase.marks[mark]) for phase in real.values()))
        assert t1 < real[0].nominal[real[0].marks[mark]]
        assert found[name].t1 == found[f"{name}/shuffled"].t1 == t1
        assert found[f"{name}/text"].t1 == pytest.approx(t1, abs=real[0].marks[mark])
        assert {run.seed: run.warmup_tokens for run in found[name].runs} == {
            seed: consumed(store, phase, phase.marks[mark]) for seed, phase in real.items()
        }
    assert found["baseline"].t1 == 0
    written = {entry["name"]: entry["t1"] for entry in results_json(results)["variants"]}
    assert written == {name: variant.t1 for name, variant in found.items()}


def test_tables_of_warm_ups_and_lineage_say_what_was_consumed(trained, results):
    graph, store = trained
    for warmup in results.warmups:
        phases = [phase for phase in graph.phases.values() if phase.variant == warmup.name]
        for number, mark in enumerate(warmup.marks):
            assert mark.tokens == round(fmean(consumed(store, one, one.marks[number]) for one in phases))
    most = max(consumed(store, phase, phase.end) for phase in warmups(graph, "identity").values())
    (line,) = [line for line in lineage_text(graph, store).splitlines() if line.startswith("identity/")]
    assert f"{most / 1000:.3g}k tokens, 2 seeds" in line.replace("\N{NARROW NO-BREAK SPACE}", "")
    one = warmups(graph, "shuffled")[0]
    told = lineage_text(graph, store, one.id)
    assert "with the lengths, step by step, of identity" in told
    assert "began with random weights" in told


def test_curves_of_a_spreadsheet_count_what_came_before_each_seed(trained, results):
    graph, store = trained
    real = warmups(graph, "identity")
    rows = [row for row in csv.DictReader(io.StringIO(curves_csv(results))) if row["variant"] == "3k"]
    for entry in rows:
        before = consumed(store, real[int(entry["seed"])], real[0].end)
        assert int(entry["tokens_total"]) == before + int(entry["tokens"])


def test_status_says_what_was_consumed_and_what_it_may_be_at_most(trained, tmp_path):
    graph, store = trained
    real = warmups(graph, "identity")[0]
    done: Row = row(real, store, Standing(graph, store))
    assert (done.tokens, done.budget) == (consumed(store, real, real.end),) * 2
    waiting = row(real, Store(tmp_path / "empty"), Standing(graph, Store(tmp_path / "empty")))
    assert (waiting.tokens, waiting.budget, waiting.at_most) == (0, real.nominal[real.end], True)
    assert "0 of ≤" in line(waiting)


def test_what_follows_a_failed_phase_is_skipped(trained, tmp_path):
    graph, store = trained[0], Store(tmp_path / "store")
    real, control = warmups(graph, "identity")[0], warmups(graph, "shuffled")[0]
    store.phase(real.id).set_status("failed", reason="a NaN", final=True, step=3)
    state, reason = Standing(graph, store).of(control.id)
    assert state == "skipped"
    assert reason == f"the phase that it follows, {real.label} failed"
