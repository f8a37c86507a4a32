"""The chains that `controls:` adds to those of a file, and the settings of their phases."""

from __future__ import annotations

import pytest
from sweep_texts import CHAIN, GOOD, TARGETS, TASK_TAIL, change

from procray.spec import json_schema
from procray.spec.load import load_scales
from procray.spec.tails import follower, longer

WORD = "controls: [shuffled, text, random, more_semantic]\n"


def load(text):
    drafts, problems = load_scales(text, "f.yaml", None, None)
    assert problems == []
    return drafts[0].spec


def made(spec, number=0):
    return {control.control: control for control in spec.tails[number].controls}


def test_warm_ups_are_rewritten_and_nothing_else_is():
    spec = load(GOOD + WORD)
    controls = made(spec)
    assert list(controls) == ["shuffled", "text", "random", "more_semantic"]
    for pick, task in (((0, 0), "union"), ((1, 0), "set")):
        real = [spec.section(link, pick) for link in spec.tails[0].links]
        tasks = {kind: spec.section(tail.links[0], pick)["task"] for kind, tail in controls.items()}
        assert tasks == {
            "shuffled": {"shuffled": task},
            "text": {"text": {"corpus": "c4", "tokenizer": "byte"}},
            "random": task,
            "more_semantic": task,
        }
        for tail in controls.values():
            sections = [spec.section(link, pick) for link in tail.links]
            assert {**sections[0], "task": task} == real[0]
            assert sections[1:] == real[1:]


def test_what_a_control_does_not_touch_is_the_same_phase():
    spec = load(GOOD + WORD)
    warm, cold = spec.tails[0].links
    controls = made(spec)
    assert controls["random"].links[0] is warm  # its warm-up is the variant's own
    assert controls["shuffled"].links[0] is not warm
    assert all(tail.links[1] is not cold for tail in controls.values())


def test_more_tokens_go_to_the_phase_after_the_warm_ups():
    more = "finetune: {corpus: c4, tokenizer: byte, tokens: 30k, batch: 8, optimizer: {lr: 1e-4}}\n"
    spec = load(GOOD + WORD + more)
    tail = spec.tails[0]
    assert follower(tail) == 1
    tokens = [spec.section(link, (0, 0))["tokens"] for link in longer(tail, 7_000).links]
    assert tokens == [10_000, 107_000, 30_000]
    late = change(
        "chain:\n",
        "chain:\n  - semantic: {corpus: c4, tokenizer: byte, batch: 4, tokens: 1k, optimizer: {lr: 1}}\n",
        CHAIN,
    )
    assert follower(load(late).tails[0]) == 2


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        (TASK_TAIL + WORD, ["shuffled", "random", "more_semantic"]),  # no text: reported where the file is checked
        (TASK_TAIL + "controls: [{text: python-stdlib}]\n", ["text"]),
        (CHAIN + "controls: [text]\n", ["text"]),
        (GOOD, []),
        (TARGETS, []),
    ],
)
def test_what_can_be_made(text, kinds):
    assert list(made(load(text))) == kinds


def test_editors_know_the_word():
    jsonschema = pytest.importorskip("jsonschema")
    field = json_schema()["properties"]["controls"]
    assert "more_semantic" in field["description"]
    validator = jsonschema.Draft202012Validator(field)
    for right in ([], ["shuffled", "text"], [{"text": "c4"}, "random", "more_semantic"]):
        assert not list(validator.iter_errors(right))
    for wrong in ("shuffled", ["shufled"], [{"random": 1}]):
        assert list(validator.iter_errors(wrong))
