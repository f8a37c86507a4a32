"""What the probes ask for, read back from the tokens one by one in plain Python: slow, and easy to check by eye.

Each function gets a row of tokens up to the one that is asked for, and says which it is.
"""

from __future__ import annotations

from procray.downstream.probes.hops import NAMES, SOLVED


def retrieved(seen: list[int]) -> int:
    """Finds the longest end of what was seen that stood before, and says what came after it; -1: no end."""
    for length in range(len(seen) - 1, 0, -1):
        end = seen[-length:]
        for start in range(len(seen) - length - 1, -1, -1):
            if seen[start : start + length] == end:
                return seen[start + length]
    return -1


def hopped(seen: list[int]) -> int:
    """Reads the ring and, from the first solved example, how many steps are asked for."""
    after = {seen[3 * pair]: seen[3 * pair + 1] for pair in range(NAMES)}
    asked, answer = seen[3 * NAMES : 3 * NAMES + 2]
    steps, name = 1, after[asked]
    while name != answer:
        steps, name = steps + 1, after[name]
    for example in range(SOLVED):  # all of them are about as many steps
        asked, answer = seen[3 * (NAMES + example) :][:2]
        assert walked(after, asked, steps) == answer
    return walked(after, seen[-1], steps)


def walked(after: dict[int, int], name: int, steps: int) -> int:
    for _ in range(steps):
        name = after[name]
    return name


def closed(seen: list[int], pairs: dict[int, int]) -> int:
    """The bracket that closes what was opened last and is open still; `pairs` has it by the opening one."""
    open_ = []
    for token in seen:
        if token in pairs:
            open_.append(pairs[token])
        elif open_ and token == open_[-1]:
            open_.pop()
    return open_[-1]
