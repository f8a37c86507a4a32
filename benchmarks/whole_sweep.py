"""One whole sweep, from the command to its report, beside a script for every run.

    python benchmarks/whole_sweep.py           # of the peer every recipe at one seed, times the seeds; 6 minutes
    python benchmarks/whole_sweep.py --all     # all of the peer's runs; 12 minutes
    python benchmarks/whole_sweep.py --shipped # beside the model as transformers ships it
    python benchmarks/whole_sweep.py --set 'seeds=[0]' --all    # a third of both

Ours is `procray sweep` as a user types it, in a new store: corpus, training, checkpoints, MLflow, report. The peer's
side is `trainer_script.py` once for every phase of the same plan, one after another: the same batches in the same
order, the same evaluations and marks, the weights carried over as the plan says. Its data are made before the clock
starts, and nothing records its runs. Half of its runs come before the sweep and half after.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from harness import FOLDER, ROOT, Row, machine, publish

import procray
from procray import corpora
from procray.batch import Batch
from procray.execution.preparation import prepare_corpora
from procray.planning import Plan, PlannedPhase
from procray.store.store import Store
from procray.training.recipe import PhaseRecipe
from procray.training.source import Source, task_source, text_source

SWEEP = ROOT / "sweeps" / "substitutive.yaml"
SCALE = "laptop"
FLOOR = 3.0
LOOK = 0.5  # seconds between two looks at the processor time of the sweep's processes
# Chosen for the peer: the tanh form of GELU is one kernel and the same function, and a cache is of no use in training.
# With the attention kernel and the fused AdamW that transformers takes by itself, all are given in the row.
TUNED = {"activation_function": "gelu_pytorch_tanh", "use_cache": False}
PEER = "transformers Trainer, one process a phase: fp32, SDPA, adamw_torch_fused"
ROLES = {  # of the processes below the command, by a word of their command line
    "ray::SegmentTrial": "training",
    "procray.tracking": "MLflow",
    "procray sweep": "command",
}


@dataclass(frozen=True)
class Run:
    """One phase of the peer: its wall time, its processor time, and where it ended."""

    seconds: float
    processor: float
    loss: float
    accuracy: float


# -- the peer --------------------------------------------------------------------------------------------


def source_of(recipe: PhaseRecipe, store: Store) -> Source:
    return (
        task_source(recipe) if "task" in recipe.data else text_source(recipe, corpora.load(recipe.data, store.corpora))
    )


def arrays(split: str, batches: Iterable[Any]) -> dict[str, np.ndarray]:
    """Batches as the peer's script reads them: tokens, where one is predicted, and how long each sequence is."""
    made: list[Batch] = list(batches)
    width = max(batch.tokens_BT.shape[1] for batch in made)
    columns: dict[str, list[np.ndarray]] = {"tokens": [], "scored": [], "lengths": []}
    for batch in made:
        size, length = batch.tokens_BT.shape
        wide = ((0, 0), (0, width - length))
        columns["tokens"].append(np.pad(batch.tokens_BT, wide).astype(np.uint16))
        scored_BT = np.pad(batch.mask_BT[:, :-1], ((0, 0), (1, 0)))  # there the token is said, here the one before it
        columns["scored"].append(np.pad(scored_BT, wide))
        columns["lengths"].append(np.full(size, length))
    return {f"{split}_{name}": np.concatenate(parts) for name, parts in columns.items()}


def specify(
    recipe: PhaseRecipe, marks: list[int], source: Source, folder: Path, model: dict[str, Any] | None = None
) -> Path:
    """Writes what the peer's script needs for one phase; returns the path of its SPEC.json.

    A parent is sought where the script left it: in the folder of its own id below `folder`.

    Args:
        model: further keywords of GPT2Config; `TUNED` without them.
    """
    shape = recipe.model
    assert recipe.precision == "fp32"
    assert source.vocab <= np.iinfo(np.uint16).max
    data = folder / f"{recipe.id}.npz"
    train, held_out = (source.batch(step, None) for step in range(marks[-1])), source.validation(None)
    np.savez(data, **arrays("train", train), **arrays("held_out", held_out))
    spec = {
        "model": {
            "vocab_size": source.vocab,
            "n_positions": shape.context,
            "n_embd": shape.width,
            "n_layer": shape.layers,
            "n_head": shape.heads,
            **dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), shape.dropout),
            "tie_word_embeddings": shape.tied,
            "bos_token_id": None,
            "eos_token_id": None,
            **(TUNED if model is None else model),
        },
        "data": str(data),
        "batch": recipe.batch,
        "steps": marks[-1],
        "marks": marks,
        "every": recipe.evaluation.every,
        "optimizer": recipe.to_json()["optimizer"],
        "seed": recipe.seed,
    }
    parents = recipe.init.parents()
    if parents:
        (parent,) = parents
        spec["parent"] = str(folder / parent.phase / f"checkpoint-{parent.step}")
        spec["components"] = list(recipe.init.components)
    path = folder / f"{recipe.id}.json"
    path.write_text(json.dumps(spec), encoding="utf-8")
    return path


def run_peer(spec: Path, threads: int) -> Run:
    """One run of the script, from the start of its process to its end."""
    output = spec.with_suffix("")
    command = [sys.executable, str(FOLDER / "trainer_script.py"), str(spec), "--output", str(output)]
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": str(threads),
        "OMP_WAIT_POLICY": "passive",  # in its favour where others work on the machine; nothing otherwise
        "HF_HUB_OFFLINE": "1",
    }
    before, started = os.times(), time.monotonic()
    done = subprocess.run(
        [*command, "--threads", str(threads)], env=environment, capture_output=True, text=True, check=False
    )
    seconds, after = time.monotonic() - started, os.times()
    processor = after.children_user + after.children_system - before.children_user - before.children_system
    if done.returncode:
        raise SystemExit(f"the peer's script failed on {spec}:\n{done.stderr}")
    last = json.loads((output / "curve.json").read_text(encoding="utf-8"))[-1]
    return Run(seconds, processor, last["loss"], last["accuracy"])


# -- ours ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ours:
    """`procray sweep` in a new store, after `procray doctor` for the same file.

    Attributes:
        seconds: wall time of the whole command.
        parts: the seconds of its parts, which add up to that.
        used: processor time by role.
        doctor: wall time of the doctor, which is not in `seconds`.
        said: how the sweep compared its prediction with its time.
    """

    seconds: float
    parts: dict[str, float]
    used: Counter[str]
    doctor: float
    said: str

    @property
    def error(self) -> float:
        """By how many per cent of the time the prediction was wrong."""
        found = re.search(r"\(([+-]\d+) %\)", self.said)
        assert found is not None, self.said
        return abs(float(found[1]))


def run_sweep(plan: Plan, folder: Path, options: list[str]) -> Ours:
    store = Store(folder)
    procray_command = str(Path(sys.executable).with_name("procray"))
    clock = time.monotonic()
    measure = [procray_command, "doctor", str(SWEEP), "--scale", SCALE, *options, "--store", str(folder)]
    subprocess.run(measure, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    doctor = time.monotonic() - clock
    command = [procray_command, "sweep", str(SWEEP), "--scale", SCALE, *options]
    started, clock = time.time(), time.monotonic()
    with open(folder.with_suffix(".log"), "w+", encoding="utf-8") as log:
        process = subprocess.Popen([*command, "--store", str(folder)], stdout=log, stderr=subprocess.STDOUT)
        used = processor_time(process)
        seconds = time.monotonic() - clock
        if process.returncode:
            log.seek(0)
            raise SystemExit(f"the sweep ended with {process.returncode}:\n{log.read()}")
        log.seek(0)
        said = next(line for line in log if line.startswith("took "))
    return Ours(seconds, parts(plan, store, started, seconds), used, doctor, said.partition("; logs")[0].strip())


def processor_time(process: subprocess.Popen[bytes]) -> Counter[str]:
    """Waits for a process; the processor time that it and everything below it took, by role."""
    seen: dict[int, tuple[str, float]] = {}
    root = psutil.Process(process.pid)
    while process.poll() is None:
        try:
            for one in (root, *root.children(recursive=True)):
                words = " ".join(one.cmdline())
                before = seen[one.pid][0] if one.pid in seen else "Ray"  # a worker has another name when it ends
                role = next((role for word, role in ROLES.items() if word in words), before)
                times = one.cpu_times()
                seen[one.pid] = role, times.user + times.system
        except psutil.Error:
            pass  # it ended while it was looked at
        time.sleep(LOOK)
    found: Counter[str] = Counter()
    for role, seconds in seen.values():
        found[role] += seconds
    return found


def parts(plan: Plan, store: Store, started: float, seconds: float) -> dict[str, float]:
    """The wall time of a sweep in parts, read from what it left in its store.

    While phases train, side by side on `slots` processors, their times are divided by `slots`.
    """
    slots = machine()["cores"]
    rows = [row for phase in plan.phases for row in store.phase(phase).curve()]
    training = measuring = 0.0
    for phase in plan.phases:
        curve = store.phase(phase).curve()
        training += curve[-1]["seconds"]
        for before, after in pairwise(curve):
            passed, trained = after["time"] - before["time"], after["seconds"] - before["seconds"]
            # Between two segments a phase may have waited; what came after its mark is not known then.
            if before["step"] not in plan.phases[phase].marks:
                measuring += passed - trained
    first, last = min(row["time"] for row in rows), max(row["time"] for row in rows)
    found = {}
    at = started
    preparations = sorted(store.corpora.glob("*/lock"))
    if preparations:
        found["imports, plan"] = min(path.stat().st_mtime for path in preparations) - at
        at = max(path.stat().st_mtime for path in store.corpora.glob("*/manifest.json"))
        found["corpus"] = at - started - found["imports, plan"]
    found["Ray, its workers, their imports"] = first - at
    found["training steps"] = training / slots
    found["evaluations"] = measuring / slots
    found["marks, between segments, waiting"] = last - first - (training + measuring) / slots
    report = (store.plan_folder(plan.title, plan.digest) / "report" / "report.html").stat().st_mtime
    found["end of Ray, report"] = report - last
    found["last look of MLflow, exit"] = started + seconds - report
    return found


# -- both ------------------------------------------------------------------------------------------------


def compare(plan: Plan, store: Store, groups: dict[str, list[PlannedPhase]], runs: dict[str, Run]) -> list[list[str]]:
    """For every recipe where both sides end: the same work should lead to about the same numbers."""
    rows = []
    for variant, phases in groups.items():
        ours = [store.phase(phase.id).manifest(phase.end) for phase in phases]
        theirs = [runs[phase.id] for phase in phases if phase.id in runs]
        cells = [[one["loss"] for one in ours], [one.loss for one in theirs]]
        cells += [[one["accuracy"] for one in ours], [one.accuracy for one in theirs]]
        rows.append([variant, *(", ".join(f"{value:.3f}" for value in values) for values in cells)])
    return rows


def markdown(head: list[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def short_time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--all", action="store_true", help="run every phase of the peer's, not one seed of each")
    parser.add_argument("--shipped", action="store_true", help="the peer's model as transformers ships it")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="as `procray sweep --set`")
    parser.add_argument("--threads", type=int, default=machine()["cores"], help="of the peer; all cores without it")
    given = parser.parse_args()
    plan = procray.plan(procray.load_sweep(SWEEP, scale=SCALE, set=given.set))
    groups: dict[str, list[PlannedPhase]] = {}
    for phase in plan.phases.values():
        groups.setdefault(phase.variant, []).append(phase)
    chosen = [phase for phase in plan.phases.values() if given.all or phase is groups[phase.variant][0]]
    with tempfile.TemporaryDirectory(prefix="whole-sweep-") as temporary:
        folder = Path(temporary)
        mine = Store(folder / "prepared")
        prepare_corpora(plan, mine)
        model = {} if given.shipped else TUNED
        specs = {
            phase.id: specify(phase.recipe, phase.marks, source_of(phase.recipe, mine), folder, model)
            for phase in chosen
        }
        runs: dict[str, Run] = {}

        def take(phases: list[PlannedPhase]) -> None:
            for phase in phases:
                runs[phase.id] = run_peer(specs[phase.id], given.threads)
                print(f"peer: {phase.label} {runs[phase.id].seconds:.1f} s", flush=True)

        half = math.ceil(len(chosen) / 2)
        take(chosen[:half])
        ours = run_sweep(plan, folder / "store", [word for pair in given.set for word in ("--set", pair)])
        seconds, spent, used = ours.seconds, ours.parts, ours.used
        print(f"procray: {seconds:.1f} s", flush=True)
        take(chosen[half:])
        science = compare(plan, Store(folder / "store"), groups, runs)

    each = {name: [runs[phase.id].seconds for phase in phases if phase.id in runs] for name, phases in groups.items()}

    def scaled(cost: Callable[[Run], float]) -> float:
        """What all runs of the peer cost, from those that were made."""
        return sum(
            statistics.mean(cost(runs[phase.id]) for phase in phases if phase.id in runs) * len(phases)
            for phases in groups.values()
        )

    theirs, processor = scaled(lambda run: run.seconds), scaled(lambda run: run.processor)
    counted = "all of the peer's runs" if given.all else "the peer's runs of one seed, times the number of seeds"
    numbers = Counter({name: len(phases) for name, phases in groups.items()})
    totals = plan.totals
    settings = "GELU and cache as shipped" if given.shipped else "tanh GELU, no cache"
    row = Row(
        shape=f"{plan.name}@{plan.scale}, {totals['phases']} phases, {totals['tokens'] / 1e6:.1f}M tokens",
        ours=short_time(seconds),
        theirs=short_time(theirs),
        peer=f"{PEER}, {settings}, {given.threads} threads",
        value=theirs / seconds,
        low=theirs / seconds,
        high=theirs / seconds,
        floor=FLOOR,
        note=f"{counted}: {', '.join(f'{name} {number} x {each[name][0]:.1f} s' for name, number in numbers.items())}. "
        "Ours with corpus, MLflow and report; the peer's data are made before its clock starts",
    )
    doctor = Row(
        shape=f"procray doctor for {plan.name}@{plan.scale}",
        ours=f"{ours.doctor:.0f} s",
        theirs="",
        peer="-",
        value=ours.doctor,
        low=ours.doctor,
        high=ours.doctor,
        unit="s",
        floor=60,
        most=True,
    )
    predicted = Row(
        shape=f"{plan.name}@{plan.scale}, time as predicted after it",
        ours=ours.said,
        theirs="",
        peer="-",
        value=ours.error,
        low=ours.error,
        high=ours.error,
        unit="%",
        floor=30,
        most=True,
    )
    publish(
        "whole_sweep" + "_shipped" * given.shipped,
        "A whole sweep: how long does it take, beside a Trainer script for every run?",
        [row, doctor, predicted],
        seconds=seconds,
        peer_seconds=each,
        parts=spent,
        processor_seconds=dict(used),
        peer_processor_seconds=processor,
        science=science,
        notes=[
            "Processor time of the sweep's processes: "
            + ", ".join(f"{role} {value:.0f} s" for role, value in used.most_common())
            + f"; of the peer's {processor:.0f} s"
        ],
        tables=[
            markdown(
                ["part of the sweep", "seconds", "share"],
                [[name, f"{value:.1f}", f"{100 * value / seconds:.0f} %"] for name, value in spent.items()],
            ),
            "Both sides do the same work, from other initial weights:\n\n"
            + markdown(
                ["recipe", "final loss, by seed", "the peer's", "final accuracy, by seed", "the peer's"], science
            ),
        ],
    )


if __name__ == "__main__":
    main()
