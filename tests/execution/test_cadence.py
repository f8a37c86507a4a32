"""How often and on how much a warm-up is evaluated is not part of what it is: nothing is trained again for it."""

from __future__ import annotations

from pathlib import Path

from procray.execution import run, run_segment
from procray.execution.agenda import Agenda
from procray.execution.jobs import items_of
from procray.planning import plan
from procray.planning.load import load_text
from procray.report.numbers.runs import Reader

FILE = """\
name: t
model: {layers: 1, heads: 1, width: 16, context: 32}
procedural:
  task: set
  length: 8
  batch: 4
  tokens: 2k
  optimizer: {lr: 1e-3}
  evaluate: {every: 500, sequences: 16}
transfer: full
diagnostic:
  task: reversed_addition
  digits: 3
  batch: 4
  tokens: 2k
  optimizer: {lr: 1e-3}
  evaluate: {every: 1k, sequences: 16}
"""


def make(**settings):
    return plan(load_text(FILE, "f.yaml", set=settings or None))


def trained(graph, store) -> list[str]:
    """Trains what is missing, in this process; the kinds of the phases that were."""
    agenda = Agenda(items_of(graph, store, "/nonexistent", Path("/nonexistent")), store)
    kinds = []
    while (item := agenda.next()) is not None:
        kinds.append(graph.phases[item.phase].kind)
        outcome = run_segment({**item.job, "control": None, "driver": None}, lambda: False)
        assert outcome["state"] == "done"
        agenda.report(item.key, outcome)
    assert agenda.finished()
    return kinds


def test_a_warm_up_measured_otherwise_is_not_trained_again_and_neither_is_what_follows(store):
    graph = make()
    assert sorted(trained(graph, store)) == ["diagnostic", "diagnostic", "procedural"]
    warm = next(phase for phase in graph.phases.values() if phase.kind == "procedural")
    curve = store.phase(warm.id).curve()
    assert {row["sequences"] for row in curve} == {16}

    changed = {"procedural.evaluate.every": "200", "procedural.evaluate.sequences": 64}
    finer = make(**changed)
    assert list(finer.phases) == list(graph.phases)
    result = run(finer, store)
    assert (result.trained, result.failed, result.unfinished) == (0, {}, [])
    assert store.phase(warm.id).curve() == curve  # a warm-up that is complete is not run again to be measured

    # Extended, it is measured at its own steps from there on, and all are one curve.
    longer = make(**changed, **{"procedural.tokens": "4k"})
    assert warm.id in longer.phases
    assert sorted(trained(longer, store)) == ["diagnostic", "procedural"]
    both = store.phase(warm.id).curve()
    assert both[: len(curve)] == curve
    later = both[len(curve) :]
    assert {row["sequences"] for row in later} == {64}
    every = longer.phases[warm.id].recipe.evaluation.every
    assert every < warm.recipe.evaluation.every
    assert {row["step"] for row in later} >= set(range(curve[-1]["step"] // every * every + every, warm.end, every))
    assert Reader(longer, store).rows(warm.id) == both
    description = store.phase(warm.id).recipe()
    assert (description.id, description.evaluation.every) == (warm.id, every)


def test_elsewhere_it_is_part_of_the_phase(store):
    """A diagnostic's test set is kept out of its training, and its curve is compared with the baseline's."""
    graph = make()
    for name, value in (("every", "500"), ("sequences", 64)):
        other = make(**{f"diagnostic.evaluate.{name}": value})
        kinds = [other.phases[phase].kind for phase in other.phases if phase in graph.phases]
        assert kinds == ["procedural"], name
