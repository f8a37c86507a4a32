"""What of a setting stays when an overlay, or `--set`, is laid upon it: sections merge, values replace."""

from __future__ import annotations

import json

import pytest

from procray.errors import SpecError
from procray.spec.load import load_scales
from procray.spec.overlays import merge, without_nulls
from procray.spec.section import Section
from procray.spec.sections import FinetunePhase, Sweep, section_at, section_of
from procray.spec.tree import plain, read


def tree(text):
    node, problems = read(text, "f.yaml")
    assert not problems, problems
    return node


def overlay(base, over):
    return plain(without_nulls(merge(tree(base), tree(over))))


@pytest.mark.parametrize(
    ("base", "over", "merged"),
    [
        ("{model: {layers: 1, heads: 2}}", "{model: {heads: 3}}", {"model": {"layers": 1, "heads": 3}}),
        ("{seeds: [1, 2]}", "{seeds: [3]}", {"seeds": [3]}),
        ("{transfer: {grid: [mlp, full]}}", "{transfer: {grid: [none]}}", {"transfer": {"grid": ["none"]}}),
        ("{transfer: {grid: [mlp, full]}}", "{transfer: none}", {"transfer": "none"}),
        ("{model: {layers: 1}}", "{model: {grid: [{heads: 2}]}}", {"model": {"grid": [{"heads": 2}]}}),
        ("{model: {grid: [{heads: 2}]}}", "{model: {heads: 4}}", {"model": {"heads": 4}}),
        ("{retries: 1, question: x}", "{retries: null}", {"question": "x"}),
        ("{semantic: {batch_tokens: 64}}", "{semantic: {batch: 2}}", {"semantic": {"batch": 2}}),
        (
            "{semantic: {batch_tokens: 64}}",
            "{semantic: {batch: 2, batch_tokens: 4}}",  # a mistake, which is reported
            {"semantic": {"batch": 2, "batch_tokens": 4}},
        ),
        ("{semantic: {batch_tokens: 64}}", "{semantic: {batch: ~}}", {"semantic": {"batch_tokens": 64}}),
        ("{semantic: {tokens: 1}}", "{diagnostic: {tokens: 2}}", {"diagnostic": {"tokens": 2}}),
        (
            "{semantic: {optimizer: {lr: 1, warmup: 5}}}",
            "{semantic: {optimizer: {warmup_steps: 1}}}",
            {"semantic": {"optimizer": {"lr": 1, "warmup_steps": 1}}},
        ),
        ("{targets: [{name: a}, {name: b}]}", "{targets: [{name: b}]}", {"targets": [{"name": "b"}]}),
        ("{chain: [{name: a}, {name: b}]}", "{chain: [{name: b}]}", {"chain": [{"name": "b"}]}),
        (
            "{select: {axes: [a], seeds: [1]}, resources: {gpu: 1, cpu: 2}}",
            "{select: {seeds: [2]}, resources: {cpu: 4}}",
            {"select": {"axes": ["a"], "seeds": [2]}, "resources": {"gpu": 1, "cpu": 4}},
        ),
        ("{model: {heads: 1}}", "{model: {heeds: ~}}", {"model": {"heads": 1, "heeds": None}}),  # to be reported
    ],
)
def test_sections_merge(base, over, merged):
    assert overlay(base, over) == merged


def test_merging_leaves_both_alone():
    base, over = tree("{model: {heads: 1}}"), tree("{model: {heads: 2, width: null}}")
    merge(base, over)
    assert plain(base) == {"model": {"heads": 1}}
    assert plain(over) == {"model": {"heads": 2, "width": None}}


BASE = """\
name: t
model: {layers: 1, heads: 1, width: 16, context: 32}
procedural: {task: PLACEHOLDER, length: 8, batch: 4, tokens: 2k, optimizer: {lr: 1e-3}}
transfer: full
semantic: {corpus: c4, tokenizer: byte, batch: 4, tokens: 4k, optimizer: {lr: 1e-3}}
"""
# What stands below, what is laid upon it, and what stands there then.
VALUES = {
    "a mixture": (
        "procedural.task",
        "{mixture: {set: .6, union: .4}}",
        "{mixture: {set: .5, sort: .5}}",
        {"mixture": {"set": 0.5, "sort": 0.5}},
    ),
    "a mixture of one": (
        "procedural.task",
        "{mixture: {set: .6, union: .4}, prefix: true}",
        "{mixture: {sort: 1}}",
        {"mixture": {"sort": 1.0}},
    ),
    "text over a mixture": (
        "procedural.task",
        "{mixture: {set: .6, union: .4}}",
        "{text: python-stdlib}",
        {"text": {"corpus": "python-stdlib"}},
    ),
    "a composition": (
        "transfer",
        "{attention: procedural, mlp: procedural}",
        "{attention: procedural}",
        {"attention": "procedural"},
    ),
    "files": (
        "semantic.corpus",
        "{files: texts/*.txt, validation: held/*.txt, field: body}",
        "{files: other/*.txt}",
        {"files": ["other/*.txt"]},
    ),
    "a hub's set": ("semantic.corpus", "{hf: a, config: b, field: c}", "{hf: d}", {"hf": "d"}),
    "a tokenizer": ("semantic.tokenizer", "{hub: gpt2, revision: x}", "{hub: a/b}", {"hub": "a/b"}),
    "a curriculum": (
        "procedural.length",
        "{start: 2, step: 2, mastery: 0.9, max: 9}",
        "{start: 4, max: 8}",
        {"start": 4, "max": 8},
    ),
    "a range": ("procedural.length", "{start: 2, max: 8}", "{min: 4, max: 8}", {"min": 4, "max": 8}),
    "a perturbation": (
        "perturb",
        "{noise: 0.1, components: [mlp]}",
        "{shuffle: per_layer}",
        {"shuffle": "per_layer"},
    ),
    "what is frozen": ("freeze", "[mlp, embeddings]", "[attention]", ["attention"]),
}


def nested(path, value):
    for part in reversed(path.split(".")):
        value = f"{{{part}: {value}}}"
    return value


def base_at(path, below):
    """BASE with a value at a path."""
    text = BASE.replace("PLACEHOLDER", below if path == "procedural.task" else "set")
    return plain(merge(tree(text), tree(nested(path, below))))


def settled(data, scale=None, set=None):
    drafts, problems = load_scales(json.dumps(data), "f.yaml", scale, set)
    if problems:
        raise SpecError(dict.fromkeys(problems))
    return drafts[0].spec


def at(spec, path):
    found = spec.base
    for part in path.split("."):
        found = found[part]
    return found


@pytest.mark.parametrize("case", VALUES)
def test_values_are_replaced(case):
    path, below, over, expected = VALUES[case]
    data = base_at(path, below)
    by_overlay = settled({**data, "scales": {"a": plain(tree(nested(path, over)))}})
    by_setting = settled(data, set=[f"{path}={over}"])
    by_section = settled(data, set=[f"{path.split('.')[0]}={nested(path, over).partition(': ')[2][:-1]}"])
    written = settled(base_at(path, over) | {"scales": {}})
    assert at(by_overlay, path) == at(by_setting, path) == at(by_section, path) == at(written, path) == expected
    assert by_setting.settings == by_section.settings != ""


@pytest.mark.parametrize(
    ("path", "below", "setting", "expected"),
    [
        ("procedural.length", "{min: 2, max: 8}", "procedural.length.max=24", {"min": 2, "max": 24}),
        (
            "transfer",
            "{attention: procedural, mlp: procedural}",
            "transfer.attention=set",
            {"attention": "set", "mlp": "procedural"},
        ),
        ("transfer", "{attention: procedural, mlp: procedural}", "transfer.mlp=", {"attention": "procedural"}),
        ("transfer", "full", "transfer.attention=set", {"attention": "set"}),
        (
            "semantic.corpus",
            "{files: a, validation: b}",
            "semantic.corpus.files=[c, d]",
            {"files": ["c", "d"], "validation": ["b"]},
        ),
        ("semantic.corpus", "{files: a, validation: b}", "semantic.corpus.validation=", {"files": ["a"]}),
        ("seeds", "[1, 2]", "seeds.0=5", [5, 2]),
        (
            "procedural.task",
            "{mixture: {set: .5, union: .5}}",
            "procedural.task.mixture.union=1.5",
            {"mixture": {"set": 0.5, "union": 1.5}},
        ),
    ],
)
def test_a_setting_that_leads_into_a_value_changes_that_part(path, below, setting, expected):
    assert at(settled(base_at(path, below), set=[setting]), path) == expected


def test_a_setting_stands_in_the_place_of_its_rivals():
    over = ["diagnostic.task=haystack", "diagnostic={batch: 2, tokens: 4k}", "diagnostic.optimizer.lr=1e-3"]
    spec = settled(base_at("transfer", "full"), set=over)
    assert "semantic" not in spec.base
    assert spec.base["diagnostic"] == {"task": "haystack", "batch": 2, "tokens": 4000, "optimizer": {"lr": 1e-3}}


def test_a_setting_goes_into_an_entry_of_a_list():
    target = {"batch": 4, "tokens": "8k", "optimizer": {"lr": 1e-3}, "task": "haystack", "pairs": 4}
    data = base_at("transfer", "full") | {"targets": [{"name": "haystack", "diagnostic": target}]}
    del data["semantic"]
    spec = settled(data, set=["targets.haystack.diagnostic.tokens=4k", "targets.0.diagnostic={batch: 2}"])
    assert spec.base["targets"][0]["diagnostic"] == {**target, "tokens": 4000, "batch": 2}
    assert spec.settings.startswith("targets.haystack.diagnostic.batch=2,targets.haystack.")


def test_parameters_of_the_former_task_go_with_it():
    data = base_at("procedural.vocab", "20")
    for task, kept in {"union": {"length", "vocab"}, "{shuffled: dyck}": {"length"}, "{text: c4}": set(),
                       "{grid: [dyck, {text: c4}]}": {"length"}}.items():  # fmt: skip
        spec = settled(data, set=[f"procedural.task={task}"])
        assert spec.base["procedural"].keys() & {"length", "vocab"} == kept, task
        over = {"procedural": {"task": plain(tree(task))}}
        assert settled({**data, "scales": {"a": over}}).base == spec.base
    asked = settled(data, set=["procedural.vocab=30", "procedural.task=dyck"])
    assert asked.base["procedural"]["vocab"] == 30  # the checks of chains say that dyck has none
    given = {"scales": {"a": {"procedural": {"vocab": 9, "task": "dyck"}}}}
    assert settled(data | given).base["procedural"]["vocab"] == 9


def test_what_a_section_is_follows_from_the_models():
    sections = {key for key in Sweep.model_fields if section_of(Sweep, key)}
    assert sections == {
        *("model", "procedural", "semantic", "diagnostic", "finetune", "targets", "chain", "select"),
        *("resources", "published"),
    }
    assert section_at(("targets", 0, "finetune")) is FinetunePhase
    assert section_at(("procedural", "length")) is None
    found = [Sweep]
    for section in found:
        assert issubclass(section, Section)
        for rivals in section.rivals:
            assert rivals <= section.model_fields.keys()
        assert section.defaults.keys() <= section.model_fields.keys()
        inner = [section_of(section, key) for key in section.model_fields]
        found += [one for one in inner if one is not None and one not in found]
