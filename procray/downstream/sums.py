"""Makes `texts/mathematics.txt`: questions with worked answers, from a seed.

`python -m procray.downstream.sums` prints it. Python's own generator gives the same numbers in every version.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from random import Random

SEED = 20260101
QUESTIONS = 220
_NAMES = ("Ada", "Ben", "Cleo", "Dan", "Eva", "Finn", "Gita", "Hugo")
_THINGS = ("apples", "books", "coins", "cards", "pens", "shells", "stamps", "tickets")


def _sum(rng: Random) -> str:
    a, b = rng.randrange(100, 10_000), rng.randrange(100, 10_000)
    return f"What is {a} + {b}?\n{a} + {b} = {a + b}."


def _difference(rng: Random) -> str:
    a, b = rng.randrange(1000, 10_000), rng.randrange(100, 1000)
    return f"Work out {a} - {b}.\n{a} - {b} = {a - b}, since {a - b} + {b} = {a}."


def _product(rng: Random) -> str:
    a, tens, ones = rng.randrange(12, 100), rng.randrange(1, 10), rng.randrange(1, 10)
    b = 10 * tens + ones
    return (
        f"Multiply {a} by {b}.\n{a} * {b} = {a} * {10 * tens} + {a} * {ones} = {a * 10 * tens} + {a * ones} = {a * b}."
    )


def _quotient(rng: Random) -> str:
    b, q = rng.randrange(3, 30), rng.randrange(10, 200)
    r = rng.randrange(0, b)
    return (
        f"Divide {b * q + r} by {b}.\n{b * q + r} = {b} * {q} + {r}, so the quotient is {q} and the remainder is {r}."
    )


def _equation(rng: Random) -> str:
    a, b, x = rng.randrange(2, 12), rng.randrange(1, 50), rng.randrange(-20, 21)
    return f"Solve {a} x + {b} = {a * x + b} for x.\n{a} x = {a * x + b} - {b} = {a * x}, hence x = {x}."


def _quadratic(rng: Random) -> str:
    p, q = sorted((rng.randrange(1, 10), rng.randrange(1, 10)))
    return (
        f"Find the roots of x^2 - {p + q} x + {p * q}.\nIt factors into (x - {p}) (x - {q}), because {p} + {q} = "
        f"{p + q} and {p} * {q} = {p * q}. The roots are x = {p} and x = {q}."
    )


def _derivative(rng: Random) -> str:
    a, b, c, n = rng.randrange(2, 10), rng.randrange(2, 10), rng.randrange(1, 20), rng.randrange(3, 7)
    return (
        f"Let f(x) = {a} x^{n} - {b} x^2 + {c}. What is f'(x)?\nf'(x) = {a * n} x^{n - 1} - {2 * b} x, "
        f"so f'(1) = {a * n - 2 * b}."
    )


def _fraction(rng: Random) -> str:
    a, b, c, d = (rng.randrange(1, 10), rng.randrange(2, 13), rng.randrange(1, 10), rng.randrange(2, 13))
    total = Fraction(a, b) + Fraction(c, d)
    return f"Add {a}/{b} and {c}/{d}.\n{a}/{b} + {c}/{d} = ({a * d} + {c * b})/{b * d} = {total}."


def _divisor(rng: Random) -> str:
    common = rng.randrange(2, 15)
    a, b = common * rng.randrange(2, 30), common * rng.randrange(2, 30)
    steps, x, y = [], max(a, b), min(a, b)
    while y:
        steps.append(f"{x} = {x // y} * {y} + {x % y}")
        x, y = y, x % y
    return (
        f"What is the greatest common divisor of {a} and {b}?\n{'; '.join(steps)}. So gcd({a}, {b}) = {math.gcd(a, b)}."
    )


def _story(rng: Random) -> str:
    one, other = rng.sample(_NAMES, 2)
    thing, a, b, c = rng.choice(_THINGS), rng.randrange(10, 60), rng.randrange(2, 9), rng.randrange(2, 9)
    return (
        f"{one} has {a} {thing} and gives {b} of them to {other}, who had {c}. How many {thing} has each now?\n"
        f"{one} has {a} - {b} = {a - b} and {other} has {c} + {b} = {c + b}."
    )


KINDS: tuple[Callable[[Random], str], ...] = (
    _sum, _difference, _product, _quotient, _equation, _quadratic, _derivative, _fraction, _divisor, _story,
)  # fmt: skip


def text() -> str:
    """All questions, each with its answer on the next line, blank lines between."""
    rng = Random(SEED)
    return "\n\n".join(KINDS[rng.randrange(len(KINDS))](rng) for _ in range(QUESTIONS)) + "\n"


if __name__ == "__main__":
    print(text(), end="")
