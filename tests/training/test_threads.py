"""The same numbers on any number of threads."""

import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from procray import tasks
from procray.model import GPT2Config
from procray.model.gpt2 import GPT2, Norm
from procray.training import runtime
from procray.training.recipe import Evaluation, ModelShape

from .phases import recipe, run, weights

CPU = torch.device("cpu")


@pytest.mark.parametrize("width", [64, 256])
def test_a_phase_trains_to_the_same_bits_on_one_thread_and_on_two(tmp_path, monkeypatch, width):
    data = {"task": tasks.get("identity", length=24, vocab=50).recipe()}
    shape = ModelShape(layers=2, heads=4, width=width, context=64)
    phase = recipe(data=data, model=shape, batch=64 if width == 64 else 16, evaluation=Evaluation(10, 32))
    if not runtime.any_threads(runtime.resolve(phase, CPU, vocab=52)):
        pytest.skip("this processor's library splits narrow products, and the provenance says so")
    for threads in (1, 2):
        run(phase, tmp_path / str(threads), until=20, threads=threads)
    assert weights(tmp_path / "1", 20) == weights(tmp_path / "2", 20)


def test_the_gradients_of_a_normalisation_are_those_of_torch_and_need_no_number_of_threads():
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
    monkeypatch.setattr(runtime, "float32_through_onednn", lambda: False)
    monkeypatch.setattr(runtime, "_products_are_steady", lambda: True)
    plain = [replace(choice, matmul_precision="highest") for choice in (one, two)]
    assert runtime.provenance(plain[0]) == runtime.provenance(plain[1])
    split = [replace(choice, matmul_precision="medium") for choice in (one, two)]
    assert [runtime.provenance(choice)["threads"] for choice in split] == [1, 2]
    monkeypatch.setattr(runtime, "_products_are_steady", lambda: False)
    assert [runtime.provenance(choice)["threads"] for choice in plain] == [1, 2]


def test_products_that_depend_on_threads_are_found():
    """A library that is told to split is found out; needs a process of its own, as MKL listens once."""
    code = (
        "import os; from procray.training import runtime; steady = runtime._products_are_steady();"
        "print(steady, os.environ.get('MKL_CBWR'))"
    )
    environment = {name: value for name, value in os.environ.items() if name != "MKL_CBWR"}
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    steady, mode = said.stdout.split()
    assert steady == "True" or mode == "None", "where MKL was asked to add up in one order, it does"
