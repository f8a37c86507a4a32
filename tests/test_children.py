"""What the user's own files are called is nobody's business: processes that procray starts do not see them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import procray
from procray import children

PACKAGE = str(Path(procray.__file__).resolve().parents[1])


@pytest.fixture
def own_files(tmp_path, monkeypatch):
    """The current folder, in which files are called like modules."""
    for name in ("profile", "json", "torch", "mlflow"):
        (tmp_path / f"{name}.py").write_text(f"raise ImportError('the {name} of the user')\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def imports(*words: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *words], env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("paths", [None, "", ".", f"{os.pathsep}/nowhere", f"/nowhere{os.pathsep}"])
def test_a_child_imports_nothing_from_the_folder_where_it_is_started(own_files, monkeypatch, paths):
    monkeypatch.delenv("PYTHONPATH", raising=False)
    if paths is not None:
        monkeypatch.setenv("PYTHONPATH", paths)
    script = "import json, profile, sys, procray; print(json.dumps([procray.__file__, sys.path]))"
    careless = imports("-c", script, environment={**os.environ, "PYTHONPATH": paths or ""})
    assert "of the user" in careless.stderr, "the fixture must be able to fail"
    said = imports("-c", script, environment=children.child_environment())
    assert said.returncode == 0, said.stderr
    found, path = json.loads(said.stdout)
    assert found == procray.__file__
    assert not {"", str(own_files)} & set(path)
    module = imports("-m", "json.tool", "--help", environment=children.child_environment())
    assert module.returncode == 0, module.stderr


def test_paths_that_the_user_has_set_stay_and_variables_are_added(own_files, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["/opt/lab", str(own_files), "/opt/more"]))
    environment = children.child_environment({"OMP_NUM_THREADS": "3", "PYTHONPATH": "never"})
    assert environment["OMP_NUM_THREADS"] == "3"
    kept = environment["PYTHONPATH"].split(os.pathsep)
    assert [one for one in kept if one != PACKAGE] == ["/opt/lab", "/opt/more"]
    assert {name for name in os.environ if name not in environment} == set()


def test_procray_that_lies_where_the_user_stands_is_found(monkeypatch):
    monkeypatch.chdir(PACKAGE)
    monkeypatch.setenv("PYTHONPATH", ".")
    assert "." in children.child_environment()["PYTHONPATH"].split(os.pathsep) or children.code_paths() == [PACKAGE]
    said = imports("-c", "import procray; print(procray.__file__)", environment=children.child_environment())
    assert said.stdout.strip() == procray.__file__


@pytest.mark.parametrize("start", [["-m", "procray"], ["-c", "from procray.cli import main; main()"]])
def test_the_command_itself_imports_none_of_them(own_files, start):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(["", PACKAGE])}
    said = imports(*start, "tasks", "union", "--json", environment=environment)
    assert said.returncode == 0, said.stderr
    assert json.loads(said.stdout)["samples"]
