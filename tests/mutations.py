"""Small changes to the source, one at a time: do the tests that belong to a file notice them?

    python tests/mutations.py [GROUP or FILE ...] --count 10 --seed 0

Not a part of the suite: it takes minutes to hours. Groups, and the tests that belong to a file, stand in
`mutations.yaml`; changes that change nothing, each with its reason, in `mutations_known.yaml`. Works on a copy of the
tree. Exit code 1 where less than `--least` percent were noticed.

mutmut 3 and cosmic-ray were tried. mutmut mutates no module's constants (our limits stand there), deletes no
statement and has no sample; cosmic-ray writes into the working tree and has one set of tests for all files. What would
be left for a script around them is as long as this one.
"""

from __future__ import annotations

import argparse
import builtins
import contextlib
import importlib
import math
import os
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import reaching
import yaml
from mutants import Key, Mutant, choose, mutants

ROOT = Path(__file__).parents[1]
_FEW = 12  # tests

# What belongs together


@dataclass(frozen=True)
class Settings:
    copied: list[str]  # what of the tree the tests need
    preload: list[str]  # modules that are no part of the tree
    tests: dict[str, list[str]]  # by a pattern of source files
    groups: dict[str, list[str]]

    def files(self, root: Path, name: str) -> list[str]:
        """The source files of a group, or the file itself."""
        if name not in self.groups:
            if not (root / name).is_file():
                raise SystemExit(f"'{name}' is neither a file nor a group (groups: {', '.join(self.groups)})")
            return [name]
        found: dict[str, None] = {}
        for pattern in self.groups[name]:
            if pattern.startswith("!"):
                found = {file: None for file in found if not fnmatch(file, pattern[1:])}
                continue
            found |= dict.fromkeys(_found(root, pattern, f"group '{name}'"))
        return list(found)

    def tests_of(self, root: Path, file: str) -> list[str]:
        """The tests that belong to a source file: the one of its name, and what is listed for it."""
        path = Path(file)
        mirrored = str(Path("tests", *path.parts[1:-1], f"test_{path.name}"))
        listed = {test for pattern, tests in self.tests.items() if fnmatch(file, pattern) for test in tests}
        found = dict.fromkeys([mirrored] if (root / mirrored).is_file() and mirrored not in listed else [])
        for pattern, tests in self.tests.items():
            if fnmatch(file, pattern):
                for test in tests:
                    found |= dict.fromkeys(_found(root, test, f"the tests of {pattern}"))
        if not found:
            raise SystemExit(f"no tests belong to {file}; name them in mutations.yaml")
        return list(found)


def _found(root: Path, pattern: str, what: str) -> list[str]:
    """The files of a pattern; one without wildcards has to be there."""
    found = sorted(str(path.relative_to(root)) for path in root.glob(pattern) if path.name != "__init__.py")
    if not found and not set("*?[").intersection(pattern):
        raise SystemExit(f"{what}: nothing is called {pattern}")
    return found


def read_settings(root: Path) -> Settings:
    found = yaml.safe_load((root / "tests" / "mutations.yaml").read_text())
    return Settings(found["copied"], found["preload"], found["tests"], found["groups"])


def read_known(root: Path) -> dict[Key, str]:
    """The reasons of the changes that change nothing."""
    known: dict[Key, str] = {}
    for one in yaml.safe_load((root / "tests" / "mutations_known.yaml").read_text()) or []:
        key = Key(one["file"], one["inside"] or "", " ".join(one["before"].split()), " ".join(one["after"].split()))
        if not str(one["why"]).strip():
            raise SystemExit(f"{key.file}: {key.before} -> {key.after}: no reason is given")
        known[key] = one["why"]
    return known


# The runs


def noticed(tree: Path, tests: list[str], limit: float, notes: Path | None = None) -> tuple[bool, str]:
    """Whether the tests, run in a process of their own until the first fails, find something; and which.

    Args:
        limit: seconds of a processor; on a busy machine ten times as long may pass.
        notes: where `reaching.Plugin` is to write what the tests reach.
    """
    log = tree / "log.txt"
    child = os.fork()
    if child == 0:
        _run_tests(tree, tests, log, limit, notes)
    ends = time.monotonic() + max(limit, min(10 * limit, 1800))
    try:
        while True:
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                break
            if time.monotonic() > ends:
                return True, f"no end in {limit:.0f} s"
            time.sleep(0.02)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(child, 0)
    text = log.read_text(errors="replace")
    code = os.waitstatus_to_exitcode(status)
    if code == -signal.SIGXCPU:
        return True, f"no end in {limit:.0f} s"
    if code == 5:
        raise SystemExit(f"{' '.join(tests)}: no test was found")
    found = re.search(r"^(?:FAILED|ERROR) (\S+)", text, re.MULTILINE)
    return code != 0, found[1] if found else text[-500:] if code else ""


def _run_tests(tree: Path, tests: list[str], log: Path, limit: float, notes: Path | None) -> None:
    """In a child: forked, so that what is large (torch) is imported once for all of them."""
    code = 70
    try:
        os.setsid()
        resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(limit), resource.RLIM_INFINITY))
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for stream in (1, 2):
            os.dup2(output, stream)
        sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__
        os.chdir(tree)
        sys.path.insert(0, str(tree))
        os.environ["PYTHONPATH"] = str(tree)
        import pytest

        plugins = [reaching.Plugin(notes, _known_notes())] if notes else []
        code = int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", *tests], plugins=plugins))
        sys.stdout.flush()
    finally:
        os._exit(code)


def _known_notes() -> set[tuple[str, int]]:
    found: set[tuple[str, int]] = set()
    builtins._reached_by_tests_ = found  # type: ignore[attr-defined]
    return found


def _copy(root: Path, settings: Settings, tree: Path) -> None:
    for name in settings.copied:
        source = root / name
        if source.is_dir():
            shutil.copytree(source, tree / name, ignore=shutil.ignore_patterns("__pycache__", "runs", ".*"))
        else:
            shutil.copy2(source, tree / name)


def _write(path: Path, text: str) -> None:
    """A module; the compiled one goes, since two changes within a second may have one size."""
    path.write_text(text)
    for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"):
        compiled.unlink()


def _reach(tree: Path, tests: dict[str, list[str]]) -> reaching.Reach:
    """Runs the tests of all files once, without any change: which reach what.

    Args:
        tests: by source file, the modules that belong to it.
    """
    sys.dont_write_bytecode = False  # for all that is not changed
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sources = {file: (tree / file).read_text() for file in tests}
    for file, source in sources.items():
        _write(tree / file, reaching.noted(source, file))
    modules = list(dict.fromkeys(test for own in tests.values() for test in own))
    found, which = noticed(tree, modules, 7200.0, tree / "notes.json")
    if found:
        raise SystemExit(f"{', '.join(tests)}: its tests fail without any change: {which}")
    for file, source in sources.items():
        _write(tree / file, source)
    return reaching.read(tree / "notes.json")


def _try_file(
    tree: Path, file: str, tests: list[str], chosen: list[Mutant], reach: reaching.Reach, alone: bool
) -> list[Mutant]:
    """Tries each; returns those that nobody noticed.

    Args:
        alone: tests that are not known to reach a change are not asked about it.
    """
    path = tree / file
    source = path.read_text()
    print(f"{file}: {len(chosen)} changes: {' '.join(tests)}", flush=True)
    sys.dont_write_bytecode = True
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    survivors = []
    for mutant in chosen:
        _write(path, mutant.make())
        near = reach.tests(file, tests, *mutant.statement)
        begun = time.monotonic()
        found, which = False, ""
        # The first few find most; to collect all takes longer than they do.
        for some in (near[:_FEW], near[_FEW:], [] if alone else tests):  # another process may reach it too
            if some and not found:
                found, which = noticed(tree, some, 60.0 + 5 * reach.together(some))
        if not found:
            survivors.append(mutant)
        word = f"noticed ({which})" if found else "SURVIVED"
        took = f"{time.monotonic() - begun:5.1f} s, {len(near):3} tests"
        print(f"  {took}  {mutant.line:4}  {mutant.kind}: {word}", flush=True)
        if not found:
            print(_described(mutant), flush=True)
    _write(path, source)
    return survivors


def _described(mutant: Mutant) -> str:
    key = mutant.key
    return f"{key.file}:{mutant.line} {key.inside}\n    before: {key.before}\n    after:  {key.after}"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", default=["sweep"], help="groups or source files (default: sweep)")
    parser.add_argument("--count", type=int, default=10, help="changes a file (default: 10)")
    parser.add_argument("--seed", type=int, default=0, help="which ones")
    parser.add_argument("--least", type=float, default=90.0, help="percent that must be noticed")
    parser.add_argument("--near", action="store_true", help="ask only tests that reach a change in their own process")
    parser.add_argument("--root", type=Path, default=ROOT, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    root = given.root.resolve()
    settings, known = read_settings(root), read_known(root)
    files = list(dict.fromkeys(file for name in given.names for file in settings.files(root, name)))
    tests = {file: settings.tests_of(root, file) for file in files}
    for module in settings.preload:
        importlib.import_module(module)
    tried: Counter[str] = Counter()
    drawn: dict[str, list[Mutant]] = {}
    survivors: list[Mutant] = []
    with tempfile.TemporaryDirectory(prefix="mutations-") as folder:
        tree = Path(folder)
        _copy(root, settings, tree)
        for file in files:
            possible = mutants(file, (root / file).read_text())
            gone = [key for key in known if key.file == file and key not in {mutant.key for mutant in possible}]
            for key in gone:
                print(f"{file}: mutations_known.yaml speaks of what is gone: {key.before} -> {key.after}")
            chosen = choose([mutant for mutant in possible if mutant.key not in known], given.count, given.seed)
            tried[file] = len(chosen)
            drawn[file] = chosen
        reach = _reach(tree, tests)
        for file, chosen in drawn.items():
            survivors += _try_file(tree, file, tests[file], chosen, reach, given.near)
    return _summary(tried, survivors, sum(key.file in tried for key in known), given.least)


def _summary(tried: Counter[str], survivors: list[Mutant], known: int, least: float) -> int:
    print()
    for mutant in survivors:
        print(_described(mutant))
    lost = Counter(mutant.key.file for mutant in survivors)
    for file, count in tried.items():
        print(f"{file}: {count - lost[file]} of {count}")
    count = sum(tried.values())
    share = 100 * (count - len(survivors)) / max(1, count)
    print(f"{count - len(survivors)} of {count} changes noticed, {share:.0f} % ({known} known to change nothing)")
    return int(share < least)


if __name__ == "__main__":
    sys.exit(main())
