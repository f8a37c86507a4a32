"""What a thousand phases cost the scheduler, and how well a hundred thousand keep a thousand GPUs busy.

    python benchmarks/scale.py                    # about 3 minutes on 2 cores
    python benchmarks/scale.py --phases 10 100    # less of the first part
    python benchmarks/scale.py --record sweeps/substitutive.yaml    # writes the trace anew: trains that sweep

First part: phases of one training step, through the real command's `run` (Tune, searcher, trials, leases, marks,
journals), on three raylets on this machine with one processor each. Everything but the training is what any sweep
does. Each size runs in a fresh process, which reads the memory of the driver (itself) and of every trial process
(PSS: shared pages count in part) every two seconds.

Second part: the real agenda hands out 100,000 phases in virtual time, to 100 and to 1,000 nodes with a GPU each. How
long a segment takes is drawn from `traces/`: recorded segments of a real sweep. The agenda does not know the
durations; it orders by FLOPs, as always. A node is given its next segment GAP seconds after its last, which is what
the first part measures.

Third part: the requests of a segment to the store and to MLflow are counted where they leave (botocore; the MLflow
client) and laid upon the simulated schedule.
"""

from __future__ import annotations

import argparse
import csv
import heapq
import json
import os
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from harness import FOLDER, ROOT, Row, in_own_environment, publish

sys.path.insert(0, str(ROOT / "tests" / "execution"))

TRACE = FOLDER / "traces" / "segments.csv"
SIZES = (10, 100, 1000)
RAYLETS = 3
EVERY = 2.0  # seconds between two looks at the memory
GAP = 0.2  # seconds between two segments of a node
CELLS = 100_000
NODES = (100, 1000)
DRIVER_GROWTH, WORKER_GROWTH = 60.0, 30.0  # MB over the last nine tenths of the largest size, at most
SLOWER = 1.25  # the last phases against the first, at most


# -- a thousand phases through Tune --------------------------------------------------------------------------


def pss(pid: int) -> float:
    """The memory of a process in MB, shared pages in part; 0 when it is gone."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    except OSError:
        return 0.0
    return next(int(line.split()[1]) / 1024 for line in text.splitlines() if line.startswith("Pss:"))


def trial_processes() -> dict[int, float]:
    """PSS of every trial process below this one."""
    import psutil

    found = {}
    for process in psutil.Process().children(recursive=True):
        try:
            if re.search("SegmentTrial|ResourceTrainable", " ".join(process.cmdline())):  # as Tune calls it
                found[process.pid] = pss(process.pid)
        except psutil.Error:
            continue
    return found


def measure_phases(count: int) -> dict[str, Any]:
    """In a fresh process: so many phases of one step; see the top of the file."""
    # Ray reads these at its import: 127.0.0.1 only (not what its name says), and no token in the home folder.
    os.environ |= {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_AUTH_MODE": "disabled"}
    import ray
    from ray.cluster_utils import Cluster
    from small_plans import phase, plan

    from procray.execution import RunOptions, run
    from procray.execution.cluster import OBJECT_STORE, QUIET
    from procray.execution.room import DRIVER

    os.environ.update(QUIET)
    graph: Any = plan(*(phase(f"p{seed}", [1], seed=seed, decaying=True) for seed in range(count)))
    done: list[tuple[float, float]] = []  # seconds, CPU seconds of this process
    samples: list[dict[str, Any]] = []
    started, over = time.perf_counter(), threading.Event()

    def note(event: dict[str, Any]) -> None:
        if event["event"] == "done":
            done.append((time.perf_counter() - started, time.process_time()))

    def watch() -> None:
        while not over.wait(EVERY):
            sample = {"done": len(done), "driver": pss(os.getpid()), "workers": sorted(trial_processes().values())}
            samples.append(sample)

    # Every raylet would take a part of the machine's memory for objects, which nobody here makes.
    node = {"num_cpus": 1, "object_store_memory": OBJECT_STORE, "node_ip_address": "127.0.0.1"}
    session = tempfile.mkdtemp(prefix="scale-", dir="/tmp")  # Ray's sockets allow short paths only
    cluster = Cluster(initialize_head=True, head_node_args={**node, "resources": {DRIVER: 8}, "temp_dir": session})
    for _ in range(RAYLETS - 1):
        cluster.add_node(**node)
    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    with tempfile.TemporaryDirectory() as folder:
        watcher = threading.Thread(target=watch, daemon=True)
        started = time.perf_counter()
        watcher.start()
        result = run(graph, Path(folder, "store"), RunOptions(on_event=note))
        seconds = time.perf_counter() - started
        over.set()
        watcher.join()
    ray.shutdown()
    cluster.shutdown()
    shutil.rmtree(session, ignore_errors=True)
    assert len(result.done) == count, result
    return {"count": count, "seconds": seconds, "done": done, "samples": samples}


def rate(done: list[list[float]], first: int, last: int) -> float:
    """Seconds a phase between two of them."""
    return (done[last - 1][0] - done[first - 1][0]) / (last - first)


def slope(
    samples: list[dict[str, Any]], value: Callable[[dict[str, Any]], float], after: int
) -> tuple[float, float, float]:
    """Medians of a value early and late in what follows the first `after` phases, and the most, in MB."""
    values = [value(sample) for sample in samples if sample["done"] >= after and sample["workers"]]
    part = max(1, len(values) // 5)
    return [statistics.median(values[:part]), statistics.median(values[-part:]), max(values)]


def phase_rows(found: list[dict[str, Any]]) -> tuple[list[Row], list[str]]:
    rows = []
    lines = ["| phases | seconds | seconds a phase | driver's CPU a phase | driver, MB | largest trial process, MB |"]
    lines.append("|---|---|---|---|---|---|")
    for one in found:
        done, count = one["done"], one["count"]
        cpu = (done[-1][1] - done[0][1]) / (count - 1)
        driver = max(sample["driver"] for sample in one["samples"])
        worker = max((max(sample["workers"], default=0.0) for sample in one["samples"]), default=0.0)
        each = rate(done, 1, count)
        lines.append(f"| {count:,} | {one['seconds']:.1f} | {each:.3f} | {cpu:.3f} s | {driver:.0f} | {worker:.0f} |")
    large = found[-1]
    done, count = large["done"], large["count"]
    shape = f"{count:,} phases of one step, {RAYLETS} raylets"
    tenth = count // 10
    first, last = rate(done, tenth, 2 * tenth), rate(done, count - tenth, count)
    each = rate(done, 1, count)
    rows.append(Row(f"{shape}: seconds a phase", f"{each:.3f} s", "", "-", each, each, each, "s"))
    growth = last / first
    rows.append(
        Row(f"{shape}: a phase of the last tenth against one of the second", f"{last:.3f} s", f"{first:.3f} s", "-",
            growth, growth, growth, "x", SLOWER, True)
    )  # fmt: skip
    cpu = (done[-1][1] - done[0][1]) / (count - 1)
    rows.append(
        Row(
            f"{shape}: CPU of the driver a phase", f"{1e3 * cpu:.0f} ms", "", "-", 1e3 * cpu, 1e3 * cpu, 1e3 * cpu, "ms"
        )
    )
    for name, value, bound in (
        ("driver", lambda sample: sample["driver"], DRIVER_GROWTH),
        ("largest trial process", lambda sample: max(sample["workers"]), WORKER_GROWTH),
    ):
        early, late, most = slope(large["samples"], value, tenth)
        rows.append(
            Row(f"{shape}: growth of the {name} from phase {tenth} on", f"{late:.0f} MB", f"{early:.0f} MB", "-",
                late - early, late - early, late - early, "MB", bound, True,
                f"medians of the last and the first fifth of the time after phase {tenth}; at most {most:.0f} MB")
        )  # fmt: skip
    return rows, ["\n".join(lines)]


# -- a hundred thousand phases in virtual time ---------------------------------------------------------------


class Marks:
    """A store that knows which marks there are, and nothing else; what the agenda asks of it costs nothing."""

    def __init__(self) -> None:
        self.there: set[tuple[str, int]] = set()
        self.address = "memory"

    def phases(self) -> list[str]:
        return []

    def refresh(self, phases: Iterable[str]) -> None:
        """There is nothing to look at."""

    def phase(self, phase: str) -> MarksOf:
        return MarksOf(phase, self.there)


class MarksOf:
    def __init__(self, phase: str, there: set[tuple[str, int]]):
        self._phase, self._there = phase, there

    def exists_mark(self, step: int) -> bool:
        return (self._phase, step) in self._there

    def holder(self) -> None:
        """Nobody else is at work."""


def read_trace() -> dict[str, list[tuple[float, float]]]:
    """By kind of phase, FLOPs and seconds of recorded segments."""
    found: dict[str, list[tuple[float, float]]] = {}
    with open(TRACE, encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            found.setdefault(row["kind"], []).append((float(row["flops"]), float(row["seconds"])))
    return found


def simulate(nodes: int, cells: int) -> dict[str, Any]:
    """In a fresh process: the whole sweep on so many nodes; see the top of the file."""
    from planning import write_grids

    from procray.execution.agenda import Agenda
    from procray.execution.jobs import items_of
    from procray.garbage import set_aside
    from procray.planning import load_sweep, plan

    trace = read_trace()
    with tempfile.TemporaryDirectory() as folder:
        graph = plan(load_sweep(write_grids(Path(folder), cells)["seeds"]))
    store: Any = Marks()
    kinds = {phase.id: phase.kind for phase in graph.phases.values()}
    items = items_of(graph, store, Path("control"), Path("scratch"))  # type: ignore[arg-type]
    rng = random.Random(0)
    duration: dict[str, float] = {}
    for item in items:
        kind = "procedural" if kinds[item.phase] == "procedural" else "semantic"
        duration[item.key] = rng.choice(trace[kind])[1] + GAP
    agenda = Agenda(items, store)
    chain: dict[str, float] = {}
    for item in reversed(items):
        chain[item.key] = duration[item.key] + max(
            (chain[child] for child in agenda._after.get(item.key, ())), default=0.0
        )
    work = sum(duration.values())
    now, busy = 0.0, 0
    running: list[tuple[float, str]] = []
    spans: list[tuple[float, float]] = []
    started = time.perf_counter()
    with set_aside():
        while not agenda.finished():
            while len(running) < nodes and (item := agenda.next()) is not None:
                heapq.heappush(running, (now + duration[item.key], item.key))
                spans.append((now, now + duration[item.key]))
            now, key = heapq.heappop(running)
            busy += 1
            item = agenda.items[key]
            store.there.update((item.phase, step) for step in item.marks)
            agenda.report(key, {"state": "done"})
    return {
        "nodes": nodes,
        "phases": len(graph.phases),
        "segments": len(items),
        "makespan": now,
        "critical": max(chain.values()),
        "work": work,
        "scheduler": time.perf_counter() - started,
        "spans": spans,
    }


# -- requests ------------------------------------------------------------------------------------------------


def count_requests() -> dict[str, Any]:
    """In a fresh process: what one segment asks of a store in a bucket and of MLflow.

    A chain of two phases is trained through the agenda on a service on this machine, once as fast as it goes and once
    slowed to about 40 s, from which the requests of each further second follow. Every call of botocore counts.
    """
    import logging

    import boto3
    from botocore.client import BaseClient
    from moto.server import ThreadedMotoServer
    from small_plans import phase, plan

    from procray.execution import run_segment
    from procray.execution.agenda import Agenda
    from procray.execution.jobs import items_of
    from procray.execution.segment import GO, stop_flag
    from procray.store.store import Store

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    os.environ |= {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x",
        "AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true",
    }  # fmt: skip
    counted: Counter[str] = Counter()
    real = BaseClient._make_api_call

    def call(self: Any, operation: str, arguments: Any) -> Any:
        counted[operation] += 1
        return real(self, operation, arguments)

    BaseClient._make_api_call = call
    boto3.client("s3").create_bucket(Bucket="counted")
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as cache:
        os.environ["PROCRAY_CACHE"] = cache
        for name, pause in (("short", 0.0), ("long", 0.2)):
            warm = phase(f"{name} warm", [200], seed=len(name), every=50)
            tail = phase(
                f"{name} tail", [200], seed=len(name), parent=(warm, 200), task="reverse", decaying=True, every=50
            )
            graph: Any = plan(warm, tail, name=name)
            store = Store(f"s3://counted/{name}")
            store.write_plan(graph)
            note = store.note(store.title_folder("x@y") / "control")
            note.write(GO)
            control = store.title_folder("x@y") / "control"
            items = items_of(graph, store, control, Path(cache, "scratch"))  # type: ignore[arg-type]
            agenda = Agenda(items, store)
            counted.clear()
            started = time.perf_counter()
            parts: dict[str, Counter[str]] = {"schedule": Counter(), "train": Counter()}
            while (item := agenda.next()) is not None:
                parts["schedule"] += counted
                counted.clear()
                flag = stop_flag(note.address)

                def slowed(flag: Callable[[], bool] = flag, pause: float = pause) -> bool:
                    time.sleep(pause)
                    return flag()

                outcome = run_segment({**item.job, "driver": None}, slowed)
                assert outcome["state"] == "done", outcome
                parts["train"] += counted
                counted.clear()
                agenda.report(item.key, outcome)
            parts["schedule"] += counted
            seconds = time.perf_counter() - started
            found[name] = {
                "seconds": seconds / len(items),
                **{part: {op: n / len(items) for op, n in sorted(those.items())} for part, those in parts.items()},
            }
    BaseClient._make_api_call = real
    server.stop()
    return {**found, "mlflow": count_mlflow()}


class Counted:
    """An MLflow client that counts its calls."""

    def __init__(self, client: Any, counted: Counter[str]):
        self._client, self._counted = client, counted

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._client, name)
        if not callable(value):
            return value

        def call(*arguments: Any, **named: Any) -> Any:
            self._counted[name] += 1
            return value(*arguments, **named)

        return call


def count_mlflow() -> dict[str, float]:
    """Calls of the MLflow client for one finished phase: the difference between sweeps of two sizes."""
    from procray.execution import run_segment
    from procray.execution.agenda import Agenda
    from procray.execution.jobs import items_of
    from procray.planning import load_sweep, plan
    from procray.store.store import Store
    from procray.tracking.connect import open_session
    from procray.tracking.sync import write

    totals = []
    with tempfile.TemporaryDirectory() as folder:
        for seeds in ([0], [0, 1]):
            path = Path(folder, f"m{len(seeds)}.yaml")
            path.write_text(
                f"name: m{len(seeds)}\nsetting: additive\nseeds: {seeds}\n"
                "model: {layers: 1, heads: 2, width: 16, context: 32}\n"
                "procedural: {task: set, length: 8, batch: 4, tokens: 2k, optimizer: {lr: 1e-3}}\ntransfer: full\n"
                "diagnostic: {task: haystack, pairs: 4, tokens: 8k, batch: 10, optimizer: {lr: 1e-3}}\n"
            )
            graph = plan(load_sweep(path))
            store = Store(Path(folder, f"store{len(seeds)}"))
            store.write_plan(graph)
            agenda = Agenda(items_of(graph, store, Path(folder, "control"), Path(folder, "scratch")), store)
            while (item := agenda.next()) is not None:
                agenda.report(item.key, run_segment({**item.job, "control": None, "driver": None}, lambda: False))
            counted: Counter[str] = Counter()
            session = open_session(graph, store, f"sqlite:///{folder}/m{len(seeds)}.db")
            session.client = Counted(session.client, counted)
            write(session)
            totals.append((len(graph.phases), counted))
    (few, small), (many, large) = totals
    return {name: (large[name] - small[name]) / (many - few) for name in sorted(large) if large[name] != small[name]}


def request_facts(counts: dict[str, Any]) -> dict[str, float]:
    """Requests to the store: of a segment whatever its length, and of each second that it trains."""
    short, long = counts["short"], counts["long"]
    total = {
        name: sum(one["schedule"].values()) + sum(one["train"].values()) for name, one in (("s", short), ("l", long))
    }
    per_second = max(0.0, (total["l"] - total["s"]) / (long["seconds"] - short["seconds"]))
    return {"segment": total["s"] - per_second * short["seconds"], "second": per_second}


def load_of(spans: list[list[float]], each: float, second: float, window: float = 10.0) -> tuple[float, float]:
    """Mean and peak of requests a second: half of a segment's at its start, half at its end, the others between.

    Args:
        window: seconds over which the peak is a mean.
    """
    end = max(stop for _, stop in spans)
    slots = [0.0] * (int(end / window) + 2)
    for start, stop in spans:
        slots[int(start / window)] += each / 2
        slots[int(stop / window)] += each / 2
        first, last = int(start / window), int(stop / window)
        for slot in range(first, last + 1):
            inside = min(stop, (slot + 1) * window) - max(start, slot * window)
            slots[slot] += second * max(0.0, inside)
    return sum(slots) / end, max(slots) / window


def simulation_rows(runs: list[dict[str, Any]], counts: dict[str, Any]) -> tuple[list[Row], list[str]]:
    facts = request_facts(counts)
    mlflow = sum(counts["mlflow"].values())
    rows = []
    lines = [
        "| nodes | S3 requests a second, mean | peak (10 s) | MLflow calls a second, mean | peak (10 s) |",
        "|---|---|---|---|---|",
    ]
    for one in runs:
        bound = max(one["critical"], one["work"] / one["nodes"])
        ratio = one["makespan"] / bound
        rows.append(
            Row(f"{one['phases']:,} phases, {one['nodes']:,} nodes with a GPU each: makespan",
                f"{one['makespan'] / 3600:.2f} h", f"{bound / 3600:.2f} h", "max(critical path, work / GPUs)",
                ratio, ratio, ratio, "x", 1.05, True,
                f"critical path {one['critical']:.0f} s, work {one['work'] / 3600:.0f} GPU-hours; the agenda took "
                f"{one['scheduler']:.0f} s for {one['segments']:,} segments")
        )  # fmt: skip
        mean, peak = load_of(one["spans"], facts["segment"], facts["second"])
        phases = one["phases"] / one["segments"]
        mean_ml, peak_ml = load_of(one["spans"], mlflow * phases, 0.0)
        lines.append(f"| {one['nodes']:,} | {mean:.0f} | {peak:.0f} | {mean_ml:.1f} | {peak_ml:.1f} |")
    return rows, ["\n".join(lines), request_table(counts, facts, mlflow)]


def request_table(counts: dict[str, Any], facts: dict[str, float], mlflow: float) -> str:
    short = counts["short"]
    names = sorted({*short["schedule"], *short["train"]})
    calls = ", ".join(f"{name} {n:g}" for name, n in counts["mlflow"].items())
    lines = [
        "| request, for one segment | from the scheduler | from its runner |",
        "|---|---|---|",
        *(f"| {name} | {short['schedule'].get(name, 0):g} | {short['train'].get(name, 0):g} |" for name in names),
        f"| all, apart from its duration | {facts['segment']:.1f} in all | |",
        f"| each second of training | {facts['second']:.2f} in all | |",
        f"| MLflow, for one phase | {calls} | {mlflow:g} in all |",
    ]
    return "\n".join(lines)


# -- the trace -----------------------------------------------------------------------------------------------


def record(file: str) -> None:
    """Trains a sweep into a fresh store and writes how long each segment took: kind, tokens, FLOPs, seconds."""
    from procray.execution import RunOptions, run
    from procray.planning import load_sweep, plan

    graph = plan(load_sweep(file))
    begun: dict[str, float] = {}
    rows: list[tuple[str, int, float, float]] = []
    reached: dict[str, int] = {}

    def note(event: dict[str, Any]) -> None:
        if event["event"] == "start":
            begun[event["phase"]] = time.perf_counter()
        elif event["event"] == "done" and event["phase"] in begun:
            phase = graph.phases[event["phase"]]
            steps = event["step"] - reached.get(phase.id, 0)
            reached[phase.id] = event["step"]
            share = steps / phase.end
            seconds = time.perf_counter() - begun.pop(phase.id)
            rows.append((phase.kind, round(phase.nominal[phase.end] * share), phase.flops * share, seconds))

    with tempfile.TemporaryDirectory() as folder:
        run(graph, Path(folder), RunOptions(on_event=note))
    TRACE.parent.mkdir(exist_ok=True)
    with open(TRACE, "w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(["kind", "tokens", "flops", "seconds"])
        writer.writerows((kind, tokens, f"{flops:.4g}", f"{seconds:.3f}") for kind, tokens, flops, seconds in rows)


# -- all -----------------------------------------------------------------------------------------------------


def in_fresh_process(part: str, *arguments: int) -> dict[str, Any]:
    words = [sys.executable, __file__, "--part", part, *map(str, arguments)]
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def main() -> None:
    in_own_environment(1)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--phases", type=int, nargs="+", default=SIZES)
    parser.add_argument("--cells", type=int, default=CELLS)
    parser.add_argument("--nodes", type=int, nargs="+", default=NODES)
    parser.add_argument("--record", metavar="SWEEP", help="write the trace anew and stop")
    parser.add_argument("--part", nargs="+", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.record:
        record(given.record)
        return
    if given.part:
        part, *arguments = given.part
        parts: dict[str, Callable[..., dict[str, Any]]] = {
            "phases": measure_phases,
            "simulate": simulate,
            "requests": count_requests,
        }
        print(json.dumps(parts[part](*map(int, arguments))))
        return
    found = [in_fresh_process("phases", count) for count in given.phases]
    rows, tables = phase_rows(found)
    counts = in_fresh_process("requests")
    runs = [in_fresh_process("simulate", nodes, given.cells) for nodes in given.nodes]
    more, further = simulation_rows(runs, counts)
    curve = [
        {"done": one["done"], "driver": round(one["driver"]), "workers": [round(value) for value in one["workers"]]}
        for one in found[-1]["samples"][:: max(1, len(found[-1]["samples"]) // 100)]
    ]
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    publish(
        "scale",
        "What do a thousand and a hundred thousand phases cost the scheduler, the store and MLflow?",
        [*rows, *more],
        notes=[
            "Every phase of the first part writes a mark, a journal and a lease as any other does.",
            "What the driver keeps of a phase that is over is Tune's bare trial, some 18 kB.",
            f"Segments of {TRACE.relative_to(ROOT)} were recorded at laptop scale; longer ones ask for less a second.",
            f"The machine's load average at the end was {load} (1, 5, 15 minutes).",
        ],
        tables=[*tables, *further],
        memory_over_time=curve,
        requests=counts,
    )


if __name__ == "__main__":
    main()
