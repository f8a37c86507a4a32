"""One small real sweep, run once by the real command, that the tests of this folder look at."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

SMALL = """\
# How small can a sweep be?
name: small
setting: substitutive
seeds: [0, 1]
model: {layers: 2, heads: 2, width: 16, context: 32}
procedural:
  task: reverse
  length: 6
  batch: 16
  tokens: {grid: [2k, 4k]}
  optimizer: {lr: 1e-3, schedule: constant}
  evaluate: {every: 2k, sequences: 64}
transfer: {grid: [attention, mlp]}
semantic:
  corpus: {files: "TEXTS/*.txt"}
  tokenizer: byte
  tokens: 12Ki
  batch_tokens: 512
  optimizer: {lr: 1e-3, schedule: cosine, min_lr: 0.1}
  evaluate: {every: 3Ki, sequences: 16}
resources: {workers: 1, cpu: 1}
"""


# Files of the user beside the sweep file, whose names are those of modules: no process may import them.
OWN_FILES = ("profile", "mlflow", "torch", "ray", "numpy", "json", "random", "uvicorn")


# Those that train, serve or follow are tested as they are started.
WHOLE = ("sweep", "ui", "sync", "doctor", "--help")


class Forks:
    """Runs commands in forks of one interpreter: importing is half of what a command takes."""

    def __init__(self) -> None:
        self._host: subprocess.Popen[str] | None = None

    def __call__(self, words: list[str], folder: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
        if self._host is None:
            program = [sys.executable, "-P", str(Path(__file__).with_name("forking.py"))]
            self._host = subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._host.stdin is not None
        assert self._host.stdout is not None
        with tempfile.TemporaryDirectory() as said:
            out, err, learned = (Path(said, name) for name in ("out", "err", "learned"))
            asked = {"words": words, "folder": str(folder), "environment": environment}
            asked |= {"out": str(out), "err": str(err), "learned": str(learned)}
            self._host.stdin.write(json.dumps(asked) + "\n")
            self._host.stdin.flush()
            code = int(self._host.stdout.readline())
            return subprocess.CompletedProcess(words, code, *(file.read_text("utf-8") for file in (out, err)))

    def end(self) -> None:
        if self._host is not None:
            self._host.communicate("")


FORKS = Forks()


@pytest.fixture(autouse=True, scope="session")
def _no_fork_left() -> Iterator[None]:
    yield
    FORKS.end()


class Command:
    """The installed command, run as a user runs it, from a folder with files of the user's own."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.store = folder / "store"
        self.file = folder / "small.yaml"
        texts = folder / "texts"
        texts.mkdir()
        for number in range(24):
            line = f"the quick brown fox {number} jumps over the lazy dog {number * 7}\n"
            (texts / f"{number}.txt").write_text(line * 40)
        for name in OWN_FILES:
            (folder / f"{name}.py").write_text(f"raise SystemExit('the {name} of the user was imported')\n")
        self.file.write_text(SMALL.replace("TEXTS", str(texts)))

    def environment(self) -> dict[str, str]:
        return {**os.environ, "PROCRAY_STORE": str(self.store), "NO_COLOR": "1", "MLFLOW_TRACKING_URI": ""}

    def start(self, *words: object, **variables: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", "from procray.cli import main; main()", *map(str, words)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**self.environment(), **variables},
            cwd=self.folder,
            start_new_session=True,
        )

    def __call__(self, *words: object, code: int = 0, **variables: str) -> subprocess.CompletedProcess[str]:
        if words[0] in WHOLE:
            process = self.start(*words, **variables)
            said = subprocess.CompletedProcess(process.args, 0, *process.communicate())
            said.returncode = process.returncode
        else:
            said = FORKS([*map(str, words)], self.folder, {**self.environment(), **variables})
        assert said.returncode == code, f"exit code {said.returncode}, expected {code}\n{said.stdout}\n{said.stderr}"
        return said


@pytest.fixture
def command(tmp_path: Path) -> Command:
    return Command(tmp_path)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Command, subprocess.CompletedProcess[str]]:
    """A folder in which the small sweep has been run to its end, and what the command said."""
    command = Command(tmp_path_factory.mktemp("finished"))
    return command, command("sweep", command.file)
