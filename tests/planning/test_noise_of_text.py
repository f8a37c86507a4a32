"""`noise:` of a text, in a semantic phase and in a text that stands in place of a task."""

from __future__ import annotations

import pytest

from procray.errors import SpecError
from procray.planning import plan
from procray.planning.load import load_text
from procray.training.noise import Noise

SWEEP = """\
name: noise
seeds: [0]
model: {layers: 1, heads: 2, width: 16, context: 32}
procedural:
  task: WARM
  length: 8
  vocab: 20
  batch: 4
  tokens: 1k
  optimizer: {lr: 1e-3, schedule: constant}
transfer: attention
semantic:
  corpus: {files: "texts/*.txt"}
  tokenizer: byte
  tokens: 2Ki
  batch: 8
  optimizer: {lr: 1e-3}
"""


@pytest.fixture(autouse=True)
def _texts(tmp_path, monkeypatch):
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("some words and other words\n" * 400)
    monkeypatch.chdir(tmp_path)


def planned(noise="", warm="set"):
    text = SWEEP if warm == "set" else SWEEP.replace("  length: 8\n  vocab: 20\n", "")
    return plan(load_text(text.replace("WARM", warm) + noise, "f.yaml"))


def noises(graph, kind):
    return sorted(
        (phase.recipe.noise for phase in graph.phases.values() if phase.recipe.kind == kind),
        key=lambda noise: 0 if noise is None else noise.share,
    )


def test_a_grid_of_noise_has_phases_and_names_of_its_own():
    clean = planned()
    graph = planned("  noise: {grid: [0, 0.1, 0.3]}\n")
    assert noises(graph, "semantic") == [None, None, Noise(0.1), Noise(0.1), Noise(0.3), Noise(0.3)]
    assert set(clean.phases) < set(graph.phases), "without noise nothing changes"
    assert any("noise0.1" in name for name in graph.variants)
    assert set(noises(graph, "procedural")) == {None}


def test_whole_blocks():
    assert set(noises(planned("  noise: {blocks: 0.25}\n"), "semantic")) == {Noise(0.25, "blocks")}
    assert set(noises(planned("  noise: {tokens: 0.25}\n"), "semantic")) == {Noise(0.25)}


def test_a_text_warm_up_has_it_too():
    text = '{text: {corpus: {files: "texts/*.txt"}, tokenizer: byte, noise: %s}}'
    graph = planned(warm=text % 0.5)
    assert noises(graph, "procedural") == [Noise(0.5)]
    assert set(noises(graph, "semantic")) == {None}
    assert set(planned(warm=text % 0).phases) == set(planned(warm=text.replace(", noise: %s", "")).phases)


@pytest.mark.parametrize(
    ("noise", "message"),
    [
        ("1.5", "expected a share from 0 to 1"),
        ("{block: 0.1}", "unknown key 'block'; did you mean 'blocks'?"),
        ("{blocks: 0.1, tokens: 0.1}", "expected a share of the tokens such as 0.1, or {blocks: 0.1}"),
        ("much", "expected a share from 0 to 1"),
    ],
)
def test_mistakes_have_their_place(noise, message):
    with pytest.raises(SpecError) as error:
        planned(f"  noise: {noise}\n")
    assert message in str(error.value)
    assert "semantic.noise" in str(error.value)


def test_questions_and_answers_take_none():
    text = (
        SWEEP.replace("WARM", "set")
        .replace('{files: "texts/*.txt"}', "deepmind-math")
        .replace("  tokenizer: byte\n", "")
    )
    with pytest.raises(SpecError, match="noise is for running text"):
        plan(load_text(text + "  noise: 0.1\n", "f.yaml"))
