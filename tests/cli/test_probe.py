"""`procray probe` on phases that have really been trained."""

from __future__ import annotations

import importlib.util
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from procray import corpora, tasks
from procray.cli import main
from procray.execution.segment import run_segment
from procray.report.numbers.probing import open_subject
from procray.store.store import Store
from procray.training.interleaving import Interleaving
from procray.training.recipe import Evaluation, ModelShape, Optimizer, PhaseRecipe

sys.path.insert(0, str(Path(__file__).parents[1] / "downstream"))

SYMBOLS = PhaseRecipe(
    kind="procedural",
    model=ModelShape(layers=2, heads=2, width=16, context=64),
    data={"task": tasks.get("identity", length=8, vocab=20).recipe()},
    batch=8,
    optimizer=Optimizer(lr=3e-3),
    evaluation=Evaluation(every=5, sequences=16),
    seed=0,
)
SOURCE = Path(__file__).parents[2] / "procray" / "model"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A store with a phase of symbols and two of text, and their ids."""
    folder = tmp_path_factory.mktemp("trained")
    path = folder / "store"
    data = corpora.recipe({"files": [str(SOURCE / "*.py")], "holdout": 0.4}, "byte")
    corpora.prepare(data, path / "corpora", 1)
    text = replace(SYMBOLS, kind="semantic", data=data, model=replace(SYMBOLS.model, context=96))
    recipes = [SYMBOLS, text, replace(text, seed=1)]
    for recipe in recipes:
        job = {"store": str(path), "recipe": recipe.to_json(), "label": "x", "until": 5, "marks": [5]}
        assert run_segment(job, lambda: False)["state"] == "done"
    return path, [recipe.id for recipe in recipes]


@pytest.fixture
def procray(trained, monkeypatch, capsys):
    """The command in this process: its exit code, answer and messages."""

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["procray", "probe", *words, "--store", str(trained[0])])
        with pytest.raises(SystemExit) as stopped:
            main()
        out, err = capsys.readouterr()
        return int(stopped.value.code or 0), out, err

    return run


def files(store: Path) -> set[Path]:
    return {path for path in store.rglob("*") if path.is_file()}


def test_a_phase_of_text_is_asked_everything_once(procray, trained):
    store, (_, text, _) = trained
    before = files(store)
    code, out, err = procray(text, "--items", "8")
    assert code == 0, err
    for said in ("retrieval", "16 tokens between", "chance, %", "agreement", "identifiers", "mathematics", "bits"):
        assert said in out
    assert "do not fit into the model's 96 positions" in out
    (kept,) = files(store) - before
    assert kept.parent == store / "analysis" / "downstream"
    assert kept.name.startswith(f"{text}@5-")
    assert "hops: 1 steps" in err
    code, again, err = procray(text, "--items", "8")
    assert (code, again) == (0, out)
    assert "hops" not in err  # nobody was asked
    assert files(store) - before == {kept}


def test_phases_are_compared_item_by_item(procray, trained):
    _, (_, one, other) = trained
    code, out, err = procray(one, other, "--probes", "hops,noise", "--texts", "prose", "--items", "8", "--json")
    assert code == 0, err
    found = json.loads(out)
    first, second = found["phases"]
    assert {probe["probe"] for probe in first["probes"]} == {"hops", "noise"}
    assert [text["domain"] for text in first["texts"]] == ["prose"]
    (apart,) = found["differences"]
    assert len(apart["probes"]) == len(first["probes"])
    for a, b, difference in zip(first["probes"], second["probes"], apart["probes"], strict=True):
        assert a["digest"] == b["digest"]
        assert difference["loss"]["mean"] == pytest.approx(np.mean(b["losses"]) - np.mean(a["losses"]), abs=1e-5)
        assert difference["items"] == 8
    (text,) = apart["texts"]
    expected = second["texts"][0]["bits_per_byte"] - first["texts"][0]["bits_per_byte"]
    assert text["bits_per_byte"]["mean"] == pytest.approx(expected, abs=1e-5)
    code, out, _ = procray(one, other, "--probes", "hops", "--items", "8")
    assert "2 less 1 (95 %)" in out
    assert "mathematics" not in out  # one choice is all that is asked
    assert out.count("do not fit") == 0
    assert "nothing is compared" not in out


def test_a_phase_of_symbols_is_asked_what_needs_no_text(procray, trained):
    _, (symbols, *_) = trained
    code, out, err = procray(symbols, "--items", "8")
    assert code == 0, err
    assert "induction" in out
    assert "bits per byte need a model of text" in out
    assert "noise: it is made from held-out text, and the model has no tokenizer" in out
    code, out, err = procray(trained[1][1], symbols, "--probes", "hops", "--items", "8")
    assert code == 0, err
    assert "2: asked other items than 1" in out


def test_what_cannot_be_asked_is_told_at_once_and_nothing_written(procray, trained):
    store, (symbols, text, _) = trained
    before = files(store)
    code, out, err = procray(symbols, text, "--probes", "inducton,noise", "--texts", "proze", "--items", "8")
    assert (code, out) == (2, "")
    assert "no probe is called 'inducton'; did you mean 'induction'?" in err
    assert err.count("inducton") == 1
    assert "noise: it is made from held-out text" in err
    assert "no domain is called 'proze'; did you mean 'prose'?" in err
    code, out, err = procray(symbols, "--tasks", "piqa")
    assert code in (2, 3)
    assert "has no tokenizer" in err
    code, out, err = procray("nothing")
    assert (code, out) == (2, "")
    assert "has no phase 'nothing'" in err
    assert files(store) == before


def test_without_lm_eval_its_tasks_are_named_as_an_extra(procray, trained, monkeypatch):
    monkeypatch.setattr("procray.downstream.harness.importlib.util.find_spec", lambda name: None)
    code, out, err = procray(trained[1][1], "--tasks", "piqa")
    assert (code, out) == (3, "")
    assert "pip install 'procray[lm-eval]'" in err


@pytest.mark.skipif(
    importlib.util.find_spec("lm_eval") is None, reason="lm-eval, an optional package, is not installed"
)
def test_local_tasks_are_asked_and_never_kept(procray, trained, tmp_path):
    from local_tasks import write_tasks

    store, (_, text, _) = trained
    folder = write_tasks(tmp_path / "tasks", kinds=("own_choice",))
    before = files(store)
    code, out, err = procray(text, "--tasks", "own_choice", "--include", str(folder), "--json")
    assert code == 0, err
    ((task,),) = [phase["tasks"] for phase in json.loads(out)["phases"]]
    assert task["task"] == "own_choice"
    assert task["metrics"]["acc,none"] == pytest.approx(np.mean(task["items"]["acc"]))
    code, out, err = procray(text, "--tasks", str(folder / "own_choice.yaml"))
    assert code == 0, err
    assert files(store) == before  # the files may say something else tomorrow
    code, out, _ = procray(text, "--tasks", "own_choice", "--include", str(folder))
    assert "acc_norm" in out
    assert "±" in out


def test_text_of_a_phase_with_a_task_among_it_is_predicted_over_its_own_rows(trained):
    """As in its training and evaluation: the rows of symbols, which stand behind the text's, are no candidates."""
    import torch

    path, (_, text, _) = trained
    recipe = Store(path).phase(text).recipe()
    among = Interleaving(22, SYMBOLS.data["task"], "warmup/identity", batch=4, updates=4, start=2, sequences=8)
    placed = replace(recipe, interleaving=among)
    job = {"store": str(path), "recipe": placed.to_json(), "label": "x", "until": 5, "marks": [5]}
    assert run_segment(job, lambda: False)["state"] == "done"
    subject, plain = (open_subject(Store(path), phase) for phase in (placed.id, text))
    assert len(subject.model.table.weight) >= 257 + 22
    hidden = torch.zeros(1, subject.model.config.width)
    assert subject.model.unembed(hidden).shape == plain.model.unembed(hidden).shape == (1, 257)
