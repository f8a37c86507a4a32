"""A store holds files called like everything that procray's processes import: none of them is ever loaded.

Somebody who can write to a store puts them there; the reader stands in the store, or only names it.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import procray
from tests.cli.conftest import SMALL

PACKAGE = str(Path(procray.__file__).resolve().parents[1])
# Writes down that it was loaded and where. Nothing else happens.
HARMLESS = """\
import os
with open({log!r}, "a") as log:
    log.write(__name__ + " " + __file__ + "\\n")
raise ImportError("a module from a store")
"""


def names() -> list[str]:
    """Of every module that can be imported here, and of those that Python looks for by itself."""
    found = {name for name in importlib.metadata.packages_distributions() if re.fullmatch(r"\w+", name)}
    return sorted({*found, *sys.stdlib_module_names, "procray", "sitecustomize", "usercustomize"})


@pytest.fixture
def store(tmp_path: Path) -> Path:
    folder, log = tmp_path / "store", tmp_path / "loaded"
    log.touch()
    for where in (folder, folder / "mlartifacts", folder / "sweeps"):
        where.mkdir()
        for name in names():
            (where / f"{name}.py").write_text(HARMLESS.format(log=str(log)))
    texts = tmp_path / "texts"
    texts.mkdir()
    for number in range(12):
        (texts / f"{number}.txt").write_text(f"the quick brown fox {number} jumps over the lazy dog\n" * 40)
    small = SMALL.replace("TEXTS", str(texts)).replace("seeds: [0, 1]", "seeds: [0]")
    (tmp_path / "small.yaml").write_text(small.replace("{grid: [2k, 4k]}", "2k").replace("[attention, mlp]", "[mlp]"))
    return folder


def start(store: Path, *words: str) -> subprocess.Popen[str]:
    """The command as its script starts it: Python then looks where the script lies, not where the user stands."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
    return subprocess.Popen(
        [sys.executable, "-P", "-c", "from procray.cli import main; main()", *words, "--store", "."],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=store,
        env={**environment, "PYTHONPATH": PACKAGE, "MLFLOW_TRACKING_URI": "", "NO_COLOR": "1"},
    )  # fmt: skip


def test_the_fixture_can_fail(store: Path) -> None:
    careless = {**os.environ, "PYTHONPATH": ""}
    subprocess.run([sys.executable, "-c", "import mlflow"], cwd=store, env=careless, capture_output=True, check=False)
    assert str(store) in (store.parent / "loaded").read_text()


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_nothing_is_loaded_by_a_sweep_its_workers_its_record_and_its_page(store: Path) -> None:
    file = str(store.parent / "small.yaml")
    for words in (["sweep", file], ["sync", file], ["report", file], ["status", file]):
        said, _ = (process := start(store, *words)).communicate(timeout=900)
        assert process.returncode == 0, said
    page = start(store, "ui", file, "--no-browser")
    assert page.stdout is not None
    try:
        assert any("MLflow is at http" in line for line in page.stdout)
    finally:
        page.send_signal(signal.SIGINT)
        page.communicate(timeout=60)
    assert (store.parent / "loaded").read_text() == ""
