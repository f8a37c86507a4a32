"""Which tests reach which statements of a source file, so that `mutations.py` tries only those, the quickest first.

The files of a copied tree are written with a note before every statement of a function, and the tests run once. Only
what runs in the process of the tests is known.
"""

from __future__ import annotations

import ast
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

_HEAD = "import builtins as _builtins_\n_reached_ = getattr(_builtins_, '_reached_by_tests_', set()).add\n"


def noted(source: str, file: str) -> str:
    """The module with a note before every statement of its functions, by the line that it has in `source`."""
    tree = ast.parse(source)
    for function in ast.walk(tree):
        if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)):
            for node in [function, *_inside(function)]:
                for name in ("body", "orelse", "finalbody"):
                    body = getattr(node, name, None)
                    if isinstance(body, list) and body and isinstance(body[0], ast.stmt):
                        setattr(node, name, [one for statement in body for one in (_note(file, statement), statement)])
    at = next((i for i, one in enumerate(tree.body) if not _comes_first(one)), len(tree.body))
    tree.body[at:at] = ast.parse(_HEAD).body
    return ast.unparse(ast.fix_missing_locations(tree)) + "\n"


def _inside(function: ast.AST) -> Iterator[ast.AST]:
    """What stands in a function, without what stands in functions within it: these are visited by themselves."""
    for child in ast.iter_child_nodes(function):
        if not isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield child
            yield from _inside(child)


def _note(file: str, statement: ast.stmt) -> ast.stmt:
    (note,) = ast.parse(f"_reached_(({file!r}, {statement.lineno}))").body
    return note


def _comes_first(statement: ast.stmt) -> bool:
    """A docstring, or an import of what is to come."""
    if isinstance(statement, ast.Expr):
        return isinstance(statement.value, ast.Constant)
    return isinstance(statement, ast.ImportFrom) and statement.module == "__future__"


@dataclass(frozen=True)
class Reach:
    """What a run found: by test, the seconds that it takes, and the lines it reaches of every file."""

    seconds: dict[str, float]
    lines: dict[str, dict[str, set[int]]]

    def tests(self, file: str, among: list[str], first: int, last: int) -> list[str]:
        """The tests of some modules that reach a statement between two lines, the quickest first.

        Of what is outside of functions (line 0) those that reach anything of the file.
        """
        own = {test: lines[file] for test, lines in self.lines.items() if file in lines and _module(test) in among}
        there = [test for test, lines in own.items() if not first or any(first <= line <= last for line in lines)]
        return sorted(there, key=lambda test: self.seconds[test])

    def together(self, tests: list[str]) -> float:
        """The seconds of some tests, or of all tests of some modules."""
        return sum(took for test, took in self.seconds.items() if test in tests or _module(test) in tests)


def _module(test: str) -> str:
    return test.partition("::")[0]


class Plugin:
    """Of pytest: writes what every test reaches, also through fixtures that another one has set up."""

    def __init__(self, path: Path, notes: set[tuple[str, int]]) -> None:
        self.path, self.notes = path, notes
        self.tests: dict[str, dict[str, Any]] = {}
        self.fixtures: dict[str, set[tuple[str, int]]] = {}

    @pytest.hookimpl(hookwrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any, request: Any) -> Iterator[None]:
        before = set(self.notes)
        self.notes.clear()
        yield
        if fixturedef.scope != "function":
            self.fixtures.setdefault(f"{fixturedef.baseid}::{fixturedef.argname}", set()).update(self.notes)
        self.notes |= before

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_protocol(self, item: Any, nextitem: Any) -> Iterator[None]:
        self.notes.clear()
        begun = time.process_time()
        yield
        found = set(self.notes)
        for definitions in getattr(item, "_fixtureinfo").name2fixturedefs.values():  # noqa: B009
            for one in definitions:
                found |= self.fixtures.get(f"{one.baseid}::{one.argname}", set())
        self.tests[item.nodeid] = {"seconds": time.process_time() - begun, "lines": sorted(found)}

    def pytest_sessionfinish(self) -> None:
        self.path.write_text(json.dumps(self.tests))


def read(path: Path) -> Reach:
    """What the plugin has written."""
    found = json.loads(path.read_text())
    lines: dict[str, dict[str, set[int]]] = {}
    for test, one in found.items():
        own = lines.setdefault(test, {})
        for file, line in one["lines"]:
            own.setdefault(file, set()).add(line)
    return Reach({test: one["seconds"] for test, one in found.items()}, lines)
