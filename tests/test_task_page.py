"""docs/tasks.md says what the tasks are now."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from procray import tasks

DOCS = Path(__file__).resolve().parent.parent / "docs"


@pytest.fixture(scope="module")
def writer():
    spec = importlib.util.spec_from_file_location("task_page", DOCS / "tasks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_task_has_its_source_and_differences(writer):
    assert set(writer.ABOUT) == set(tasks.names())
    assert all(source and differs for _, source, differs in writer.ABOUT.values())


@pytest.mark.parametrize("name", tasks.names())
def test_the_page_has_what_the_task_says_now(writer, name):
    """`python docs/tasks.py` writes it anew."""
    assert writer.section(name) in writer.PAGE.read_text(encoding="utf-8")


def test_the_page_has_nothing_else(writer):
    written = writer.PAGE.read_text(encoding="utf-8")
    assert [line[3:] for line in written.splitlines() if line.startswith("## ")] == tasks.names()
    assert written.startswith(writer.HEAD)
