import pytest

from procray.planning import Plan
from procray.report.numbers.results import Results
from procray.report.numbers.summary import summarise
from procray.report.page.write import ReportPaths, write_report
from procray.store.store import Store

from .synthetic import fill, make_plan


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> tuple[Plan, Store]:
    """A finished sweep; not to be changed."""
    folder = tmp_path_factory.mktemp("finished")
    plan, store = make_plan(folder), Store(folder / "store")
    fill(plan, store)
    return plan, store


@pytest.fixture(scope="session")
def results(finished) -> Results:
    return summarise(*finished)


@pytest.fixture(scope="session")
def report(finished) -> ReportPaths:
    return write_report(*finished, file="some/tiny.yaml")
