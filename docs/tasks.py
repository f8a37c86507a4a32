"""Writes docs/tasks.md: every task with its definition, source, vocabulary, chance accuracy, and a sample to read.

    python docs/tasks.py

The page is made of the tasks themselves: definitions are their docstrings, samples the output of `procray tasks`. Run
it after a change; a test compares the page with what this would write.
"""

from __future__ import annotations

import contextlib
import inspect
import io
from pathlib import Path

import yaml

from procray import tasks
from procray.cli.commands.tasks import tasks as command
from procray.tasks.chance import chance
from procray.tasks.registry import TASKS

PAGE = Path(__file__).with_name("tasks.md")
PAPERS = "arXiv 2601.21725; its released code (zlshinnick/procedural-pretraining)"
DIAGNOSTIC = "arXiv 2505.22308; its released code (zlshinnick/procedural-pretraining, downstream/algorithmic_tasks)"
STREAMS = (
    "Streams of different seeds and names share no sample, where the released code's overlap; the law is the same."
)

# By task: parameters of the sample, where the task comes from, and how ours differs from that.
ABOUT: dict[str, tuple[str, str, str]] = {
    "identity": ("length=8 vocab=20", PAPERS, STREAMS),
    "reverse": ("length=8 vocab=20", PAPERS, STREAMS),
    "sort": ("length=8 vocab=20", PAPERS, STREAMS),
    "set": ("length=8 vocab=10", PAPERS, STREAMS),
    "union": (
        "length=8 vocab=10", PAPERS,
        f"{STREAMS} Other implementations give each half the full length, or draw halves that add up to it.",
    ),
    "delete": (
        "length=8 vocab=10", PAPERS,
        f"{STREAMS} Other implementations remove all occurrences, or choose a symbol that mostly occurs.",
    ),
    "stack": ("length=10 vocab=20", PAPERS, STREAMS),
    "dyck": (
        "length=20 k=3", PAPERS,
        f"{STREAMS} p_open is the 0.5 of the released configuration, not the 0.49 that its function defaults to.",
    ),
    "dyck_shuffle": (
        "length=20 k=3", PAPERS,
        f"{STREAMS} `k_shuffle_dyck` has the same law with the settings of arXiv 2502.19249.",
    ),
    "eca_rows": (
        "length=6 width=32",
        "arXiv 2505.22308 and 2601.21725 train on rule 110; neither format nor code was found. This follows the code"
        " that theirs most likely descends from (arXiv 2410.02536, vandijklab/Intelligence_at_the_edge_of_chaos).",
        "Not known to be the papers' ECA. Every sequence has a simulation of its own; the probable ancestor takes many"
        " windows of one.",
    ),
    "eca_tokens": (
        "length=12", "a form in tokens, as replications use it",
        "Not the papers' ECA: results with it are not results with theirs.",
    ),
    "queue": (
        "length=10 vocab=20",
        "a control beside STACK in follow-ups of arXiv 2601.21725, whose code was not found",
        "The format is ours: that of STACK, with the other end removed.",
    ),
    "lime_deduct": (
        "length=5 alphabet=60", "arXiv 2101.06223; its released code (tonywu95/LIME)",
        "One sequence for a decoder in place of source and target; the end of the answer is not trained; letters are"
        " listed in a drawn order. `benchmarks/formats.py --lime` compares samples of both.",
    ),
    "lime_abduct": ("length=5 alphabet=60", "arXiv 2101.06223; its released code (tonywu95/LIME)", "As `lime_deduct`."),
    "lime_induct": ("length=5 alphabet=60", "arXiv 2101.06223; its released code (tonywu95/LIME)", "As `lime_deduct`."),
    "hops": (
        "length=5 alphabet=20 hops=3 questions=3",
        "the idea of DEPO, Physics of Language Models: Part 4.1 (facebookresearch/PhysicsLM4)",
        "The format is ours: names are one token, L is fixed or drawn for a batch, a separator stands before the"
        " questions and no token before the answers; `shape: permutation` is ours.",
    ),
    "automaton": (
        "length=6 states=3 letters=2", "ours; automata in context are studied in arXiv 2401.12973",
        "The definition is ours, so there is nothing to differ from.",
    ),
    "k_shuffle_dyck": (
        "length=20 k=3", "arXiv 2502.19249; its released code (michahu/pre-pretraining)",
        "Numbers are ids, as in the code of arXiv 2605.10129; that of arXiv 2502.19249 and 2609.39827 writes them as"
        " text for a tokenizer. arXiv 2609.39827 has p_open 0.5. Beside `dyck_shuffle`: the same law, p_open 0.51 and"
        " depth 8 instead of 0.5 and 16, and `min_depth`. `benchmarks/formats.py --k-shuffle-dyck` compares samples.",
    ),
    "rnn": (
        "length=16 alphabet=20 hidden=16 temperature=0.3",
        "arXiv 2605.10129; its released code (guox18/formal-language-prepretraining)",
        "A vocabulary of 256 in place of a tokenizer's 50,277; networks are drawn anew for every batch from as many,"
        " not 100 sequences made once of each; neighbours in a batch share one. `radius: eigenvalue` is ours."
        " `benchmarks/formats.py --rnn` compares samples of both.",
    ),
    "nca": (
        "length=24 side=6 states=4 simplest=0 most_complex=2",
        "arXiv 2603.10055; its released code (danihyunlee/nca-pre-pretraining)",
        "Every batch has rules of its own, where the released code draws 16,000 for an epoch. Random numbers are ours,"
        " in double precision. `benchmarks/formats.py --nca` compares samples of both.",
    ),
    "mp_struct_core": (
        "length=60", "arXiv 2605.16758 (code unreleased), as the code of arXiv 2609.39827 has it"
        " (gucci-j/verify-ppt-at-scale)",
        "Numbers are ids; that code writes them as text for a tokenizer. Whether it is the first paper's CORE was not"
        " checked; that paper's other variants are not here. `benchmarks/formats.py --mp-struct-core` compares.",
    ),
    "haystack": ("pairs=4", DIAGNOSTIC, f"{STREAMS} Training draws anew what occurs in the test set, and all seeds"
        " share one test set."),
    "addition": ("digits=3", DIAGNOSTIC, "`mask: official` is the released loss mask, which leaves out the first digit;"
        " the default scores every digit and the stop."),
    "reversed_addition": ("digits=3", DIAGNOSTIC, "As `addition`."),
    "multiplication": ("digits=3", DIAGNOSTIC, "As `addition`."),
    "sorting": ("numbers=5 values=50", "named in arXiv 2505.22308; neither format nor code was found",
        "The definition is ours; the paper's numbers are no reference for it."),
}  # fmt: skip

AS_SHOWN = {"nca"}  # what its default rules are depends a little on the library that compresses

HEAD = """# Tasks

Written by `python docs/tasks.py` from the tasks themselves; do not edit by hand.

Every task below may stand under `task:` of a sweep's `procedural:` section (diagnostics under `diagnostic:`), its
parameters beside it, and `procray tasks NAME KEY=VALUE ...` shows it. Warm-up tasks may be shuffled (`task: {shuffled:
NAME}`, the control without structure) and, but for rows of cells, mixed (`task: {mixture: {NAME: 3, OTHER: 1}}`). Token
sequences made elsewhere are read from files (`task: {sequences_from: {path: FILE}}`: `.npy` or `.safetensors` of
sequences x tokens, `.parquet` or `.jsonl` with lists of ids in `field:`, `input_ids` by default; `cut:` shortens them;
a folder is all of its files; pickles are never read). Their identity is what the files hold, and every machine that
trains needs them. Those of a data set of the Hugging Face hub (`task: {sequences_from: {hf: NAME, split: train}}`, with
`config:`, `revision:`, `field:`, `rows:` and `cut:` where needed) are fetched when a file that names them is first
read, as a plan must know their lengths and ids, and are kept on each machine (in `PROCRAY_CACHE`, or
`~/.cache/procray`), so that they need the network once. Text may stand in a task's place (`task: {text: {corpus:
NAME}}`), with `noise: 0.1` for a share of its tokens that random ones replace, or `noise: {blocks: 0.1}` for whole
blocks, as in any section with a `corpus:`.

A batch is a pure function of seed, stream, number and size.

*Chance* is what cheap strategies score on the scored positions with default parameters: always the same answer; any of
the answers shown so far; the token before (for rows, the row before).
"""


def page() -> str:
    """The whole page."""
    names = tasks.names()
    assert set(ABOUT) == set(names), "every task has its entry here"
    listing = [f"[`{name}`](#{name})" for name in names]
    return "\n".join([HEAD, ", ".join(listing) + "\n", *(section(name) for name in names)])


def _as_shown(name: str, parameters: str) -> tasks.Task:
    pairs = (parameter.split("=") for parameter in parameters.split())
    return tasks.get(name, **{key: yaml.safe_load(value) for key, value in pairs})


def section(name: str) -> str:
    parameters, source, differs = ABOUT[name]
    task = tasks.get(name)
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown):
        command(name, parameters.split(), 2)
    measured = _as_shown(name, parameters) if name in AS_SHOWN else task
    levels = ", ".join(f"{strategy} {value:.1%}" for strategy, value in chance(measured).items())
    special = [
        f"{what} {number}"
        for what, number in (("separator", task.separator), ("padding", task.pad if task.rows is None else None))
        if number is not None
    ]
    size = f"{task.vocab_size:,} ids" + (f" ({', '.join(special)})" if special else "")
    form = f"{task.positions:,} positions" + (f" of {task.rows} cells" if task.rows else "")
    output = "\n".join(line.rstrip() for line in shown.getvalue().strip().splitlines())
    return f"""## {name}

{inspect.getdoc(TASKS[name])}

- **Source**: {source}.
- **How ours differs**: {differs}
- **Vocabulary** by default: {size}; up to {form}.
- **Chance** {"as shown below" if name in AS_SHOWN else "by default"}: {levels}.

```
$ procray tasks {name} {parameters} --count 2
{output}
```
"""


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
