"""Procedural data among the text of a phase: whether they were learned, their tokens, what they are compared with."""

import csv
import io
import json

import pytest

from procray.report.numbers.interchange import results_json
from procray.report.numbers.lineage import streams
from procray.report.numbers.spreadsheets import curves_csv
from procray.report.numbers.summary import summarise
from procray.report.page.answer import answer
from procray.report.page.html_tables import warmups_html
from procray.report.page.write import write_report
from procray.store.store import Store

from ..synthetic import YAML, fill, make_plan

_HEAD, _REST = YAML.split("transfer:")
_TEXT = """semantic:
  corpus: {files: [CORPUS]}
  tokenizer: byte
  tokens: 1024k
  batch_tokens: 1024
  optimizer: {lr: 1e-3, schedule: cosine, min_lr: 0.1}
  evaluate: {every: 102400}
controls: [shuffled, more_semantic]
"""
PLACED = _HEAD.replace(
    "  tokens: {grid: [20k, 40k]}\n  optimizer: {lr: 1e-3}\n", "  tokens: 40k\n  at: {grid: [0, 0.5]}\n"
)
PLACED += _TEXT
T1 = 40_176  # in whole updates


def formula(phase, tokens):
    """0.2 nats better with the task as it is, 0.05 with more text; half of the task is kept at the end."""
    found, seed = phase.recipe.interleaving, phase.recipe.seed
    text = 5 - tokens / 1e6 + 0.05 * seed + 0.003 * (seed % 2)
    if found.task is None:
        return {"loss": text - (0.05 if phase.nominal[phase.end] > 1_030_000 else 0)}
    step = round(tokens / 1024)
    made = found.due(step - 1) if step else 0
    real = "shuffled" not in found.task
    ended = {"procedural_learned_loss": 0.5, "procedural_learned_accuracy": 0.9 if real else 0.05}
    return {
        "loss": text - (0.2 if real else 0.0) - 0.001 * seed,
        "procedural_tokens": round(made * T1 / found.updates),
        "procedural_loss": 1.5 - made / found.updates,
        "procedural_accuracy": 0.45,
        **(ended if made == found.updates else {}),
    }


@pytest.fixture(scope="module")
def graph(tmp_path_factory):
    return make_plan(tmp_path_factory.mktemp("among"), PLACED)


@pytest.fixture(scope="module")
def found(graph, tmp_path_factory):
    store = Store(tmp_path_factory.mktemp("store"))
    fill(graph, store, formula)
    return summarise(graph, store)


def test_what_was_learned_is_told_of_the_moment_after_the_last_update(found):
    ends = {one.name: one for one in found.warmups}
    assert list(ends) == [f"{name}, among the text" for name in ("at0", "at0.5", "at0/shuffled", "at0.5/shuffled")]
    one = ends["at0.5, among the text"]
    assert [(mark.tokens, mark.loss.mean, mark.accuracy.mean) for mark in one.marks] == [(T1, 0.5, 0.9)]
    assert (one.title, one.state, len(one.finished)) == ("identity", "complete", 3)
    assert one.runs[0].curve.tokens[0] == 0
    assert one.runs[0].curve.tokens[-1] == T1
    for said in ("90.0 ± 0.0", "Judged on 256 sequences drawn for it"):
        assert said in answer(found)
        assert said in warmups_html(found)


def test_tokens_of_both_kinds_are_apart(found):
    (target,) = found.targets
    variants = {one.name: one for one in target.variants}
    assert {name: one.t1 for name, one in variants.items() if name in ("baseline", "at0", "at0.5")} == {
        "baseline": 0, "at0": T1, "at0.5": T1,
    }  # fmt: skip
    assert variants["at0.5"].t2 == variants["baseline"].t2 == 1_024_000
    assert variants["at0.5"].runs[0].curve.tokens == variants["baseline"].runs[0].curve.tokens
    value = results_json(found)
    json.dumps(value, allow_nan=False)
    assert {one["name"]: one["t1"] for one in value["variants"]}["at0.5"] == T1
    rows = list(csv.DictReader(io.StringIO(curves_csv(found))))
    theirs = [row for row in rows if row["variant"] == "at0.5, among the text" and row["seed"] == "0"]
    assert {row["role"] for row in theirs} == {"warm-up"}
    assert [int(theirs[i]["tokens"]) for i in (0, -1)] == [0, T1]
    own = [row for row in rows if row["variant"] == "at0.5" and row["seed"] == "0"]
    assert int(own[-1]["tokens_total"]) == 1_024_000 + T1


def test_the_gate_asks_what_can_be_asked_of_one_phase(found):
    (target,) = found.targets
    gates = {one.name: {entry.question: entry for entry in one.gate} for one in target.variants if one.gate}
    assert gates.keys() == {"at0", "at0.5"}
    for gate in gates.values():
        assert "random" not in gate, "nothing is carried"
        states = {name: gate[name].state for name in ("learned", "scratch", "text", "shuffled", "more_semantic")}
        assert set(states.values()) == {"yes"}
        assert gate["text"].values["other"] == gate["more_semantic"].values["other"] == "at0/more_semantic"
        assert "identity ends at 90.0\u202f% accuracy" in gate["learned"].said


def test_one_that_was_not_learned_or_has_not_ended_is_told(graph, tmp_path):
    def badly(phase, tokens):
        row = formula(phase, tokens)
        return {**row, "procedural_learned_accuracy": 0.1} if "procedural_learned_accuracy" in row else row

    for folder, until, state in (("bad", 1.0, "no"), ("half", 0.3, "not run")):
        store = Store(tmp_path / folder)
        fill(graph, store, badly, until=lambda phase, until=until: until)
        (target,) = summarise(graph, store).targets
        (gate,) = (one.gate for one in target.variants if one.name == "at0.5")
        assert {entry.question: entry.state for entry in gate}["learned"] == state


def test_lineage_and_page_name_the_data(graph, found, tmp_path):
    phases = {phase.variant: phase for phase in graph.phases.values()}
    assert streams(phases["at0.5"]).endswith(", identity (length 2-24, vocab 100) among it")
    assert "identity" not in streams(phases["baseline"])
    store = Store(tmp_path / "store")
    fill(graph, store, formula)
    page = write_report(graph, store).page.read_text(encoding="utf-8")
    assert "at0.5, among the text" in page
    assert "procedural tokens come on top of the tokens of text" in page
