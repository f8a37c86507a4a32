"""How fast this machine trains: a few shapes measured for a few seconds each, for `procray plan`."""

from __future__ import annotations

import statistics
import time
from dataclasses import asdict, dataclass
from typing import Any

import torch

from procray.model import GPT2, GPT2Config, flops_per_token
from procray.training.optimizer import build_optimizer
from procray.training.recipe import Optimizer


@dataclass(frozen=True)
class Shape:
    """One measured training step: a model, and `batch` sequences of `context` positions."""

    layers: int
    heads: int
    width: int
    vocab: int
    context: int
    batch: int


CPU_SHAPES = (
    Shape(2, 4, 16, 256, 32, 64),
    Shape(2, 4, 64, 128, 32, 64),
    Shape(4, 4, 128, 1024, 128, 8),
    Shape(4, 8, 256, 4096, 128, 8),
)
CUDA_SHAPES = (
    Shape(2, 4, 64, 256, 64, 256),
    Shape(12, 12, 768, 102, 129, 64),
    Shape(12, 12, 768, 50257, 1024, 8),
)


def matmul_peak(device: torch.device, seconds: float = 1.0) -> float:
    """The best FLOP/s of a square product on this device (fp32 on a CPU, bf16 on CUDA)."""
    n = 8192 if device.type == "cuda" else 768
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    a, b = (torch.randn(n, n, device=device, dtype=dtype) for _ in range(2))

    def once() -> float:
        started = time.perf_counter()
        a @ b
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - started

    once()
    times, end = [once()], time.perf_counter() + seconds
    while time.perf_counter() < end:
        times.append(once())
    return 2 * n**3 / min(times)


def copy_bandwidth(device: torch.device, seconds: float = 0.5) -> float:
    """Bytes a second read and written by a large copy."""
    source = torch.empty(2**26 if device.type == "cuda" else 2**24, device=device)
    target = torch.empty_like(source)
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        started = time.perf_counter()
        target.copy_(source)
        if device.type == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - started)
    return 2 * source.numel() * source.element_size() / best


def training_rate(shape: Shape, device: torch.device, seconds: float = 3.0) -> float:
    """Positions a second of whole training steps (forward, backward, clipping, AdamW), the median step."""
    config = GPT2Config(shape.layers, shape.heads, shape.width, shape.vocab, shape.context)
    model = GPT2(config, seed=0).to(device)
    model.attention = "matmul" if device.type == "cpu" else "sdpa"
    optimizer = build_optimizer(model, Optimizer(lr=1e-4))
    tokens_BT = torch.randint(0, shape.vocab, (shape.batch, shape.context + 1), device=device)

    def step() -> float:
        started = time.perf_counter()
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            logits_BTV = model(tokens_BT[:, :-1])
            loss = torch.nn.functional.cross_entropy(logits_BTV.flatten(0, 1).float(), tokens_BT[:, 1:].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - started

    for _ in range(3):
        step()
    times, end = [step()], time.perf_counter() + seconds
    while time.perf_counter() < end:
        times.append(step())
    return shape.batch * shape.context / statistics.median(times)


def measure(device: torch.device, threads: int = 1, seconds: float = 3.0) -> dict[str, Any]:
    """Everything `plan` needs to predict a time: the peak, the bandwidth and the rate of some shapes."""
    torch.set_num_threads(threads)
    shapes = CUDA_SHAPES if device.type == "cuda" else CPU_SHAPES
    measured = []
    for shape in shapes:
        rate = training_rate(shape, device, seconds)
        config = GPT2Config(shape.layers, shape.heads, shape.width, shape.vocab, shape.context)
        flops = flops_per_token(config, shape.context)
        measured.append({**asdict(shape), "positions_per_s": rate, "flops_per_s": rate * flops})
    return {
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
        "threads": threads,
        "matmul_flops_per_s": matmul_peak(device),
        "copy_bytes_per_s": copy_bandwidth(device),
        "shapes": measured,
    }
