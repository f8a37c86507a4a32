"""Tasks of lm-eval: what is told where it is not installed, and the same numbers as its own backend where it is."""

from __future__ import annotations

import importlib.util

import pytest
import yaml
from local_tasks import KINDS, export, write_tasks

from procray.downstream import harness
from procray.downstream.harness import SUITES, Tasks, named
from procray.errors import EnvironmentProblem, ProcrayError

needs_package = pytest.mark.skipif(
    importlib.util.find_spec("lm_eval") is None, reason="lm-eval, an optional package, is not installed"
)


def test_where_the_package_is_missing_it_is_named(monkeypatch):
    monkeypatch.setattr(harness.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(EnvironmentProblem, match=r"pip install 'procray\[lm-eval\]'"):
        Tasks(["hellaswag"])


def test_a_suite_is_its_tasks_each_once():
    assert len(SUITES["small"]) == 10
    assert named(["piqa", "small", "mine"])[:2] == ["piqa", "blimp"]
    assert named(["piqa", "small"]).count("piqa") == 1


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_tasks(tmp_path_factory.mktemp("tasks"))


@pytest.fixture(scope="module")
def tasks(folder):
    return Tasks(list(KINDS), [folder])


@needs_package
@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_the_numbers_are_those_of_the_harness_on_the_exported_folder(
    make_model, bpe, folder, tasks, family, tmp_path, monkeypatch
):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import lm_eval

    model = make_model(bpe.vocab_size, name=family, context=40)
    place = export(model, bpe, {"separator": bpe.separator}, tmp_path / "exported")
    theirs = lm_eval.simple_evaluate(
        model="hf",
        model_args={"pretrained": str(place), "dtype": "float32"},
        device="cpu",
        batch_size=4,
        tasks=list(KINDS),
        task_manager=lm_eval.tasks.TaskManager(include_path=str(folder), include_defaults=False),
        num_fewshot=None,
        bootstrap_iters=0,
    )
    ours, notes = tasks.ask(model, bpe)
    assert {answer.task for answer in ours} == set(KINDS)
    assert "longer than the model's 40 positions" in notes[0]
    for answer in ours:
        expected = {k: v for k, v in theirs["results"][answer.task].items() if k in answer.metrics}
        assert expected
        assert answer.metrics == pytest.approx(expected, rel=1e-4)
        for sample in theirs["samples"][answer.task]:
            for metric, values in answer.items.items():
                assert values[sample["doc_id"]] == pytest.approx(sample[metric], rel=1e-4)
    assert len({answer.metrics.get("acc,none") for answer in ours}) > 1


@needs_package
def test_shots_and_limits_are_passed_on(make_model, bpe, folder):
    model = make_model(bpe.vocab_size, context=128)
    (few,), _ = Tasks(["own_choice"], [folder]).ask(model, bpe, limit=5)
    assert len(few.items["acc"]) == 5
    (shots,), _ = Tasks(["own_choice"], [folder]).ask(model, bpe, shots=2)
    assert len(shots.items["acc"]) == 12


@needs_package
def test_a_row_that_requests_share_is_read_once(make_model, bpe, monkeypatch):
    from lm_eval.api.instance import Instance

    from procray.downstream import harness_model

    lm = harness.as_harness_model(make_model(bpe.vocab_size), bpe, {"separator": bpe.separator})
    read = []
    logits_of = harness_model.logits_of
    monkeypatch.setattr(harness_model, "logits_of", lambda m, t, s: read.append(len(t)) or logits_of(m, t, s))
    pairs = [("a b", " c"), ("a b", " d"), ("", "a"), ("a b ", "c"), ("a", " b c")]
    together = lm.loglikelihood([Instance("loglikelihood", {}, pair, n) for n, pair in enumerate(pairs)])
    alone = [lm.loglikelihood([Instance("loglikelihood", {}, pair, 0)])[0] for pair in pairs]
    for one, other in zip(together, alone, strict=True):
        assert one == pytest.approx(other, abs=1e-5)
    assert together[0] == together[3]  # a space at the end belongs to what follows
    assert read[0] < len(pairs)


@needs_package
def test_data_sets_that_are_not_here(monkeypatch, tmp_path):
    """The suite is found without reading every task file, and its error says what is missing and what works."""
    import datasets
    import huggingface_hub.constants

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True, raising=False)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(EnvironmentProblem) as error:
        Tasks(["small"])
    told = str(error.value).splitlines()
    assert len(told) == len(SUITES["small"]) + 1
    assert told[1].startswith("task 'lambada_openai' needs the data set 'EleutherAI/lambada_openai'")
    assert f"neither in the cache {tmp_path} nor to be had from the hub (HF_HUB_OFFLINE is set)" in told[1]
    assert told[-1].startswith("Without a network work")


@needs_package
def test_bad_tasks_are_told_before_anything_is_asked(make_model, bpe, folder, tmp_path):
    with pytest.raises(ProcrayError, match="--include: no folder"):
        Tasks(["own_choice"], [tmp_path / "nowhere"])
    own = write_tasks(tmp_path / "own", kinds=("own_choice", "own_word", "own_answer"))
    changed = yaml.safe_load((own / "own_choice.yaml").read_text())
    changed["dataset_kwargs"]["data_files"]["test"] = str(tmp_path / "gone.jsonl")
    (own / "own_choice.yaml").write_text(yaml.safe_dump(changed))
    (own / "own_word.yaml").write_text("task: own_word\noutput_type: loglikelihood\ntest_split: test\n")
    with pytest.raises(ProcrayError) as error:
        Tasks(["own_choice", "own_word"], [own])
    told = str(error.value).splitlines()
    assert "task 'own_choice' reads local files" in told[0]
    assert "gone.jsonl" in told[0]
    assert "task 'own_word' cannot be read" in told[1]
    with pytest.raises(ProcrayError, match="own_answer: 8 tokens are to be generated, and the model has 8 positions"):
        Tasks(["own_answer"], [own]).ask(make_model(bpe.vocab_size, context=8), bpe)


@needs_package
@pytest.mark.slow
def test_an_unknown_task_has_a_near_one():
    """Slow, because it reads all task files of the package."""
    with pytest.raises(ProcrayError, match="no task 'hellaswagg'; did you mean 'hellaswag'"):
        Tasks(["hellaswagg"])
