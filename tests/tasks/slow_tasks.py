"""The tasks once more, one sequence at a time in plain Python: slow, and meant to be read.

Tasks with an answer are written as the answer to an input. Tasks whose sequences grow by chance are
written as `*_choices(prefix, ...) -> {next token: probability}`, from which follows the exact
probability of every sequence.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator

from slow_families import SLOW_FAMILIES


# -- answers ---------------------------------------------------------------------------------------
def distinct(x: list[int]) -> list[int]:
    found: list[int] = []
    for symbol in x:
        if symbol not in found:
            found.append(symbol)
    return found


def without_first(x: list[int], removed: int) -> list[int]:
    rest = list(x)
    if removed in rest:
        rest.remove(removed)
    return rest


def replayed(operations: list[int]) -> list[int]:
    """The stack after the operations, from top to bottom."""
    stack: list[int] = []
    for operation in operations:
        if operation == 0:
            stack.pop()
        else:
            assert operation not in stack
            stack.append(operation)
    return stack[::-1]


def updated(cells: list[int], rule: int) -> list[int]:
    """The next state of a ring of cells."""
    digits = f"{rule:08b}"
    following = []
    for i in range(len(cells)):
        left, centre, right = cells[i - 1], cells[i], cells[(i + 1) % len(cells)]
        following.append(int(digits[7 - (4 * left + 2 * centre + right)]))
    return following


# -- chances ---------------------------------------------------------------------------------------
Chances = dict[int, float]


def stack_choices(prefix: list[int], length: int, vocab: int) -> Chances:
    i, stack = len(prefix), replayed(prefix)
    absent = [symbol for symbol in range(1, vocab) if symbol not in stack]
    if i == length - 1 and len(stack) > 1:
        push = 0.0
    elif len(stack) <= 1:
        push = 1.0
    elif i < int(2 * length / 3):
        push = 0.75
    else:
        push = 0.25
    if not absent:
        push = 0.0
    chances = {symbol: push / len(absent) for symbol in absent}
    chances[0] = 1 - push
    return {token: chance for token, chance in chances.items() if chance}


def dyck_choices(prefix: list[int], length: int, k: int, p_open: float) -> Chances:
    stack: list[int] = []
    for token in prefix:
        if token < k:
            stack.append(token)
        else:
            assert stack.pop() == token - k
    remaining = length - len(prefix)
    if not stack:
        chance = 1.0
    elif remaining <= len(stack):
        chance = 0.0
    else:
        chance = p_open if len(stack) < remaining - 1 else 0.0
    chances = dict.fromkeys(range(k), chance / k)
    if stack:
        chances[stack[-1] + k] = 1 - chance
    return {token: chance for token, chance in chances.items() if chance}


def dyck_shuffle_choices(prefix: list[int], length: int, k: int, p_open: float, max_depth: int) -> Chances:
    counts = Counter[int]()
    for token in prefix:
        counts[token % k] += 1 if token < k else -1
        assert counts[token % k] >= 0
    opened = [kind for kind in range(k) if counts[kind]]
    total = sum(counts.values())
    if total == 0:
        chance = 1.0
    elif total >= max_depth:
        chance = 0.0
    else:
        chance = p_open
    chances = dict.fromkeys(range(k), chance / k)
    for kind in opened:
        chances[kind + k] = (1 - chance) / len(opened)
    return {token: chance for token, chance in chances.items() if chance}


Choices = Callable[[list[int]], Chances]


def every_sequence(
    length: int, choices: Choices, prefix: tuple[int, ...] = ()
) -> Iterator[tuple[tuple[int, ...], float]]:
    """All sequences that are possible, with their probabilities."""
    if len(prefix) == length:
        yield prefix, 1.0
        return
    for token, chance in choices(list(prefix)).items():
        for sequence, rest in every_sequence(length, choices, (*prefix, token)):
            yield sequence, chance * rest


# -- whole sequences, without padding ----------------------------------------------------------------
def symbols(rng: random.Random, length: int, vocab: int) -> list[int]:
    return [rng.randrange(1, vocab) for _ in range(length)]


def identity(rng: random.Random, length: int, vocab: int) -> list[int]:
    x = symbols(rng, length, vocab)
    return [*x, vocab, *x]


def reverse(rng: random.Random, length: int, vocab: int) -> list[int]:
    x = symbols(rng, length, vocab)
    return [*x, vocab, *x[::-1]]


def sort(rng: random.Random, length: int, vocab: int) -> list[int]:
    x = symbols(rng, length, vocab)
    return [*x, vocab, *sorted(x)]


def set_(rng: random.Random, length: int, vocab: int) -> list[int]:
    x = symbols(rng, length, vocab)
    return [*x, vocab, *distinct(x)]


def union(rng: random.Random, length: int, vocab: int) -> list[int]:
    a, b = symbols(rng, length // 2, vocab), symbols(rng, length // 2, vocab)
    return [*a, vocab, *b, vocab, *distinct(a + b)]


def delete(rng: random.Random, length: int, vocab: int) -> list[int]:
    x, removed = symbols(rng, length, vocab), rng.randrange(1, vocab)
    return [*x, vocab, removed, vocab, *without_first(x, removed)]


def stack(rng: random.Random, length: int, vocab: int) -> list[int]:
    """The rule of `stack_choices` with the stack carried along, so that a sequence takes linear time."""
    operations: list[int] = []
    held: list[int] = []
    for i in range(length):
        likely = 0.75 if i < int(2 * length / 3) else 0.25
        push = len(held) <= 1 or (i < length - 1 and len(held) < vocab - 1 and rng.random() < likely)
        if push:
            symbol = rng.randrange(1, vocab)
            while symbol in held:
                symbol = rng.randrange(1, vocab)
            held.append(symbol)
            operations.append(symbol)
        else:
            held.pop()
            operations.append(0)
    return [*operations, vocab, *held[::-1]]


def dyck(rng: random.Random, length: int, k: int, p_open: float) -> list[int]:
    """The rule of `dyck_choices` with the stack carried along, so that a word takes linear time."""
    tokens: list[int] = []
    opened: list[int] = []
    for i in range(length):
        if not opened or (length - i > len(opened) and rng.random() < p_open):
            opened.append(rng.randrange(k))
            tokens.append(opened[-1])
        else:
            tokens.append(opened.pop() + k)
    return tokens


def dyck_shuffle(rng: random.Random, length: int, k: int, p_open: float, max_depth: int) -> list[int]:
    """The rule of `dyck_shuffle_choices` with the counts carried along."""
    tokens: list[int] = []
    counts: dict[int, int] = {}
    total = 0
    for _ in range(length):
        if total == 0 or (total < max_depth and rng.random() < p_open):
            kind = rng.randrange(k)
            counts[kind] = counts.get(kind, 0) + 1
            tokens.append(kind)
            total += 1
        else:
            kind = rng.choice(list(counts))
            counts[kind] -= 1
            if not counts[kind]:
                del counts[kind]
            tokens.append(kind + k)
            total -= 1
    return tokens


def eca_tokens(rng: random.Random, length: int, rule: int) -> list[int]:
    cells = [rng.randrange(2) for _ in range(length)]
    return [*cells, 2, *updated(cells, rule)]


def eca_rows(rng: random.Random, length: int, rule: int, width: int) -> list[list[int]]:
    cells = [rng.randrange(2) for _ in range(1000)]
    start, place = rng.randrange(1000 - length + 1), rng.randrange(1000)
    rows = []
    for time in range(start + length + 1):
        if time >= start:
            rows.append([cells[(place + i) % 1000] for i in range(width)])
        cells = updated(cells, rule)
    return rows


def haystack(rng: random.Random, pairs: int) -> list[int]:
    keys = rng.sample(range(pairs), rng.randrange(1, pairs + 1))
    values = [rng.randrange(1, 128) for _ in keys]
    asked = rng.randrange(len(keys))
    tokens = [token for key, value in zip(keys, values, strict=True) for token in (128 + key, value)]
    return [*tokens, 128 + pairs + keys[asked], values[asked]]


def calculated(a: int, b: int, sign: str, room: int, backwards: bool = False) -> list[int]:
    """`a sign b = result stop`, padded to `room` tokens."""
    result = a * b if sign == "*" else a + b
    turn = -1 if backwards else 1
    problem = [*map(int, str(a)[::turn]), 10, *map(int, str(b)[::turn]), 11]
    sequence = [*problem, *(20 + int(digit) for digit in str(result)[::turn]), 30]
    return sequence + [12] * (room - len(sequence))


def number(rng: random.Random, digits: int) -> int:
    return rng.randint(10 ** (digits - 1), 10**digits - 1)


def addition(rng: random.Random, digits: int, mask: str) -> list[int]:
    return calculated(number(rng, digits), number(rng, digits), "+", 3 * digits + 4)


def reversed_addition(rng: random.Random, digits: int, mask: str) -> list[int]:
    return calculated(number(rng, digits), number(rng, digits), "+", 3 * digits + 4, backwards=True)


def multiplication(rng: random.Random, digits: int, mask: str) -> list[int]:
    return calculated(number(rng, digits), number(rng, digits), "*", 5 * digits + 4)


def sorting(rng: random.Random, numbers: int, values: int) -> list[int]:
    x = [rng.randrange(values) for _ in range(numbers)]
    return [*x, 2 * values, *(values + n for n in sorted(x))]


SLOW: dict[str, Callable[..., list]] = {
    "identity": identity,
    "reverse": reverse,
    "sort": sort,
    "set": set_,
    "union": union,
    "delete": delete,
    "stack": stack,
    "dyck": dyck,
    "dyck_shuffle": dyck_shuffle,
    "eca_rows": eca_rows,
    "eca_tokens": eca_tokens,
    **SLOW_FAMILIES,
    "haystack": haystack,
    "addition": addition,
    "reversed_addition": reversed_addition,
    "multiplication": multiplication,
    "sorting": sorting,
}
