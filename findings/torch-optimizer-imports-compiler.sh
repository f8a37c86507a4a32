#!/usr/bin/env bash
# torch 2.13.0: an optimizer that nobody compiles imports torch's compiler at its first `zero_grad` or `step`.
#
# `import torch` leaves torch._dynamo out, and so does a forward and backward pass of a plain module. The first call of
# `torch.optim.AdamW(...).step()` imports it, with sympy: some 800 modules and over a second in every process that trains
# in eager mode, because the methods are wrapped to be left alone by a compiler, and the wrapper asks it. A process that
# starts for a short training pays more for this than for the training.
#
# Seen (2026-11-28, Python 3.11):
#   before: False, after: True, 824 more modules in 1.6 s
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet 'torch==2.13.0' 'numpy==2.4.6'
"$folder/venv/bin/python" - <<'PYTHON'
import sys
import time

import torch

model = torch.nn.Linear(2, 1)
model(torch.ones(1, 2)).sum().backward()
before, modules = "torch._dynamo" in sys.modules, len(sys.modules)
started = time.perf_counter()
torch.optim.AdamW(model.parameters()).step()
seconds = time.perf_counter() - started
after, more = "torch._dynamo" in sys.modules, len(sys.modules) - modules
print(f"before: {before}, after: {after}, {more} more modules in {seconds:.1f} s")
sys.exit(0 if not before and after and more > 100 else 1)
PYTHON
