from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from procray.errors import ProcrayError
from procray.model import GPT2, GPT2Config, flops_per_token, parameter_shapes, parameters

configs = st.builds(
    lambda layers, heads, per_head, vocab, context, tied, rows, pad: GPT2Config(
        layers, heads, heads * per_head, vocab, context, tied=tied, rows=rows, pad_vocab=pad
    ),
    st.integers(1, 3),
    st.integers(1, 4),
    st.integers(1, 5),
    st.integers(1, 70),
    st.integers(1, 20),
    st.booleans(),
    st.none() | st.integers(1, 12),
    st.sampled_from([1, 8, 64]),
)


@settings(max_examples=40, deadline=None)
@given(configs)
def test_shapes_are_those_of_the_model(config):
    built = {name: tuple(parameter.shape) for name, parameter in GPT2(config, seed=0).named_parameters()}
    assert parameter_shapes(config) == built


def test_gpt2_small_has_124_million_parameters_and_770_megaflop_a_token():
    config = GPT2Config(layers=12, heads=12, width=768, vocab=50257, context=1024)
    assert parameters(config) == 124_439_808
    n = 124_439_808 - 1024 * 768
    assert flops_per_token(config, 256) == 6 * n + 12 * 12 * 768 * 256
    assert flops_per_token(config, 256) == pytest.approx(769.5e6, rel=0.01)


def test_flops_count_the_head_once_whether_tied_or_not():
    tied = GPT2Config(layers=2, heads=2, width=16, vocab=100, context=50)
    untied = GPT2Config(layers=2, heads=2, width=16, vocab=100, context=50, tied=False)
    assert parameters(untied) - parameters(tied) == 1600
    assert flops_per_token(untied, 50) == flops_per_token(tied, 50)
    # The number of positions a model has changes nothing; the number in use does.
    longer = GPT2Config(layers=2, heads=2, width=16, vocab=100, context=500)
    assert flops_per_token(longer, 50) == flops_per_token(tied, 50)
    assert flops_per_token(tied, 51) - flops_per_token(tied, 50) == 12 * 2 * 16


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": 30}, "width 30 cannot be divided among 4 heads"),
        ({"layers": 0}, "layers must be a whole number of at least 1, not 0"),
        ({"vocab": 2.5}, "vocab must be a whole number"),
        ({"dropout": 1.0}, "dropout must lie in"),
        ({"rows": 0}, "rows must be a whole number"),
    ],
)
def test_impossible_shapes_are_refused(changes, message):
    with pytest.raises(ProcrayError, match=message):
        GPT2Config(**({"layers": 2, "heads": 4, "width": 32, "vocab": 9, "context": 8} | changes))


def test_shapes_and_modes_are_known_without_torch():
    code = (
        "import sys, procray.model as m; m.parse_mode('full'); m.parameters(m.GPT2Config(1, 1, 8, 5, 4));"
        "assert callable(m.transfer); assert 'torch' not in sys.modules;"
        "m.GPT2; import procray.model.transfer; from procray.model.transfer import transfer;"
        "assert m.transfer is transfer and 'torch' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
