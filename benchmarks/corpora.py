"""How fast text becomes token shards, and what it costs to feed them to a training step.

    python benchmarks/corpora.py --tokenizer FOLDER    # FOLDER: tokenizer.json, or GPT-2's vocab.json and merges.txt
    python benchmarks/corpora.py                       # with a byte-pair encoding trained on the text beforehand

The text is Python's standard library. Ours: `procray.corpora.prepare`, from the files to shards on the disk with their
digests, fsync and manifest. The peer does what the language-modelling script of transformers does: `datasets.map` over
the texts with the fast tokenizer, `batched=True, num_proc=2`, then again to join them into blocks of 1,024; it writes
Arrow files without fsync. Both have two cores, run in a fresh process each time, and are measured without imports. That
both find the same tokens is checked (ours have a separator after each document as well).

Feeding is the making of a batch and its way onto the device, as the training loop does it, against the loop's whole
step, in CPU time of one thread: blocks of text at 4x4x256, T 256, B 32 in bf16, and the diagnostics of the papers at
2x4x16, B 1,000 in fp32.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import FOLDER, Row, in_own_environment, publish, quartiles

if TYPE_CHECKING:
    from procray.training.recipe import PhaseRecipe
    from procray.training.source import Source

ROUNDS = 4
CORES = 2
BLOCK = 1024
ENTRIES = 8192  # of the encoding that is trained where none is given
MUCH = 10**12  # tokens: more than any local corpus has
DIAGNOSTICS: dict[str, dict[str, Any]] = {"haystack": {"pairs": 30}, "addition": {}, "multiplication": {}}
CORPUS = "python-stdlib"


def prepare_ours(tokenizer: str, folder: str) -> dict[str, Any]:
    from procray import corpora

    recipe = corpora.recipe(CORPUS, {"folder": tokenizer})
    started = time.perf_counter()
    prepared = corpora.prepare(recipe, Path(folder), MUCH)
    seconds = time.perf_counter() - started
    documents = sum(split["counts"]["documents"] for split in prepared.manifest["splits"].values())
    tokens = prepared.train_tokens + prepared.validation_tokens - documents  # without the separators
    return {"seconds": seconds, "tokens": tokens, "digest": prepared.digest}


def prepare_theirs(tokenizer: str, folder: str) -> dict[str, Any]:
    os.environ |= {"HF_HOME": folder, "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    from datasets import Dataset, disable_progress_bars
    from transformers import PreTrainedTokenizerFast

    from procray.corpora.local import stdlib_files

    disable_progress_bars()
    files = stdlib_files()
    started = time.perf_counter()
    fast = PreTrainedTokenizerFast(tokenizer_file=str(Path(tokenizer, "tokenizer.json")))
    texts = [file.path.read_bytes().decode("utf-8-sig", "replace") for file in files]
    text = Dataset.from_dict({"text": [one for one in texts if one.strip()]})

    def tokenize(examples: dict[str, list[str]]) -> Any:
        return fast(examples["text"])

    def group(examples: dict[str, list[list[int]]]) -> dict[str, list[list[int]]]:
        joined = {name: [one for part in parts for one in part] for name, parts in examples.items()}
        whole = len(joined["input_ids"]) // BLOCK * BLOCK
        blocks = {name: [ids[i : i + BLOCK] for i in range(0, whole, BLOCK)] for name, ids in joined.items()}
        return {**blocks, "labels": blocks["input_ids"].copy()}

    tokens = text.map(tokenize, batched=True, num_proc=CORES, remove_columns=["text"])
    blocks = tokens.map(group, batched=True, num_proc=CORES)
    seconds = time.perf_counter() - started
    assert len(blocks), "at least one block"
    return {"seconds": seconds, "tokens": sum(len(ids) for ids in tokens["input_ids"])}


PARTS = {"ours": prepare_ours, "theirs": prepare_theirs}


def in_fresh_process(part: str, tokenizer: Path, folder: Path) -> dict[str, Any]:
    words = [sys.executable, str(FOLDER / "corpora.py"), "--part", part, str(tokenizer), str(folder)]
    # Threads and allocator as they come: what this process has asked for is for training.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "MALLOC_"))}
    done = subprocess.run(words, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def as_file(tokenizer: Path | None, folder: Path) -> tuple[Path, str]:
    """A folder with tokenizer.json, which both sides read, and what it is."""
    from procray.corpora.local import stdlib_files
    from procray.corpora.tokenizer import build_tokenizer, tokenizer_recipe

    target = folder / "tokenizer"
    target.mkdir()
    if tokenizer is not None:
        built = build_tokenizer(tokenizer_recipe({"folder": str(tokenizer)}), list)
        (target / "tokenizer.json").write_text(json.loads(built.content)["library"], encoding="utf-8")
    else:
        texts = [file.path.read_text(encoding="utf-8-sig", errors="replace") for file in stdlib_files()]
        built = build_tokenizer({"kind": "bpe", "entries": ENTRIES}, lambda: texts)
        (target / "tokenizer.json").write_text(built.content, encoding="utf-8")
    return target, f"BPE of {built.vocab_size:,} entries"


def packing(tokenizer: Path, name: str, folder: Path) -> list[Row]:
    found: dict[str, list[dict[str, Any]]] = {side: [] for side in PARTS}
    for number in range(-1, ROUNDS):  # the first only brings the files into the page cache
        for side in list(PARTS)[:: 1 if number % 2 else -1]:
            result = in_fresh_process(side, tokenizer, folder / f"{side}{number}")
            found[side] += [result] if number >= 0 else []
    ours, theirs = found["ours"], found["theirs"]
    assert {one["tokens"] for one in ours} == {one["tokens"] for one in theirs}, "both find the same tokens"
    assert len({one["digest"] for one in ours}) == 1
    tokens = ours[0]["tokens"]
    low, rate, high = quartiles([tokens / one["seconds"] / 1e6 for one in ours])
    slower = statistics.median(tokens / one["seconds"] / 1e6 for one in theirs)
    less, middle, more = quartiles([b["seconds"] / a["seconds"] for a, b in zip(ours, theirs, strict=True)])
    shape = f"{CORPUS}, {tokens / 1e6:.2f}M tokens, {name}, {CORES} cores: files to shards"
    ours_text, theirs_text = f"{rate:.2f}M tokens/s", f"{slower:.2f}M tokens/s"
    peer = f"datasets.map(batched=True, num_proc={CORES}), fast tokenizer, blocks of {BLOCK}"
    return [
        Row(shape, ours_text, "", "-", rate, low, high, "M tokens/s", 1.0),
        Row(shape, ours_text, theirs_text, peer, middle, less, more),
    ]


def step_and_feed(recipe: PhaseRecipe, source: Source, steps: int, feeds: int) -> tuple[float, float, float]:
    """CPU seconds of a whole step, of feeding it, and of making its batch alone; medians."""
    from procray.training import FolderContext, runtime
    from procray.training.loop import Run
    from procray.training.objective import scored_values, to_device
    from procray.training.parts import micro_batches

    with tempfile.TemporaryDirectory() as folder:
        context = FolderContext(folder)
        choices = runtime.resolve(
            recipe,
            context.device,
            vocab=source.vocab,
            rows=source.rows,
            positions=source.context,
            steps=1000,
            threads=1,
            world_size=1,
        )
        run = Run(recipe, source, context, choices)

        def step() -> None:
            run.update()
            run.drain()

        def feed() -> None:
            batch = source.batch(run.state.step, None)
            scored_values(batch)
            for part in micro_batches(batch, 0, 1, choices.micro_batch, choices.trim):
                to_device(part, context.device)

        step()
        whole = median_seconds(step, steps)
        return whole, median_seconds(feed, feeds), median_seconds(lambda: source.batch(run.state.step, None), feeds)


def median_seconds(call: Callable[[], object], times: int) -> float:
    call()
    found = []
    for _ in range(times):
        started = time.process_time()
        call()
        found.append(time.process_time() - started)
    return statistics.median(found)


def feeding(tokenizer: Path, name: str, folder: Path) -> list[Row]:
    from procray import corpora, tasks
    from procray.training import task_source, text_source
    from procray.training.recipe import Evaluation, ModelShape, Optimizer, PhaseRecipe

    data = corpora.recipe(CORPUS, {"folder": str(tokenizer)})
    prepared = corpora.prepare(data, folder / "ours0", MUCH)
    evaluation, optimizer = Evaluation(100, 64), Optimizer(1e-3)
    text = PhaseRecipe(
        "semantic", ModelShape(4, 4, 256, 256), data, 32, optimizer, evaluation, seed=0, precision="bf16"
    )
    step, feed, _ = step_and_feed(text, text_source(text, prepared), 3, 50)
    rows = [
        Row(
            f"feeding text, {name}, to 4x4x256, T 256, B 32, bf16", f"{1e3 * feed:.2f} ms", f"{1e3 * step:.0f} ms",
            "the whole step", 100 * feed / step, 100 * feed / step, 100 * feed / step, "%", 1, True,
        )
    ]  # fmt: skip
    for task_name, parameters in DIAGNOSTICS.items():
        task = tasks.get(task_name, **parameters)
        recipe = PhaseRecipe(
            "diagnostic", ModelShape(2, 4, 16, task.positions), {"task": task.recipe()}, 1000, optimizer, evaluation, 0
        )
        step, feed, batch = step_and_feed(recipe, task_source(recipe), 15, 50)
        share = 100 * batch / step
        rows.append(
            Row(
                f"making a batch of {task_name} for 2x4x16, T {task.positions}, B 1000, fp32", f"{1e3 * batch:.2f} ms",
                f"{1e3 * step:.0f} ms", "the whole step", share, share, share, "%", 1, True,
                f"with its way into the model {1e3 * feed:.2f} ms, {100 * feed / step:.2f} % of the step",
            )
        )  # fmt: skip
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokenizer", type=Path, metavar="FOLDER", help="tokenizer.json, or vocab.json and merges.txt")
    parser.add_argument("--part", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.part:
        print(json.dumps(PARTS[given.part[0]](*given.part[1:])))
        return
    in_own_environment(1)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        tokenizer, name = as_file(given.tokenizer, folder)
        rows = [*packing(tokenizer, name, folder), *feeding(tokenizer, name, folder)]
    publish("corpora", "How fast does text become shards, and what does feeding a step cost?", rows)


if __name__ == "__main__":
    main()
