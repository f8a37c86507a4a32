"""How much of one GPU does training use? Needs a CUDA device; torch, numpy and safetensors suffice.

    python benchmarks/gpu.py                    # everything, 6 to 8 minutes on one H200
    python benchmarks/gpu.py --only step,packs  # some of: step, large, phase, packs, profile
    python benchmarks/gpu.py --dry              # the same on a CPU with tiny shapes; nothing is published

`step`: GPT-2 124M at T 1024, beside a tuned and compiled loop with transformers' model, if that is installed.
`large`: 1.3 billion parameters on one GPU. `phase`: the official phase 1, a process of its own from start to end.
`packs`: many tiny models together. `profile`: where the time of one step goes.

MFU is positions/s times FLOPs per position (6 N + attention, as `flops_per_token` says) over the peak of dense bfloat16
products: `--peak-tflops`, or what is known of the device.
"""

from __future__ import annotations

import argparse
import gc
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import packs
import torch
from harness import FOLDER, RESULTS, Row, in_own_environment, publish, quartiles, ratio, take_turns
from noise import ours, steps, transformers_step

from procray import tasks
from procray.model import flops_per_token, parameters
from procray.training import runtime as rt
from procray.training.loop import Run
from procray.training.peak import gpu_peak
from procray.training.recipe import Evaluation, ModelShape, Optimizer, PhaseRecipe

NO_CUDA = 3  # exit code
PEER = "GPT2LMHeadModel: bf16, SDPA, tanh GELU, no cache, fused AdamW, vocabulary 50304, torch.compile"


@dataclass(frozen=True)
class Size:
    """What is measured: the real thing, or something tiny that goes through the same lines."""

    vocab: int
    step: ModelShape
    step_batch: int
    large: ModelShape
    large_batch: int
    length: int  # of the official phase's sequences
    phase: ModelShape
    phase_steps: int
    count: int  # steps in one turn
    rounds: int


REAL = Size(
    50257,
    ModelShape(12, 12, 768, context=1024),
    32,
    ModelShape(24, 16, 2048, context=1024),
    16,
    64,
    ModelShape(12, 12, 768, context=129, dropout=0.1),
    2501,
    20,
    5,
)
DRY = Size(
    300, ModelShape(2, 2, 16, context=32), 4, ModelShape(2, 2, 32, context=32), 2, 4, ModelShape(1, 2, 16, 9), 4, 2, 2
)


@dataclass(frozen=True)
class Machine:
    """Where it is measured, and against which peak."""

    device: torch.device
    peak: float  # FLOP/s

    @property
    def cuda(self) -> bool:
        return self.device.type == "cuda"

    def of_peak(self, run: Run, positions_per_s: float) -> float:
        """Per cent of the peak."""
        config = run.model.config
        return 100 * positions_per_s * flops_per_token(config, run.source.context) / self.peak

    def memory(self) -> float:
        """GB that this process has held at most since the last call."""
        if not self.cuda:
            return 0.0
        held = torch.cuda.max_memory_allocated(self.device) / 1e9
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(self.device)
        return held


def mfu_row(machine: Machine, name: str, run: Run, times: list[float], count: int, floor: float | None) -> Row:
    positions = count * run.recipe.batch * run.source.context
    rates = [positions / seconds for seconds in times]
    low, middle, high = quartiles([machine.of_peak(run, rate) for rate in rates])
    return Row(
        shape=name,
        ours=f"{quartiles(rates)[1]:,.0f} positions/s",
        theirs="",
        peer=f"{machine.peak / 1e12:.0f} TFLOP/s, the device's bf16 peak",
        value=middle,
        low=low,
        high=high,
        unit="% MFU",
        floor=floor,
    )


def begin(machine: Machine, size: Size, shape: ModelShape, batch: int) -> Run:
    """A phase with the choices of a long one: blocks compiled, and the loss with them."""
    run = ours(shape, size.vocab, batch, machine.device, "bf16", compile=machine.cuda)
    rt.set_process(run.runtime)
    return run


def step(machine: Machine, size: Size) -> list[Row]:
    """124M: MFU, and the ratio to the peer."""
    shape = size.step
    name = f"{shape.layers}x{shape.heads}x{shape.width}, T {shape.context}, V {size.vocab}, B {size.step_batch}, bf16"
    machine.memory()
    run = begin(machine, size, shape, size.step_batch)
    say(f"  ours: first step after {seconds(lambda: steps(run, 1)):.1f} s, {machine.memory():.1f} GB")
    sides: dict[str, Callable[[], object]] = {"procray": lambda: steps(run, size.count)}
    if find_spec("transformers"):
        peer = transformers_step(shape, size.vocab, size.step_batch, machine.device, "bf16", tuned=True)
        say(f"  transformers: first step after {seconds(lambda: peer(1)):.1f} s, {machine.memory():.1f} GB")
        sides["transformers"] = lambda: peer(size.count)
    times = take_turns(sides, rounds=size.rounds, warmup=2, clock=time.perf_counter)
    rows = [mfu_row(machine, name, run, times["procray"], size.count, 45.0)]
    if "transformers" not in times:
        say("  transformers is not installed here, so there is no peer")
        return rows
    value, low, high = ratio(times, "procray", "transformers")
    positions = size.count * size.step_batch * shape.context
    theirs = positions / quartiles(times["transformers"])[1]
    return [*rows, Row(name, rows[0].ours, f"{theirs:,.0f} positions/s", PEER, value, low, high, floor=1.0)]


def large(machine: Machine, size: Size) -> list[Row]:
    """1.3B: memory and MFU."""
    shape = size.large
    machine.memory()
    run = begin(machine, size, shape, size.large_batch)
    say(f"  {parameters(run.model.config) / 1e9:.2f} B parameters, {run.runtime.micro_batch} sequences at once")
    say(f"  first step after {seconds(lambda: steps(run, 1)):.1f} s")
    count = max(1, size.count // 4)
    times = take_turns({"procray": lambda: steps(run, count)}, rounds=size.rounds, clock=time.perf_counter)
    held = machine.memory()
    name = f"{shape.layers}x{shape.heads}x{shape.width}, T {shape.context}, V {size.vocab}, B {size.large_batch}, bf16"
    room = torch.cuda.get_device_properties(machine.device).total_memory / 1e9 if machine.cuda else 1.0
    return [
        mfu_row(machine, name, run, times["procray"], count, 45.0),
        Row(name, f"{held:.1f} GB at most", "", "the device's memory", held, held, held, "GB", room, most=True),
    ]


def phase(machine: Machine, size: Size) -> list[Row]:
    """The official phase 1 as a user runs it: one process, from its start to its end."""
    task = tasks.get("set", length=size.length, vocab=100)
    recipe = PhaseRecipe(
        kind="procedural",
        model=size.phase,
        data={"task": task.recipe()},
        batch=64,
        optimizer=Optimizer(lr=5e-4),
        evaluation=Evaluation(every=max(1, size.phase_steps // 5), sequences=640),
        seed=0,
        precision="bf16",
    )
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "recipe.json").write_text(json.dumps(recipe.to_json()))
        command = [sys.executable, "-m", "procray.training", f"{folder}/recipe.json", f"{folder}/phase"]
        command += ["--until", str(size.phase_steps), "--device", str(machine.device)]

        def go() -> None:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise RuntimeError(f"the phase ended with {done.returncode}: {done.stderr[-2000:]}")

        whole = seconds(go)
        lines = (Path(folder) / "phase" / "journal.jsonl").read_text().splitlines()
    last = json.loads(lines[-1])
    positions = last["positions"] / 1e6
    shape = f"{size.phase.layers}x{size.phase.heads}x{size.phase.width}"
    say(f"  {positions:.1f} M positions in {whole:.1f} s, {last['seconds']:.1f} s of them training")
    return [
        Row(
            shape=f"{shape}, SET L {size.length}, B 64, {size.phase_steps} steps, bf16, dropout {size.phase.dropout}",
            ours=f"{positions:.1f} M positions, {last['seconds']:.1f} s of training",
            theirs="",
            peer="from the start of the process to its end: evaluations, marks and resume states included",
            value=whole,
            low=whole,
            high=whole,
            unit="s",
            floor=60.0,
            most=True,
        )
    ]


KINDS = {
    "attention": "flash|fmha|attention|sdp|efficient",
    "loss": "softmax|nll|cross_entropy",
    "matrix products": "gemm|nvjet|cutlass|cublas|addmm|::mm|bmm|onednn|mkldnn",
    "optimiser and clipping": "adam|multi_tensor|foreach|norm_",
    "embeddings": "embedding|index|gather|scatter",
    "copies and casts": "memcpy|memset|copy|::to|cat",
    "other, element by element": "",
}


def profile(machine: Machine, size: Size) -> str:
    """A Markdown table of where the time of one 124M step goes."""
    run = begin(machine, size, size.step, size.step_batch)
    steps(run, 3)
    kinds = [torch.profiler.ProfilerActivity.CPU] + [torch.profiler.ProfilerActivity.CUDA] * machine.cuda
    count = 5
    with torch.profiler.profile(activities=kinds) as profiler:
        wall = seconds(lambda: steps(run, count)) / count
    shares = dict.fromkeys(KINDS, 0.0)
    for event in profiler.key_averages():
        spent = event.self_device_time_total if machine.cuda else event.self_cpu_time_total
        if machine.cuda and event.device_type != torch.autograd.DeviceType.CUDA:
            continue
        kind = next(kind for kind, pattern in KINDS.items() if re.search(pattern, event.key, re.IGNORECASE))
        shares[kind] += spent / 1e6 / count
    lines = ["| one step of 124M | ms | of the step |", "|---|---|---|"]
    for kind, spent in sorted(shares.items(), key=lambda item: -item[1]):
        lines.append(f"| {kind} | {1e3 * spent:.2f} | {100 * spent / wall:.1f} % |")
    idle = max(0.0, wall - sum(shares.values()))
    lines.append(f"| nothing on the device (profiling included) | {1e3 * idle:.2f} | {100 * idle / wall:.1f} % |")
    return "\n".join(lines)


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def say(text: str) -> None:
    print(text, flush=True)


def run_all(machine: Machine, size: Size, only: list[str], dry: bool) -> tuple[list[Row], list[str], list[str]]:
    """Rows, Markdown tables, and notes about what failed: one question must not cost the others their answers."""
    questions: dict[str, Callable[[], list[Row]]] = {
        "step": lambda: step(machine, size),
        "large": lambda: large(machine, size),
        "phase": lambda: phase(machine, size),
        "packs": lambda: packs.rows(str(machine.device), dry),
    }
    rows: list[Row] = []
    tables: list[str] = []
    notes: list[str] = []
    started = time.perf_counter()
    for name in only:
        say(f"{name} ({time.perf_counter() - started:.0f} s so far)")
        try:
            if name == "profile":
                tables.append(profile(machine, size))
                say(tables[-1])
            else:
                found = questions[name]()
                rows += found
                for row in found:
                    say(f"  {row.shape}: {row.ours}, {row.value:.3g} {row.unit}")
        except Exception as error:
            if dry:
                raise
            notes.append(f"{name} failed: {type(error).__name__}: {str(error)[:500]}")
            say(f"  {notes[-1]}")
        gc.collect()
        torch._dynamo.reset()  # graphs of one question must not count as variants in the next
        machine.memory()
    return rows, tables, notes


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", metavar="A,B", help="some of the questions")
    parser.add_argument("--dry", action="store_true", help="tiny shapes on a CPU; nothing is published")
    parser.add_argument("--peak-tflops", type=float, help="dense bfloat16 peak of the device")
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="copy the results there too")
    given = parser.parse_args()
    known = ["step", "large", "phase", "packs", "profile"]
    only = given.only.split(",") if given.only else known
    if not set(only) <= set(known):
        parser.error(f"--only takes some of {', '.join(known)}")
    if not given.dry and not torch.cuda.is_available():
        print("error: this measures a CUDA device, and none is visible; --dry tries the code on a CPU", file=sys.stderr)
        return NO_CUDA
    in_own_environment()
    if given.dry:
        machine = Machine(torch.device("cpu"), 1e12)
    else:
        name = torch.cuda.get_device_name()
        peak = 1e12 * given.peak_tflops if given.peak_tflops else gpu_peak(name, autocast=True, tf32=True)
        if peak is None:
            parser.error(f"the peak of {name} is not known; give --peak-tflops")
        machine = Machine(torch.device("cuda:0"), peak)
        say(f"{name}, {peak / 1e12:.0f} TFLOP/s")
    rows, tables, notes = run_all(machine, DRY if given.dry else REAL, only, given.dry)
    if given.dry:
        return 0
    more: dict[str, Any] = {"tables": tables, "notes": notes}
    publish("gpu", "How much of one GPU does training use?", rows, **more)
    if given.output:
        given.output.mkdir(parents=True, exist_ok=True)
        for path in (RESULTS / "gpu.json", FOLDER / "README.md"):
            shutil.copy(path, given.output)
    return 1 if notes else 0


if __name__ == "__main__":
    sys.exit(main())
