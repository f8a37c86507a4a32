"""What the GPU benchmark does without a GPU: say so, and go through all its lines with tiny shapes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]


def benchmark(*arguments):
    return subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "gpu.py"), *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_gpu_it_says_so_and_ends_with_3():
    done = benchmark()
    assert done.returncode == 3
    assert "none is visible" in done.stderr


def test_every_question_is_answered_in_a_dry_run():
    results = ROOT / "benchmarks" / "results" / "gpu.json"
    before = results.read_bytes() if results.exists() else None
    done = benchmark("--dry")
    assert done.returncode == 0, done.stderr
    for answer in ("% MFU", " x\n", "GB at most", "M positions", "sequences/s", "| matrix products |"):
        assert answer in done.stdout
    assert (results.read_bytes() if results.exists() else None) == before, "nothing tiny is published"
