"""Credentials that a user has around while a sweep runs are found nowhere afterwards."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from procray.execution.segment import describe
from procray.redaction import redact, redacted
from procray.store.store import Store

HUB = "hf_" + "PlantedHubToken" + "0123456789"
AMAZON = "AKIA" + "PLANTEDKEY123456"
WORDS = "planted-Words-in-the-Environment"


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("postgresql://ann:s3cret@db/mlflow", "postgresql://***@db/mlflow"),
        ("https://host/f?X-Amz-Signature=ff00&X-Amz-Date=1", "https://host/f?X-Amz-Signature=***&X-Amz-Date=1"),
        (f"401 for {HUB}.", "401 for ***."),
        (f"the key {AMAZON} is disabled", "the key *** is disabled"),
        ("Authorization: Bearer abc.def", "Authorization: Bearer ***"),
        ("{'Authorization': 'Basic YWJj'}", "{'Authorization': 'Basic ***'}"),
        ("aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "aws_secret_access_key = ***"),
        ('{"api_key": "0123456789abcdef0123"}', '{"api_key": "***"}'),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----", "***"),
        (f"it says {WORDS}!", "it says ***!"),
        ("tokens: 4096, tokenizer: gpt2", "tokens: 4096, tokenizer: gpt2"),
        ("phase 0123456789abcdef, step 5", "phase 0123456789abcdef, step 5"),
        ("sqlite:////home/ann@lab/mlflow.db", "sqlite:////home/ann@lab/mlflow.db"),
    ],
)
def test_credentials_are_known_by_place_form_and_value(monkeypatch, given, wanted):
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", WORDS)
    assert redact(given) == wanted


def test_paths_in_variables_with_such_names_stay(monkeypatch, tmp_path):
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN", str(tmp_path))
    assert redact(f"in {tmp_path}") == f"in {tmp_path}"


def test_data_keep_their_form():
    assert redacted({"a": [1, f"x {HUB}"], "b": None}) == {"a": [1, "x ***"], "b": None}


def test_errors_of_phases_carry_none(tmp_path):
    assert describe(OSError(f"cannot open https://ann:{WORDS}@host/x")) == "OSError: cannot open https://***@host/x"
    folder = Store(tmp_path).phase("0123456789abcdef")
    folder.set_status("failed", reason=f"403 for {HUB}", traceback=f"File x\n  open('{AMAZON}')")
    assert "failed" in (text := (folder.path / "status.json").read_text())
    assert HUB not in text
    assert AMAZON not in text


def test_the_log_of_ray_carries_none(tmp_path):
    from procray.execution.cluster import _quiet

    with _quiet(tmp_path / "ray.log"):
        logging.getLogger("ray.tune").warning("the worker said %s", HUB)
    assert "the worker said ***" in (tmp_path / "ray.log").read_text()


SWEEP = f"""\
# Does https://ann:{WORDS}@example.org/{HUB} stay secret?
name: secrets
setting: additive
seeds: [0]
model: {{layers: 1, heads: 2, width: 16, context: 32}}
procedural: {{task: set, length: 8, batch: 4, tokens: 2k, optimizer: {{lr: 1e-3}}}}  # {AMAZON}
transfer: full
diagnostic: {{task: haystack, pairs: 4, tokens: 4k, batch: 10, optimizer: {{lr: {{grid: [1e-3, 1e20]}}}}}}
"""


@pytest.mark.slow
def test_a_whole_sweep_leaves_none_behind(tmp_path):
    """Store, report, logs, MLflow's database and artifacts, and whatever was printed; one of its phases diverges."""
    file, store = tmp_path / "secrets.yaml", tmp_path / "store"
    file.write_text(SWEEP)
    environment = {
        **os.environ, "HF_TOKEN": HUB, "AWS_SECRET_ACCESS_KEY": WORDS, "AWS_ACCESS_KEY_ID": AMAZON,
        "MLFLOW_TRACKING_PASSWORD": WORDS, "PROCRAY_STORE": str(store), "NO_COLOR": "1", "MLFLOW_TRACKING_URI": "",
    }  # fmt: skip
    printed = ""
    for words in (["sweep", file], ["status", file], ["report", file], ["plan", file, "--json"], ["sync", file]):
        done = subprocess.run(
            [sys.executable, "-c", "from procray.cli import main; main()", *map(str, words)],
            capture_output=True, text=True, env=environment, check=False,
        )  # fmt: skip
        assert done.returncode in (0, 1), done.stderr
        printed += done.stdout + done.stderr
    files = [path for path in store.rglob("*") if path.is_file()]
    names = {path.name for path in files}
    assert {"plan.json", "report.html", "mlflow.db", "status.json", "phase.json"} <= names
    needles = [text.encode() for text in (HUB, AMAZON, WORDS)]
    found = [str(path.relative_to(store)) for path in files if any(needle in path.read_bytes() for needle in needles)]
    assert found == []
    assert not any(needle.decode() in printed for needle in needles)


def test_the_lock_of_the_repository_names_no_secret():
    root = Path(__file__).parents[2]
    for path in (root / "Makefile", root / "pyproject.toml", *(root / ".github").rglob("*.yml")):
        text = path.read_text()
        assert redact(text) == text, path
