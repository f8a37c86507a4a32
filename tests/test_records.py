"""The quick look at a record finds right what the one with words finds right, and nothing else."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from procray.records import Every, Exactly, count, digits, quick, wrong
from procray.store.forms import FORMS, ROW

FORM = {
    "step": count,
    "loss?": (float, None.__class__),
    "tokens": (float, None.__class__),
    "done?": bool,
    "name?": (str, None.__class__),
    "files?": Every({"bytes": int}, digits),
    "parts?": [Exactly({"part": str, "seed?": int})],
}
NUMBERS = st.one_of(
    st.integers(-(2**70), 2**70), st.sampled_from([0, -1, 2**63, 2**63 - 1, -(2**63)]), st.floats(), st.booleans()
)
VALUES = st.recursive(
    st.one_of(NUMBERS, st.none(), st.sampled_from(["", "7", "text"])),
    lambda inner: st.one_of(
        st.lists(inner, max_size=2),
        st.dictionaries(st.sampled_from(["7", "x", "part", "seed", "bytes"]), inner, max_size=3),
    ),
    max_leaves=6,
)
RECORDS = st.dictionaries(
    st.sampled_from(["step", "loss", "tokens", "done", "name", "files", "parts", "other"]), VALUES
) | st.fixed_dictionaries(
    {"step": st.integers(0, 9), "tokens": st.floats(0, 1)}, optional={"parts": VALUES, "files": VALUES}
)


@given(RECORDS | VALUES)
def test_both_ways_to_look_find_the_same(value: Any) -> None:
    assert quick(FORM)(value) == (not wrong(value, FORM))


@pytest.mark.parametrize("name", ["loss", "tokens", "tokens_by_task"])
@pytest.mark.parametrize("text", ["1e999", "-1e999", "true", '"3"', "[1]", "{}", "9223372036854775808"])
def test_what_is_no_number_is_none_for_either(name: str, text: str) -> None:
    row = json.loads(f'{{"step": 3, "{name}": {text}}}')
    assert quick(ROW)(row) == (not wrong(row, ROW)) == (name == "tokens_by_task" and text == "{}")


def test_whole_documents_pass_either() -> None:
    mark = {
        "files": {"model.safetensors": {"sha256": "0" * 64, "bytes": 9}},
        "step": 4,
        "tokens": 1e3,
        "transfer": None,
    }
    status = {"state": "failed", "reason": "loss is NaN", "step": None, "failure": {"final": True}}
    for name, value in (("manifest.json", mark), ("status.json", status)):
        assert quick(FORMS[name])(value)
        assert not wrong(value, FORMS[name])
        assert not quick(FORMS[name])({**value, "step": -1})
