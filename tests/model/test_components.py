from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from procray.errors import TransferError
from procray.model import COMPONENTS, FAMILIES, GPT2Config, component_of, parameter_shapes, parse_mode
from procray.model.components import (
    EVERY,
    NAMES,
    component_with,
    named_in,
    parse_layers,
    parse_names,
    parts_of,
    show_layers,
    whole,
)
from procray.model.gpt2.layout import own_name

GPT2 = FAMILIES["gpt2"]


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 120), st.integers(1, 4), st.booleans(), st.none() | st.integers(1, 9))
def test_every_parameter_is_in_exactly_one_component(layers, heads, tied, rows):
    config = GPT2Config(layers, heads, 8 * heads, vocab=5, context=3, tied=tied, rows=rows)
    for name in parameter_shapes(config):
        parts = GPT2.parts_in(name)
        assert set(parts) <= set(GPT2.parts), name
        assert {component_with(part) for part in parts} == {component_of(name)}, name
        assert component_of(name) in COMPONENTS


@pytest.mark.parametrize(
    ("name", "component"),
    [
        ("transformer.h.11.attn.c_attn.bias", "attention"),
        ("transformer.h.0.attn.c_proj.weight", "attention"),
        ("transformer.h.0.mlp.c_proj.weight", "mlp"),
        ("transformer.h.3.mlp.c_fc.bias", "mlp"),
        ("transformer.h.0.ln_1.weight", "layernorm"),
        ("transformer.h.0.ln_2.bias", "layernorm"),
        ("transformer.ln_f.bias", "layernorm"),
        ("transformer.wte.weight", "embeddings"),
        ("lm_head.weight", "embeddings"),
        ("row_in.weight", "embeddings"),
        ("row_out.bias", "embeddings"),
        ("transformer.wpe.weight", "positions"),
    ],
)
def test_component_of(name, component):
    assert component_of(name) == component


@pytest.mark.parametrize("name", ["transformer.h.0.attn.bias", "h.0.mlp.c_fc.bias", "score.weight", "xlm_head.weight"])
def test_patterns_are_exact(name):
    with pytest.raises(TransferError, match=re.escape(name)):
        component_of(name)


def test_own_name():
    assert own_name("h.0.ln_1.weight") == "transformer.h.0.ln_1.weight"
    assert own_name("wte.weight") == "transformer.wte.weight"
    assert own_name("transformer.wte.weight") == "transformer.wte.weight"
    assert own_name("lm_head.weight") == "lm_head.weight"
    assert own_name("transformer.h.0.attn.bias") is None
    assert own_name("h.7.attn.masked_bias") is None
    assert own_name("transformer.h.0.attn.c_attn.bias") == "transformer.h.0.attn.c_attn.bias"


@pytest.mark.parametrize(
    ("mode", "components"),
    [
        ("full", ("attention", "mlp", "layernorm")),
        ("full+embeddings", ("attention", "mlp", "layernorm", "embeddings", "positions")),
        ("embeddings+full", ("attention", "mlp", "layernorm", "embeddings", "positions")),
        ("full+positions", ("attention", "mlp", "layernorm", "positions")),
        ("attention", ("attention",)),
        ("mlp", ("mlp",)),
        ("layernorm + attention", ("attention", "layernorm")),
        ("attention+embeddings", ("attention", "embeddings")),
        ("attention+ln_1", ("attention", "ln_1")),
        ("mlp_out + qkv", ("qkv", "mlp_out")),
        ("proj+qkv", ("attention",)),
        ("ln_f+ln_2+ln_1+mlp", ("mlp", "layernorm")),
        ("none", ()),
    ],
)
def test_modes(mode, components):
    assert parse_mode(mode, GPT2) == (components, "mean")


@pytest.mark.parametrize(
    ("mode", "message"),
    [
        ("atention", "did you mean 'attention'"),
        ("mlp+layernorms", "unknown component 'layernorms'; did you mean 'layernorm'"),
        ("ffn", "a '[+]'-list of attention, mlp, layernorm, embeddings, positions"),
        ("none+mlp", "stands alone"),
        ("mlp+mlp", "names mlp more than once"),
        ("full+mlp", "names mlp more than once"),
        ("attention+qkv", "names qkv more than once"),
        ("qkv+k", "names k more than once"),
        (
            "gate",
            "a GPT-2 has no gate .it has attention, mlp, layernorm, embeddings, positions, qkv, q, k",
        ),
        ("full+ln_1", "names ln_1 more than once"),
        ("ln1", "unknown component 'ln1'; did you mean 'ln_1'"),
        ("", "unknown component ''"),
    ],
)
def test_unknown_modes_name_the_nearest(mode, message):
    with pytest.raises(TransferError, match=message):
        parse_mode(mode, GPT2)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(NAMES)), st.sampled_from(sorted(FAMILIES.values(), key=lambda one: one.name)))
def test_the_shortest_names_mean_the_same_parts(names, family):
    own = family.parts
    short = whole(names, own)
    assert set(short) <= set(named_in(family))
    assert parts_of(short, own) == parts_of(names, own)
    assert whole(short, own) == short
    assert len(short) <= len(set(parts_of(names, own)))


def test_names_from_lists_and_texts():
    assert parse_names("none") == parse_names([]) == ()
    assert parse_names("mlp+attention") == parse_names(["attention", "mlp_in", "mlp_out"]) == ("attention", "mlp")
    assert parse_names(["up", "gate", "down"]) == ("mlp",)
    assert parse_names(["q", "proj", "v", "k", "mlp_out"]) == ("attention", "mlp_out")
    assert whole(("mlp_in", "mlp_out"), GPT2.parts) == ("mlp",), "of a GPT-2 these are all of it"
    assert whole(("mlp_in", "mlp_out"), EVERY) == ("mlp_in", "mlp_out"), "of a family yet unknown not"
    with pytest.raises(TransferError, match="unknown component 'embedding'; did you mean 'embeddings'"):
        parse_names(["embedding"])


@pytest.mark.parametrize(
    ("value", "layers", "shown"),
    [
        (3, {3: 3}, "3"),
        ("0-2", {0: 0, 1: 1, 2: 2}, "0-2"),
        ("0-1,6", {0: 0, 1: 1, 6: 6}, "0-1,6"),
        ([5, 0, "2-3"], {0: 0, 2: 2, 3: 3, 5: 5}, "0,2-3,5"),
        ({"1": 10, "0": 11}, {0: 11, 1: 10}, "0=11,1=10"),
    ],
)
def test_layers(value, layers, shown):
    found = parse_layers(value)
    assert (found, list(found)) == (layers, sorted(layers))
    assert show_layers(found) == shown


@pytest.mark.parametrize("value", ["", "a", "3-1", -1, 1.5, True, [], {}, {"0": -1}, {"x": 0}, "0-2,1", ["0", "0-3"]])
def test_bad_layers(value):
    with pytest.raises(TransferError, match=r"layers are written|stands twice"):
        parse_layers(value)
