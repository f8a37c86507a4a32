#!/bin/sh
# torch 2.13.0 on a CPU: GELU of the same numbers has other bits on two threads than on one.
#
# Nothing is summed, so an elementwise function should not care how many threads share its elements. But each thread's
# share is computed in whole vectors, and what is left over at the end of the share by another formula, which rounds
# otherwise. More threads have more ends. Together with LayerNorm's gradients it is what keeps a small transformer from
# training to the same bits on one and on two threads, while every product of its matrices can be equal.
#
# Seen (2026-11-28, Python 3.11, x86-64 with AVX-512):
#   2 threads: 3 of 100,003 elements differ from those of 1 thread, at most by 1.2e-07
#   3 threads: 6 of 100,003 elements differ from those of 1 thread, at most by 1.2e-07
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet 'torch==2.13.0' 'numpy==2.4.6'
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import torch
import torch.nn.functional as F

x = torch.randn(100_003, generator=torch.Generator().manual_seed(0))
found = {}
for threads in (1, 2, 3):
    torch.set_num_threads(threads)
    found[threads] = F.gelu(x, approximate="tanh")
counts = []
for threads in (2, 3):
    apart = (found[threads] - found[1]).abs()
    counts.append(int((apart > 0).sum()))
    print(
        f"{threads} threads: {counts[-1]} of {x.numel():,} elements differ from those of 1 thread, "
        f"at most by {float(apart.max()):.1e}"
    )
assert all(0 < count < 100 for count in counts), "the behaviour has changed"
PY
