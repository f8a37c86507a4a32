"""What comes to the same weights is one phase, however it is written; what does not is another."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from procray.planning.load import load_sweep, load_text
from procray.planning.plan import Plan
from procray.planning.plan_json import plan_from_json
from procray.planning.planner import plan

BASE = """\
name: t
model: {layers: 2, heads: 1, width: 16, context: 32}
procedural:
  task: {grid: [set, union]}
  length: 8
  batch: 4
  tokens: 2k
  optimizer: {lr: 1e-3}
diagnostic:
  task: reversed_addition
  digits: 3
  batch: 4
  tokens: 4k
  optimizer: {lr: 1e-3}
  evaluate: {every: 1k}
"""


def build(text: str = BASE, **changes: Any) -> Plan:
    return plan(load_text(text, "f.yaml", set={key.replace("__", "."): value for key, value in changes.items()}))


def ids(text: str = BASE, **changes: Any) -> list[tuple[str, list[int]]]:
    return sorted((phase.id, phase.marks) for phase in build(text, **changes).phases.values())


SET = {"procedural__task": "set"}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"transfer": {"attention": [{"layers": 0}, {"layers": 1}]}}, {"transfer": "attention"}),
        ({"transfer": {"attention": [{"layers": 1}, {"layers": 0}]}}, {"transfer": {"attention": {"layers": "0-1"}}}),
        ({"transfer": {"qkv": {"layers": 0}, "proj": {"layers": 0}}}, {"transfer": {"attention": {"layers": 0}}}),
        (
            {"transfer": {"attention": {"layers": 0}, "mlp": [{"layers": {"0": 1}}, {"layers": {"1": 0}}]}},
            {"transfer": {"mlp": {"layers": {"0": 1, "1": 0}}, "attention": {"layers": 0}}},
        ),
        ({"transfer": {"qkv": "set", "proj": "procedural"}, **SET}, {"transfer": "attention", **SET}),
        (
            {"transfer": {"attention": {"interpolate": ["set", "union"], "weight": 0.3}}},
            {"transfer": {"attention": {"interpolate": ["union", "set"], "weight": 0.7}}},
        ),
        ({"transfer": {"attention": {"interpolate": ["set", "procedural"]}}, **SET}, {"transfer": "attention", **SET}),
        (
            {"transfer": "attention", "perturb": {"noise": 0.1, "components": ["attention"]}},
            {"transfer": "attention", "perturb": {"noise": 0.1}},
        ),
        (
            {"transfer": "qkv+mlp", "perturb": {"noise": 0.1, "components": ["attention", "mlp_in"]}},
            {"transfer": "qkv+mlp", "perturb": {"noise": 0.1, "components": ["qkv", "mlp_in"]}},
        ),
        ({"transfer": "none", "perturb": {"noise": 0.1}}, {"transfer": "none"}),
        ({"diagnostic__optimizer__weight_decay": -0.0}, {"diagnostic__optimizer__weight_decay": 0}),
        ({"diagnostic__optimizer__clip": -0.0}, {"diagnostic__optimizer__clip": 0}),
        ({"model__dropout": -0.0}, {}),
        ({"diagnostic__optimizer__decay": 0.5}, {}),
        ({"diagnostic__optimizer__min_lr": 0.5}, {}),
        ({"procedural__evaluate__every": 500}, {}),
        ({"procedural__evaluate__sequences": 17}, {}),
    ],
)
def test_two_spellings_of_one_meaning(one, other):
    assert ids(**one) == ids(**other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"transfer": {"attention": [{"layers": 0}]}}, {"transfer": "attention"}),
        ({"transfer": {"attention": {"layers": {"0": 1, "1": 0}}}}, {"transfer": "attention"}),
        (
            {"transfer": {"attention": {"interpolate": ["set", "union"], "weight": 0.3}}},
            {"transfer": {"attention": {"interpolate": ["set", "union"], "weight": 0.7}}},
        ),
        (
            {"transfer": "attention+mlp", "perturb": {"noise": 0.1, "components": ["attention"]}},
            {"transfer": "attention+mlp", "perturb": {"noise": 0.1}},
        ),
        ({"diagnostic__evaluate__every": 500}, {}),
        ({"diagnostic__evaluate__sequences": 17}, {}),
        ({"procedural__evaluate__solved__accuracy": 0.9}, {}),
        (
            {"procedural__evaluate": {"every": 500, "solved": {"accuracy": 0.9}}},
            {"procedural__evaluate": {"every": 1000, "solved": {"accuracy": 0.9}}},
        ),
        (
            {"procedural__evaluate": {"sequences": 17, "solved": {"accuracy": 0.9}}},
            {"procedural__evaluate": {"sequences": 18, "solved": {"accuracy": 0.9}}},
        ),
    ],
)
def test_another_meaning_has_other_ids(one, other):
    assert ids(**one) != ids(**other)


OPTIMIZER = {
    "lr": [1e-3, 2e-3],
    "weight_decay": [0.1, 0, 0.3],
    "clip": [1.0, 0],
    "beta2": [0.999, 0.95],
    "warmup_steps": [0, 2],
    "schedule": ["constant", "cosine", "wsd"],
    "min_lr": [0, 0.1],
    "decay": [0.2, 0.4],
}


def _spellings(key: str, value: Any) -> list[Any]:
    if key in ("schedule", "warmup_steps"):
        return [value]
    return [value, float(value), *([-0.0] if value == 0 else [])]


@settings(max_examples=25, derandomize=True, deadline=None, database=None)
@given(st.data())
def test_optimisers_mean_the_same_where_their_numbers_and_the_use_of_them_do(data):
    """In any order, with defaults spelled out, and whatever a schedule leaves alone."""
    meant = {key: data.draw(st.sampled_from(values)) for key, values in OPTIMIZER.items()}
    shuffled = {key: meant[key] for key in data.draw(st.permutations(sorted(meant)))}
    used = {"constant": ("min_lr", "decay"), "cosine": ("decay",), "wsd": ()}[meant["schedule"]]
    short = {key: value for key, value in meant.items() if key not in used and value != OPTIMIZER[key][0]}
    sweep = {"procedural__task": "set", "procedural__tokens": "4k"}
    spelled = {key: data.draw(st.sampled_from(_spellings(key, value))) for key, value in shuffled.items()}
    whole = {f"diagnostic__optimizer__{key}": value for key, value in spelled.items()}
    shorter = {f"diagnostic__optimizer__{key}": value for key, value in short.items()}
    assert ids(**sweep, **whole) == ids(**sweep, **shorter)
    key = data.draw(st.sampled_from(sorted(set(OPTIMIZER) - set(used))))
    other = data.draw(st.sampled_from([value for value in OPTIMIZER[key] if value != meant[key]]))
    assert ids(**sweep, **{**whole, f"diagnostic__optimizer__{key}": other}) != ids(**sweep, **shorter)


def test_a_warm_up_that_two_parts_look_at_is_evaluated_as_often_and_on_as_much_as_either_asks():
    cadences = [{"every": 400, "sequences": 32}, {"every": 200, "sequences": 16}]
    for grid in (cadences, cadences[::-1]):
        graph = build(procedural__evaluate={"grid": grid}, **SET)
        (warm,) = [phase for phase in graph.phases.values() if phase.kind == "procedural"]
        step = warm.tokens_per_step
        assert (warm.recipe.evaluation.every, warm.recipe.evaluation.sequences) == (round(200 / step), 32)
        assert warm.id == warm.recipe.id
        assert warm.label == "set L8 s0"
        assert len(graph.variants) == 2
        assert len(graph.same) == 1


def test_a_search_is_tried_at_the_budget_of_each_result():
    text = BASE.replace("layers: 2", "layers: 1").replace("tokens: 4k", "tokens: {grid: [1k, 4k]}")
    before, after = text.split("diagnostic:")
    text = before + "diagnostic:" + after.replace("lr: 1e-3", "lr: {grid: [1e-3, 1e-2]}")
    graph = build(text + "select: {axes: [lr], seeds: [100]}\n", **SET)
    steps = {trial.variant: set() for trial in graph.trials}
    for trial in graph.trials:
        steps[trial.variant].add(trial.step)
    assert steps == {"baseline/1k": {20}, "baseline/4k": {77}, "1k": {20}, "4k": {77}}
    whole = graph.then({trial.variant: trial.setting for trial in graph.trials})
    assert {cell.variant: {cell.step} for cell in whole.cells} == steps


# Names


def test_warm_ups_of_one_chain_have_names_of_their_own():
    text = """\
name: chain
model: {layers: 1, heads: 1, width: 8, context: 16}
chain:
  - {procedural: {task: union, length: 8, batch: 8, tokens: {grid: [10k, 20k]}, optimizer: {lr: 1e-3}}}
  - {procedural: {task: union, length: 8, batch: 8, tokens: 20k, optimizer: {lr: 1e-3}}}
  - {name: end, procedural: {task: union, length: 8, batch: 8, tokens: 20k, optimizer: {lr: 1e-4}}}
  - {diagnostic: {task: haystack, pairs: 4, batch: 8, tokens: 10k, optimizer: {lr: 1e-3}}}
"""
    names = [phase.label for phase in build(text).phases.values() if phase.kind == "procedural"]
    assert names == [
        "union L8 s0",
        "union L8 procedural2 after-10k s0",
        "union L8 end after-10k s0",
        "union L8 procedural2 after-20k s0",
        "union L8 end after-20k s0",
    ]


def test_phases_that_only_the_file_tells_apart_have_names_of_their_own():
    text = """\
name: chain
model: {layers: 1, heads: 1, width: 8, context: 16}
chain:
  - {semantic: {corpus: c4, tokenizer: byte, batch: 4, tokens: 1k, optimizer: {lr: 1e-3}}}
  - {semantic: {corpus: c4, tokenizer: byte, batch: 4, tokens: 2k, optimizer: {lr: 1e-3}}}
  - {diagnostic: {task: haystack, pairs: 4, batch: 8, tokens: 10k, optimizer: {lr: 1e-3}}}
"""
    labels = [phase.label for phase in build(text).phases.values()]
    assert labels == ["baseline/semantic s0", "baseline/semantic2 s0", "baseline s0"]


def test_a_phase_that_variants_share_is_named_by_what_it_depends_on():
    text = BASE[: BASE.index("diagnostic:")] + (
        "semantic: {corpus: c4, tokenizer: byte, batch: 4, tokens: 4k, optimizer: {lr: 1e-3}}\n"
        "finetune: {corpus: c4, tokenizer: byte, batch: 4, tokens: {grid: [4k, 2k]},"
        " optimizer: {lr: {grid: [1e-3, 1e-4]}}}\n"
    )
    labels = {phase.label for phase in build(text, **SET).phases.values() if phase.kind != "procedural"}
    assert labels == {
        "baseline/semantic s0", "baseline/lr1e-3 s0", "baseline/lr1e-4 s0",
        "set/full/semantic s0", "lr1e-3 s0", "lr1e-4 s0",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("tokenizer", [{"bpe": 300}, {"bpe": 512}, "byte"]),
        ("corpus", [{"hf": "a/b", "config": "x"}, {"hf": "a/b", "config": "y"}, "c4", {"name": "c4", "documents": 10}]),
        ("optimizer.lr", [1e-3, 2e-3, 1e-4]),
    ],
)
def test_another_value_of_a_grid_renames_none(key, values):
    text = BASE[: BASE.index("diagnostic:")] + (
        "semantic: {corpus: c4, tokenizer: byte, batch: 4, tokens: 4k, optimizer: {lr: 1e-3}}\n"
    )
    whole = build(text, **{f"semantic.{key}": {"grid": values}}, **SET)
    names = dict(zip(map(json.dumps, whole.axes[0]["values"]), whole.axes[0]["labels"], strict=True))
    assert len(set(names.values())) == len(values)
    for left_out in values:
        rest = [value for value in values if value != left_out]
        fewer = build(text, **{f"semantic.{key}": {"grid": rest}}, **SET)
        if len(rest) > 1:
            axis = fewer.axes[0]
            assert [names[json.dumps(value)] for value in axis["values"]] == axis["labels"]
            assert set(fewer.variants) <= set(whole.variants)


def test_a_variant_that_is_another_stands_in_the_plan_once():
    text = BASE[: BASE.index("procedural:")] + BASE[BASE.index("diagnostic:") :]
    graph = build(text, freeze={"grid": ["none", "attention"]})
    assert graph.variants == ["baseline", "freeze-attention"]
    assert graph.same == {"unfrozen": "baseline"}
    assert plan_from_json(json.loads(json.dumps(graph.to_json()))) == graph
    pieces = build(transfer={"grid": ["attention", {"attention": [{"layers": 0}, {"layers": 1}]}]}, **SET)
    assert pieces.variants == ["baseline", "attention"]
    assert pieces.same == {"attention.0+.1": "attention"}


def test_what_a_schedule_does_not_use_multiplies_nothing():
    graph = build(
        diagnostic__optimizer={"schedule": {"grid": ["constant", "cosine"]}, "min_lr": {"grid": [0, 0.1]}}, **SET
    )
    assert graph.variants == [
        "baseline/constant", "baseline/cosine/min_lr0", "baseline/cosine/min_lr0.1",
        "constant", "cosine/min_lr0", "cosine/min_lr0.1",
    ]  # fmt: skip


# Places


def test_a_plan_knows_its_file_and_what_was_set(tmp_path):
    path = tmp_path / "t.yaml"
    path.write_text(BASE)
    assert (plan(load_sweep(path)).file, plan(load_sweep(path)).settings) == (str(path), "")
    changed = plan(load_sweep(path, set=["seeds=[1]"]))
    assert changed.settings == "seeds=1"
    assert changed.title == "t@default+seeds=1"


def test_relative_files_start_at_the_sweep_file(tmp_path, monkeypatch):
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("abc " * 200)
    text = BASE[: BASE.index("diagnostic:")] + (
        "semantic: {corpus: {files: GLOB}, tokenizer: byte, batch: 4, tokens: 4k, optimizer: {lr: 1e-3}}\n"
    )
    (tmp_path / "elsewhere").mkdir()
    found = set()
    for number, glob in enumerate(["texts/*.txt", "./texts/*.txt", str(tmp_path / "texts" / "*.txt")]):
        for folder in (tmp_path, tmp_path / "elsewhere"):
            monkeypatch.chdir(folder)
            path = tmp_path / f"{number}.yaml"
            path.write_text(text.replace("GLOB", json.dumps(glob)))
            graph = plan(load_sweep(path))
            assert all(id == phase.recipe.id for id, phase in graph.phases.items())
            found.add(tuple(sorted(graph.phases)))
    assert len(found) == 1
