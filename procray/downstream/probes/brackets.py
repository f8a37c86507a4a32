"""Bracket closing by depth: which bracket closes the first one, after all inside of it have been closed.

Shape suffixes: B rows, D depth, T tokens, K types of brackets.
"""

from __future__ import annotations

import numpy as np

from procray.downstream.items import Items
from procray.downstream.material import Material
from procray.downstream.probe import Made, Probe, generator
from procray.errors import CorpusError

PAIRS = ("()", "[]", "{}", "<>")


def make(material: Material, seed: int, value: float, count: int) -> Made:
    """`( name [ name { name } ] )`: every bracket of a random type, a name of the text behind each opening one."""
    depth = int(value)
    assert material.tokenizer is not None
    opening_K, closing_K = known_brackets(material)
    names = names_in(material)
    rng = generator(seed, "brackets", str(depth))
    types_BD = rng.integers(0, len(opening_K), (count, depth))
    tokens_BT = np.empty((count, 1 + 3 * depth), np.int64)
    tokens_BT[:, 0] = material.tokenizer.separator  # a document begins
    tokens_BT[:, 1 : 1 + 2 * depth : 2] = opening_K[types_BD]
    tokens_BT[:, 2 : 2 + 2 * depth : 2] = names[rng.integers(0, len(names), (count, depth))]
    tokens_BT[:, 1 + 2 * depth :] = closing_K[types_BD[:, ::-1]]
    scored_BT = np.zeros(tokens_BT.shape, bool)
    scored_BT[:, -1] = True
    choices_BK = closing_K[(types_BD[:, :1] + np.arange(len(closing_K))) % len(closing_K)]
    return Made(Items(tokens_BT, scored_BT, choices_BK), chance=1 / len(closing_K))


def known_brackets(material: Material) -> tuple[np.ndarray, np.ndarray]:
    """The tokens of opening brackets, and those of the closing ones, of the types that are tokens of their own.

    Raises:
        CorpusError: fewer than two types.
    """
    texts = [character for pair in PAIRS for character in pair]
    alone = [
        int(tokens[0])
        if len(tokens) == 1 and material.tokenizer and material.tokenizer.decode(tokens) == text
        else None
        for text, tokens in zip(texts, material.encode(texts), strict=True)
    ]
    pairs = [pair for pair in zip(alone[::2], alone[1::2], strict=True) if None not in pair]
    if len(pairs) < 2:
        raise CorpusError(f"the tokenizer has fewer than two of the brackets {' '.join(PAIRS)} as tokens of their own")
    opening_K, closing_K = np.array(pairs, np.int64).T
    return opening_K, closing_K


def names_in(material: Material) -> np.ndarray:
    """The tokens of the text that are letters only, with a space before them or without; each as often as it occurs.

    Raises:
        CorpusError: there is none.
    """
    letters = [
        entry
        for entry, piece in zip(material.entries.tolist(), material.pieces, strict=True)
        if piece.strip(" ").isalpha()
    ]
    found = material.stream[np.isin(material.stream, letters)]
    if not len(found):
        raise CorpusError("the held-out text has no tokens of letters only")
    return found


BRACKETS = Probe(
    name="brackets",
    shows="whether a model keeps track of what is open while other brackets open and close inside of it",
    scoring=(
        "d brackets of random types open one inside the other, a name of the held-out text in each, and all but the "
        "outermost close; the right closing bracket is compared with those of the other types; chance: one of the types"
    ),
    values=(1, 2, 4, 8, 16),
    unit="brackets deep",
    text=True,
    positions=lambda depth: 3 * int(depth),
    make=make,
)
