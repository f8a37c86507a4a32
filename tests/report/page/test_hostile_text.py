"""Whoever writes to a store chooses names and reasons; reports, drawings and analyses show them as text."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest

from procray.cli import analysis_view
from procray.report import answer, lineage_text, write_report
from procray.report.figures import inside as analysis_figures
from procray.report.numbers import analysis
from procray.report.numbers.inside import Inside
from procray.report.page.analysis_page import write_analysis
from procray.store.store import Store

from .. import hostile
from ..planted import BASE, plant


class Tags(HTMLParser):
    def __init__(self, text: str):
        super().__init__()
        self.tags: set[str] = set()
        self.handlers: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.handlers |= {name for name, _ in attributes if name.startswith("on")}


def shown_only(path: Path) -> str:
    """The text of a page or a drawing, in which nothing is left to obey."""
    text = path.read_text(encoding="utf-8")
    for sign in hostile.OBEYED:
        assert sign not in text, (path.name, sign)
    if path.suffix == ".svg":
        assert not [one for one in ElementTree.fromstring(text).iter() if one.tag.endswith("script")]  # and well formed
    else:
        read = Tags(text)
        assert not {"script", "img", "iframe", "object"} & read.tags
        assert not read.handlers
    return text


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory):
    return hostile.make(tmp_path_factory.mktemp("hostile"))


def test_reports_show_reasons_names_and_lineage_as_text(made):
    plan, store = made
    paths = write_report(plan, store)
    page = shown_only(paths.page)
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;\\x1b[2J") > 10
    drawings = [paths.lineage, *(path for path in paths.pictures if path.suffix == ".svg")]
    assert len(drawings) > 5
    for path in drawings:
        shown_only(path)
    assert "alert(1)" in paths.lineage.read_text()


def test_plain_text_too(made):
    plan, store = made
    for text in (answer(write_report(plan, store).results), lineage_text(plan, store)):
        assert "\\x1b[2J" in text
        assert not any(sign in text for sign in hostile.OBEYED)


def test_analyses_show_names_and_notes_as_text(tmp_path, monkeypatch, capsys):
    for score in ("previous", "induction", "first"):  # one drawing of heads is like the other
        monkeypatch.delitem(analysis_figures.SHOWN, score)
    store = Store(tmp_path / "store")
    inside = analysis.inspect(store, plant(store, BASE, 10).id)
    raw = inside.to_json() | {"label": hostile.TEXT, "notes": [hostile.TEXT]}
    raw["looks"] = [look | {"title": hostile.TEXT} for look in raw["looks"]]
    inside = Inside.from_json(json.loads(json.dumps(raw)))
    written = write_analysis([inside], [], [], tmp_path / "out", "procray analyze x")
    assert "&lt;script&gt;alert(1)" in shown_only(written.page)
    for path in written.pictures:
        if path.suffix == ".svg":
            shown_only(path)
    analysis_view.show(inside)
    said = capsys.readouterr().out
    assert "\\x1b[2J" in said
    assert not any(sign in said for sign in hostile.OBEYED)
