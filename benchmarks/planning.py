"""How long planning a large grid takes, and how soon the scheduler knows what may start next.

    python benchmarks/planning.py            # about a minute
    python benchmarks/planning.py --cells 5005
    python benchmarks/planning.py --against ../older    # beside another checkout, in turns; prints the ratios

Two grids of equally many cells: one with 20 seeds of each variant, and one in which every cell is a variant of its
own. Each is planned in a fresh process, which also says how much memory that took at most. Then everything else that
stands between the file and the first training: the command `procray plan --json` as a whole, writing plan.json,
and making the list of segments that are scheduled.

The scheduler's answers are those of the real searcher over a real store on this disk, with every segment of the grid.
Nine tenths of the warm-ups are there already, so that most of it may start; a fiftieth of the other phases is being
trained by another sweep. An answer is `suggest`; a turn is an answer and the
report that the segment is done.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import FOLDER, Row, publish, quartiles

if TYPE_CHECKING:
    from procray.store.store import Store

ROUNDS = 3
ANSWERS = 4000
GRID = """\
name: {name}
setting: additive
seeds: [{seeds}]
model: {{layers: 2, heads: 2, width: 32, context: 64}}
procedural:
  task: {{grid: [identity, reverse, union, set, sort]}}
  length: {{grid: [8, 16, 24, 32]}}
  batch: 16
  tokens: {{grid: [100k, 200k, 400k, 800k, 1.6M]}}
  optimizer: {{lr: 1e-3, schedule: constant, weight_decay: {{grid: [0.0, 0.1]}}}}
transfer: {{grid: [full, attention, mlp, layernorm, attention+mlp]}}
semantic:
  corpus: python-stdlib
  tokenizer: byte
  tokens: 1M
  batch: 16
  optimizer: {{lr: {{grid: [{rates}]}}, schedule: cosine, min_lr: 0.1}}
"""
EACH = 1001  # cells of one seed at one learning rate


def write_grids(folder: Path, cells: int) -> dict[str, Path]:
    """The two sweep files, of about so many cells each."""
    found = {}
    number = max(1, round(cells / EACH))
    for name, seeds, rates in (("seeds", -(-number // 5), min(number, 5)), ("variants", 1, number)):
        found[name] = folder / f"{name}.yaml"
        text = GRID.format(
            name=name,
            seeds=", ".join(map(str, range(seeds))),
            rates=", ".join(f"{rate}e-5" for rate in range(1, rates + 1)),
        )
        found[name].write_text(text, encoding="utf-8")
    return found


def peak() -> float:
    """The most memory that this process has had, in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e9


def measure_plan(file: str) -> dict[str, Any]:
    """In a fresh process: the file read and planned."""
    started, cpu = time.perf_counter(), time.process_time()
    from procray.planning import load_sweep, plan

    graph = plan(load_sweep(file))
    facts = {"seconds": time.perf_counter() - started, "cpu": time.process_time() - cpu, "peak": peak()}
    return {**facts, "cells": len(graph.cells), **graph.totals}


def measure_rest(file: str) -> dict[str, Any]:
    """In a fresh process: what a sweep does after planning and before it starts Ray."""
    from procray.execution.agenda import Agenda
    from procray.execution.jobs import items_of
    from procray.planning import load_sweep, plan
    from procray.store.store import Store

    graph = plan(load_sweep(file))
    with tempfile.TemporaryDirectory(dir=Path(file).parent) as folder:
        store = Store(folder)
        started = time.perf_counter()
        size = store.write_plan(graph).stat().st_size
        written = time.perf_counter()
        store.write_plan(graph)
        same = time.perf_counter()
        items = items_of(graph, store, Path(folder, "control"), Path(folder, "scratch"))
        Agenda(items, store)
        ready = time.perf_counter()
    return {
        "written": written - started,
        "same": same - written,
        "scheduled": ready - same,
        "segments": len(items),
        "bytes": size,
        "peak": peak(),
    }


def measure_offer(file: str) -> dict[str, Any]:
    """In a fresh process: from its start to the first offer; the imports, Ray's among them, count too."""
    from procray.execution.agenda import Agenda
    from procray.execution.room import Nodes, Room
    from procray.execution.searcher import Death, SegmentSearcher

    try:
        from procray.execution.jobs import items_of
        from procray.planning import load_sweep, plan
        from procray.store.store import Store
    except ImportError:  # an older checkout
        from procray.sweep import load_sweep, plan  # type: ignore[import-not-found, no-redef]
        from procray.sweep.store import Store  # type: ignore[import-not-found, no-redef]

        from procray.execution.runner import _items as items_of  # type: ignore[attr-defined, no-redef]

    with tempfile.TemporaryDirectory(dir=Path(file).parent) as folder:
        store = Store(folder)
        graph = plan(load_sweep(file))
        path = store.write_plan(graph)
        agenda = Agenda(items_of(graph, store, Path(folder, "control"), Path(folder, "scratch")), store)
        room = Room(lambda: Nodes(({"CPU": 2.0},)))
        searcher = SegmentSearcher(agenda, lambda trial: Death("gone", trial), room, lambda: None)
        assert isinstance(searcher.suggest("0"), dict)
        used = resource.getrusage(resource.RUSAGE_SELF)
        return {"cpu": used.ru_utime + used.ru_stime, "peak": peak(), "text": sha256(path.read_bytes()).hexdigest()}


def measure_read(file: str) -> dict[str, Any]:
    """In a fresh process: a plan.json read back."""
    from procray.planning.plan_json import read_plan

    before, cpu = peak(), time.process_time()
    graph = read_plan(Path(file))
    facts = {"cpu": time.process_time() - cpu, "before": before, "peak": peak(), "bytes": Path(file).stat().st_size}
    return {**facts, "text": graph.digest}


def write_plan_json(file: Path) -> Path:
    """The plan.json of a sweep file, beside it."""
    from procray.files import write_atomic
    from procray.planning import load_sweep, plan
    from procray.planning.plan_text import plan_lines

    path = file.with_suffix(".plan.json")
    write_atomic(path, plan_lines(plan(load_sweep(file))))
    return path


def leave_marks(store: Store, phase: str, steps: Iterable[int]) -> None:
    """What a training leaves behind, as far as the scheduler looks at it."""
    for step in steps:
        mark = store.phase(phase).path / "marks" / str(step)
        mark.mkdir(parents=True)
        (mark / "manifest.json").touch()


def measure_answers(file: str) -> dict[str, Any]:
    """In a fresh process: the searcher over the whole plan, on a store where others are at work too."""
    from procray.execution.agenda import Agenda
    from procray.execution.jobs import items_of
    from procray.execution.room import Nodes, Room
    from procray.execution.searcher import Death, SegmentSearcher
    from procray.garbage import set_aside
    from procray.planning import load_sweep, plan
    from procray.store.processes import this_process
    from procray.store.store import Store

    def why(trial: str) -> Death:
        return Death("gone", trial)

    graph = plan(load_sweep(file))
    with tempfile.TemporaryDirectory(dir=Path(file).parent) as folder:
        store = Store(folder)
        warm = [phase for phase in graph.phases.values() if phase.kind == "procedural"]
        for phase in warm[len(warm) // 10 :]:
            leave_marks(store, phase.id, phase.marks)
        claim = json.dumps({"attempt": 1, **this_process()})
        for phase in [phase for phase in graph.phases.values() if phase.kind != "procedural"][::50]:
            leases = store.phase(phase.id).path / "leases"
            leases.mkdir(parents=True)
            (leases / "1.json").write_text(claim)
        agenda = Agenda(items_of(graph, store, Path(folder, "control"), Path(folder, "scratch")), store)
        searcher = SegmentSearcher(agenda, why, Room(lambda: Nodes(({"CPU": 2.0},))), lambda: None)
        outcome = {"outcome": json.dumps({"state": "done"})}
        answers, turns = [], []
        with set_aside():  # as the runner does
            for number in range(ANSWERS):
                started = time.perf_counter()
                found = searcher.suggest(str(number))
                answered = time.perf_counter() - started
                if not isinstance(found, dict):
                    break  # nothing is left but what runs elsewhere
                item = agenda.items[found["key"]]
                leave_marks(store, item.phase, item.marks)
                started = time.perf_counter()
                searcher.on_trial_complete(str(number), outcome)
                answers.append(answered)
                turns.append(answered + time.perf_counter() - started)
        elsewhere = sum(agenda.state(key).value == "elsewhere" for key in agenda.items)
    return {"answers": answers, "turns": turns, "segments": len(agenda.items), "elsewhere": elsewhere}


PARTS = {"plan": measure_plan, "rest": measure_rest, "offer": measure_offer, "answers": measure_answers,
         "read": measure_read, "write": lambda file: {"path": str(write_plan_json(Path(file)))}}  # fmt: skip


def in_fresh_process(part: str, file: Path) -> dict[str, Any]:
    words = [sys.executable, str(FOLDER / "planning.py"), "--part", part, str(file)]
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def command_seconds(file: Path) -> float:
    """The whole command, with an empty store."""
    words = [sys.executable, "-c", "from procray.cli import main; main()", "plan", str(file), "--json", "--store"]
    started = time.perf_counter()
    subprocess.run([*words, str(file.parent / "empty")], stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - started


def command_of(checkout: Path, *words: str) -> tuple[float, bytes]:
    """Seconds of processor time that the command of a checkout takes, and what it prints."""
    # Without the installed package's finder, which would fill in modules that an older checkout lacks.
    start = (
        "import sys; sys.meta_path = [one for one in sys.meta_path if '__editable__' not in str(one)]; "
        "from procray.cli import main; main()"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    line = [sys.executable, "-c", start, *words]
    done = subprocess.run(line, stdout=subprocess.PIPE, check=True, env=environment, cwd="/")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.stdout


def part_of(checkout: Path, part: str, file: Path) -> dict[str, Any]:
    start = (
        "import sys; sys.meta_path = [one for one in sys.meta_path if '__editable__' not in str(one)]; "
        f"sys.path.insert(1, {str(FOLDER)!r}); import json, planning; "
        f"print(json.dumps(planning.measure_{part}(sys.argv[1])))"
    )
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    line = [sys.executable, "-c", start, str(file)]
    done = subprocess.run(line, stdout=subprocess.PIPE, text=True, check=True, env=environment, cwd="/")
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def compare(other: Path, grids: dict[str, Path], rounds: int) -> None:
    """Prints processor time there and here, taken in turns, and whether both say the same."""
    here = FOLDER.parent
    for name, file in [*grids.items(), ("", None)]:
        words = ["--help"] if file is None else ["plan", str(file), "--json", "--store", str(file.parent / "empty")]
        pairs = [(command_of(other, *words), command_of(here, *words)) for _ in range(rounds)]
        same = all(old[1] == new[1] for old, new in pairs)
        show(f"procray {words[0]} {name}", [old[0] for old, _ in pairs], [new[0] for _, new in pairs], same)
        if file is not None:
            offers = [(part_of(other, "offer", file), part_of(here, "offer", file)) for _ in range(rounds)]
            same = all(old["text"] == new["text"] for old, new in offers)
            times = [[one[i]["cpu"] for one in offers] for i in (0, 1)]
            show(f"first offer {name}", *times, same)
            room = [max(one[i]["peak"] for one in offers) for i in (0, 1)]
            print(f"    memory {room[0]:.2f} GB there, {room[1]:.2f} GB here")
            path = Path(in_fresh_process("write", file)["path"])
            reads = [(part_of(other, "read", path), part_of(here, "read", path)) for _ in range(rounds)]
            same = all(old["text"] == new["text"] for old, new in reads)
            show(f"plan.json read {name}", *([one[i]["cpu"] for one in reads] for i in (0, 1)), same)
            room = [max(one[i]["peak"] for one in reads) for i in (0, 1)]
            share = room[1] / room[0]
            print(
                f"    memory {room[0]:.2f} GB there, {room[1]:.2f} GB here, {share:.2f}; {reads[0][1]['bytes']:,} bytes"
            )


def show(name: str, old: list[float], new: list[float], same: bool) -> None:
    one, two = statistics.median(old), statistics.median(new)
    print(f"{name:26} {one:6.2f} s there {two:6.2f} s here  {two / one:.2f}  {'same' if same else 'NOT the same'}")


def planning_rows(name: str, file: Path) -> list[Row]:
    plans = [in_fresh_process("plan", file) for _ in range(ROUNDS)]
    rest = in_fresh_process("rest", file)
    command = command_seconds(file)
    low, seconds, high = quartiles([one["seconds"] for one in plans])
    cpu = statistics.median(one["cpu"] for one in plans)
    memory = max(one["peak"] for one in plans)
    facts = plans[0]
    shape = f"{facts['cells']:,} cells ({name}), {facts['phases']:,} phases"
    offer = in_fresh_process("offer", file)
    ready = rest["written"] + rest["scheduled"]
    return [
        Row(f"{shape}: plan", f"{seconds:.1f} s", "", "-", seconds, low, high, "s", 10, True, f"CPU {cpu:.1f} s"),
        Row(f"{shape}: memory", f"{memory:.2f} GB", "", "-", memory, memory, memory, "GB", 1, True),
        Row(f"{shape}: `procray plan --json`", f"{command:.1f} s", "", "-", command, command, command, "s"),
        Row(
            f"{shape}: from the plan to the first offer", f"{ready:.1f} s", "", "-", ready, ready, ready, "s",
            note=f"plan.json ({rest['bytes'] / 1e6:.0f} MB) is written in {rest['written']:.1f} s and found unchanged "
            f"in {rest['same']:.1f} s; {rest['segments']:,} segments are scheduled in {rest['scheduled']:.1f} s; "
            f"at most {rest['peak']:.2f} GB",
        ),
        Row(
            f"{shape}: from the start of the process to the first offer", f"{offer['cpu']:.1f} s", "", "-",
            offer["cpu"], offer["cpu"], offer["cpu"], "s", note="processor time, the imports with Ray's included",
        ),
    ]  # fmt: skip


def answer_rows(file: Path) -> list[Row]:
    found = in_fresh_process("answers", file)
    rows = []
    for name, times in (("next answer", found["answers"]), ("answer and report", found["turns"])):
        cuts = statistics.quantiles([1e3 * one for one in times], n=100)
        middle, last = cuts[49], cuts[98]
        rows.append(
            Row(
                f"{name}, {found['segments']:,} segments, {found['elsewhere']:,} met elsewhere: 99th percentile",
                f"{last:.3f} ms", "", "-", last, last, last, "ms", 1, True,
                f"median {middle:.3f} ms, longest of {len(times):,} {1e3 * max(times):.2f} ms; every offered segment "
                "is looked up in the store, and so is who holds it",
            )
        )  # fmt: skip
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=100_000, help="of each grid, about")
    parser.add_argument("--against", type=Path, metavar="CHECKOUT", help="compare with this one instead")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="of a comparison")
    parser.add_argument("--part", nargs=2, metavar=("PART", "FILE"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.part:
        print(json.dumps(PARTS[given.part[0]](given.part[1])))
        return
    if given.against:
        with tempfile.TemporaryDirectory() as folder:
            compare(given.against.resolve(), write_grids(Path(folder), given.cells), given.rounds)
        return
    with tempfile.TemporaryDirectory() as folder:
        large = write_grids(Path(folder), given.cells)
        Path(folder, "small").mkdir()
        small = write_grids(Path(folder, "small"), EACH)
        rows = [
            *planning_rows("20 seeds of each variant", large["seeds"]),
            *planning_rows("one seed of each variant", large["variants"]),
            *answer_rows(small["seeds"]),
            *answer_rows(large["seeds"]),
        ]
    publish("planning", "How long does planning 100,000 cells take, and how soon is it known what may start?", rows)


if __name__ == "__main__":
    main()
