"""Warm-ups stand in page, terminal, JSON and CSV, with their curves, their ends and what cheap strategies score."""

import csv
import io
import json

import pytest

from procray.report.numbers.interchange import results_json
from procray.report.numbers.runs import Curve
from procray.report.numbers.spreadsheets import curves_csv
from procray.report.numbers.summary import summarise
from procray.report.numbers.warmups import last_fifth, still_text
from procray.report.page.answer import answer
from procray.report.page.html_tables import warmups_html
from procray.store.store import Store

from ..synthetic import fill, loss_and_accuracy, make_plan


@pytest.fixture(scope="module")
def hardly(tmp_path_factory):
    """A warm-up that was hardly learned, and is still improving."""
    folder = tmp_path_factory.mktemp("hardly")
    plan, store = make_plan(folder), Store(folder / "store")

    def formula(phase, tokens):
        if phase.kind != "procedural":
            return loss_and_accuracy(phase, tokens)
        return {"loss": 4.6 - tokens / 40_176 + 0.01 * phase.recipe.seed, "accuracy": 0.031}

    fill(plan, store, formula)
    return summarise(plan, store)


def test_ends_at_every_mark(hardly):
    (one,) = hardly.warmups
    assert (one.name, one.state, len(one.finished)) == ("identity/L2-24", "complete", 3)
    assert [mark.tokens for mark in one.marks] == [20304, 40176]
    assert one.loss.mean == pytest.approx(3.61)
    assert one.marks[0].loss.mean == pytest.approx(4.61 - 20304 / 40176)
    assert one.accuracy.mean == pytest.approx(0.031)
    assert one.chance["among the shown"] == pytest.approx(0.084, abs=0.01)
    assert one.still_improving


def test_terminal_page_json_and_csv_say_the_same(hardly):
    text, page, value = answer(hardly), warmups_html(hardly), results_json(hardly)
    for said in ("3.610 ± 0.010", "3.1 ± 0.0", "among the shown", "Judged on 256 sequences"):
        assert said in text
        assert said in page
    assert page.count("<polyline") == 3  # one curve a seed
    assert "still improving: " in page
    (one,) = value["warmups"]
    assert one["marks"][-1]["loss"]["mean"] == pytest.approx(3.61)
    assert (one["state"], one["planned"], one["still_improving"]) == ("complete", 3, True)
    assert one["chance"]["among the shown"] == hardly.warmups[0].chance["among the shown"]
    json.dumps(value, allow_nan=False)
    rows = [row for row in csv.DictReader(io.StringIO(curves_csv(hardly))) if row["role"] == "warm-up"]
    assert {row["variant"] for row in rows} == {"identity/L2-24"}
    assert {row["seed"] for row in rows} == {"0", "1", "2"}
    last = [row for row in rows if row["seed"] == "1"][-1]
    assert (float(last["loss"]), last["tokens"], last["target"]) == (pytest.approx(3.61), "40176", "")


def test_a_warm_up_that_is_not_done_says_so(tmp_path):
    plan, store = make_plan(tmp_path), Store(tmp_path / "store")
    fill(plan, store, until=lambda phase: 0.0)
    (one,) = summarise(plan, store).warmups
    assert (one.state, one.loss, one.last_fifth) == ("waiting", None, None)
    assert "waiting" in answer(summarise(plan, store))


def test_a_diagnostic_says_chance_validation_set_and_that_it_still_improves(hardly):
    text = answer(hardly)
    assert "Chance, what cheap strategies score: one answer" in text
    assert "Every run is judged on 256 sequences drawn for it, the same for every seed." in text
    assert results_json(hardly)["targets"][1]["chance"]["among the shown"] == pytest.approx(0.52, abs=0.02)


def test_the_last_fifth_by_hand():
    def curve(*losses):
        tokens = tuple(range(0, 10 * len(losses), 10))
        flat = (0.0,) * len(losses)
        return Curve(tokens, tokens, losses, flat, flat, flat)

    # Eleven places: four fifths are at the ninth.
    straight = curve(*(10.0 - i for i in range(11)))
    assert last_fifth([straight], "loss") == pytest.approx(0.2)
    done = curve(*(10.0 - min(i, 8) for i in range(11)))
    assert last_fifth([done], "loss") == 0
    assert still_text(0.0) == still_text(0.05) == still_text(None) == ""
    assert (
        still_text(0.2)
        == "still improving: 20\N{NARROW NO-BREAK SPACE}% of all that it gained came in the last fifth of the tokens"
    )
    assert last_fifth([curve(*(1.0 + i for i in range(11)))], "loss") is None  # it only got worse
    assert last_fifth([], "loss") is None
