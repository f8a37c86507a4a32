"""Words reach any terminal in a form that can be read, and a terminal that is gone ends nothing."""

from __future__ import annotations

import io
import json
import os
import sys

import pytest
from rich.console import Console
from rich.table import Table

from procray.cli.terminal import answer, answer_json, say, speak_plainly

TEXT = "−0.016 ± 0.2 · café 中 \udcff … ≤ 3 → “so”"


def stream(monkeypatch, name, encoding):
    """One of the two streams, as Python opens it for a terminal of this encoding; gives what arrives there."""
    raw = io.BytesIO()
    monkeypatch.setattr(sys, name, io.TextIOWrapper(raw, encoding=encoding, errors="strict"))
    speak_plainly()
    return lambda: raw.getvalue().decode(encoding)


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [
        ("ascii", '-0.016 +- 0.2 - cafe ? ? ... <= 3 -> "so"\n'),
        ("latin-1", '-0.016 ± 0.2 · café ? ? ... <= 3 -> "so"\n'),
        ("cp1252", "-0.016 ± 0.2 · café ? ? … <= 3 -> “so”\n"),
        ("utf-8", "−0.016 ± 0.2 · café 中 ? … ≤ 3 → “so”\n"),
    ],
)
@pytest.mark.parametrize(("name", "write"), [("stdout", answer), ("stderr", say)])
def test_what_an_encoding_lacks_is_written_in_ascii(monkeypatch, name, write, encoding, shown):
    arrived = stream(monkeypatch, name, encoding)
    write(TEXT)
    assert arrived() == shown


def test_tables_keep_their_lines(monkeypatch):
    arrived = stream(monkeypatch, "stdout", "latin-1")
    table = Table("name", "loss", caption="3 − 2 · a caption")
    table.add_row("x" * 60, "−1")
    Console(file=sys.stdout, width=30).print(table)
    answer("├─ one\n│  └─ two")
    text = arrived()
    assert "3 - 2 · a caption" in text
    assert "| -1 " in text
    assert text.endswith("+- one\n|  +- two\n")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8", "utf-16"])
def test_json_means_the_same_in_any_encoding(monkeypatch, encoding):
    arrived = stream(monkeypatch, "stdout", encoding)
    answer_json({"text": TEXT})
    assert json.loads(arrived()) == {"text": TEXT}


@pytest.mark.parametrize(("name", "write"), [("stdout", answer), ("stderr", say)])
def test_nobody_at_the_other_end_is_no_reason_to_end(monkeypatch, name, write):
    read, written = os.pipe()
    os.close(read)
    closed = open(written, "w", encoding="utf-8")  # noqa: SIM115
    monkeypatch.setattr(sys, name, closed)
    write("one")
    write("two")
    closed.close()  # what it held back is no error either, as at the end of the process


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_an_answer_that_cannot_be_kept_is_an_error(monkeypatch):
    full = open("/dev/full", "w", encoding="utf-8")  # noqa: SIM115
    monkeypatch.setattr(sys, "stdout", full)
    with pytest.raises(OSError, match="No space left"):
        answer("results")
    with pytest.raises(OSError, match="No space left"):
        full.close()
