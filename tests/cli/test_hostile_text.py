"""What a store holds is shown by every command that prints it, and never obeyed by the terminal."""

from __future__ import annotations

import contextlib
import io
import sqlite3
import sys
from pathlib import Path

import pytest
from rich.console import Console

from procray.cli import live, main
from procray.cli.app import app
from procray.cli.terminal import answer, say, speak_plainly
from procray.store.store import Store
from tests.report import hostile
from tests.report.synthetic import make_plan


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    plan, made = hostile.make(tmp_path_factory.mktemp("hostile"))
    made.phase(next(iter(plan.phases))).set_status("failed", reason=hostile.TEXT, step=1)
    return made.path


@pytest.mark.parametrize(
    "words",
    [
        ["status", "tiny@default"],
        ["lineage", "tiny@default"],
        ["store", "ls", "--phases"],
        ["store", "gc"],
        ["status", "tiny@default", "--json"],
    ],
)
def test_commands_show_names_and_reasons(store: Path, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    app([*words, "--store", str(store)], standalone_mode=False)
    said = "".join(capsys.readouterr())
    assert "x1b[2J" in said or words == ["store", "gc"] or "u001b[2J" in said
    assert not any(sign in said for sign in hostile.OBEYED)


def test_errors_do(store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(sys, "argv", ["procray", "lineage", f"no{hostile.TEXT}", "--store", str(store)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    said = "".join(capsys.readouterr())
    assert "\\x1b[2J" in said
    assert not any(sign in said for sign in hostile.OBEYED if not sign.startswith("\n"))


def test_tracebacks_do(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    speak_plainly()
    error = ValueError("\x1b[2Jgone")
    sys.excepthook(type(error), error, None)
    assert capsys.readouterr().err == "ValueError: \\x1b[2Jgone\n"


def test_the_live_table_does() -> None:
    row = live.Row("1", hostile.TEXT, "semantic", "failed", 1.0, 2.0, None, None, None, hostile.TEXT)
    drawn = io.StringIO()
    Console(file=drawn, force_terminal=True, color_system=None, width=200).print(live.table([row], 20, 1.0))
    for text in (drawn.getvalue(), live.line(row)):
        assert "\\x1b[2J" in text
        assert not any(sign in text for sign in hostile.OBEYED)


@pytest.mark.parametrize(("write", "stream"), [(answer, "out"), (say, "err")])
def test_words_do(write: object, stream: str, capsys: pytest.CaptureFixture[str]) -> None:
    write("a \x1b]0;title\x07 \x9b2J \u202e\r and\na line\tmore")  # type: ignore[operator]
    assert getattr(capsys.readouterr(), stream) == "a \\x1b]0;title\\x07 \\x9b2J \\u202e\\r and\na line\tmore\n"


@pytest.mark.parametrize("words", [["report", "tiny@default"], ["sync", "tiny@default"], ["ui", "tiny@default"]])
def test_a_database_that_leads_out_of_the_store_is_bad_input(
    tmp_path: Path, words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plan, made = make_plan(tmp_path), Store(tmp_path / "store")
    made.write_plan(plan)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with contextlib.closing(sqlite3.connect(made.path / "mlflow.db")) as database, database:
        database.execute("CREATE TABLE experiments (experiment_id INTEGER, name TEXT, artifact_location TEXT)")
        database.execute("CREATE TABLE experiment_tags (experiment_id INTEGER, key TEXT, value TEXT)")
        database.execute("INSERT INTO experiments VALUES (1, 'of a stranger', 'file:///home/ann')")
    before = sorted(path.name for path in made.path.rglob("*"))
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(sys, "argv", ["procray", *words, "--store", str(made.path)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "experiment 'of a stranger': file:///home/ann" in capsys.readouterr().err
    after = sorted(path.name for path in made.path.rglob("*"))
    assert set(after) - set(before) <= {"store-id", "mlflow.db.lock", "tracking.lock"}
