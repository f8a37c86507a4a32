"""The gate on the page and in a terminal."""

import re
from dataclasses import replace

import pytest

from procray.report.page.answer import answer
from procray.report.page.gate_table import gate_html, gate_text
from procray.report.page.write import write_report

from ..gated import Sweep, filled, made, planned

BASE = [3.0, 3.1, 2.9, 3.05, 2.95]
PERCENT = "\N{NARROW NO-BREAK SPACE}%"
ENDS = {
    "baseline": BASE,
    "identity": [end - 0.2 + gap for end, gap in zip(BASE, [0.004, -0.003, 0.001, 0.002, -0.004], strict=True)],
    "text": [end + gap for end, gap in zip(BASE, [0.001, 0.002, -0.003, 0.002, -0.001], strict=True)],
}


def test_the_terminal_has_a_row_a_variant_with_every_number(tmp_path):
    results = made(tmp_path, Sweep(ENDS))
    lines = gate_text(results.targets[0], 120)
    heads = next(line for line in lines if "the gate" in line)
    asked = ["the gate", "learned", "scratch", "text", "shuffled", "random", "tuned", "passes", "size", "lasts"]
    assert re.split(r"\s{2,}", heads.strip()) == asked
    (row,) = [line for line in lines if line.strip().startswith("identity")]
    cells = dict(zip(asked, re.split(r"\s{2,}", row.strip()), strict=True))
    assert [cells[name] for name in ("scratch", "text", "passes", "lasts")] == [
        "yes −0.200", "yes −0.200", "yes 0.50", f"yes 100{PERCENT}",
    ]  # fmt: skip
    assert [cells[name] for name in ("shuffled", "random", "tuned")] == ["not run"] * 3
    assert re.fullmatch(rf"yes 98/\d+{PERCENT}", cells["learned"])
    assert re.fullmatch(r"yes >0\.0\d\d", cells["size"])
    assert max(map(len, lines)) <= 120
    text = answer(results)
    assert row in text
    assert "“Saves data” is said only where the first three are" in text


def test_the_page_has_the_words_too(tmp_path):
    sweep = Sweep(ENDS)
    plan, store = planned(tmp_path, sweep)
    filled(plan, store, sweep)
    paths = write_report(plan, store, file="some/gated.yaml")
    page = paths.page.read_text()
    html = gate_html(paths.results.targets[0])
    assert html in page
    assert html.count("<tr>") == 2  # heads, and one variant: baseline and control have no gate
    plain = re.sub(r"<[^>]+>", " ", html)
    assert "than text of equal tokens?" in plain
    assert re.search(r"yes \(−0\.200\)\s+−0\.200 nats beside baseline, p &lt; 0\.001", plain)
    assert re.search(r"not run\s+no search", plain)
    assert 'class="better"' in html
    assert 'class="wait"' in html
    assert "<dt>Gate</dt>" in page


def test_without_a_warmed_up_variant_there_is_no_gate(tmp_path):
    results = made(tmp_path, Sweep(ENDS))
    bare = results.targets[0].__class__("", "t", "semantic", "loss", results.targets[0].baselines)
    assert gate_html(bare) == ""
    assert gate_text(bare, 120) == []


@pytest.mark.parametrize(("rows", "more"), [(8, []), (11, ["  ... and 3 more variants in the report"])])
def test_the_terminal_has_eight_rows_and_says_how_many_more_there_are(tmp_path, rows, more):
    ends = {"baseline": [3.0, 3.1, 2.9], "identity": [2.8, 2.9, 2.7]}
    (found,) = made(tmp_path, Sweep(ends)).targets
    base, one = found.variants
    many = replace(found, variants=(base, *(replace(one, name=f"v{i}", short=f"v{i}") for i in range(rows))))
    lines = gate_text(many, 120)
    assert sum(line.strip().startswith("v") for line in lines) == 8
    assert [line for line in lines if "more variants" in line] == more
