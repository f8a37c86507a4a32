"""Elementary cellular automata, in two forms. Neither is known to be the papers' format.

arXiv 2505.22308 and 2601.21725 train on rule 110, but neither their format nor their code for it
was found. `eca_rows` follows the code they most likely descend from (arXiv 2410.02536): a position
is a whole row of cells, so the model has no token embedding. `eca_tokens` is a form in tokens,
as other replications use it. Results with either are not results with the papers' ECA.

Shape suffixes: B sequences, T positions, W cells of the window, R cells of the ring, G groups of 64 sequences.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from procray.batch import Batch, RowBatch
from procray.tasks.lengths import Length
from procray.tasks.parameters import length_of, whole
from procray.tasks.sequences import answered
from procray.tasks.task import BaseTask

RING = 1000  # cells of the simulated ring
STEPS = 1000  # updates of one simulation
GROUPS_AT_ONCE = 4  # 8 MB of history for each group of 64 sequences


RULE = whole("Wolfram's number of the rule", 0, 255)


@dataclass(frozen=True)
class EcaRows(BaseTask):
    """Consecutive rows of an automaton seen through a window; each row is predicted from those before.

    Every sequence has its own simulation: a ring of 1,000 cells, random at first (each cell 1 with
    probability 1/2), updated 1,000 times. The sequence is L consecutive rows from a uniformly
    chosen time, seen through `width` neighbouring cells at a uniformly chosen place; the target
    at each row is the next row, every cell scored. The window's edge cells depend on cells outside
    it, so the last bits of each row cannot be predicted with certainty.
    One position is one row: nominal tokens count rows.
    """

    name: ClassVar[str] = "eca_rows"
    summary: ClassVar[str] = (
        "a cellular automaton, one position a whole row (probable lineage; not known to be the papers')"
    )
    shortest: ClassVar[int] = 1
    longest: ClassVar[int] = STEPS
    length: Length = field(default=60, metadata=length_of("rows of one sequence"))
    rule: int = field(default=110, metadata=RULE)
    width: int = field(default=100, metadata=whole("cells of the window", 1, RING))

    @property
    def symbols(self) -> int:
        return 2

    @property
    def separator(self) -> None:
        return None

    @property
    def vocab_size(self) -> int:
        return 2

    @property
    def rows(self) -> int:
        return self.width

    def nominal(self, length: int) -> int:
        return length

    def draw(self, rng: np.random.Generator, size: int, length: int) -> RowBatch:
        cells_B = rng.integers(0, RING, size)
        times_B = rng.integers(0, STEPS - length + 1, size)
        first_GR = rng.integers(0, 2**64, (-(-size // 64), RING), dtype=np.uint64)
        rows_BTW = np.empty((size, length + 1, self.width), np.uint8)
        for start in range(0, size, 64 * GROUPS_AT_ONCE):
            part = slice(start, start + 64 * GROUPS_AT_ONCE)
            group = start // 64
            last = int(times_B[part].max()) + length
            history_GSR = histories(first_GR[group : group + GROUPS_AT_ONCE], self.rule, last)
            for member, (cell, time) in enumerate(zip(cells_B[part].tolist(), times_B[part].tolist(), strict=True)):
                rows_TR = history_GSR[member // 64, time : time + length + 1]
                packed_TW = rows_TR[:, cell : cell + self.width]
                if cell + self.width > RING:
                    packed_TW = np.hstack([packed_TW, rows_TR[:, : cell + self.width - RING]])
                bits_TW = packed_TW >> np.uint64(member % 64)
                bits_TW &= np.uint64(1)
                rows_BTW[start + member] = bits_TW
        return RowBatch(rows_BTW[:, :-1], rows_BTW[:, 1:], np.ones((size, length), bool), size * self.nominal(length))

    def text(self, tokens_T: np.ndarray) -> str:
        """A picture of `rows_TW`: one line a row, `#` for 1 and `.` for 0."""
        return "\n".join("".join("#" if cell else "." for cell in row) for row in np.asarray(tokens_T).tolist())


@dataclass(frozen=True)
class EcaTokens(BaseTask):
    """`s | the state that follows s`: L cells each, 2L+1 tokens, L of them scored.

    `s` is a ring of L cells, each 1 with probability 1/2. Cells are the ids 0 and 1, the separator
    is 2, the padding 3.
    """

    name: ClassVar[str] = "eca_tokens"
    summary: ClassVar[str] = (
        "one update of a cellular automaton, one token a cell:  s | next(s)  (not the papers' format)"
    )
    shortest: ClassVar[int] = 3
    length: Length = field(default=64, metadata=length_of("L: cells of the ring"))
    rule: int = field(default=110, metadata=RULE)

    @property
    def symbols(self) -> int:
        return 2

    def nominal(self, length: int) -> int:
        return 2 * length + 1

    def draw(self, rng: np.random.Generator, size: int, length: int) -> Batch:
        s_BL = rng.integers(0, 2, (size, length), dtype=np.int32)
        index_BL = 2 * s_BL
        index_BL[:, 1:] += 4 * s_BL[:, :-1]
        index_BL[:, :1] += 4 * s_BL[:, -1:]
        index_BL[:, :-1] += s_BL[:, 1:]
        index_BL[:, -1:] += s_BL[:, :1]
        next_BL = (np.int32(self.rule) >> index_BL) & 1
        return answered([s_BL, self.symbols], next_BL, self.pad, self.nominal(length))


def histories(first_GR: np.ndarray, rule: int, steps: int) -> np.ndarray:
    """`history_GSR`: rows 0..steps of 64 automata at once in the bits of each 64-bit word."""
    groups, ring = first_GR.shape
    program = _program(rule)
    # One cell more on either side closes the ring.
    history_SGR = np.empty((steps + 1, groups, ring + 2), np.uint64)
    history_SGR[0, :, 1:-1] = first_GR
    product = np.empty_like(first_GR)
    ones = np.full(1, 2**64 - 1, np.uint64)
    row = history_SGR[0]
    for following in history_SGR[1:]:
        row[:, 0], row[:, -1] = row[:, -2], row[:, 1]
        arrays = (row[:, :-2], row[:, 1:-1], row[:, 2:], ones, following[:, 1:-1], product)
        for operation, a, b, result in program:
            operation(arrays[a], arrays[b], arrays[result])
        row = following
    return history_SGR[:, :, 1:-1].swapaxes(0, 1)


LEFT, CENTRE, RIGHT, ONES, FOLLOWING, PRODUCT = range(6)  # what a program works on


def _program(rule: int) -> list[tuple[np.ufunc, int, int, int]]:
    """A few operations (with two operands and the result) on whole words that make one update of 64 automata.

    The rule is written as an exclusive-or of products of its neighbourhood (its algebraic normal form). `|` stands
    for the three terms that it is made of.
    """
    terms = _normal_form(rule)
    program: list[tuple[np.ufunc, int, int, int]] = []

    def of_centre_and_right(centre: int, right: int, both: int, result: int) -> int | None:
        """Where the sum of these terms is found."""
        if not both and centre + right < 2:
            return CENTRE if centre else RIGHT if right else None
        operation = np.bitwise_and if centre + right < 2 else np.bitwise_or if both else np.bitwise_xor
        program.append((operation, CENTRE, RIGHT, result))
        if centre + right == 1:
            program.append((np.bitwise_xor, CENTRE if centre else RIGHT, result, result))
        return result

    summands = [of_centre_and_right(terms[0b010], terms[0b001], terms[0b011], FOLLOWING)]
    factor = of_centre_and_right(terms[0b110], terms[0b101], terms[0b111], PRODUCT)
    if factor is not None:
        program.append((np.bitwise_and, LEFT, factor, PRODUCT))
        summands.append(PRODUCT)
    summands += [place for place, term in ((LEFT, terms[0b100]), (ONES, terms[0b000])) if term]
    found = [place for place in summands if place is not None]
    if not found:
        return [(np.bitwise_xor, CENTRE, CENTRE, FOLLOWING)]
    first, *others = found
    if not others and first != FOLLOWING:
        return [*program, (np.bitwise_or, first, first, FOLLOWING)]
    for place in others:
        program.append((np.bitwise_xor, first, place, FOLLOWING))
        first = FOLLOWING
    return program


def _normal_form(rule: int) -> list[int]:
    """For each set of cells (4 left + 2 centre + 1 right): whether the product of its cells is a term."""
    coefficients = [(rule >> pattern) & 1 for pattern in range(8)]
    for bit in (1, 2, 4):
        for pattern in range(8):
            if pattern & bit:
                coefficients[pattern] ^= coefficients[pattern ^ bit]
    return coefficients
