"""A pack against each of its phases alone."""

import random
import time
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from procray import tasks
from procray.errors import EnvironmentProblem, PhaseFailed, ProcrayError
from procray.model import GPT2, GPT2Config
from procray.model.pack import Pack
from procray.training import FolderContext, pace, task_source
from procray.training.pack import train_pack
from procray.training.recipe import Evaluation, Init, ModelShape, Optimizer, Parent, Solved

from .phases import RANGE, SET, curve, recipe, run, weights

STEPS = 30
HAYSTACK = {"task": tasks.get("haystack", pairs=4).recipe()}


def together(phases, folder, until=STEPS, **options):
    contexts = [FolderContext(folder / str(number)) for number in range(len(phases))]
    return train_pack(phases, [task_source(phase) for phase in phases], contexts, until=until, **options)


def assert_alone(phase, folder, alone, until=STEPS, marks=()):
    """What a pack left in a folder is what `train` leaves."""
    run(phase, alone, until, marks)
    for found, expected in zip(curve(folder), curve(alone), strict=True):
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            if isinstance(value, float):
                assert found[key] == pytest.approx(value, rel=2e-5, abs=2e-6), (folder.name, found["step"], key)
            else:
                assert found[key] == value
    for kind, name in (("marks", "model.safetensors"), ("resume", "state.safetensors")):
        one, other = (load_file(place / kind / str(until) / name) for place in (folder, alone))
        assert one.keys() == other.keys()
        for key, value in one.items():
            expected = other[key]
            if key.endswith("c_attn.bias"):
                # Softmax ignores what every key has in common, so the gradient there is rounding, and Adam enlarges it.
                value, expected = (torch.cat([x.chunk(3)[0], x.chunk(3)[2]]) for x in (value, expected))
            assert torch.allclose(value, expected, rtol=2e-3, atol=2e-5), (folder.name, key)


MEMBERS = {
    "seeds and rates": [
        recipe(data=RANGE),
        recipe(data=RANGE, seed=1, optimizer=Optimizer(lr=1e-3, clip=0.5, beta2=0.95)),
        recipe(data=RANGE, seed=2, optimizer=Optimizer(lr=1e-2, clip=0.0, weight_decay=0.0, eps=1e-6)),
        recipe(data=RANGE, steps=40, optimizer=Optimizer(lr=3e-3, schedule="cosine", warmup_steps=5)),
    ],
    "tasks": [recipe(data=RANGE), recipe(data=SET)],
    "roles": [recipe(data=RANGE, role=role) for role in ("", "target/diagnostic", "warmup/identity#1")],
    "untied": [
        recipe(data=SET, model=ModelShape(3, 4, 16, context=32, tied=False), seed=seed, batch=5) for seed in (3, 4)
    ],
    "diagnostic": [
        recipe(
            data=HAYSTACK,
            kind="diagnostic",
            batch=32,
            seed=seed,
            init=init,
            model=ModelShape(2, 4, 16, context=16),
            evaluation=Evaluation(every=10, sequences=64),
        )
        for seed in (0, 1)
        for init in (Init(), Init(freeze=("mlp",)))
    ],
}


def test_showing_progress_at_any_time_does_not_mix_losses(tmp_path, monkeypatch):
    """Each reads its own losses when it shows its progress, here at random."""
    monkeypatch.setattr(pace, "PROGRESS_SECONDS", 0.0)
    clock, chance = time.perf_counter, random.Random(0)
    monkeypatch.setattr(pace.time, "perf_counter", lambda: clock() - 1e9 * chance.randrange(2))
    together(MEMBERS["seeds and rates"], tmp_path)
    monkeypatch.undo()
    for number, phase in enumerate(MEMBERS["seeds and rates"]):
        assert_alone(phase, tmp_path / str(number), tmp_path / f"alone {number}")


@pytest.mark.parametrize("name", MEMBERS)
def test_each_phase_trains_as_it_does_alone(tmp_path, name):
    for number, outcome in enumerate(together(MEMBERS[name], tmp_path, marks=(12,))):
        assert (outcome.step, outcome.status) == (STEPS, "done")
        phase = MEMBERS[name][number]
        assert_alone(phase, tmp_path / str(number), tmp_path / f"alone {number}", marks=(12,))


def test_a_pack_counts_what_each_phase_computes_alone(tmp_path):
    """Neither what fills the stack up, nor what a phase alone would have cut off its sequences."""
    shape = ModelShape(1, 1, 8, context=640)
    tasks_of = (tasks.get("set", length=300, vocab=1000), tasks.get("set", length=200, vocab=1000))
    phases = [recipe(data={"task": task.recipe()}, model=shape, batch=32) for task in tasks_of]
    together(phases, tmp_path, until=2)
    for number, phase in enumerate(phases):
        run(phase, tmp_path / f"alone {number}", 2)
        one, other = (FolderContext(tmp_path / name).rows()[-1] for name in (str(number), f"alone {number}"))
        assert {key: one[key] for key in ("positions", "flops")} == {key: other[key] for key in ("positions", "flops")}
        whole = sum(task_source(phase).batch(step, None).mask_BT.size for step in range(2))
        assert (one["positions"] < whole) is (number == 0), "batches of fewer positions are left as they are"


def test_weights_carried_in_are_carried_into_a_pack(tmp_path):
    run(recipe(data=SET, seed=9), tmp_path / "parent", 4)
    phases = [recipe(data=RANGE), recipe(data=RANGE, init=Init({"attention": Parent("parent", 4)}))]
    together(phases, tmp_path)
    for number, phase in enumerate(phases):
        assert_alone(phase, tmp_path / str(number), tmp_path / f"alone {number}")


def test_a_pack_goes_on_where_it_stopped_and_waits_for_who_is_behind(tmp_path):
    phases = [recipe(data=RANGE, seed=seed) for seed in range(3)]
    together(phases, tmp_path, until=12)
    together(phases[:2], tmp_path, until=20)
    for outcome in together(phases, tmp_path):
        assert outcome.step == STEPS
    for number, phase in enumerate(phases):
        run(phase, tmp_path / f"whole {number}", STEPS, (12, 20) if number < 2 else (12,))
        one, other = curve(tmp_path / str(number)), curve(tmp_path / f"whole {number}")
        assert [row["step"] for row in one] == [row["step"] for row in other]
        assert one[-1]["loss"] == pytest.approx(other[-1]["loss"], rel=1e-5)


def test_who_fails_or_is_solved_leaves_and_the_rest_goes_on(tmp_path):
    easy = Evaluation(every=4, sequences=16, solved=Solved(accuracy=0.01, evaluations=2))
    phases = [
        recipe(data=RANGE),
        recipe(data=RANGE, optimizer=Optimizer(lr=1e6)),
        recipe(data=RANGE, evaluation=easy, optimizer=Optimizer(lr=1e-2)),
    ]
    whole, broken, solved = together(phases, tmp_path)
    assert isinstance(broken, PhaseFailed)
    assert "learning rate 1e+06" in str(broken)
    assert whole.step == STEPS
    assert solved.step < STEPS
    assert solved.evaluation["solved"]
    assert_alone(phases[0], tmp_path / "0", tmp_path / "alone")
    run(phases[2], tmp_path / "solved alone", STEPS)
    assert [row["step"] for row in curve(tmp_path / "2")] == [row["step"] for row in curve(tmp_path / "solved alone")]
    assert (tmp_path / "2" / "marks" / str(STEPS)).is_dir()


def test_equal_packs_give_equal_bits(tmp_path):
    phases = [recipe(data=RANGE, seed=seed) for seed in range(2)]
    for name in "ab":
        together(phases, tmp_path / name)
    assert curve(tmp_path / "a" / "1") == curve(tmp_path / "b" / "1")
    assert weights(tmp_path / "a" / "1", STEPS) == weights(tmp_path / "b" / "1", STEPS)


@pytest.mark.slow
def test_a_compiled_pack_trains_the_same(tmp_path):
    phases = [recipe(data=HAYSTACK, model=ModelShape(1, 2, 8, context=16), seed=seed) for seed in range(2)]
    together(phases, tmp_path, compile=True)
    for number, phase in enumerate(phases):
        assert_alone(phase, tmp_path / str(number), tmp_path / f"alone {number}")


def test_what_cannot_be_packed_is_said(tmp_path):
    with pytest.raises(ProcrayError, match="phases with different batch"):
        together([recipe(), recipe(batch=4)], tmp_path)
    with pytest.raises(ProcrayError, match="models with dropout"):
        together([recipe(model=ModelShape(2, 2, 16, context=32, dropout=0.1))], tmp_path)
    with pytest.raises(EnvironmentProblem, match="on CUDA only"):
        together([recipe()], tmp_path, capture=True)
    one, other = (GPT2(GPT2Config(1, 1, 8, vocab, 4), seed=0) for vocab in (5, 6))
    with pytest.raises(ProcrayError, match="models of one shape"):
        Pack([one, other])


def test_members_of_a_pack_stay_usable():
    models = [GPT2(GPT2Config(2, 2, 16, 11, 12), seed=seed) for seed in range(3)]
    before = [model(torch.arange(10)[None]).detach() for model in models]
    pack = Pack(models)
    tokens_MBT = torch.arange(10).expand(3, 1, 10)
    logits_MSV = pack.logits(pack.flat_MP, tokens_MBT, torch.arange(10).expand(3, 10))
    for model, old, packed in zip(models, before, logits_MSV, strict=True):
        assert torch.equal(model(torch.arange(10)[None]), old)
        assert torch.allclose(packed, old[0], atol=1e-6)
    with torch.no_grad():
        pack.flat_MP[1].zero_()
    assert not models[1](torch.arange(10)[None]).any()
    assert torch.equal(models[2](torch.arange(10)[None]), before[2])


def test_phases_that_see_the_same_data_draw_them_once(tmp_path, monkeypatch):
    drawn = []
    kind = type(task_source(recipe()).task)
    sample = kind.sample
    monkeypatch.setattr(
        kind, "sample", lambda self, *given, **named: (drawn.append(1), sample(self, *given, **named))[1]
    )
    phases = [recipe(), recipe(optimizer=Optimizer(lr=1e-3)), replace(recipe(), init=Init(freeze=("mlp",)))]
    together(phases[:1], tmp_path / "one", until=8)
    alone = len(drawn)
    together(phases, tmp_path / "three", until=8)
    evaluations = 3 * (alone - 8)
    assert len(drawn) - alone == 8 + evaluations
