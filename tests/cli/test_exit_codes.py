"""How a sweep ended can be told from its exit code, and the line that continues it can be typed as it stands."""

from __future__ import annotations

import itertools
import shlex
import signal
from types import SimpleNamespace

import pytest

from procray.cli.app import app
from procray.execution import RunResult

SWEEP = """\
name: small
seeds: [0]
model: {layers: 1, heads: 2, width: 16}
diagnostic:
  {task: reverse, length: 4, vocab: 16, batch: 8, tokens: 2k, optimizer: {lr: 1e-3}, evaluate: {every: 1k}}
resources: {workers: 1, cpu: 1}
"""
LOST = {"a s0": "loss is NaN"}


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PROCRAY_STORE", "in this shell")
    path = tmp_path / "my sweep.yaml"
    path.write_text(SWEEP)
    return path


def command(*words: object) -> int:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["procray"])
        return app([str(word) for word in words], standalone_mode=False)


def ended(monkeypatch, search: bool = False, **how) -> None:
    """The next sweep ends like this; nothing is trained or written."""

    def run(plan, store, options):
        shown = SimpleNamespace(then=object()) if search else plan
        known = {"done": [], "failed": {}, "skipped": {}, "unfinished": [], "interrupted": False, "signal": 0}
        known |= {"out_of_time": False, "trained": 1, "seconds": 1.0, "logs": store.path, "plan": shown}
        return RunResult(**known | how)

    monkeypatch.setattr("procray.execution.run", run)
    monkeypatch.setattr("procray.report.write_report", lambda *_, **__: SimpleNamespace(results={}, page=None))
    monkeypatch.setattr("procray.report.answer", lambda *_, **__: "the answer")
    monkeypatch.setattr("procray.report.results_json", lambda results: results)


@pytest.mark.parametrize(
    ("how", "code", "words"),
    [
        ({}, 0, None),
        ({"failed": LOST}, 1, None),
        ({"skipped": LOST}, 1, None),
        ({"out_of_time": True, "unfinished": ["b s0"]}, 4, "out of time"),
        ({"out_of_time": True, "unfinished": ["b s0"], "failed": LOST}, 1, "out of time"),
        ({"out_of_time": True}, 0, None),  # with the last phase
        ({"out_of_time": True, "search": True}, 4, "out of time"),  # with the last one of the search
        ({"interrupted": True, "signal": signal.SIGINT, "unfinished": ["b s0"]}, 130, "interrupted"),
        ({"interrupted": True, "signal": signal.SIGTERM, "unfinished": ["b s0"], "failed": LOST}, 143, "interrupted"),
        ({"interrupted": True, "signal": signal.SIGHUP, "unfinished": ["b s0"]}, 129, "interrupted"),
    ],
)
def test_exit_codes(file, monkeypatch, capsys, how, code, words):
    ended(monkeypatch, **how)
    assert command("sweep", file, "--no-tracking") == code
    said = capsys.readouterr().err
    assert ("Continue with" in said) == (words is not None)
    assert words is None or f"{words}; everything trained so far is kept" in said


def test_the_line_that_continues_has_every_option_that_was_given(file, monkeypatch, capsys):
    ended(monkeypatch, out_of_time=True, unfinished=["b s0"])
    given = ["--set", "seeds=[0, 1]", "--set", "diagnostic.batch=4", "--max-hours", "0.5", "--max-concurrent", "2"]
    given += ["--retry-failed", "--no-tracking", "--profile", "3:5", "--address", "10.0.0.1:6379", "--json"]
    command("sweep", *given, file)
    line = capsys.readouterr().err.rpartition("Continue with\n  ")[2].splitlines()[0]
    words = shlex.split(line)
    assert words[:3] == ["procray", "sweep", str(file)]
    pairs = [*itertools.pairwise(given)]
    for option, value in pairs:
        if option.startswith("--"):
            at = [number for number, word in enumerate(words) if word == option]
            assert at, option
            assert value.startswith("--") or value in [words[number + 1] for number in at]
    assert words[words.index("--store") + 1] == "in this shell"
    assert words.count("--set") == 2


def test_what_was_not_given_is_not_in_it(file, monkeypatch, capsys):
    monkeypatch.delenv("PROCRAY_STORE")
    ended(monkeypatch, out_of_time=True, unfinished=["b s0"])
    monkeypatch.setattr("procray.cli.run_view._follow", lambda plan, store: None)
    command("sweep", file)
    said = capsys.readouterr()
    assert said.err.endswith(f"Continue with\n  procray sweep {shlex.quote(str(file))}\n")


def test_the_line_for_mlflow_has_what_that_command_takes(file, monkeypatch):
    seen = {}
    monkeypatch.setattr("procray.cli.run_view.run_sweep", lambda plan, store, **options: seen.update(options) or 0)
    command("sweep", file, "--set", "seeds=[1]", "--max-hours", "2")
    assert shlex.split(seen["ui"])[1:] == ["ui", str(file), "--set", "seeds=[1]", "--store", "in this shell"]
