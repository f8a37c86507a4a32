"""Names in `published:` that mean nothing are told when the file is read."""

import pytest

from procray.errors import SpecError
from procray.planning.load import load_text

FILE = """name: x
seeds: [0, 1]
model: {layers: 1, heads: 1, width: 8, context: 64}
procedural: {task: {grid: [identity, set]}, length: 8, batch: 16, tokens: 20k, optimizer: {lr: 1e-3}}
transfer: {grid: [full, attention]}
targets:
  - {name: find, diagnostic: {task: haystack, pairs: 4, tokens: 40k, batch: 100, optimizer: {lr: 1e-3}}}
  - {name: more, diagnostic: {task: haystack, pairs: 5, tokens: 40k, batch: 100, optimizer: {lr: 1e-3}}}
"""
ENTRY = "value: 60 %, tolerance: 5 %, baseline: 30 %, quantity: accuracy, source: a paper, strength: one seed"


def published(*entries: str, indent: str = "") -> str:
    return f"{indent}published:\n" + "".join(f"{indent}  - {{{entry}, {ENTRY}}}\n" for entry in entries)


def problems(text: str, **more) -> list[str]:
    with pytest.raises(SpecError) as caught:
        load_text(text, "x.yaml", **more)
    assert caught.value.exit_code == 2
    return [f"{one.line}:{one.column}: {one.message}" for one in caught.value.problems]


def test_every_name_that_means_nothing_is_told_at_once():
    text = FILE + published(
        "target: fnid", "target: find, variant: sett/full", 'variant: "sett/*"', "target: more, variant: find/set/full",
        "target: find, variant: baselin",
    )  # fmt: skip
    names = "(variants: baseline, identity/full, identity/attention, set/full, set/attention"
    assert problems(text) == [
        "10:14: published.0.target: no target 'fnid'; did you mean 'find'? (targets: find, more)",
        f"11:29: published.1.variant: no variant 'sett/full'; did you mean 'set/full'? {names})",
        f"12:15: published.2.variant: no variant fits 'sett/*'; did you mean 'set/full'? {names})",
        f"13:29: published.3.variant: no variant 'find/set/full'; did you mean 'set/full'? {names})",
        f"14:29: published.4.variant: no variant 'baselin'; did you mean 'baseline'? {names})",
    ]


def test_names_that_mean_something_are_none_of_its_business():
    text = FILE + "controls: [shuffled]\n" + published(
        "target: find", "variant: find/set/full", 'target: more, variant: "set/*"', "variant: baseline",
        'variant: "*/full/shuffled"', "target: haystack, variant: set/attention",
    )  # fmt: skip
    assert len(load_text(text, "x.yaml").published) == 6


def test_what_one_scale_has_need_not_be_in_another():
    text = FILE + published('variant: "set/*"') + "scales:\n  small: {procedural: {task: identity}}\n  large: {}\n"
    assert load_text(text, "x.yaml").scale == "small"
    none = text.replace("large: {}", "large: {procedural: {task: sort}}")
    (told,) = problems(none)
    assert told.startswith("10:15: published.0.variant: no variant fits 'set/*'")
    own = FILE + "scales:\n  small: {}\n  large:\n" + published("variant: sett/full", indent="    ")
    assert problems(own)[0].startswith("13:19: published.0.variant: no variant 'sett/full'; did you mean 'set/full'?")


def test_what_set_takes_away_is_no_mistake_and_what_it_gives_may_be():
    text = FILE + published('variant: "set/*"')
    assert load_text(text, "x.yaml", set={"procedural.task": "identity"}).axes
    entry = {"value": 0.6, "tolerance": 0.05, "baseline": 0.3, "quantity": "accuracy", "source": "a", "strength": "b"}
    (told,) = problems(FILE, set={"published": [{**entry, "variant": "sett/full"}]})
    assert "published.0.variant: no variant 'sett/full'; did you mean 'set/full'?" in told
    (told,) = problems(text.replace("set/*", "sett/*"), set={"seeds": [3]})
    assert "no variant fits 'sett/*'" in told


def test_variants_whose_settings_are_searched_have_names_too():
    text = FILE.replace("pairs: 4, tokens: 40k, batch: 100, optimizer: {lr: 1e-3}",
                        "pairs: 4, tokens: 40k, batch: 100, optimizer: {lr: {grid: [1e-3, 1e-2]}}")  # fmt: skip
    text += "select: {axes: [targets.find.diagnostic.optimizer.lr], seeds: [100, 101]}\n"
    assert load_text(text + published("variant: find/set/full"), "x.yaml").search
    (told,) = problems(text + published("variant: find/set/ful"))
    assert "no variant 'find/set/ful'; did you mean 'find/set/full'?" in told


@pytest.mark.parametrize(
    ("right", "broken"),
    [
        ("layers: 1", "layers: 0"),
        ("tokens: 20k", "tokens: many"),
        ("model: {", "retries: -1\nmodel: {"),
        ("transfer: {grid: [full, attention]}", "transfer: {grid: [full, attention]}\nperturb: {nose: 1}"),
        ("batch: 16, ", ""),
        ("task: {grid: [identity, set]}", "task: {grid: [identity, set]}, lenth: 4"),
    ],
)
def test_names_are_told_beside_all_else_that_is_wrong(right, broken):
    entries = published("target: fnid", "target: find, variant: sett/full", "variant: identity/full", 'variant: "*"')
    for text in (FILE + entries, FILE + entries + "controls: [shuffled]\n"):
        told = problems(text.replace(right, broken, 1))
        messages = [line.split(": ", 1)[1] for line in told if "published" in line]
        assert len(told) == 3
        assert messages[0] == "published.0.target: no target 'fnid'; did you mean 'find'? (targets: find, more)"
        assert messages[1].startswith("published.1.variant: no variant 'sett/full'; did you mean 'set/full'?")
        assert len(messages) == 2


def test_a_name_that_hangs_on_what_is_wrong_is_not_judged():
    entries = published("target: find, variant: sett/full", "variant: set/attn", "variant: set", "variant: set~12ab")
    for right, broken in (("set]", "{mixtre: 2}]"), ("attention]", "{attnetion: {layers: []}}]")):
        assert not [line for line in problems(FILE.replace(right, broken) + entries) if "published" in line]
    unknown = FILE.replace("haystack", "haystck") + published("target: find, variant: sett/full", "target: haystck")
    assert not [line for line in problems(unknown) if "published" in line]


def test_the_baseline_and_what_set_takes_away_are_known_beside_mistakes_too():
    text = FILE + published("variant: baseline", 'variant: "set/*"', "variant: baseline/set")
    (told,) = [line for line in problems(text.replace("layers: 1", "layers: 0")) if "published" in line]
    assert "no variant 'baseline/set'" in told
    kept = FILE + published('variant: "set/*"')
    told = problems(kept, set={"procedural.task": "identity", "model.layers": 0})
    assert not [line for line in told if "published" in line]


def test_a_scale_whose_tokenizer_is_not_looked_up_has_names_all_the_same():
    """What another scale needs of the hub or of a disk is left alone until that scale is used."""
    semantic = "semantic: {corpus: c4, tokenizer: group/tokenizer, tokens: 40k, batch: 10, optimizer: {lr: 1e-3}}"
    large = f"  large:\n    {semantic}\n    targets: null\n"
    right = FILE + "scales:\n  small: {}\n" + large + published("variant: set/full", "target: its", indent="    ")
    assert load_text(right, "x.yaml").scale == "small"
    wrong = FILE + "scales:\n  small: {}\n" + large + published("variant: sett/full", indent="    ")
    assert "no variant 'sett/full'; did you mean 'set/full'?" in problems(wrong)[0]
