"""What others make and we run is named by its digest, and asked about on a schedule."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def test_actions_are_named_by_commit():
    used = [found for path in WORKFLOWS for found in re.findall(r"uses: (\S+)", path.read_text())]
    assert used
    assert all(re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40}", name) for name in used), used


def test_workflows_may_read_and_no_more():
    for path in WORKFLOWS:
        value = yaml.safe_load(path.read_text())
        assert value["permissions"] == {"contents": "read"}
        assert "pull_request_target" not in value[True]  # YAML's `on`


def test_what_is_pinned_is_audited_every_week():
    value = yaml.safe_load((ROOT / ".github" / "workflows" / "audit.yml").read_text())
    (entry,) = value[True]["schedule"]
    assert re.fullmatch(r"\d+ \d+ \* \* \d", entry["cron"])
    steps = [step.get("run", "") for step in value["jobs"]["audit"]["steps"]]
    assert "make audit audit-images" in steps
    make = (ROOT / "Makefile").read_text()
    recipe = make[make.index("\naudit:") :]
    for what in ("constraints.txt", "docker/requirements-cuda.txt", "zizmor", "docker/Dockerfile docker/compose.yaml"):
        assert what in recipe


def test_the_audit_of_images_finds_all_of_them():
    """By the pattern of the Makefile."""
    pattern = re.search(r"grep -hoE '([^']+)'", (ROOT / "Makefile").read_text())[1]
    text = "".join((ROOT / "docker" / name).read_text() for name in ("Dockerfile", "compose.yaml"))
    found = {name.partition(":")[0] for name in re.findall(pattern, text)}
    assert found == {"python", "postgres", "versity/versitygw"}
