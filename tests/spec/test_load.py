"""Sweep files: what is accepted, and every kind of mistake that schema and syntax show, with its place."""

from __future__ import annotations

import textwrap

import pytest
from sweep_texts import CHAIN, GOOD, change

from procray.errors import SpecError
from procray.planning.load import load_text
from procray.spec.load import load_scales, read_text


def load(text=GOOD, scale=None, set=None):
    drafts, wrong = load_scales(textwrap.dedent(text), "f.yaml", scale, set)
    if wrong:
        raise SpecError(dict.fromkeys(wrong))
    return drafts[0].spec


def problems(text=GOOD, **options):
    with pytest.raises(SpecError) as caught:
        load(text, **options)
    return str(caught.value)


# One mistake: what replaces what in GOOD, and the whole message.
MISTAKES = {
    "unknown key": (
        ("length: 8", "lenght: 8"),
        """\
        f.yaml:6:3: procedural.lenght: unknown key 'lenght'; did you mean 'length'?
              lenght: 8
              ^""",
    ),
    "a key of a later version": (
        ("transfer:", "init: random\ntransfer:"),
        """\
        f.yaml:10:1: init: unknown key 'init': a phase starts from the phase before it; see transfer
            init: random
            ^""",
    ),
    "wrong type": (
        ("seeds: [0, 1]", "seeds: three"),
        """\
        f.yaml:2:8: seeds: expected a list of whole numbers, such as [0, 1, 2]
            seeds: three
                   ^""",
    ),
    "a number that is none": (
        ("lr: 1e-3", "lr: fast"),
        """\
        f.yaml:9:19: procedural.optimizer.lr: expected a number (got 'fast')
              optimizer: {lr: fast}
                              ^""",
    ),
    "a list without grid": (
        ("layers: 2", "layers: [2, 4]"),
        """\
        f.yaml:3:9: model.layers: expected a whole number; several values are written {grid: [...]} (got [2, 4])
            model: {layers: [2, 4], heads: 2, width: 16, context: 32}
                    ^""",
    ),
    "a section that is none": (
        ("evaluate: {every: 10k}", "evaluate: 10k"),
        """\
        f.yaml:17:13: semantic.evaluate: expected a mapping (got '10k')
              evaluate: 10k
                        ^""",
    ),
    "a rule that is no rule": (
        ("evaluate: {every: 10k}", "evaluate: {every: 10k, solved: {accuracy: 99.5}}"),
        """\
        f.yaml:17:45: semantic.evaluate.solved.accuracy: must be at most 1.0 (got 99.5)
              evaluate: {every: 10k, solved: {accuracy: 99.5}}
                                                        ^""",
    ),
    "duplicate key": (
        ("  batch: 8\n", "  batch: 8\n  batch: 9\n"),
        """\
        f.yaml:16:3: duplicate key 'batch' (first at line 15)
              batch: 9
              ^""",
    ),
    "unknown schedule": (
        ("schedule: cosine", "schedule: cosin"),
        """\
        f.yaml:16:35: semantic.optimizer.schedule: expected 'constant', 'linear', 'cosine' or 'wsd'; did you mean \
'cosine'? (got 'cosin')
              optimizer: {lr: 5e-4, schedule: cosin, min_lr: 0.1}
                                              ^""",
    ),
    "empty grid": (
        ("[full, mlp]", "[]"),
        """\
        f.yaml:10:18: transfer: an empty grid: give at least one value
            transfer: {grid: []}
                             ^""",
    ),
    "a grid without a list": (
        ("{grid: [full, mlp]}", "{grid: full}"),
        """\
        f.yaml:10:18: transfer: expected a list of values after 'grid'
            transfer: {grid: full}
                             ^""",
    ),
    "a value twice in a grid": (
        ("tokens: 10k", "tokens: {grid: [10k, 20k, 1e4]}"),
        """\
        f.yaml:8:29: procedural.tokens: 10000.0 stands here twice
              tokens: {grid: [10k, 20k, 1e4]}
                                        ^""",
    ),
    "a grid inside a grid": (
        ("{grid: [full, mlp]}", "{grid: [full, {attention: {grid: [set]}}]}"),
        """\
        f.yaml:10:38: transfer: a grid inside a grid""",
    ),
    "a grid where none can be": (
        ("seeds: [0, 1]", "seeds: {grid: [0, 1]}"),
        """\
        f.yaml:2:9: seeds: a grid cannot stand here
            seeds: {grid: [0, 1]}
                    ^""",
    ),
    "negative budget": (
        ("tokens: 100k", "tokens: -100k"),
        """\
        f.yaml:14:11: semantic.tokens: must be above 0 (got '-100k')
              tokens: -100k
                      ^""",
    ),
    "duplicate seeds": (
        ("[0, 1]", "[0, 1, 0]"),
        """\
        f.yaml:2:15: seeds.2: seed 0 stands here twice
            seeds: [0, 1, 0]
                          ^""",
    ),
    "min_lr outside 0..1": (
        ("min_lr: 0.1", "min_lr: 1.5"),
        """\
        f.yaml:16:51: semantic.optimizer.min_lr: must be at most 1.0 (got 1.5)""",
    ),
    "a missing key": (
        ("{lr: 1e-3}", "{weight_decay: 0.1}"),
        """\
        f.yaml:9:3: procedural.optimizer: missing key 'lr'""",
    ),
    "one and a half GPUs": (
        ("transfer:", "resources: {gpu: 1.5}\ntransfer:"),
        """\
        f.yaml:10:18: resources.gpu: above 1, GPUs are whole: 1 or 2 (got 1.5)""",
    ),
    "an unknown executor": (
        ("transfer:", "resources: {executor: warm}\ntransfer:"),
        """\
        f.yaml:10:23: resources.executor: expected 'auto', 'inprocess', 'train-warm' or 'train'; did you mean""",
    ),
    "a bad weight in a mixture": (
        ("{grid: [union, set]}", "{mixture: {union: 0.5, set: -1}}"),
        """\
        f.yaml:5:37: procedural.task.mixture.set: a weight must be a number above 0""",
    ),
    "an unknown axis": (
        ("transfer:", "exclude: [{tsk: set}]\ntransfer:"),
        """\
        f.yaml:10:12: exclude: no axis 'tsk'""",
    ),
    "an unknown value of an axis": (
        ("transfer:", "exclude: [{task: sot}]\ntransfer:"),
        """\
        f.yaml:10:18: exclude: procedural.task has no value 'sot'; did you mean 'set'? (values: union, set)""",
    ),
    "axes of unequal size zipped": (
        ("transfer: {grid: [full, mlp]}", "zip: [[task, transfer]]\ntransfer: {grid: [full]}"),
        """\
        f.yaml:10:7: zip: axes that go together need equally many values; procedural.task has 2, transfer has 1""",
    ),
    "two tails": (
        (
            "transfer:",
            "targets: [{name: a, diagnostic: {task: haystack, pairs: 4, tokens: 1M, batch: 8, optimizer: {lr: 1}}}]\n"
            "transfer:",
        ),
        """\
        f.yaml:10:1: 'targets' cannot stand beside 'semantic'""",
    ),
    "an unknown compared phase": (
        ("transfer:", "compare: finetune\ntransfer:"),
        """\
        f.yaml:10:10: compare: no phase 'finetune' after the warm-up (phases: semantic)""",
    ),
    "a fraction that is none": (
        ("transfer:", "matched: [0.5, 2]\ntransfer:"),
        """\
        f.yaml:10:16: matched.1: a fraction lies between 0 and 1 (got 2)""",
    ),
    "a published value without a source": (
        ("transfer:", "published: [{value: 0.5, strength: weak, tolerance: 0}]\ntransfer:"),
        """\
        f.yaml:10:13: published.0: missing key 'source'""",
    ),
    "a tolerance that no data saved would meet": (
        ("transfer:", "published: [{value: 0.9, tolerance: 0.1, source: a, strength: b}]\ntransfer:"),
        """\
        f.yaml:10:37: published.0.tolerance: must be smaller than the published effect of 0.1""",
    ),
    "a tolerance that the baseline would meet": (
        (
            "transfer:",
            "published:\n"
            "  - {quantity: perplexity, value: 57.8, baseline: 59.8, tolerance: 2, source: a, strength: b}\n"
            "  - {quantity: perplexity, value: 57.8, tolerance: 9, source: a, strength: b, comparable: other data}\n"
            "  - {quantity: perplexity, variant: baseline, value: 59.8, tolerance: 9, source: a, strength: b}\n"
            "transfer:",
        ),
        """\
        f.yaml:11:68: published.0.tolerance: must be smaller than the published effect of 2""",
    ),
    "a percentage of a quantity whose name is misspelt": (
        (
            "transfer:",
            "published: [{quantity: acuracy, value: 9 %, baseline: 5 %, tolerance: 1 %, source: a, strength: b}]\n"
            "transfer:",
        ),
        """\
        f.yaml:10:24: published.0.quantity: no quantity 'acuracy'; did you mean 'accuracy'? (known: data_fraction, \
data_fraction_matched, final_loss, perplexity, delta, accuracy, official_accuracy, corrected_accuracy, exact_match, \
accuracy_delta, last_loss, last_perplexity, last_delta)""",
    ),
    "a published value without its direction": (
        (
            "transfer:",
            "published: [{quantity: perplexity, value: 57.8, tolerance: 1, source: a, strength: b}]\ntransfer:",
        ),
        """\
        f.yaml:10:13: published.0: missing key 'baseline', the published one: without it perplexity has no direction""",
    ),
    "a name for a folder": (
        ("name: good", "name: a/b"),
        """\
        f.yaml:1:7: name: must consist of letters, digits, '-', '_' and '.' (got 'a/b')""",
    ),
    "an unknown key without a value": (
        ("lr: 1e-3}", "lr: 1e-3, weight_deacy: }"),
        """\
        f.yaml:9:25: procedural.optimizer.weight_deacy: unknown key 'weight_deacy'; did you mean 'weight_decay'?
              optimizer: {lr: 1e-3, weight_deacy: }
                                    ^""",
    ),
    "an unknown key that is null": (
        ("seeds: [0, 1]", "seeds: [0, 1]\nseds: ~"),
        """\
        f.yaml:3:1: seds: unknown key 'seds'; did you mean 'seeds'?
            seds: ~
            ^""",
    ),
    "an unknown key of an overlay that is null": (
        ("name: good", "name: good\nscales: {a: {semantic: {evaluat: }}}"),
        """\
        f.yaml:2:25: semantic.evaluat: unknown key 'evaluat'; did you mean 'evaluate'?
            scales: {a: {semantic: {evaluat: }}}
                                    ^""",
    ),
    "an unknown key without a value in a length": (
        ("length: 8", "length: {min: 8, max: 9, stp: }"),
        """\
        f.yaml:6:28: procedural.length.stp: unknown key 'stp'; did you mean 'step'?""",
    ),
    "an unknown key without a value in a corpus": (
        ("corpus: c4", "corpus: {hf: a/b, fild: }"),
        """\
        f.yaml:12:21: semantic.corpus.fild: unknown key 'fild'; did you mean 'field'?
              corpus: {hf: a/b, fild: }
                                ^""",
    ),
    "an unknown key without a value in a tokenizer": (
        ("tokenizer: byte", "tokenizer: {hub: a/b, revison: }"),
        """\
        f.yaml:13:25: semantic.tokenizer.revison: unknown key 'revison'; did you mean 'revision'?""",
    ),
    "an unknown key without a value in a parent": (
        ("{grid: [full, mlp]}", "{mlp: {from: set, layrs: }}"),
        """\
        f.yaml:10:29: transfer.mlp.layrs: unknown key 'layrs'; did you mean 'layers'?""",
    ),
    "an unknown component without a value": (
        ("{grid: [full, mlp]}", "{mlp: set, atention: }"),
        """\
        f.yaml:10:22: transfer.atention: transfer mode 'atention': unknown component 'atention'; did you mean""",
    ),
    "an unknown key without a value in a perturbation": (
        ("transfer:", "perturb: {noise: 0.1, componets: }\ntransfer:"),
        """\
        f.yaml:10:23: perturb.componets: unknown key 'componets'; did you mean 'components'?""",
    ),
    "an unknown task without a weight": (
        ("{grid: [union, set]}", "{mixture: {union: 1, soort: }}"),
        """\
        f.yaml:5:30: procedural.task.mixture.soort: unknown key 'soort'; did you mean 'sort'?""",
    ),
    "an unknown key without a value in a grid of sections": (
        ("{lr: 1e-3}", "{grid: [{lr: 1e-3, claip: }]}"),
        """\
        f.yaml:9:33: procedural.optimizer.claip: unknown key 'claip'; did you mean 'clip'?""",
    ),
    "an entry of exclude without a value": (
        ("transfer:", "exclude: [{task: set, transfer: }]\ntransfer:"),
        """\
        f.yaml:10:23: exclude: a value of 'transfer' is missing
            exclude: [{task: set, transfer: }]
                                  ^""",
    ),
    "a key of a section further down": (
        ("  batch: 8\n", "  batch: 8\n  lr: 1e-3\n"),
        """\
        f.yaml:16:3: semantic.lr: unknown key 'lr'; it belongs into optimizer
              lr: 1e-3
              ^""",
    ),
    "a number with a comma in braces": (
        ("{lr: 5e-4, schedule", "{lr: 0,001, schedule"),
        """\
        f.yaml:16:19: '0,001': a number is written without commas, such as 500000, 500_000 or 0.5
              optimizer: {lr: 0,001, schedule: cosine, min_lr: 0.1}
                              ^""",
    ),
    "a count with commas in braces": (
        ("evaluate: {every: 10k}", "evaluate: {every: 10,000}"),
        """\
        f.yaml:17:21: '10,000': a number is written without commas, such as 500000, 500_000 or 0.5
              evaluate: {every: 10,000}
                                ^""",
    ),
    "a count with commas": (
        ("tokens: 100k", "tokens: 100,000"),
        """\
        f.yaml:14:11: semantic.tokens: expected a count such as 2M, 1.5B, 64Ki or 1e8; a number is written without \
commas, such as 500000, 500_000 or 0.5 (got '100,000')
              tokens: 100,000
                      ^""",
    ),
    "a parameter with a comma": (
        ("length: 8", "length: 1,000"),
        """\
        f.yaml:6:11: procedural.length: a number is written without commas, such as 500000, 500_000 or 0.5""",
    ),
    "seeds with a comma": (
        ("seeds: [0, 1]", "seeds: [1,000, 1]"),
        """\
        f.yaml:2:9: '1,000': a number is written without commas, such as 500000, 500_000 or 0.5""",
    ),
    "a list where a corpus has one value": (
        ("corpus: c4", "corpus: {name: [c4]}"),
        """\
        f.yaml:12:12: semantic.corpus.name: expected one value
              corpus: {name: [c4]}
                       ^""",
    ),
    "a mapping where a tokenizer has one value": (
        ("tokenizer: byte", "tokenizer: {bpe: {entries: 512}}"),
        """\
        f.yaml:13:15: semantic.tokenizer.bpe: expected one value""",
    ),
    "a list of odd files": (
        ("corpus: c4", "corpus: {files: [a.txt, [b.txt]]}"),
        """\
        f.yaml:12:12: semantic.corpus.files: expected a path or pattern, or a list of them""",
    ),
    "a perturbation of nothing": (
        ("transfer:", "perturb: {noise: 0.1, components: none}\ntransfer:"),
        """\
        f.yaml:10:35: perturb.components: expected at least one component; what is carried is perturbed where none""",
    ),
    "a key without a value": (
        ("corpus: c4", "corpus:"),
        """\
        f.yaml:11:1: semantic: missing key 'corpus'""",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_one_mistake(mistake):
    (old, new), expected = MISTAKES[mistake]
    text = change(old, new)
    message = problems(text)
    assert message.startswith(textwrap.dedent(expected)), message
    assert message.count("f.yaml:") == 1, message
    with pytest.raises(SpecError) as caught:  # the chains are checked without it, and nothing follows from its absence
        load_text(text, "f.yaml")
    assert str(caught.value) == message


def test_the_good_file_is_good():
    spec = load()
    assert (spec.name, spec.scale, spec.seeds) == ("good", "default", [0, 1])


def test_mistakes_behind_anchors_point_at_the_anchor():
    text = change("optimizer: {lr: 1e-3}", "optimizer: &o {lr: fast}")
    text = change("optimizer: {lr: 5e-4, schedule: cosine, min_lr: 0.1}", "optimizer: *o", text)
    message = problems(text)
    assert "f.yaml:9:22: procedural.optimizer.lr: expected a number" in message
    assert "f.yaml:9:22: semantic.optimizer.lr: expected a number" in message


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("semantic.tokens=lots", "--set:1:17: semantic.tokens: expected a count such as 2M, 1.5B, 64Ki or 1e8"),
        ("semantic.tokns=1", "--set:1:1: semantic.tokns: unknown key 'tokns'; did you mean 'tokens'?"),
        ("seeds", "--set:1:1: expected key=value"),
        ("seeds=[0", "--set:1:9: not YAML"),
        ("scales.x=1", "--set:1:1: an overlay cannot be set"),
        ("seds=", "--set:1:1: seds: unknown key 'seds'; did you mean 'seeds'?"),
        ("semantic.tokns=", "--set:1:1: semantic.tokns: unknown key 'tokns'; did you mean 'tokens'?"),
        ("procedural.length.mx=", "--set:1:1: procedural.length.mx: unknown key 'mx'; did you mean 'max'?"),
        ("semantic={tokens: 500,000}", "--set:1:19: '500,000': a number is written without commas"),
        ("semantic.tokens=500,000", "--set:1:17: semantic.tokens: expected a count such as 2M, 1.5B, 64Ki or 1e8; a"),
        ("seeds=[1, 1]", "--set:1:11: seeds.1: seed 1 stands here twice\n    seeds=[1, 1]\n              ^"),
    ],
)
def test_mistakes_on_the_command_line(setting, message):
    assert message in problems(set=[setting])


def test_order_of_overlays():
    text = GOOD + "scales:\n  a: {seeds: [5], model: {context: 16}}\n  b: {seeds: [6]}\n"
    assert load(text).seeds == [5]
    assert load(text).scale == "a"
    assert load(text, scale="b").seeds == [6]
    spec = load(text, scale="a", set={"seeds": [7], "semantic.tokens": "50k"})
    assert spec.seeds == [7]
    assert spec.base["model"] == {"layers": 2, "heads": 2, "width": 16, "context": 16}
    assert spec.base["semantic"]["tokens"] == 50_000


def test_an_unknown_scale_is_named():
    text = GOOD + "scales:\n  laptop: {}\n  paper: {}\n"
    assert "no scale 'papr'; did you mean 'paper'? (scales: laptop, paper)" in problems(text, scale="papr")
    assert "the file has no scales" in problems(scale="x")


def test_a_scale_can_replace_the_tail():
    text = GOOD + textwrap.dedent("""\
    scales:
      probe:
        diagnostic: {task: haystack, pairs: 4, batch: 8, tokens: 10k, optimizer: {lr: 1e-3}}
    """)
    assert [link.kind for link in load(text).tails[0].links] == ["procedural", "diagnostic"]


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(SpecError, match="cannot be read"):
        read_text(tmp_path / "none.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"name: \xff")
    with pytest.raises(SpecError, match="not UTF-8"):
        read_text(tmp_path / "latin.yaml")
    with pytest.raises(SpecError, match="a sweep file is a mapping"):
        load("- 1")
    with pytest.raises(SpecError, match="missing key 'name'"):
        load("")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("semantic:", "semantik:", "f.yaml:5:5: chain.1: give exactly one of procedural, semantic"),
        ("chain:\n", "transfer: full\nchain:\n", "f.yaml:3:1: 'transfer' cannot stand beside 'chain'"),
    ],
)
def test_mistakes_of_chains(old, new, message):
    assert message in problems(change(old, new, CHAIN))
