"""`procray cluster validate` as it is typed."""

from __future__ import annotations

import json
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "cluster"


def test_a_clean_file_a_broken_one_and_one_that_is_not_ready(command):
    said = command("cluster", "validate", FOLDER / "aws.yaml", "--sweep", command.file)
    assert said.stdout.splitlines()[-1].endswith("aws.yaml: no problems (ray up (aws))")
    assert "still has 7 of the shipped examples" in said.stdout
    assert said.stderr == ""

    not_ready = command("cluster", "validate", FOLDER / "aws.yaml", "--ready", code=2)
    assert "'sg-00000000000000000' is an example; fill in yours" in not_ready.stderr

    broken = command.folder / "broken.yaml"
    text = (FOLDER / "aws.yaml").read_text()
    broken.write_text(
        text.replace("HttpTokens: required", "HttpTokens: optional").replace("max_workers: 12", "max_wrkers: 12")
    )
    said = command("cluster", "validate", broken, code=2)
    assert "did you mean 'max_workers'?" in said.stderr
    assert "IMDSv2" in said.stderr
    assert "^" in said.stderr

    as_json = command("cluster", "validate", broken, "--json", code=2)
    found = json.loads(as_json.stdout)
    assert {problem["line"] for problem in found["problems"]} >= {text[: text.index("max_workers: 12")].count("\n") + 1}
    assert found["kind"] == "ray up (aws)"
    assert as_json.stderr == ""


def test_a_sweep_that_does_not_fit_is_refused(command):
    said = command(
        "cluster", "validate", FOLDER / "aws.yaml", "--sweep", command.file, "--set", "resources.gpu=2", code=2
    )
    assert "no node type offers that" in said.stderr
    assert "aws.yaml" in said.stderr
