import json
import os
import subprocess
import sys

from procray.training import FolderContext
from procray.training.__main__ import main

from .phases import curve, recipe, run, weights


def test_the_command_trains_and_continues(tmp_path, capsys):
    phase = recipe()
    (tmp_path / "phase.json").write_text(json.dumps(phase.to_json()))
    arguments = [str(tmp_path / "phase.json"), str(tmp_path / "a"), "--device", "cpu"]
    assert main([*arguments, "--until", "4", "--marks", "2"]) == 0
    assert main([*arguments, "--until", "8"]) == 0
    out, err = capsys.readouterr()
    assert [json.loads(line)["step"] for line in out.splitlines()] == [0, 2, 4, 8]
    assert "done at step 8" in err
    assert json.loads((tmp_path / "a" / "recipe.json").read_text()) == phase.to_json()
    run(phase, tmp_path / "b", 8, marks=(2,))
    assert curve(tmp_path / "a") == curve(tmp_path / "b")
    assert weights(tmp_path / "a", 8) == weights(tmp_path / "b", 8)


def test_a_user_error_is_one_line(tmp_path, capsys):
    content = recipe().to_json()
    content["data"]["task"]["name"] = "sett"
    (tmp_path / "phase.json").write_text(json.dumps(content))
    assert main([str(tmp_path / "phase.json"), str(tmp_path / "a"), "--until", "4", "--device", "cpu"]) == 2
    assert "did you mean 'set'?" in capsys.readouterr().err


def test_sigterm_saves_and_ends_with_130_and_torchs_compiler_was_never_imported(tmp_path):
    (tmp_path / "phase.json").write_text(json.dumps(recipe().to_json()))
    command = [sys.executable, "-m", "procray.training", str(tmp_path / "phase.json"), str(tmp_path / "a")]
    with open(tmp_path / "err", "w") as said:
        process = subprocess.Popen(
            [*command, "--until", "1000000", "--device", "cpu"],
            stdout=subprocess.PIPE,
            stderr=said,  # more than a pipe holds
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPROFILEIMPORTTIME": "1"},
        )
    try:
        for line in process.stdout:
            if json.loads(line)["step"] == 8:
                break
        process.terminate()
        process.communicate()
    finally:
        process.kill()
    err = (tmp_path / "err").read_text()
    assert process.returncode == 130, err
    assert "paused at step" in err
    imported = {line.rpartition("|")[2].strip() for line in err.splitlines() if line.startswith("import time:")}
    assert "torch.optim" in imported
    assert not imported & {"torch._dynamo", "sympy"}, "it takes longer to import than all the rest"
    state = FolderContext(tmp_path / "a").latest_resume()
    assert state is not None
    step = int(state.name)
    assert step >= 8
    run(recipe(), tmp_path / "a", step + 2)
    run(recipe(), tmp_path / "b", step + 2)
    assert weights(tmp_path / "a", step + 2) == weights(tmp_path / "b", step + 2)
