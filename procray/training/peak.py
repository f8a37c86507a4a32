"""The peak that a model FLOPs utilisation (MFU) is counted against: of a GPU from its data sheet, of a CPU measured.

MFU is the share of the peak that is left when only the model's own operations count, `flops_per_token` for every
position computed (PaLM, arXiv 2204.02311, appendix B).
"""

from __future__ import annotations

import fcntl
import json
import platform
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from procray.files import cache_folder, digest, write_atomic

# NVIDIA's data sheets: dense products, in TFLOP/s; bfloat16, TF32, float32. None: not in hardware. The first name that
# occurs in the device's own name as a word counts.
DATA_SHEETS: dict[str, tuple[float | None, float | None, float]] = {
    "GH200": (989.5, 494.7, 67.0),
    "H200": (989.5, 494.7, 67.0),
    "H100 PCIe": (756.0, 378.0, 51.0),
    "H100 NVL": (835.0, 417.5, 60.0),
    "H100": (989.5, 494.7, 67.0),
    "A100": (312.0, 156.0, 19.5),
    "A40": (149.7, 74.8, 37.4),
    "A30": (165.0, 82.0, 10.3),
    "A10": (125.0, 62.5, 31.2),
    "L40S": (362.0, 183.0, 91.6),
    "L40": (181.0, 90.5, 90.5),
    "L4": (121.0, 60.0, 30.3),
    "RTX 4090": (165.2, 82.6, 82.6),
    "RTX 3090": (71.0, 35.6, 35.6),
    "V100": (None, None, 15.7),
    "T4": (None, None, 8.1),
}
SECONDS = 0.3  # of measuring a CPU, once a host


def device_peak(device: torch.device, autocast: bool, threads: int) -> float | None:
    """FLOP/s that this process could reach in products at best, with the settings it has now.

    Args:
        autocast: products run in bfloat16.
        threads: of this process, on a CPU.

    Returns:
        None for a GPU that is not in the table: a guess would be worse than no number.
    """
    precision = torch.get_float32_matmul_precision()
    if device.type == "cuda":
        return gpu_peak(torch.cuda.get_device_name(device), autocast, precision != "highest")
    return _cpu_peak(torch.bfloat16 if autocast else torch.float32, threads, precision)


def gpu_peak(name: str, autocast: bool, tf32: bool) -> float | None:
    """The data sheet's FLOP/s of a device by its name."""
    for known, sheet in DATA_SHEETS.items():
        if re.search(rf"\b{known}\b", name):
            teraflops = sheet[0] if autocast else sheet[1] if tf32 else sheet[2]
            return None if teraflops is None else teraflops * 1e12
    return None


@lru_cache
def _cpu_peak(dtype: torch.dtype, threads: int, precision: str) -> float:
    """Measured once for each host, version of torch, type and number of threads; then read from the cache folder."""
    facts = {
        "host": platform.node(),
        "processor": platform.processor() or platform.machine(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "torch": torch.__version__,
        "dtype": str(dtype).removeprefix("torch."),
        "matmul_precision": precision,
        "threads": threads,
    }
    path = cache_folder() / f"peak-{digest(facts, 16)}.json"
    with suppress(OSError, ValueError, KeyError, TypeError):
        return float(json.loads(path.read_text(encoding="utf-8"))["flops_per_s"])
    with _alone(path.with_suffix(".lock")):
        with suppress(OSError, ValueError, KeyError, TypeError):  # another process measured it meanwhile
            return float(json.loads(path.read_text(encoding="utf-8"))["flops_per_s"])
        found = matmul_rate(1024, dtype, torch.device("cpu"), SECONDS)
        with suppress(OSError):  # a folder that cannot be written costs every process its own measurement
            write_atomic(path, json.dumps({**facts, "flops_per_s": found}, indent=1))
        return found


def matmul_rate(n: int, dtype: torch.dtype, device: torch.device, seconds: float) -> float:
    """The best FLOP/s of a square product of `n` rows, with the settings that this process has."""
    a, b = (torch.randn(n, n, device=device).to(dtype) for _ in range(2))

    def once() -> float:
        started = time.perf_counter()
        a @ b
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - started

    once()
    best, end = once(), time.perf_counter() + seconds
    while time.perf_counter() < end:
        best = min(best, once())
    return 2.0 * n**3 / best


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Only one process at a time measures; where the folder cannot be written they do not wait for each other."""
    file: Any = None
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open(path, "a")  # noqa: SIM115
        fcntl.flock(file, fcntl.LOCK_EX)
    try:
        yield
    finally:
        if file is not None:
            file.close()
