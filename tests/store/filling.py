"""A store as a finished sweep leaves it, without training anything."""

from __future__ import annotations

from procray.planning import load_sweep, plan
from procray.store.store import Store

FILE = """\
name: NAME
setting: substitutive
seeds: [0]
model: {layers: 1, heads: 1, width: 8, context: 32}
procedural:
  task: TASK
  length: 6
  batch: 4
  tokens: {grid: [200, 400]}
  optimizer: {lr: 1e-3, schedule: constant}
transfer: attention
diagnostic:
  task: haystack
  pairs: 3
  tokens: 600
  batch: 4
  optimizer: {lr: 1e-3, schedule: constant}
"""


def run(store: Store, folder, name: str, task: str):
    """A sweep that was begun in the store, and has trained nothing yet."""
    file = folder / f"{name}.yaml"
    file.write_text(FILE.replace("NAME", name).replace("TASK", task))
    graph = plan(load_sweep(file))
    store.write_plan(graph)
    return graph


def filled(store: Store, folder, name: str, task: str):
    """A sweep all of whose phases are in the store."""
    graph = run(store, folder, name, task)
    for phase in graph.phases.values():
        at = store.phase(phase.id)
        held = at.acquire()
        at.write_description(phase.recipe, {}, held.attempt)
        log = at.journal(held, {})
        for step, loss in ((0, 2.0), (phase.end, 1.0)):
            tokens = phase.nominal.get(step, 0)
            log.add(
                {"step": step, "tokens": tokens, "loss": loss, "accuracy": 0.5, "positions": tokens, "seconds": 1.0}
            )
        log.close()
        for step in phase.marks:

            def write(path, label=phase.label) -> dict:
                (path / "model.safetensors").write_text(label)
                (path / "config.json").write_text("{}")
                return {}

            at.write_mark(held, step, write, {"tokens": step})
            at.write_resume(held, step, lambda path: (path / "state").write_text("x" * 100), keep=True)
        at.set_status("done", step=phase.marks[-1], attempt=held.attempt)
        held.release()
    return graph
