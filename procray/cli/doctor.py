"""`procray doctor`: is everything here that a sweep needs, and how fast is this machine?"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from procray.cli.terminal import say, short_bytes, short_count

if TYPE_CHECKING:
    from procray.planning import Plan
    from procray.store.store import Store

SECONDS = 15.0  # of training, shared among what is measured
MOST_KINDS = 12  # of the phases of a sweep, those with the most work first

PACKAGES = ("torch", "ray", "mlflow", "transformers", "datasets")


def examine(store: Store, plan: Plan | None = None) -> tuple[dict[str, Any], list[str]]:
    """Facts about this machine and what is wrong with it; the measured rates go to `<store>/machine.json`.

    Args:
        plan: measure the shapes of its phases too.
    """
    import psutil
    import torch

    from procray.errors import ProcrayError
    from procray.files import write_json

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
    copies = f"; copies in {store.path}" if store.in_bucket else ""
    facts["store"] = f"{store}{copies} ({short_bytes(free)} free)"
    try:
        store.check()
    except ProcrayError as problem:
        problems.append(str(problem))
    if not os.access(store.path, os.W_OK):
        problems.append(f"{store.path} cannot be written")
    if free < 2e9:
        problems.append(f"only {short_bytes(free)} free in {store.path}")
    shared = shutil.disk_usage("/dev/shm").free if os.path.isdir("/dev/shm") else None
    if shared is not None and shared < 100e6:
        problems.append(f"/dev/shm has {short_bytes(shared)} free; Ray's object store needs about 100 MB")

    say("measuring this machine ...")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    machine = measured(device, store, plan, processors or 1)
    write_json(store.path / "machine.json", machine)
    peaks = machine["matmul_flops_per_s"]
    each = f"{machine['threads']} thread{'s' * (machine['threads'] > 1)}, {machine['processes']} at a time"
    facts["matmul peak"] = f"{', '.join(f'{rate / 1e9:.0f} GFLOP/s in {name}' for name, rate in peaks.items())}; {each}"
    facts["copy bandwidth"] = f"{short_bytes(machine['copy_bytes_per_s'])}/s"
    for shape in machine["shapes"]:
        share = shape["flops_per_s"] / peaks["bf16" if device == "cuda" else "fp32"]
        facts[f"trains {shape['name']}"] = (
            f"{short_count(shape['positions_per_s'])} positions/s, {share:.0%} of the peak"
        )
    if plan is not None:
        facts["measured"] = f"{len(machine['measured'])} kinds of phases of {plan.title}"
    return facts, problems


def measured(device: str, store: Store, plan: Plan | None, processors: int) -> dict[str, Any]:
    """What processes as a sweep starts them measure, as many side by side as the sweep would run.

    Raises:
        EnvironmentProblem: one of them ended without an answer.
    """
    from procray.children import child_environment
    from procray.cli.prediction import side_by_side
    from procray.errors import EnvironmentProblem
    from procray.planning.calibration import speed_key
    from procray.training.calibrate import mean
    from procray.training.environment import worker_environment

    kinds: dict[str, Any] = {}
    threads, count = 1, processors if device == "cpu" else 1
    if plan is not None:
        for phase in plan.phases.values():
            kinds.setdefault(speed_key(phase.recipe), phase)
        threads = max(int(max(1, phase.resources["cpu"])) for phase in kinds.values())
        count = side_by_side(plan) if device == "cpu" else 1
    if len(kinds) > MOST_KINDS:
        heaviest = sorted(kinds, key=lambda key: -kinds[key].flops)[:MOST_KINDS]
        kinds = {key: kinds[key] for key in heaviest}
    request = {
        "device": device,
        "threads": threads,
        "corpora": str(store.corpora),
        "seconds": SECONDS / (3 + len(kinds)),
        "phases": {key: {"recipe": one.recipe.to_json(), "vocab": one.vocab} for key, one in kinds.items()},
    }
    command = [sys.executable, "-m", "procray.training.calibrate"]
    environment = child_environment(worker_environment(threads))
    pipe = subprocess.PIPE
    running = [subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, text=True) for _ in range(count)]
    for process in running:
        assert process.stdin is not None
        process.stdin.write(json.dumps(request))
        process.stdin.close()
    answers = [process.stdout.read() for process in running if process.stdout is not None]
    if any(process.wait() for process in running):
        raise EnvironmentProblem("this machine could not be measured: a measuring process failed, see above")
    return mean([json.loads(answer) for answer in answers])
