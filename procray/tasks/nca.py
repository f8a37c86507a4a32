"""NCA: what neural cellular automata do, after the code of arXiv 2603.10055 (danihyunlee/nca-pre-pretraining).

Shape suffixes: B sequences, F frames, T positions, C cells.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from procray.batch import Batch
from procray.errors import TaskError
from procray.tasks.lengths import Length, possible
from procray.tasks.nca_rule import Rules, drawn_rules, first_states, simulated
from procray.tasks.parameters import choice, length_of, number, whole
from procray.tasks.sequences import shifted
from procray.tasks.task import BaseTask

PROBED = 10  # frames that a rule's complexity is measured on
LARGEST = 65_534  # patches; with both ends and the padding, ids stay within 16 bits
MOST_RULES = 4096  # that are tried for one sequence on average before a band counts as empty
AT_ONCE = 32  # simulations, whose tables stay in the cache


@dataclass(frozen=True)
class Nca(BaseTask):
    """`< patches of a frame > < patches of the next frame > ..`, cut off at exactly L tokens.

    A grid of `side` x `side` cells in one of `states` states, its edges joined. All cells are updated together: a
    linear map of the 3x3 neighbourhood (one number for each place and state) to 4 numbers, a linear map to 16, a
    rectifier, a linear map to one number a state, drawn from softmax(numbers / `temperature`). A rule is the weights of
    these three maps (truncated normal, variance 1 / inputs; no biases). The first grid's cells are independent, from a
    softmax of one normal number a state. The first frame is taken after `burn_in` updates, the others follow by
    `every` updates.

    A patch of `patch` x `patch` cells is one token: its cells, row by row, are the digits of the id from the lowest on.
    Ids of `<` and `>` follow. The first frame is not scored.

    Every sequence has a rule of its own, which is drawn until its complexity lies between `simplest` and `most_complex`
    (both excluded): in a simulation of its own, ten frames from the first one on, as 32-bit ids without `<` and `>`,
    the size that gzip makes of them (level 9) over their size. gzip is the zlib of this Python; another implementation
    of it can judge rules at the edges of the band otherwise. `simplest: 0, most_complex: 2` takes every rule.

    Lengths that grow with mastery are refused: they would begin with sequences too short to tell their rule.

    Settings are those of the released script. As in the released code `<` and `>` are scored; its preparation of
    targets that leaves them out is not used there, and `ends: unscored` stands for it. The paper states another
    temperature and batch than the script, by a third party's account.
    """

    name: ClassVar[str] = "nca"
    summary: ClassVar[str] = "frames of neural cellular automata, a token a patch; each sequence has a rule of its own"
    never_mastered: ClassVar[str] = (
        "a rule is learned from the frames before, so that short sequences are the hard ones"
    )
    longest: ClassVar[int] = 32_768
    length: Length = field(default=1024, metadata=length_of("L: tokens of the whole sequence"))
    side: int = field(default=12, metadata=whole("rows and columns of the grid", 3, 64))
    states: int = field(default=10, metadata=whole("states of a cell", 2, 64))
    patch: int = field(default=2, metadata=whole("rows and columns of cells in one token", 1, 8))
    temperature: float = field(
        default=1e-4, metadata=number("of the draw of the next state; 0 takes the most likely", 0, 1e6)
    )
    identity_bias: float = field(default=0.0, metadata=number("added to the number of a cell's own state", -1e3, 1e3))
    burn_in: int = field(default=10, metadata=whole("updates before the first frame", 0, 1000))
    every: int = field(default=1, metadata=whole("updates from frame to frame", 1, 100))
    simplest: float = field(default=0.5, metadata=number("lower end of the band of complexity", 0, 2))
    most_complex: float = field(default=1.0, metadata=number("upper end of the band of complexity", 0, 2))
    ends: str = field(default="scored", metadata=choice("whether < and > are scored", ("scored", "unscored")))

    @property
    def patches(self) -> int:
        """Different ones."""
        return int(self.states ** (self.patch**2))

    @property
    def symbols(self) -> int:
        return self.patches + 2

    @property
    def separator(self) -> None:
        return None

    @property
    def pad(self) -> int:
        return self.symbols

    @property
    def frame(self) -> int:
        """Tokens of one frame, both ends included."""
        return (self.side // self.patch) ** 2 + 2

    def problems(self) -> list[str]:
        found = []
        if self.side % self.patch:
            found.append(f"patch is {self.patch}; expected a divisor of the grid's {self.side}")
        elif (self.curriculum.start if self.curriculum else possible(self.length, 1)[0]) <= self.frame:
            found.append(f"length is too short; expected at least {self.frame + 1}, one frame and a token to predict")
        if self.patches > LARGEST:
            found.append(
                f"patch is {self.patch}; {self.states} states would make {self.patches} different patches, expected at"
                f" most {LARGEST}"
            )
        if self.simplest >= self.most_complex:
            found.append(f"simplest is {self.simplest:g}; expected less than {self.most_complex:g}, the most_complex")
        return found

    def nominal(self, length: int) -> int:
        return length

    def word(self, token: int) -> str:
        if token >= self.patches:
            return "<>"[token - self.patches]
        digits = []
        for _ in range(self.patch**2):
            token, digit = divmod(token, self.states)
            digits.append(str(digit))
        return ("" if self.states <= 10 else ".").join(digits)

    def draw(self, rng: np.random.Generator, size: int, length: int) -> Batch:
        frames = -(-length // self.frame)
        rules = self._rules(rng, size)
        tokens_BFT = np.empty((size, frames, self.frame), np.int32)
        tokens_BFT[:, :, 0], tokens_BFT[:, :, -1] = self.patches, self.patches + 1
        for start in range(0, size, AT_ONCE):
            part = rules.part(slice(start, start + AT_ONCE))
            tokens_BFT[start : start + AT_ONCE, :, 1:-1] = self._frames(rng, part, frames)
        tokens_BT = np.ascontiguousarray(tokens_BFT.reshape(size, -1)[:, :length])
        mask_BT = np.zeros((size, length), bool)
        mask_BT[:, self.frame - 1 : -1] = True
        if self.ends == "unscored":
            mask_BT[:, self.frame - 1 :: self.frame] = False
            mask_BT[:, self.frame - 2 :: self.frame] = False
        return Batch(tokens_BT, shifted(tokens_BT, self.pad), mask_BT, size * self.nominal(length))

    def _rules(self, rng: np.random.Generator, size: int) -> Rules:
        """The first `size` rules within the band, of as many as it takes."""
        kept: list[Rules] = []
        missing, tried = size, 0
        while missing:
            if tried > MOST_RULES * size:
                raise TaskError(
                    f"nca: simplest is {self.simplest:g} and most_complex {self.most_complex:g}; of {tried:,} rules "
                    f"only {size - missing} have a complexity between them, so widen the band"
                )
            fresh = min(AT_ONCE, 2 * missing + 4)
            rules = drawn_rules(rng, fresh, self.states)
            tried += fresh
            patches_BFT = self._frames(rng, rules, PROBED)
            ratio_B = np.array([complexity(patches_FT) for patches_FT in patches_BFT])
            fit = np.flatnonzero((ratio_B > self.simplest) & (ratio_B < self.most_complex))[:missing]
            if len(fit):
                kept.append(rules.part(fit))
                missing -= len(fit)
        return Rules.joined(kept)

    def _frames(self, rng: np.random.Generator, rules: Rules, frames: int) -> np.ndarray:
        """`patches_BFT`: so many frames of each rule, from a drawn grid on."""
        first_BC = first_states(rng, len(rules), self.side**2, self.states)
        states_BFC = simulated(
            rng, rules, first_BC, self.side, frames, self.burn_in, self.every, self.temperature, self.identity_bias
        )
        across = self.side // self.patch
        cells = states_BFC.reshape(len(rules), frames, across, self.patch, across, self.patch)
        digits = cells.transpose(0, 1, 2, 4, 3, 5).reshape(len(rules), frames, across**2, self.patch**2)
        return (digits @ (self.states ** np.arange(self.patch**2, dtype=np.int64))).astype(np.int32)


def complexity(patches_FT: np.ndarray) -> float:
    """Size under gzip over size, of 32-bit numbers."""
    plain = patches_FT.astype("<i4").tobytes()
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return (len(packer.compress(plain)) + len(packer.flush())) / len(plain)
