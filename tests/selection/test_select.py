"""`select:`: the same search for every variant, the baseline included, and the plan that follows from it."""

from __future__ import annotations

import json
import math

import pytest

from procray.errors import SpecError
from procray.planning import Plan, plan
from procray.planning.load import load_text
from procray.planning.plan_json import plan_from_json
from procray.selection import select
from procray.store.store import Store

FILE = """\
name: tuned
seeds: [0, 1, 2]
model: {layers: 1, heads: 2, width: 16, context: 32}
procedural:
  task: {grid: [union, set]}
  length: 8
  batch: 16
  tokens: 10k
  optimizer: {lr: 1e-3}
transfer: {grid: [full, mlp]}
semantic:
  corpus: c4
  tokenizer: byte
  tokens: 100k
  batch: 8
  optimizer: {lr: {grid: [1e-4, 1e-3, 1e-2]}, weight_decay: {grid: [0, 0.1]}, schedule: cosine}
matched: [0.5]
select: {axes: [lr, weight_decay], seeds: [100, 101]}
"""
TARGETS = """\
name: several
model: {layers: 1, heads: 2, width: 16, context: 32}
procedural: {task: identity, length: 8, batch: 16, tokens: 10k, optimizer: {lr: {grid: [1e-3, 2e-3]}}}
targets:
  - name: text
    semantic: {corpus: c4, tokenizer: byte, tokens: 100k, batch: 8, optimizer: {lr: {grid: [1e-3, 1e-2]}}}
  - name: find
    diagnostic: {task: haystack, pairs: 2, batch: 8, tokens: 10k, optimizer: {lr: {grid: [3e-3, 1e-2]}}}
select: {axes: [lr], seeds: [100]}
"""
LR, DECAY = "semantic.optimizer.lr", "semantic.optimizer.weight_decay"


def build(text: str = FILE, **settings) -> Plan:
    return plan(load_text(text, "f.yaml", set=settings or None))


def finish(graph: Plan, store: Store, result, seeds=None) -> None:
    """Writes the end of every trial; `result` gives {"loss": ..., "accuracy": ...} or a reason to have failed."""
    for trial in graph.trials:
        if seeds is not None and trial.seed not in seeds:
            continue
        folder = store.phase(trial.compared)
        (folder.path / "journal").mkdir(parents=True, exist_ok=True)
        found = result(trial)
        if isinstance(found, str):
            folder.set_status("failed", reason=found, final=True)
            continue
        (folder.path / "journal" / "1.jsonl").write_text(json.dumps({"step": trial.step, "tokens": 1, **found}) + "\n")
        folder.set_status("done", step=trial.step)


def bowl(trial) -> dict[str, float]:
    """The baseline is best at 1e-2 without decay, all others at 1e-3 with decay; seeds shift every loss alike."""
    best = (1e-2, 0) if trial.variant == "baseline" else (1e-3, 0.1)
    away = abs(math.log10(trial.setting[LR] / best[0])) + abs(trial.setting[DECAY] - best[1])
    return {"loss": 3 + away + 0.1 * (trial.seed - 100), "accuracy": 0.1}


def test_the_file_alone_gives_the_search_and_nothing_else():
    graph = build()
    assert graph.cells == []
    assert {phase.recipe.seed for phase in graph.phases.values()} == {100, 101}
    names = {"baseline", *(f"{task}/{mode}" for task in ("union", "set") for mode in ("full", "mlp"))}
    settings = {(trial.variant, trial.setting[LR], trial.setting[DECAY], trial.seed) for trial in graph.trials}
    assert settings == {
        (name, lr, decay, seed)
        for name in names
        for lr in (1e-4, 1e-3, 1e-2)
        for decay in (0, 0.1)
        for seed in (100, 101)
    }
    trial = graph.trials[0]
    assert (trial.label, trial.step) == ("lr1e-4/weight_decay0", graph.phases[trial.compared].end)
    for phase in graph.phases.values():
        assert phase.recipe.evaluation.split == ("tuning" if phase.kind == "semantic" else "validation")
    assert "tuning/union/mlp/lr1e-3/weight_decay0.1 s101" in {phase.label for phase in graph.phases.values()}


def test_what_follows_is_what_a_file_with_the_chosen_values_would_plan():
    graph = build()
    choices = {name: {LR: 1e-3, DECAY: 0.1} for name in {trial.variant for trial in graph.trials}}
    choices["baseline"] = {LR: 1e-2, DECAY: 0}
    whole = graph.then(choices)
    assert whole.then is None
    assert graph.phases.keys() < whole.phases.keys()
    assert len(whole.phases) - len(graph.phases) == graph.totals["then_phases"]

    def fixed(lr, decay) -> dict:
        text = FILE.partition("select:")[0]
        other = plan(load_text(text, "f.yaml", set={LR: lr, DECAY: decay}))
        return {(cell.variant, cell.seed, cell.fraction): cell.compared for cell in other.cells}

    expected = {key: id for key, id in fixed(1e-3, 0.1).items() if key[0] != "baseline"}
    expected |= {key: id for key, id in fixed(1e-2, 0).items() if key[0] == "baseline"}
    assert {(cell.variant, cell.seed, cell.fraction): cell.compared for cell in whole.cells} == expected
    assert {cell.baseline for cell in whole.cells} == {"baseline"}
    assert next(cell for cell in whole.cells if cell.variant == "set/mlp").axes[LR] == 1e-3
    again = plan_from_json(json.loads(json.dumps(whole.to_json())))
    assert again.to_json() == whole.to_json()
    assert again.trials == whole.trials


def test_each_variant_gets_its_own_lowest_mean_loss(tmp_path):
    graph, store = build(), Store(tmp_path)
    finish(graph, store, bowl, seeds=[100])
    early = select.read(graph, store)
    assert not early.settled
    assert early.choices == {}
    assert early.of("baseline")[0].n == 1
    assert select.whole(graph, store) is None
    finish(graph, store, bowl)
    found = select.read(graph, store)
    assert found.settled
    assert found.choices["baseline"] == {LR: 1e-2, DECAY: 0}
    assert found.choices["set/full"] == {LR: 1e-3, DECAY: 0.1}
    cell = next(cell for cell in found.of("baseline") if cell.chosen)
    assert (cell.n, cell.mean, cell.sd) == (2, pytest.approx(3.05), pytest.approx(0.1 / 2**0.5))
    # 1e-2 is the highest rate that was tried; no decay below 0 could be tried.
    assert cell.edges == ("lr 0.01 (highest)",)
    assert next(cell for cell in found.of("set/full") if cell.chosen).edges == ("weight_decay 0.1 (highest)",)


def test_what_fails_at_one_seed_is_reported_and_never_chosen(tmp_path):
    graph, store = build(), Store(tmp_path)

    def result(trial):
        broken = trial.variant == "set/mlp" or (trial.setting[LR] == 1e-2 and trial.seed == 101)
        return "the loss is nan" if broken else bowl(trial)

    finish(graph, store, result)
    found = select.read(graph, store)
    assert found.settled
    assert found.choices["baseline"] == {LR: 1e-3, DECAY: 0}
    lost = [cell for cell in found.of("baseline") if cell.setting[LR] == 1e-2]
    assert [(cell.state, cell.n, cell.reason) for cell in lost] == [("failed", 1, "seed 101: the loss is nan")] * 2
    assert "set/mlp" not in found.choices
    whole = select.whole(graph, store)
    assert "set/mlp" not in whole.variants
    assert "set/full" in whole.variants


def test_the_record_says_everything_and_is_the_same_each_time(tmp_path):
    graph, store = build(), Store(tmp_path)
    finish(graph, store, bowl)
    path = select.record(graph, store)
    first = path.read_bytes()
    whole = select.whole(graph, store)
    again = select.record(whole, store)
    assert again.parent == store.plan_folder(whole.title, whole.digest)
    assert again.read_bytes() == first
    value = json.loads(first)
    assert (value["seeds"], value["settled"], len(value["variants"])) == ([100, 101], True, 5)
    for variant in value["variants"]:
        assert variant["budget"] == {"settings": 6, "seeds": 2}
        assert [cell["setting"] for cell in variant["tried"] if cell["chosen"]] == [variant["chosen"]]
        assert all({"n", "mean", "sd"} <= cell.keys() for cell in variant["tried"])


def test_a_diagnostic_is_chosen_by_accuracy_and_ties_by_loss(tmp_path):
    graph, store = build(TARGETS), Store(tmp_path)

    def result(trial):
        lr = next(iter(trial.setting.values()))
        return {"loss": 5 * lr, "accuracy": 1.0 if "full" not in trial.variant or lr > 5e-3 else 0.5}

    finish(graph, store, result)
    found = select.read(graph, store)
    assert {cell.metric for cell in found.tried if cell.target == "find"} == {"accuracy"}
    rate = "targets.find.diagnostic.optimizer.lr"
    assert found.choices["find/baseline"] == {rate: 3e-3}  # equal accuracies: the lower loss
    assert {cell.metric for cell in found.tried if cell.target == "text"} == {"loss"}
    assert found.choices["text/baseline"] == {"targets.text.semantic.optimizer.lr": 1e-3}


def test_a_phase_that_was_solved_early_keeps_its_last_value(tmp_path):
    graph, store = build(TARGETS), Store(tmp_path)
    finish(graph, store, lambda trial: {"loss": 1.0, "accuracy": 0.5})
    trial = next(trial for trial in graph.trials if trial.variant == "find/baseline")
    row = {"step": 3, "tokens": 1, "loss": 0.1, "accuracy": 1.0, "solved": True}
    (store.phase(trial.compared).path / "journal" / "1.jsonl").write_text(json.dumps(row) + "\n")
    assert select.read(graph, store).choices["find/baseline"] == trial.setting


def test_a_short_name_means_the_axis_of_every_target_but_not_of_the_warm_up():
    graph = build(TARGETS)
    assert graph.search["axes"] == ["targets.text.semantic.optimizer.lr", "targets.find.diagnostic.optimizer.lr"]
    # The warm-up's rate stays an axis like any other.
    assert {trial.variant for trial in graph.trials} == {
        f"{target}/{name}" for target in ("text", "find") for name in ("baseline", "lr1e-3", "lr2e-3")
    }
    assert len(graph.trials) == 12


def test_a_target_without_the_axis_waits_and_is_then_planned_as_usual():
    text = TARGETS.replace("{lr: {grid: [3e-3, 1e-2]}}", "{lr: 3e-3}")
    graph = build(text)
    assert {trial.target for trial in graph.trials} == {"text"}
    whole = graph.then({})
    assert {cell.target for cell in whole.cells} == {"find"}
    # Before anything is chosen it is known what will be needed.
    assert {cell.target for cell in select.foreseen(graph).cells} == {"text", "find"}
    assert select.foreseen(whole) is whole


def test_only_the_compared_phase_of_a_longer_chain_is_searched():
    text = FILE.replace("matched: [0.5]", "compare: semantic") + (
        "finetune: {corpus: wikitext-103, tokenizer: byte, tokens: 10k, batch: 4, optimizer: {lr: 1e-3}}\n"
    )
    graph = build(text)
    assert {phase.kind for phase in graph.phases.values()} == {"procedural", "semantic"}
    first = {trial.variant: trial.setting for trial in graph.trials}
    assert "finetune" in {phase.kind for phase in graph.then(first).phases.values()}


MISTAKES = {
    "an unknown axis": (
        ("axes: [lr, weight_decay]", "axes: [lr, weigth_decay]"),
        "f.yaml:18:21: select.axes: no axis 'weigth_decay'; did you mean",
    ),
    "an axis that the baseline does not have": (
        ("axes: [lr, weight_decay]", "axes: [transfer]"),
        "f.yaml:18:17: select.axes: the baseline does not have transfer, so both arms cannot get the same search",
    ),
    "an axis named twice": (
        ("axes: [lr, weight_decay]", "axes: [lr, semantic.optimizer.lr]"),
        "f.yaml:18:21: select.axes: semantic.optimizer.lr stands here twice",
    ),
    "a tuning seed that is a seed": (
        ("seeds: [100, 101]", "seeds: [100, 2]"),
        "f.yaml:18:49: select.seeds: 2 is also a seed of the sweep",
    ),
    "no seeds": (("seeds: [100, 101]", "by: best"), "f.yaml:18:1: select: missing key 'seeds'"),
    "no axes": (("axes: [lr, weight_decay]", "axes: []"), "f.yaml:18:10: select.axes: must not be empty"),
    "another rule": (("seeds: [100, 101]", "seeds: [100], by: worst"), "select.by: expected 'best'"),
    "a misspelt key": (("select: {axes", "select: {axis: [lr], axes"), "select.axis: unknown key 'axis'; did you mean"),
    "half of a zipped pair": (
        ("select: {axes: [lr, weight_decay]", "zip: [[task, weight_decay]]\nselect: {axes: [weight_decay]"),
        "select.axes: semantic.optimizer.weight_decay is zipped with procedural.task: name both",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_named_with_their_place(name):
    (old, new), message = MISTAKES[name]
    assert old in FILE
    with pytest.raises(SpecError) as caught:
        build(FILE.replace(old, new))
    assert message in str(caught.value)


def test_with_a_shared_phase_before_it_the_bound_still_holds():
    text = """\
name: long
model: {layers: 1, heads: 2, width: 16, context: 32}
procedural: {task: union, length: 8, batch: 16, tokens: 10k, optimizer: {lr: 1e-3}}
transfer: {grid: [full, mlp]}
semantic: {corpus: c4, tokenizer: byte, tokens: 10k, batch: 8, optimizer: {lr: {grid: [1e-3, 1e-2]}}}
finetune:
  {corpus: wikitext-103, tokenizer: byte, tokens: 10k, batch: 4, transfer: {grid: [full, mlp]}, optimizer: {lr: 1e-3}}
select: {axes: [lr], seeds: [7]}
"""
    graph = build(text)
    variants = list(dict.fromkeys(trial.variant for trial in graph.trials))
    rate = {"semantic.optimizer.lr": 1e-3}, {"semantic.optimizer.lr": 1e-2}
    apart = {variant: rate[number % 2] for number, variant in enumerate(variants)}
    assert len(graph.then(apart).phases) - len(graph.phases) <= graph.totals["then_phases"]
