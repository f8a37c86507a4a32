"""Results of a finished sweep, read by the real command when its texts are no more what they were."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from procray.cli import main


@contextmanager
def one_line_more(command, name: str = "7.txt") -> Iterator[None]:
    path = command.folder / "texts" / name
    before = path.read_bytes()
    path.write_bytes(before + b"one line more\n")
    try:
        yield
    finally:
        path.write_bytes(before)


@contextmanager
def without_texts(command) -> Iterator[None]:
    texts = command.folder / "texts"
    texts.rename(command.folder / "elsewhere")
    try:
        yield
    finally:
        (command.folder / "elsewhere").rename(texts)


def stored(command) -> str:
    """The digest of the plan that was run."""
    return json.loads((command.store / "sweeps" / "small@default" / "newest.json").read_text())["plan"]


def everything(command) -> dict[str, bytes]:
    folder = command.store / "sweeps" / "small@default"
    return {
        str(path): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "logs" not in path.parts
    }


def test_a_line_in_a_text_makes_no_finished_report_unfinished(finished):
    command, _ = finished
    plain = json.loads(command("report", command.file, "--json").stdout)
    before = everything(command)
    with one_line_more(command):
        said = command("report", command.file, "--json")
        assert json.loads(said.stdout) == plain
        assert "its texts changed: 1 file changed (7.txt)" in said.stderr
        assert stored(command) in said.stderr
        assert everything(command) == before
        said = command("status", command.file, "--json")
        assert {row["state"] for row in json.loads(said.stdout)} == {"done"}
        assert "1 file changed (7.txt)" in said.stderr
        assert "12 phases" in command("lineage", command.file).stdout
    assert "changed" not in command("status", command.file).stderr


def test_whoever_has_the_store_but_not_the_texts_reads_everything(finished):
    command, _ = finished
    lineage, status = command("lineage", command.file).stdout, command("status", command.file).stdout
    with without_texts(command):
        for words, answer in ((["lineage"], lineage), (["status"], status)):
            said = command(*words, command.file)
            assert said.stdout == answer
            assert len(said.stderr.splitlines()) == 1
            assert "not here" in said.stderr
        assert "baseline" in command("report", command.file).stdout
        assert "not here" in command("sync", command.file).stderr
        assert "matches no file" in command("plan", command.file, code=2).stderr
        assert "matches no file" in command("sweep", command.file, code=2).stderr


def test_a_plan_is_read_by_its_digest_and_its_title(finished):
    command, _ = finished
    status = command("status", command.file).stdout
    for name in (stored(command), stored(command)[:7], "small@default"):
        said = command("status", name)
        assert (said.stdout, said.stderr) == (status, "")
    assert "12 phases" in command("lineage", "small@default").stdout
    said = command("report", "smal@default", code=2)
    assert "there is no file 'smal@default'" in said.stderr
    assert "did you mean 'small@default'?" in said.stderr


def test_why_names_the_files_and_the_settings(finished):
    command, _ = finished
    assert "nothing to explain" in command("plan", command.file, "--why").stdout
    with one_line_more(command):
        said = command("plan", command.file, "--why").stdout
        assert "10 would be trained anew" in said
        assert "semantic.corpus: 1 file changed (7.txt)" in said
        assert said.count("7.txt") == 1
    said = command("plan", command.file, "--why", "--set", "procedural.optimizer.lr=3e-3").stdout
    assert said.count("procedural.optimizer.lr: 1e-3 -> 3e-3") == 1
    assert "nothing else: its parent differs, see there (reverse L6 s0, reverse L6 s1)" in said
    found = json.loads(command("plan", command.file, "--why", "--json", "--set", "procedural.optimizer.lr=3e-3").stdout)
    warm = next(one for one in found["why"] if one["label"] == "reverse L6 s0")
    assert warm["plan"] == stored(command)
    assert [(one["key"], one["before"], one["after"]) for one in warm["differences"]] == [
        ("procedural.optimizer.lr", "1e-3", "3e-3")
    ]


def test_why_of_what_is_all_new_is_a_plain_sentence(command):
    said = command("plan", command.file, "--why")
    assert "0 of 12 phases have something in the store" in said.stdout
    assert "of which no plan of the store has anything" in said.stdout
    assert not command.store.exists()


@pytest.fixture
def analyzed(monkeypatch, capsys):
    """What `procray analyze` says, in this process and without its pictures, which take long to draw."""

    def run(phase: str, command, out: Path) -> str:
        monkeypatch.setattr("procray.report.figures.inside.pictures", lambda inside: [])
        monkeypatch.setenv("PROCRAY_STORE", str(command.store))
        monkeypatch.setattr("sys.argv", ["procray", "analyze", phase, "--out", str(out)])
        with pytest.raises(SystemExit) as ended:
            main()
        assert not ended.value.code
        return capsys.readouterr().out

    return run


def test_a_phase_has_one_name_in_every_command(finished, tmp_path, analyzed):
    command, _ = finished
    rows = json.loads(command("status", command.file, "--json").stdout)
    label, id = next((row["label"], row["id"]) for row in rows if row["kind"] == "procedural")
    for view in ("status", "plan"):
        line = next(line for line in command(view, command.file).stdout.splitlines() if label in line)
        assert id[:8] in line
    plan = json.loads((command.store / "sweeps" / "small@default" / stored(command) / "plan.json").read_text())
    first, _ = next(phase["marks"] for phase in plan["phases"] if phase["id"] == id)
    last = max(int(mark.name) for mark in (command.store / "phases" / id / "marks").iterdir())  # of any sweep
    names = {f"{label}@2k": first, f"{id[:8]}@{first}": first, label: last, id[:10]: last}
    for number, (name, step) in enumerate(names.items()):
        command("export", name, tmp_path / str(number))
        assert json.loads((tmp_path / str(number) / "manifest.json").read_text())["step"] == step
        assert f"* {label}  [{id}]" in command("lineage", name).stdout
    assert f"step {first} ({id})" in analyzed(f"{label}@2k", command, tmp_path / "page")
    command("transfer", f"{label}@2k", f"{label}", tmp_path / "both", "--mode", "attention")
    assert json.loads((tmp_path / "both" / "transfer.json").read_text())["counts"]["tensors_carried"] == 8
    for words in (["export", "revers L6 s0", tmp_path / "x"], ["lineage", "revers L6 s0"], ["analyze", "revers L6 s0"]):
        assert f"did you mean '{label}'?" in command(*words, code=2).stderr
