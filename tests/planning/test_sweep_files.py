"""The sweeps that come with procray, the schema, and what importing costs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from procray.planning import load_sweep, plan
from procray.spec import json_schema
from procray.spec.tree import plain, read

SWEEPS = Path(__file__).parents[2] / "sweeps"
FILES = sorted(SWEEPS.glob("*.yaml"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_scale_plans(file):
    scales = load_sweep(file).scales
    assert scales[0] == "laptop"
    assert "paper" in scales
    for scale in scales:
        graph = plan(load_sweep(file, scale))
        assert (graph.name, graph.scale) == (file.stem, scale)
        assert graph.phases
        # A search is planned first, and its trials stand for the cells to come.
        assert len({one.variant for one in graph.cells or graph.trials}) > 1


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_each_begins_with_its_question(file):
    first = file.read_text().splitlines()[0]
    assert first.startswith("# ")
    assert first.endswith("?")


def test_the_laptop_targets_share_their_warmups():
    graph = plan(load_sweep(SWEEPS / "substitutive.yaml"))
    assert len(graph.targets) == 2
    assert graph.totals["phases"] < graph.totals["naive_phases"]
    for phase in graph.phases.values():
        if phase.kind == "procedural":
            assert {variant.split("/")[0] for variant in phase.variants} == set(graph.targets)


def test_planning_imports_nothing_heavy():
    code = (
        "import sys, procray; graph = procray.plan(procray.load_sweep('sweeps/transfer.yaml', 'paper')); "
        "assert graph.phases; "
        "print(sorted({'torch', 'ray', 'mlflow', 'transformers', 'datasets'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=SWEEPS.parent, check=True)
    assert done.stdout.strip() == "[]"


def _data(file):
    return plain(read(file.read_text(), file.name)[0])


def test_the_schema_accepts_the_sweeps_and_refuses_mistakes():
    jsonschema = pytest.importorskip("jsonschema")
    validator = jsonschema.Draft202012Validator(json_schema())
    validator.check_schema(json_schema())
    for file in FILES:
        assert not list(validator.iter_errors(_data(file)))
    data = _data(SWEEPS / "substitutive.yaml")
    data["scales"]["laptop"]["procedural"]["lenght"] = 3
    assert list(validator.iter_errors(data))


def test_the_schema_knows_every_task_parameter():
    properties = json_schema()["$defs"]["TaskPhase"]["properties"]
    assert {
        "task",
        "length",
        "vocab",
        "k",
        "p_open",
        "max_depth",
        "rule",
        "width",
        "pairs",
        "form",
    } <= properties.keys()
    assert properties["length"]["anyOf"][1]["properties"]["grid"]["minItems"] == 1
