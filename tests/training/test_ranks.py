"""Two processes over gloo against one."""

import json
import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from procray import corpora, tasks
from procray.training import FolderContext, text_source, train
from procray.training.interleaving import Interleaving
from procray.training.recipe import Init

from .phases import RANGE, curve, recipe, resume, run, weights

PHASE = recipe(data=RANGE, batch=7)  # an odd batch: the workers have unequal shares
EVEN = recipe(data=RANGE, batch=8)
AMONG = Interleaving(
    tasks.from_recipe(RANGE["task"]).vocab_size, RANGE["task"], "warmup/identity", batch=5, updates=6, start=4,
    span=3, sequences=16,
)  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """What two workers left behind; see two_workers.py."""
    folder = tmp_path_factory.mktemp("ranks")
    (folder / "recipe.json").write_text(json.dumps(PHASE.to_json()))
    for number in range(40):
        (folder / f"{number}.txt").write_text("some words, and others of that kind; " * (20 + number))
    data = corpora.recipe({"files": [str(folder / "*.txt")]}, "byte")
    prepared = corpora.prepare(data, folder / "corpora", 5000)
    among = recipe(kind="semantic", data=data, batch=8, interleaving=AMONG)
    (folder / "among.json").write_text(json.dumps(among.to_json()))
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    variables = {"WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": 1}
    environment = {**os.environ, **{name: str(value) for name, value in variables.items()}}
    command = [sys.executable, str(Path(__file__).with_name("two_workers.py")), str(folder)]
    workers = subprocess.run(command, env=environment, stderr=subprocess.PIPE, text=True, check=False)
    assert workers.returncode == 0, workers.stderr
    torch.set_num_threads(1)
    run(PHASE, folder / "single", 10)
    run(EVEN, folder / "even single", 10)
    train(among, text_source(among, prepared), FolderContext(folder / "among, alone"), until=10, marks=())
    run(EVEN, folder / "shares, then one", 10)
    return folder


def assert_alike(one, other, rel=1e-5):
    """Two phases measured the same and ended with the same weights, to rounding."""
    rows = {row["step"]: row for row in curve(other)}
    assert len(curve(one)) >= 3
    for found in curve(one):
        expected = rows.get(found["step"])
        if expected is None:  # of a pause
            continue
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            if isinstance(value, float):
                assert found[key] == pytest.approx(value, rel=rel, abs=rel / 10), (one.name, found["step"], key)
            else:
                assert found[key] == value
    expected = load_file(other / "marks" / "10" / "model.safetensors")
    found = load_file(one / "marks" / "10" / "model.safetensors")
    assert found.keys() == expected.keys()
    for key, value in found.items():
        # AdamW makes a step of what rounding leaves of a gradient that should be zero, as that of a key's bias.
        assert torch.allclose(value, expected[key], rtol=100 * rel, atol=5 * rel), (one.name, key)


@pytest.mark.parametrize("name", ["whole", "parts"])
def test_two_workers_train_what_one_trains(root, name):
    assert_alike(root / name, root / "single")


def test_two_workers_repeat_every_bit_and_say_so(root):
    assert curve(root / "again") == curve(root / "whole")
    assert weights(root / "again", 10) == weights(root / "whole", 10)
    assert resume(root / "again", 10) == resume(root / "whole", 10)
    for name, says in (("again", True), ("whole", True), ("single", True), ("shares", False)):  # the last is not shown
        facts = json.loads((root / name / "marks" / "10" / "manifest.json").read_text())["provenance"]
        assert facts["repeats_exactly"] is says, name


@pytest.mark.parametrize(
    "name", ["shares", "shares in parts", "shares, recomputed", "copies, then shares", "shares, then one"]
)
def test_shared_out_weights_train_what_one_worker_trains(root, name):
    assert_alike(root / name, root / "even single")
    whole = load_file(root / "even single" / "resume" / "10" / "state.safetensors")
    found = load_file(root / name / "resume" / "10" / "state.safetensors")
    assert {key: value.shape for key, value in found.items()} == {key: value.shape for key, value in whole.items()}
    for key, value in found.items():
        assert torch.allclose(value, whole[key], rtol=1e-3, atol=5e-5), key


def test_two_workers_share_out_a_task_among_text(root):
    assert_alike(root / "among", root / "among, alone")
    assert curve(root / "among")[-1]["procedural_updates"] == 6
    reports = [json.loads((root / f"report-{rank}.json").read_text())["among"] for rank in range(2)]
    assert reports[0] == reports[1] == ["paused", 5], "between two updates on the task"
    assert weights(root / "among, stopped", 10) == weights(root / "among", 10)
    assert resume(root / "among, stopped", 10) == resume(root / "among", 10)
    assert_alike(root / "among, in shares", root / "among, in copies")


def test_shared_out_weights_begin_with_the_same_bits(root):
    first = [row for row in curve(root / "shares") if row["step"] == 0]
    assert first[0]["loss"] == pytest.approx(curve(root / "even single")[0]["loss"], rel=1e-6)
    run(replace(EVEN, init=Init(freeze=("mlp",))), root / "even frozen", 4, marks=(0,))
    start, single = (load_file(root / "even frozen" / "marks" / s / "model.safetensors") for s in ("0", "4"))
    for name, value in load_file(root / "frozen shares" / "marks" / "4" / "model.safetensors").items():
        assert torch.equal(value, start[name]) is (".mlp." in name), name
        assert torch.allclose(value, single[name], rtol=1e-3, atol=1e-5), name


def test_shared_out_bfloat16_is_as_near_as_bfloat16_is(root):
    assert_alike(root / "bf16 shares", root / "bf16 copies", rel=1e-4)


def test_gradients_travel_once_a_step(root):
    copies, shares = json.loads((root / "report-0.json").read_text())["sums"]
    assert copies[0] == copies[1] > 0
    assert shares[0] == shares[1] > 0


def test_shares_need_equal_parts_of_the_batch(root):
    assert "7 sequences cannot be shared out equally" in json.loads((root / "report-1.json").read_text())["uneven"]


def test_one_worker_that_is_asked_to_stop_stops_both(root):
    reports = [json.loads((root / f"report-{rank}.json").read_text()) for rank in range(2)]
    status, step = reports[0]["stopped"]
    assert reports[1]["stopped"] == [status, step]
    assert status == "paused"
    assert step == 4  # the answer to the question before step 3 arrives one step later
    assert reports[0]["continued"] == reports[1]["continued"] == 10
    assert curve(root / "stopped") == curve(root / "whole")
    assert weights(root / "stopped", 10) == weights(root / "whole", 10)
    assert resume(root / "stopped", 10) == resume(root / "whole", 10)


def test_two_workers_leave_what_is_frozen_alone(root):
    alone = root / "frozen alone"
    run(replace(PHASE, init=Init(freeze=("mlp",))), alone, 4, marks=(0,))
    first, single = (load_file(alone / "marks" / step / "model.safetensors") for step in ("0", "4"))
    both = load_file(root / "frozen" / "marks" / "4" / "model.safetensors")
    for name, value in both.items():
        assert torch.equal(value, first[name]) is (".mlp." in name), name
        assert torch.allclose(value, single[name], rtol=1e-3, atol=1e-5), name


def test_workers_fail_together(root):
    reports = [json.loads((root / f"report-{rank}.json").read_text()) for rank in range(2)]
    assert reports[0]["failed"] == reports[1]["failed"]
    assert "learning rate 1e+06" in reports[0]["failed"]
    assert not (root / "broken" / "resume.json").exists()
