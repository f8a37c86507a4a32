"""A store that somebody gave you makes procray read and write nothing outside of it."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import fuzzing

from procray.errors import ProcrayError, SpecError, StoreError
from procray.model.layout import shards
from procray.planning import plan
from procray.planning.load import load_text
from procray.planning.plan_json import read_plan
from procray.records import is_plain
from procray.report.page import write
from procray.store.store import Store

OUT = ("../../outside", "/etc/passwd", "..", ".", "", "a/b", "a\\b", "\x00", ".hidden", "x" * 300, "a\nb", "é")


@pytest.fixture
def secret(tmp_path):
    path = tmp_path / "secret.txt"
    path.write_text("nobody's business")
    return path


@pytest.fixture
def phase(tmp_path):
    store, phase_id = fuzzing.small_phase(tmp_path / "store")
    return store.phase(phase_id)


@pytest.mark.parametrize("name", OUT)
def test_names_that_lead_elsewhere_are_no_names(tmp_path, name):
    store = Store(tmp_path / "store")
    assert not is_plain(name)
    for act in (
        lambda: store.phase(name),
        lambda: store.forget(name),
        lambda: store.remove_corpus(name),
        lambda: store.bring_corpus_named(name),
    ):
        with pytest.raises(StoreError, match="might lead out of the store"):
            act()


@pytest.mark.parametrize("name", ["../../outside", "/etc", "a/b", "\x00", "..", ".x"])
def test_the_folder_of_a_sweep_stays_in_the_store(tmp_path, name):
    with pytest.raises(StoreError, match="might lead out of the store"):
        Store(tmp_path).title_folder(f"{name}@laptop")
    with pytest.raises(StoreError, match="might lead out of the store"):
        Store(tmp_path).plan_folder("x@laptop", name)


@pytest.mark.parametrize("name", OUT)
def test_a_plan_of_somebody_else_names_nothing_outside(tmp_path, name):
    value = json.loads(json.dumps(plan(load_text(fuzzing.SWEEPS[2], "x.yaml")).to_json()))
    for change in (
        lambda v: v.update(sweep=name),
        lambda v: v.update(scale=name),
        lambda v: v["phases"][0].update(id=name),
        lambda v: v["cells"][0].update(compared=name),
    ):
        harmed = json.loads(json.dumps(value))
        change(harmed)
        path = tmp_path / "plan.json"
        path.write_text(json.dumps(harmed))
        with pytest.raises(StoreError, match="no plain name"):
            read_plan(path)


@pytest.mark.parametrize("name", ["../../../secret.txt", "/etc/hostname", "a/b", ".."])
def test_a_manifest_names_files_of_its_own_folder_only(phase, secret, name):
    path = phase.path / "marks" / "10" / "manifest.json"
    value = json.loads(path.read_text())
    data = secret.read_bytes()
    value["files"][name] = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    path.write_text(json.dumps(value))
    with pytest.raises(StoreError, match="no plain name"):
        phase.mark(10)


@pytest.mark.parametrize("step", ["../../../../secret", "-1", "²", "1/2", ""])
def test_resume_states_lie_in_their_folder(phase, step):
    path = phase.path / "resume.json"
    value = json.loads(path.read_text())
    value["states"][step] = value["states"]["20"]
    path.write_text(json.dumps(value))
    with pytest.raises(StoreError, match="is no number"):
        phase.resume()


def test_a_link_in_a_mark_is_no_file_of_it(phase, secret):
    """Its digest is right, so only that it is a link gives it away."""
    weights = phase.path / "marks" / "10" / "model.safetensors"
    secret.write_bytes(weights.read_bytes())
    weights.unlink()
    weights.symlink_to(secret)
    with pytest.raises(StoreError, match="is no plain file"):
        phase.mark(10)


@pytest.mark.parametrize("place", ["", "marks", "leases", "journal", "resume"])
def test_nothing_is_written_through_a_link(phase, tmp_path, place):
    folder = phase.path / place if place else phase.path
    elsewhere = tmp_path / "elsewhere"
    folder.rename(elsewhere)
    folder.symlink_to(elsewhere)
    before = sorted(elsewhere.rglob("*"))
    with pytest.raises(StoreError, match="is a link"):
        phase.acquire({})
    assert sorted(elsewhere.rglob("*")) == before


def test_export_takes_what_the_manifest_vouches_for(phase, secret, tmp_path):
    from procray.cli.commands.checkpoints import export_phase

    mark = phase.path / "marks" / "10"
    (mark / "extra.txt").symlink_to(secret)
    export_phase(phase.id, tmp_path / "out", None, str(phase.path.parent.parent))
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "model.safetensors",
        "config.json",
        "manifest.json",
        "tokenizer_config.json",
        "README.md",
    }


@pytest.mark.parametrize("name", ["../../secret.txt", "/etc/hostname", "figures/../../x", "a/b/c"])
def test_a_report_removes_its_own_files_only(tmp_path, name):
    (tmp_path / "made-from.json").write_text(json.dumps({"digest": "x", "files": [name]}))
    assert write._known(tmp_path) == {"files": []}
    (tmp_path / "made-from.json").write_text(json.dumps({"digest": "x", "files": ["figures/a b.svg", "report.html"]}))
    assert write._known(tmp_path)["files"] == ["figures/a b.svg", "report.html"]


@pytest.mark.parametrize("name", ["../secret.safetensors", "/etc/passwd", 5, None, {"a": 1}])
def test_an_index_of_shards_names_files_of_its_folder(tmp_path, name):
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"w": name}}))
    with pytest.raises(StoreError, match="does not list the weight files of this folder"):
        shards(tmp_path)


def test_the_files_of_a_corpus_may_be_anywhere(tmp_path):
    """What a user writes into a sweep file is the user's choice; only what comes with a store is not."""
    texts = tmp_path / "far" / "away.txt"
    texts.parent.mkdir()
    texts.write_text("some words " * 100)
    text = fuzzing.SWEEPS[0].replace("TEXTS", f"{tmp_path}/far/../far/*.txt")
    assert plan(load_text(text, "x.yaml")).phases


@pytest.mark.parametrize("name", ["../../etc", "/etc/x", "a/b", "..", "a\n"])
def test_names_of_sweeps_are_plain(name):
    with pytest.raises(SpecError, match="must consist of letters"):
        load_text(fuzzing.SWEEPS[2].replace("name: chains", f"name: {json.dumps(name)}"), "x.yaml")


def test_a_corpus_is_the_one_that_its_folder_is_named_after(tmp_path):
    from procray import corpora

    texts = tmp_path / "a.txt"
    texts.write_text("some words " * 200)
    recipe = corpora.recipe({"files": str(texts)}, "byte")
    place = corpora.prepare(recipe, tmp_path / "corpora", 1).folder
    value = json.loads((place / "manifest.json").read_text())
    assert str(tmp_path) not in json.dumps(value)  # where files lie is in the recipe that asks, never in the corpus
    value["recipe"]["corpus"]["content"] = "0" * 64
    (place / "manifest.json").write_text(json.dumps(value))
    with pytest.raises(ProcrayError, match="another corpus"):
        corpora.load(recipe, tmp_path / "corpora")
