"""`controls:` adds to every warmed-up variant the controls that a reviewer asks for, as if they had been written."""

from __future__ import annotations

import textwrap

import chain_texts
import pytest
from chain_texts import DIAGNOSTIC, HEAD, TEXT, WARM, links, step

from procray.errors import SpecError
from procray.planning.controlled import share_of_controls
from procray.planning.load import load_text
from procray.planning.notes import notes
from procray.planning.plan import Plan
from procray.planning.planner import plan

ALL = "controls: [shuffled, text, random, more_semantic]\n"
ONE = "procedural: {task: union, length: 8, batch: 16, tokens: {grid: [10k, 20k]}, optimizer: {lr: 1e-3}}\n"


def build(text: str, **settings) -> Plan:
    graph = chain_texts.build(text, **settings)
    check(graph)
    return graph


def check(graph: Plan) -> None:
    """What holds of every plan, and that every control is of this one."""
    chain_texts.check(graph)
    if graph.then is None:
        assert graph.controls.keys() <= set(graph.variants)
    kinds = {one.variant: one.control for one in (*graph.cells, *graph.trials)}
    for variant, controls in graph.controls.items():
        assert not kinds.get(variant)
        assert variant not in controls.values()
        assert all(kinds.get(name, kind) in ("", kind) for kind, name in controls.items())
    named = {name for controls in graph.controls.values() for name in controls.values()}
    assert {variant for variant, kind in kinds.items() if kind} <= named


def ends(graph: Plan, variant: str) -> list[tuple[str, int]]:
    return [(cell.compared, cell.step) for cell in graph.cells if cell.variant == variant and cell.fraction is None]


def test_every_variant_has_every_control_once():
    graph = build(ALL + WARM + TEXT)
    assert graph.variants[:4] == ["baseline", "union", "set", "sort"]
    assert graph.controls["union"] == {
        kind: f"union/{kind}" for kind in ("shuffled", "text", "random", "more_semantic")
    }
    assert graph.controls["set"]["shuffled"] == "set/shuffled"
    assert graph.controls["set"]["more_semantic"] == "union/more_semantic"  # as many tokens, so the same runs
    cells = {cell.variant: cell for cell in graph.cells}
    assert {name: cells[name].control for name in graph.controls["union"].values()} == {
        f"union/{kind}": kind for kind in graph.controls["union"]
    }
    assert all(cell.baseline == "baseline" and not cell.is_baseline for cell in graph.cells if cell.control)
    assert cells["union/random"].axes == {"procedural.task": "union", "controls": "random"}


def test_without_the_word_nothing_else_changes():
    plain, controlled = build(WARM + TEXT), build(ALL + WARM + TEXT)
    assert plain.controls == {}
    assert share_of_controls(plain) is None
    assert build("controls: []\n" + WARM + TEXT).phases == plain.phases
    assert [cell for cell in controlled.cells if not cell.control] == plain.cells
    for id, phase in plain.phases.items():
        assert controlled.phases[id].recipe == phase.recipe
        assert controlled.phases[id].label == phase.label


def test_a_control_is_the_phase_that_one_would_write():
    """By hand: the task shuffled, text in its place, and the carried weights made random."""
    model = HEAD.replace("context: 32", "context: 72") + "transfer: {grid: [full, attention]}\n" + TEXT
    warm = "procedural: {task: union, length: 8, batch: 16, tokens: 10k, optimizer: {lr: 1e-3}}\n"
    made = plan(load_text(model + ALL + warm, "f.yaml"))
    hand = plan(
        load_text(
            model
            + warm.replace("union", "{grid: [union, {shuffled: union}, {text: {corpus: c4, tokenizer: byte}}]}")
            + "perturb: {grid: [none, {random: norm_matched}]}\n",
            "f.yaml",
        )
    )
    for mode in ("full", "attention"):
        assert ends(made, f"{mode}/shuffled") == ends(hand, f"{mode}/shuffled-union/intact")
        assert ends(made, f"{mode}/text") == ends(hand, f"{mode}/text-c4-byte/intact")
        assert ends(made, f"{mode}/random") == ends(hand, f"{mode}/union/random")
    shared = [phase for id, phase in made.phases.items() if id in hand.phases and phase.kind == "procedural"]
    assert [phase.label for phase in shared if phase.recipe.seed == 0] == [
        "union L8 s0",
        "shuffled-union L8 s0",
        "text-c4-byte 4x72 s0",
    ]


@pytest.mark.parametrize("schedule", ["cosine", "constant"])
def test_more_semantic_tokens_are_those_of_the_warm_up_and_the_target(schedule):
    graph = build(ALL + ONE + TEXT.replace("cosine", schedule))
    per_step = 8 * 32
    for budget in (10_000, 20_000):
        variant = f"{budget // 1000}k"
        cells = [cell for cell in graph.cells if cell.variant == f"{variant}/more_semantic"]
        base = ends(graph, "baseline")
        for cell, (phase, _) in zip(cells, base, strict=True):
            planned = graph.phases[cell.compared]
            assert cell.step == -(-(100_000 + budget) // per_step)
            assert (cell.t1, cell.warmups, planned.recipe.init.parents()) == (0, [], [])
            assert planned.recipe.role == "target/semantic"
            if schedule == "constant":  # the baseline, trained on
                assert (cell.compared, planned.label) == (phase, f"baseline s{cell.seed}")
                assert cell.step in planned.marks
            else:  # a schedule of its own
                assert planned.label == f"more_semantic-{variant} s{cell.seed}"
                assert planned.recipe.steps == cell.step


def test_text_has_as_many_tokens_in_as_many_steps_as_the_warm_up_that_it_stands_for():
    warm = WARM.replace("length: 8", "length: {grid: [8, 16]}").replace("[union, set, sort]", "[union]")
    graph = build(ALL + warm + TEXT, **{"model.context": 18})
    for length in (8, 16):
        (name,) = {cell.variant for cell in graph.cells if cell.variant.endswith(f"L{length}/text")}
        real = next(cell for cell in graph.cells if cell.variant == name.removesuffix("/text"))
        text = next(cell for cell in graph.cells if cell.variant == name)
        one, other = (graph.phases[cell.warmups[0].phase] for cell in (real, text))
        assert other.label == f"text-c4-byte {other.recipe.batch}x18 s0"
        assert abs(other.tokens_per_step - one.tokens_per_step) <= 18
        assert abs(text.t1 - real.t1) <= other.tokens_per_step


def test_each_target_has_text_of_its_own_corpus_and_settings():
    tails = """\
    targets:
      - {name: web, semantic: {corpus: c4, tokenizer: byte, tokens: 10k, batch: 8, optimizer: {lr: 5e-4}}}
      - name: wiki
        model: {context: 64}
        semantic:
          {corpus: {grid: [wikitext-103, c4]}, tokenizer: gpt2, tokens: 10k, batch: 8, optimizer: {lr: 5e-4}}
    """
    graph = build("controls: [text]\n" + WARM + textwrap.dedent(tails))

    def corpora(variant: str) -> set[tuple[str, str]]:
        found = set()
        for cell in graph.cells:
            if cell.variant == variant:
                phases = [graph.phases[cell.warmups[0].phase], graph.phases[cell.compared]]
                assert phases[0].recipe.data == phases[1].recipe.data
                assert phases[0].recipe.model.context == phases[1].recipe.model.context
                found.add((phases[0].recipe.data["corpus"]["name"], phases[0].recipe.data["tokenizer"]["kind"]))
        return found

    assert corpora("web/union/text") == {("allenai/c4", "byte")}
    assert {name for name, _ in corpora("wiki/union/wikitext-103/text")} == {"Salesforce/wikitext"}
    assert {name for name, _ in corpora("wiki/union/c4/text")} == {"allenai/c4"}


def test_compositions_and_chains_are_controlled_in_every_part():
    pairs = "transfer: {attention: union, mlp: {grid: [union, set]}}\nexclude: [{task: [set, sort]}]\n"
    graph = build(ALL + WARM + pairs + TEXT)

    def warm(variant: str) -> list[dict]:
        cell = next(cell for cell in graph.cells if cell.variant == variant)
        return [graph.phases[mark.phase].recipe.to_json() for mark in cell.warmups]

    assert [one["data"]["task"]["shuffled"]["name"] for one in warm("mlp=set/shuffled")] == ["union", "set"]
    assert [one["role"] for one in warm("mlp=set/text")] == ["warmup/text", "warmup/text#1"]
    assert len(warm("mlp=union/text")) == 1
    chained = build(ALL + links(step("first", "union"), step("second", "set")))
    kinds = {cell.variant: cell for cell in chained.cells}
    assert len(kinds) == 6
    shuffled = kinds["union/full/shuffled"]
    assert {chained.phases[mark.phase].recipe.role for mark in shuffled.warmups} == {
        "warmup/shuffled-union",
        "warmup/shuffled-set",
    }
    more = kinds["union/full/more_semantic"]
    assert chained.phases[more.compared].nominal[more.step] >= 100_000 + 2 * 10_000


def test_random_weights_take_the_place_of_what_the_warm_up_gave_and_of_nothing_else():
    """A fine-tuning begins with all of the semantic phase, as it does in the variant."""
    tail = (
        "finetune: {corpus: c4, tokenizer: byte, tokens: 50k, batch: 8, optimizer: {lr: 1e-4}, perturb: {noise: 0.1}}\n"
    )
    graph = build("controls: [random]\n" + ONE + "perturb: {noise: 0.2}\n" + TEXT + tail)
    cell = next(cell for cell in graph.cells if cell.control)
    first, last = (graph.phases[mark.phase].recipe.init.perturb for mark in cell.stages)
    assert (first.kind, first.components) == ("random", ())
    assert (last.kind, last.sigma) == ("noise", 0.1)
    assert graph.phases[cell.stages[0].phase].label == "10k/random/semantic s0"


def test_what_has_no_warm_up_has_no_controls():
    graph = build(ALL + WARM + "transfer: {grid: [full, none]}\nfreeze: attention\n" + TEXT)
    assert set(graph.controls) == {"union/full", "set/full", "sort/full"}
    assert not any("none" in name for name in graph.variants if "/" in name)


def test_variants_whose_controls_are_alike_share_them_without_a_word():
    """Random weights have the norms of what was carried, whatever else is done to it otherwise."""
    grid = "perturb: {grid: [none, {noise: 0.1}]}\nexclude: [{task: [set, sort]}]\n"
    graph = build("controls: [random, shuffled]\n" + WARM + grid + TEXT)
    assert graph.controls == {
        "union/intact": {"random": "union/intact/random", "shuffled": "union/intact/shuffled"},
        "union/noise0.1": {"random": "union/intact/random", "shuffled": "union/noise0.1/shuffled"},
    }
    assert graph.same == {"union/noise0.1/random": "union/intact/random"}
    assert next(cell.axes for cell in graph.cells if cell.control == "random") == {
        "procedural.task": "union", "controls": "random"
    }  # fmt: skip
    assert notes(graph) == []


def test_controls_go_with_every_donor_and_have_no_reruns():
    graph = build("donors: [5, 6, 7]\nmatched: [0.5]\n" + ALL + ONE + TEXT)
    for kind in ("shuffled", "text", "random"):
        cells = [(cell.seed, cell.donor) for cell in graph.cells if cell.variant == f"10k/{kind}"]
        assert cells == [(seed, donor) for seed in (0, 1) for donor in (5, 6, 7)]
    more = [(cell.seed, cell.donor) for cell in graph.cells if cell.variant == "10k/more_semantic"]
    assert more == [(0, None), (1, None)]
    assert {cell.control for cell in graph.cells if cell.fraction is not None} == {""}


def test_controls_are_tuned_as_their_variants_are():
    text = "controls: [shuffled, {text: python-stdlib}, random, more_semantic]\n" + ONE + DIAGNOSTIC
    search = build(text + "select: {axes: [diagnostic.optimizer.lr], seeds: [100]}\n")
    tried: dict[str, list[str]] = {}
    for trial in search.trials:
        tried.setdefault(trial.variant, []).append(trial.label)
    assert tried.keys() >= {"baseline", "10k", *search.controls["10k"].values(), *search.controls["20k"].values()}
    assert set(map(tuple, tried.values())) == {("lr1e-3", "lr3e-3")}
    assert search.then is not None
    choices = {trial.variant: trial.setting for trial in search.trials if trial.label == "lr1e-3"}
    choices["10k/random"] = {"diagnostic.optimizer.lr": 3e-3}
    whole = search.then(choices)
    check(whole)
    assert whole.controls == search.controls
    rates = {cell.variant: whole.phases[cell.compared].recipe.optimizer.lr for cell in whole.cells}
    assert rates.pop("10k/random") == 3e-3
    assert set(rates.values()) == {1e-3}


def test_a_target_without_a_search_has_no_controls_in_it_yet():
    tails = f"targets:\n  - {{name: baseline-1, {TEXT.rstrip()}}}\n  - {{name: b, {DIAGNOSTIC.rstrip()}}}\n"
    words = "controls: [{text: python-stdlib}, random, more_semantic]\n"
    search = build(words + ONE + tails + "select: {axes: [b.diagnostic.optimizer.lr], seeds: [100]}\n")
    assert {phase.recipe.seed for phase in search.phases.values()} == {100}
    assert {trial.target for trial in search.trials} == {"b"}
    assert search.then is not None
    whole = search.then({trial.variant: trial.setting for trial in search.trials})
    check(whole)
    assert whole.controls["baseline-1/10k"]["random"] == "baseline-1/10k/random"
    assert "baseline-1/more_semantic-10k s0" in {phase.label for phase in whole.phases.values()}


def test_excluded_cells_have_no_controls():
    graph = build("exclude: [{task: [union, sort]}]\n" + ALL + WARM + TEXT)
    assert set(graph.controls) == {"set"}


def test_more_semantic_tokens_are_a_baseline_of_that_many():
    made, longer = build(ALL + ONE + TEXT), build(TEXT.replace("tokens: 100k", "tokens: 110k"))
    assert ends(made, "10k/more_semantic") == ends(longer, "baseline")


@pytest.mark.parametrize("schedule", ["cosine", "constant"])
def test_what_controls_cost_is_what_the_plan_without_them_lacks(schedule):
    tail = TEXT.replace("cosine", schedule)
    plain, controlled = build(ONE + tail), build(ALL + ONE + tail)
    share = share_of_controls(controlled)
    assert share is not None
    assert share.phases == controlled.totals["phases"] - plain.totals["phases"]
    assert share.tokens == controlled.totals["tokens"] - plain.totals["tokens"]
    assert share.without == {phase.id: phase.end for phase in plain.phases.values()}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("controls: shuffled\n", "f.yaml:4:11: controls: expected a list of controls, such as [shuffled, text, "),
        ("controls: [shufled]\n", "f.yaml:4:12: controls.0: no control 'shufled'; did you mean 'shuffled'?"),
        ("controls: [text, {text: c4}]\n", "f.yaml:4:18: controls.1: 'text' stands here twice"),
        ("controls: [{random: norm_matched}]\n", "controls.0: 'random' stands alone; only text says more"),
        ("controls: [{text: {corpus: c4, tokeniser: byte}}]\n", "controls.0.text.tokeniser: unknown key 'tokeniser'"),
        ("controls: [{text: c5}]\n", "controls.0: text: procedural.task.text: "),
        ("controls: {grid: [[text]]}\n", "f.yaml:4:12: controls: a grid cannot stand here"),
        ("control: [text]\n", "did you mean 'controls'?"),
    ],
)
def test_what_is_wrong_with_the_word_is_told_with_its_place(text, message):
    with pytest.raises(SpecError) as error:
        load_text(HEAD + text + WARM + TEXT, "f.yaml")
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "controls: [text]\n" + WARM + DIAGNOSTIC,
            "f.yaml:4:12: controls.0: text: the target is a diagnostic, which has no text; name a corpus: {text: CO",
        ),
        (
            "controls: [text]\n"
            + WARM
            + f"targets:\n  - {{name: a, {TEXT.rstrip()}}}\n  - {{name: b, {DIAGNOSTIC.rstrip()}}}\n",
            "controls.0: text: the target 'b' is a diagnostic",
        ),
        (
            "controls: [random, shuffled]\n" + WARM.replace("set,", "{shuffled: set},") + TEXT,
            "f.yaml:4:20: controls.1: shuffled: procedural trains on {shuffled: 'set'}, which is shuffled already",
        ),
        (
            "controls: [shuffled]\n" + WARM.replace("set,", "{text: c4},") + TEXT,
            "controls.0: shuffled: procedural trains on {text: {corpus: 'c4'}}, which is no task that",
        ),
        ("controls: [text]\n" + WARM.replace("set,", "{text: c4},") + TEXT, "which is this control; leave it out"),
        (
            "controls: [shuffled]\n" + ONE.replace("union", "{shuffled: union}") + TEXT,
            "trains on {shuffled: 'union'}, which is shuffled already; write 'union', and this control shuffles it",
        ),
        (
            "controls: [text]\n" + ONE.replace("union", "{text: c4}") + TEXT,
            "which is this control; write the task of which it is the control",
        ),
        (
            "controls: [shuffled]\n" + ONE.replace("union", "{text: c4}") + TEXT,
            "no task that could be shuffled; write a task, or leave shuffled out of controls",
        ),
        (
            "controls: [random]\nperturb: {random: norm_matched}\n" + ONE + TEXT,
            "which is this control; leave perturb out, and this control does it",
        ),
        (
            "controls: [random]\nperturb: {grid: [none, {random: norm_matched}]}\n" + WARM + TEXT,
            "controls.0: random: a variant begins with {random: 'norm_matched'}, which is this control; leave it out",
        ),
        (
            "compare: semantic\ncontrols: [random]\n"
            + links(step("warm", "set")).replace("chain:\n", f"chain:\n  - {{{TEXT.rstrip()}}}\n").rpartition("  - ")[0]
            + f"  - {{{DIAGNOSTIC.rstrip()}}}\n",
            "f.yaml:5:12: controls.0: random: the compared phase does not come after the warm-ups",
        ),
        ("controls: [text]\n" + TEXT, "f.yaml:4:1: controls: of warmed-up variants, and this file has no warm-up"),
    ],
)  # fmt: skip
def test_what_cannot_be_controlled_is_told_before_anything_trains(text, message):
    with pytest.raises(SpecError) as error:
        load_text(HEAD + text, "f.yaml")
    assert message in str(error.value)


def test_text_before_a_diagnostic_needs_a_context_and_may_have_one_of_its_own():
    text = HEAD.replace(", context: 32", "") + "controls: [{text: python-stdlib}]\n" + WARM + DIAGNOSTIC
    with pytest.raises(
        SpecError, match=r"f.yaml:4:12: controls.0: text: model: missing key 'context', which procedural"
    ):
        load_text(text, "f.yaml")
    graph = plan(load_text(text.replace("python-stdlib", "{corpus: python-stdlib, context: 24, batch: 3}"), "f.yaml"))
    assert "text-python-stdlib-batch3-context24 3x24 s0" in {phase.label for phase in graph.phases.values()}


def test_all_problems_of_the_controls_are_told_at_once():
    text = HEAD + "controls: [shuffled, text]\n" + WARM.replace("set,", "{shuffled: set},") + DIAGNOSTIC
    with pytest.raises(SpecError) as error:
        load_text(text, "f.yaml")
    assert len(error.value.problems) == 2


def test_the_order_of_controls_names_nothing():
    text = HEAD + "controls: [shuffled, text]\n" + WARM + TEXT
    assert load_text(text, "f.yaml", set={"controls": ["text", "shuffled"]}).settings == ""
    assert load_text(text, "f.yaml", set={"controls": ["text"]}).settings == "controls=text"
    assert load_text(text, "f.yaml", set={"controls": []}).settings.startswith("controls=")


def test_too_many_cells_are_counted_with_their_controls():
    donors = f"donors: {[*range(500)]}\n"
    text = (HEAD + donors + WARM + TEXT).replace("seeds: [0, 1]", f"seeds: {[*range(500)]}")
    assert load_text(text, "f.yaml")
    with pytest.raises(SpecError, match="the grid spans 3,750,000 cells"):
        load_text(text + ALL, "f.yaml")


HEADS = "transfer: {grid: [full, {attention: {heads: {0: [1], 1: [0]}}}]}\n"


def test_named_heads_have_as_many_others_beside_them():
    graph = build("controls: [random_heads]\n" + ONE.replace("{grid: [10k, 20k]}", "10k") + HEADS + TEXT)
    (named,) = graph.controls
    assert named.startswith("attention")
    control = graph.controls[named]["random_heads"]
    assert graph.variants == ["baseline", "full", named, control]
    for own, other in zip(*([c for c in graph.cells if c.variant == name] for name in (named, control)), strict=True):
        assert own.warmups == other.warmups, "the very warm-ups"
        mine, drawn = (graph.phases[cell.compared].recipe.init.every_share() for cell in (own, other))
        assert [share.heads for share in mine] == [((0, (1,)), (1, (0,)))]
        assert [share.heads for share in drawn] == [((0, (0,)), (1, (1,)))], "of two heads the other one"
    assert not [note for note in notes(graph) if "random_heads" in note]
    share = share_of_controls(graph)
    assert share is not None
    assert share.phases == 2, "one a seed, and no warm-up more"


def test_random_heads_written_and_added_are_one_phase():
    heads = "{attention: {%s: {0: [1]}}}"
    added = build(ONE + TEXT + f"controls: [random_heads]\ntransfer: {heads % 'heads'}\n", **{"model.heads": 4})
    written = build(ONE + TEXT + f"transfer: {heads % 'random_heads'}\n", **{"model.heads": 4})
    found = {cell.compared for cell in added.cells if cell.control}
    assert found == {cell.compared for cell in written.cells if cell.warmups}


@pytest.mark.parametrize(
    ("transfer", "message"),
    [
        ("full", "random_heads: no transfer here names heads of a warm-up, as {attention: {heads: {0: [1, 3]}}} does"),
        (
            "{attention: {random_heads: {0: [1]}}}",
            "random_heads: a variant carries random_heads, which is this control",
        ),
        (
            "{attention: {heads: {0: [0, 1]}}}",
            "random_heads: transfer.attention.heads: layer 0 has 2 heads, so there are no others to draw",
        ),
    ],
)
def test_heads_that_cannot_be_drawn_are_told_at_the_control(transfer, message):
    with pytest.raises(SpecError) as caught:
        load_text(HEAD + ONE + f"transfer: {transfer}\n" + TEXT + "controls: [random_heads]\n", "f.yaml")
    assert message in str(caught.value)
    assert len(caught.value.problems) == 1
