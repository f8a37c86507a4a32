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
import ast
import builtins
import contextlib
import copy
import hashlib
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
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import reaching
import yaml

ROOT = Path(__file__).parents[1]
_FEW = 12  # tests

_OPPOSITES: dict[type, tuple[type, ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
_OPERATORS: dict[type, type] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
}
_FUNCTIONS = {"min": "max", "max": "min", "any": "all", "all": "any"}
_TEXT = (ast.JoinedStr, ast.List, ast.Tuple, ast.ListComp)
_BARE = (ast.Name, ast.Attribute, ast.Call, ast.Subscript, ast.NamedExpr)


@dataclass(frozen=True)
class Key:
    """One change: where, and the statement (of a compound one its head) before and after."""

    file: str
    inside: str  # the function or class, dotted; empty at the module's level
    before: str
    after: str


@dataclass(frozen=True)
class Mutant:
    key: Key
    line: int
    kind: str
    statement: tuple[int, int]  # its first line, twice; of a function's head both ends; (0, 0) outside of functions
    make: Callable[[], str] = field(compare=False)  # the module's text with the change

    def rank(self, seed: int) -> str:
        """A draw that stays when other code of the file changes."""
        key = self.key
        return hashlib.sha256(f"{seed}|{key.file}|{key.inside}|{key.before}|{key.after}".encode()).hexdigest()


def mutants(file: str, source: str) -> list[Mutant]:
    """Every change that is known here, in the order of the source."""
    tree = ast.parse(source)
    found: dict[Key, Mutant] = {}
    for slot in _slots(tree, "", None):
        for kind, new in _changes(slot):
            mutant = _mutant(file, tree, slot, kind, new)
            if mutant.key.before != mutant.key.after:
                found.setdefault(mutant.key, mutant)
    return list(found.values())


def choose(all_of_file: list[Mutant], count: int, seed: int) -> list[Mutant]:
    """`count` of them: of each kind in turn, and of another statement as long as there is one."""
    kinds: dict[str, list[Mutant]] = defaultdict(list)
    for mutant in sorted(all_of_file, key=lambda mutant: mutant.rank(seed)):
        kinds[mutant.kind].append(mutant)
    order = sorted(kinds.values(), key=lambda group: group[0].rank(seed))
    rounds = [group[n] for n in range(max(map(len, order), default=0)) for group in order if n < len(group)]
    first: dict[tuple[str, str], Mutant] = {}
    for mutant in rounds:
        first.setdefault((mutant.key.inside, mutant.key.before), mutant)
    chosen = [*first.values(), *(mutant for mutant in rounds if mutant not in first.values())][:count]
    return sorted(chosen, key=lambda mutant: mutant.line)


# The changes


@dataclass
class _Slot:
    """Where a node hangs: `holder[key]` is the node."""

    holder: Any
    key: Any
    name: str  # of the field
    node: ast.AST
    statement: ast.stmt
    inside: str
    function: str  # the innermost, empty outside of all


def _slots(node: ast.AST, inside: str, statement: ast.stmt | None, function: str = "") -> Iterator[_Slot]:
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "ctx"):
            continue
        held = enumerate(value) if isinstance(value, list) else [(name, value)]
        for key, child in list(held):
            if not isinstance(child, ast.AST) or _is_no_behaviour(child):
                continue
            own = child if isinstance(child, ast.stmt) else statement
            here, innermost = inside, function
            if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                here = f"{inside}.{child.name}".lstrip(".")
                innermost = "" if isinstance(child, ast.ClassDef) else child.name
            if own is not None:
                holder = value if isinstance(value, list) else vars(node)
                yield _Slot(holder, key, name, child, own, here, innermost)
            yield from _slots(child, here, own, innermost)


def _is_no_behaviour(node: ast.AST) -> bool:
    """Assertions hold anyway, what only type checkers read is never run, and a docstring is words."""
    if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
        return True
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return True
    return isinstance(node, ast.Assert)


def _changes(slot: _Slot) -> Iterator[tuple[str, ast.AST]]:
    node = slot.node
    if isinstance(node, ast.Compare):
        for at, operator in enumerate(node.ops):
            for other in _OPPOSITES[type(operator)]:
                yield "comparison", _with(node, ops=[*node.ops[:at], other(), *node.ops[at + 1 :]])
    elif isinstance(node, ast.BoolOp):
        yield "and/or", _with(node, op=ast.Or() if isinstance(node.op, ast.And) else ast.And())
    elif isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        if not any(isinstance(side, _TEXT) or _is_word(side) for side in (node.left, node.right)):
            yield "arithmetic", _with(node, op=_OPERATORS[type(node.op)]())
    elif isinstance(node, ast.AugAssign) and type(node.op) in _OPERATORS:
        if not isinstance(node.value, _TEXT) and not _is_word(node.value):
            yield "arithmetic", _with(node, op=_OPERATORS[type(node.op)]())
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield "constant", ast.Constant(not node.value)
    elif isinstance(node, ast.Constant) and isinstance(node.value, (int, float)):
        yield "constant", ast.Constant(node.value + 1)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield "not", node.operand
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _FUNCTIONS:
        yield "function", _with(node, func=ast.Name(_FUNCTIONS[node.func.id], ast.Load()))
    elif isinstance(node, ast.Return) and node.value is not None and not _is_nothing(node.value):
        yield "return", _with(node, value=ast.Constant(None))
    if slot.name in ("test", "ifs") and isinstance(node, _BARE):
        yield "not", ast.UnaryOp(ast.Not(), node)
    if slot.function and _can_go(node, slot.function):
        yield "statement", ast.Pass()


def _can_go(node: ast.AST, function: str) -> bool:
    """Statements without which the rest still runs."""
    if isinstance(node, (ast.Raise, ast.Continue, ast.Break, ast.Delete, ast.AugAssign)):
        return True
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Call)
    if isinstance(node, ast.Assign) and function != "__init__":
        return all(isinstance(target, (ast.Attribute, ast.Subscript)) for target in node.targets)
    return False


def _with(node: ast.AST, **fields: Any) -> Any:
    other = copy.copy(node)
    for name, value in fields.items():
        setattr(other, name, value)
    return other


def _is_word(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _is_nothing(node: ast.AST) -> bool:
    """Who asks whether, takes None and False for the same."""
    return isinstance(node, ast.Constant) and (node.value is None or node.value is False)


def _mutant(file: str, tree: ast.Module, slot: _Slot, kind: str, new: ast.AST) -> Mutant:
    with _changed(slot, new):
        after = _head(new if slot.node is slot.statement else slot.statement)

    def make() -> str:
        with _changed(slot, new):
            return ast.unparse(ast.fix_missing_locations(tree)) + "\n"

    line = getattr(slot.node, "lineno", slot.statement.lineno)
    return Mutant(Key(file, slot.inside, _head(slot.statement), after), line, kind, _lines(slot), make)


def _lines(slot: _Slot) -> tuple[int, int]:
    first = slot.statement.lineno
    if isinstance(slot.statement, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return first, slot.statement.end_lineno or first
    return (first, first) if slot.function else (0, 0)


@contextlib.contextmanager
def _changed(slot: _Slot, new: ast.AST) -> Iterator[None]:
    slot.holder[slot.key] = new
    try:
        yield
    finally:
        slot.holder[slot.key] = slot.node


def _head(node: ast.AST) -> str:
    """A statement in one line; of a compound one what stands before its body."""
    bare = copy.copy(node)
    for name in ("orelse", "finalbody", "handlers", "decorator_list"):
        if hasattr(bare, name) and isinstance(node, ast.stmt):
            setattr(bare, name, [])
    if isinstance(getattr(bare, "body", None), list):
        bare.body = [ast.Pass()]  # type: ignore[attr-defined]
    text = ast.unparse(ast.fix_missing_locations(bare))
    return " ".join(text.removesuffix("\n    pass").split())


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
