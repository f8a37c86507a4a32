"""Whatever a file holds, procray works with it or says what is wrong with it. `make fuzz` tries 100,000 inputs."""

from __future__ import annotations

import itertools
import json
import os
import struct
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import fuzzing

from procray import files
from procray.errors import ProcrayError, SpecError, StoreError, TransferError
from procray.model.checkpoint import load_weights
from procray.planning import load_sweep, plan
from procray.planning.load import load_text

COUNTS = {
    "sweep": 120,
    "store": 250,
    "neighbour": 120,
    "plan": 1000,
    "checkpoint": 300,
    "official": 150,
    "corpus": 1200,
}


@pytest.fixture(autouse=True)
def _quiet(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.mark.parametrize("target", COUNTS)
def test_inputs_of_every_kind_end_well(target):
    findings, outcomes = fuzzing.fuzz(target, COUNTS[target], seed=2026)
    assert findings == []
    assert outcomes["fine"], "the unharmed parts of an input must still be reached"
    assert sum(outcomes.values()) - outcomes["fine"] > COUNTS[target] // 4, "most inputs must be harmed"


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_thousands_of_inputs_end_well():  # `make fuzz` runs a hundred thousand
    count, seed = int(os.environ.get("PROCRAY_FUZZ", "5000")), int(os.environ.get("PROCRAY_FUZZ_SEED", "0"))
    found = []
    for target, (_, share) in fuzzing.TARGETS.items():
        findings, _ = fuzzing.fuzz(target, round(count * share), seed)
        found += findings
    assert found == []


def test_the_fuzzer_notices_what_is_no_clean_error(monkeypatch):
    def broken(folder):
        def one(rng):
            raise KeyError("x") if rng.random() < 0.5 else ProcrayError("clean")

        return one

    monkeypatch.setitem(fuzzing.TARGETS, "broken", (broken, 1.0))
    findings, outcomes = fuzzing.fuzz("broken", 40, seed=0)
    assert findings
    assert len(findings) == outcomes["finding"]
    assert outcomes["ProcrayError"] + outcomes["finding"] == 40


def test_the_fuzzer_notices_a_hang(monkeypatch):
    def hanging(folder):
        def one(rng):
            while True:
                pass

        return one

    monkeypatch.setattr(fuzzing, "SECONDS", 0.1)
    monkeypatch.setitem(fuzzing.TARGETS, "hanging", (hanging, 1.0))
    findings, _ = fuzzing.fuzz("hanging", 1, seed=0)
    assert findings[0].kind.startswith("Hang")


SMALL = fuzzing.SWEEPS[2]
LETTERS = "abcdefghijklmnopqrstuvwxyz"
ALIASES = "".join(f"{b}: &{b} [*{a}, *{a}]\n" for a, b in itertools.pairwise(LETTERS))
RATES = ", ".join(f"{n}e-6" for n in range(1, 9000))
MANY = ",".join(map(str, range(1, 2000)))


def changed(old: str, new: str) -> str:
    assert old in SMALL
    return SMALL.replace(old, new, 1)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: &a [x, x]\n" + ALIASES, "more than 200000 values"),
        ("name: " + "[" * 5000, "nested too deeply"),
        ("name: " + "[" * 100 + "]" * 100, "nested deeper than 60"),
        ("a: &a {b: *a}\n", "cannot contain itself"),
        (changed("layers: 2", "layers: 1000000000000"), "model.layers"),
        (changed("width: 16", "width: 1" + "0" * 4000), "model.width"),
        (changed("width: 16", "width: 1" + "0" * 5000), "is not a YAML int"),
        (changed("seeds: [3]", f"seeds: {list(range(300_000))}"), "no sweep file"),
        (changed("lr: 1e-3", f"lr: {{grid: [{RATES}]}}"), "the grids hold 8,999 values"),
        (changed("layers: 2, heads: 2", f"layers: {{grid: [{MANY}]}}, heads: {{grid: [{MANY}]}}"), "3,996,001 cells"),
        ('name: "\\ud800"\n', "a character that no text can hold"),
        ('name: "a\\0b"\n', "a character that no text can hold"),
        ("name: !!python/object/apply:os.system [id]\n", "the tag"),
        (changed("name: chains", "name: ../../etc"), "name: must consist of"),
        (changed("name: chains", "name: .."), "name: must consist of"),
    ],
)
def test_bombs_are_refused_with_the_reason(tmp_path, text, says):
    path = tmp_path / "bomb.yaml"
    path.write_text(text)
    with pytest.raises(SpecError, match=says) as refused:
        plan(load_sweep(path))
    str(refused.value).encode()


def test_an_endless_sweep_file_is_refused():
    with pytest.raises(SpecError, match="more than 524,288 bytes"):
        load_sweep("/dev/zero")


@pytest.mark.parametrize("name", ["../x", "a/b", "", "x" * 61, "é"])
def test_names_of_scales_are_plain(name):
    with pytest.raises(SpecError, match="scales"):
        load_text(f"{SMALL}scales: {{{json.dumps(name)}: {{}}}}\n", "x.yaml")


@pytest.mark.parametrize("text", ["[" * 100_000, '"\\ud800"', "NaN", "[1e5, Infinity]", "9" * 5000, "\xff"])
def test_json_of_others_gives_values_or_value_errors(tmp_path, text):
    path = tmp_path / "x.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError):
        files.read_json(path)


def test_json_may_hold_pairs_of_halves(tmp_path):
    path = tmp_path / "x.json"
    path.write_text('"\\ud83d\\ude00"')
    assert files.read_json(path) == "😀"


def test_json_of_any_size_takes_no_more_memory_than_allowed():
    with pytest.raises(ValueError, match="more than 1,000 bytes"):
        files.read_json("/dev/zero", 1000)


@pytest.mark.parametrize("length", [2**63, 2**64 - 1, 2**40, 0])
def test_a_header_of_any_length_is_refused(tmp_path, length):
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    (tmp_path / "model.safetensors").write_bytes(struct.pack("<Q", length) + b"{}")
    with pytest.raises((StoreError, TransferError)):
        load_weights(tmp_path)


def test_a_configuration_of_any_size_costs_nothing(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt2", "n_layer": 10**12}))
    (tmp_path / "model.safetensors").write_bytes(struct.pack("<Q", 2) + b"{}")
    with pytest.raises((StoreError, TransferError), match="layers must be at most"):
        load_weights(tmp_path)
