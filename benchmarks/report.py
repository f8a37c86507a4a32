"""What a large sweep's report costs: its numbers (read, compared and told), and the whole command with every picture.

    python benchmarks/report.py                         # about a minute
    python benchmarks/report.py --cells 500 --seeds 10
    python benchmarks/report.py --against ../older      # beside another checkout, in turns; prints the ratios

A sweep of so many cells is planned and its journals are written as if it had run: every curve is a formula with noise.
Its numbers are then read in a fresh process: `summarise`, the text of the terminal, JSON and the tables of the page;
and another process runs `procray report`, which writes the page and its pictures.
An older checkout writes its own store, since its phases may have other names.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from harness import FOLDER

GRID = """\
name: report
seeds: [{seeds}]
model: {{layers: 1, heads: 2, width: 16, context: 64}}
procedural:
  task: {{grid: [identity, reverse, union, set, sort]}}
  length: {{grid: [8, 12, 16, 24]}}
  batch: 16
  tokens: {{grid: [{budgets}]}}
  optimizer: {{lr: 1e-3}}
transfer: {{grid: [full, attention]}}
targets:
  - name: text
    semantic:
      {{corpus: {{files: [{corpus}]}}, tokenizer: byte, tokens: 1024k, batch_tokens: 1024,
        optimizer: {{lr: 1e-3}}, evaluate: {{every: 51200}}}}
  - name: find
    diagnostic:
      {{task: haystack, pairs: 4, tokens: 400k, batch: 100, optimizer: {{lr: 1e-3}}, evaluate: {{every: 20k}}}}
"""
EACH = 5 * 4 * 2 * 2  # cells of one seed and one budget


def write_sweep(folder: Path, cells: int, seeds: int) -> Path:
    """The sweep file, of about so many cells."""
    corpus, file = folder / "corpus.txt", folder / "report.yaml"
    corpus.write_text("abc " * 200)
    budgets = ", ".join(f"{20 + n}k" for n in range(max(1, round(cells / seeds / EACH))))
    file.write_text(GRID.format(seeds=", ".join(map(str, range(seeds))), budgets=budgets, corpus=corpus))
    return file


def measure_fill(file: str, store: str) -> dict[str, Any]:
    """Journals as if every phase had been trained: read from each variant, seed and place."""
    from procray.planning import load_sweep, plan
    from procray.store.store import Store

    graph, there = plan(load_sweep(file)), Store(store)
    for phase in graph.phases.values():
        folder = there.phase(phase.id)
        (folder.path / "journal").mkdir(parents=True)
        noise = random.Random(f"{phase.label} {phase.recipe.seed}")
        end, steps = noise.gauss(0, 0.02), {*range(0, phase.end + 1, phase.recipe.evaluation.every), *phase.marks}
        rows = []
        for step in sorted(steps):
            tokens, left = round(step * phase.tokens_per_step), 1 - step / phase.end
            rows.append(
                {"step": step, "tokens": tokens, "flops": tokens * 1e3, "seconds": step * 0.01,
                 "loss": 3 + end + left, "accuracy": max(0.0, 0.9 + end - left)}
            )  # fmt: skip
        (folder.path / "journal" / "1.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        folder.write_description(phase.recipe, {"device": "cpu", "torch": "2.13.0", "host": "box"}, 1)
        folder.set_status(state="done", step=phase.end)
    return {"cells": len(graph.cells), "phases": len(graph.phases)}


def measure_read(file: str, store: str) -> dict[str, Any]:
    """Processor seconds and the most memory, in GB, of each part in turn."""
    from procray.planning import load_sweep, plan
    from procray.report import answer, results_json, summarise
    from procray.report.page.html_tables import variants_html
    from procray.store.store import Store

    graph, there = plan(load_sweep(file)), Store(store)
    found, begun = {}, time.process_time()
    results = summarise(graph, there)
    found["summarise"] = time.process_time() - begun
    begun = time.process_time()
    json.dumps(results_json(results))
    answer(results)
    for target in results.targets:
        variants_html(target)
    found["told"] = time.process_time() - begun
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e9
    return {**found, "all": sum(found.values()), "GB": most}


def measure_page(file: str, store: str) -> dict[str, Any]:
    """Processor seconds and the most memory, in GB, of the command as a user runs it."""
    import shutil

    from procray.cli import main as command

    shutil.rmtree(Path(store, "sweeps"), ignore_errors=True)  # what is drawn already is not drawn again
    sys.argv = ["procray", "report", file, "--store", store]
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere), contextlib.suppress(SystemExit):
        command()
    assert list(Path(store, "sweeps").rglob("report.html")), "no page was written"
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    unit = 1 if sys.platform == "darwin" else 1024
    return {"page": sum(one.ru_utime + one.ru_stime for one in used), "page GB": used[0].ru_maxrss * unit / 1e9}


def part_of(checkout: Path, part: str, file: Path, store: Path) -> dict[str, Any]:
    """Runs one part in a fresh process of a checkout."""
    # Without the installed package's finder, which would fill in modules that an older checkout lacks.
    start = (
        "import sys; sys.meta_path = [one for one in sys.meta_path if '__editable__' not in str(one)]; "
        f"sys.path.insert(1, {str(FOLDER)!r}); import json, report; "
        f"print(json.dumps(report.measure_{part}(*sys.argv[1:])))"
    )
    line = [sys.executable, "-c", start, str(file), str(store)]
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    done = subprocess.run(line, stdout=subprocess.PIPE, text=True, check=True, env=environment, cwd="/")
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cells", type=int, default=1000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--against", type=Path, help="another checkout")
    given = parser.parse_args()
    checkouts = {"here": FOLDER.parent} | ({"there": given.against.resolve()} if given.against else {})
    with tempfile.TemporaryDirectory() as folder:
        file = write_sweep(Path(folder), given.cells, given.seeds)
        for name, checkout in checkouts.items():
            print(name, part_of(checkout, "fill", file, Path(folder, name)), flush=True)
        best: dict[str, dict[str, float]] = {name: {} for name in checkouts}
        for _ in range(given.rounds):
            for name, checkout in checkouts.items():
                for part in ("read", "page"):
                    for what, value in part_of(checkout, part, file, Path(folder, name)).items():
                        best[name][what] = min(best[name].get(what, value), value)
    for what, value in best["here"].items():
        there = f", there {best['there'][what]:.3f}: {value / best['there'][what]:.2f} times" if given.against else ""
        print(f"{what:10} {value:.3f}{there}")


if __name__ == "__main__":
    main()
