"""The name of what `--set` changed: equal for one meaning, however it is written, and for no other."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sweep_texts import GOOD, TARGETS

from procray.errors import SpecError
from procray.spec.load import load_scales
from procray.spec.written import one_spelling


def load(set=None, text=GOOD, **options):
    drafts, problems = load_scales(text, "f.yaml", None, set, **options)
    if problems:
        raise SpecError(dict.fromkeys(problems))
    return drafts[0].spec


def label(*settings, text=GOOD):
    return load(list(settings), text).settings


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (["seeds=[1]"], "seeds=1"),
        (["seeds=[3, 2]"], "seeds=2+3"),
        (["semantic.tokens=4k"], "semantic.tokens=4k"),
        (["semantic.tokens=4k", "seeds=[0]"], "seeds=0,semantic.tokens=4k"),
        (["semantic.optimizer.lr=0.001"], "semantic.optimizer.lr=1e-3"),
        (["model.tied=false"], "model.tied=false"),
        (["transfer=mlp+attention"], "transfer=attention+mlp"),
        (["semantic.evaluate="], "semantic.evaluate.every="),
        (["semantic.batch_tokens=256"], "semantic.batch_tokens=256"),  # in place of batch
        (["procedural.length={min: 8, max: 24}"], "procedural.length=max-24-min-8-######"),
        (["semantic.corpus={hf: a/b}"], "semantic.corpus=hf-a-b-######"),
        (["transfer={grid: [mlp, none]}"], "transfer=mlp..none-######"),
        ([f"seeds={list(range(99))}"], "seeds=0+1+2+3+4+5+6+7+8+9+10+11+12+13+14+15+16+17+18+-######"),
    ],
)
def test_names(settings, expected):
    assert re.fullmatch(re.escape(expected).replace(r"\#" * 6, "[0-9a-f]{6}"), label(*settings))


@pytest.mark.parametrize(
    "settings",
    [
        [],
        ["seeds=[1, 0]"],
        ["semantic.tokens=1e5"],
        ["semantic={tokens: 100_000, batch: 8}"],
        ["semantic.optimizer.weight_decay=0.1"],
        ["semantic.optimizer.weight_decay=0.10", "semantic.optimizer.clip=1", "semantic.optimizer.warmup=0"],
        ["model.tied=true", "model.dropout=-0.0"],
        ["procedural.length={min: 8, max: 8}"],
        ["procedural.task={grid: [union, set]}"],
        ["resources={workers: 1, gpu: 0}"],
        ["retries=2", "setting=additive", "matched=[]", "exclude=[]", "freeze=none", "perturb=none"],
        ["semantic.tokens=5", "semantic.tokens=100k"],
        ["semantic.batch_tokens=256", "semantic.batch=8"],
        ["semantic.corpus={name: c4}"],
    ],
)
def test_what_changes_nothing_leaves_no_trace(settings):
    assert label(*settings) == ""


@pytest.mark.parametrize(
    "spellings",
    [
        [["semantic.optimizer.lr=1e-3"], ["semantic.optimizer.lr=0.001"], ["semantic={optimizer: {lr: 1.0e-3}}"]],
        [["semantic.tokens=4k"], ["semantic.tokens=4000"], ["semantic.tokens=4.0e3"], ["semantic.tokens='4_000'"]],
        [["seeds=[4]", "model.width=32"], ["model={width: 32}", "seeds=[4]"]],
        [["procedural.task={mixture: {set: 1, sort: 1}}"], ["procedural.task={mixture: {sort: .5, set: .5}}"]],
        [["procedural.task={mixture: {set: .1, sort: .2}}"], ["procedural.task={mixture: {set: 1, sort: 2}}"]],
        [["transfer=mlp"], ["transfer={grid: [mlp]}"], ["transfer=' mlp'"]],
        [["transfer={attention: set}"], ["transfer={attention: {from: set}}"], ["transfer={attention: [set]}"]],
        [
            ["transfer={mlp: {interpolate: [set, union]}}"],
            ["transfer={mlp: {interpolate: [set, union], weight: 0.5}}"],
            ["transfer.grid=", "transfer={mlp: {weight: .5, interpolate: [set, union]}}"],
        ],
        [["freeze=[mlp, attention]"], ["freeze=attention+mlp"], ["freeze=[mlp_in, mlp_out, attention]"]],
        [["perturb={noise: 1}"], ["perturb={noise: 1.0}"]],
        [["semantic.corpus={files: a.txt}"], ["semantic.corpus={files: [a.txt]}"]],
        [["semantic.corpus={hf: a, documents: 100k}"], ["semantic.corpus={hf: a, documents: 1e5}"]],
        [["semantic.tokenizer={bpe: 4k}"], ["semantic.tokenizer={bpe: 4000}"]],
        [["procedural.vocab=1e2"], ["procedural.vocab=100"], ["procedural.vocab='100'"]],
    ],
)
def test_equal_meanings_have_one_name(spellings):
    assert len({label(*settings) for settings in spellings}) == 1
    assert label(*spellings[0])


DIFFERENT = [
    ["seeds=[1]"],
    ["seeds=[2]"],
    ["seeds=[1, 2]"],
    ["transfer=attention+mlp"],
    ["transfer={grid: [attention, mlp]}"],
    ["transfer={grid: [mlp, attention]}"],
    ["transfer={attention: set}"],
    ["transfer={attention: set, mlp: set}"],
    ["transfer={attention: [set, {from: union, layers: 0}]}"],
    ["question='a,seeds=1'"],
    ["question='a,seeds=2'"],
    ["question=a/b"],
    ["question=a?b"],
    ["exclude=[{transfer: full}]"],
    ["exclude=[{transfer: mlp}]"],
    ["include=[{length: {min: 4, max: 9}}]", "procedural.length={grid: [8, 9]}"],
    ["include=[{length: {min: 4, max: 8}}]", "procedural.length={grid: [8, 9]}"],
    ["perturb={noise: 0.1, components: [mlp]}"],
    ["published=[{value: 0.5, source: x, strength: y, tolerance: 0}]"],
    ["semantic.corpus={files: x/a.txt}"],
    ["semantic.corpus={files: y/a.txt}"],
    ["semantic.optimizer.lr=1e-3"],
    ["semantic.optimizer.lr=0.0010000000001"],
    ["procedural.model.tied=true"],  # were the sweep's untied, this would differ
    ["matched=[0.5]"],
    ["matched=[0.25]"],
    [f"seeds={list(range(99))}"],
    [f"seeds={list(range(98))}"],
]


def test_no_two_settings_share_a_name():
    labels = [label(*settings) for settings in DIFFERENT]
    assert len(set(labels)) == len(labels)
    for text in labels:
        assert re.fullmatch(r"[A-Za-z0-9._=+,-]{1,60}", text)


SETTINGS = {
    "seeds": ["[0]", "[1, 0]", "[1]"],
    "semantic.tokens": ["100k", "4k", "4000", "1e5"],
    "semantic.optimizer.lr": ["5e-4", "0.0005", "1e-3"],
    "procedural.length": ["8", "{min: 8, max: 8}", "{min: 4, max: 8}"],
    "transfer": ["{grid: [full, mlp]}", "mlp", "mlp+attention", "attention+mlp"],
}


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_names_tell_what_is_meant_and_nothing_else(data):
    """Two sets of settings share a name if and only if the sweeps that they make are the same."""
    made = []
    for _ in range(2):
        keys = data.draw(st.permutations(list(SETTINGS)))[: data.draw(st.integers(0, 3))]
        made.append(load([f"{key}={data.draw(st.sampled_from(SETTINGS[key]))}" for key in keys]))
    one, other = (
        one_spelling([sorted(s.seeds), s.base | {"seeds": 0}, [a.values for a in s.axes if len(a.nodes) > 1]])
        for s in made
    )
    assert (made[0].settings == made[1].settings) == (one == other)


def test_entries_of_lists_go_by_their_names():
    assert label("targets.1.diagnostic.tokens=4e3", text=TARGETS) == "targets.large.diagnostic.tokens=4k"
    both = ["targets.large.diagnostic.tokens=4k", "targets.small.diagnostic.tokens=4k"]
    assert len({label(*order, text=TARGETS) for order in itertools.permutations(both)}) == 1


def test_the_file_and_its_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    spec = load(path="sub/f.yaml")
    assert (spec.file, spec.folder) == (str(tmp_path / "sub" / "f.yaml"), tmp_path / "sub")
    assert (load().file, load().folder) == ("", Path.cwd())
