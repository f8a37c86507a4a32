"""Norms and distances of weights that were changed by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from procray.model.analysis.norms import component_norms, distances
from procray.model.analysis.spectra import weight_spectra
from procray.model.components import COMPONENTS


def test_every_weight_is_counted_once_and_queries_keys_and_values_stand_apart(build):
    model = build(tied=False)
    weights = model.state_dict()
    norms = component_norms(weights)
    assert sum(entry["values"] for entry in norms) == sum(t.numel() for t in weights.values())
    total = math.sqrt(sum(entry["frobenius"] ** 2 for entry in norms))
    assert total == pytest.approx(math.sqrt(sum(float(t.double().square().sum()) for t in weights.values())))
    assert list(dict.fromkeys(entry["component"] for entry in norms)) == list(COMPONENTS)
    spectra = {entry["tensor"]: entry for entry in weight_spectra(weights, build().config)}
    key = spectra["transformer.h.1.attn.k"]
    assert (key["component"], key["layer"], key["part"], key["shape"]) == ("attention", 1, "k", [32, 32])
    expected = np.linalg.svd(weights["transformer.h.1.attn.c_attn.weight"][:, 32:64].double().numpy(), compute_uv=False)
    assert key["singular_values"] == pytest.approx(expected, abs=1e-6)
    assert {entry["part"] for entry in spectra.values()} == {*"qkv", "proj", "mlp_in", "mlp_out", "wte", "wpe", "head"}


def test_distances_say_which_component_moved(build):
    before = {name: tensor.clone() for name, tensor in build().state_dict().items()}
    after = {name: tensor * (2 if ".h.1.attn" in name else 1) for name, tensor in before.items()}
    found = {(entry["component"], entry["layer"]): entry for entry in distances(after, before)}
    assert found["attention", 1]["relative"] == pytest.approx(1)
    assert found["attention", 1]["cosine"] == pytest.approx(1)
    assert found["attention", 0]["relative"] == 0
    assert found["mlp", "all"]["relative"] == 0
    assert 0 < found["attention", "all"]["relative"] < 1
    opposite = {name: -tensor for name, tensor in before.items()}
    assert all(entry["cosine"] == pytest.approx(-1) for entry in distances(opposite, before))
    other = build(vocab=60).state_dict()  # a parent with another vocabulary
    assert {entry["component"] for entry in distances(after, other)} == set(COMPONENTS) - {"embeddings"}
