"""Which small changes of a source file there are, and which of them are drawn."""

from __future__ import annotations

import ast
import contextlib
import copy
import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

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
