"""How fast are data made? Every task's generator, beside the papers' released code or beside plain code.

    python benchmarks/generators.py --official CHECKOUT    # about a minute
    python benchmarks/generators.py                        # without the released code: plain Python, and no floors
    python benchmarks/generators.py --families             # the families that are not of these papers, by themselves
    python benchmarks/generators.py --tasks queue hops     # only these; prints, and records nothing

`--official` takes a checkout of the code that was released with arXiv 2601.21725, which is imported from there:

- warm-up tasks: its own `build_dataloader`, at the shapes of its configurations and with batches of 64, consumed as its
  training loop does. A turn makes the loader and draws every batch from it, so that k-DYCK's words, which it makes up
  front, are counted; its validation set is not. Without workers: one thread on both sides.
- diagnostics: its `gen_single`, once a sequence as in its stream; the collator that makes tensors of the lists is left
  out, to its advantage. Both sides make 1,000 sequences, its batch. A second row draws those anew that stand in a test
  set of 4,000, as training does.

Nothing was released for cellular automata: they stand beside numpy working on one row of one sequence at a time.
SORTING, the families that are not of these papers, and all tasks where no checkout is given, stand beside
`tests/tasks/slow_tasks.py`, one sequence at a time and without targets and mask. NCA stands beside pptrain 0.3.0 too,
where that is installed or `--pptrain` names its unpacked wheel: its generator of rules and frames, with the same
settings, and its preparation of inputs and labels.

Ours is `task.sample`: a whole batch of tokens, targets and mask (and of parts, for diagnostics), ready for `to_device`.
The loaders' batches end at the same point: what either loop does with them is not counted. Both sides count nominal
tokens, the same number for the same sequence: separators and padding included, also where our arrays are trimmed
(`eca_rows` counts rows). Times are CPU seconds of this process, without an accelerator.
"""

from __future__ import annotations

import argparse
import importlib
import itertools
import random
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from harness import ROOT, Row, in_own_environment, publish, ratio, take_turns

from procray import tasks
from procray.tasks import BaseTask

sys.path.insert(0, str(ROOT / "tests" / "tasks"))
from slow_tasks import SLOW

TURN = 0.04  # seconds at least
ROUNDS = 9
WIDE = 1024  # sequences of the batches that are shown beside the papers' 64
FLOORS = {"set": 100, "union": 100, "sort": 400, "stack": 20, "reverse": 20, "delete": 20, "identity": 20, "dyck": 5}
FAMILY_FLOOR = 20
FAMILIES = {"rnn", "nca", "mp_struct_core"}  # that are held to it beside plain Python
OFFICIAL = {"dyck_shuffle", *FLOORS}  # warm-up tasks of the released code
PAPERS = {*OFFICIAL, "eca_rows", "eca_tokens", *(name for name in tasks.names() if tasks.get(name).diagnostic)}
# Networks and automata in plain Python take a second for a sequence or two of their default length.
SHORT = {"rnn": {"length": 64}, "nca": {"length": 380}}
FEW = {"rnn": 1, "nca": 1}  # sequences that plain Python makes in one turn
HOW_FAST = "How fast are data made?"
DIAGNOSTICS = {
    "haystack": "condattendstream_30",
    "addition": "forwardaddition_5",
    "reversed_addition": "additionstream_10",
    "multiplication": "multiplication_5",
}
DIAGNOSTIC_BATCH, TEST_SET = 1000, 4000  # as released


@dataclass(frozen=True)
class Side:
    """`make(i)` makes so many sequences; every call gets a number of its own."""

    make: Callable[[int], object]
    sequences: int
    name: str = ""


# -- the released code -------------------------------------------------------------------------------
def loader(task: BaseTask, batch: int) -> Side:
    """The loader of the released code for a warm-up task: a call makes it anew for a few batches."""
    module = importlib.import_module(f"procedural_data.{task.name}")
    module._VAL_BATCHES = 0
    brackets = task.name.startswith("dyck")
    steps = 1 if brackets else 4
    parameters = {key: value for key, value in task.recipe().items() if key not in ("name", "length")}
    length = {} if brackets else {"seq_length": task.length}
    names = {"vocab": "vocab_size"}
    settings = {names.get(key, key): value for key, value in parameters.items()}
    args = SimpleNamespace(
        seed=42, seq_length=task.length, batch_size=batch, steps_per_epoch=steps, num_workers=0, **settings
    )

    def epoch(number: int) -> None:
        train, _ = module.build_dataloader(args, epoch_seed=number, **length)
        for made in train:
            assert made["input_ids"].shape == made["loss_mask"].shape == (batch, task.mean_tokens)

    how = "sequences made up front, then " if brackets else ""
    return Side(epoch, steps * batch, f"official code: {how}its DataLoader, batch {batch}, no workers")


def stream(checkout: Path, task: str, batch: int) -> Side:
    """The function of the released code that makes one sequence of a diagnostic, called for a whole batch."""
    path = checkout / "downstream" / "algorithmic_tasks" / f"task_{task.split('_')[0]}.py"
    generator, _, _ = path.read_text(encoding="utf-8").partition("\ndef compute_metrics")  # what follows needs a model
    room = {"task": task, "random": random.Random(0)}
    exec(compile(generator, str(path), "exec"), room)
    make: Callable[[], list[int]] = room["gen_single"]  # type: ignore[assignment]
    return Side(lambda _: [make() for _ in range(batch)], batch, f"official code: gen_single of {task}, lists")


# -- plain code --------------------------------------------------------------------------------------
def plain_python(task: BaseTask, batch: int) -> Side:
    parameters = {key: value for key, value in task.recipe().items() if key != "name"}
    make, rng = SLOW[task.name], random.Random(0)
    batch = FEW.get(task.name, batch)
    return Side(lambda _: [make(rng, **parameters) for _ in range(batch)], batch, "plain Python, lists without targets")


def plain_rows(task: tasks.Task, batch: int, ring: int = 1000, updates: int = 1000) -> Side:
    """Rows of a cellular automaton: every sequence, every update with one operation on its whole row."""
    recipe = task.recipe()
    rule, length, width = recipe["rule"], recipe["length"], recipe["width"]
    table = np.array([(rule >> pattern) & 1 for pattern in range(8)], np.uint8)

    def make(number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        rng = np.random.default_rng(number)
        rows_BTW = np.empty((batch, length + 1, width), np.uint8)
        for rows_TW in rows_BTW:
            cells = rng.integers(0, 2, ring, dtype=np.uint8)
            window = (rng.integers(ring) + np.arange(width)) % ring
            first = rng.integers(updates - length + 1)
            for step in range(first + length + 1):
                if step >= first:
                    rows_TW[step - first] = cells[window]
                cells = table[4 * np.roll(cells, 1) + 2 * cells + np.roll(cells, -1)]
        return rows_BTW[:, :-1], rows_BTW[:, 1:], np.ones((batch, length), bool)

    return Side(make, batch, "numpy, one row of one sequence at a time")


def plain_tokens(task: tasks.Task, batch: int) -> Side:
    """One update of a cellular automaton in tokens, a sequence at a time."""
    recipe = task.recipe()
    rule, length = recipe["rule"], recipe["length"]
    table = np.array([(rule >> pattern) & 1 for pattern in range(8)], np.int32)
    mask_T = np.arange(2 * length + 1) >= length
    mask_T[-1] = False

    def make(number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        rng = np.random.default_rng(number)
        tokens = []
        for _ in range(batch):
            cells = rng.integers(0, 2, length, dtype=np.int32)
            following = table[4 * np.roll(cells, 1) + 2 * cells + np.roll(cells, -1)]
            tokens.append(np.concatenate([cells, [2], following]))
        tokens_BT = np.stack(tokens)
        targets_BT = np.stack([np.append(row_T[1:], 3) for row_T in tokens])
        return tokens_BT, targets_BT, np.stack([mask_T] * batch)

    return Side(make, batch, "numpy, one row of one sequence at a time")


def pptrain(folder: Path | None) -> Callable[[int], object] | None:
    """A function that makes 4 sequences of NCA with pptrain's code; None where that is not there."""
    if folder is not None:
        sys.path.append(str(folder))
    try:
        released = importlib.import_module("pptrain.tasks.nca.generator")
    except ImportError as error:
        if folder is not None:
            raise SystemExit(f"--pptrain {folder}: {error}") from None
        return None
    same = {"grid_size": 12, "num_states": 10, "init_rollout_steps": 10, "rollout_stride": 1}
    chance = {"identity_bias": 0.0, "temperature": 1e-4}

    def make(number: int) -> list[object]:
        rng = np.random.default_rng(number)
        rules, _ = released.generate_rule_pool(
            rng, rule_count=4, sequence_count=4, hidden_dim=16, perception_dim=4, patch_size=2,
            complexity_probe_frames=10, complexity_min=0.5, complexity_max=1.0, max_rule_attempts_per_sequence=100,
            **same, **chance,
        )  # fmt: skip
        made = []
        for rule in rules:
            frames = released.rollout_rule(rng, rule=rule, frame_count=27, **same, **chance)
            ends = {"start_token_id": 10_000, "end_token_id": 10_001}
            tokens = released.patchify_trajectory(frames, num_states=10, patch_size=2, **ends)
            made.append(released.create_training_example(tokens, max_length=1024, frame_token_length=38, min_frames=1))
        return made

    return make


def nca_row(folder: Path | None) -> Row | None:
    """NCA of the released settings, beside pptrain's."""
    make = pptrain(folder)
    if make is None:
        return None
    task = tasks.get("nca")
    sides = {"ours": Side(lambda index: task.sample(0, "train", index, 64), 64), "peer": Side(make, 4)}
    times = seconds_a_sequence(sides)
    rate = {name: task.mean_tokens / statistics.median(values) / 1e6 for name, values in times.items()}
    return Row(
        shape="nca: the released settings, 1,024 tokens; batches of 64",
        ours=f"{rate['ours']:.3g} M tokens/s",
        theirs=f"{rate['peer']:.3g} M tokens/s",
        peer="pptrain 0.3.0: rules within the band, frames, inputs and labels",
        **dict(zip(("value", "low", "high"), ratio(times, "ours", "peer"), strict=True)),
        floor=FAMILY_FLOOR,
    )


# -- the comparison ----------------------------------------------------------------------------------
def seconds_a_sequence(sides: dict[str, Side]) -> dict[str, list[float]]:
    """Of every round; a turn makes as many calls as fill it."""
    turns: dict[str, Callable[[], None]] = {}
    sequences: dict[str, int] = {}
    for name, side in sides.items():
        numbers = itertools.count()
        side.make(next(numbers))
        started = time.process_time()
        side.make(next(numbers))
        calls = max(1, round(TURN / max(time.process_time() - started, 1e-6)))

        def turn(make: Callable[[int], object] = side.make, numbers: itertools.count = numbers, n: int = calls) -> None:
            for _ in range(n):
                make(next(numbers))

        turns[name], sequences[name] = turn, calls * side.sequences
    times = take_turns(turns, rounds=ROUNDS)
    return {name: [seconds / sequences[name] for seconds in times[name]] for name in sides}


def peer_of(task: BaseTask, batch: int, official: Path | None) -> Side:
    if task.name == "eca_rows":
        return plain_rows(task, batch)
    if task.name == "eca_tokens":
        return plain_tokens(task, batch)
    if official is not None and task.name in DIAGNOSTICS:
        return stream(official, DIAGNOSTICS[task.name], batch)
    if official is not None and task.name in OFFICIAL:
        return loader(task, batch)
    return plain_python(task, batch)


def rows_of(task: BaseTask, batch: int, official: Path | None) -> tuple[list[Row], str]:
    """The rows of a task, and its line of the table of batches."""
    from procray.training.source import TaskSource

    size = DIAGNOSTIC_BATCH if task.diagnostic else batch
    sides = {
        "ours": Side(lambda index: task.sample(0, "train", index, size), size),
        "peer": peer_of(task, size, official),
        "narrow": Side(lambda index: task.sample(0, "train", index, batch), batch),
        "wide": Side(lambda index: task.sample(0, "train", index, WIDE), WIDE),
    }
    if task.diagnostic:
        source = TaskSource(task, 0, size, TEST_SET, disjoint=True)
        sides["apart"] = Side(lambda step: source.batch(step, None), size)
    times = seconds_a_sequence(sides)
    rate = {name: task.mean_tokens / statistics.median(values) / 1e6 for name, values in times.items()}
    counted = "rows/s" if task.rows else "tokens/s"
    parameters = ", ".join(f"{key} {value}" for key, value in task.recipe().items() if key != "name")
    floor = _floor(task, official is not None)
    rows = []
    for side, what in (("ours", ""), ("apart", ", clear of the test set")):
        if side not in times:
            continue
        rows.append(
            Row(
                shape=f"{task.name}: {parameters}; batches of {size:,}{what}",
                ours=f"{rate[side]:.3g} M {counted}",
                theirs=f"{rate['peer']:.3g} M {counted}",
                peer=sides["peer"].name,
                **dict(zip(("value", "low", "high"), ratio(times, side, "peer"), strict=True)),
                floor=floor,
            )
        )
    return rows, f"| {task.name} | {rate['narrow']:.3g} | {rate['wide']:.3g} |"


def _floor(task: BaseTask, official: bool) -> float | None:
    if task.name == "eca_rows":
        return 40.0
    if task.name in OFFICIAL:
        return FLOORS.get(task.name) if official else None
    return FAMILY_FLOOR if task.name in FAMILIES else None


def main() -> None:
    in_own_environment(1, CUDA_VISIBLE_DEVICES="")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=64, help="sequences in a batch of a warm-up task")
    parser.add_argument("--official", type=Path, metavar="CHECKOUT", help="folder of the papers' released code")
    parser.add_argument("--families", action="store_true", help="tasks that are not of these papers, beside plain code")
    parser.add_argument("--pptrain", type=Path, metavar="FOLDER", help="where pptrain 0.3.0 is unpacked")
    parser.add_argument("--tasks", nargs="+", metavar="TASK", choices=tasks.names(), help="only these, unrecorded")
    given = parser.parse_args()
    if given.official is not None:
        for needed in ("procedural_data", "downstream/algorithmic_tasks"):
            if not (given.official / needed).is_dir():
                parser.error(f"{given.official} is no checkout of the released code: it has no {needed}")
        sys.path.append(str(given.official))
        warnings.filterwarnings("ignore", message=".*pin_memory.*")  # which its loaders ask for
    rows: list[Row] = []
    batches = [f"| M tokens/s | batches of {given.batch:,} | batches of {WIDE:,} |", "|---|---|---|"]
    for name in given.tasks or [name for name in tasks.names() if (name not in PAPERS) == given.families]:
        task = tasks.get(name, **SHORT.get(name, {}))
        assert isinstance(task, BaseTask)
        found, line = rows_of(task, given.batch, given.official)
        print(f"{name}: {found[0].value:.1f}x, {found[0].ours}", flush=True)
        rows += found
        batches.append(line)
    if given.tasks:
        return
    if given.families and (row := nca_row(given.pptrain)) is not None:
        print(f"nca beside pptrain: {row.value:.1f}x", flush=True)
        rows.append(row)
    name, question = ("families", "How fast are further families made?") if given.families else ("generators", HOW_FAST)
    publish(name, question, rows, tables=["\n".join(batches)])


if __name__ == "__main__":
    main()
