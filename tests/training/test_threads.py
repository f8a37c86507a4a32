"""The same numbers on any number of threads."""

import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from procray import corpora, tasks
from procray.model import GPT2, GPT2Config
from procray.model.gelu import gelu
from procray.model.norms import Norm
from procray.training import FolderContext, runtime, task_source, text_source, train
from procray.training.recipe import Evaluation, ModelShape

from .phases import curve, recipe, weights

CPU = torch.device("cpu")


DRAWN = {"task": tasks.get("set", length={"min": 2, "max": 24}, vocab=50).recipe()}
DATA = {
    "fixed": {"task": tasks.get("identity", length=24, vocab=50).recipe()},
    "drawn": DRAWN,
    "haystack": {"task": tasks.get("haystack", pairs=20).recipe()},
    "long": {"task": tasks.get("identity", length=300, vocab=50).recipe()},
}
NARROW, USUAL, WIDE, ODD = (
    ModelShape(layers=layers, heads=heads, width=width, context=640)
    for layers, heads, width in ((2, 4, 16), (2, 4, 64), (4, 4, 256), (2, 2, 20))
)


def numbers(folder, phase, source, steps):
    """Trains on one, two and three threads."""
    found = []
    for threads in (1, 2, 3):
        context = FolderContext(folder / str(threads))
        train(phase, source, context, until=steps, marks=(), threads=threads)
        found.append((weights(folder / str(threads), steps), curve(folder / str(threads))))
    torch.set_num_threads(1)
    return found


def require_promise(phase, vocab):
    if not runtime.any_threads(runtime.resolve(phase, CPU, vocab=vocab)):
        pytest.skip("needs an Intel processor and MKL_CBWR=AUTO,STRICT; elsewhere the provenance names the threads")


@pytest.mark.parametrize(
    ("shape", "batch", "data"),
    [
        (USUAL, 64, "fixed"),
        (USUAL, 64, "drawn"),
        (USUAL, 64, "haystack"),
        (NARROW, 64, "fixed"),
        (NARROW, 64, "drawn"),
        (NARROW, 4, "long"),
        (ODD, 7, "fixed"),
        (ODD, 7, "haystack"),
        (WIDE, 4, "drawn"),
    ],
)
def test_a_phase_trains_to_the_same_bits_on_any_number_of_threads(tmp_path, shape, batch, data):
    kind = "diagnostic" if data == "haystack" else "procedural"
    phase = recipe(kind=kind, data=DATA[data], model=shape, batch=batch, evaluation=Evaluation(4, 32))
    source = task_source(phase)
    require_promise(phase, source.vocab)
    one, two, three = numbers(tmp_path, phase, source, 4)
    assert one == two == three


def test_so_does_one_on_text(tmp_path):
    (tmp_path / "squares.txt").write_text("".join(f"{n} times {n} is {n * n}.\n" for n in range(400)))
    data = corpora.recipe({"files": [str(tmp_path / "squares.txt")]}, "byte")
    phase = recipe(kind="semantic", data=data, model=replace(USUAL, context=64), batch=16, evaluation=Evaluation(4, 8))
    prepared = corpora.prepare(data, tmp_path / "corpora", 0)
    source = text_source(phase, prepared)
    require_promise(phase, source.vocab)
    one, two, three = numbers(tmp_path, phase, source, 4)
    assert one == two == three


@pytest.fixture
def asked_for(monkeypatch):
    """As where `MKL_CBWR=AUTO,STRICT` was set before the process began."""
    for module in ("attention", "gelu", "norms"):
        monkeypatch.setattr(f"procray.model.{module}.steady_products", lambda: True)


@pytest.mark.skipif(torch.backends.cpu.get_cpu_capability() == "DEFAULT", reason="needs vectors")
def test_gelu_needs_no_number_of_threads(asked_for):
    for count in (5, 16384, 16391, 40001, 98311, 100003):
        x_N = torch.randn(count, generator=torch.Generator().manual_seed(count))
        upstream_N = torch.linspace(-1, 1, count)
        found = []
        for threads in (1, 2, 3, 5, 7):
            torch.set_num_threads(threads)
            given_N = x_N.clone().requires_grad_()
            y_N = gelu(given_N)
            found.append((y_N, *torch.autograd.grad(y_N, given_N, upstream_N)))
        torch.set_num_threads(1)
        given_N = x_N.clone().requires_grad_()
        y_N = F.gelu(given_N, approximate="tanh")
        plain = (y_N, *torch.autograd.grad(y_N, given_N, upstream_N))
        for pair in found:
            assert torch.equal(pair[0], plain[0]), count
            assert torch.equal(pair[1], plain[1]), count


def test_the_gradients_of_a_normalisation_are_those_of_torch_and_need_no_number_of_threads(asked_for):
    torch.manual_seed(0)
    x_ND, upstream_ND = torch.randn(4096, 64), torch.randn(4096, 64)
    ours, theirs = Norm(64), torch.nn.LayerNorm(64)
    with torch.no_grad():
        for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            other.copy_(one.normal_())
    found = []
    for threads, module in ((1, ours), (2, ours), (3, ours), (1, theirs)):
        torch.set_num_threads(threads)
        inputs_ND = x_ND.clone().requires_grad_()
        y_ND = module(inputs_ND)
        found.append([y_ND, *torch.autograd.grad(y_ND, [inputs_ND, *module.parameters()], upstream_ND)])
    torch.set_num_threads(1)
    for other in found[1:3]:
        assert all(torch.equal(one, two) for one, two in zip(found[0], other, strict=True))
    for one, two in zip(found[0], found[3], strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-4)


def test_all_normalisations_of_the_model_are_of_that_form():
    model = GPT2(GPT2Config(2, 2, 16, 20, 8), seed=0)
    kinds = {type(module) for module in model.modules() if isinstance(module, torch.nn.LayerNorm)}
    assert kinds == {Norm}


def test_threads_stand_in_the_provenance_only_where_they_matter(monkeypatch):
    one, two = (runtime.resolve(recipe(), CPU, vocab=50, threads=threads) for threads in (1, 2))
    monkeypatch.setattr(runtime, "steady_products", lambda: True)
    monkeypatch.setattr(runtime, "_products_are_steady", lambda: True)
    plain = [replace(choice, matmul_precision="highest") for choice in (one, two)]
    assert runtime.provenance(plain[0]) == runtime.provenance(plain[1])
    for change in ({"matmul_precision": "medium"}, {"pack": 2}, {"autocast": True}, {"steady": False}):
        split = [replace(choice, **change) for choice in plain]
        assert [runtime.provenance(choice)["threads"] for choice in split] == [1, 2]
    monkeypatch.setattr(runtime, "_products_are_steady", lambda: False)
    assert [runtime.provenance(choice)["threads"] for choice in plain] == [1, 2]


def test_where_products_are_asked_for_in_one_order_the_promise_is_kept():
    """Needs processes of their own, as MKL listens once."""
    if os.environ.get("MKL_CBWR"):
        pytest.skip("this is that process")
    command = [sys.executable, "-m", "pytest", __file__, "-q", "-p", "no:cacheprovider", "-k", "same_bits or on_text"]
    environment = os.environ | {"MKL_CBWR": "AUTO,STRICT"}
    said = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert said.returncode == 0, said.stdout
