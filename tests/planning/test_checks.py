"""Sweep files whose chains of phases do not hold: every kind of mistake with its place, all at once, never a crash."""

from __future__ import annotations

import json
import random
import textwrap

import pytest
from sweep_texts import CHAIN, GOOD, TASK_TAIL, change

from procray.errors import SpecError
from procray.planning.load import load_sweep, load_text
from procray.planning.planner import plan
from procray.spec.tree import plain, read
from procray.training.recipe import Solved


def load(text=GOOD, **options):
    return load_text(textwrap.dedent(text), "f.yaml", **options)


def problems(text=GOOD, **options):
    with pytest.raises(SpecError) as caught:
        load(text, **options)
    return str(caught.value)


# One mistake: what replaces what in GOOD, and the whole message.
MISTAKES = {
    "impossible shape": (
        ("heads: 2", "heads: 3"),
        """\
        f.yaml:3:37: model.width: a width of 16 cannot be divided among 3 heads
            model: {layers: 2, heads: 3, width: 16, context: 32}
                                                ^""",
    ),
    "transfer between widths": (
        ("  batch: 16\n", "  batch: 16\n  model: {width: 32}\n"),
        """\
        f.yaml:8:18: procedural.model.width: weights cannot be carried between models of different width: procedural \
has 32, semantic has 16
              model: {width: 32}
                             ^""",
    ),
    "transfer between depths": (
        ("  batch: 8\n", "  batch: 8\n  model: {layers: 4}\n"),
        """\
        f.yaml:16:19: semantic.model.layers: weights cannot be carried between models of different layers: procedural \
has 2, semantic has 4; 'layers' maps them
              model: {layers: 4}
                              ^""",
    ),
    "unknown task": (
        ("[union, set]", "[unoin, set]"),
        """\
        f.yaml:5:17: procedural.task: there is no task 'unoin'; did you mean 'union'?""",
    ),
    "unknown corpus": (
        ("corpus: c4", "corpus: c5"),
        """\
        f.yaml:12:11: semantic.corpus: unknown corpus 'c5'; did you mean 'c4'?""",
    ),
    "unknown tokenizer": (
        ("tokenizer: byte", "tokenizer: {bite: 3}"),
        """\
        f.yaml:13:3: semantic.tokenizer:""",
    ),
    "unknown mode": (
        ("[full, mlp]", "[full, mpl]"),
        """\
        f.yaml:10:25: transfer: transfer mode 'mpl': unknown component 'mpl'; did you mean 'mlp'?""",
    ),
    "less than a batch of text": (
        ("tokens: 100k", "tokens: 255"),
        """\
        f.yaml:14:11: semantic.tokens: 255 tokens are less than one step (8 sequences x 32 tokens = 256)""",
    ),
    "less than a batch of a task": (
        ("tokens: 10k", "tokens: {grid: [10k, 10]}"),
        """\
        f.yaml:8:24: procedural.tokens: 10 tokens are less than one step (16 sequences x""",
    ),
    "a task's parameter out of range": (
        ("length: 8", "length: {min: 9, max: 4}"),
        """\
        f.yaml:6:3: procedural.length: union: length min""",
    ),
    "a parameter that the task lacks": (
        ("length: 8", "length: 8\n  rule: 110"),
        """\
        f.yaml:7:9: procedural.rule: union has no parameter 'rule' (parameters: length, vocab)
              rule: 110
                    ^""",
    ),
    "evaluation rarer than the budget": (
        ("every: 10k", "every: 200k"),
        """\
        f.yaml:17:21: semantic.evaluate.every: every 200k tokens is rarer than the budget of 100k
              evaluate: {every: 200k}
                                ^""",
    ),
    "no whole number of sequences": (
        ("batch: 8\n", "batch_tokens: 100\n"),
        """\
        f.yaml:15:17: semantic.batch_tokens: 100 is no whole number of sequences of 32 tokens (near: 96 or 128)""",
    ),
    "both batches": (
        ("batch: 8\n", "batch: 8\n  batch_tokens: 256\n"),
        """\
        f.yaml:16:17: semantic.batch_tokens: give batch (sequences) or batch_tokens, not both""",
    ),
    "no batch": (
        ("  batch: 8\n", ""),
        """\
        f.yaml:11:1: semantic: missing key 'batch' (sequences) or 'batch_tokens'""",
    ),
    "no context": (
        (", context: 32", ""),
        """\
        f.yaml:3:1: model: missing key 'context', which semantic needs""",
    ),
    "a warm-up of the schedule as long as the budget": (
        ("min_lr: 0.1", "warmup: 100k"),
        """\
        f.yaml:16:51: semantic.optimizer.warmup: a warm-up as long as the whole budget (391 steps)""",
    ),
    "more workers than sequences": (
        ("transfer:", "resources: {workers: 9}\ntransfer:"),
        """\
        f.yaml:16:10: semantic.batch: a batch of 8 is too small for 9 workers""",
    ),
    "one process for several workers": (
        ("transfer:", "resources: {workers: 2, executor: inprocess}\ntransfer:"),
        """\
        f.yaml:10:35: resources.executor: 'inprocess' trains in one process, but this phase has 2 workers""",
    ),
    "at least more workers than at most": (
        ("transfer:", "resources: {workers: 2, min_workers: 3}\ntransfer:"),
        """\
        f.yaml:10:38: resources.min_workers: at least 3 workers are more than the 2 of `workers`""",
    ),
    "fewer workers than a warm group can do with": (
        ("transfer:", "resources: {workers: 2, min_workers: 1, executor: train-warm}\ntransfer:"),
        """\
        f.yaml:10:38: resources.min_workers: only the executor 'train' can do with fewer workers, not 'train-warm'""",
    ),
    "an outside checkpoint": (
        ("{grid: [full, mlp]}", "{attention: 'hf:gpt2'}"),
        """\
        f.yaml:10:23: transfer.attention: 'hf:gpt2': a checkpoint of the hub is named hf:NAME@COMMIT with the full""",
    ),
    "an unknown parent": (
        ("{grid: [full, mlp]}", "{attention: st}"),
        """\
        f.yaml:10:23: transfer.attention: no earlier phase is called 'st'; did you mean 'set'?""",
    ),
    "positions that are not there": (
        ("[full, mlp]", "[full, attention+positions]"),
        """\
        f.yaml:10:25: transfer: union has only""",
    ),
    "everything excluded": (
        ("transfer:", "exclude: [{task: [set, union]}]\ntransfer:"),
        """\
        f.yaml:10:1: exclude: every cell of the grid is excluded""",
    ),
    "a matched rerun shorter than the schedule's warm-up": (
        ("min_lr: 0.1}\n  evaluate: {every: 10k}", "warmup: 30k}\nmatched: [0.2, 0.5]"),
        """\
        f.yaml:17:1: matched: 0.2 of the budget (79 steps) is no longer than its warm-up""",
    ),
    "fine-tuning with other tokens": (
        ("transfer:", "finetune: {corpus: c4, tokens: 1k, batch: 8, optimizer: {lr: 1}}\ntransfer:"),
        """\
        f.yaml:10:1: finetune.transfer: c4 and c4 have different vocabularies; name a mode such as full""",
    ),
    "automaton rows have no embeddings": (
        ("{grid: [union, set]}\n  length: 8", "eca_rows\n  length: 8\n  width: 8"),
        None,
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_one_mistake(mistake):
    (old, new), expected = MISTAKES[mistake]
    text = change(old, new)
    if expected is None:
        assert "no token embeddings" in problems(text.replace("[full, mlp]", "[full+embeddings]"))
        return
    message = problems(text)
    assert message.startswith(textwrap.dedent(expected)), message
    assert message.count("f.yaml:") == 1, message


def test_many_mistakes_at_once_and_in_order():
    text = """\
    name: bad
    setting: substitutiv
    seeds: [0, 0]
    model: {layers: 2, heads: 3, width: 16, context: 32}
    procedural:
      task: {grid: [unoin, set]}
      lenght: 8
      batch: 16
      batch: 17
      tokens: {grid: []}
      model: {width: 64, heads: 2}
      optimizer: {lr: 1e-3}
    transfer: mpl
    semantic:
      corpus: c5
      tokens: -1
      batch: 8
      optimizer: {lr: fast}
    """
    lines = [line for line in problems(text).split("\n") if line.startswith("f.yaml")]
    assert [line.split(": ")[0] for line in lines] == [
        "f.yaml:2:10",
        "f.yaml:3:12",
        "f.yaml:4:37",
        "f.yaml:6:17",
        "f.yaml:7:3",
        "f.yaml:9:3",
        "f.yaml:10:18",
        "f.yaml:13:11",
        "f.yaml:15:11",
        "f.yaml:16:11",
        "f.yaml:18:19",
    ]


def test_mistakes_inside_scales_have_their_own_places():
    text = GOOD + textwrap.dedent("""\
    scales:
      small:
        semantic: {tokns: 1}
      large:
        semantic: {tokens: 10}
        model:
          heads: 3
    """)
    message = problems(text)
    assert "f.yaml:20:16: semantic.tokns: unknown key 'tokns'; did you mean 'tokens'?" in message
    assert "f.yaml:22:24: semantic.tokens: 10 tokens are less than one step" in message
    assert "f.yaml:3:37: model.width: a width of 16 cannot be divided among 3 heads" in message


def test_what_the_command_line_breaks_is_shown_where_it_shows():
    message = problems(set=["model.heads=3"])
    assert "f.yaml:3:37: model.width: a width of 16 cannot be divided among 3 heads" in message


def test_files_of_other_scales_are_not_looked_for(tmp_path):
    text = GOOD + "scales:\n  a: {}\n  b: {semantic: {corpus: {files: [/nowhere/*.txt]}}}\n"
    assert load(text).scale == "a"
    assert "f.yaml:20:18: semantic.corpus" in problems(text, scale="b")


def test_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "f.yaml").write_text(change("length", "lenght"))
    with pytest.raises(SpecError):
        load_sweep("f.yaml")
    assert [path.name for path in tmp_path.iterdir()] == ["f.yaml"]


def test_a_context_smaller_than_the_diagnostic_needs():
    assert "f.yaml:2:49: model.context: a context of 8 is smaller than the" in problems(TASK_TAIL)
    assert load(TASK_TAIL.replace(", context: 8", "")).tails


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("attention: first", "attention: frst", "f.yaml:6:27: chain.1.transfer.attention: no earlier phase is called"),
        ("{name: first,", "{name: first, transfer: full,", "f.yaml:4:29: chain.0.transfer: there is no phase before"),
        ("batch: 4,", "batch: 4, model: {layers: 2},", "chain.1.semantic.model.layers: weights cannot be carried"),
    ],
)
def test_mistakes_of_chains(old, new, message):
    assert message in problems(change(old, new, CHAIN))


ODD = [
    *(None, 0, -1, 2.5, "x", "2M", True, [], [1], {}, {"a": 1}, [{}], [None], 10**30),
    *({"grid": []}, {"grid": [1, 2]}, {"grid": [None]}, {"grid": [{"task": "set"}, {"task": "sort"}]}),
    *({"attention": "set"}, {"min": 1, "max": 3}),
]
ODD_KEYS = ["grid", "task", "model", "transfer", "targets", "chain", "zip", "exclude", "include", "matched", "compare"]


def _places(data, path=()):
    yield path
    for key, child in data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ():
        yield from _places(child, (*path, key))


def _spoil(data, chance):
    """One value replaced, or one key added, at random."""
    path = chance.choice(list(_places(data)))
    node = data
    for key in path[:-1]:
        node = node[key]
    target = node[path[-1]] if path else node
    if isinstance(target, dict) and chance.random() < 0.5:
        target[chance.choice(ODD_KEYS)] = chance.choice(ODD)
    elif path:
        node[path[-1]] = chance.choice(ODD)


@pytest.mark.parametrize("seed", range(60))
def test_spoilt_files_give_problems_or_plans_but_never_crash(seed):
    chance = random.Random(seed)
    data = plain(read(chance.choice([GOOD, CHAIN, TASK_TAIL]), "f.yaml")[0])
    for _ in range(chance.choice([1, 1, 2])):
        data = json.loads(json.dumps(data))
        _spoil(data, chance)
    try:
        graph = plan(load(json.dumps(data)))
    except SpecError:
        return
    assert all(phase.id == phase.recipe.id for phase in graph.phases.values())


def test_the_rule_of_a_solved_phase_reaches_its_recipe():
    rule = change("evaluate: {every: 10k}", "evaluate: {every: 10k, solved: {accuracy: 0.9}}")
    found = {
        phase.recipe.kind: phase.recipe.evaluation.solved
        for text in (GOOD, rule)
        for phase in plan(load(text)).phases.values()
    }
    assert found == {"procedural": None, "semantic": Solved(0.9, 3)}


@pytest.mark.parametrize(
    ("task", "place"),
    [
        ("task: nca, side: 4, simplest: 0.98, most_complex: 0.99", "simplest"),
        ("task: nca, side: 4, most_complex: 0.501", "most_complex"),
        ("task: {shuffled: nca}, side: 4, simplest: 0.98, most_complex: 0.99", "simplest"),
    ],
)
def test_a_band_that_no_rule_is_in_has_a_place_and_hides_no_other_problem(monkeypatch, task, place):
    monkeypatch.setattr("procray.tasks.nca.MOST_RULES", 4)
    text = f"""\
name: band
model: {{layers: 1, heads: 2, width: 16, context: 64}}
procedural: {{{task}, length: 20, batch: 2, tokens: 10k, optimizer: {{lr: 1e-3}}}}
diagnostic: {{task: haystack, pars: 4, batch: 8, tokens: 10k, optimizer: {{lr: 1e-3}}}}
"""
    with pytest.raises(SpecError) as caught:
        load_text(text, "f.yaml")
    band, other = map(str, caught.value.problems)
    column = text.split("\n")[2].index(f"{place}: ") + len(place) + 3
    assert band.startswith(f"f.yaml:3:{column}: procedural.{place}: nca: simplest is ")
    assert "so widen the band" in band
    assert "unknown key 'pars'; did you mean 'pairs'?" in other


@pytest.mark.parametrize("task", ["rnn", "nca", "{shuffled: rnn}"])
def test_lengths_that_grow_with_mastery_are_refused_where_nothing_is_mastered(task):
    text = """\
name: grows
model: {layers: 1, heads: 2, width: 16, context: 64}
procedural: {task: TASK, length: LENGTH, batch: 2, tokens: 10k, optimizer: {lr: 1e-3}}
diagnostic: {task: haystack, pairs: 4, batch: 8, tokens: 10k, optimizer: {lr: 1e-3}}
""".replace("TASK", task)
    with pytest.raises(SpecError) as caught:
        load_text(text.replace("LENGTH", "{start: 48, step: 2, mastery: 0.9, max: 64}"), "f.yaml")
    (found,) = caught.value.problems
    assert "procedural.length" in found.message
    assert "length cannot grow with mastery: " in found.message
    assert found.message.endswith("; give one length, or {min, max}")
    assert load_text(text.replace("LENGTH", "{min: 48, max: 50}"), "f.yaml").axes == []
