"""Credentials that a user has around while a sweep runs are found nowhere afterwards."""

from __future__ import annotations

import io
import logging
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from procray.execution.segment import describe
from procray.redaction import LINE, redact, redacted, redacted_log
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
        # passwords of any characters in an address
        ("postgresql://ann:s3@cr@t@db/mlflow", "postgresql://***@db/mlflow"),
        ("postgresql://ann:s3/cr#t@db/mlflow", "postgresql://***@db/mlflow"),
        ("git clone https://" + "x" * 20 + "@host/r", "git clone https://***@host/r"),
        ("http://127.0.0.1:5000/#/x@y", "http://127.0.0.1:5000/#/x@y"),
        ("https://host/a@b", "https://host/a@b"),
        # names
        ("DB_PWD=hunter2x", "DB_PWD=***"),
        ("DB_PASS: 'correct horse battery'", "DB_PASS: '***'"),
        ('{\\"smtp_pass\\": \\"hunter2x\\"}', '{\\"smtp_pass\\": \\"***\\"}'),
        ("GH_PAT=abcdefgh1", "GH_PAT=***"),
        ("SSH_PASSPHRASE=open sesame", "SSH_PASSPHRASE=*** sesame"),
        ("password=p@ss:w0rd", "password=***"),
        ("STORAGE_KEY=abcdefgh1", "STORAGE_KEY=***"),
        ("export MLFLOW_KEY=abcdefgh1", "export MLFLOW_KEY=***"),
        ("AccountName=a;AccountKey=Zm9v+/==;EndpointSuffix=x", "AccountName=a;AccountKey=***;EndpointSuffix=x"),
        (
            "https://a.blob.core.windows.net/c?sv=2024&sig=ab%2Bc%3D&sp=r",
            "https://a.blob.core.windows.net/c?sv=2024&sig=***&sp=r",
        ),
        ("wandb.login(key='" + "0a" * 20 + "')", "wandb.login(key='***')"),
        ("ray up --token abcdefghij", "ray up --token ***"),
        # headers
        ("Authorization: token abcdef", "Authorization: token ***"),
        ("Authorization: AWS4-HMAC-SHA256 Credential=x, Signature=y", "Authorization: AWS4-HMAC-SHA256 ***"),
        ("sent Bearer " + "ab1." * 6, "sent Bearer ***"),
        # forms
        ("ghp_" + "a" * 36, "***"),
        ("github_pat_" + "a" * 40, "***"),
        ("xoxb-" + "1" * 12, "***"),
        ("sk-proj-" + "a" * 24, "***"),
        ("AIza" + "B" * 35, "***"),
        ("eyJ" + "a" * 20 + ".eyJ" + "b" * 20 + ".sig", "***"),
        (f"{AMAZON} {'s' * 40}.", "***."),
        # what is none
        ("password: $PGPASSWORD, secret: {name: x}", "password: $PGPASSWORD, secret: {name: x}"),
        ("forward_pass: 0.0123 s", "forward_pass: 0.0123 s"),
        ("model: {width: 16}, path=/a/b, compass: north", "model: {width: 16}, path=/a/b, compass: north"),
        ("\u0130 password=hunter2x", "\u0130 password=***"),
    ],
)
def test_credentials_are_known_by_place_form_and_value(monkeypatch, given, wanted):
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", WORDS)
    assert redact(given) == wanted


@pytest.mark.parametrize("name", ["A_PWD", "A_PASS", "A_PAT", "A_PASSPHRASE", "STORAGE_KEY", "SSHPASS", "AZURE_SAS"])
def test_variables_whose_names_say_so(monkeypatch, name):
    monkeypatch.setenv(name, WORDS + "/x")
    assert redact(f"it says {WORDS}/x, or {WORDS}%2Fx") == "it says ***, or ***"


def test_passwords_out_of_addresses_in_variables(monkeypatch):
    """Libraries print them apart from their address."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://ann:pa@ssw0rd%21@db/x")
    assert redact("refused for ann with pa@ssw0rd! (pa@ssw0rd%21)") == "refused for ann with *** (***)"


PIECES = (
    "a", "_", "-", "@", ":", "=", '"', "'", " ", "\n", "/", "\\", "?", "&", ";", ".", "1", "\u0130", "word ", 
    "a=", "a: ",
    "token", "token=", "key=", "KEY=", "password", "password=", 'password="', "password='x", "_pat", "://", 
    "://a:", "://a@",
    "://a:1/", "eyJ", "eyJ-", "hf_", "AKIA", "ghp_", "sk-", "?key", "?a", "bearer ", "authorization: ", 
    "authorization: digest ",
    "--token ", "--a-token", "-----BEGIN ", "-----BEGIN A PRIVATE KEY-----", "PRIVATE KEY ", "key: " + "a" * 40 + " ",
    "secret=abcdefghijklmnop password=abc123 ", "2026-01-01 12:00:00 INFO worker: loss=1.23 tokens: 4096\n",
)  # fmt: skip


def time_of(act, text) -> float:
    """Seconds of this process, the least of three: what else runs on the machine only adds to it."""
    taken = []
    for _ in range(3):
        started = time.process_time()
        act(text)
        taken.append(time.process_time() - started)
    return min(taken)


@pytest.mark.parametrize("piece", PIECES)
def test_the_work_grows_with_the_length(piece):
    """Four times the text takes four times the work, where what is quadratic takes sixteen times."""
    texts = [(piece * 200_000)[:size] for size in (50_000, 200_000)]
    small, large = (time_of(redact, text) for text in texts)
    assert large < 9 * small + 0.01, (small, large)


def test_a_line_of_a_log_is_bounded():
    key = "-----BEGIN RSA PRIVATE KEY-----\n" + "MIIEsecret\n" * 200_000 + "-----END RSA PRIVATE KEY-----\n"
    text = "first\n" + "x" * (LINE - 10) + f" {HUB}\n" + "y" * 3_000_000 + "\n" + key + "last"
    kept = "".join(redacted_log(io.StringIO(text)))
    assert kept.startswith("first\n")
    assert kept.endswith("\nlast")
    assert "(the rest of a long line is left out)" in kept
    assert max(map(len, kept.splitlines())) < LINE + 60
    assert "secret" not in kept
    assert HUB[:8] not in kept


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
