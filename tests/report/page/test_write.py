import csv
import io
import json
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from PIL import Image, ImageChops

from procray.report.figures.pictures import pictures
from procray.report.numbers.settings import Settings
from procray.report.numbers.summary import summarise
from procray.report.page.sweep_page import page
from procray.report.page.write import write_report
from procray.store.store import Store

from ..synthetic import fill, make_plan


def test_the_report_stands_in_the_sweeps_folder_with_every_file(finished, report):
    plan, store = finished
    assert report.folder == store.plan_folder(plan.title, plan.digest) / "report"
    assert report.fresh
    assert all(path.stat().st_size > 500 for path in report.files())
    names = {path.name for path in report.pictures}
    for stem in ("loss-text", "loss-total-text", "gap-text", "difference-text", "transfer-text", "substitutive-text",
                 "accuracy-find", "accuracy-total-find", "difference-find", "substitutive-find"):  # fmt: skip
        assert {f"{stem}.png", f"{stem}.svg"} <= names


def test_nothing_is_drawn_again_when_nothing_changed(finished, report):
    before = {path: path.stat().st_mtime_ns for path in report.files()}
    again = write_report(*finished, file="some/tiny.yaml")
    assert not again.fresh
    assert again.files() == report.files()
    assert {path: path.stat().st_mtime_ns for path in again.files()} == before


def test_a_lost_file_is_made_again(tmp_path):
    plan, store = make_plan(tmp_path), Store(tmp_path / "store")
    first = write_report(plan, store)
    before = {path: path.read_bytes() for path in first.files()}
    first.page.unlink()
    assert write_report(plan, store).fresh
    assert {path: path.read_bytes() for path in first.files()} == before


def test_drawing_again_gives_the_same_pictures(results, report):
    one = replace(results, targets=results.targets[:1])
    drawn = pictures(one)
    assert len(drawn) == 6
    for picture in drawn:
        stem = report.folder / "figures" / picture.name
        assert picture.svg == stem.with_suffix(".svg").read_text(), picture.name
        # The rasteriser may round single pixels otherwise.
        old, new = (
            Image.open(io.BytesIO(d)).convert("RGB") for d in (stem.with_suffix(".png").read_bytes(), picture.png)
        )
        assert max(high for _, high in ImageChops.difference(old, new).getextrema()) < 10, picture.name


def test_pictures_are_png_of_slide_size_and_svg_with_ids_of_their_own(report):
    svgs = [path.read_text() for path in report.pictures if path.suffix == ".svg"]
    ids = [set(re.findall(r'\bid="([^"]+)"', svg)) for svg in svgs]
    assert all(ids)
    assert len(set.union(*ids)) == sum(len(own) for own in ids)
    for svg, own in zip(svgs, ids, strict=True):
        assert set(re.findall(r'href="#([^"]+)"', svg)) | set(re.findall(r"url\(#([^)]+)\)", svg)) <= own
    for path in report.pictures:
        if path.suffix == ".png":
            data = path.read_bytes()
            assert data.startswith(b"\x89PNG")
            assert int.from_bytes(data[16:20], "big") >= 1200


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.loads, self.tags, self.links, self.anchors = [], [], [], set()
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.tags.append(tag)
        self.loads += [values[name] for name in ("src", "srcset", "data", "poster") if name in values]
        if tag == "link":
            self.loads.append(values.get("href"))
        if tag == "a":
            self.links.append(values["href"])
        if "id" in values:
            self.anchors.add(values["id"])


def test_the_page_is_one_file_that_loads_nothing(report, results):
    text = report.page.read_text()
    parsed = Page(text)
    assert parsed.loads == []
    assert not {"script", "link", "img", "iframe"} & set(parsed.tags)
    assert "@import" not in text
    assert not re.search(r"url\((?!#)", text)
    assert all(link.startswith("#") and link[1:] in parsed.anchors for link in parsed.links)
    assert parsed.tags.count("svg") == len(report.pictures) // 2 + 1 + len(results.warmups)


def test_the_page_says_question_answer_definitions_settings_and_command(report):
    text = report.page.read_text()
    for said in ("How much text does copying replace?", "40k/full, the best of 4 variants, ends −0.210 nats",
                 "What the words mean",
                 "procray sweep some/tiny.yaml", "not reached (0/3)", "torch", "2.13.0", "0, 1 and 2"):  # fmt: skip
        assert said in text
    assert all(name in text for name in ("20k/attention", "40k/attention", "20k/full", "40k/full"))


def test_text_from_outside_is_escaped(tmp_path):
    plan, store = make_plan(tmp_path), Store(tmp_path / "store")
    bad = next(p for p in plan.phases.values() if p.label == "text/20k/full s1")
    failed = {"state": "failed", "reason": "<script>alert(1)</script> & more", "step": 1}
    fill(plan, store, until=lambda p: 0.0 if p is bad else 0.1, state=lambda p: failed if p is bad else None)
    results = summarise(plan, store)
    text = page(
        results, [], "<svg></svg>", Settings((("<i>", "</table>"),), (("host", "<b>box</b>"),), "</pre>", {}, ())
    )
    assert "<script>" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; more" in text
    assert "<b>box</b>" not in text
    assert Page(text).tags.count("pre") == 3


def test_json_and_csv_agree(report):
    value = json.loads(report.json.read_text())
    rows = list(csv.DictReader(report.csv.open()))
    assert [row["name"] for row in rows] == [variant["name"] for variant in value["variants"]]
    assert float(rows[2]["data_fraction.readoff"]) == value["variants"][2]["data_fraction"]["readoff"]
    assert rows[1]["tokens_to_match.readoff"] == ""
    assert rows[1]["match_state.readoff"] == "not reached"
    curves = list(csv.DictReader(report.curves.open()))
    last = [
        row for row in curves if row["variant"] == "text/20k/full" and row["seed"] == "1" and row["fraction"] == "0.5"
    ]
    assert last[-1]["tokens"] == "512000"
    assert {row["fraction"] for row in curves} == {"1.0", "0.5", "0.75"}


def test_a_running_sweep_gets_a_report_and_old_pictures_go(tmp_path):
    plan, store = make_plan(tmp_path), Store(tmp_path / "store")
    empty = write_report(plan, store)
    assert empty.pictures == ()
    assert "No answer yet" in empty.page.read_text()
    fill(plan, store, until=lambda p: 0.4 if p.variant == "text/baseline" else 0.0)
    running = write_report(plan, store)
    assert "loss-text.png" in {path.name for path in running.pictures}
    assert "This sweep is not complete" in running.page.read_text()
    folder = store.path / "phases"
    folder.rename(store.path / "elsewhere")
    assert write_report(plan, store).pictures == ()
    assert not (running.folder / "figures" / "loss-text.png").exists()


def test_importing_the_room_is_light():
    code = "import procray.report, sys; print(sorted({'matplotlib', 'scipy', 'torch', 'pydantic'} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


@pytest.mark.browser
def test_the_page_opens_in_a_browser(report, tmp_path):
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync",
               "--disable-background-networking", "--disable-component-update", "--dump-dom",
               f"--user-data-dir={tmp_path / 'profile'}", report.page.as_uri()]  # fmt: skip
    dom = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert dom.count("<figure>") == len(report.pictures) // 2
    assert "What the words mean" in dom


def test_a_baseline_that_failed_before_its_first_evaluation_spoils_no_picture(tmp_path):
    plan, store = make_plan(tmp_path), Store(tmp_path / "store")
    bases = {cell.compared for cell in plan.cells if cell.is_baseline and cell.seed == 0}
    fill(
        plan, store, until=lambda phase: 0.001 if phase.id in bases else 1.0,
        state=lambda phase: {"state": "failed", "step": 0, "reason": "the loss is nan"} if phase.id in bases else None,
    )  # fmt: skip
    made = write_report(plan, store)
    assert "gap-text.png" in {path.name for path in made.pictures}, "of the other seeds"
    text = made.page.read_text()
    assert "This sweep has ended, and not all of it succeeded" in text
    assert "numbers can still change" not in text
