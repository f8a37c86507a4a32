"""`at:` and `mix:`: procedural data among the text of one phase."""

from __future__ import annotations

import pytest
from chain_texts import HEAD, check
from hypothesis import given, settings
from hypothesis import strategies as st

from procray.errors import SpecError
from procray.planning import plan
from procray.planning.among import Placing
from procray.planning.load import load_text
from procray.training.interleaving import Interleaving

TASK = "{task: set, length: 8, vocab: 20, batch: 16, %s}"
TEXT = "semantic: {corpus: c4, tokenizer: byte, tokens: 102400, batch: 32, optimizer: {lr: 5e-4, schedule: cosine}}\n"
BOTH = "{task: {grid: [set, dyck]}, length: 8, vocab: 20, batch: 16, tokens: 5440, at: 0, "
UPDATE = 16 * 17  # tokens: a sequence and its answer, each with what closes it
STEP = 32 * 32


def build(procedural: str, rest: str = TEXT):
    graph = plan(load_text(f"{HEAD}procedural: {TASK % procedural}\n{rest}", "f.yaml"))
    check(graph)
    return graph


def phases(graph) -> dict[str, Interleaving]:
    """By variant at seed 0, what stands among its text."""
    found = [cell for cell in graph.cells if cell.seed == 0 and cell.fraction is None]
    return {cell.variant: graph.phases[cell.compared].recipe.interleaving for cell in found}


def wrong(procedural: str, rest: str = TEXT, task: str = TASK) -> str:
    with pytest.raises(SpecError) as caught:
        load_text(f"{HEAD}procedural: {task % procedural}\n{rest}", "f.yaml")
    return str(caught.value)


def test_placement_is_an_axis_and_every_place_is_one_phase():
    graph = build("tokens: 5440, at: {grid: [0, 0.25, 0.5]}")
    assert graph.variants == ["baseline", "at0", "at0.25", "at0.5"]
    assert len(graph.phases) == 2 * 4
    assert {phase.kind for phase in graph.phases.values()} == {"semantic"}
    found = phases(graph)
    assert {name: (one.start, one.updates) for name, one in found.items() if one.task} == {
        "at0": (0, 20), "at0.25": (25, 20), "at0.5": (50, 20),
    }  # fmt: skip
    assert found["baseline"] == Interleaving(rows=22)
    assert all(one.rows == 22 for one in found.values())
    assert {graph.phases[cell.compared].vocab for cell in graph.cells} == {257 + 22}
    assert {graph.phases[cell.compared].recipe.role for cell in graph.cells} == {"target/semantic"}
    assert found["at0"].role == "warmup/set", "the batches of a warm-up on that task"


def test_without_a_place_the_warm_up_is_a_phase_of_its_own_as_before():
    graph = build("tokens: 5440, optimizer: {lr: 1e-3}")
    assert {phase.kind for phase in graph.phases.values()} == {"procedural", "semantic"}
    assert all(phase.recipe.interleaving is None for phase in graph.phases.values())
    placed = build("tokens: 5440, at: 0")
    assert not graph.phases.keys() & placed.phases.keys(), "the baseline of one phase has the rows of the symbols"


def test_tokens_of_both_kinds_are_counted_apart():
    graph = build("tokens: 5440, at: {grid: [0, 0.25]}")
    cells = {cell.variant: cell for cell in graph.cells}
    assert {name: cell.t1 for name, cell in cells.items()} == {"baseline": 0, "at0": 5440, "at0.25": 5440}
    for cell in cells.values():
        phase = graph.phases[cell.compared]
        assert phase.nominal[phase.end] == 102400, "T2, the same for all"
        assert phase.procedural_tokens == cell.t1
        assert phase.summary().get("procedural_tokens", 0) == cell.t1
    assert graph.totals["tokens"] == graph.totals["naive_tokens"] == 6 * 102400 + 4 * 5440
    assert graph.totals["t1_tokens"] == graph.totals["naive_t1_tokens"] == 4 * 5440
    base, late = (graph.phases[cells[name].compared] for name in ("baseline", "at0.25"))
    assert late.flops > base.flops


@pytest.mark.parametrize(("decay", "mean"), [("none", 1), ("linear", 0.5), ("cosine", 0.5)])
def test_a_share_without_tokens_lasts_to_the_end_of_the_text(decay, mean):
    one = phases(build(f"at: 0.5, mix: {{share: 0.2, decay: {decay}}}"))[f"set/at0.5/mix0.2-{decay}"]
    assert (one.start, one.span, one.decay) == (50, 50, decay)
    tokens = one.updates * UPDATE
    assert tokens == pytest.approx(0.2 / 0.8 * mean * 50 * STEP, abs=UPDATE)


def test_a_share_with_tokens_ends_when_they_are_spent():
    found = phases(build("tokens: 5440, mix: {share: {grid: [0.1, 0.5, 1]}}"))
    assert {name: one.updates for name, one in found.items() if one.task} == {"mix0.1": 20, "mix0.5": 20, "mix1": 20}
    assert [found[name].span for name in ("mix0.1", "mix0.5", "mix1")] == [48, 6, 1]
    inserted = build("tokens: 5440, at: 0")
    assert found["mix1"] in phases(inserted).values(), "a share of 1 is an insertion"


@given(
    share=st.floats(0.01, 0.95),
    decay=st.sampled_from(["none", "linear", "cosine"]),
    at=st.floats(0, 0.99),
    steps=st.integers(2, 2000),
    asked=st.one_of(st.none(), st.integers(1, 10**6)),
)
@settings(max_examples=300, deadline=None)
def test_data_have_room_or_it_is_told_and_shares_are_kept(share, decay, at, steps, asked):
    placing = Placing(
        Interleaving(9, {}, "", 1, 1, decay=decay, sequences=1), at, share, asked, 272.0, 1.0, frozenset()
    )
    found = placing.among(steps, 1024.0)
    if isinstance(found, str):
        assert "no room" in found or "less than one update" in found
        return
    assert 0 <= found.start < found.start + found.span <= steps
    assert found.due(steps - 1) == found.updates
    text, data = found.span * 1024, found.updates * 272
    assert data / text == pytest.approx(placing.ratio, abs=(272 + 1024 * placing.ratio) / text)
    if asked is not None:
        assert asked <= data < asked + 272


def test_one_baseline_has_the_rows_of_the_largest_vocabulary():
    text = f"{HEAD}procedural: {BOTH}k: 40}}\n"
    graph = plan(load_text(text + TEXT, "f.yaml"))
    check(graph)
    assert graph.variants == ["baseline", "set", "dyck"]
    assert {phase.vocab for phase in graph.phases.values()} == {257 + 2 * 40 + 1}
    longer = plan(load_text(text.replace("k: 40", "k: {grid: [4, 40]}") + TEXT, "f.yaml"))
    assert graph.phases.keys() < longer.phases.keys(), "another value of the grid, no larger, moves nothing"


def test_parameters_that_a_task_does_not_have_make_no_variants_of_it():
    text = f"{HEAD}procedural: {BOTH}k: {{grid: [2, 4]}}}}\n"
    assert plan(load_text(text + TEXT, "f.yaml")).variants == ["baseline", "set", "dyck/k2", "dyck/k4"]


def test_controls_stand_where_the_data_stand():
    graph = build("tokens: 5440, at: {grid: [0, 0.5]}", "controls: [shuffled, more_semantic]\n" + TEXT)
    assert graph.controls == {
        name: {"shuffled": f"{name}/shuffled", "more_semantic": "at0/more_semantic"} for name in ("at0", "at0.5")
    }
    found = phases(graph)
    for name in ("at0", "at0.5"):
        own, other = found[name], found[f"{name}/shuffled"]
        assert (own.start, own.updates, own.batch) == (other.start, other.updates, other.batch)
        assert other.task == {"shuffled": own.task}
    cells = {cell.variant: cell for cell in graph.cells}
    more = graph.phases[cells["at0/more_semantic"].compared]
    assert more.recipe.interleaving == Interleaving(22)
    assert more.nominal[more.end] == 102400 + 6 * STEP, "the procedural tokens in text, in whole steps"


def test_matched_reruns_keep_the_place_in_the_whole():
    graph = build("tokens: 5440, at: 0.5", "matched: [0.5]\n" + TEXT)
    cells = {(cell.variant, cell.fraction): cell for cell in graph.cells if cell.seed == 0}
    rerun = graph.phases[cells["set/at0.5", 0.5].compared].recipe
    assert (rerun.steps, rerun.interleaving.start, rerun.interleaving.updates) == (50, 25, 20)
    constant = build("tokens: 5440, at: 0.5", "matched: [0.5]\n" + TEXT.replace("cosine", "constant"))
    cells = {(cell.variant, cell.fraction): cell for cell in constant.cells if cell.seed == 0}
    assert cells["set/at0.5", 0.5].compared != cells["set/at0.5", None].compared, "no beginning of the whole run"
    assert cells["baseline", 0.5].compared == cells["baseline", None].compared


def test_a_fine_tuning_after_it_has_the_rows_too():
    tune = "finetune: {corpus: codeparrot, tokenizer: byte, tokens: 20480, batch: 32, optimizer: {lr: 1e-4}}\n"
    graph = build("tokens: 5440, at: 0.5", TEXT + tune)
    cells = [cell for cell in graph.cells if cell.seed == 0]
    assert [cell.t1 for cell in cells] == [0, 5440]
    for cell in cells:
        last = graph.phases[cell.compared]
        assert last.recipe.interleaving == Interleaving(22)
        assert last.recipe.init.embeddings == "copy"
        assert set(last.recipe.init.components) >= {"embeddings", "attention"}
    assert len({cell.compared for cell in cells}) == 2


def test_several_targets_and_chains_have_places_too():
    targets = f"targets:\n- {{name: a, {TEXT.rstrip()}}}\n- {{name: b, {TEXT.replace('c4', 'codeparrot').rstrip()}}}\n"
    assert build("tokens: 5440, at: {grid: [0, 0.5]}", targets).variants == [
        "a/baseline", "a/at0", "a/at0.5", "b/baseline", "b/at0", "b/at0.5",
    ]  # fmt: skip
    chain = f"chain:\n- procedural: {TASK % 'tokens: 5440, at: 0.5'}\n- {TEXT}"
    graph = plan(load_text(HEAD + chain, "f.yaml"))
    check(graph)
    assert graph.variants == ["baseline", "set/at0.5"]


def test_a_search_tries_the_same_for_both_arms():
    text = TEXT.replace("5e-4", "{grid: [1e-3, 5e-4]}") + "select: {axes: [lr], seeds: [7]}\n"
    graph = build("tokens: 5440, at: {grid: [0, 0.5]}", text)
    assert [(trial.variant, trial.label) for trial in graph.trials] == [
        (name, label) for name in ("baseline", "at0", "at0.5") for label in ("lr1e-3", "lr5e-4")
    ]


# What cannot be


@pytest.mark.parametrize(
    ("procedural", "rest", "said"),
    [
        ("tokens: 5k, at: 1", TEXT, "procedural.at: must be below 1"),
        ("tokens: 5k, at: -0.5", TEXT, "procedural.at: must be at least 0"),
        ("tokens: 5k, mix: {share: 0}", TEXT, "procedural.mix.share: must be above 0"),
        ("tokens: 5k, mix: {share: 1.5}", TEXT, "procedural.mix.share: must be at most 1"),
        ("tokens: 5k, mix: {}", TEXT, "procedural.mix: missing key 'share'"),
        ("tokens: 5k, mix: {share: 0.1, decay: wsd}", TEXT, "procedural.mix.decay: expected 'none', 'linear'"),
        ("tokens: 5k, mix: {share: 1, decay: linear}", TEXT, "procedural.mix.decay: a share of 1 leaves no text"),
        ("at: 0.5", TEXT, "procedural: missing key 'tokens'"),
        ("mix: {share: 1}", TEXT, "procedural: missing key 'tokens': a share of 1"),
        ("tokens: 50k, mix: {share: 0.1}", TEXT, "50k procedural tokens have no room: at this share 11377 fit among"),
        ("mix: {share: 0.001}", TEXT, "procedural.mix.share: of 100Ki tokens of text such a share is less than one"),
        ("tokens: 100, at: 0", TEXT, "100 tokens are less than one update (16 sequences x 17 tokens = 272)"),
        (
            "tokens: 5k, at: 0, optimizer: {lr: 1e-3}",
            TEXT,
            "beside procedural.at the data have the optimizer of the text",
        ),
        ("tokens: 5k, at: 0, model: {layers: 3}", TEXT, "beside procedural.at the data have the model of the text"),
        ("tokens: 5k, at: 0, resources: {workers: 2}", TEXT, "the data have the resources of the text"),
        ("tokens: 5k, at: 0, evaluate: {every: 1k}", TEXT, "procedural.evaluate.every: beside procedural.at only"),
        ("tokens: 5k, at: 0, evaluate: {solved: {accuracy: 1}}", TEXT, "procedural.evaluate.solved: beside"),
        ("tokens: 5k, at: 0", TEXT + "transfer: full\n", "transfer: beside procedural.at no weights are carried"),
        ("tokens: 5k, at: 0", TEXT + "freeze: [mlp]\n", "freeze: beside procedural.at no weights are carried"),
        ("tokens: 5k, at: 0", TEXT + "donors: [7]\n", "donors: beside procedural.at no warm-up has a seed"),
        ("tokens: 5k, at: 0", TEXT + "controls: [text]\n", "controls: text: beside procedural.at text in place"),
        ("tokens: 5k, at: 0", TEXT + "controls: [random]\n", "controls: random: beside procedural.at no weights"),
        (
            "tokens: 5k, at: 0",
            TEXT.replace("batch: 32", "batch: 32, resources: {workers: 20}"),
            "procedural.batch: a batch of 16 is too",
        ),
        ("tokens: 50k, mix: {share: 0.4}", TEXT + "matched: [0.2]\n", "matched: 0.2 of the budget: 50k procedural"),
        (
            "tokens: 5k, at: 0",
            "diagnostic: {task: haystack, pairs: 4, batch: 8, tokens: 10k, optimizer: {lr: 1e-3}}\n",
            "a diagnostic has no text",
        ),
    ],
)  # fmt: skip
def test_what_cannot_stand_among_text_is_told_at_its_line(procedural, rest, said):
    assert said in wrong(procedural, rest)


@pytest.mark.parametrize(
    ("task", "said"),
    [
        (
            "{task: set, length: 40, batch: 16, %s}",
            "procedural.length: set needs 81 positions, more than the context of 32",
        ),
        ("{task: {text: c4}, batch: 16, %s}", "procedural.task: text cannot be placed among text"),
        ("{task: eca, form: rows, width: 8, length: 8, rule: 110, batch: 16, %s}", "has rows of cells and no tokens"),
        (
            "{task: identity, length: {start: 1, step: 1, mastery: 0.9, max: 6}, batch: 16, %s}",
            "lengths that grow with mastery",
        ),
        ("{task: nope, length: 8, batch: 16, %s}", "there is no task 'nope'"),
    ],
)  # fmt: skip
def test_tasks_that_cannot_stand_among_text_are_told(task, said):
    found = wrong("tokens: 5k, at: 0.5", task=task)
    assert said in found
    assert found.count("f.yaml:") == 1


def test_a_place_is_of_procedural_data_and_of_one_task_a_chain():
    assert "unknown key 'at'" in wrong("tokens: 5k, at: 0", TEXT.replace("batch: 32", "batch: 32, at: 0.5"))
    warm = TASK % "tokens: 5k, optimizer: {lr: 1e-3}"
    chain = f"chain:\n- procedural: {warm}\n- procedural: {TASK % 'tokens: 5k, at: 0.5'}\n- {TEXT}"
    with pytest.raises(SpecError, match="no other phase of the chain can be procedural"):
        load_text(HEAD + chain, "f.yaml")
    with pytest.raises(SpecError, match="a semantic phase must come next"):
        load_text(f"{HEAD}chain:\n- {TEXT}- procedural: {TASK % 'tokens: 5k, at: 0.5'}\n", "f.yaml")
