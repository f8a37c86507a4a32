import pytest

from procray.model import GPT2, GPT2Config, save_weights
from procray.planning import Plan, load_sweep, plan
from procray.report.numbers.results import Results
from procray.report.numbers.summary import summarise
from procray.report.page.write import ReportPaths, write_report
from procray.store.store import Store

from . import science
from .synthetic import TUNED, YAML, better_in_the_middle, fill, make_plan


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


@pytest.fixture(scope="session")
def diagnostics(tmp_path_factory) -> Results:
    return science.made(tmp_path_factory.mktemp("diagnostics"), science.DIAGNOSTICS)


@pytest.fixture(scope="session")
def composition(tmp_path_factory) -> Results:
    return science.made(tmp_path_factory.mktemp("composition"), science.COMPOSITION)


@pytest.fixture(scope="session")
def chain(tmp_path_factory) -> Results:
    return science.made(tmp_path_factory.mktemp("chain"), science.CHAIN)


COMPOSED = (
    YAML.replace("task: identity", "task: {grid: [identity, set]}")
    .replace("{min: 2, max: 24}", "24")
    .replace("tokens: {grid: [20k, 40k]}", "tokens: 20k")
)


@pytest.fixture
def composed(tmp_path):
    """Attention of one task, MLP of another or of an outside checkpoint; noise and frozen parts."""
    outside = tmp_path / "gpt2-tiny"
    save_weights(GPT2(GPT2Config(1, 2, 16, 60, 80), seed=1), outside)
    change = {
        "transfer": {"attention": "identity", "mlp": {"grid": ["set", {"path": str(outside)}]}},
        "perturb": {"noise": 0.05, "components": ["mlp"]},
        "freeze": ["attention", "embeddings"],
        "matched": [],
    }
    return make_plan(tmp_path, COMPOSED, **change)


@pytest.fixture
def searched(tmp_path):
    """The search done but for one failed phase, and nothing after it."""
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("abc " * 200)
    path = tmp_path / "tiny.yaml"
    path.write_text(TUNED.replace("CORPUS", str(corpus)))
    graph, store = plan(load_sweep(path)), Store(tmp_path / "store")
    lost = next(p for p in graph.phases.values() if p.label == "tuning/text/40k/full/lr0.01 s101")
    failed = {"state": "failed", "reason": "loss is <nan>", "step": 1, "final": True}
    fill(
        graph, store, better_in_the_middle,
        until=lambda phase: 0.1 if phase is lost else 1.0, state=lambda phase: failed if phase is lost else None,
    )  # fmt: skip
    return graph, store
