"""How fast does text become shards, and what does feeding a step cost?

    python benchmarks/corpora.py                        # a byte-pair encoding of 8,192 entries; about 2 minutes
    python benchmarks/corpora.py --tokenizer FOLDER     # one with a tokenizer.json, such as GPT-2's

Text: the standard library of this Python. Ours is `corpora.prepare`: from the files to shards on disk with their
digests and manifest. The peer is what run_clm does: `datasets`, `map(batched=True, num_proc=cores)` with the same
tokenizer as a `PreTrainedTokenizerFast`, a second `map` that joins the documents and cuts blocks of 1,024, and
`save_to_disk`; the text is in memory already, so the peer reads no files. Both in turn, wall time.

Feeding: CPU seconds of making a batch and moving it to the device, against those of the step that uses it.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from harness import Row, in_own_environment, publish, quartiles, ratio, take_turns
from noise import Nowhere

from procray import corpora, tasks
from procray.corpora.documents import read_documents
from procray.corpora.recipe import local_files
from procray.training import loop, runtime, task_source, text_source
from procray.training.objective import to_device
from procray.training.recipe import Evaluation, ModelShape, Optimizer, PhaseRecipe
from procray.training.source import Source

CORPUS, BLOCK, ROUNDS = "python-stdlib", 1024, 3
RATE, SHARE = 1e6, 1.0  # tokens a second; per cent of a step


def tokenise(folder: Path, tokenizer: str | dict[str, Any]) -> list[Row]:
    recipe = corpora.recipe(CORPUS, tokenizer)
    made = corpora.prepare(recipe, folder / "first", 0)  # trains the encoding, where it is none of a folder
    file = tokenizer_file(tokenizer, made.folder)
    recipe = corpora.recipe(CORPUS, {"folder": str(file.parent)})
    texts = documents(recipe)
    tokens = made.train_tokens + made.validation_tokens
    count = 0

    def ours() -> None:
        nonlocal count
        count += 1
        corpora.prepare(recipe, folder / f"ours {count}", 0)

    def theirs() -> None:
        shutil.rmtree(folder / "theirs", ignore_errors=True)
        run_clm(texts, file, folder / "theirs")

    times = take_turns({"ours": ours, "theirs": theirs}, rounds=ROUNDS, clock=time.perf_counter)
    middle, low, high = ratio(times, "ours", "theirs")
    speeds = [f"{tokens / quartiles(times[side])[1] / 1e6:.2f} M tokens/s" for side in ("ours", "theirs")]
    shape = f"{CORPUS}, {tokens / 1e6:.1f} M tokens, {made.vocab_size:,} entries, {os.cpu_count()} cores"
    slow, usual, fast = quartiles([tokens / seconds / 1e6 for seconds in times["ours"]])
    return [
        Row(shape, *speeds, f"datasets.map, num_proc={os.cpu_count()}, blocks of {BLOCK}", middle, low, high),
        Row(shape, speeds[0], "", "-", usual, slow, fast, "M tokens/s", RATE / 1e6),
    ]


def tokenizer_file(tokenizer: str | dict[str, Any], folder: Path) -> Path:
    given = tokenizer.get("folder") if isinstance(tokenizer, dict) else None
    return Path(given or folder) / "tokenizer.json"


def documents(recipe: dict[str, Any]) -> list[str]:
    files, kept = local_files(recipe["corpus"])
    holdout = recipe["corpus"]["holdout"]
    found = []
    for split in ("train", "validation"):
        found += [text for text, _ in read_documents(files, kept, None, holdout, split)]
    return found


def run_clm(texts: list[str], file: Path, folder: Path) -> None:
    """Tokenising and grouping as the script of transformers does it."""
    from datasets import Dataset, disable_caching, disable_progress_bars
    from transformers import PreTrainedTokenizerFast

    disable_caching()
    disable_progress_bars()
    fast = PreTrainedTokenizerFast(tokenizer_file=str(file))
    fast.model_max_length = 10**9  # else it warns of every long document

    def encode(batch: dict[str, list[str]]) -> dict[str, Any]:
        return {"input_ids": fast(batch["text"])["input_ids"]}

    def group(batch: dict[str, list[list[int]]]) -> dict[str, list[list[int]]]:
        joined = [token for ids in batch["input_ids"] for token in ids]
        whole = len(joined) // BLOCK * BLOCK
        return {"input_ids": [joined[first : first + BLOCK] for first in range(0, whole, BLOCK)]}

    cores = os.cpu_count()
    encoded = Dataset.from_dict({"text": texts}).map(encode, batched=True, num_proc=cores, remove_columns=["text"])
    encoded.map(group, batched=True, num_proc=cores).save_to_disk(str(folder))


def feeding(folder: Path, tokenizer: str | dict[str, Any]) -> list[Row]:
    recipe = corpora.recipe(CORPUS, tokenizer)
    prepared = corpora.prepare(recipe, folder / "first", 0)
    text = phase("semantic", ModelShape(4, 4, 256, 256), recipe, 32, "bf16")
    task = phase("procedural", ModelShape(2, 4, 16, 65), {"task": tasks.get("set", length=32).recipe()}, 1000, "fp32")
    return [
        share(f"{CORPUS} into 4x4x256, T 256, B 32, bf16", text, text_source(text, prepared)),
        share("SET L 32 into 2x4x16, T 65, B 1000, fp32", task, task_source(task)),
    ]


def phase(kind: Any, shape: ModelShape, data: dict[str, Any], batch: int, precision: Any) -> PhaseRecipe:
    evaluation = Evaluation(every=10**9, sequences=1)
    return PhaseRecipe(kind, shape, data, batch, Optimizer(lr=1e-4), evaluation, seed=0, precision=precision)


def share(title: str, recipe: PhaseRecipe, source: Source) -> Row:
    cpu = torch.device("cpu")
    torch.set_num_threads(1)
    chosen = runtime.resolve(recipe, cpu, vocab=source.vocab, positions=source.context)
    run = loop.Run(recipe, source, Nowhere(cpu), chosen)
    step = 0

    def feed() -> None:
        nonlocal step
        step += 1
        to_device(source.batch(step, None), cpu)

    def update() -> None:
        run.update()
        run.drain()

    times = take_turns({"feed": feed, "update": update}, rounds=7)
    shares = [100 * fed / whole for fed, whole in zip(times["feed"], times["update"], strict=True)]
    low, middle, high = quartiles(shares)
    speeds = [f"{1e3 * quartiles(times[side])[1]:.3g} ms" for side in ("feed", "update")]
    return Row(title, *speeds, "the step that it feeds", middle, low, high, "%", SHARE, most=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokenizer", type=Path, metavar="FOLDER", help="a folder with a tokenizer.json")
    given = parser.parse_args()
    in_own_environment(HF_HUB_OFFLINE="1")
    tokenizer: dict[str, Any] = {"folder": str(given.tokenizer)} if given.tokenizer else {"bpe": 8192}
    with tempfile.TemporaryDirectory(prefix="procray-benchmark-") as temporary:
        folder = Path(temporary)
        os.environ["HF_DATASETS_CACHE"] = str(folder / "cache")
        rows = [*tokenise(folder, tokenizer), *feeding(folder, tokenizer)]
    publish("corpora", "How fast does text become shards, and what does feeding a step cost?", rows)


if __name__ == "__main__":
    main()
