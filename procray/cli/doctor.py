"""`procray doctor`: is everything here that a sweep needs, and how fast is this machine?"""

from __future__ import annotations

import os
import platform
import shutil
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from procray.cli.terminal import say, short_bytes, short_count

if TYPE_CHECKING:
    from procray.sweep.store import Store

PACKAGES = ("torch", "ray", "mlflow", "transformers", "datasets")


def examine(store: Store) -> tuple[dict[str, Any], list[str]]:
    """Facts about this machine and what is wrong with it; the measured rates go to `<store>/machine.json`."""
    import psutil
    import torch

    from procray.files import write_json
    from procray.training.calibrate import measure

    problems = []
    facts: dict[str, Any] = {"python": platform.python_version(), "system": platform.platform()}
    for package in PACKAGES:
        try:
            facts[package] = version(package)
        except PackageNotFoundError:
            problems.append(f"the package '{package}' is not installed")
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    facts["processors"] = processors
    facts["memory"] = short_bytes(psutil.virtual_memory().total)
    facts["gpus"] = ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())) or "none"
    store.path.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(store.path).free
    facts["store"] = f"{store.path} ({short_bytes(free)} free)"
    if not os.access(store.path, os.W_OK):
        problems.append(f"the store {store.path} cannot be written")
    if free < 2e9:
        problems.append(f"only {short_bytes(free)} free for the store {store.path}")
    shared = shutil.disk_usage("/dev/shm").free if os.path.isdir("/dev/shm") else None
    if shared is not None and shared < 100e6:
        problems.append(f"/dev/shm has {short_bytes(shared)} free; Ray's object store needs about 100 MB")

    say("measuring this machine ...")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    machine = measure(device)
    write_json(store.path / "machine.json", machine)
    facts["matmul peak"] = f"{machine['matmul_flops_per_s'] / 1e9:.0f} GFLOP/s on {machine['device']}, one thread"
    facts["copy bandwidth"] = f"{short_bytes(machine['copy_bytes_per_s'])}/s"
    for shape in machine["shapes"]:
        name = f"{shape['layers']}x{shape['heads']}x{shape['width']} T{shape['context']} V{shape['vocab']}"
        share = shape["flops_per_s"] / machine["matmul_flops_per_s"]
        facts[f"trains {name}"] = f"{short_count(shape['positions_per_s'])} positions/s, {share:.0%} of the peak"
    return facts, problems
