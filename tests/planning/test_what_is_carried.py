"""What phases take over where the file says little, and which phase a name of it means."""

from __future__ import annotations

import pytest

from procray.errors import SpecError
from procray.model import GPT2, GPT2Config, save_weights
from procray.planning.load import load_text
from procray.planning.plan import Plan
from procray.planning.planner import plan
from procray.training.recipe import Init, Parent

MODEL = "name: t\nmodel: {layers: 2, heads: 2, width: 16, context: 64}\n"
FULL = {"attention", "mlp", "layernorm"}
EVERYTHING = {*FULL, "embeddings", "positions"}

SET = "procedural: {task: set, length: 8, batch: 16, tokens: 10k, optimizer: {lr: 1e-3}"
SORT = SET.replace("set", "sort")
LONG = SORT.replace("length: 8", "length: 16")
SHORT = SORT.replace("length: 8", "length: 4")
OTHER = SORT.replace("length: 8", "length: 8, vocab: 50")
ECA = "procedural: {task: eca, form: rows, batch: 4, tokens: 10k, optimizer: {lr: 1e-3}"
TEXT = "semantic: {corpus: c4, tokenizer: byte, tokens: 10k, batch: 4, optimizer: {lr: 1e-3}"
CODE = TEXT.replace("c4", "wikitext-2")
WORDS = TEXT.replace("byte", "{bpe: 512}")
FINE = TEXT.replace("semantic", "finetune").replace("c4", "wikitext-2")
PROBE = "diagnostic: {task: haystack, pairs: 4, batch: 4, tokens: 10k, optimizer: {lr: 1e-3}"


def build(text: str, **settings) -> Plan:
    return plan(load_text(text, "f.yaml", set=settings or None))


def chain(*links: str) -> str:
    return MODEL + "chain:\n" + "".join(f"  - {{{link}}}}}\n" for link in links)


def problems(text: str) -> str:
    with pytest.raises(SpecError) as error:
        load_text(text, "f.yaml")
    return str(error.value)


def last(graph: Plan) -> Init:
    """What the compared phase of the only variant begins with; of the baseline where there is no other."""
    (init,) = inits(graph) or [graph.phases[cell.compared].recipe.init for cell in graph.cells]
    return init


def inits(graph: Plan) -> list[Init]:
    found = [cell.compared for cell in graph.cells if not cell.variant.startswith("baseline")]
    return [graph.phases[compared].recipe.init for compared in found]


def parts(init: Init) -> set[str]:
    return set(init.components)


@pytest.mark.parametrize(
    ("links", "carried"),
    [
        ((SET, TEXT), FULL),
        ((SET, PROBE), FULL),
        ((TEXT, CODE), EVERYTHING),
        ((TEXT, WORDS), FULL),
        ((TEXT, PROBE), FULL),
        ((TEXT, FINE), EVERYTHING),
        ((SET, TEXT, FINE), EVERYTHING),
    ],
)
def test_what_the_last_phase_takes_where_nobody_says(links, carried):
    """A target takes the inner weights of a warm-up; text goes on from text of the same tokens."""
    init = last(build(chain(*links)))
    assert (parts(init), init.embeddings) == (carried, "copy")


def test_a_fine_tuning_goes_on_and_needs_the_vocabulary_of_what_was_before():
    assert "have different vocabularies; name a mode such as full" in problems(chain(SET, FINE))


@pytest.mark.parametrize(
    ("links", "carried"),
    [
        ((SET, SORT), EVERYTHING),
        ((SET, SHORT), EVERYTHING),
        ((SET, LONG), EVERYTHING - {"positions"}),
        ((SET, OTHER), FULL),
        ((ECA, ECA.replace("4,", "8,")), FULL),
    ],
)
def test_a_warm_up_goes_on_where_the_one_before_ended(links, carried):
    """With the same symbols; where it grows, its new positions cannot come from there, and that is no mistake."""
    graph = build(chain(*links, TEXT))
    (second,) = [p for p in graph.phases.values() if p.kind == "procedural" and p.recipe.init.parents()]
    assert parts(second.recipe.init) == carried


def test_positions_that_somebody_asked_for_have_to_be_there():
    asked = chain(SET, "transfer: everything, " + LONG, TEXT)
    assert "positions to give" in problems(asked)
    longer = chain(TEXT + ", model: {context: 32}", FINE)
    assert "has only 32 positions to give" in problems(longer)
    assert parts(last(build(chain(SET, "transfer: full+embeddings, " + TEXT)))) >= FULL


@pytest.mark.parametrize(
    ("mode", "carried", "embeddings"),
    [
        ("attention", {"attention"}, "copy"),
        ("full", FULL, "copy"),
        ("attention+embeddings", {"attention", "embeddings"}, "mean"),
        ("{attention: procedural, embeddings: procedural}", {"attention", "embeddings"}, "mean"),
    ],
)
def test_embeddings_between_different_vocabularies_are_the_mean(mode, carried, embeddings):
    init = last(build(chain(SET, f"transfer: {mode}, {TEXT}")))
    assert (parts(init), init.embeddings) == (carried, embeddings)


@pytest.mark.parametrize("mode", ["everything", "{everything: procedural}"])
def test_everything_copies_row_by_row_and_needs_one_vocabulary(mode):
    assert "different vocabularies" in problems(chain(SET, f"transfer: {mode}, {TEXT}"))
    init = last(build(chain(TEXT, f"transfer: {mode.replace('procedural', 'semantic')}, {CODE}")))
    assert (parts(init), init.embeddings) == (EVERYTHING, "copy")
    # The embeddings alone are the mean also where they could be copied.
    init = last(build(chain(TEXT, f"transfer: embeddings, {CODE}")))
    assert (parts(init), init.embeddings) == ({"embeddings"}, "mean")


def test_an_unknown_mode_is_told_what_everything_is():
    text = problems(MODEL + f"{SET}}}\ntransfer: {{grid: [full, fll]}}\n{TEXT}}}\n")
    assert "'everything' also copies embeddings and positions as they are" in text


# Which phase a name means


def warm(graph: Plan, label: str, seed: int = 0) -> Parent:
    (phase,) = [p for p in graph.phases.values() if p.label == f"{label} s{seed}"]
    return Parent(phase.id, phase.end)


def sweep(procedural: str, transfer: str, more: str = "") -> str:
    return MODEL + (
        f"seeds: [0]\nprocedural: {{{procedural}, batch: 16, optimizer: {{lr: 1e-3}}}}\n"
        f"transfer: {transfer}\n{TEXT}}}\n{more}"
    )


def test_a_weight_that_nobody_gives_is_one_half():
    graph = build(sweep("task: {grid: [set, sort]}, length: 8, tokens: 10k", "{mlp: {interpolate: [set, sort]}}"))
    (share,) = last(graph).shares
    assert (share.part, share.weight) == ("mlp", 0.5)
    assert {share.parent, share.second} == {warm(graph, "set L8"), warm(graph, "sort L8")}
    for pair in ("[st, set]", "[set, st]"):
        text = problems(sweep("task: {grid: [set, sort]}, length: 8, tokens: 10k", f"{{mlp: {{interpolate: {pair}}}}}"))
        assert "no earlier phase is called 'st'; did you mean 'set'? (known: procedural, set, sort)" in text
        assert text.count("f.yaml:") == 1


def test_a_task_that_is_zipped_with_its_length_brings_it_along():
    graph = build(
        sweep(
            "task: {grid: [set, sort]}, length: {grid: [8, 16]}, tokens: 10k",
            "{attention: set, mlp: procedural}",
            "zip: [[task, length]]\n",
        )
    )
    assert [init.components["attention"] for init in inits(graph)] == [warm(graph, "set L8")] * 2
    assert sum(phase.kind == "procedural" for phase in graph.phases.values()) == 2


def test_a_task_that_include_adds_can_be_named():
    graph = build(
        sweep("task: {grid: [set, sort]}, length: 8, tokens: 10k", "{attention: delete}", "include: [{task: delete}]\n")
    )
    assert last(graph) == Init({"attention": warm(graph, "delete L8")})


def test_a_name_that_several_values_of_an_axis_have_is_refused():
    grid = ", ".join(f"{{task: set, length: {n}, batch: 16, tokens: 10k, optimizer: {{lr: 1e-3}}}}" for n in (8, 16))
    text = MODEL + f"procedural: {{grid: [{grid}]}}\ntransfer: {{attention: set}}\n{TEXT}}}\n"
    assert "transfer.attention: 'set' may mean several values of procedural" in problems(text)


def test_procedural_and_a_task_mean_the_last_of_several_warm_ups():
    graph = build(chain(SET, "transfer: none, " + SORT, f"transfer: {{attention: procedural, mlp: set}}, {TEXT}"))
    init = last(graph)
    tasks = {part: graph.phases[init.components[part].phase].recipe.data["task"]["name"] for part in init.components}
    assert tasks == {"attention": "sort", "mlp": "set"}


def test_the_tasks_that_could_be_meant_are_listed():
    text = problems(chain("name: first, " + SET, f"transfer: {{attention: x}}, {TEXT}"))
    assert "no earlier phase is called 'x' (known: first, set)" in text


def test_a_checkpoint_of_a_path_gives_its_parts(tmp_path):
    at = tmp_path / "model"
    at.mkdir()
    save_weights(GPT2(GPT2Config(layers=2, heads=2, width=16, vocab=99, context=64), seed=0), at)
    graph = build(MODEL + f"transfer: {{attention: {{path: {at}}}}}\n{TEXT}}}\n")
    init = last(graph)
    assert parts(init) == {"attention"}
    (parent,) = init.parents()
    assert parent.phase in graph.outside
    heads = problems(MODEL + f"transfer: {{attention: {{path: {at}, heads: 4}}}}\n{TEXT}}}\n")
    assert "heads" in heads


def test_a_composition_needs_a_phase_before_it_where_it_names_none():
    text = problems(MODEL + f"transfer: {{attention: {{layers: 0}}}}\n{TEXT}}}\n")
    assert "transfer.attention: there is no phase before this one to carry weights from" in text
    graph = build(MODEL + f"{SET}}}\ntransfer: {{attention: none, mlp: {{layers: 0}}}}\n{TEXT}}}\n")
    (share,) = last(graph).shares
    assert (share.part, share.layers) == ("mlp", ((0, 0),))
