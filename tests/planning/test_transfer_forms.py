"""What a sweep file can say about the weights that phases begin with, and what comes of it in the plan."""

from __future__ import annotations

import json
import textwrap

import pytest

from procray.errors import SpecError
from procray.model.perturb import Perturbation
from procray.planning.load import load_text
from procray.planning.plan import Plan
from procray.planning.plan_json import plan_from_json
from procray.planning.planner import plan
from procray.training.recipe import Init, Parent, Share

BASE = """\
name: base
seeds: [0, 1]
model: {layers: 2, heads: 2, width: 16, context: 32}
procedural:
  task: {grid: [union, set, sort]}
  length: 8
  batch: 16
  tokens: 10k
  optimizer: {lr: 1e-3}
semantic:
  corpus: c4
  tokenizer: byte
  tokens: 100k
  batch: 8
  optimizer: {lr: 5e-4, schedule: cosine, min_lr: 0.1}
"""


def build(more: str = "", text: str = BASE, **settings) -> Plan:
    graph = plan(load_text(text + textwrap.dedent(more), "f.yaml", set=settings or None))
    assert all(key == phase.id == phase.recipe.id for key, phase in graph.phases.items())
    assert plan_from_json(json.loads(json.dumps(graph.to_json()))) == graph
    return graph


def init_of(graph: Plan, variant: str) -> Init:
    cell = next(cell for cell in graph.cells if cell.variant == variant and cell.seed == 0)
    return graph.phases[cell.compared].recipe.init


def warm(graph: Plan, task: str, seed: int = 0) -> Parent:
    """The mark of the warm-up on a task."""
    found = [p for p in graph.phases.values() if p.kind == "procedural" and p.recipe.seed == seed]
    (phase,) = [p for p in found if p.label.split()[0] == task]
    return Parent(phase.id, phase.end)


def blend(part: str, one: Parent, other: Parent, weight: float) -> Share:
    """So much of the other, in the order in which a blend is written down."""
    first, second = sorted([one, other], key=lambda mark: mark.phase)
    return Share(part, first, None, second, weight if first == one else round(1 - weight, 12))


def count(graph: Plan, kind: str) -> int:
    return sum(phase.kind == kind for phase in graph.phases.values())


def problems(more: str, text: str = BASE) -> str:
    with pytest.raises(SpecError) as error:
        load_text(text + textwrap.dedent(more), "f.yaml")
    return str(error.value)


def test_a_matrix_of_pairs_is_two_grids_inside_a_composition():
    tasks = ("union", "set", "sort")
    grid = f"{{grid: [{', '.join(tasks)}]}}"
    graph = build(f"transfer: {{attention: {grid}, mlp: {grid}}}")
    assert graph.variants == ["baseline", *(f"attention={a}/mlp={m}" for a in tasks for m in tasks)]
    assert count(graph, "procedural") == 3 * 2  # three warm-ups for each seed, shared by all pairs
    assert count(graph, "semantic") == (1 + 9) * 2
    assert len(graph.cells) == 10 * 2
    for a in tasks:
        for m in tasks:
            init = init_of(graph, f"attention={a}/mlp={m}")
            assert init == Init({"attention": warm(graph, a), "mlp": warm(graph, m)})
    cell = next(cell for cell in graph.cells if cell.variant == "attention=set/mlp=sort")
    assert cell.axes == {"transfer.attention": "set", "transfer.mlp": "sort"}
    assert {mark.phase for mark in cell.warmups} == {warm(graph, "set").phase, warm(graph, "sort").phase}


def test_a_pair_of_a_task_with_itself_is_that_tasks_own_transfer():
    pairs = build("transfer: {attention: {grid: [set, sort]}, mlp: {grid: [set, sort]}}")
    plain = build("transfer: attention+mlp")
    assert init_of(pairs, "attention=set/mlp=set") == init_of(plain, "set")


def test_procedural_is_this_cells_own_warm_up():
    graph = build("transfer: {attention: procedural, mlp: set}")
    assert graph.variants[1:] == ["union", "set", "sort"]
    assert init_of(graph, "sort") == Init({"attention": warm(graph, "sort"), "mlp": warm(graph, "set")})


def test_parts_stand_beside_components():
    graph = build("transfer: {grid: [attention+ln_1, qkv, qkv+proj, ln_1+ln_2+ln_f]}")
    mark = warm(graph, "set")
    for name, parts in {"attention+ln_1": ("attention", "ln_1"), "qkv": ("qkv",), "qkv+proj": ("attention",),
                        "ln_1+ln_2+ln_f": ("layernorm",)}.items():  # fmt: skip
        assert init_of(graph, f"set/{name}").components == dict.fromkeys(parts, mark)


def test_layers_are_chosen_and_mapped():
    graph = build("transfer: {attention: {from: set, layers: 0}, mlp: {from: union, layers: {0: 1, 1: 0}}}")
    assert graph.variants == ["baseline", "attention=set.0,mlp=union.0=1,1=0"]
    assert init_of(graph, graph.variants[1]) == Init(
        shares=(Share("attention", warm(graph, "set"), ((0, 0),)), Share("mlp", warm(graph, "union"), ((0, 1), (1, 0))))
    )
    splice = build("transfer: {attention: [{from: set, layers: 0}, {from: union, layers: 1}]}")
    assert init_of(splice, "attention=set.0+union.1").parents() == sorted(
        [warm(splice, "set"), warm(splice, "union")], key=lambda mark: mark.phase
    )
    grid = build("transfer: {attention: {layers: {grid: [0, 1, 0-1]}}}", **{"procedural.task": "set"})
    assert grid.variants[1:] == ["attention.0", "attention.1", "attention.0-1"]
    assert init_of(grid, "attention.0-1") == Init({"attention": warm(grid, "set")})  # all of them: nothing special


def test_a_map_of_layers_makes_other_depths_legal():
    deep = {"procedural.task": "set", "procedural.model": {"layers": 4}}
    message = problems("transfer: mlp", BASE.replace("  length: 8", "  model: {layers: 4}\n  length: 8"))
    assert "different layers: procedural has 4, semantic has 2; 'layers' maps them" in message
    graph = build("transfer: {full: {layers: {0: 1, 1: 3}}, ln_f: procedural}", **deep)
    init = init_of(graph, graph.variants[1])
    assert init.components == {"ln_f": warm(graph, "set")}
    assert [(share.part, share.layers) for share in init.shares] == [
        (part, ((0, 1), (1, 3))) for part in ("attention", "ln_1", "ln_2", "mlp")
    ]


def test_interpolation_and_its_ends():
    graph = build("transfer: {attention: {interpolate: [set, union], weight: {grid: [0, 0.3, 1]}}}")
    assert graph.variants[1:] == ["attention-w0", "attention-w0.3", "attention-w1"]
    one, other = warm(graph, "set"), warm(graph, "union")
    assert init_of(graph, "attention-w0.3") == Init(shares=(blend("attention", one, other, 0.3),))
    assert init_of(graph, "attention-w0") == Init({"attention": one})
    assert init_of(graph, "attention-w1") == Init({"attention": other})
    cell = next(cell for cell in graph.cells if cell.variant == "attention-w0.3")
    assert cell.t1 == sum(graph.phases[mark.phase].nominal[mark.step] for mark in (one, other))
    fixed = build("transfer: {attention: {interpolate: [set, union], weight: 0.25}, mlp: set}")
    assert fixed.variants[1:] == ["attention=set0.75+union0.25,mlp=set"]


def test_perturbations_are_variants_and_leave_the_baseline_alone():
    graph = build(
        """
        transfer: {grid: [attention, none]}
        perturb: {grid: [none, {noise: 0.05}, {shuffle: per_layer}, {random: norm_matched, components: [qkv]}]}
        """,
        **{"procedural.task": "set"},
    )
    assert graph.variants == [
        "baseline",
        *("attention/intact", "attention/noise0.05", "attention/shuffle", "attention/random-qkv"),
    ]
    assert graph.same == {"none": "baseline"}  # there is nothing to perturb
    whole = init_of(graph, "attention/intact")
    assert whole == Init({"attention": warm(graph, "set")})
    assert init_of(graph, "attention/noise0.05").perturb == Perturbation("noise", 0.05)
    assert init_of(graph, "attention/random-qkv").perturb == Perturbation("random", None, ("qkv",))
    assert init_of(graph, "baseline") == Init()
    assert count(graph, "procedural") == 2


def test_noise_may_be_a_grid_of_its_own():
    graph = build("perturb: {noise: {grid: [0.01, 0.1]}}", **{"procedural.task": "set"})
    assert graph.variants == ["baseline", "noise0.01", "noise0.1"]


def test_freezing_is_a_variant_and_the_baseline_trains_everything():
    graph = build("freeze: {grid: [none, attention, [mlp, qkv, proj]]}", **{"procedural.task": "set"})
    assert graph.variants == ["baseline", "unfrozen", "freeze-attention", "freeze-attention+mlp"]
    assert init_of(graph, "baseline").freeze == init_of(graph, "unfrozen").freeze == ()
    assert init_of(graph, "freeze-attention+mlp").freeze == ("attention", "mlp")
    assert init_of(graph, "unfrozen") == init_of(build("transfer: full", **{"procedural.task": "set"}), "set/full")


def test_random_frozen_weights_are_a_control_of_their_own():
    graph = build("transfer: {grid: [full, none]}\nfreeze: attention", **{"procedural.task": "set"})
    assert graph.variants == ["baseline", "full", "none"]
    assert init_of(graph, "none") == Init(freeze=("attention",))


def test_names_where_nothing_varies():
    graph = build("transfer: mlp\nperturb: {shuffle: per_layer}\nfreeze: [mlp]", **{"procedural.task": "set"})
    assert graph.variants == ["baseline", "set/mlp/shuffle/freeze-mlp"]


TARGETS = (
    BASE[: BASE.index("semantic:")].replace("{grid: [union, set, sort]}", "set")
    + """\
freeze: [attention]
targets:
  - name: text
    semantic: {corpus: c4, tokenizer: byte, tokens: 100k, batch: 8, optimizer: {lr: 5e-4}}
    finetune: {corpus: wikitext-2, tokenizer: byte, tokens: 20k, batch: 8, optimizer: {lr: 1e-4}, freeze: [embeddings]}
  - name: probe
    freeze: none
    transfer: attention
    perturb: {noise: 0.1}
    diagnostic: {task: haystack, pairs: 4, batch: 8, tokens: 10k, optimizer: {lr: 1e-3}}
"""
)


def test_targets_and_fine_tuning_have_settings_of_their_own():
    graph = build(text=TARGETS)
    probe = init_of(graph, next(v for v in graph.variants if v.startswith("probe/") and "baseline" not in v))
    assert (probe.freeze, probe.perturb) == ((), Perturbation("noise", 0.1))
    for variant in (v for v in graph.variants if v.startswith("text/")):
        fine = init_of(graph, variant)
        assert fine.freeze == ("embeddings",)  # in the baseline too: it is fine-tuned alike
        text = graph.phases[fine.parents()[0].phase].recipe.init
        assert text.freeze == (() if "baseline" in variant else ("attention",))
        assert text.perturb is None


def test_what_a_fine_tuning_freezes_multiplies_its_baseline_too():
    text = TARGETS.replace("freeze: [embeddings]", "freeze: {grid: [none, embeddings]}")
    graph = build(text=text)
    assert [v for v in graph.variants if "text/baseline" in v] == [
        "text/baseline/unfrozen",
        "text/baseline/freeze-embeddings",
    ]


CHAIN = """\
name: chain
model: {layers: 1, heads: 1, width: 8, context: 16}
chain:
  - {name: a, freeze: [embeddings], procedural: {task: set, length: 8, batch: 8, tokens: 10k, optimizer: {lr: 1e-3}}}
  - {name: b, transfer: attention, procedural: {task: sort, length: 8, batch: 8, tokens: 10k, optimizer: {lr: 1e-3}}}
  - name: text
    semantic: {corpus: c4, tokenizer: byte, batch: 4, tokens: 10k, optimizer: {lr: 1e-3}}
    transfer: {attention: a, mlp: {interpolate: [a, b], weight: 0.5}}
    perturb: {shuffle: per_layer, components: [mlp]}
"""


def test_links_of_a_chain_name_each_other_and_the_first_can_be_frozen():
    graph = build(text=CHAIN)
    phases = {
        phase.recipe.data["task"]["name"]: phase for phase in graph.phases.values() if "task" in phase.recipe.data
    }
    a, b = (Parent(phases[name].id, phases[name].end) for name in ("set", "sort"))
    assert phases["set"].recipe.init == Init(freeze=("embeddings",))
    assert phases["sort"].recipe.init == Init({"attention": a})
    (variant,) = graph.variants[1:]
    assert init_of(graph, variant) == Init(
        {"attention": a},
        shares=(blend("mlp", a, b, 0.5),),
        perturb=Perturbation("shuffle", None, ("mlp",)),
    )
    assert init_of(graph, "baseline") == Init()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("transfer: {attention: {frm: set}}", "transfer.attention.frm: unknown key 'frm'; did you mean 'from'?"),
        ("transfer: {attention: {from: set, path: x}}", "transfer.attention.path: 'path' cannot stand beside 'from'"),
        (
            "transfer: {attention: {from: set, layers: 2}}",
            "transfer.attention.layers: layer 2 of a model with 2 layers",
        ),
        ("transfer: {attention: {from: set, layers: {0: 5}}}", "layers: layer 5 of a parent with 2 layers"),
        ("transfer: {attention: {from: set, layers: 3-1}}", "transfer.attention.layers: layers are written 3, 0-5"),
        ("transfer: {ln_f: {from: set, layers: 0}}", "ln_f stands in no layer"),
        ("transfer: {attention: set, qkv: union}", "transfer.qkv: qkv: named twice"),
        (
            "transfer: {mlp: [{from: set, layers: 0-1}, {from: union, layers: 1}]}",
            "transfer.mlp.1: mlp: named twice",
        ),
        ("transfer: {attention: {interpolate: [set]}}", "expected two parents, such as [set, union]"),
        ("transfer: {attention: {interpolate: [set, st]}}", "no earlier phase is called 'st'; did you mean 'set'?"),
        (
            "transfer: {attention: {interpolate: [set, union], weight: 2}}",
            "transfer.attention.weight: a weight lies between 0 (the first parent) and 1 (the second)",
        ),
        ("transfer: {attention: {from: set, weight: 0.5}}", "'weight' belongs to interpolate"),
        ("transfer: {atention: set}", "unknown component 'atention'; did you mean 'attention'?"),
        ("transfer: {attention: {path: nowhere}}", "/nowhere is missing"),
        ("freeze: [atention]", "freeze: unknown component 'atention'; did you mean 'attention'?"),
        ("freeze: [attention, mlp, layernorm, embeddings, positions]", "nothing left to train"),
        ("perturb: {nois: 0.1}", "perturb: expected none, {noise: 0.05}"),
        ("perturb: {noise: 0}", "perturb.noise: noise is a number above 0"),
        ("perturb: {noise: 0.1, shuffle: per_layer}", "perturb: expected none, {noise: 0.05}"),
        ("perturb: {shuffle: all}", "perturb.shuffle: expected per_layer"),
        ("perturb: {noise: 0.1, component: [mlp]}", "unknown key 'component'; did you mean 'components'?"),
        (
            "transfer: attention\nperturb: {noise: 0.1, components: [mlp]}",
            "perturb.components: mlp is not carried into this phase (carried: attention)",
        ),
    ],
)
def test_mistakes(more, message):
    assert message in problems(more)


def test_all_mistakes_at_once_with_their_places():
    text = problems("transfer: {attention: st, mlp: {from: set, layers: 7}}\nfreeze: [ln]\nperturb: {noise: -1}\n")
    for line in ("f.yaml:16:23: transfer.attention", "f.yaml:16:52: transfer.mlp.layers", "f.yaml:17:1: freeze",
                 "f.yaml:18:18: perturb.noise"):  # fmt: skip
        assert line in text, text


def test_nothing_can_come_from_before_the_first_phase():
    text = BASE.replace(BASE[BASE.index("procedural:") : BASE.index("semantic:")], "")
    assert "transfer: there is no phase before this one to carry weights from" in problems("transfer: full", text)
    assert build("transfer: none", text).variants == ["baseline"]
    frozen = build("freeze: {grid: [none, mlp]}", text)
    assert frozen.variants == ["baseline", "freeze-mlp"]
    assert frozen.same == {"unfrozen": "baseline"}
