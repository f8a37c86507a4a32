"""Slow references of later task families, as `slow_tasks.py`, which takes them over for its table."""

from __future__ import annotations

import gzip
import math
import random
from collections.abc import Callable
from typing import Any

from procray.tasks.lime import WORDS
from procray.tasks.rnn import Rnn


# -- queue ------------------------------------------------------------------------------------------
def queued(operations: list[int]) -> list[int]:
    """The queue after the operations, from front to back."""
    line: list[int] = []
    for operation in operations:
        if operation == 0:
            line.pop(0)
        else:
            assert operation not in line
            line.append(operation)
    return line


def queue_choices(prefix: list[int], length: int, vocab: int) -> dict[int, float]:
    i, line = len(prefix), queued(prefix)
    absent = [symbol for symbol in range(1, vocab) if symbol not in line]
    if i == length - 1 and len(line) > 1:
        join = 0.0
    elif len(line) <= 1:
        join = 1.0
    else:
        join = 0.75 if i < int(2 * length / 3) else 0.25
    if not absent:
        join = 0.0
    chances = {symbol: join / len(absent) for symbol in absent}
    chances[0] = 1 - join
    return {token: chance for token, chance in chances.items() if chance}


def queue(rng: random.Random, length: int, vocab: int) -> list[int]:
    """The rule of `queue_choices` with the queue carried along."""
    operations: list[int] = []
    line: list[int] = []
    for i in range(length):
        likely = 0.75 if i < int(2 * length / 3) else 0.25
        if len(line) <= 1 or (i < length - 1 and len(line) < vocab - 1 and rng.random() < likely):
            symbol = rng.randrange(1, vocab)
            while symbol in line:
                symbol = rng.randrange(1, vocab)
            line.append(symbol)
            operations.append(symbol)
        else:
            line.pop(0)
            operations.append(0)
    return [*operations, vocab, *line]


# -- lime -------------------------------------------------------------------------------------------
def put_in(pattern: list[int], substitution: dict[int, list[int]]) -> list[int]:
    """The pattern with every letter replaced."""
    return [symbol for place in pattern for symbol in substitution.get(place, [place])]


def lime(rng: random.Random, length: int, alphabet: int, asked: str) -> list[int]:
    special = {word: alphabet + number for number, word in enumerate(WORDS)}
    own = rng.sample(range(alphabet), 49)
    letters, lower, math = own[: rng.randint(3, 5)], own[5:29], own[29:]
    pattern = [rng.choice(letters) for _ in range(2 * len(letters))]
    pattern += [rng.choice(math) for _ in range(rng.randint(5, length))]
    rng.shuffle(pattern)
    letters = [letter for letter in letters if letter in pattern]
    substitution = {letter: [rng.choice(lower + math) for _ in range(rng.randint(2, 8))] for letter in letters}
    written: list[int] = []
    for letter, symbols in substitution.items():
        written += [special[","]] if written else []
        written += [letter, special[":"], special["["], *symbols, special["]"]]
    parts = {"pattern": pattern, "substitution": written, "result": put_in(pattern, substitution)}
    order = {
        "result": ("pattern", "substitution"),
        "substitution": ("pattern", "result"),
        "pattern": ("result", "substitution"),
    }
    header = [special["<UPPER>"], *letters, special["<LOWER>"], *lower, special["<MATH>"], *math, special["<space>"]]
    one, other = order[asked]
    return [*header, *parts[one], special["<space>"], *parts[other], alphabet + len(WORDS), *parts[asked]]


def lime_deduct(rng: random.Random, length: int, alphabet: int) -> list[int]:
    return lime(rng, length, alphabet, "result")


def lime_abduct(rng: random.Random, length: int, alphabet: int) -> list[int]:
    return lime(rng, length, alphabet, "substitution")


def lime_induct(rng: random.Random, length: int, alphabet: int) -> list[int]:
    return lime(rng, length, alphabet, "pattern")


# -- hops -------------------------------------------------------------------------------------------
def further(follower: dict[int, int], name: int, steps: int) -> int:
    for _ in range(steps):
        name = follower[name]
    return name


def hops(rng: random.Random, length: int, alphabet: int, hops: int, questions: int, shape: str) -> list[int]:
    names = rng.sample(range(alphabet), length)
    behind = names[1:] + names[:1] if shape == "cycle" else rng.sample(names, length)
    follower = dict(zip(names, behind, strict=True))
    tokens = [token for name in rng.sample(names, length) for token in (name, follower[name])]
    tokens.append(alphabet + hops)
    for name in rng.sample(names, min(questions, length)):
        steps = rng.randint(1, hops)
        tokens += [alphabet + steps - 1, name, further(follower, name, steps)]
    return tokens


# -- automaton --------------------------------------------------------------------------------------
def visited(table: dict[tuple[int, int], int], start: int, word: list[int]) -> list[int]:
    """The states after each letter."""
    found, state = [], start
    for letter in word:
        state = table[state, letter]
        found.append(state)
    return found


def automaton(rng: random.Random, length: int, states: int, letters: int, table: str) -> list[int]:
    entries = {(state, states + letter): rng.randrange(states) for state in range(states) for letter in range(letters)}
    start, word = rng.randrange(states), [states + rng.randrange(letters) for _ in range(length)]
    separator = states + letters
    shown: list[int] = []
    if table == "shown":
        listed = list(entries.items())
        rng.shuffle(listed)
        shown = [token for (state, letter), following in listed for token in (state, letter, following)] + [separator]
    return [*shown, start, *word, separator, *visited(entries, start, word)]


# -- k-shuffle Dyck ---------------------------------------------------------------------------------
def k_shuffle_dyck_choices(
    prefix: list[int], length: int, k: int, p_open: float, max_depth: int, min_depth: int
) -> dict[int, float]:
    counts = [sum(token == kind for token in prefix) - sum(token == kind + k for token in prefix) for kind in range(k)]
    depth = sum(counts)
    assert min(counts) >= 0
    if len(prefix) < min_depth or depth == 0:
        chance = 1.0
    else:
        chance = 0.0 if depth >= max_depth else p_open
    opened = [kind for kind in range(k) if counts[kind]]
    chances = dict.fromkeys(range(k), chance / k)
    for kind in opened:
        chances[kind + k] = (1 - chance) / len(opened)
    return {token: chance for token, chance in chances.items() if chance}


def k_shuffle_dyck(rng: random.Random, length: int, k: int, p_open: float, max_depth: int, min_depth: int) -> list[int]:
    """The rule of `k_shuffle_dyck_choices` with the counts carried along."""
    tokens: list[int] = []
    counts: dict[int, int] = {}
    depth = 0
    for i in range(length):
        if i < min_depth or depth == 0 or (depth < max_depth and rng.random() < p_open):
            kind = rng.randrange(k)
            counts[kind] = counts.get(kind, 0) + 1
            tokens.append(kind)
            depth += 1
        else:
            kind = rng.choice(list(counts))
            counts[kind] -= 1
            if not counts[kind]:
                del counts[kind]
            tokens.append(kind + k)
            depth -= 1
    return tokens


# -- rnn --------------------------------------------------------------------------------------------
def rnn_chances(network: list[list[list[float]]], state: list[float], token: int, temperature: float):
    """The next state, and the chance of every token after it. A network is the matrices A, W and C, rows by rows."""
    into, onto, out = network
    state = [
        into[i][token] + sum(weight * value for weight, value in zip(onto[i], state, strict=True))
        for i in range(len(state))
    ]
    weights = [sum(weight * value for weight, value in zip(row, state, strict=True)) / temperature for row in out]
    most = max(weights)
    weights = [math.exp(weight - most) for weight in weights]
    total = sum(weights)
    return state, [weight / total for weight in weights]


def rnn_network(number: int, **settings: Any) -> list[list[list[float]]]:
    into_AH, onto_HH, out_HA = Rnn(**{**settings, "temperature": 1.0})._network(number)
    return [into_AH.T.tolist(), onto_HH.T.tolist(), out_HA.T.tolist()]


def rnn(rng: random.Random, **settings: Any) -> list[int]:
    network = rnn_network(rng.randrange(settings["networks"]), **settings)
    token, state, tokens = rng.randrange(settings["alphabet"]), [0.0] * settings["hidden"], []
    for _ in range(settings["length"]):
        state, chances = rnn_chances(network, state, token, settings["temperature"])
        token = rng.choices(range(len(chances)), chances)[0]
        tokens.append(token)
    return tokens


# -- nca --------------------------------------------------------------------------------------------
Weights = tuple[list, list, list]  # by [place][state][seen], [hidden][seen], [state][hidden]


def nca_rule(rng: random.Random, states: int) -> Weights:
    def cut_off(inputs: int) -> float:
        while abs(drawn := rng.gauss(0, 1)) > 2:
            pass
        return drawn / 0.8796256610342398 / math.sqrt(inputs)

    return (
        [[[cut_off(9 * states) for _ in range(4)] for _ in range(states)] for _ in range(9)],
        [[cut_off(4) for _ in range(4)] for _ in range(16)],
        [[cut_off(16) for _ in range(16)] for _ in range(states)],
    )


def nca_numbers(cells: list[list[int]], row: int, column: int, weights: Weights, identity_bias: float) -> list[float]:
    """What speaks for each state to follow in one cell."""
    seen, hidden, following = weights
    size = len(cells)
    around = [cells[(row + down) % size][(column + right) % size] for down in (-1, 0, 1) for right in (-1, 0, 1)]
    found = [sum(seen[place][state][k] for place, state in enumerate(around)) for k in range(4)]
    units = [max(0.0, sum(w * x for w, x in zip(of_unit, found, strict=True))) for of_unit in hidden]
    numbers = [sum(w * x for w, x in zip(of_state, units, strict=True)) for of_state in following]
    numbers[cells[row][column]] += identity_bias
    return numbers


def nca_update(
    rng: random.Random, cells: list[list[int]], weights: Weights, temperature: float, identity_bias: float
) -> list[list[int]]:
    def drawn(numbers: list[float]) -> int:
        best = max(numbers)
        if not temperature:
            return numbers.index(best)
        return rng.choices(range(len(numbers)), [math.exp((number - best) / temperature) for number in numbers])[0]

    size = range(len(cells))
    return [[drawn(nca_numbers(cells, row, column, weights, identity_bias)) for column in size] for row in size]


def nca(rng: random.Random, length: int, **settings: Any) -> list[int]:
    grid, states, patch = settings["side"], settings["states"], settings["patch"]
    patches = states ** (patch * patch)

    def simulated(weights: Weights, frames: int) -> list[list[int]]:
        chances = [math.exp(rng.gauss(0, 1)) for _ in range(states)]
        cells = [rng.choices(range(states), chances, k=grid) for _ in range(grid)]
        made: list[list[int]] = []
        for update in range(settings["burn_in"] + (frames - 1) * settings["every"] + 1):
            if update:
                cells = nca_update(rng, cells, weights, settings["temperature"], settings["identity_bias"])
            if update >= settings["burn_in"] and (update - settings["burn_in"]) % settings["every"] == 0:
                made.append([
                    sum(cells[r + i][c + j] * states ** (i * patch + j) for i in range(patch) for j in range(patch))
                    for r in range(0, grid, patch)
                    for c in range(0, grid, patch)
                ])  # fmt: skip
        return made

    while True:
        weights = nca_rule(rng, states)
        plain = b"".join(token.to_bytes(4, "little") for frame in simulated(weights, 10) for token in frame)
        if settings["simplest"] < len(gzip.compress(plain)) / len(plain) < settings["most_complex"]:
            break
    frame = (grid // patch) ** 2 + 2
    tokens = [token for made in simulated(weights, -(-length // frame)) for token in [patches, *made, patches + 1]]
    return tokens[:length]


# -- mp_struct_core ---------------------------------------------------------------------------------
def mp_sentence(rng: random.Random, heads: str, arguments: str) -> list[int]:
    def bracketed(*parts: list[int]) -> list[int]:
        return [0, *(token for part in parts for token in part), 5]

    def head(token: int) -> list[int]:
        return [token] if heads == "present" else []

    noun = [*bracketed([4]), *bracketed([9])]
    moved, agree = rng.random() < 0.5, 2 if rng.random() < 0.5 else 3
    number = 1 if arguments == "one" else rng.choices([0, 1, 2], [0.33, 0.33, 0.34])[0]
    verb = [bracketed(head(12)), bracketed([6] if moved else []), *[bracketed(noun)] * number]
    rng.shuffle(verb)
    subject = bracketed([agree], noun)
    phrase = bracketed(bracketed() if moved else subject, bracketed(head(11), [agree + 5]), bracketed(*verb))
    specifier = bracketed(subject) if moved else bracketed()
    return bracketed(specifier, bracketed(head(10), [1] if moved else []), phrase)


def mp_struct_core(rng: random.Random, length: int, heads: str, arguments: str) -> list[int]:
    tokens: list[int] = []
    while len(tokens) < length:
        tokens += mp_sentence(rng, heads, arguments)
    return tokens[:length]


# -- mp_struct --------------------------------------------------------------------------------------


def mp_derivation(rng: random.Random, without: str, goal_wh: float, c_wh: float) -> list[str]:
    """A sentence as the released code derives it: a tree, then movement, then its tokens."""
    num = rng.choice(["sg", "pl"])
    subject = {"wh": rng.random() < goal_wh, "trace": False}
    thing = {"wh": rng.random() < goal_wh, "trace": False}
    spec_tp = spec_cp = None
    if without != "move":
        spec_tp = dict(subject)
        subject["trace"] = True
    asks = without != "move" and rng.random() < c_wh
    if asks:
        goal = next((phrase for phrase in (thing, subject) if phrase["wh"]), None)
        if goal is not None:
            spec_cp = {"wh": False, "trace": False}
            goal["trace"] = True

    def phrase(dp):
        if dp["trace"]:
            return ["TR[-wh]"] if dp["wh"] else ["TR[DP]"]
        label = f"DP[Num:{num}]"
        flat = ["D", "N", label] if without == "merge" else f"[ {label} [ D ] [ N ] ]".split()
        return flat + (["[-wh]"] if dp["wh"] else [])

    def box(tokens):
        return tokens if without == "merge" else ["[", *tokens, "]"]

    def label(name, tokens):
        return tokens if without == "merge" else ["[", name, *tokens, "]"]

    order = [thing, subject] if rng.random() < 0.5 else [subject, thing]
    verb = label("VP", ["V", *box(phrase(order[0])), *box(phrase(order[1]))])
    tense = "T(+EPP,uNum:" + ("u" if without == "agree" else num) + ")"
    spec = [] if spec_tp is None else ["[", *phrase(spec_tp), "]"]
    clause = label("TP", [*spec, *box([tense]), *box(verb)])
    spec = [] if spec_cp is None else ["MOV[+wh]", "[", *phrase(spec_cp), "]"]
    return label("CP", [*spec, *box(["C(+wh)" if asks else "C"]), *box(clause)])


def mp_struct(rng: random.Random, length: int, without: str, goal_wh: float, c_wh: float) -> list[int]:
    vocabulary = [
        *("C", "C(+wh)", "CP", "D", "DP[Num:pl]", "DP[Num:sg]", "MOV[+wh]", "N"),
        *("T(+EPP,uNum:pl)", "T(+EPP,uNum:sg)", "T(+EPP,uNum:u)", "T(uNum:pl)", "T(uNum:sg)", "T(uNum:u)"),
        *("TP", "TR[-wh]", "TR[DP]", "V", "VP", "[", "[-wh]", "]"),
    ]
    tokens: list[str] = []
    while len(tokens) < length:
        tokens += mp_derivation(rng, without, goal_wh, c_wh)
    return [vocabulary.index(token) for token in tokens[:length]]


SLOW_FAMILIES: dict[str, Callable[..., list]] = {
    "queue": queue,
    "lime_deduct": lime_deduct,
    "lime_abduct": lime_abduct,
    "lime_induct": lime_induct,
    "hops": hops,
    "automaton": automaton,
    "k_shuffle_dyck": k_shuffle_dyck,
    "rnn": rnn,
    "nca": nca,
    "mp_struct": mp_struct,
    "mp_struct_core": mp_struct_core,
}
