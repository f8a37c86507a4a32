"""A known key without a value is as if it were not written. (Unknown ones are mistakes: see `test_load.py`.)"""

from __future__ import annotations

import json

import pytest
from sweep_texts import GOOD, change

from procray.spec.load import load_scales
from procray.spec.written import one_spelling


def load(text=GOOD):
    drafts, problems = load_scales(text, "f.yaml", None, None)
    assert not problems, problems
    return drafts[0].spec


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("min_lr: 0.1}", "min_lr: 0.1, clip: }"),
        ("length: 8", "length: 8\n  vocab: ~"),
        ("name: good", "name: good\nmatched: null"),
        ("corpus: c4", "corpus: {name: c4, holdout: , validation: ~}"),
        ("tokenizer: byte", "tokenizer: byte\n  batch_tokens:"),
        ("{grid: [full, mlp]}", "{grid: [full, mlp]}\nperturb: ~"),
        ("length: 8", "length: {min: 8, max: 8, step: }"),
        ("[union, set]", "[union, {mixture: {set: 1, union: ~}}]"),
    ],
)
def test_a_known_key_without_a_value_is_not_written(old, new):
    without = load()
    spec = load(change(old, new))
    if "mixture" in new:
        assert spec.axes[0].values[1] == {"mixture": {"set": 1.0}}
    else:
        assert one_spelling(spec.base) == one_spelling(without.base)
        assert [axis.values for axis in spec.axes] == [axis.values for axis in without.axes]
    assert "null" not in json.dumps(spec.resolved)
