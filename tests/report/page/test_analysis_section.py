"""The report's section about the insides of models: asked for, kept, shown, bounded."""

from __future__ import annotations

import pytest
import torch

from procray.planning import Plan
from procray.report.numbers import analysis_choice
from procray.report.numbers.analysis_choice import look_inside
from procray.report.numbers.results import Results
from procray.report.numbers.summary import summarise
from procray.report.page.analysis_section import section
from procray.report.page.write import write_report
from procray.store.store import Store

from ..planted import plant
from ..synthetic import fill, make_plan


@pytest.fixture(scope="module")
def planted(tmp_path_factory) -> tuple[Plan, Store, Results]:
    """A finished sweep in which the first seed's models of one target, and their warm-up, were kept."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("planted")
    plan, store = make_plan(folder), Store(folder / "store")
    fill(plan, store)
    for phase in plan.phases.values():
        if phase.recipe.seed == 0 and "task" in phase.recipe.data:
            plant(store, phase.recipe, *phase.marks, spread=0.001)
    return plan, store, summarise(plan, store)


def test_a_sweep_without_kept_models_says_nothing(finished, results):
    plan, store = finished
    assert section(look_inside(results, plan, store, "tiny.yaml"), results, store) == ("", [])


def test_what_nobody_looked_at_is_said_and_what_somebody_did_is_shown_from_then_on(planted):
    plan, store, results = planted
    before = look_inside(results, plan, store, "some tiny.yaml")
    html, drawn = section(before, results, store)
    assert "procray report &#x27;some tiny.yaml&#x27; --analyze" in html
    assert not drawn

    said: list[str] = []
    after = look_inside(results, plan, store, "some tiny.yaml", analyze=True, say=said.append)
    assert len(said) == len(after.known) == 5, "the baseline and four variants of the target that was kept"
    assert not after.notes
    assert after.key != before.key
    again = look_inside(results, plan, store, "some tiny.yaml", analyze=True, say=said.append)
    assert again == after
    assert len(said) == 5, "nobody looks twice"

    html, drawn = section(look_inside(results, plan, store, "some tiny.yaml"), results, store)
    assert "--analyze" not in html
    assert [picture.name for picture in drawn] == [
        "inside-normalised-find", "inside-previous-find", "inside-induction-find"
    ]  # fmt: skip
    rows = html[html.index("<tbody>") : html.index("</tbody>")]
    assert rows.index(">baseline<") < rows.index(">20k/attention<")
    assert all(name in rows for name in ("40k/full", "20k/full", "40k/attention"))


def test_the_report_has_the_section_and_is_made_again_when_it_changes(planted, monkeypatch):
    plan, store, _ = planted
    monkeypatch.setattr("procray.report.figures.pictures.pictures", lambda results: [])
    monkeypatch.setattr("procray.report.figures.inside.heads", lambda *args: None)
    first = write_report(plan, store)
    assert first.fresh
    assert first.page.read_text().count('id="inside"') == 1
    assert not write_report(plan, store).fresh
    for path in (store.path / "analysis" / "numbers").glob("*.json"):
        path.unlink()
    assert write_report(plan, store).fresh
    assert "--analyze" in first.page.read_text()


def test_large_models_are_left_to_the_command(planted, monkeypatch):
    plan, store, results = planted
    monkeypatch.setattr(analysis_choice, "MOST_PARAMETERS", 100)
    inner = look_inside(results, plan, store, "tiny.yaml", analyze=True)
    assert not inner.known
    (note,) = inner.notes
    assert "procray analyze " in note
    assert all(f"{one.phase}@{one.step}" in note for one in inner.chosen)
