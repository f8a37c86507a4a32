"""Feeds procray what nobody should ever write, and looks for anything but a clean error.

    python tests/security/fuzzing.py --count 100000 --seed 0       # `make fuzz`
    python tests/security/fuzzing.py --target checkpoint --seed 0 --only 1234

Every input follows from the seed, the target and its number, so that a finding can be repeated alone. A finding is an
exception other than ProcrayError, an exit code other than 2 or 3 of such an error, more than SECONDS, or more than
MEMORY above what the process had at its start.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import copy
import io
import json
import os
import random
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SECONDS = 10.0  # of this process, whatever else runs on the machine
WAITING = 120.0  # by the clock, for what waits instead of computing
MEMORY = 3 << 30
One = Callable[[random.Random], None]


class Hang(BaseException):
    """An input took longer than SECONDS."""


@dataclass(frozen=True)
class Finding:
    target: str
    seed: int
    number: int
    kind: str  # the exception's name, and the innermost line of procray
    text: str


# -- mutations ---------------------------------------------------------------------------------------------

WORDS = (
    b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", "\u2028".encode(), b"../../../etc/passwd", b"/etc/passwd", b"null", b"NaN",
    b"Infinity", b"-1", b"1e400", b"9" * 30, b"9" * 5000, b"0x" + b"f" * 40, b"[" * 3000, b"{" * 3000, b'{"a":' * 2000,
    b"]", b"}", b":", b"- ", b"&a", b"*a", b"<<: *a", b"!!python/object/apply:os.system [id]", b"!!binary aGk=", b"|",
    b'"\\ud800"', b"\\u0000", b"{grid: [1, 2]}", b"{grid: []}", b"1e12", b"10**9", b"~", b"'", b'"', b"\t", b"\r", b"%",
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**63, 10**30, -(10**30), 1e308, 0.1, -0.0, 1e-300, "", " ", "1e12", "9" * 400,
    "../../../../etc/passwd", "/etc/passwd", "..", ".", "a/b", "\x00", "\ud800", "\u202e", "x" * 5000, [], {}, [[]],
    [None],
    {"": None}, {"grid": [1, 2]}, {"grid": []}, {"grid": {"grid": [1]}}, {"\x00": 1}, {"../x": {}}, ["a"] * 300, "nan",
    {"min": 5, "max": 2}, {"a": {"a": {"a": {"a": {}}}}}, "hf:x@" + "a" * 40, "2M", "∞", "１２", "²", 1e12, 10**12,
    10**9,
)  # fmt: skip


def mutated_bytes(rng: random.Random, data: bytes) -> bytes:
    """A few random changes: bits, cuts, repeats, moves, and words that have hurt parsers before."""
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        at = rng.randrange(len(data) + 1)
        to = min(len(data), at + rng.choice((1, 2, 8, 40, 400)))
        kind = rng.randrange(7)
        if kind == 0 and at < len(data):
            data = data[:at] + bytes([data[at] ^ (1 << rng.randrange(8))]) + data[at + 1 :]
        elif kind == 1:
            data = data[:at]
        elif kind == 2:
            data = data[:at] + data[to:]
        elif kind == 3:
            data = data[:at] + data[at:to] * rng.choice((2, 3, 50)) + data[to:]
        elif kind == 4:
            data = data[:at] + rng.choice(WORDS) + data[at:]
        elif kind == 5:
            data = data[:at] + rng.choice(WORDS) + data[to:]
        else:
            data = data[:at] + rng.randbytes(rng.choice((1, 4, 64))) + data[to:]
    return data


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of all values in some JSON."""
    yield path
    if isinstance(value, dict):
        for key, child in value.items():
            yield from places(child, (*path, key))
    elif isinstance(value, list):
        for number, child in enumerate(value):
            yield from places(child, (*path, number))


def mutated_json(rng: random.Random, value: Any) -> Any:
    """A few values replaced, removed, renamed or moved."""
    value = json.loads(json.dumps(value))
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        path = rng.choice(list(places(value)))
        if not path:
            return copy.deepcopy(rng.choice(VALUES)) if rng.random() < 0.3 else value
        parent = value
        for key in path[:-1]:
            parent = parent[key]
        kind = rng.randrange(6)
        if kind <= 2:
            parent[path[-1]] = copy.deepcopy(rng.choice(VALUES))
        elif kind == 3:
            del parent[path[-1]]
        elif kind == 4 and isinstance(parent, dict):
            parent[rng.choice(("", "../x", "\x00", "9" * 30, "grid", "²", "-1", "name"))] = parent.pop(path[-1])
        else:
            other: Any = value
            for key in rng.choice(list(places(value))):
                other = other[key]
            parent[path[-1]] = json.loads(json.dumps(other))
    return value


def mutated_document(rng: random.Random, value: Any) -> bytes:
    """A JSON file: of other values, or of other bytes."""
    if rng.random() < 0.7:
        return json.dumps(mutated_json(rng, value)).encode()
    return mutated_bytes(rng, json.dumps(value).encode())


# -- targets -----------------------------------------------------------------------------------------------

SWEEPS = (
    """name: mine
setting: substitutive
seeds: [0, 1, 2]
model: {layers: 4, heads: 4, width: 128, context: 256}
procedural:
  task: {grid: [union, set, sort]}
  length: {min: 2, max: 24}
  batch: 64
  tokens: {grid: [1M, 2M, 4M]}
  optimizer: {lr: 5e-4}
transfer: {grid: [full, attention, mlp]}
semantic:
  corpus: {files: "TEXTS"}
  tokenizer: {bpe: 4096}
  tokens: 20M
  batch_tokens: 8Ki
  optimizer: {lr: 5e-4, schedule: cosine, min_lr: 0.1}
  evaluate: {every: 500k, sequences: 256}
matched: [0.5, 0.7, 0.85]
resources: {workers: 2, cpu: 1}
""",
    """# A question.
name: forms
setting: additive
seeds: [0]
model: &m {layers: 2, heads: 2, width: 32, context: 64, tied: true, dropout: 0.0}
precision: fp32
procedural:
  task: {grid: [{mixture: {set: 0.6, union: 0.4}, prefix: true}, {shuffled: union}, set, union]}
  length: {grid: [8, {min: 2, max: 16}]}
  batch: 4
  tokens: 100k
  optimizer: {lr: {grid: [1e-3, 3e-4]}, schedule: wsd, decay: 0.2, weight_decay: 0.1, clip: 1.0}
transfer:
  grid:
    - {attention: set, mlp: {from: union, layers: 0-1}}
    - {attention: {interpolate: [set, union], weight: 0.3}}
perturb: {grid: [{noise: 0.05}, {shuffle: per_layer}]}
freeze: [attention]
diagnostic: {task: reversed_addition, digits: 4, mask: official, batch: 10, tokens: 200k,
  optimizer: {lr: {grid: [1e-3, 2e-3]}}, evaluate: {every: 50k, solved: {accuracy: 0.999, evaluations: 3}}}
select: {axes: [diagnostic.optimizer.lr], seeds: [100, 101], by: best}
scales:
  small: {seeds: [0], model: {width: 16}}
  large: {seeds: [0, 1], procedural: {tokens: 1M}}
""",
    """name: chains
setting: additive
seeds: [3]
model: {layers: 2, heads: 2, width: 16, context: 32}
chain:
  - {procedural: {task: set, length: 8, batch: 4, tokens: 10k, optimizer: {lr: 1e-3}}}
  - {transfer: full, diagnostic: {task: haystack, pairs: 4, tokens: 40k, batch: 10, optimizer: {lr: 1e-3}}}
published:
  - {variant: set/full, quantity: data_fraction, value: 0.9, tolerance: 0.05, strength: strong, source: somewhere}
""",
)


def some(rng: random.Random, number: bytes) -> bytes:
    """A number of a file, or now and then another that may still be meant."""
    return str(rng.choice((0, 1, 2, 3, 4, 8, 16, 64, 100, 1000, 10**7))).encode() if rng.random() < 0.1 else number


def sweep_target(folder: Path) -> One:
    """Sweep files, their scales and `--set`: read and planned."""
    import yaml

    from procray.planning import load_sweep, plan

    texts = folder / "texts.txt"
    texts.write_text("some words " * 500)
    given = [text.replace("TEXTS", str(texts)).encode() for text in SWEEPS]
    shipped = [path.read_bytes() for path in sorted((Path(__file__).parents[2] / "sweeps").glob("*.yaml"))]
    trees = [yaml.safe_load(text) for text in given]
    path = folder / "fuzzed.yaml"

    def one(rng: random.Random) -> None:
        kind = rng.random()
        if kind < 0.25:
            data = re.sub(rb"\d+", lambda m: some(rng, m[0]), rng.choice(given))
        elif kind < 0.6:
            text = json.dumps(mutated_json(rng, rng.choice(trees)), ensure_ascii=rng.random() < 0.5)
            data = text.encode("utf-8", "surrogatepass")
        elif kind < 0.98:
            data = mutated_bytes(rng, rng.choice(given))
        else:
            data = mutated_bytes(rng, rng.choice(shipped))
        path.write_bytes(data)
        scale = rng.choice(("small", "../x", "\x00")) if rng.random() < 0.05 else None
        words = (
            "seeds=[0]",
            "model.layers=1000000000000",
            "a.b.c=1",
            "=",
            "x",
            "procedural.tokens={grid: [1, 2]}",
            "\x00=1",
        )
        settings = [rng.choice(words)] if rng.random() < 0.1 else None
        plan(load_sweep(path, scale=scale, set=settings))

    return one


def small_phase(folder: Path) -> tuple[Any, str]:
    """A store with one phase that has a mark, a resume state and a journal."""
    from procray.store.store import Store
    from procray.training.recipe import Evaluation, ModelShape, Optimizer, PhaseRecipe

    recipe = PhaseRecipe(
        "procedural", ModelShape(1, 1, 8, 16), {"task": {"name": "set"}}, 2, Optimizer(1e-3), Evaluation(10, 4), 0
    )
    store = Store(folder)
    phase = store.phase(recipe.id)
    held = phase.acquire({"sweep": "x@y"})
    assert held is not None

    def write(place: Path) -> dict[str, Any]:
        (place / "model.safetensors").write_bytes(b"weights")
        (place / "config.json").write_text(json.dumps(CONFIG))
        return {"loss": 1.0, "tokens": 100}

    provenance = phase.write_description(recipe, {"device_type": "cpu", "world_size": 1}, held.attempt, "d" * 64)
    lines = phase.journal(held, provenance)
    for step in (0, 10, 20):
        lines.add({"step": step, "tokens": 10 * step, "loss": 2.0, "tokens_by_task": {"set": 5}, "length": 4})
    lines.close()
    phase.write_mark(held, 10, write, {"tokens": 100})
    phase.write_resume(held, 20, lambda place: (place / "state.json").write_text("{}") and None, keep=True)
    phase.write_progress({"step": 20, "tokens": 200.0, "loss": 2.0, "tokens_per_s": 10.0, "mfu": None})
    phase.set_status("running", step=20, attempt=held.attempt)
    held.release()
    return store, recipe.id


CONFIG = {"model_type": "gpt2", "n_layer": 1, "n_head": 1, "n_embd": 8, "n_positions": 16, "vocab_size": 102}


def store_target(folder: Path) -> One:
    """The JSON files of a phase: read as the commands read them, claimed and described anew."""
    from procray.cli.live import counts, line
    from procray.store.contents import contents
    from procray.store.store import Store
    from procray.store.verification import verify
    from procray.training.recipe import PhaseRecipe

    store, phase_id = small_phase(folder / "good")
    good = store.phase(phase_id).path
    names = [
        p.relative_to(good)
        for p in sorted(good.rglob("*"))
        if p.suffix in (".json", ".jsonl") and p.name != "config.json"
    ]
    texts = {name: (good / name).read_bytes() for name in names}
    recipe = PhaseRecipe.from_json(json.loads(texts[Path("phase.json")])["recipe"])
    work = Store(folder / "work")
    shutil.copytree(good, work.phase(phase_id).path)
    place = work.phase(phase_id).path
    precious = folder / "precious"
    precious.mkdir()
    for kept in ("1.jsonl", "manifest.json"):
        (precious / kept).write_text("kept")
    del line, counts

    def one(rng: random.Random) -> None:
        name = rng.choice(names)
        data = texts[name]
        if name.suffix == ".jsonl":
            rows = data.splitlines()
            at = rng.randrange(len(rows))
            rows[at] = mutated_document(rng, json.loads(rows[at]))
            data = b"\n".join(rows) + b"\n" * rng.randrange(2)
        else:
            data = mutated_document(rng, json.loads(data))
        (place / name).write_bytes(data)
        stray = [
            place / rng.choice((".tmp-x", "leases/²", "marks/²", "marks/.tmp-", "resume/.tmp-x-1", "journal/².jsonl"))
        ]
        kind = rng.random()
        if kind < 0.2:
            stray[0].mkdir(exist_ok=True)
        elif kind < 0.4:  # a link out of the store, also in the place of what is there
            if kind < 0.3:
                stray = [place / rng.choice(("marks", "journal", "resume", "leases", "marks/10", "leases/1.json"))]
                shutil.rmtree(stray[0], ignore_errors=True)
                stray[0].unlink(missing_ok=True)
            stray[0].symlink_to(precious)
        else:
            stray = []
        phase = work.phase(phase_id)
        acts: list[Callable[[], Any]] = [
            phase.status, phase.progress, phase.curve, phase.description, phase.holder, phase.marks, phase.resumes,
            phase.resume, lambda: phase.mark(10), lambda: phase.manifest(10), lambda: contents(work),
            lambda: verify(work),
        ]  # fmt: skip

        def write() -> None:
            held = phase.acquire({"sweep": "x@y"})
            if held is not None:
                try:
                    known = phase.write_description(recipe, {"device_type": "cpu"}, held.attempt, "d" * 64)
                    lines = phase.journal(held, known)
                    lines.add({"step": 10, "tokens": 100, "loss": 2.0, "tokens_by_task": {"set": 5}, "length": 4})
                    lines.close()
                    phase.write_resume(held, 30, lambda at: (at / "s").write_text("x") and None, keep=False)
                finally:
                    held.release()

        try:
            each(acts)
            if rng.random() < 0.1:
                each([write])
        finally:
            for path in stray:
                if path.is_symlink():
                    path.unlink()
                shutil.rmtree(path, ignore_errors=True)
            if [(precious / name).read_text() for name in sorted(os.listdir(precious))] != ["kept", "kept"]:
                raise AssertionError("something outside of the store has changed")
            if {p.relative_to(place) for p in place.rglob("*")} != {p.relative_to(good) for p in good.rglob("*")}:
                shutil.rmtree(place)
                shutil.copytree(good, place)
            for known, text in texts.items():
                if known == name or known.name in ("phase.json", "resume.json", "status.json"):
                    (place / known).write_bytes(text)

    return one


def plan_target(folder: Path) -> One:
    """plan.json of a store, as `lineage`, `store ls` and the MLflow writer read it."""
    from procray.planning import Plan, plan
    from procray.planning.load import load_text
    from procray.store.store import Store

    graph = plan(load_text(SWEEPS[2], "chains.yaml"))
    value = json.loads(json.dumps(graph.to_json()))
    store = Store(folder)
    path = store.write_plan(graph)

    def one(rng: random.Random) -> None:
        from procray.cli.live import row
        from procray.planning.plan_json import read_plan
        from procray.selection.naming import find
        from procray.selection.standing import Standing

        path.write_bytes(mutated_document(rng, value))
        found: Plan = read_plan(path)
        found.segments()
        for phase in found.phases.values():
            find(phase.id, store)
        standing = Standing(found, store)
        for phase in found.phases.values():
            row(phase, store, standing)

    return one


def checkpoint_target(folder: Path) -> One:
    """Folders with safetensors: a mark, and a checkpoint from outside."""
    import struct

    from procray.model import GPT2, GPT2Config
    from procray.model.checkpoint import load_model, save_weights
    from procray.model.outside import bring_in, look_up

    good, work = folder / "good", folder / "work"
    good.mkdir()
    save_weights(GPT2(GPT2Config(1, 2, 8, 11, 16), seed=0), good)
    weights, config = (good / "model.safetensors").read_bytes(), json.loads((good / "config.json").read_text())
    length = struct.unpack("<Q", weights[:8])[0]
    header, body = json.loads(weights[8 : 8 + length]), weights[8 + length :]
    index = {"metadata": {}, "weight_map": {name: "model.safetensors" for name in header if name != "__metadata__"}}

    def attacked(rng: random.Random) -> bytes:
        kind = rng.randrange(6)
        if kind == 0:
            return mutated_bytes(rng, weights)
        if kind == 1:
            return (
                struct.pack("<Q", rng.choice((0, 1, length - 1, length + 1, 2**31, 2**40, 2**63, 2**64 - 1)))
                + weights[8:]
            )
        changed = json.loads(json.dumps(header))
        if kind == 2:
            names = [name for name in changed if name != "__metadata__"]
            for _ in range(rng.choice((1, 2, 5))):
                entry = changed[rng.choice(names)]
                field = rng.choice(("data_offsets", "shape", "dtype"))
                if field == "data_offsets":
                    entry[field] = [
                        rng.choice((0, 8, -1, 2**40, 2**63, len(body))),
                        rng.choice((0, 8, 2**40, len(body) + 1)),
                    ]
                elif field == "shape":
                    entry[field] = rng.choice(([], [0], [-1], [2**40, 2**40], [8] * 100, [1.5], "8", None, [8, 24]))
                else:
                    entry[field] = rng.choice(("F64", "I8", "BOOL", "F16", "F8_E4M3", "", None, 5, "X"))
        elif kind == 3:
            changed = mutated_json(rng, changed)
        else:
            text = mutated_bytes(rng, json.dumps(changed).encode())
            return struct.pack("<Q", len(text)) + text + body
        text = json.dumps(changed).encode()
        return struct.pack("<Q", len(text)) + text + body

    def one(rng: random.Random) -> None:
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(good, work)
        kind = rng.randrange(8)
        if kind <= 4:
            (work / "model.safetensors").write_bytes(attacked(rng))
        elif kind <= 6:
            (work / "config.json").write_bytes(mutated_document(rng, config))
        else:
            (work / "model.safetensors.index.json").write_bytes(mutated_document(rng, index))

        def bring() -> None:
            out = folder / "out"
            shutil.rmtree(out, ignore_errors=True)
            out.mkdir()
            bring_in(look_up({"path": str(work)}), out)

        each([lambda: load_model(work), bring] if rng.random() < 0.5 else [lambda: load_model(work)])

    return one


def official_target(folder: Path) -> One:
    """The papers' `.pth` files and nanoGPT's `ckpt.pt`, which are pickles in a zip."""
    import zipfile

    import torch

    from procray.model import GPT2, GPT2Config
    from procray.model.outside import look_up

    model = GPT2(GPT2Config(1, 4, 16, 11, 16), seed=0)
    args = {"n_layer": 1, "n_head": 4, "n_embd": 16, "vocab_size": 11, "block_size": 16, "bias": False}
    linear = {
        name: tensor.t().contiguous() if ".c_" in name and tensor.dim() == 2 else tensor
        for name, tensor in model.state_dict().items()
    }
    goods = []
    for content in ({"optimizer": {"step": 3}}, {"model_args": args}):
        torch.save({"model": linear if "model_args" in content else model.state_dict()} | content, folder / "good.pth")
        look_up({"path": str(folder / "good.pth")})
        with zipfile.ZipFile(folder / "good.pth") as archive:
            parts = {name: archive.read(name) for name in archive.namelist()}
        goods.append(((folder / "good.pth").read_bytes(), parts))
    path = folder / "work.pth"

    def one(rng: random.Random) -> None:
        data, parts = rng.choice(goods)
        if rng.random() < 0.4:
            path.write_bytes(mutated_bytes(rng, data))
        else:
            name = rng.choice(
                [name for name in parts if name.endswith("data.pkl")] if rng.random() < 0.7 else list(parts)
            )
            with zipfile.ZipFile(path, "w") as archive:
                for part, content in parts.items():
                    archive.writestr(part, mutated_bytes(rng, content) if part == name else content)
        look_up({"path": str(path), "heads": rng.choice((None, None, 4, 3))})

    return one


def corpus_target(folder: Path) -> One:
    """A prepared corpus: manifest, tokenizer and shards."""
    from procray import corpora

    texts = folder / "texts"
    texts.mkdir()
    for number in range(20):
        (texts / f"{number}.txt").write_text(f"Document {number}. " + "some words and more " * 20)
    root = folder / "corpora"
    recipe = corpora.recipe({"files": str(texts / "*.txt")}, "char")
    place = corpora.prepare(recipe, root, 1).folder
    files = {path.relative_to(place): path.read_bytes() for path in sorted(place.rglob("*")) if path.is_file()}

    def one(rng: random.Random) -> None:
        name = rng.choice(list(files)) if rng.random() < 0.4 else Path("manifest.json")
        if name.suffix == ".json" and rng.random() < 0.8:
            content = mutated_document(rng, json.loads(files[name]))
        else:
            content = mutated_bytes(rng, files[name])
        (place / name).write_bytes(content)
        try:

            def use() -> None:
                prepared = corpora.load(recipe, root)
                prepared.verify()
                prepared.batch(0, 0, 2, 16)
                list(prepared.validation(2, 16, 2))
                corpora.summary(prepared)

            each([use])
        finally:
            (place / name).write_bytes(files[name])

    return one


NAMES = (
    ".run-", ".run-00000000-²-000000", ".run-aaaaaaaa-" + "9" * 30 + "-bbbbbb", ".run-aaaaaaaa-1-bbbbbb", ".tmp-x",
    ".clock-²",
    "²", "-1", "0x10", "1e3", "00010", "9" * 200, "a\nb", "a b", "\u202ex", "\x1b[31mred",
    "‥", "~", "*", "a" * 255, "x@y",
    ".machine.json.aaaaaaaa", "journal", "1.json", "²." + "json", "a" * 12, "0" * 16,
)  # fmt: skip
SIZES = (0, 1, 4096, 2**20, 2**31, 2**33, 2**40)  # bytes; the large ones are holes and take no room


def neighbour_target(folder: Path) -> One:
    """What somebody who shares a store leaves in it: links, names and sizes. Nothing outside of it may change."""
    from procray.cli.live import row
    from procray.planning import plan
    from procray.planning.load import load_text
    from procray.planning.plan_json import read_plan
    from procray.selection.naming import find
    from procray.selection.standing import Standing
    from procray.store import garbage
    from procray.store.contents import contents
    from procray.store.store import Store
    from procray.store.verification import verify
    from procray.tracking.glance import glance
    from procray.training.recipe import PhaseRecipe

    store, phase_id = small_phase(folder / "good")
    recipe = PhaseRecipe.from_json(store.phase(phase_id).description()["recipe"])
    graph = plan(load_text(SWEEPS[2], "chains.yaml"))
    store.write_plan(graph)
    (folder / "good" / "corpora").mkdir(exist_ok=True)
    outside = folder / "outside"
    work = folder / "work"

    def content_of(place: Path) -> dict[str, tuple[int, int]]:
        return {
            str(path.relative_to(place)): (path.lstat().st_size, path.lstat().st_mtime_ns)
            for path in sorted(place.rglob("*"))
            if not path.is_dir()
        }

    def weights(place: Path) -> dict[str, Any]:
        (place / "model.safetensors").write_bytes(b"weights")
        return {"loss": 1.0}

    def state(place: Path) -> None:
        (place / "state.json").write_text("{}")

    def gone(place: Path) -> bool:
        """Removes what is there; whether it was a folder."""
        folder_there = place.is_dir() and not place.is_symlink()
        if folder_there:
            shutil.rmtree(place)
        else:
            place.unlink()
        return folder_there

    def plant(rng: random.Random) -> None:
        place = rng.choice(sorted(work.rglob("*")))
        while place.is_symlink():  # planted before: what lies behind it is not to be harmed by the fuzzer itself
            place = place.parent
        kind = rng.randrange(5) if place != work else 3
        if kind == 0 and place.parent.is_dir():  # a link in place of what is there
            gone(place)
            target = rng.choice((outside, outside / "mine.txt", Path("/dev/zero"), place, Path("../..")))
            place.symlink_to(target)
        elif kind == 1 and place.is_file():  # a size
            os.truncate(place, rng.choice(SIZES))
        elif kind == 2 and place.parent.is_dir():  # another kind of file
            if gone(place):
                place.write_bytes(b"{}")
            else:
                place.mkdir()
        else:  # a name
            parent = place if place.is_dir() else place.parent
            new = parent / rng.choice(NAMES)
            if not new.exists() and not new.is_symlink():
                how = rng.randrange(3)
                if how == 0:
                    new.mkdir()
                elif how == 1:
                    new.write_bytes(rng.choice((b"", b"{}", b"[]", b"\xff")))
                else:
                    new.symlink_to(rng.choice((outside, outside / "mine.txt", Path("nowhere"))))

    def one(rng: random.Random) -> None:
        for place in (work, outside):
            shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(folder / "good", work)
        (outside / "phases" / ("0" * 16)).mkdir(parents=True)
        (outside / "mine.txt").write_text("mine")
        (outside / "phases" / ("0" * 16) / "phase.json").write_text("{}")
        before = content_of(outside)
        for _ in range(rng.choice((1, 1, 2, 4))):
            plant(rng)
        shared = Store(work)
        phase = shared.phase(phase_id)

        def read() -> None:
            for path in work.glob("sweeps/*/plan.json"):
                found = read_plan(path)
                standing = Standing(found, shared)
                for one_of in found.phases.values():
                    row(one_of, shared, standing)
                    find(one_of.id, shared)

        def train() -> None:
            held = phase.acquire({"sweep": "x@y"})
            if held is None:
                return
            try:
                acts: list[Callable[[], Any]] = [
                    lambda: phase.journal(held, phase.write_description(recipe, {}, held.attempt, "d" * 64)).close(),
                    lambda: phase.write_mark(held, rng.choice((10, 20)), weights, {}),
                    lambda: phase.write_resume(held, rng.choice((20, 30)), state, keep=rng.random() < 0.5),
                    lambda: phase.write_progress({"step": 30}),
                    lambda: phase.set_status("done", step=30, attempt=held.attempt),
                    lambda: phase.discard(held, rng.choice(("marks", "resume")), 10),
                    lambda: phase.drop_resumes(held),
                ]  # fmt: skip
                each(acts)
            finally:
                held.release()

        def command() -> None:
            place = shared.write_plan(graph).parent
            note = shared.note(place / ".run-aaaaaaaa-1-bbbbbb" / "word")
            each([lambda: note.write("stop"), note.read, note.remove, lambda: shared.forget(graph.title)])

        def clean() -> None:
            garbage.collect(shared, garbage.find(shared, older_than=0.0))

        each([
            phase.status, phase.progress, phase.curve, phase.description, phase.holder, phase.marks, phase.resumes,
            phase.resume, lambda: phase.mark(10), lambda: contents(shared), lambda: verify(shared),
            lambda: glance(str(phase.path)), read, train, command, clean,
        ])  # fmt: skip
        if content_of(outside) != before:
            raise AssertionError("something outside of the store has changed")

    return one


def each(acts: list[Callable[[], Any]]) -> None:
    """Does all of them; the last clean error, if any, counts."""
    from procray.errors import ProcrayError

    last: ProcrayError | None = None
    for act in acts:
        try:
            act()
        except ProcrayError as error:
            last = error
    if last is not None:
        raise last


TARGETS: dict[str, tuple[Callable[[Path], One], float]] = {  # with their share of the inputs
    "sweep": (sweep_target, 0.15),
    "store": (store_target, 0.2),
    "neighbour": (neighbour_target, 0.1),
    "plan": (plan_target, 0.1),
    "checkpoint": (checkpoint_target, 0.25),
    "official": (official_target, 0.05),
    "corpus": (corpus_target, 0.15),
}


# -- the run -----------------------------------------------------------------------------------------------


def innermost(error: BaseException) -> str:
    """The last line of procray that an exception went through."""
    found = "outside"
    for frame in traceback.extract_tb(error.__traceback__):
        if "/procray/" in frame.filename:
            found = f"{frame.filename.rsplit('/procray/', 1)[1]}:{frame.lineno}"
    return found


def limit(computing: float, waiting: float) -> None:
    """Raises Hang after so many seconds of either; 0 for never."""
    signal.setitimer(signal.ITIMER_PROF, computing)
    signal.setitimer(signal.ITIMER_REAL, waiting)


@contextlib.contextmanager
def bounded() -> Iterator[None]:
    """At most MEMORY more than now for the block; `limit` raises Hang."""

    def late(number: int, frame: Any) -> None:
        raise Hang

    now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (now + MEMORY, before[1]))
    handlers = {number: signal.signal(number, late) for number in (signal.SIGALRM, signal.SIGPROF)}
    try:
        yield
    finally:
        limit(0, 0)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        resource.setrlimit(resource.RLIMIT_AS, before)


def fuzz(target: str, count: int, seed: int, only: int | None = None) -> tuple[list[Finding], collections.Counter[str]]:
    """Runs so many inputs of one target.

    Returns:
        What is wrong, and how often each outcome came: `fine`, or the class of the clean error.
    """
    from procray.errors import ProcrayError

    findings: list[Finding] = []
    outcomes: collections.Counter[str] = collections.Counter()
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # else a disk's waits are most of the time
    with tempfile.TemporaryDirectory(prefix="fuzz-", dir=memory) as folder:
        one = TARGETS[target][0](Path(folder))
        with bounded():
            for number in range(count) if only is None else [only]:
                rng = random.Random(f"{seed}/{target}/{number}")
                limit(SECONDS, WAITING)
                try:
                    with contextlib.redirect_stdout(io.StringIO()):
                        one(rng)
                    outcome = "fine"
                except ProcrayError as error:
                    outcome = type(error).__name__
                    try:
                        str(error).encode()
                    except UnicodeEncodeError:
                        outcome = "finding"
                        findings.append(Finding(target, seed, number, "message cannot be printed", repr(error)))
                    if error.exit_code not in (2, 3):
                        outcome = "finding"
                        findings.append(Finding(target, seed, number, f"exit code {error.exit_code}", str(error)))
                except KeyboardInterrupt:
                    raise
                except BaseException as error:
                    outcome = "finding"
                    kind = f"{type(error).__name__} at {innermost(error)}"
                    text = "".join(traceback.format_exception(error))[-3000:] if only is not None else str(error)[:200]
                    findings.append(Finding(target, seed, number, kind, text))
                finally:
                    limit(0, 0)
                outcomes[outcome] += 1
    return findings, outcomes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100_000, help="inputs over all targets")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--target", choices=TARGETS, help="one target only")
    parser.add_argument("--only", type=int, help="one input of that target, with its traceback")
    given = parser.parse_args()
    failed = False
    for target in [given.target] if given.target else list(TARGETS):
        share = 1.0 if given.target else TARGETS[target][1]
        started, cpu = time.perf_counter(), time.process_time()
        findings, outcomes = fuzz(target, round(given.count * share), given.seed, given.only)
        took = f"{time.perf_counter() - started:.0f} s, CPU {time.process_time() - cpu:.0f} s"
        print(f"{target}: {sum(outcomes.values()):,} inputs in {took}: {dict(outcomes.most_common())}", flush=True)
        kinds: dict[str, list[Finding]] = {}
        for finding in findings:
            kinds.setdefault(finding.kind, []).append(finding)
        for kind, same in sorted(kinds.items(), key=lambda item: -len(item[1])):
            failed = True
            print(
                f"  {len(same)} x {kind}; --target {target} --seed {given.seed} --only {same[0].number}: {same[0].text}"
            )
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    main()
