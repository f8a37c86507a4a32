"""What does it cost to ask a model what it can do, and how fast are lm-eval's tasks on our models as they are?

    python benchmarks/abilities.py                  # about 3 minutes
    python benchmarks/abilities.py --tasks-only     # needs the extra lm-eval

On one thread, in CPU seconds. All probes and all texts on one laptop-scale checkpoint (2 layers, width 64, context 128,
a byte-pair encoding of 8,192 entries trained on the standard library), items and encoding included. And a
multiple-choice task of our own making through `procray.downstream.harness` and through lm-eval's
backend `hf` on the exported folder, each from loaded task and model to numbers; the answers have to be the same.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from harness import ROOT, Row, in_own_environment, publish, quartiles, ratio, take_turns

CONTEXT = 128
ENTRIES = 8192
PROBES_FLOOR = 10.0  # CPU seconds
TASKS_FLOOR = 1.5
BATCH = 32  # of the peer: the fastest of 8, 32 and 128 here
SHAPES = {"2x2x64": {"layers": 2, "heads": 2, "width": 64}, "4x4x256": {"layers": 4, "heads": 4, "width": 256}}


def checkpoint(shape: dict[str, int], vocab: int) -> Any:
    from procray.model import GPT2Config, build

    return build(GPT2Config(**shape, vocab=vocab, context=CONTEXT), seed=0).eval()


def material() -> tuple[Any, list[str]]:
    """A tokenizer, and the documents that a phase on the standard library holds out: 200,000 tokens."""
    from procray.corpora.local import stdlib_files
    from procray.corpora.tokenizer import bpe_recipe, build_tokenizer

    texts = [file.path.read_text(encoding="utf-8", errors="replace") for file in stdlib_files()]
    tokenizer = build_tokenizer(bpe_recipe(ENTRIES), lambda: texts[::2])
    kept, tokens = [], 0
    for text in texts[1::10]:
        if tokens < 200_000:
            kept.append(text)
            tokens += len(tokenizer.encode([text])[0])
    return tokenizer, kept


def of_probes(tokenizer: Any, texts: list[str], rounds: int) -> list[Row]:
    from procray.downstream.ask import ask
    from procray.downstream.compression import DOMAINS, compress
    from procray.downstream.material import of_text

    model = checkpoint(SHAPES["2x2x64"], tokenizer.vocab_size)
    counted = {}

    def probes() -> None:
        answers, _ = ask(model, of_text(tokenizer, texts))
        counted["items"] = sum(len(answer.scores.right_N) for answer in answers)
        counted["conditions"] = len(answers)

    def bytes_() -> None:
        for domain in DOMAINS.values():
            compress(model, tokenizer, domain)

    times = take_turns({"probes": probes, "texts": bytes_}, rounds=rounds)
    low, middle, high = quartiles(times["probes"])
    low_, middle_, high_ = quartiles(times["texts"])
    what = f"2x2x64, context {CONTEXT}, {ENTRIES:,} entries, one thread"
    size = sum(domain.bytes for domain in DOMAINS.values())
    return [
        Row(
            f"all probes: {counted['conditions']} conditions, {counted['items']:,} items; {what}",
            f"{middle:.2f} s",
            "",
            "-",
            middle,
            low,
            high,
            "s of CPU",
            PROBES_FLOOR,
            most=True,
        ),
        Row(f"bits per byte of {size:,} bytes; {what}", f"{middle_:.2f} s", "", "-", middle_, low_, high_, "s of CPU"),
    ]


def of_tasks(tokenizer: Any, name: str, rounds: int, documents: int, folder: Path) -> Row:
    os.environ["HF_HUB_OFFLINE"] = "1"
    sys.path.insert(0, str(ROOT / "tests" / "downstream"))
    from lm_eval.evaluator import evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager
    from local_tasks import export, write_tasks

    from procray.downstream.harness import Tasks

    own = write_tasks(folder / "tasks", documents, ("own_choice",))
    model = checkpoint(SHAPES[name], tokenizer.vocab_size)
    place = export(model, tokenizer, {"separator": tokenizer.separator}, folder / "exported")
    peer = HFLM(pretrained=str(place), dtype="float32", device="cpu", batch_size=BATCH)
    ours = Tasks(["own_choice"], [own])
    theirs = TaskManager(include_path=str(own), include_defaults=False).load(["own_choice"])
    theirs["tasks"]["own_choice"].set_config("num_fewshot", 0)
    found: dict[str, Any] = {}

    def direct() -> None:
        found["ours"] = ours.ask(model, tokenizer)[0][0].metrics

    def harness() -> None:
        with contextlib.redirect_stdout(sys.stderr):
            result = evaluate(lm=peer, task_dict=theirs, log_samples=True)
        found["theirs"] = result["results"]["own_choice"]

    times = take_turns({"ours": direct, "theirs": harness}, rounds=rounds)
    assert found["ours"] == {key: found["theirs"][key] for key in found["ours"]}, json.dumps(found)
    middle, low, high = ratio(times, "ours", "theirs")
    medians = [quartiles(times[side])[1] for side in ("ours", "theirs")]
    return Row(
        f"multiple choice, {documents} documents of 4 endings; {name}, context {CONTEXT}, {ENTRIES:,} entries",
        f"{medians[0]:.2f} s",
        f"{medians[1]:.2f} s",
        f"lm-eval {ours.version}, `hf` on the exported folder, float32, batch {BATCH}",
        middle,
        low,
        high,
        floor=TASKS_FLOOR,
        note="the numbers of both sides are equal",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--documents", type=int, default=200)
    parser.add_argument("--tasks-only", action="store_true")
    given = parser.parse_args()
    in_own_environment()
    import torch

    torch.set_num_threads(1)
    tokenizer, texts = material()
    rows = [] if given.tasks_only else of_probes(tokenizer, texts, given.rounds)
    with tempfile.TemporaryDirectory() as folder:
        rows += [of_tasks(tokenizer, name, given.rounds, given.documents, Path(folder) / name) for name in SHAPES]
    publish("abilities", "What does it cost to ask a model what it can do?", rows)


if __name__ == "__main__":
    main()
