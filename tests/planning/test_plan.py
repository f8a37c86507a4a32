"""Plans: budgets in steps, shared phases, identities, baselines, matched reruns, totals."""

from __future__ import annotations

import math
import resource
import textwrap
import time
from dataclasses import replace

import pytest

from procray import tasks
from procray.planning.load import load_text
from procray.planning.notes import notes
from procray.planning.plan import Plan
from procray.planning.planner import plan
from procray.training.recipe import Parent

BASE = """\
name: base
seeds: [0, 1]
model: {layers: 2, heads: 2, width: 16, context: 32}
procedural:
  task: {grid: [union, set]}
  length: 8
  batch: 16
  tokens: {grid: [10k, 20k]}
  optimizer: {lr: 1e-3}
transfer: {grid: [full, mlp]}
semantic:
  corpus: c4
  tokenizer: byte
  tokens: 100k
  batch: 8
  optimizer: {lr: 5e-4, schedule: cosine, min_lr: 0.1}
"""


def build(text=BASE, **settings) -> Plan:
    return plan(load_text(text, "f.yaml", set=settings or None))


def of(graph, kind):
    return [phase for phase in graph.phases.values() if phase.kind == kind]


def cells(graph, variant, fraction=None):
    return [cell for cell in graph.cells if cell.variant == variant and cell.fraction == fraction]


def test_every_id_is_the_recipes_own():
    graph = build(matched=[0.5])
    assert all(key == phase.id == phase.recipe.id for key, phase in graph.phases.items())


def test_cells_are_the_product_times_seeds_and_a_baseline():
    graph = build()
    assert graph.variants == [
        "baseline",
        *(f"{task}/{t}/{mode}" for task in ("union", "set") for t in ("10k", "20k") for mode in ("full", "mlp")),
    ]
    assert len(graph.cells) == 2 * 9
    assert {cell.baseline for cell in graph.cells} == {"baseline"}
    assert [cell.is_baseline for cell in graph.cells[:3]] == [True, True, False]
    assert cells(graph, "set/20k/mlp")[0].axes == {
        "procedural.task": "set",
        "procedural.tokens": 20_000,
        "transfer": "mlp",
    }


def test_budgets_round_up_to_whole_steps():
    graph = build()
    warm = next(phase for phase in of(graph, "procedural") if phase.variant == "union/L8")
    step = 16 * tasks.get("union", length=8).mean_tokens
    assert warm.tokens_per_step == step
    assert warm.marks == [math.ceil(10_000 / step), math.ceil(20_000 / step)]
    assert warm.nominal == {mark: round(mark * step) for mark in warm.marks}
    assert warm.asked == {warm.marks[0]: [10_000], warm.marks[1]: [20_000]}
    assert of(graph, "semantic")[0].marks == [391]  # 100,000 / 256 = 390.6


def test_an_exact_budget_is_not_rounded_up():
    graph = build(**{"semantic.tokens": 25_600})
    assert of(graph, "semantic")[0].marks == [100]


def test_warmups_are_shared_among_modes_and_budgets():
    graph = build()
    assert len(of(graph, "procedural")) == 2 * 2  # task x seed
    assert len(of(graph, "semantic")) == 2 * 9
    assert all(len(phase.marks) == 2 for phase in of(graph, "procedural"))
    assert len(of(graph, "procedural")[0].variants) == 4


def test_decaying_warmups_are_a_phase_for_each_budget():
    graph = build(**{"procedural.optimizer.schedule": "cosine"})
    assert len(of(graph, "procedural")) == 2 * 2 * 2
    assert all(phase.recipe.steps == phase.end for phase in of(graph, "procedural"))


def test_the_warmups_model_follows_its_task_alone():
    graph = build()
    task = tasks.get("set", length=8)
    warm = next(phase for phase in of(graph, "procedural") if phase.variant == "set/L8")
    assert (warm.recipe.model.context, warm.vocab) == (task.positions, task.vocab_size)
    assert {phase.id for phase in of(build(**{"model.context": 64}), "procedural")} == {
        phase.id for phase in of(graph, "procedural")
    }


def test_inits_follow_the_modes():
    graph = build()
    full = graph.phases[cells(graph, "set/10k/full")[0].compared]
    warm = cells(graph, "set/10k/full")[0].warmups[0]
    assert full.recipe.init.components == dict.fromkeys(("attention", "mlp", "layernorm"), warm)
    assert full.parents == [warm]
    assert graph.phases[cells(graph, "set/10k/mlp")[0].compared].recipe.init.components == {"mlp": warm}
    assert graph.phases[cells(graph, "baseline")[0].compared].recipe.init.components == {}


def test_mean_embeddings_and_positions_of_a_diagnostic():
    text = BASE.replace(", context: 32", "").replace("length: 8", "length: 32")
    start = text.index("semantic:")
    text = text[:start] + "diagnostic: {task: haystack, pairs: 4, batch: 8, tokens: 10k, optimizer: {lr: 1e-3}}\n"
    graph = build(text, transfer="full+embeddings")
    phase = graph.phases[cells(graph, "set/10k")[0].compared]
    assert set(phase.recipe.init.components) == {"attention", "mlp", "layernorm", "embeddings", "positions"}
    assert phase.recipe.init.embeddings == "mean"
    assert phase.recipe.model.context == tasks.get("haystack", pairs=4).positions
    short = build(text, **{"transfer": "full+embeddings", "procedural.length": 2})
    phase = short.phases[cells(short, "set/10k")[0].compared]
    assert "positions" not in phase.recipe.init.components  # the parent has too few


def test_t1_counts_whole_sequences():
    graph = build()
    cell = cells(graph, "union/20k/full")[0]
    warm = graph.phases[cell.warmups[0].phase]
    assert cell.t1 == warm.nominal[cell.warmups[0].step]
    assert cells(graph, "baseline")[0].t1 == 0


def test_totals():
    graph = build()
    assert graph.totals["phases"] == 4 + 18
    assert graph.totals["naive_phases"] == 2 + 16 * 2
    semantic, warm = 391 * 256, [of(graph, "procedural")[0].nominal]
    assert warm
    assert graph.totals["tokens"] == 18 * semantic + sum(p.nominal[p.end] for p in of(graph, "procedural"))
    naive = 18 * semantic + sum(cell.t1 for cell in graph.cells)
    assert graph.totals["naive_tokens"] == naive
    assert graph.totals["t1_tokens"] == graph.totals["tokens"] - 18 * semantic
    assert graph.totals["naive_t1_tokens"] == sum(cell.t1 for cell in graph.cells)
    assert graph.totals["flops"] > 6 * 3000 * graph.totals["tokens"]


def test_matched_reruns_of_decaying_schedules_are_phases():
    graph = build(matched=[0.7, 0.5])
    whole, half = cells(graph, "set/10k/mlp")[0], cells(graph, "set/10k/mlp", 0.5)[0]
    assert half.compared != whole.compared
    assert half.step == graph.phases[half.compared].recipe.steps == math.ceil(50_000 / 256)
    assert half.warmups == whole.warmups
    assert graph.phases[half.compared].recipe.init == graph.phases[whole.compared].recipe.init
    assert graph.matched == [0.5, 0.7]
    assert {cell.fraction for cell in cells(graph, "baseline", 0.5)} == {0.5}
    assert graph.totals["naive_phases"] == 2 * 3 + 16 * 2 * 3


def test_matched_reruns_of_constant_schedules_read_the_same_curve():
    graph = build(matched=[0.5], **{"semantic.optimizer": {"schedule": "constant"}})
    whole, half = cells(graph, "set/10k/mlp")[0], cells(graph, "set/10k/mlp", 0.5)[0]
    assert half.compared == whole.compared
    assert half.step == math.ceil(50_000 / 256) < whole.step
    assert graph.phases[whole.compared].marks == [whole.step]
    assert graph.totals["naive_phases"] == 2 + 16 * 2


def test_a_larger_budget_extends_a_constant_phase_and_renews_a_decaying_one():
    def ids(**settings):
        return {phase.id for phase in of(build(**settings), "semantic")}

    assert ids() != ids(**{"semantic.tokens": "200k"})
    constant = {"semantic.optimizer": {"schedule": "constant"}}
    assert ids(**constant) == ids(**constant, **{"semantic.tokens": "200k"})


def test_what_a_schedule_does_not_use_is_no_identity():
    constant = build(**{"semantic.optimizer": {"schedule": "constant"}})
    floor = build(**{"semantic.optimizer": {"schedule": "constant", "min_lr": 0.5, "decay": 0.1}})
    assert constant.phases.keys() == floor.phases.keys()


def test_another_value_of_a_grid_leaves_the_others_alone():
    before = set(build().phases)
    after = set(build(**{"procedural.task": {"grid": ["sort", "union", "set"]}}).phases)
    assert before < after


def test_two_sweeps_share_their_warmups():
    one = build()
    other = build(
        BASE.replace("name: base", "name: other").replace("transfer: {grid: [full, mlp]}", "transfer: attention"),
        **{"semantic.tokens": "50k", "question": "another"},
    )
    assert {p.id for p in of(one, "procedural")} == {p.id for p in of(other, "procedural")}
    assert not {p.id for p in of(one, "semantic") if p.parents} & {p.id for p in of(other, "semantic")}


def test_an_identity_that_must_never_change():
    graph = build()
    warm = next(p for p in of(graph, "procedural") if p.variant == "set/L8" and p.recipe.seed == 0)
    assert warm.id == "ccf7759152945dc4"
    # What recipes have learned to say since then is left out while it is not used.
    assert replace(warm.recipe, role="", numerics=2).id == "44c946d6c4af80d8"
    assert replace(warm.recipe, role="", numerics=1).id == "168effae9f3d39b5"


TARGETS = (
    BASE[: BASE.index("transfer:")]
    + """\
targets:
  - name: code
    transfer: {grid: [full, mlp]}
    semantic: {corpus: c4, tokenizer: byte, tokens: 100k, batch: 8, optimizer: {lr: 5e-4}}
  - name: probe
    transfer: attention
    diagnostic: {task: haystack, pairs: 4, batch: 8, tokens: {grid: [10k, 20k]}, optimizer: {lr: 1e-3}}
"""
)


def test_targets_share_warmups_and_prefix_their_variants():
    graph = build(TARGETS)
    assert graph.targets == ["code", "probe"]
    assert len(of(graph, "procedural")) == 4
    assert "code/union/10k/full" in graph.variants
    assert [v for v in graph.variants if "baseline" in v] == ["code/baseline", "probe/baseline/diagnostic-10k",
                                                              "probe/baseline/diagnostic-20k"]  # fmt: skip
    assert "probe/set/20k/diagnostic-10k" in graph.variants
    cell = cells(graph, "probe/set/20k/diagnostic-10k")[0]
    assert (cell.target, cell.baseline) == ("probe", "probe/baseline/diagnostic-10k")
    probe = graph.phases[cell.compared]
    assert len(probe.marks) == 2  # a constant schedule: both budgets are marks of one run
    assert {p.label for p in of(graph, "procedural")} == {f"{t} L8 s{s}" for t in ("union", "set") for s in (0, 1)}
    warm = of(graph, "procedural")[0]
    assert any(v.startswith("code/") for v in warm.variants)
    assert any(v.startswith("probe/") for v in warm.variants)


def test_the_baseline_follows_what_varies_in_the_tail():
    graph = build(**{"semantic.optimizer.lr": {"grid": [1e-3, 5e-4]}, "procedural.task": "set", "transfer": "mlp"})
    assert graph.variants == [
        "baseline/lr1e-3",
        "baseline/lr5e-4",
        "10k/lr1e-3",
        "10k/lr5e-4",
        "20k/lr1e-3",
        "20k/lr5e-4",
    ]
    assert cells(graph, "20k/lr5e-4")[0].baseline == "baseline/lr5e-4"


def test_models_vary_with_their_warmups():
    graph = build(**{"model.layers": {"grid": [1, 2]}, "procedural.task": "set", "procedural.tokens": "10k"})
    assert cells(graph, "layers1/mlp")[0].baseline == "baseline/layers1"
    assert {p.variant for p in of(graph, "procedural")} == {"set/L8/layers1", "set/L8/layers2"}


def test_no_transfer_is_the_baseline():
    graph = build(transfer={"grid": ["none", "full"]})
    assert graph.variants == ["baseline", *(f"{task}/{t}/full" for task in ("union", "set") for t in ("10k", "20k"))]
    assert graph.same == {"none": "baseline"}
    assert notes(graph) == ["variant none trains and reads the same as baseline, so it stands there once"]


def test_parameters_that_a_task_lacks_do_not_multiply_it():
    graph = build(**{"procedural.task": {"grid": ["set", "dyck"]}, "procedural.k": {"grid": [4, 8]}, "transfer": "mlp"})
    assert set(graph.variants[1:]) == {"set/10k", "set/20k", "dyck/10k/k4", "dyck/10k/k8", "dyck/20k/k4", "dyck/20k/k8"}
    assert len(graph.cells) == 2 * 7
    assert {p.variant for p in of(graph, "procedural")} == {"set/L8", "dyck/L8/k4", "dyck/L8/k8"}


def test_composition_takes_each_part_from_its_own_warmup():
    graph = build(transfer={"grid": ["full", {"attention": "set", "mlp+layernorm": "union"}]})
    name = "10k/attention=set,mlp+layernorm=union"
    (cell, _) = cells(graph, name)
    parents = {p.variant: p for p in of(graph, "procedural") if p.recipe.seed == 0}
    init = graph.phases[cell.compared].recipe.init.components
    first = Parent(parents["set/L8"].id, parents["set/L8"].marks[0])
    second = Parent(parents["union/L8"].id, parents["union/L8"].marks[0])
    assert init == {"attention": first, "mlp": second, "layernorm": second}
    assert sorted(cell.warmups, key=lambda p: p.phase) == sorted([first, second], key=lambda p: p.phase)
    assert cell.t1 == parents["set/L8"].nominal[first.step] + parents["union/L8"].nominal[second.step]
    assert "procedural.task" not in cell.axes
    assert sum("attention=" in v for v in graph.variants) == 2  # one for each budget, not for each task


def test_mixtures_shuffles_ranges_and_curricula():
    graph = build(
        **{
            "procedural.task": {"grid": [{"mixture": {"set": 0.6, "union": 0.4}}, {"shuffled": "union"}, "sort"]},
            "procedural.length": {"grid": [{"min": 2, "max": 8}, {"start": 2, "step": 2, "mastery": 0.99, "max": 8}]},
            "procedural.tokens": "10k",
            "transfer": "mlp",
            "exclude": [
                {"task": [{"shuffled": "union"}], "length": {"start": 2, "step": 2, "mastery": 0.99, "max": 8}},
                {"task": [{"mixture": {"set": 0.6, "union": 0.4}}], "length": {"start": 2, "step": 2, "mastery": 0.99,
                                                                              "max": 8}},
            ],
        }
    )  # fmt: skip
    assert graph.variants[1:] == ["set0.6+union0.4/L2-8", "shuffled-union/L2-8", "sort/L2-8", "sort/L2..8"]
    data = {phase.variant: phase.recipe.data["task"] for phase in of(graph, "procedural")}
    union = tasks.get("union", length={"min": 2, "max": 8})
    assert data["shuffled-union/L2-8"] == tasks.get("shuffled", task=union).recipe()
    assert tasks.from_recipe(data["set0.6+union0.4/L2-8"]).mean_tokens < union.mean_tokens
    assert tasks.from_recipe(data["sort/L2..8"]).curriculum is not None


def test_zip_exclude_include():
    zipped = build(zip=[["task", "procedural.tokens"]], transfer="mlp")
    assert zipped.variants[1:] == ["union/10k", "set/20k"]
    excluded = build(exclude=[{"task": "set", "transfer": "mlp"}, {"tokens": "10k"}])
    assert excluded.variants[1:] == ["union/20k/full", "union/20k/mlp", "set/20k/full"]
    included = build(transfer="mlp", include=[{"task": "sort", "tokens": "40k"}])
    assert included.variants[1:] == ["union/10k", "union/20k", "set/10k", "set/20k", "sort/40k"]


def test_exclude_for_one_target():
    graph = build(TARGETS, exclude=[{"target": "probe", "task": "set"}, {"target": "code", "task": "union"}])
    assert all("set" in v for v in graph.variants if v.startswith("code/") and "baseline" not in v)
    assert all("union" in v for v in graph.variants if v.startswith("probe/") and "baseline" not in v)


def test_finetuning_follows_the_semantic_phase():
    text = BASE + "finetune: {corpus: wikitext-2, tokenizer: byte, tokens: 20k, batch: 8, optimizer: {lr: 1e-4}}\n"
    graph = build(text)
    cell = cells(graph, "set/10k/mlp")[0]
    fine = graph.phases[cell.compared]
    assert fine.kind == "finetune"
    middle = graph.phases[fine.parents[0].phase]
    assert middle.kind == "semantic"
    assert set(fine.recipe.init.components) == {"attention", "mlp", "layernorm", "embeddings", "positions"}
    assert fine.recipe.init.embeddings == "copy"
    assert cell.warmups == middle.parents
    assert graph.phases[cells(graph, "baseline")[0].compared].parents  # the baseline is fine-tuned too
    first = build(text, compare="semantic")
    assert first.phases[cells(first, "set/10k/mlp")[0].compared].kind == "semantic"
    assert first.phases.keys() == graph.phases.keys()


def test_chains_of_any_phases():
    text = """\
    name: chain
    model: {layers: 1, heads: 1, width: 8, context: 16}
    chain:
      - {name: a, procedural: {task: set, length: 8, batch: 8, tokens: 10k, optimizer: {lr: 1e-3}}}
      - {name: b, procedural: {task: sort, length: 8, batch: 8, tokens: 10k, optimizer: {lr: 1e-3}}, transfer: none}
      - name: text
        semantic: {corpus: c4, tokenizer: byte, batch: 4, tokens: 10k, optimizer: {lr: 1e-3}}
        transfer: {attention: a, mlp: b}
    """
    graph = build(textwrap.dedent(text))
    a, b = of(graph, "procedural")
    assert not b.parents
    (cell,) = [c for c in graph.cells if not c.is_baseline]
    assert graph.phases[cell.compared].recipe.init.components == {
        "attention": Parent(a.id, a.end) if "set" in a.variant else Parent(b.id, b.end),
        "mlp": Parent(b.id, b.end) if "set" in a.variant else Parent(a.id, a.end),
    }
    assert cell.t1 == a.nominal[a.end] + b.nominal[b.end]


def test_a_sweep_without_warmups_has_baselines_only():
    text = BASE[: BASE.index("procedural:")] + BASE[BASE.index("semantic:") :]
    graph = build(text, **{"semantic.optimizer.lr": {"grid": [1e-3, 1e-4]}})
    assert graph.variants == ["baseline/lr1e-3", "baseline/lr1e-4"]


def test_precision_follows_the_resources():
    assert {p.recipe.precision for p in build().phases.values()} == {"fp32"}
    assert {p.recipe.precision for p in build(**{"resources.gpu": 0.5}).phases.values()} == {"bf16"}
    assert {p.recipe.precision for p in build(**{"resources.gpu": 1, "precision": "fp32"}).phases.values()} == {"fp32"}
    mixed = build(**{"resources.gpu": 1, "procedural.resources.gpu": 0})
    assert {p.recipe.precision for p in of(mixed, "procedural")} == {"fp32"}
    assert of(mixed, "procedural")[0].resources == {"workers": 1, "gpu": 0.0, "cpu": 1.0}


def test_workers_and_gpus_of_a_fixed_precision_are_no_identity():
    fixed = build(precision="fp32")
    assert fixed.phases.keys() == build(precision="fp32", resources={"workers": 4, "gpu": 1}).phases.keys()


def test_an_executor_that_is_named_is_no_identity_and_reaches_its_phases():
    named = build(resources={"workers": 2, "executor": "train"}, **{"procedural.resources.executor": "train-warm"})
    assert named.phases.keys() == build().phases.keys()
    assert {p.resources["executor"] for p in of(named, "procedural")} == {"train-warm"}
    assert {p.resources["executor"] for p in of(named, "semantic")} == {"train"}


def test_warmup_and_evaluation_in_tokens():
    graph = build(**{"semantic.optimizer.warmup": "2560", "semantic.evaluate": {"every": 1000, "sequences": 5}})
    recipe = of(graph, "semantic")[0].recipe
    assert recipe.optimizer.warmup_steps == 10
    assert (recipe.evaluation.every, recipe.evaluation.sequences) == (4, 5)
    assert of(build(**{"semantic.evaluate.every": 1}), "semantic")[0].recipe.evaluation.every == 1


def test_segments_wait_for_parents_and_earlier_marks():
    graph = build()
    segments = graph.segments()
    assert len(segments) == sum(len(phase.marks) for phase in graph.phases.values())
    seen = set()
    for segment in segments:
        assert set(segment.needs) <= seen
        assert segment.marks == (segment.until,)
        seen.add((segment.phase, segment.until))
    second = next(
        s for s in segments if s.until == graph.phases[s.phase].marks[-1] and len(graph.phases[s.phase].marks) > 1
    )
    assert second.needs == ((second.phase, graph.phases[second.phase].marks[0]),)


def test_equal_files_give_equal_plans():
    assert build().to_json() == build().to_json()


@pytest.mark.slow
def test_a_hundred_thousand_cells():
    text = BASE.replace("seeds: [0, 1]", f"seeds: {list(range(10))}")
    spec = load_text(
        text,
        "f.yaml",
        set={
            "procedural.task": {"grid": ["union", "set", "sort", "identity", "reverse"]},
            "procedural.length": {"grid": list(range(4, 24))},
            "procedural.tokens": {"grid": [f"{i}0k" for i in range(2, 12)]},
            "transfer": {"grid": ["full", "attention", "mlp", "attention+mlp", "layernorm"]},
            "semantic.optimizer.lr": {"grid": [1e-3, 5e-4]},
        },
    )
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    graph = plan(spec)
    assert len(graph.cells) == 100_020
    assert len(graph.phases) == 101_020
    assert time.process_time() - start < 30  # about 6 s on a quiet core
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1024**2  # KiB


CURRICULUM = """\
name: curriculum
seeds: [0, 1]
model: {layers: 1, heads: 1, width: 8}
chain:
  - {name: a, procedural: {task: set, length: 8, vocab: 20, batch: 8, tokens: 10k, optimizer: {lr: 1e-3}}}
  - {name: b, procedural: {task: union, length: 16, vocab: 20, batch: 8, tokens: 20k, optimizer: {lr: 1e-3}}}
  - name: probe
    diagnostic: {task: haystack, pairs: 4, batch: 8, tokens: 10k, optimizer: {lr: 1e-3}}
"""


def carried(phase):
    return set(phase.recipe.init.components)


def test_a_curriculum_of_warmups_goes_on_with_all_that_fits_and_counts_them_all():
    graph = build(CURRICULUM)
    a, b = (next(p for p in of(graph, "procedural") if p.recipe.data["task"]["name"] == n) for n in ("set", "union"))
    probe = next(p for p in of(graph, "diagnostic") if p.recipe.seed == 0 and p.parents)
    # One vocabulary: its embeddings are copied. Positions are not, as the second task needs more of them.
    assert carried(b) == {"attention", "mlp", "layernorm", "embeddings"}
    assert (b.recipe.init.embeddings, b.parents) == ("copy", [Parent(a.id, a.end)])
    assert carried(probe) == {"attention", "mlp", "layernorm"}
    (cell,) = [c for c in graph.cells if not c.is_baseline and c.seed == 0]
    assert cell.t1 == a.nominal[a.end] + b.nominal[b.end]
    assert len(graph.phases) == 2 * 4  # with the baseline
    assert next(p for p in of(graph, "diagnostic") if not p.parents).recipe.data == probe.recipe.data


def test_what_a_curriculum_hands_on_follows_from_vocabularies_and_lengths():
    def second(first, task):
        (found,) = [p for p in of(build(first, seeds=[0]), "procedural") if p.recipe.data["task"] == task.recipe()]
        return carried(found), found.recipe.init.embeddings

    shorter = CURRICULUM.replace("length: 16", "length: 4")
    everything = {"attention", "mlp", "layernorm", "embeddings", "positions"}
    assert second(shorter, tasks.get("union", length=4, vocab=20)) == (everything, "copy")
    other = CURRICULUM.replace("length: 16, vocab: 20", "length: 16, vocab: 21")
    assert second(other, tasks.get("union", length=16, vocab=21))[0] == {"attention", "mlp", "layernorm"}
    rows = CURRICULUM.replace("set, length: 8, vocab: 20", "eca_rows, width: 9, length: 8")
    rows = rows.replace("union, length: 16, vocab: 20", "eca_rows, width: 9, length: 9")
    assert second(rows, tasks.get("eca_rows", width=9, length=9))[0] == {"attention", "mlp", "layernorm"}


def test_a_mixture_with_prefix_has_a_vocabulary_of_its_own():
    mixture = {"mixture": {"set": 0.6, "union": 0.4}}
    graph = build(**{"procedural.task": {"grid": [mixture, {**mixture, "prefix": True}, {**mixture, "prefix": False}]}})
    named = {p.variant.split("/")[0]: p for p in of(graph, "procedural")}
    assert sorted(named) == ["set0.6+union0.4", "set0.6+union0.4-prefix"]
    one, other = named["set0.6+union0.4"], named["set0.6+union0.4-prefix"]
    assert (other.vocab - one.vocab, other.recipe.model.context - one.recipe.model.context) == (2, 1)
    assert other.recipe.data["task"]["prefix"] is True
    assert "prefix" not in one.recipe.data["task"]


@pytest.mark.parametrize("also", ["16", "4"])
def test_a_label_stays_when_a_grid_of_one_value_gets_another(also):
    text = FIRST_LENGTH.replace("LENGTHS", "[8]")
    before = plan(load_text(text, "f.yaml"))
    after = plan(load_text(text.replace("[8]", f"[8, {also}]"), "f.yaml"))
    assert before.variants == ["baseline", "L8"]
    assert set(before.variants) < set(after.variants)
    labels = {phase.id: phase.label for phase in after.phases.values()}
    assert all(labels[phase.id] == phase.label for phase in before.phases.values())


FIRST_LENGTH = """\
name: growing
model: {layers: 1, heads: 1, width: 16}
procedural: {task: set, length: {grid: LENGTHS}, batch: 4, tokens: 2k, optimizer: {lr: 1e-3}}
diagnostic: {task: reversed_addition, digits: 3, batch: 4, tokens: 4k, optimizer: {lr: 1e-3}, evaluate: {every: 1k}}
"""
