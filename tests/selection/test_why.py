"""Why a phase of a known name would be trained again, in the words of the sweep file."""

from __future__ import annotations

from dataclasses import replace

import pytest

from procray.planning import Plan, plan
from procray.planning.load import load_text
from procray.selection import why as module
from procray.selection.why import Retrained, counterparts, explain

FILE = """\
name: small
seeds: [0]
model: {layers: 2, heads: 2, width: 16, context: 32}
procedural:
  task: union
  length: 8
  batch: 4
  tokens: {grid: [2k, 4k]}
  optimizer: {lr: 1e-3}
transfer: {grid: [attention, mlp]}
semantic:
  corpus: c4
  tokenizer: byte
  tokens: 12Ki
  batch_tokens: 512
  optimizer: {lr: 1e-3, schedule: cosine}
  evaluate: {every: 3Ki, sequences: 16}
"""
WARM, BASE, TARGETS = "union L8 s0", "baseline s0", ["2k/attention s0", "2k/mlp s0", "4k/attention s0", "4k/mlp s0"]


def build(text: str = FILE, *settings: str) -> Plan:
    return plan(load_text(text, "f.yaml", set=list(settings)))


def why(now: Plan, then: Plan, **more) -> dict[str, Retrained]:
    missing = [phase for phase in now.phases.values() if phase.id not in then.phases]
    pairs = counterparts(now, then, missing, set(then.phases))
    return {one.label: one for one in explain(now, then, pairs, **more)}


def told(found: dict[str, Retrained], label: str) -> list[str]:
    return [str(one) for one in found[label].differences]


def test_a_changed_warm_up_is_told_once_and_its_children_name_it():
    found = why(build(FILE, "procedural.optimizer.lr=3e-3"), build())
    assert set(found) == {WARM, *TARGETS}
    assert told(found, WARM) == ["procedural.optimizer.lr: 1e-3 -> 3e-3"]
    assert found[WARM].parents == ()
    for label in TARGETS:
        assert (told(found, label), found[label].parents) == ([], (WARM,))


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("semantic.optimizer.weight_decay=0", "semantic.optimizer.weight_decay: 0.1 -> 0"),
        ("semantic.batch_tokens=1024", "semantic.batch_tokens: 512 -> 1Ki"),
        ("semantic.tokens=24Ki", "semantic.tokens: 12Ki -> 24Ki"),
        ("semantic.evaluate.every=6Ki", "semantic.evaluate.every: 3Ki -> 6Ki"),
        ("semantic.evaluate.sequences=8", "semantic.evaluate.sequences: 16 -> 8"),
        ("semantic.optimizer.warmup=1Ki", "semantic.optimizer.warmup: 0 -> 1Ki"),
        ("semantic.tokenizer=bpe:300", "semantic.tokenizer: byte -> bpe 300"),
        ("semantic.corpus=wikitext-2", "semantic.corpus: allenai/c4 en -> Salesforce/wikitext wikitext-2-raw-v1"),
        ("semantic.corpus={name: c4, documents: 500}", "semantic.corpus.documents: 100000 -> 500"),
        ("model.context=64", "model.context: 32 -> 64"),
        ("model.width=32", "model.width: 16 -> 32"),
        ("precision=bf16", "precision: fp32 -> bf16"),
        ("semantic.model={dropout: 0.1}", "semantic.model.dropout: 0 -> 0.1"),
    ],
)
def test_every_setting_has_the_name_that_the_file_gives_it(setting, says):
    found = why(build(FILE, setting), build())
    assert told(found, BASE) == [says]


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("procedural.length=16", "procedural.length: 8 -> 16"),
        ("procedural.vocab=50", "procedural.vocab: 100 -> 50"),
        ("procedural.batch=8", "procedural.batch: 4 -> 8"),
        ("procedural.task=set", "procedural.task: union (length 8, vocab 100) -> set (length 8, vocab 100)"),
    ],
)
def test_what_follows_from_a_setting_is_not_told_beside_it(setting, says):
    """The context follows from the task, the steps from the batch, and the names of warm-ups from both."""
    found = why(build(FILE, setting), build())
    (warm,) = (one for one in found.values() if one.name_before == WARM)
    assert [str(one) for one in warm.differences] == [says]
    for label in TARGETS:
        assert (told(found, label), found[label].parents) == ([], (warm.label,))


def test_another_transfer_of_the_same_warm_up_is_a_difference_of_its_own():
    one, other = FILE.replace("{grid: [attention, mlp]}", "full"), FILE.replace("{grid: [attention, mlp]}", "attention")
    then, now = (build(text.replace("{grid: [2k, 4k]}", "2k")) for text in (one, other))
    renamed = replace_labels(then, {"union/full s0": "union/attention s0"})
    found = why(now, renamed)
    assert told(found, "union/attention s0") == ["transfer: full -> attention"]
    assert found["union/attention s0"].parents == ()


def test_another_budget_of_the_same_warm_up_is_told_in_tokens():
    text = FILE.replace("{grid: [attention, mlp]}", "full")
    then, now = (build(text.replace("{grid: [2k, 4k]}", tokens)) for tokens in ("2k", "4k"))
    found = why(now, then)
    assert told(found, "union/full s0") == ["procedural.tokens: 2k -> 4k"]
    assert set(found) == {"union/full s0"}, "the warm-up itself goes on"


def test_freezing_and_perturbing_are_told_as_they_are_written():
    found = why(build(FILE, "freeze=[attention]", "perturb={noise: 0.05}"), build())
    (differences,) = {tuple(told(found, label)) for label in TARGETS}
    assert set(differences) == {"freeze: - -> attention", "perturb: - -> {noise: 0.05}"}


def test_sections_of_targets_are_named_like_settings_of_the_command_line():
    text = """\
name: several
model: {layers: 1, heads: 2, width: 16, context: 32}
procedural: {task: identity, length: 8, batch: 16, tokens: 10k, optimizer: {lr: 1e-3}}
targets:
  - name: text
    semantic: {corpus: c4, tokenizer: byte, tokens: 100k, batch: 8, optimizer: {lr: 1e-3}}
  - name: find
    diagnostic: {task: haystack, pairs: 2, batch: 8, tokens: 10k, optimizer: {lr: 3e-3}}
"""
    found = why(build(text, "targets.find.diagnostic.pairs=3"), build(text))
    assert told(found, "find/baseline s0") == ["targets.find.diagnostic.pairs: 2 -> 3"]
    assert not any(label.startswith("text/") for label in found)


def test_phases_that_got_another_name_are_found_by_their_place():
    found = why(build(FILE, "semantic.optimizer.lr={grid: [2e-3, 3e-3]}"), build())
    base = found["baseline/lr2e-3 s0"]
    assert (base.name_before, [str(one) for one in base.differences]) == (
        BASE,
        ["semantic.optimizer.lr: 1e-3 -> 2e-3"],
    )


def test_a_value_that_comes_to_an_axis_retrains_nothing_and_is_not_explained():
    assert why(build(FILE.replace("[2k, 4k]", "[2k, 4k, 6k]")), build()) == {}


def test_changed_files_are_told_by_whoever_knows_them(tmp_path):
    text = FILE.replace("corpus: c4", f"corpus: {{files: '{tmp_path}/*.txt'}}")
    (tmp_path / "a.txt").write_text("one\n" * 100)
    (tmp_path / "b.txt").write_text("two\n" * 100)
    then = build(text)
    (tmp_path / "a.txt").write_text("three\n" * 100)
    now = build(text)
    assert told(why(now, then), BASE) == ["semantic.corpus: the files hold something else"]
    asked = []
    known = why(
        now, then, changed_files=lambda before, after: asked.append((before, after)) or "1 file changed (a.txt)"
    )
    assert told(known, BASE) == ["semantic.corpus: 1 file changed (a.txt)"]
    assert asked[0][0].data["corpus"]["content"] == then.phases[by_label(then)[BASE]].recipe.data["corpus"]["content"]


def test_new_numbers_for_the_same_settings_are_told(monkeypatch):
    now = build()
    then = renumbered(now, lambda recipe: replace(recipe, numerics=recipe.numerics - 1))
    version = now.phases[by_label(now)[BASE]].recipe.numerics
    assert told(why(now, then), BASE) == [
        f"numerics: version {version - 1} -> {version}: the same settings give other numbers since"
    ]


def test_numbers_of_another_role_are_told_where_nothing_else_is():
    now = build()
    then = renumbered(now, lambda recipe: replace(recipe, role=f"{recipe.role}#1"))
    assert told(why(now, then), BASE) == ["role in the chain: target/semantic#1 -> target/semantic"]
    before = renumbered(now, lambda recipe: replace(recipe, role="", numerics=2))
    assert told(why(now, before), BASE) == ["numerics: version 2 -> 3: the same settings give other numbers since"]


def test_a_recipe_in_an_older_form_is_told_to_be_that_and_nothing_else():
    now = build()
    then = renumbered(now, lambda recipe: recipe)
    written = {phase.id: {**phase.recipe.to_json()} for phase in then.phases.values()}
    for recipe in written.values():
        del recipe["numerics"]
    found = why(now, then, written=written)[BASE]
    assert (found.differences, found.parents) == ((), ())
    assert found.form.endswith("its recipe also says numerics")
    assert found.form.startswith("no setting differs")


def by_label(graph: Plan) -> dict[str, str]:
    return {phase.label: phase.id for phase in graph.phases.values()}


def replace_labels(graph: Plan, names: dict[str, str]) -> Plan:
    phases = {id: replace(phase, label=names.get(phase.label, phase.label)) for id, phase in graph.phases.items()}
    return replace(graph, phases=phases)


def renumbered(graph: Plan, change) -> Plan:
    """The plan as an older version had it: other ids, and recipes that `change` gives."""
    ids = {id: f"{number:016x}" for number, id in enumerate(graph.phases)}
    phases = {}
    for id, phase in graph.phases.items():
        init = phase.recipe.init
        components = {name: replace(parent, phase=ids[parent.phase]) for name, parent in init.components.items()}
        recipe = change(replace(phase.recipe, init=replace(init, components=components)))
        phases[ids[id]] = replace(phase, id=ids[id], recipe=recipe)
    return replace(graph, phases=phases)


def test_every_phase_is_looked_at_once_however_many_were_renamed(monkeypatch):
    """Pairs of phases are many: with 20,000 on each side, one look at each pair takes hours."""
    looks: list[str] = []
    for name in ("_place", "_values", "_targets"):
        real = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *given, real=real, name=name: looks.append(name) or real(*given))
    seeds = f"seeds={list(range(10))}"
    then = build(FILE, seeds)
    now = build(FILE, seeds, "procedural.length={grid: [4, 5]}", "procedural.tokens=2k")
    missing = [phase for phase in now.phases.values() if phase.id not in then.phases]
    assert len(counterparts(now, then, missing, set(then.phases))) > 30
    assert looks.count("_targets") == 2
    for name in ("_place", "_values"):
        assert looks.count(name) <= len(then.phases) + len(missing)


PLACED = """\
name: small
seeds: [0]
model: {layers: 2, heads: 2, width: 16, context: 32}
procedural: {task: union, length: 8, batch: 4, tokens: 2k, at: 0.5}
semantic: {corpus: c4, tokenizer: byte, tokens: 12Ki, batch_tokens: 512, optimizer: {lr: 1e-3, schedule: cosine}}
"""


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("procedural.batch=8", ["procedural.batch: 4 -> 8", "updates on procedural data: 28 -> 14"]),
        ("procedural.at=0.25", ["steps of text before procedural data: 12 -> 6"]),
        ("procedural.length=4", ["procedural.length: 8 -> 4", "updates on procedural data: 28 -> 50"]),
        ("procedural.evaluate={sequences: 8}", ["procedural.evaluate.sequences: 256 -> 8"]),
        (
            "procedural.mix={share: 0.5, decay: linear}",
            ["steps of text among which they stand: 1 -> 8", "procedural.mix.decay: none -> linear"],
        ),
    ],
)
def test_what_stands_among_text_otherwise_is_told(setting, says):
    then, now = build(PLACED), build(PLACED, setting)
    (label,) = (phase.label for phase in now.phases.values() if phase.id not in then.phases)
    (before,) = (phase.label for phase in then.phases.values() if phase.id not in now.phases)
    assert told(why(now, replace_labels(then, {before: label})), label) == says


def test_more_rows_for_symbols_are_told_of_the_baseline():
    found = why(build(PLACED, "procedural.vocab=50"), build(PLACED))
    assert told(found, "baseline s0") == ["rows for procedural symbols: 102 -> 52"]
