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

from procray.training.recipe import Init

from .phases import RANGE, curve, recipe, resume, run, weights

PHASE = recipe(data=RANGE, batch=7)  # an odd batch: the workers have unequal shares


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """What two workers left behind; see two_workers.py."""
    folder = tmp_path_factory.mktemp("ranks")
    (folder / "recipe.json").write_text(json.dumps(PHASE.to_json()))
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    workers = []
    for rank in range(2):
        variables = {"RANK": rank, "WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        environment = {**os.environ, "OMP_NUM_THREADS": "1", **{name: str(value) for name, value in variables.items()}}
        command = [sys.executable, str(Path(__file__).with_name("two_workers.py")), str(folder)]
        workers.append(subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True))
    for worker in workers:
        _, errors = worker.communicate(timeout=120)
        assert worker.returncode == 0, errors
    torch.set_num_threads(1)
    run(PHASE, folder / "single", 10)
    return folder


def test_two_workers_train_what_one_trains(root):
    for name in ("whole", "parts"):
        for found, expected in zip(curve(root / name), curve(root / "single"), strict=True):
            assert found.keys() == expected.keys()
            for key, value in expected.items():
                if isinstance(value, float):
                    assert found[key] == pytest.approx(value, rel=1e-5, abs=1e-6), (name, found["step"], key)
                else:
                    assert found[key] == value
        single = load_file(root / "single" / "marks" / "10" / "model.safetensors")
        for key, value in load_file(root / name / "marks" / "10" / "model.safetensors").items():
            assert torch.allclose(value, single[key], rtol=1e-3, atol=1e-5), (name, key)


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
