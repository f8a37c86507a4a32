"""What stands where a list is expected is told with what the list looks like, and nothing more is asked of it."""

import pytest

from procray.errors import SpecError
from procray.planning.load import load_text

HEAD = """name: x
model: {layers: 1, heads: 1, width: 8, context: 64}
procedural: {task: identity, length: 8, batch: 16, tokens: 20k, optimizer: {lr: 1e-3}}
"""
FIND = "diagnostic: {task: haystack, pairs: 4, tokens: 40k, batch: 100, optimizer: {lr: 1e-3}}"
TARGETS = "a list of targets, each with its name, such as [{name: text, semantic: {...}}]"
PUBLISHED = "a list of published values, such as [{value: 55 %, tolerance: 10 %, source: ..., strength: ...}]"


@pytest.mark.parametrize(
    ("more", "place", "message"),
    [
        (f"targets: {{find: {{{FIND}}}}}", "4:1", f"targets: expected {TARGETS} (got {{find:"),
        (f"targets:\n  name: find\n  {FIND}", "4:1", f"targets: expected {TARGETS} (got {{name: 'find'"),
        ("targets: find", "4:10", f"targets: expected {TARGETS} (got 'find')"),
        ("targets: [find]", "4:11", f"targets.0: expected a mapping; targets is {TARGETS} (got 'find')"),
        (f"targets: [{{{FIND}}}]", "4:11", "targets.0: missing key 'name'"),
        (f"{FIND}\npublished: {{value: 55 %}}", "5:1", f"published: expected {PUBLISHED} (got {{value: '55 %'}})"),
        (f"{FIND}\npublished: [0.5]", "5:13", f"published.0: expected a mapping; published is {PUBLISHED} (got 0.5)"),
        (f"{FIND}\nzip: transfer", "5:6", "zip: expected a list of lists of axes, such as [[procedural.length, "),
        (f"{FIND}\nexclude: {{task: set}}", "5:1", "exclude: expected a list of what is left out, such as [{task"),
        (f"{FIND}\ninclude: {{task: set}}", "5:1", "include: expected a list of what is added, such as [{task"),
        (f"{FIND}\nselect: {{axes: lr, seeds: [7]}}", "5:16", "select.axes: expected a list of axes, such as [s"),
    ],
)  # fmt: skip
def test_what_is_no_list_is_told_with_what_one_looks_like(more, place, message):
    with pytest.raises(SpecError) as caught:
        load_text(f"{HEAD}{more}\n", "x.yaml")
    (told,) = caught.value.problems
    assert f"{told.line}:{told.column}" == place
    assert told.message.startswith(message)


def test_a_chain_that_is_no_list_is_not_asked_for_keys():
    with pytest.raises(SpecError) as caught:
        load_text("name: x\nchain: {semantic: {corpus: c4}}\n", "x.yaml")
    (told,) = caught.value.problems
    assert told.message.startswith("chain: expected a list of phases in their order, such as [{procedural: {...}}, ")
