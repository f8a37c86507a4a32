"""What needs no sweep: help, tasks, schema, mistakes."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

COMMANDS = ("sweep", "plan", "status", "report", "lineage", "analyze", "ui", "sync", "data", "tasks", "transfer")
COMMANDS += ("probe", "cluster", "import", "export", "doctor", "schema")


def test_help_is_instant():
    """Importing is what takes time: of others only the parser of the command line, of ours only what names commands."""
    program = (
        "import atexit, sys; known = set(sys.modules)\n"
        "atexit.register(lambda: print(*{*sys.modules} - known, file=sys.stderr))\n"
        "from procray.cli import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", program, "--help"], check=True, capture_output=True, text=True)
    imported = done.stderr.split()
    tops = {name.partition(".")[0] for name in imported}
    assert tops - sys.stdlib_module_names <= {"procray", "typer", "annotated_doc", "shellingham"}
    rooms = {name.split(".")[1] for name in imported if name.startswith("procray.")}
    assert rooms == {"cli", "children", "errors", "visible"}
    assert len(imported) < 150  # 102 with Python 3.11


def test_help_names_every_command(command):
    text = command("--help").stdout
    for name in COMMANDS:
        assert f"\n  {name} " in text


def test_tasks_are_listed_and_sampled(command):
    from procray import tasks

    listing = command("tasks").stdout
    assert all(f"{name} " in listing for name in tasks.names())
    shown = json.loads(command("tasks", "reverse", "length=5", "vocab=9", "--json").stdout)
    for sample in shown["samples"]:
        question, answer = (part.split() for part in sample.split("|"))
        assert question == answer[::-1]
        assert len(question) == 5


def test_schema_is_a_json_schema(command):
    schema = json.loads(command("schema").stdout)
    assert {"name", "semantic", "seeds"} <= set(schema["properties"])


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["tasks", "unoin"], "did you mean 'union'"),
        (["tasks", "union", "lenght=4"], "did you mean 'length'"),
        (["plan", "missing.yaml"], "missing.yaml"),
        (["export", "0123456789abcdef", "out"], "0123456789abcdef"),
        (["lineage", "0123456789abcdef"], "0123456789abcdef"),
        (["sweep", "small.yaml", "--scale", "lapptop"], "lapptop"),
        (["sweep", "small.yaml", "--set", "semantic.tokns=4k"], "--set"),
        (["swep", "small.yaml"], "swep"),
    ],
)
def test_a_mistake_is_named_with_exit_code_2_and_nothing_is_written(command, words, says):
    before = sorted(command.folder.rglob("*"))
    result = command(*words, code=2)
    assert says in result.stderr
    assert "Traceback" not in result.stderr
    assert sorted(command.folder.rglob("*")) == before


def test_every_problem_of_a_file_comes_at_once_with_its_place(command):
    text = command.file.read_text()
    text = text.replace("task: reverse", "task: revers").replace("width: 16", "width: 15").replace("12Ki", "-4")
    command.file.write_text(text)
    said = command("sweep", command.file, code=2).stderr
    lines = text.splitlines()
    for wrong, near in (("revers", "reverse"), ("15", "heads"), ("tokens: -4", "")):
        number = next(i for i, line in enumerate(lines, 1) if wrong in line)
        assert f"small.yaml:{number}:" in said
        assert near in said
    assert said.count("^") >= 3
    assert not command.store.exists()


def test_plan_shows_what_is_saved_before_anything_runs(command):
    totals = json.loads(command("plan", command.file, "--json").stdout)["totals"]
    # 2 baselines, 2 warm-ups with two marks each, 8 cells; naively each of the 8 cells trains its own warm-up
    assert (totals["phases"], totals["naive_phases"]) == (12, 18)
    assert totals["naive_tokens"] > totals["tokens"]
    assert [(one["seeds"], one["sd"], one["smallest"]) for one in totals["power"]] == [(2, None, None)]
    assert not command.store.exists()


def test_plan_shows_the_search_and_how_much_may_follow(command):
    text = command.file.read_text().replace("lr: 1e-3, schedule: cosine", "lr: {grid: [1e-3, 1e-2]}, schedule: cosine")
    command.file.write_text(text + "select: {axes: [lr], seeds: [7]}\n")
    said = command("plan", command.file).stdout
    # 5 variants x 2 settings x 1 seed and the warm-up; then the 12 phases of the file without a search
    assert "phases    11 unique" in said
    assert "then      up to 12 phases with the chosen settings" in said
    assert "power     2 seeds; no spread measured yet" in said
    value = json.loads(command("plan", command.file, "--json").stdout)
    assert value["totals"]["then_phases"] == 12
    assert [len(variant["tried"]) for variant in value["search"]["variants"]] == [2] * 5
    assert not command.store.exists()
