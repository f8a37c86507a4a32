"""What a user sees in Chromium. Run with `-m browser`; each page is read after the browser has drawn it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from procray.store.store import Store
from procray.tracking import backend, deep_link, facts, sync, ui, views
from procray.tracking.index import Index
from tests.tracking import mirror, synthetic

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")
OPTIONS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=2000,2600",
]

pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(600),
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium"),
]
PLAN = synthetic.build()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, fresh_database: Path) -> Iterator[tuple[Store, ui.Page]]:
    folder = tmp_path_factory.mktemp("site")
    shutil.copy(fresh_database, folder / backend.DATABASE)
    store = Store(folder)
    synthetic.finish_all(store, PLAN)
    synthetic.write_report(store, PLAN)
    uri = f"sqlite:///{folder / backend.DATABASE}"
    assert sync(PLAN, store, uri).complete
    with ui.server(store, uri) as page:
        yield store, page


def drawn(link: str, folder: Path, ready: Callable[[str], bool]) -> str:
    """The page once `ready`, or as far as it came. Chromium is given more and more time of its own clock."""
    page = ""
    for attempt, budget in enumerate((20_000, 60_000, 180_000)):
        profile = folder / f"profile-{attempt}"
        words = [str(CHROMIUM), *OPTIONS, f"--user-data-dir={profile}", f"--virtual-time-budget={budget}"]
        done = subprocess.run([*words, "--dump-dom", link], capture_output=True, text=True, check=False)
        page = done.stdout
        if ready(page):
            break
    return page


def lines(page: str) -> list[str]:
    """The colours of the curves on the page."""
    paths = [path for path in re.findall(r'<path class="js-line"[^>]*>', page) if ' d="M' in path]
    return [match[1] for path in paths if (match := re.search(r"stroke: (rgb\([\d, ]+\))", path))]


def rgb(colour: str) -> str:
    return f"rgb({int(colour[1:3], 16)}, {int(colour[3:5], 16)}, {int(colour[5:7], 16)})"


def test_deep_link_opens_on_the_curves(site: tuple[Store, ui.Page], tmp_path: Path) -> None:
    store, served = site
    link = deep_link(served.address, mirror.experiment(mirror.client(store), PLAN))
    compared = [cell for cell in PLAN.cells if cell.fraction is None]
    page = drawn(served.link(link), tmp_path, lambda page: len(lines(page)) >= 3 * len(compared))
    # Three charts for each target, with one line for every compared run of that target.
    assert len(lines(page)) >= 3 * len(compared)
    for text in ("Data efficiency: haystack", "Data efficiency: code", "haystack/accuracy/val", "tokens/total"):
        assert text in page
    for cell in compared:
        assert PLAN.phases[cell.compared].label in page
    assert set(lines(page)) == {rgb(facts.colour(Index(PLAN), cell.compared) or "") for cell in compared}
    assert "identity L2-24 s0" not in page  # a warm-up: not among the compared runs


def test_means_by_variant(site: tuple[Store, ui.Page], tmp_path: Path) -> None:
    store, served = site
    link = deep_link(served.address, mirror.experiment(mirror.client(store), PLAN), views.MEANS)
    page = drawn(served.link(link), tmp_path, lambda page: len(lines(page)) >= 3 * len(PLAN.variants))
    assert len(lines(page)) >= 3 * len(PLAN.variants)
    assert "Group by: variant" in re.sub(r"<[^>]+>", "", page)


def test_checkpoint_page_lists_the_runs_that_used_it(site: tuple[Store, ui.Page], tmp_path: Path) -> None:
    store, served = site
    mlflow = mirror.client(store)
    experiment = mirror.experiment(mlflow, PLAN)
    warm = next(cell.warmups[0] for cell in PLAN.cells if cell.warmups)
    models = {m.tags["procray.mark"]: m for m in mlflow.search_logged_models([experiment])}
    model = models[f"{warm.phase}/{warm.step}"]
    users = [phase.label for phase in PLAN.phases.values() if warm in phase.parents]
    link = f"{served.address}/#/experiments/{experiment}/models/{model.model_id}?workflowType=machine_learning"
    page = drawn(served.link(link), tmp_path, lambda page: all(f">{label}<" in page for label in users))
    for label in users:
        assert f">{label}<" in page


@pytest.mark.skipif(os.getuid() != 0, reason="only root may be another user")
def test_another_user_of_the_machine_sees_nothing(site: tuple[Store, ui.Page]) -> None:
    store, served = site
    link = deep_link(served.address, mirror.experiment(mirror.client(store), PLAN))
    somebody = 65534  # the user `nobody`, who owns nothing
    with tempfile.TemporaryDirectory() as theirs:  # below /tmp, where every user may go
        os.chown(theirs, somebody, somebody)
        words = [str(CHROMIUM), *OPTIONS, f"--user-data-dir={theirs}/profile", "--dump-dom", link]
        identity = {"user": somebody, "group": somebody, "extra_groups": []}
        env = {"HOME": theirs, "PATH": os.defpath}
        done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=theirs, env=env, **identity)
    assert "This page belongs to somebody who started it" in done.stdout
    assert not any(name in done.stdout for name in ("Data efficiency", "synthetic", "MLflow"))
