"""Text in place of a procedural task: same kind, same tokens, steps as near as blocks allow."""

from __future__ import annotations

import pytest

from procray.errors import SpecError
from procray.planning import plan
from procray.planning.load import load_text
from procray.planning.notes import notes

FILE = """\
name: control
model: {layers: 1, heads: 2, width: 16, context: 128}
procedural:
  task: {grid: [union, {shuffled: union}, {text: wikitext-103}]}
  length: {grid: [8, 16]}
  vocab: 50
  batch: 64
  tokens: 100k
  optimizer: {lr: 1e-3, warmup_steps: 5}
transfer: {grid: [full, everything, full+embeddings]}
semantic:
  corpus: c4
  tokenizer: gpt2
  tokens: 100Ki
  batch: 8
  optimizer: {lr: 1e-3, schedule: cosine}
exclude:
  - {transfer: everything}
"""


def build(text: str = FILE, **settings):
    return plan(load_text(text, "f.yaml", set=settings or None))


def warm(graph, name: str):
    (phase,) = [phase for phase in graph.phases.values() if phase.variant == name]
    return phase


def test_text_is_a_procedural_phase_of_the_same_tokens():
    graph = build()
    text, union = warm(graph, "text-wikitext-103"), warm(graph, "union/L8")
    assert (text.kind, text.recipe.data["corpus"]["name"]) == ("procedural", "Salesforce/wikitext")
    assert text.recipe.model.context == 128
    assert text.recipe.batch * 128 == text.tokens_per_step == union.tokens_per_step
    assert (text.end, text.nominal) == (union.end, union.nominal)
    assert text.recipe.optimizer == union.recipe.optimizer
    cells = [cell for cell in graph.cells if cell.variant == "text-wikitext-103/full"]
    assert [(cell.t1, len(cell.warmups)) for cell in cells] == [(text.nominal[text.end], 1)]


def test_parameters_of_tasks_do_not_concern_it():
    graph = build()
    own = {variant for variant in graph.variants if variant.startswith("text")}
    assert own == {"text-wikitext-103/full", "text-wikitext-103/full+embeddings"}  # not once a length


def test_a_batch_and_a_context_of_its_own():
    graph = build(
        FILE.replace("{text: wikitext-103}", "{text: {corpus: wikitext-103, tokenizer: byte, context: 64, batch: 7}}")
    )
    recipe = warm(graph, "text-wikitext-103-batch7-context64-byte").recipe
    assert (recipe.model.context, recipe.batch) == (64, 7)
    assert recipe.data["tokenizer"]["kind"] == "byte"


def test_alone_it_takes_the_sections_batch():
    text = FILE.replace("{grid: [union, {shuffled: union}, {text: wikitext-103}]}", "{text: wikitext-103}")
    text = text.replace("  length: {grid: [8, 16]}\n  vocab: 50\n", "")
    graph = build(text)
    assert warm(graph, "text-wikitext-103").recipe.batch == 64


def test_embeddings_are_copied_between_equal_vocabularies_only():
    same = FILE.replace(
        "{grid: [union, {shuffled: union}, {text: wikitext-103}]}", "{text: {corpus: c4, tokenizer: gpt2}}"
    )
    same = same.replace("  length: {grid: [8, 16]}\n  vocab: 50\n", "").split("exclude:")[0]
    graph = build(same)
    inits = {cell.variant: graph.phases[cell.compared].recipe.init for cell in graph.cells}
    assert inits["everything"].embeddings == "copy"
    assert "embeddings" in inits["everything"].components
    assert inits["full+embeddings"].embeddings == "mean"
    assert "embeddings" not in inits["full"].components
    with pytest.raises(SpecError, match="have different vocabularies"):
        build(same.replace("corpus: c4, tokenizer: gpt2}", "corpus: c4, tokenizer: byte}"))


def test_the_plan_says_what_is_compared_and_what_favours_the_control():
    (said,) = notes(build())
    assert "in 87 steps of 9 x 128 tokens (union/L8 87 steps of 64 x 18 tokens" in said
    assert notes(build(FILE.replace("{text: wikitext-103}", "union").replace("[union, ", "[set, "))) == []
    both = notes(build(FILE.replace("{text: wikitext-103}", "{text: c4}")))
    assert len(both) == 2
    assert "the target's documents in advance" in both[1]


MISTAKES = {
    "an unknown corpus": (
        "{text: wikitext-103}", "{text: wikitext-104}", "task.text: unknown corpus 'wikitext-104'; did you mean",
    ),
    "an unknown key": ("{text: wikitext-103}", "{text: {corpus: c4, tokeniser: gpt2}}", "did you mean 'tokenizer'?"),
    "no corpus": ("{text: wikitext-103}", "{text: {tokenizer: gpt2}}", "expected {text: a corpus's name}"),
    "inside of another": ("{shuffled: union}", "{shuffled: {text: c4}}", "text stands by itself"),
    "in a diagnostic": (
        "semantic:\n  corpus: c4\n  tokenizer: gpt2\n",
        "diagnostic:\n  task: {text: c4}\n",
        "text stands in place of a procedural task",
    ),
    "parameters that nothing takes": (
        "{grid: [union, {shuffled: union}, {text: wikitext-103}]}", "{text: wikitext-103}", "has no parameter 'length'",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_named(name):
    old, new, message = MISTAKES[name]
    assert old in FILE
    with pytest.raises(SpecError) as caught:
        build(FILE.replace(old, new))
    assert message in str(caught.value)


def compared(graph):
    """By text, what its note sets beside it."""
    told = [note for note in notes(graph) if note.startswith("warm-up text") and " tokens in " in note]
    return {note.split(":")[0]: note.partition("tokens (")[2] for note in told}


def test_each_text_stands_beside_its_own_warm_ups():
    written = compared(build(**{"procedural.batch": {"grid": [64, 32]}, "procedural.length": 8}))
    assert len(written) == 2
    for name, said in written.items():
        own, other = ("64", "32") if "batch64" in name else ("32", "64")
        assert f"steps of {own} x " in said
        assert f"steps of {other} x " not in said
    added = FILE.replace("[union, {shuffled: union}, {text: wikitext-103}]", "[union, set]")
    controlled = compared(build(added + "controls: [{text: {corpus: wikitext-103, tokenizer: gpt2}}]\n"))
    assert sorted(said.split()[0] for said in controlled.values()) == ["set/L16", "set/L8", "union/L16", "union/L8"]
