"""Looking into phases of a store: which models, on what, and what is written."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
import torch

from procray import corpora
from procray.errors import CorpusError, StoreError, TaskError
from procray.files import write_json
from procray.model import GPT2, load_model
from procray.model.analysis.norms import component_norms
from procray.report.figures import inside as analysis_figures
from procray.report.numbers import analysis, analysis_cache
from procray.report.numbers.inside import Inside
from procray.report.page.analysis_page import folder_of, write_analysis
from procray.report.page.analysis_tables import components_table, heads_table, layers_table
from procray.store.store import Store

from ..planted import BASE, ROWS, WARM, after, plant


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    """A warm-up, a phase that took its attention, its baseline, and two phases on rows of an automaton."""
    torch.set_num_threads(1)
    store = Store(tmp_path_factory.mktemp("store"))
    plant(store, WARM, 10, 20)
    plant(store, CHILD, 30)
    plant(store, BASE, 0, 30)
    plant(store, ROWS, 10)
    plant(store, AFTER_ROWS, 5)
    labels = {WARM.id: "identity s0", CHILD.id: "attention s0", BASE.id: "<b>baseline</b> s0"}
    phases = [{"id": phase, "label": label} for phase, label in labels.items()]
    write_json(store.title_folder("planted@default") / "plan.json", {"phases": phases})
    return store


CHILD = after(BASE, WARM, 20, "attention")
AFTER_ROWS = after(BASE, ROWS, 10, "attention", "mlp")


@pytest.fixture(scope="module")
def child(store) -> Inside:
    return analysis.inspect(store, CHILD.id)


def test_a_phase_with_a_parent_shows_parent_start_and_end(store, child):
    assert [(look.role, look.title, look.rebuilt) for look in child.looks] == [
        ("parent", "identity s0@20", False),
        ("start", "attention s0@0", True),
        ("end", "attention s0@30", False),
    ]
    assert child.kind == "diagnostic"
    parent, start, _ = child.looks
    fresh = component_norms(GPT2(load_model(store.phase(CHILD.id).mark(30)).config, seed=0).state_dict())
    norms = [{(n["component"], n["layer"]): n["frobenius"] for n in ns} for ns in (parent.norms, start.norms, fresh)]
    for layer in (0, 1):  # what the phase began with, made again: attention of the parent, the rest of its own seed
        assert norms[1]["attention", layer] == pytest.approx(norms[0]["attention", layer])
        assert norms[1]["attention", layer] != pytest.approx(norms[2]["attention", layer], rel=0.1)
        assert norms[1]["mlp", layer] == pytest.approx(norms[2]["mlp", layer])
    assert [(d["from"], d["to"], d["carried"]) for d in child.distances] == [(0, 2, ["attention"]), (1, 2, [])]
    assert [(c["of"], c["and"]) for c in child.cka] == [
        ("identity s0@20", "attention s0@30"),
        ("attention s0@0", "attention s0@30"),
    ]
    assert child.cka[0]["on"] != child.cka[1]["on"] == "haystack, validation data"
    assert [len(child.cka[0]["matrix"]), len(child.cka[0]["matrix"][0])] == [3, 3]
    for look in child.looks:
        for name in ("entropy", "normalised", "previous", "first", "induction"):
            table = look.score(name)
            assert (len(table), len(table[0])) == (2, 4)
            assert all(0 <= value <= (4 if name == "entropy" else 1) for row in table for value in row)
    assert parent.data == "identity, validation data"
    assert {look.period for look in child.looks} == {16}, "one period, that the smallest context holds"


def test_a_baseline_shows_its_kept_start_and_a_step_can_be_asked_for(store):
    inside = analysis.inspect(store, BASE.id)
    assert [(look.role, look.step, look.rebuilt) for look in inside.looks] == [("start", 0, False), ("end", 30, False)]
    assert [look.role for look in analysis.inspect(store, BASE.id, 0).looks] == ["start"]
    assert [look.step for look in analysis.inspect(store, WARM.id, 10).looks] == [0, 10]
    with pytest.raises(StoreError, match="its marks: 10, 20"):
        analysis.inspect(store, WARM.id, 15)
    with pytest.raises(StoreError, match="no checkpoint"):
        analysis.inspect(store, "f" * 16)


def test_other_sequences_can_be_named(store):
    on_task = analysis.inspect(store, CHILD.id, on="identity length=4 vocab=10", sequences=5)
    assert {look.data for look in on_task.looks} == {"identity length=4 vocab=10"}
    assert {look.scores["queries"] for look in on_task.looks} == {5 * 7}  # 4, separator, 4: the last has no successor
    assert all(entry["on"] == "identity length=4 vocab=10" for entry in on_task.cka)
    repeat = analysis.inspect(store, CHILD.id, on="repeat", sequences=5)
    assert all(look.scores == look.repeat for look in repeat.looks)
    for wrong, says in (
        ("identty", "did you mean 'identity'"),
        ("identity", "choose the parameters"),
        ("identity length=30 vocab=9", "positions"),
        ("identity length", "not KEY=VALUE"),
        ("eca_rows", "reads tokens"),
    ):
        with pytest.raises(TaskError, match=says):
            analysis.inspect(store, CHILD.id, on=wrong)


def test_rows_and_tokens_are_not_compared_and_rows_with_rows_are(store):
    inside = analysis.inspect(store, AFTER_ROWS.id)
    assert any("rows of 12 cells and the other tokens" in note for note in inside.notes)
    assert [entry["of"] for entry in inside.cka] == [f"{AFTER_ROWS.id}@0"]
    assert inside.looks[0].score("induction") is not None
    rows = analysis.inspect(store, ROWS.id)
    assert len(rows.cka) == 1
    pairs, notes = analysis.compare(store, [rows, inside])
    assert not pairs
    assert len(notes) == 1


def test_two_phases_of_different_width_are_compared(store, tmp_path):
    other = Store(tmp_path)
    wide = replace(BASE, model=replace(BASE.model, layers=3, width=32), seed=1)
    insides = [analysis.inspect(other, plant(other, recipe, 10).id) for recipe in (BASE, wide)]
    (pair,), notes = analysis.compare(other, insides)
    assert not notes
    assert (len(pair["matrix"]), len(pair["matrix"][0])) == (3, 4)


def test_text_is_read_from_its_prepared_shards(tmp_path):
    other = Store(tmp_path / "store")
    (tmp_path / "text.txt").write_text("the quick brown fox jumps over the lazy dog\n" * 300)
    data = corpora.recipe({"files": [str(tmp_path / "text.txt")]}, "byte")
    recipe = replace(BASE, kind="semantic", data=data)
    plant(other, recipe, 10, vocab=257)
    with pytest.raises(CorpusError, match="not prepared"):
        analysis.inspect(other, recipe.id)
    corpora.prepare(data, other.corpora, 1)
    inside = analysis.inspect(other, recipe.id, sequences=3)
    assert {look.scores["queries"] for look in inside.looks} == {3 * (32 - 1)}
    assert inside.looks[-1].score("prefix") is not None
    assert inside.cka[0]["on"] == inside.looks[-1].data


def test_a_damaged_mark_is_refused(tmp_path):
    other = Store(tmp_path)
    plant(other, BASE, 10)
    path = other.phase(BASE.id).path / "marks" / "10" / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(StoreError, match="damaged"):
        analysis.inspect(other, BASE.id)


def test_numbers_are_kept_and_read_back_unchanged(store, child, monkeypatch):
    assert analysis_cache.cached(store, CHILD.id, 30) is None
    analysis_cache.keep(store, child)
    monkeypatch.setattr(analysis_cache, "inspect", None)
    assert analysis_cache.cached(store, CHILD.id, 30, write=True) == child


def test_tables_list_all_heads_of_small_models_and_the_telling_ones_of_large(store, child, tmp_path):
    table = heads_table(child)
    assert [row[0] for row in table.rows] == [f"{i}.{j}" for i in range(2) for j in range(4)] + ["alike"]
    assert {len(row) for row in table.rows} == {len(table.columns)}
    assert table.rows[0][table.columns.index("entropy end")] == f"{child.looks[2].score('entropy')[0][0]:.2f}"
    assert [row[0] for row in layers_table(child).rows] == ["0", "1"]
    carried = next(row for row in components_table(child).rows if row[0] == "embeddings")
    assert carried[4:6] == ("-", "-"), "another vocabulary than the parent's"
    other = Store(tmp_path)
    large = replace(BASE, model=replace(BASE.model, layers=3, heads=8))
    assert len(heads_table(analysis.inspect(other, plant(other, large, 10).id)).rows) == 16 + 1


def test_everything_is_written_and_the_page_loads_nothing(store, child, tmp_path, monkeypatch):
    for score in ("previous", "induction", "first"):  # one drawing of heads is like the other
        monkeypatch.delitem(analysis_figures.SHOWN, score)
    base = analysis.inspect(store, BASE.id)
    written = write_analysis([child, base], *analysis.compare(store, [child, base]), tmp_path, "procray analyze x")
    text = written.page.read_text()
    assert "<script" not in text
    assert not re.search(r"(src|href)=\"(?!#|data:)|@import|url\((?!#)", text)
    assert "&lt;b&gt;baseline&lt;/b&gt; s0" in text
    assert "<b>baseline" not in text
    assert "procray analyze x" in text
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    numbers = json.loads(written.json.read_text())
    assert [phase["label"] for phase in numbers["phases"]] == ["attention s0", "<b>baseline</b> s0"]
    assert len(numbers["cka"]) == 1
    stems = {path.relative_to(tmp_path / "figures").with_suffix("").as_posix() for path in written.pictures}
    assert {"heads-normalised", "cka", "1/heads-normalised", "1/spectra", "1/moved", "1/cka", "2/cka"} <= stems
    for path in written.pictures:
        assert path.read_bytes().startswith(b"\x89PNG" if path.suffix == ".png" else b"<?xml")


def test_analyses_with_other_options_do_not_overwrite_each_other(store, child):
    plain = folder_of(store, [child], {"on": None, "sequences": None})
    assert plain == store.path / "analysis" / f"{CHILD.id}@30"
    others = [folder_of(store, [child], {"on": on, "sequences": None}) for on in ("repeat", "identity")]
    assert len({plain, *others, folder_of(store, [child, child], {})}) == 4
