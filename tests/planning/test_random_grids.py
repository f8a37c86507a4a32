"""A grid is the union of its cells: each planned as a sweep of its own gives the same phases and results.

Sweeps are drawn at random. Which cells a grid has is worked out here anew, from what the documentation says.
"""

from __future__ import annotations

import copy
import itertools
import json
import random
from typing import Any

import pytest

from procray.planning.load import load_text
from procray.planning.plan import Plan
from procray.planning.planner import plan

TASK = {"task": "set", "length": 8, "batch": 4, "tokens": "2k", "optimizer": {"lr": 1e-3}}
PROBE = {"task": "reversed_addition", "digits": 3, "batch": 4, "tokens": "4k", "optimizer": {"lr": 1e-3}}
TEXT = {"corpus": "c4", "tokenizer": "byte", "batch": 4, "tokens": "4k", "optimizer": {"lr": 1e-3}}
# By path below the sweep, or below one target, the values of which some become a grid.
SHARED: dict[str, list[Any]] = {
    "procedural.task": ["set", "sort", "union", "reverse", {"mixture": {"set": 0.5, "sort": 0.5}}, {"shuffled": "set"}],
    "procedural.length": [8, 12, {"min": 4, "max": 8}],
    "procedural.tokens": ["2k", "3k", "4k"],
    "procedural.optimizer.schedule": ["constant", "cosine"],
    "procedural.optimizer.min_lr": [0, 0.1, 0.2],
    "procedural.evaluate.every": ["500", "1k"],
    "model.layers": [1, 2],
    "precision": ["fp32", "bf16"],
}
OF_TAIL: dict[str, list[Any]] = {
    "transfer": ["full", "attention", "none", {"attention": "procedural", "mlp": "procedural"}],
    "freeze": ["none", "attention", "qkv+proj", "mlp"],
    "perturb": [
        "none",
        {"noise": 0.1},
        {"shuffle": "per_layer"},
        {"shuffle": "per_layer", "components": ["attention"]},
    ],
    "{last}.tokens": ["4k", "2k", "3900"],
    "{last}.optimizer.lr": [1e-3, 1e-2],
    "{last}.optimizer.weight_decay": [0.1, 0, 0.2],
    "{last}.optimizer.min_lr": [0, 0.5],
}


def draw(dice: random.Random) -> dict[str, Any]:
    """A sweep: its base, its axes by dotted path, how they go together, its seeds."""
    sweep: dict[str, Any] = {
        "name": "t",
        "seeds": dice.choice([[0], [0, 1]]),
        "model": {"layers": 1, "heads": 1, "width": 16, "context": 32},
    }
    if dice.random() < 0.85:
        sweep["procedural"] = copy.deepcopy(TASK)
    tails: list[str] = []
    for name in ("one", "two") if dice.random() < 0.3 else ("",):
        tail = sweep if not name else {"name": name}
        last = dice.choice(["diagnostic", "semantic", "finetune"])
        if last == "diagnostic":
            tail["diagnostic"] = copy.deepcopy(PROBE)
        else:
            tail["semantic"] = copy.deepcopy(TEXT)
        if last == "finetune":
            tail["finetune"] = {**copy.deepcopy(TEXT), "corpus": "wikitext-2"}
        for phase in ("diagnostic", "semantic"):
            if phase in tail and dice.random() < 0.4:
                tail[phase]["optimizer"]["schedule"] = "cosine"
        tails.append(last)
        if name:
            sweep.setdefault("targets", []).append(tail)
    if "finetune" in tails and dice.random() < 0.4:
        sweep["compare"] = "semantic"
    if dice.random() < 0.3:
        sweep["matched"] = dice.choice([[0.5], [0.5, 0.75]])
    places = [path for path in SHARED if path.partition(".")[0] != "procedural" or "procedural" in sweep]
    for i, last in enumerate(tails):
        above = f"targets.{i}." if "targets" in sweep else ""
        phase = dice.choice(["semantic", "finetune"]) if last == "finetune" else last
        places += [above + path.format(last=phase) for path in OF_TAIL if "procedural" in sweep or path == "freeze"]
    axes: dict[str, list[Any]] = {}
    for path in dice.sample(places, dice.randint(1, min(4, len(places)))):
        known = SHARED.get(path) or next(v for k, v in OF_TAIL.items() if path.endswith(k.replace("{last}", "")))
        axes[path] = dice.sample(known, dice.randint(2, len(known)) if dice.random() < 0.9 else 1)
    return {"base": sweep, "axes": axes, "shape": {}}


def shape(dice: random.Random, drawn: dict[str, Any]) -> None:
    """Adds `select:`, or `zip:`, `exclude:` and `include:`."""
    axes, base = drawn["axes"], drawn["base"]
    rates = [path for path in axes if path.endswith(("optimizer.lr", "weight_decay")) and len(axes[path]) > 1]
    compared = "semantic" if "compare" in base else None
    rates = [path for path in rates if path.split(".")[-3] == (compared or path.split(".")[-3])]
    if rates and dice.random() < 0.7:
        drawn["shape"]["select"] = {"axes": rates[:1], "seeds": [100, 101][: dice.randint(1, 2)]}
    free = [path for path in axes if path not in rates]
    pairs = [(a, b) for a, b in itertools.combinations(free, 2) if len(axes[a]) == len(axes[b]) > 1]
    pairs = [pair for pair in pairs if not any(path.startswith("targets") for path in pair)]
    if pairs and dice.random() < 0.4:
        drawn["shape"]["zip"] = [list(dice.choice(pairs))]
    tied = {path for group in drawn["shape"].get("zip", []) for path in group}
    names = [target["name"] for target in base.get("targets", ())]
    for key in ("exclude", "include"):
        if free and dice.random() < 0.35:
            chosen = dice.sample(free, dice.randint(1, min(2, len(free))))
            entry = {path: dice.choice(axes[path]) for path in chosen if key == "exclude" or path not in tied}
            if entry and names and dice.random() < 0.5:
                entry["target"] = dice.choice(names)
            if entry.keys() - {"target"}:
                drawn["shape"][key] = [entry]


def control(dice: random.Random, drawn: dict[str, Any]) -> None:
    """Adds `controls:`, of those that every value of the grid can have."""
    known: list[Any] = ["shuffled", {"text": {"corpus": "c4", "tokenizer": "byte"}}, "random", "more_semantic"]
    if {"shuffled": "set"} in drawn["axes"].get("procedural.task", []):
        known.remove("shuffled")
    if "procedural" in drawn["base"] and dice.random() < 0.4:
        drawn["base"]["controls"] = dice.sample(known, dice.randint(1, len(known)))


def put(data: Any, path: str, value: Any) -> None:
    *above, last = path.split(".")
    for part in above:
        data = data[int(part)] if isinstance(data, list) else data.setdefault(part, {})
    data[last] = value


def planned(data: dict[str, Any]) -> Plan:
    """The plan, whole: of the settings of a search those are chosen whose trials have the lowest ids."""
    graph = plan(load_text(json.dumps(data), "f.yaml"))
    if graph.then is None:
        return graph
    best: dict[str, Any] = {}
    for trial in sorted(graph.trials, key=lambda trial: (trial.compared, trial.step, trial.label)):
        best.setdefault(trial.variant, trial.setting)
    return graph.then(best)


def whole(drawn: dict[str, Any]) -> dict[str, Any]:
    data = copy.deepcopy(drawn["base"]) | copy.deepcopy(drawn["shape"])
    for path, values in drawn["axes"].items():
        put(data, path, {"grid": values})
    named = [target["name"] for target in data.get("targets", ())]
    for key in ("zip", "exclude", "include"):  # axes of targets go by the target's name
        text = json.dumps(data.get(key, []))
        for i, name in enumerate(named):
            text = text.replace(f"targets.{i}.", f"targets.{name}.")
        if key in data:
            data[key] = json.loads(text)
    if "select" in data:
        for i, name in enumerate(named):
            axes = data["select"]["axes"]
            data["select"]["axes"] = [path.replace(f"targets.{i}.", f"targets.{name}.") for path in axes]
    return data


def cells(drawn: dict[str, Any]) -> list[dict[str, Any]]:
    """Every cell as a sweep of its own, with searched axes whole; one for each target."""
    base, axes, shape = drawn["base"], drawn["axes"], drawn["shape"]
    searched = shape.get("select", {}).get("axes", [])
    found = []
    for number, target in enumerate(base.get("targets", [None])):
        about = [path for path in axes if matters(base, path, number)]
        free = [path for path in about if path not in searched]
        chosen = [dict(zip(free, row, strict=True)) for row in itertools.product(*(axes[path] for path in free))]
        for group in shape.get("zip", ()):
            inside = [path for path in group if path in free]
            if len(inside) > 1:
                rows = list(zip(*(axes[path] for path in inside), strict=True))
                chosen = [cell for cell in chosen if tuple(cell[path] for path in inside) in rows]
        for entry in shape.get("exclude", ()):
            values = {path: value for path, value in entry.items() if path != "target"}
            if values.keys() <= set(about) and entry.get("target") in (None, (target or {}).get("name")):
                chosen = [cell for cell in chosen if any(cell[path] != value for path, value in values.items())]
        for entry in shape.get("include", ()):
            values = {path: value for path, value in entry.items() if path != "target"}
            if values.keys() <= set(about) and entry.get("target") in (None, (target or {}).get("name")):
                more = [dict(zip(free, row, strict=True)) for row in itertools.product(*(axes[path] for path in free))]
                for group in shape.get("zip", ()):
                    inside = [path for path in group if path in free]
                    if len(inside) > 1:
                        rows = list(zip(*(axes[path] for path in inside), strict=True))
                        more = [cell for cell in more if tuple(cell[path] for path in inside) in rows]
                chosen += [{**cell, **values} for cell in more]
        for cell in chosen:
            data = copy.deepcopy(base)
            for path in about:
                put(data, path, {"grid": axes[path]} if path in searched else cell[path])
            if target is not None:
                data["targets"] = [data["targets"][number]]
                if data.get("compare") not in target:
                    data.pop("compare", None)
            mine = [path for path in searched if path in about]
            if mine:
                data["select"] = {**shape["select"], "axes": [f"optimizer.{path.split('.')[-1]}" for path in mine]}
                data["select"]["axes"] = [path.split(".", 2)[2] if target else path for path in mine]
            found.append(data)
    return found


def matters(base: dict[str, Any], path: str, number: int) -> bool:
    return not path.startswith("targets.") or path.split(".")[1] == str(number)


def told(graph: Plan) -> tuple[dict[str, set[int]], set[Any], set[Any]]:
    """Phases with their marks, what is read and against what, what was tried."""
    ends = {(cell.variant, cell.seed): (cell.compared, cell.step) for cell in graph.cells if cell.fraction is None}
    read = {
        (
            cell.seed, cell.compared, cell.step, cell.fraction, cell.t1, ends[cell.baseline, cell.seed],
            tuple((mark.phase, mark.step) for mark in cell.stages),
            tuple(sorted((mark.phase, mark.step) for mark in cell.warmups)),
        )
        for cell in graph.cells
        if cell.control != "more_semantic"  # may be the baseline of another budget, and then stands there as that
    }  # fmt: skip
    tried = {(trial.seed, trial.compared, trial.step) for trial in graph.trials}
    return {phase.id: set(phase.marks) for phase in graph.phases.values()}, read, tried


def check(number: int) -> None:
    dice = random.Random(number)
    drawn = draw(dice)
    while len(cells(drawn)) > 12:
        path = max(drawn["axes"], key=lambda path: len(drawn["axes"][path]))
        drawn["axes"][path].pop()
    shape(dice, drawn)
    control(random.Random(f"controls {number}"), drawn)
    one_by_one = cells(drawn)
    named = {data["targets"][0]["name"] for data in one_by_one if "targets" in data}
    if not one_by_one or len(named) < len(drawn["base"].get("targets", ())):
        return  # everything is excluded, which is an error of its own
    context = json.dumps(whole(drawn))
    graph = planned(whole(drawn))
    phases: dict[str, set[int]] = {}
    read: set[Any] = set()
    tried: set[Any] = set()
    for data in one_by_one:
        its_phases, its_read, its_tried = told(planned(data))
        for id, marks in its_phases.items():
            phases.setdefault(id, set()).update(marks)
        read |= its_read
        tried |= its_tried
    assert told(graph) == (phases, read, tried), context
    assert all(id == phase.id == phase.recipe.id for id, phase in graph.phases.items()), context
    names = [phase.label for phase in graph.phases.values()]
    assert len(set(names)) == len(names), context
    variants: dict[Any, str] = {}
    for cell in graph.cells:
        if cell.fraction is None and cell.control != "more_semantic":
            key = (cell.target, cell.seed, cell.compared, cell.step, cell.stages)
            assert variants.setdefault(key, cell.variant) == cell.variant, context  # one cell has one name
    unshaped = {**drawn, "shape": {}}
    longest = max(drawn["axes"], key=lambda path: len(drawn["axes"][path]))
    if len(drawn["axes"][longest]) > 2:  # what a value added in front renames: nothing
        fewer = {**unshaped, "axes": {**drawn["axes"], longest: drawn["axes"][longest][1:]}}
        before, after = planned(whole(fewer)), planned(whole(unshaped))
        added = {axis["name"]: axis["labels"] for axis in after.axes}
        for axis in before.axes:
            assert set(axis["labels"]) <= set(added[axis["name"]]), context
        assert set(before.variants) | set(before.same) <= set(after.variants) | set(after.same), context
        own = {cell.compared for cell in before.cells if not cell.control}
        for id, phase in before.phases.items():
            was, now = phase.label, after.phases[id].label
            if phase.kind != "procedural" and id not in own:  # variants that share a control name it in turn
                continue
            # One that several targets share, or reruns of several budgets, has the first one's name.
            assert now == was or "@" in was or now.split("/")[0] != was.split("/")[0], (was, now, context)


@pytest.mark.parametrize("number", range(20))
def test_a_grid_is_the_union_of_its_cells(number):
    check(number)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(20, 520))
def test_hundreds_of_grids_are_the_unions_of_their_cells(number):
    check(number)
