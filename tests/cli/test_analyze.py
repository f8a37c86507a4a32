"""`procray analyze` on a phase that has really been trained."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from procray import tasks
from procray.cli import main
from procray.execution.segment import run_segment
from procray.report.figures import inside as analysis_figures
from procray.training.recipe import Evaluation, Init, ModelShape, Optimizer, Parent, PhaseRecipe

WARM = PhaseRecipe(
    kind="procedural",
    model=ModelShape(layers=2, heads=2, width=16, context=32),
    data={"task": tasks.get("identity", length={"min": 2, "max": 8}, vocab=12).recipe()},
    batch=8,
    optimizer=Optimizer(lr=3e-3),
    evaluation=Evaluation(every=10, sequences=16),
    seed=0,
)
AFTER = replace(
    WARM,
    kind="diagnostic",
    data={"task": tasks.get("haystack", pairs=3).recipe()},
    init=Init({name: Parent(WARM.id, 10) for name in ("attention", "mlp", "layernorm")}),
)


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("trained") / "store"
    for recipe in (WARM, AFTER):
        job = {"store": str(path), "recipe": recipe.to_json(), "label": "x", "until": 10, "marks": [10]}
        assert run_segment(job, lambda: False)["state"] == "done"
    return path


@pytest.fixture
def procray(store, monkeypatch, capsys):
    """The command in this process: its exit code, answer and messages."""

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["procray", *words, "--store", str(store)])
        with pytest.raises(SystemExit) as stopped:
            main()
        out, err = capsys.readouterr()
        return int(stopped.value.code or 0), out, err

    return run


def test_a_trained_phase_is_looked_into(procray, store, tmp_path, monkeypatch):
    for score in ("previous", "induction", "first"):  # drawn like the one that is left
        monkeypatch.delitem(analysis_figures.SHOWN, score)
    code, out, err = procray("analyze", AFTER.id[:8], "--out", str(tmp_path / "out"))
    assert code == 0, err
    for said in (
        "parent",
        "start",
        "made again from its recipe",
        "entropy end",
        "induction",
        "attention",
        "0.0",
        "1.1",
    ):
        assert said in out
    numbers = json.loads((tmp_path / "out" / "analysis.json").read_text())
    (phase,) = numbers["phases"]
    assert [look["role"] for look in phase["looks"]] == ["parent", "start", "end"]
    # All of the blocks was carried over, so the start is as far from the end as the parent is.
    from_parent, from_start = (
        {e["component"]: e["relative"] for e in d["entries"] if e["layer"] == "all"} for d in phase["distances"]
    )
    assert from_parent["attention"] == pytest.approx(from_start["attention"])
    assert from_parent["attention"] > 0
    assert (tmp_path / "out" / "analysis.html").is_file()
    assert (tmp_path / "out" / "figures" / "heads-normalised.png").is_file()
    assert {path.name for path in Path(store).iterdir()} == {"phases", "analysis"}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["nothing"], "has no phase 'nothing'"),
        ([f"{WARM.id}@7"], "no mark at step 7"),
        ([WARM.id, "--on", "identty"], "did you mean 'identity'"),
        ([WARM.id, "--sequences", "0"], "--sequences"),
    ],
)
def test_a_mistake_is_named_with_exit_code_2(procray, words, says):
    code, out, err = procray("analyze", *words)
    assert (code, out) == (2, "")
    assert says in err


def test_json_is_all_that_stands_on_stdout(procray, store, monkeypatch):
    monkeypatch.setattr("procray.report.figures.inside.pictures", lambda inside: [])
    code, out, _ = procray("analyze", WARM.id, "--json", "--on", "repeat", "--sequences", "4")
    assert code == 0
    (phase,) = json.loads(out)["phases"]
    assert phase["looks"][-1]["scores"]["queries"] == 4 * (2 * phase["looks"][-1]["period"] - 1)


def test_in_somebody_elses_store_the_numbers_are_told_without_a_page(procray, store, monkeypatch):
    before = {path for path in Path(store).rglob("*") if "analysis" in path.parts}
    monkeypatch.setattr("procray.cli.analysis_view.may_write", lambda folder: False)
    code, out, err = procray("analyze", WARM.id[:8], "--on", "repeat", "--sequences", "5")
    assert code == 0, err
    assert "induction" in out
    assert "page: not written:" in out
    assert "`--out FOLDER` writes it elsewhere" in out
    assert {path for path in Path(store).rglob("*") if "analysis" in path.parts} == before
