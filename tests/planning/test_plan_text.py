"""The text of plan.json, made in one pass, is that of the plan's JSON."""

import pytest
from golden_plans import FILES, scales

from procray import load_sweep, plan
from procray.files import json_lines
from procray.planning.plan_text import plan_lines

CASES = [(file, scale) for file in FILES for scale in scales(file)]


@pytest.mark.parametrize(("file", "scale"), CASES, ids=lambda value: getattr(value, "stem", value))
def test_both_ways_to_the_text_of_a_plan_give_the_same(file, scale):
    graph = plan(load_sweep(file, scale=scale))
    whole = graph.then({trial.variant: trial.setting for trial in graph.trials}) if graph.then else graph
    for one in (graph, whole):
        assert b"".join(plan_lines(one)) == b"".join(json_lines(one.to_json()))
