"""The main job through the real command: real Ray, real MLflow, a real report."""

from __future__ import annotations

import csv
import json
import re
import shutil
import signal
import time
from pathlib import Path

import pytest


def rows(command, *more):
    return json.loads(command("status", command.file, "--json", *more).stdout)


def test_it_ends_with_the_answer_and_where_to_look(finished):
    command, said = finished
    assert "baseline" in said.stdout
    assert "4k/attention" in said.stdout
    page = re.search(r"report: (\S+)", said.stdout)
    assert page
    assert "procray ui" in said.stdout
    html = Path(page[1]).read_text(encoding="utf-8")
    assert "How small can a sweep be?" in html
    assert "<svg" in html
    assert not re.search(r'(src|xlink:href)="https?:|url\(["\']?https?:|@import|<link|<script src', html), "no network"
    assert {r["state"] for r in rows(command)} == {"done"}
    assert "Traceback" not in said.stderr


def test_files_called_like_modules_lie_beside_it_and_nobody_imports_them(finished):
    command, said = finished
    assert (command.folder / "mlflow.py").exists()
    logs = [
        path for path in command.store.glob("sweeps/**/*") if path.is_file() and path.suffix in (".log", ".err", ".out")
    ]
    assert logs
    assert "of the user was imported" not in said.stderr + "".join(path.read_text() for path in logs)
    assert "is not complete" not in said.stderr


def test_a_terminal_that_lacks_characters_gets_readable_ones(finished):
    command, _ = finished
    full = command("report", command.file, PYTHONIOENCODING="utf-8").stdout
    said = command("report", command.file, PYTHONIOENCODING="ascii").stdout
    assert not full.isascii()
    assert said.isascii()
    assert len(said.splitlines()) == len(full.splitlines())
    assert said.count("?") == full.count("?"), "nothing was lost"
    assert json.loads(command("report", command.file, "--json", PYTHONIOENCODING="ascii").stdout)["sweep"] == "small"


def test_a_finished_sweep_trains_nothing_and_returns_at_once(finished):
    command, _ = finished

    def written() -> dict[Path, int]:
        """When the journals were written, and what Ray said, which it does whenever it is started."""
        files = [*command.store.glob("phases/*/journal/*"), *command.store.glob("sweeps/*/*/logs/ray*/**/*")]
        return {path: path.stat().st_mtime_ns for path in files}

    before = written()
    assert any("raylet" in path.name for path in before)
    said = command("sweep", command.file, "--no-tracking")
    assert "nothing was left to train" in said.stderr
    assert written() == before


def test_the_report_for_machines(finished):
    command, _ = finished
    value = json.loads(command("report", command.file, "--json").stdout)
    assert (value["sweep"], value["failed"], value["skipped"]) == ("small", [], [])
    names = {variant["name"] for variant in value["variants"]}
    assert names == {"baseline", "2k/attention", "2k/mlp", "4k/attention", "4k/mlp"}
    for variant in value["variants"]:
        assert variant["n"] == 2
        assert set(variant["final_loss"]) >= {"mean", "sd"}
    (table,) = command.store.glob("sweeps/small@default/*/report/results.csv")
    assert {row["name"] for row in csv.DictReader(table.read_text().splitlines())} == names


def test_mlflow_has_every_phase_once_and_every_evaluation(finished):
    from mlflow import MlflowClient

    command, _ = finished
    client = MlflowClient(f"sqlite:///{command.store / 'mlflow.db'}")
    (experiment,) = [e for e in client.search_experiments() if e.name.startswith("small@")]
    runs = client.search_runs([experiment.experiment_id], max_results=100)
    phases = [run for run in runs if run.data.tags.get("procray.kind") in ("procedural", "semantic")]
    assert len(phases) == 12
    for run in phases:
        if run.data.tags["procray.kind"] == "semantic":
            history = client.get_metric_history(run.info.run_id, "loss/val")
            assert [m.step for m in sorted(history, key=lambda m: m.step)] == [0, 3072, 6144, 9216, 12288]


def test_more_values_train_only_what_is_new_and_one_that_diverges_fails_alone(finished, tmp_path):
    command, _ = finished
    bigger, store = tmp_path / "bigger.yaml", tmp_path / "store"
    shutil.copytree(command.store, store)
    text = command.file.read_text().replace("name: small", "name: bigger").replace("[2k, 4k]", "[2k, 4k, 6k]")
    bigger.write_text(text.replace("lr: 1e-3, schedule: constant", "lr: {grid: [1e-3, 1e30]}, schedule: constant"))

    def say(*words, **more):
        return command(*words, **more, PROCRAY_STORE=str(store))

    def trained() -> set[str]:
        return {mark.parts[-3] for mark in store.glob("phases/*/marks/*")}

    before = trained()
    plan = say("plan", bigger).stdout
    assert "in store  10 of 30" in plan  # the warm-ups go on from 4k, four cells are new; the rest is of the other rate
    said = say("sweep", bigger, "--no-tracking", code=1)
    assert len(trained() - before) == 4
    states = {r["label"]: r["state"] for r in json.loads(say("status", bigger, "--json").stdout)}
    failed, skipped, done = ([label for label in states if states[label] == of] for of in ("failed", "skipped", "done"))
    assert (len(failed), len(skipped), len(done)) == (2, 12, 16)
    for label in failed + skipped:
        assert "lr1e30" in label
        assert label in said.stdout
    assert list(store.glob("sweeps/bigger@*/*/report/report.html"))


def test_a_checkpoint_leaves_the_store_and_loads_in_transformers(finished, tmp_path):
    command, _ = finished
    phase = next(r["id"] for r in rows(command) if r["kind"] == "semantic")
    command("export", phase, tmp_path / "out")
    from transformers import GPT2LMHeadModel

    model = GPT2LMHeadModel.from_pretrained(tmp_path / "out")
    assert model.config.n_embd == 16


def test_a_transfer_by_hand_says_what_it_carried(finished, tmp_path):
    command, _ = finished
    ids = {r["kind"]: r["id"] for r in rows(command)}
    for kind, phase in ids.items():
        command("export", phase, tmp_path / kind)
    command("transfer", tmp_path / "procedural", tmp_path / "semantic", tmp_path / "both", "--mode", "attention")
    manifest = json.loads((tmp_path / "both" / "transfer.json").read_text())
    carried = [name for name, entry in manifest["parameters"].items() if entry["component"] == "attention"]
    assert manifest["counts"]["tensors_carried"] == len(carried) == 8


def test_lineage_of_a_file_and_of_a_phase(finished):
    command, _ = finished
    assert "reverse" in command("lineage", command.file).stdout
    warm = next(r["id"] for r in rows(command) if r["kind"] == "procedural")
    assert "attention" in command("lineage", warm).stdout


@pytest.mark.slow  # tests/execution/test_kills.py shows the same of the run itself
def test_ctrl_c_saves_and_names_the_line_that_continues(command):
    text = command.file.read_text().replace("seeds: [0, 1]", "seeds: [0]").replace("12Ki", "1Mi").replace("3Ki", "16Ki")
    command.file.write_text(text.replace("[2k, 4k]", "[4k]").replace("[attention, mlp]", "[mlp]"))
    process = command.start("sweep", command.file, "--no-tracking")
    deadline = time.monotonic() + 600
    while not any("running" in r["state"] and r["tokens"] > 0 for r in rows(command)):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == 130, err
    assert f"procray sweep {command.file}" in err
    assert "nothing was left to train" not in err
    assert any(r["state"] == "paused" for r in rows(command))


def test_the_store_is_listed_verified_and_cleared(finished):
    command, _ = finished
    listed = command("store", "ls").stdout
    assert "small@default" in listed
    assert "12 of 12 phases" in listed
    held = json.loads(command("store", "ls", "--json").stdout)
    assert "small@default" in held["sweeps"]
    assert "all sound" in command("store", "verify").stdout
    assert "nothing to delete" in command("store", "gc").stdout
    assert "did you mean 'small@default'?" in command("store", "gc", "--forget", "smal@default", code=2).stderr
    all_of_them = [word for sweep in held["sweeps"] for word in ("--forget", sweep)]  # other tests have added some
    offered = command("store", "gc", *all_of_them).stdout
    assert offered.count("named by no sweep") == len(held["phases"])
    assert "--delete" in offered
    assert "12 of 12 phases" in command("store", "ls").stdout, "without --delete nothing is deleted"
