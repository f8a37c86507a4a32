"""The house stands: imports go down its floors and never round in circles, and no file grows without a reason.

Read from the source, so that imports inside functions and under TYPE_CHECKING count like any other. The `__init__.py`
of a folder counts where something is imported from it, not on the way to its files. A new room needs its floor below.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import procray

# The floors of a folder from the ground up, each with its rooms: folders, or single files. Rooms on one floor do not
# import each other, except that files may import files. `.` is the room of all other files directly in the folder.
HOUSE: dict[str, tuple[tuple[str, ...], ...]] = {
    "procray": (
        (
            "batch.py",
            "ragged.py",
            "children.py",
            "errors.py",
            "files.py",
            "garbage.py",
            "links.py",
            "modes.py",
            "palette.py",
            "records.py",
            "redaction.py",
            "visible.py",
        ),
        ("tasks", "corpora", "model"),
        ("training",),
        ("downstream",),  # what models can do, beside their loss
        ("spec",),
        ("planning",),
        ("store",),
        ("selection",),  # what needs a plan and a store together
        ("tracking", "execution"),
        ("report",),
        ("__init__.py",),  # the Python interface
        ("cli",),
        ("__main__.py",),  # `python -m procray`
    ),
    "procray/report": (("numbers",), ("figures",), ("page",), (".",)),
}
# A library, and the folders that may import it. The floors up to training run on machines that have none of these.
LIBRARIES = {
    "ray": ("procray/execution",),
    "mlflow": ("procray/tracking",),
    "lm_eval": ("procray/downstream",),
    "typer": ("procray/cli",),
    "rich": ("procray/cli",),
    "pydantic": ("procray/spec", "procray/planning"),
}
LINES = 450
REASON = "Long because"  # in the docstring of a file that is longer


@dataclass(frozen=True)
class Import:
    """One import of a file: of another file of the package (a path such as `procray/files.py`) or of a library."""

    line: int
    target: str


House = dict[str, list[Import]]


def read(root: Path) -> House:
    """Every file of a package, by its path as written from the package's parent, with what it imports."""
    paths = sorted(root.rglob("*.py"))
    names = {path.relative_to(root.parent).as_posix() for path in paths}
    return {
        name: sorted(set(_imports(root.parent, name, names)), key=lambda one: (one.line, one.target))
        for name in sorted(names)
    }


def _imports(parent: Path, name: str, names: set[str]) -> Iterator[Import]:
    for node in ast.walk(ast.parse((parent / name).read_text(encoding="utf-8"))):
        match node:
            case ast.Import(names=aliases):
                wanted = [(alias.name, None) for alias in aliases]
            case ast.ImportFrom(module=module, names=aliases, level=level):
                near = name.split("/")[:-level] if level else []
                wanted = [(".".join([*near, *([module] if module else [])]), alias.name) for alias in aliases]
            case ast.Call(func=ast.Name("import_module") | ast.Attribute(attr="import_module"), args=[first, *_]):
                wanted = [(first.value, None)] if isinstance(first, ast.Constant) else []
            case _:
                continue
        for module, member in wanted:
            if target := _file(module, member, names):
                yield Import(node.lineno, target)
            elif module.split(".")[0] == name.split("/")[0]:
                raise AssertionError(f"{name}:{node.lineno} imports {module}, which is not there")
            else:
                yield Import(node.lineno, module.split(".")[0])


def _file(module: str, member: str | None, names: set[str]) -> str | None:
    """The file that an import reads: of `from a import b` that of `a.b` where it is one, else that of `a`."""
    for dotted in ([f"{module}.{member}"] if member else []) + [module]:
        path = dotted.replace(".", "/")
        for candidate in (f"{path}.py", f"{path}/__init__.py"):
            if candidate in names:
                return candidate
    return None


def floor(path: str, folder: str, floors: tuple[tuple[str, ...], ...]) -> tuple[int, str] | None:
    """On which floor of a folder a file stands, and in which of the floor's rooms; None where it has no place."""
    room = path.removeprefix(f"{folder}/").split("/")[0]
    for number, rooms in enumerate(floors):
        if room in rooms:
            return number, room
    own = path.count("/") == folder.count("/") + 1
    return next(((number, ".") for number, rooms in enumerate(floors) if own and "." in rooms), None)


def upward(house: House, floors: dict[str, tuple[tuple[str, ...], ...]]) -> list[str]:
    """Files without a floor, and imports that do not go down."""
    wrong = []
    for folder, own in floors.items():
        members = [path for path in house if path.startswith(f"{folder}/")]
        for path in members:
            here = floor(path, folder, own)
            if here is None:
                wrong.append(f"{path} stands on no floor of {folder}/")
                continue
            for one in house[path]:
                there = floor(one.target, folder, own) if one.target in members else None
                if there is None or there[0] < here[0] or there[1] == here[1]:
                    continue
                if there[0] > here[0]:
                    wrong.append(f"{path}:{one.line} imports {one.target}, which stands above it")
                elif not (there[1].endswith(".py") and here[1].endswith(".py")):
                    wrong.append(f"{path}:{one.line} imports {one.target}, which stands beside it")
    return wrong


def strangers(house: House, libraries: dict[str, tuple[str, ...]]) -> list[str]:
    """Imports of a library outside of the rooms that it belongs to."""
    return [
        f"{path}:{one.line} imports {one.target}, which belongs in {' and '.join(libraries[one.target])}"
        for path, imports in house.items()
        for one in imports
        if one.target in libraries and not any(path.startswith(f"{room}/") for room in libraries[one.target])
    ]


def circles(house: House) -> list[str]:
    """Sets of files each of which reaches all others by imports, each with the imports that hold it together."""
    reached = {path: _reach(path, house) for path in house}
    found: dict[frozenset[str], list[str]] = {}
    for path in house:
        circle = frozenset(other for other in reached[path] if path in reached[other])
        if circle:
            found.setdefault(circle, []).extend(
                f"{path}:{one.line} imports {one.target}" for one in house[path] if one.target in circle
            )
    return ["\n  ".join(["a circle:", *edges]) for edges in found.values()]


def _reach(path: str, house: House) -> set[str]:
    seen: set[str] = set()
    left = [path]
    while left:
        for one in house[left.pop()]:
            if one.target in house and one.target not in seen:
                seen.add(one.target)
                left.append(one.target)
    return seen


def long(root: Path) -> list[str]:
    """Files with more lines than a file should have and no reason in their first docstring."""
    wrong = []
    for path in sorted(root.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        lines = len(text.splitlines())
        if lines > LINES and REASON not in (ast.get_docstring(ast.parse(text)) or ""):
            wrong.append(f"{path.relative_to(root.parent)} has {lines} lines and no '{REASON} ...' in its docstring")
    return wrong


ROOT = Path(procray.__file__).parent


@pytest.fixture(scope="module")
def house() -> House:
    return read(ROOT)


def test_imports_go_down_only(house):
    wrong = upward(house, HOUSE)
    assert not wrong, "\n".join(wrong)


def test_libraries_stay_in_their_rooms(house):
    wrong = strangers(house, LIBRARIES)
    assert not wrong, "\n".join(wrong)
    used = {one.target for imports in house.values() for one in imports}
    assert set(LIBRARIES) <= used


def test_no_imports_go_round_in_circles(house):
    wrong = circles(house)
    assert not wrong, "\n".join(wrong)


def test_no_file_is_long_without_a_reason():
    wrong = long(ROOT)
    assert not wrong, "\n".join(wrong)


CROOKED = {
    "__init__.py": "",
    "words.py": "import ray.data\nfrom tiny.ink import black\n",
    "ink.py": "",
    "ground/__init__.py": "",
    "ground/a.py": "def late():\n    from tiny.ground import b\n",
    "ground/b.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .c import name\n",
    "ground/c.py": "from tiny.ground.a import late\nimport tiny.words\n",
    "cellar/__init__.py": "from importlib import import_module\nimport_module('tiny.top.show')\n",
    "beside/d.py": "import rich\nfrom tiny import cellar\nfrom . import e\nfrom tiny import ground\n",
    "beside/e.py": "",
    "top/__init__.py": "import ray\nfrom tiny.top.show.g import show\n",
    "top/show/__init__.py": "",
    "top/show/g.py": "from tiny.top.count import f\nfrom tiny.words import black\n",
    "top/count/f.py": "import tiny.top.show.g as g\n",
    "attic/x.py": "",
}
TINY = {
    "tiny": (("ink.py", "words.py"), ("cellar", "beside"), ("ground",), ("top",), ("__init__.py",)),
    "tiny/top": (("count",), ("show",), (".",)),
}


@pytest.fixture
def tiny(tmp_path):
    for name, text in CROOKED.items():
        path = tmp_path / "tiny" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "tiny"


def test_a_crooked_house_is_seen(tiny):
    house = read(tiny)
    assert upward(house, TINY) == [
        "tiny/attic/x.py stands on no floor of tiny/",
        "tiny/beside/d.py:2 imports tiny/cellar/__init__.py, which stands beside it",
        "tiny/beside/d.py:4 imports tiny/ground/__init__.py, which stands above it",
        "tiny/cellar/__init__.py:2 imports tiny/top/show/__init__.py, which stands above it",
        "tiny/top/count/f.py:1 imports tiny/top/show/g.py, which stands above it",
    ]
    assert strangers(house, {"ray": ("tiny/top",), "rich": ("tiny/top", "tiny/ground")}) == [
        "tiny/beside/d.py:1 imports rich, which belongs in tiny/top and tiny/ground",
        "tiny/words.py:1 imports ray, which belongs in tiny/top",
    ]
    assert circles(house) == [
        "a circle:\n  tiny/ground/a.py:2 imports tiny/ground/b.py\n  tiny/ground/b.py:3 imports tiny/ground/c.py"
        "\n  tiny/ground/c.py:1 imports tiny/ground/a.py",
        "a circle:\n  tiny/top/count/f.py:1 imports tiny/top/show/g.py"
        "\n  tiny/top/show/g.py:1 imports tiny/top/count/f.py",
    ]


def test_an_import_of_what_is_gone_is_seen(tiny):
    (tiny / "ink.py").write_text("from tinier import x\nfrom tiny.attic.y import z\n")
    with pytest.raises(AssertionError, match=r"tiny/ink\.py:2 imports tiny\.attic\.y"):
        read(tiny)


def test_a_long_file_needs_its_reason(tiny):
    (tiny / "ink.py").write_text("x = 1\n" * LINES)
    (tiny / "words.py").write_text('"""Words.\n\nLong because they are all here."""\n' + "x = 1\n" * LINES)
    assert long(tiny) == []
    (tiny / "ink.py").write_text('"""Ink."""\n' + "x = 1  # Long because\n" * LINES)
    assert long(tiny) == ["tiny/ink.py has 451 lines and no 'Long because ...' in its docstring"]
