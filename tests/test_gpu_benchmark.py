"""What the GPU benchmark does without a GPU: say so, and go through all its lines with tiny shapes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from procray.training.environment import worker_environment

FOLDER = Path(__file__).parents[1] / "benchmarks"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_gpu_it_says_so_and_ends_with_3(monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.setattr(sys, "argv", ["gpu.py"])
    import gpu

    assert gpu.main() == 3
    assert "none is visible" in capsys.readouterr().err


def test_every_question_is_answered_in_a_dry_run():
    results = FOLDER / "results" / "gpu.json"
    before = results.read_bytes() if results.exists() else None
    done = subprocess.run(
        [sys.executable, str(FOLDER / "gpu.py"), "--dry"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **worker_environment(1)},  # it would start itself anew to have that
    )
    assert done.returncode == 0, done.stderr
    for answer in ("% MFU", " x\n", "GB at most", "M positions", "sequences/s", "| matrix products |"):
        assert answer in done.stdout
    assert (results.read_bytes() if results.exists() else None) == before, "nothing tiny is published"
