"""What every benchmark shares: taking turns, medians with their spread, and where results go.

Each script asks one question, lets all sides take turns for several rounds, and hands its rows to `publish`, which
prints a table, writes `results/<name>.json` and sets the page `README.md` anew from all results.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
ROOT = FOLDER.parent
RESULTS = FOLDER / "results"
PACKAGES = ("torch", "numpy", "transformers", "ray", "tokenizers")


@dataclass(frozen=True)
class Row:
    """One measured comparison.

    Attributes:
        shape: what was measured, with everything that is needed to repeat it.
        ours, theirs: medians with their unit, as text; `theirs` is empty where the floor is not a ratio.
        peer: who it is compared with, flags included.
        value: what the floor is about: a ratio, or a plain number in `unit`.
        low, high: the quartiles of the same over rounds; equal to it where there is one round.
        unit: "x" for a ratio.
        floor: what was asked for; None where nothing was.
        most: the floor is an upper bound (seconds, bytes).
        note: what a reader must know, above all why a floor is missed.
    """

    shape: str
    ours: str
    theirs: str
    peer: str
    value: float
    low: float
    high: float
    unit: str = "x"
    floor: float | None = None
    most: bool = False
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the floor is reached; None without one."""
        if self.floor is None:
            return None
        return self.value <= self.floor if self.most else self.value >= self.floor


def in_own_environment(threads: int = 1, **more: str) -> None:
    """Starts this script anew with the environment that training processes have, unless it has it already.

    The allocator and OpenMP read their settings when a process starts.
    """
    from procray.training.environment import worker_environment

    wanted = {**worker_environment(threads), **more}
    if any(os.environ.get(name) != value for name, value in wanted.items()):
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **wanted})


def take_turns(
    sides: Mapping[str, Callable[[], object]],
    *,
    rounds: int,
    warmup: int = 1,
    clock: Callable[[], float] = time.process_time,
) -> dict[str, list[float]]:
    """Seconds of each call; every round calls each side once, in an order that rotates.

    Args:
        clock: CPU time of this process by default, which other work on the machine disturbs less; give
            `time.perf_counter` where the sides use several threads or processes.
    """
    names = list(sides)
    times: dict[str, list[float]] = {name: [] for name in names}
    for number in range(-warmup, rounds):
        shift = number % len(names)
        for name in names[shift:] + names[:shift]:
            started = clock()
            sides[name]()
            if number >= 0:
                times[name].append(clock() - started)
    return times


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Lower quartile, median, upper quartile."""
    if len(values) < 2:
        return values[0], values[0], values[0]
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high


def ratio(times: Mapping[str, Sequence[float]], ours: str, peer: str) -> tuple[float, float, float]:
    """How many times as long `peer` takes: (median, lower, upper quartile) of the ratios of each round."""
    low, middle, high = quartiles([b / a for a, b in zip(times[ours], times[peer], strict=True)])
    return middle, low, high


def machine() -> dict[str, Any]:
    """What a time depends on: processor, cores, versions."""
    facts: dict[str, Any] = {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "python": platform.python_version(),
    }
    for package in PACKAGES:
        try:
            facts[package] = version(package)
        except PackageNotFoundError:
            continue
    if "torch" in sys.modules and sys.modules["torch"].cuda.is_available():
        torch = sys.modules["torch"]
        facts |= {"gpu": torch.cuda.get_device_name(), "cuda": torch.version.cuda}
    return facts


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8").split("\n\n")[0]
    except OSError:
        return platform.processor() or platform.machine()
    facts = dict(re.findall(r"^([^\t:]+)\s*: (.*)$", text, re.MULTILINE))
    name = facts.get("model name", platform.machine())
    return f"{name} (family {facts['cpu family']}, model {facts['model']})" if "cpu family" in facts else name


def publish(name: str, question: str, rows: Sequence[Row], **more: Any) -> None:
    """Prints the rows, writes `results/<name>.json`, and sets the page anew.

    Args:
        question: one line; the heading of the page's section.
        more: further facts for the JSON; `notes` (lines) and `tables` (Markdown) also go to the page.
    """
    lists = [[row.shape, row.ours, row.theirs, row.peer, _value(row), _floor(row)] for row in rows]
    print("\n" + _columns([["shape", "procray", "peer's", "peer", "result", "floor"], *lists]), flush=True)
    content = {
        "name": name,
        "question": question,
        "date": time.strftime("%Y-%m-%d"),
        "command": shlex.join(["python", str(Path(sys.argv[0]).resolve().relative_to(ROOT)), *_arguments()]),
        "commit": _commit(),
        "machine": machine(),
        "rows": [{**asdict(row), "met": row.met} for row in rows],
        **more,
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    write_page()


def write_page() -> None:
    """Sets the part of `README.md` between its two marks anew from all results."""
    page = FOLDER / "README.md"
    text = page.read_text(encoding="utf-8")
    begin, end = "<!-- results -->\n", "<!-- end of results -->"
    head, _, rest = text.partition(begin)
    _, _, tail = rest.partition(end)
    found = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(RESULTS.glob("*.json"))]
    sections = "\n".join(_section(content) for content in found)
    page.write_text(f"{head}{begin}\n{sections}\n{end}{tail}", encoding="utf-8")


def _section(content: dict[str, Any]) -> str:
    machine = content["machine"]
    versions = ", ".join(f"{package} {machine[package]}" for package in PACKAGES if package in machine)
    where = machine.get("gpu") or f"{machine['cores']} cores, {machine['processor']}"
    lines = [
        f"### {content['question']}",
        "",
        f"`{content['command']}`, {content['date']}, {where}; {versions}.",
        "",
        "| shape | procray | peer's | peer | result (quartiles) | floor |",
        "|---|---|---|---|---|---|",
    ]
    for value in content["rows"]:
        row = Row(**{key: item for key, item in value.items() if key != "met"})
        cells = [row.shape, row.ours, row.theirs or "-", row.peer, _value(row), _floor(row)]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    lines += [""]
    lines += [f"- {row['shape']}: {row['note']}" for row in content["rows"] if row["note"]]
    lines += [f"- {note}" for note in content.get("notes", ())]
    for table in content.get("tables", ()):
        lines += ["", table]
    return "\n".join([*lines, ""])


def _value(row: Row) -> str:
    unit = row.unit if row.unit in ("x", "%") else f" {row.unit}"
    if row.low == row.high:
        return f"{_number(row.value)}{unit}"
    return f"{_number(row.value)}{unit} ({_number(row.low)}-{_number(row.high)})"


def _floor(row: Row) -> str:
    if row.floor is None:
        return "-"
    unit = row.unit if row.unit in ("x", "%") else f" {row.unit}"
    return f"{'at most ' if row.most else ''}{row.floor:g}{unit}: {'met' if row.met else '**missed**'}"


def _number(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _columns(rows: list[list[str]]) -> str:
    wide = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join("  ".join(cell.ljust(wide[i]) for i, cell in enumerate(row)).rstrip() for row in rows)


def _arguments() -> list[str]:
    """The arguments without the places of folders on this machine."""
    return [Path(word).name.upper() if os.path.isdir(word) else word for word in sys.argv[1:]]


def _commit() -> str:
    command = ["git", "rev-parse", "--short", "HEAD"]
    try:
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()
    except FileNotFoundError:  # a machine that is lent for a measurement may lack it
        return ""
