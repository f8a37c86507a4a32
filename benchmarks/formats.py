"""Do our families have the format and the statistics of their released code? Runs that code and compares.

    python benchmarks/formats.py --k-shuffle-dyck PRE-PRETRAINING --lime LIME --rnn FORMAL-LANGUAGE-PREPRETRAINING \\
        --mp-struct-core VERIFY-PPT-AT-SCALE --nca NCA-PRE-PRETRAINING

Each option takes a checkout: of michahu/pre-pretraining, tonywu95/LIME, guox18/formal-language-prepretraining,
gucci-j/verify-ppt-at-scale and danihyunlee/nca-pre-pretraining (which needs jax, flax, einops, joblib and matplotlib).
Only their generators are run, from their own files. Every statistic is a mean over sequences, of theirs and of ours;
the last column is the difference in standard errors. Ends with exit code 1 where one is above 4.5, or where a rule that
must hold for every sequence does not.
"""

from __future__ import annotations

import argparse
import importlib.util
import random
import sys
import tempfile
import types
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from harness import ROOT

from procray import tasks
from procray.tasks.nca import complexity
from procray.tasks.rnn import estimated_radius

sys.path.insert(0, str(ROOT / "tests" / "tasks"))
from slow_families import put_in

MOST = 4.5  # standard errors
Statistics = dict[str, np.ndarray]  # by name, one number a sequence
Both = tuple[Statistics, Statistics]  # theirs and ours


def module(path: Path, *unneeded: str) -> types.ModuleType:
    """A file of a checkout; libraries that its generator does not use are replaced where they are missing."""
    for name in unneeded:
        if name not in sys.modules and importlib.util.find_spec(name) is None:
            stand_in = types.ModuleType(name)
            stand_in.tqdm, stand_in.trange = (lambda rows: rows), range  # type: ignore[attr-defined]
            sys.modules[name] = stand_in
    spec = importlib.util.spec_from_file_location(f"released_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = found
    spec.loader.exec_module(found)
    return found


# -- the comparisons ---------------------------------------------------------------------------------
def k_shuffle_dyck(checkout: Path) -> Both:
    released = module(checkout / "src" / "grammar.py", "fire", "tqdm")
    random.seed(0)
    theirs = [released.generate_shuff_dyck(64, 512, 0.51) for _ in range(2000)]
    ours = tasks.get("k_shuffle_dyck", length=512).sample(0, "formats", 0, 2000).tokens_BT

    def about(words: np.ndarray) -> Statistics:
        steps = np.where(words < 64, 1, -1)
        depths = steps.cumsum(axis=1)
        kinds = words % 64
        return {
            "mean depth": depths.mean(axis=1),
            "share of closings": (words >= 64).mean(axis=1),
            "at the greatest depth": (depths == 8).mean(axis=1),
            "nothing open": (depths == 0).mean(axis=1),
            "closes what opened last": ((steps[:, 1:] < 0) & (kinds[:, 1:] == kinds[:, :-1])).mean(axis=1),
            "depth at the end": depths[:, -1].astype(float),
            "different types": np.array([len(set(row)) for row in kinds.tolist()], float),
        }

    assert ours.shape[1] == len(theirs[0])
    return about(np.array(theirs)), about(ours)


def lime(checkout: Path, kind: str) -> Both:
    released = module(checkout / "reason" / "generate_data.py", "tqdm")
    random.seed(0)
    task = tasks.get(f"lime_{kind}")
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / kind).mkdir()
        released.gen_data(folder, "train", 3000, kind, [kind], list(range(1000)))
        source = (Path(folder) / kind / "train.src").read_text().splitlines()
        target = (Path(folder) / kind / "train.tgt").read_text().splitlines()
    theirs = [f"{question} | {answer}" for question, answer in zip(source, target, strict=True)]
    ours = [task.text(row) for row in task.sample(0, "formats", 0, 3000).tokens_BT]
    order = {"deduct": "psr", "abduct": "prs", "induct": "rsp"}[kind]

    def about(lines: Sequence[str]) -> Statistics:
        rows = []
        for line in lines:
            question, answer = line.split(" | ")
            header, one, other = question.replace(" <space> ", "\n").split("\n")
            parts = dict(zip(order, (one, other, answer), strict=True))
            pattern, result = parts["p"].split(), parts["r"].split()
            filled = [entry.split(" : ") for entry in parts["s"].split(" , ")]
            substitution = {letter: symbols.strip("[] ").split() for letter, symbols in filled}
            assert result == put_in(pattern, substitution), "the substitution put into the pattern is the result"
            words = header.split()
            assert [words.index(word) for word in ("<UPPER>", "<LOWER>")] == [0, len(substitution) + 1]
            letters = sum(place in substitution for place in pattern)
            sizes = [len(symbols) for symbols in substitution.values()]
            first = pattern[0] in substitution
            rows.append([
                len(line.split()), len(pattern), letters, len(substitution), len(result), np.mean(sizes), first,
                int(words[-1]) / 1000,
            ])  # fmt: skip
        names = [
            "tokens", "places of the pattern", "letters in it", "different ones", "result", "symbols for a letter",
            "letter comes first", "last symbol",
        ]  # fmt: skip
        return dict(zip(names, np.array(rows, float).T, strict=True))

    return about(theirs), about(ours)


def rnn(checkout: Path) -> Both:
    path = checkout / "src" / "prepretrain" / "formal" / "linear_rnn" / "linear_rnn.py"
    released = module(path)
    matrix = np.random.default_rng(1).normal(size=(16, 16))
    assert np.isclose(released.estimate_spectral_radius(matrix), estimated_radius(matrix)), "one estimate of the radius"
    theirs = []
    for number in range(1500):
        network = released.LinearRNN(48, 16, seed=number, dtype=np.float64, device="cpu")
        theirs += network.generate_batch(1, 128, temperature=0.5)
    task = tasks.get("rnn", length=128, alphabet=48, hidden=16, temperature=0.5, networks=10**6, shared=1)
    ours = task.sample(0, "formats", 0, 1500).tokens_BT

    def about(words: np.ndarray) -> Statistics:
        counts = np.stack([(words == token).sum(axis=1) for token in range(48)], axis=1)
        share = counts / 128
        entropy = -(share * np.log(np.where(share > 0, share, 1))).sum(axis=1)
        pairs = words[:, :-1] * 48 + words[:, 1:]
        return {
            "different tokens": (counts > 0).sum(axis=1).astype(float),
            "entropy of tokens": entropy,
            "same token again": (words[:, 1:] == words[:, :-1]).mean(axis=1),
            "same after next": (words[:, 2:] == words[:, :-2]).mean(axis=1),
            "different pairs": np.array([len(set(row)) for row in pairs.tolist()], float),
            "most frequent": share.max(axis=1),
        }

    return about(np.array(theirs)), about(ours)


def mp_struct_core(checkout: Path) -> Both:
    text = (checkout / "preprocessing" / "src" / "tokenize_mpstruct_core.py").read_text(encoding="utf-8")
    generator = "class Enh" + text.partition("class Enh")[2].partition("\ndef generate")[0]  # what follows needs more
    room: dict = {"random": random}
    exec(compile(generator, "tokenize_mpstruct_core.py", "exec"), room)
    released = room["EnhancedConstrainedGenerator"](use_complex_args=True, seed=0)
    theirs = np.zeros((3000, 256), int)
    for row in theirs:
        tokens: list[int] = []
        while len(tokens) < 256:
            tokens += released.generate_tree_sequence()
        row[:] = tokens[:256]
    ours = tasks.get("mp_struct_core", length=256, arguments="drawn").sample(0, "formats", 0, 3000).tokens_BT

    def about(words: np.ndarray) -> Statistics:
        found = {f"share of {token}": (words == token).mean(axis=1) for token in range(13)}
        depths = ((words == 0).astype(int) - (words == 5)).cumsum(axis=1)
        first = [
            tuple(row[: place + 1]) for row, place in zip(words.tolist(), (depths == 0).argmax(axis=1), strict=True)
        ]
        assert len(set(first)) == 80, "so many sentences there are"
        found |= {"mean depth": depths.mean(axis=1), "sentences": (depths == 0).sum(axis=1).astype(float)}
        for number, sentence in enumerate(sorted(set(first))[::16]):
            found[f"sentence {number}"] = np.array([one == sentence for one in first], float)
        return found

    return about(theirs), about(ours)


def nca(checkout: Path) -> Both:
    sys.path.insert(0, str(checkout))
    import jax
    from utils.nca import generate_nca_dataset, generate_rules_batch
    from utils.tokenizers import NCA_Tokenizer

    tokenizer = NCA_Tokenizer(2, num_colors=10)
    same = {"grid": 12, "d_state": 10, "temperature": 1e-4, "start_step": 10}
    rules = generate_rules_batch(jax.random.PRNGKey(0), 256, tokenizer, 0.5, 1.0, dT=1, n_steps=10, mode="gzip", **same)
    made = generate_nca_dataset(
        jax.random.PRNGKey(1), 256, num_examples=10, num_rules=256, dT=1, rule_seeds=rules, **same
    )
    theirs = tokenizer.encode_task(made)[0].numpy()
    ours = tasks.get("nca", length=380).sample(0, "formats", 0, 1024).tokens_BT
    assert theirs.shape[1] == ours.shape[1] == 380

    def about(words: np.ndarray) -> Statistics:
        frames = words.reshape(len(words), 10, 38)
        assert (frames[:, :, 0] == 10_000).all()
        assert (frames[:, :, -1] == 10_001).all()
        inner = frames[:, :, 1:-1]
        cells = inner[..., None] // 10 ** np.arange(4) % 10
        share = np.stack([(cells == state).mean(axis=(1, 2, 3)) for state in range(10)], axis=1)
        return {
            "complexity": np.array([complexity(one) for one in inner]),
            "different patches": np.array([len(np.unique(one)) for one in inner], float),
            "patch stays": (inner[:, 1:] == inner[:, :-1]).mean(axis=(1, 2)),
            "patch after next": (inner[:, 2:] == inner[:, :-2]).mean(axis=(1, 2)),
            "states in use": (share > 0).sum(axis=1).astype(float),
            "most frequent state": share.max(axis=1),
            "cell above is the same": (cells[..., 0] == cells[..., 2]).mean(axis=(1, 2)),
            "cell beside is the same": (cells[..., 0] == cells[..., 1]).mean(axis=(1, 2)),
        }

    return about(theirs), about(ours)


CHECKS: dict[str, list[tuple[str, Callable[[Path], Both]]]] = {
    "k-shuffle-dyck": [("k_shuffle_dyck", k_shuffle_dyck)],
    "lime": [
        (f"lime_{kind}", lambda checkout, kind=kind: lime(checkout, kind)) for kind in ("deduct", "abduct", "induct")
    ],
    "rnn": [("rnn", rnn)],
    "mp-struct-core": [("mp_struct_core", mp_struct_core)],
    "nca": [("nca", nca)],
}


def lines(both: Both) -> Iterator[tuple[str, float, float, float]]:
    """Every statistic of theirs and ours, and how many standard errors they are apart."""
    for name, theirs in both[0].items():
        ours = both[1][name]
        error = np.sqrt(theirs.var() / len(theirs) + ours.var() / len(ours))
        apart = abs(theirs.mean() - ours.mean())
        yield name, float(theirs.mean()), float(ours.mean()), float(apart / error) if error else float(apart > 0) * 99


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for option in CHECKS:
        parser.add_argument(f"--{option}", type=Path, metavar="CHECKOUT")
    given = {option: value for option, value in vars(parser.parse_args()).items() if value is not None}
    if not given:
        parser.error(f"name at least one checkout: {', '.join(f'--{option}' for option in CHECKS)}")
    wrong = 0
    for option, checkout in given.items():
        for name, check in CHECKS[option.replace("_", "-")]:
            print(f"\n{name}\n{'':26} {'theirs':>10} {'ours':>10}  apart")
            for statistic, theirs, ours, apart in lines(check(checkout)):
                wrong += apart > MOST
                print(f"{statistic:26} {theirs:10.4f} {ours:10.4f}  {apart:5.1f}{'  <--' * (apart > MOST)}", flush=True)
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
