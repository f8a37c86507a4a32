import gzip
import json

import pytest

from procray.errors import ProcrayError
from procray.training import FolderContext, task_source, train
from procray.training.trace import Trace, read_range

from .phases import recipe, weights


def traced(folder, first, last, until=6):
    phase, trace = recipe(), Trace(first, last, folder / "profile" / "trace.json.gz")
    train(phase, task_source(phase), FolderContext(folder), until=until, marks=(), trace=trace)
    return trace


def updates(trace):
    events = json.loads(gzip.decompress(trace.path.read_bytes()))["traceEvents"]
    return sum(event.get("name") == "aten::_fused_adamw_" for event in events)


def test_a_trace_holds_the_steps_asked_for_and_changes_nothing(tmp_path):
    trace = traced(tmp_path / "traced", 2, 5)
    assert updates(trace) == 2 * 3, "one for matrices and one for vectors in each step"
    assert "aten::" in trace.table
    traced(tmp_path / "plain", 99, 100)
    assert not (tmp_path / "plain" / "profile").exists()
    assert weights(tmp_path / "traced", 6) == weights(tmp_path / "plain", 6)


def test_a_phase_that_ends_first_keeps_what_was_recorded(tmp_path):
    assert updates(traced(tmp_path, 4, 100)) == 2 * 2


@pytest.mark.parametrize("text", ["", "5", "5:5", "9:2", "a:b", "-1:3", "1:2:3"])
def test_a_range_that_is_none_is_refused(text):
    with pytest.raises(ProcrayError, match="expected two steps as A:B"):
        read_range(text)


def test_a_range_is_read():
    assert read_range("10:20") == (10, 20)
