from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from procray.errors import TransferError
from procray.model import COMPONENTS, GPT2Config, component_of, parameter_shapes, parse_mode
from procray.model.components import _PATTERNS, own_name


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 120), st.integers(1, 4), st.booleans(), st.none() | st.integers(1, 9))
def test_every_parameter_is_in_exactly_one_component(layers, heads, tied, rows):
    config = GPT2Config(layers, heads, 8 * heads, vocab=5, context=3, tied=tied, rows=rows)
    for name in parameter_shapes(config):
        owners = [component for component, pattern in _PATTERNS.items() if re.fullmatch(pattern, name)]
        assert owners == [component_of(name)], name
        assert owners[0] in COMPONENTS


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
        ("none", ()),
    ],
)
def test_modes(mode, components):
    assert parse_mode(mode) == (components, "mean")


@pytest.mark.parametrize(
    ("mode", "message"),
    [
        ("atention", "did you mean 'attention'"),
        ("mlp+layernorms", "unknown component 'layernorms'; did you mean 'layernorm'"),
        ("ffn", "a '[+]'-list of attention, mlp, layernorm, embeddings, positions"),
        ("none+mlp", "stands alone"),
        ("mlp+mlp", "names mlp more than once"),
        ("full+mlp", "names mlp more than once"),
        ("", "unknown component ''"),
    ],
)
def test_unknown_modes_name_the_nearest(mode, message):
    with pytest.raises(TransferError, match=message):
        parse_mode(mode)
