"""Models of several families in sweep files: their keys, presets, and weights that a family does not have."""

from __future__ import annotations

import pytest

from procray.errors import SpecError
from procray.model import PRESETS, flops_per_token, save_weights
from procray.model import build as network
from procray.model.families import family
from procray.planning.load import load_text
from procray.planning.plan import Plan
from procray.planning.planner import plan

LLAMA = "model: {family: llama, layers: 2, heads: 4, kv_heads: 2, width: 32, context: 64}\n"
NEOX = "model: {family: neox, layers: 2, heads: 2, width: 16, context: 64, rotary_pct: 0.5}\n"
SET = "procedural: {task: set, length: 8, batch: 16, tokens: 10k, optimizer: {lr: 1e-3}}\n"
TEXT = "semantic: {corpus: c4, tokenizer: byte, tokens: 10k, batch: 4, optimizer: {lr: 1e-3}}\n"


def build(model: str, *lines: str, **settings) -> Plan:
    return plan(load_text("name: t\n" + model + SET + TEXT + "".join(lines), "f.yaml", set=settings or None))


def problems(model: str, *lines: str) -> list[str]:
    with pytest.raises(SpecError) as error:
        build(model, *lines)
    return [f"{one.line}: {one.message}" for one in error.value.problems]


def compared(graph: Plan):
    (phase,) = {cell.compared for cell in graph.cells if cell.variant != "baseline"}
    return graph.phases[phase].recipe


def test_a_llama_is_said_in_full_and_a_silent_file_means_a_gpt2():
    recipe = compared(build(LLAMA))
    assert recipe.model.to_json() == {
        "layers": 2, "heads": 4, "width": 32, "context": 64, "tied": False, "dropout": 0.0, "family": "llama",
        "inner": 128, "kv_heads": 2, "rotary_base": 10000.0, "norm_eps": 1e-5, "init_std": 0.02,
    }  # fmt: skip
    assert recipe == type(recipe).from_json(recipe.to_json())
    plain = "model: {layers: 2, heads: 4, width: 32, context: 64}\n"
    silent, said = build(plain), build(plain.replace("{", "{family: gpt2, "))
    assert list(silent.phases) == list(said.phases)
    assert "family" not in compared(silent).to_json()["model"]


def test_defaults_written_out_are_the_same_phases():
    said = build(LLAMA.replace("context", "inner: 128, norm_eps: 0.00001, rotary_base: 1e4, tied: false, context"))
    assert list(said.phases) == list(build(LLAMA).phases)
    assert not set(said.phases) & set(build(LLAMA.replace("context", "rotary_base: 1e5, context")).phases)


def test_a_warm_up_has_the_family_and_the_positions_of_its_task():
    graph = build(NEOX)
    warm = next(phase for phase in graph.phases.values() if phase.kind == "procedural")
    assert (warm.recipe.model.family, warm.recipe.model.context) == ("neox", 17)
    assert set(compared(graph).init.components) == {"attention", "mlp", "layernorm"}
    shape = warm.recipe.model.config(warm.vocab, None)
    assert warm.flops == pytest.approx(warm.marks[-1] * 16 * 17 * flops_per_token(shape, 17), rel=0.2)


@pytest.mark.parametrize("mode", ["full+embeddings", "everything"])
def test_bundles_leave_out_what_a_family_does_not_have(mode):
    again = "finetune: {corpus: wikitext-2, tokenizer: byte, tokens: 10k, batch: 4, optimizer: {lr: 1e-3}}\n"
    text = f"transfer: {mode}\n" if mode != "everything" else again
    init = compared(build(NEOX, text)).init
    assert set(init.components) == {"attention", "mlp", "layernorm", "embeddings"}


@pytest.mark.parametrize(
    ("model", "line", "expected"),
    [
        (LLAMA, "transfer: attention+positions\n", "transfer mode 'attention+positions': a Llama has no positions"),
        (LLAMA, "transfer: mlp_in\n", "a Llama has no mlp_in (it has attention, mlp, layernorm, embeddings, qkv, q, k"),
        (LLAMA, "transfer: {positions: set}\n", "transfer mode 'positions': a Llama has no positions"),
        (LLAMA, "freeze: [mlp_out]\n", "a Llama has no mlp_out"),
        (NEOX, "perturb: {noise: 0.1, components: [gate]}\n", "a GPT-NeoX has no gate"),
        (NEOX, "transfer: gates\n", "unknown component 'gates'"),
        (NEOX, "freeze: [attention, mlp, layernorm, embeddings]\n", "everything is frozen"),
    ],
)
def test_a_name_that_a_family_has_nothing_for_is_an_error_in_its_line(model, line, expected):
    (found,) = problems(model, line)
    assert found.startswith("5: ")
    assert expected in found


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (
            "model: {layers: 2, heads: 4, width: 32, context: 64, kv_heads: 2}\n",
            "a GPT-2 has no 'kv_heads'; did you mean 'heads'? (it has layers, heads, width, context, tied, dropout)",
        ),
        (LLAMA.replace("kv_heads: 2", "rotary_pct: 0.5"), "a Llama has no 'rotary_pct'; did you mean 'rotary_base'"),
        (LLAMA.replace("kv_heads: 2", "kv_heads: 3"), "4 heads cannot be divided among model kv_heads 3"),
        (NEOX.replace("0.5", "0.1"), "rotary_pct 0.1 of a head of 8 values are 0.8, and they are turned in pairs"),
        (LLAMA.replace("llama", "lama"), "did you mean 'llama'"),
        ("model: {preset: pythia-160}\n", "did you mean 'pythia-160m'"),
        ("model: {preset: pythia-160m, family: llama}\n", "the preset pythia-160m is of the family neox, not llama"),
        (LLAMA.replace("layers: 2, ", ""), "missing key 'layers'"),
    ],
)
def test_settings_that_make_no_model_are_errors_in_their_line(model, expected):
    found = problems(model)
    assert found
    assert all(one.startswith("2: ") for one in found)
    assert any(expected in one for one in found), found


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("gpt2-smal", "gpt2"),
        ("gpt-2", "gpt2"),
        ("GPT2_Medium", "gpt2-medium"),
        ("PYTHIA-160M", "pythia-160m"),
        ("gpt2-xll", "gpt2-xl"),
        ("smollm2-135m", "smollm-135m"),
        ("pythia", ""),  # of no size
        ("llama-1b", ""),  # of no family that is there
    ],
)
def test_of_an_unknown_preset_nothing_but_that_is_told(name, near):
    (found,) = problems(f"model: {{preset: {name}}}\n")
    assert found.startswith("2: model.preset: expected 'gpt2', ")
    assert found.count("did you mean") == bool(near)
    assert f"; did you mean '{near}'?" in found or not near


def test_of_an_unknown_family_nothing_but_that_is_told():
    (found,) = problems(LLAMA.replace("llama", "lama"))
    assert "did you mean 'llama'" in found


def test_a_preset_is_its_numbers_and_keys_beside_it_win():
    recipe = compared(build("model: {preset: smollm-135m, layers: 4, context: 128}\n"))
    shape = recipe.model
    assert (shape.family, shape.layers, shape.heads, shape.width, shape.context) == ("llama", 4, 9, 576, 128)
    assert dict(shape.more) | {"kv_heads": 3, "inner": 1536, "rotary_base": 10000.0} == dict(shape.more)
    assert shape.tied
    assert compared(build("model: {preset: pythia-14m}\n")).model.context == 2048
    written = {key: value for key, value in PRESETS["gpt2"].items() if key != "family"}
    text = ", ".join(f"{key}: {str(value).lower()}" for key, value in written.items())
    assert list(build(f"model: {{{text}}}\n").phases) == list(build("model: {preset: gpt2}\n").phases)


def test_families_may_be_an_axis():
    graph = build("model: {family: {grid: [gpt2, neox, llama]}, layers: 1, heads: 2, width: 16, context: 32}\n")
    for cell in graph.cells:
        name = graph.phases[cell.compared].recipe.model.family
        assert name in cell.variant.split("/"), "the variant says which"
    assert len(graph.cells) == 6


def test_weights_do_not_go_from_one_family_to_another():
    other = SET.replace("}}\n", "}, model: {family: neox}}\n")
    with pytest.raises(SpecError, match="between models of different family: procedural has neox, semantic has llama"):
        plan(load_text("name: t\n" + LLAMA.replace("kv_heads: 2, ", "") + other + TEXT, "f.yaml"))


def test_parts_of_a_fused_matrix_travel_and_freeze_alone():
    plain = "model: {layers: 2, heads: 4, width: 32, context: 64}\n"
    init = compared(build(plain, "transfer: q+v\n", "freeze: [k]\n")).init
    assert set(init.components) == {"q", "v"}
    assert init.freeze == ("k",)
    together = [compared(build(plain, f"transfer: {mode}\n")).id for mode in ("q+k+v", "qkv", "v+k+q")]
    assert len(set(together)) == 1
    whole = [compared(build(plain, f"transfer: {mode}\n")).id for mode in ("qkv+proj", "attention")]
    assert len(set(whole)) == 1


def test_an_outside_checkpoint_of_a_family_is_a_parent(tmp_path):
    shape = family("llama").config(layers=2, heads=4, kv_heads=2, width=32, vocab=300, context=64, tied=True)
    save_weights(network(shape, seed=0), tmp_path / "smol")
    where = f"transfer: {{attention+mlp: {{path: {tmp_path / 'smol'}}}}}\n"
    init = compared(build(LLAMA, where)).init
    assert set(init.components) == {"attention", "mlp"}
    (found,) = problems(LLAMA.replace("kv_heads: 2, ", ""), where)
    assert "weights cannot be carried between models of different kv_heads: smol has 2" in found
    (found,) = problems("model: {layers: 2, heads: 4, width: 32, context: 64}\n", where)
    assert "weights cannot be carried between models of different family: smol has llama" in found


def test_heads_are_chosen_by_layer():
    plain = "model: {layers: 2, heads: 4, width: 32, context: 64}\n"
    graph = build(plain, "transfer: {attention: {heads: {1: [3, 0], 0: 2}}}\n")
    recipe = compared(graph)
    (share,) = recipe.init.shares
    assert (share.part, share.heads, share.layers) == ("attention", ((0, (2,)), (1, (0, 3))), None)
    assert recipe == type(recipe).from_json(recipe.to_json())
    assert {cell.variant for cell in graph.cells} >= {"baseline"}
    assert compared(build(plain, "transfer: {attention: {heads: {0: [2], 1: [0, 3]}}}\n")).id == recipe.id
    assert compared(build(plain, "transfer: {attention: {heads: {0: [2], 1: [0, 2]}}}\n")).id != recipe.id
    axis = build(plain, "transfer: {attention: {heads: {grid: [{0: [0]}, {0: [1]}]}}}\n")
    assert {cell.variant for cell in axis.cells} == {"baseline", "attention.h0.0", "attention.h0.1"}


def test_the_control_of_heads_is_as_many_others_of_the_same_layer():
    plain = "model: {layers: 2, heads: 4, width: 32, context: 64}\nseeds: [0, 1, 2, 3]\n"
    graph = build(plain, "transfer: {attention: {random_heads: {0: [1], 1: [0, 2, 3]}}}\n")
    found = {}
    for cell in graph.cells:
        if cell.variant == "baseline":
            continue
        (share,) = graph.phases[cell.compared].recipe.init.shares
        found[cell.seed] = dict(share.heads)
    assert len(found) == 4
    for heads in found.values():
        assert len(heads[0]) == 1
        assert heads[0] != (1,)
        assert len(heads[1]) == 3
        assert heads[1] != (0, 2, 3)
    assert len({tuple(heads.items()) for heads in found.values()}) > 1, "drawn for each seed anew"
    both = build(LLAMA, "transfer: {attention: {random_heads: {0: [0, 1]}}}\n")
    (share,) = compared(both).init.shares
    assert dict(share.heads) == {0: (2, 3)}, "heads that share keys and values are drawn together"


@pytest.mark.parametrize(
    ("model", "heads", "expected"),
    [
        (LLAMA, "attention: {heads: {0: [1]}}", "heads 0 to 1 share keys and values, so all of them are chosen"),
        (LLAMA, "q: {heads: {0: [4]}}", "head 4 of a layer with 4 heads"),
        (LLAMA, "q: {heads: {5: [1]}}", "layer 5 of a model with 2 layers"),
        (
            LLAMA,
            "full: {heads: {0: [1]}}",
            "transfer.full.heads: only attention has heads (q, k, v, proj); mlp and layernorm have none",
        ),
        (LLAMA, "gate: {heads: {0: [1]}}", "only attention has heads (q, k, v, proj); gate has none"),
        (LLAMA, "mlp: {heads: {0: [1]}}", "only attention has heads (q, k, v, proj); mlp has none"),
        (LLAMA, "q: {heads: 3}", "the number of heads belongs to a path; some of them are written {0: [1, 3]}"),
        (LLAMA, "q: {heads: {0: [1, 1]}}", "transfer.q.heads: heads of layer 0: head 1 stands there twice"),
        (LLAMA, "q: {heads: {0: []}}", "transfer.q.heads: heads of layer 0: an empty list; leave the layer out"),
        (LLAMA, "q: {heads: {0-1: [1], 1: 0}}", "transfer.q.heads: heads of layer 1 are named twice, the second time"),
        (LLAMA, "q: {heads: {0,1: [1]}}", "heads of layer 0: none are named; several layers are written 0-2"),
        (LLAMA, "q: {heads: {one: [1]}}", "heads of 'one', which is no layer and no range of them such as 0-2"),
        (LLAMA, "q: {heads: {0: [-1]}}", "heads of layer 0: -1 is no head; they are numbered 0, 1, 2"),
        (LLAMA, "q: {heads: {7: [1]}}", "transfer.q.heads: layer 7 of a model with 2 layers"),
        (LLAMA, "q: {random_heads: {0-7: [1]}}", "transfer.q.random_heads: layer 7 of a model with 2 layers"),
        (LLAMA, "q: {random_heads: {0: [0, 1, 2, 3]}}", "layer 0 has 4 heads, so there are no others to draw"),
        (LLAMA, "q: {random_heads: {0: [0]}, heads: {0: [1]}}", "'random_heads' stands in place of 'heads'"),
        (LLAMA, "q: {random_heads: 3}", "heads are written {layer: [head, head]}"),
        (LLAMA, "q: {heads: {0: [1]}, layers: 0}", "'layers' cannot stand beside 'heads'"),
    ],
)
def test_heads_that_cannot_be_chosen_are_errors_in_their_line(model, heads, expected):
    found = problems(model, f"transfer: {{{heads}}}\n")
    assert all(one.startswith("5: ") for one in found)
    assert any(expected in one for one in found), found


def test_layers_of_heads_are_written_as_layers_are():
    plain = build(LLAMA + "transfer: {q: {heads: {0: [1], 1: [1]}}}\n", "")
    for written in ("{0-1: [1]}", "{'0,1': 1}", "{1: 1, 0: [1]}"):
        assert list(build(LLAMA + f"transfer: {{q: {{heads: {written}}}}}\n", "").phases) == list(plain.phases)
