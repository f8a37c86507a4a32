"""Code identifiers: a name of held-out code that its file used before.

Shape suffixes: B rows, T tokens.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache

from procray.downstream.items import Items, padded
from procray.downstream.material import Material
from procray.downstream.probe import Made, Probe, generator
from procray.errors import CorpusError

# snake_case and camelCase of five letters or more, which no word of prose is.
NAME = re.compile(r"\b(?=\w{5})(?:[A-Za-z]\w*_\w*|[A-Za-z]+[a-z0-9][A-Z]\w*)\b")
LEAD = 64  # characters before the earlier use
TOKENS_BEFORE = 16  # at most, before the earlier use
LONGEST_NAME = 24  # tokens
TRIED = 3  # uses looked at for each item that is wanted
_ABOUT = 2  # times as many characters as so many tokens have on average, or as few, are looked at


@dataclass(frozen=True)
class Use:
    """A name and an earlier use of it, the last before, as characters of a text."""

    text: int
    name: str
    before: int
    start: int


@lru_cache(maxsize=4)
def uses_of(texts: tuple[str, ...]) -> list[Use]:
    """Every use of a name that its text has used before."""
    found = []
    for number, text in enumerate(texts):
        last: dict[str, int] = {}
        for match in NAME.finditer(text):
            if match[0] in last:
                found.append(Use(number, match[0], last[match[0]], match.start()))
            last[match[0]] = match.start()
    return found


def make(material: Material, seed: int, value: float, count: int) -> Made:
    """Uses with more than half of `value` tokens, and at most `value`, since the name ended last.

    The control has another name of the texts in every earlier place of the context.
    """
    distance = int(value)
    uses = uses_of(material.texts)
    counts = Counter(use.name for use in uses)
    if len(counts) < 2:
        raise CorpusError(
            "the held-out text uses no two names such as `snake_case` or `camelCase` twice: it is not code"
        )
    rng = generator(seed, "identifiers", str(distance))
    size = sum(map(len, material.texts)) / sum(map(len, material.documents))  # characters of a token
    low, high = distance / 2 * size / _ABOUT, distance * size * _ABOUT
    near = [use for use in uses if low < use.start - use.before - len(use.name) < high]
    near = [near[place] for place in rng.permutation(len(near))[: TRIED * count]]
    between = material.encode([material.texts[use.text][use.before + len(use.name) : use.start] for use in near])
    near = [use for use, part in zip(near, between, strict=True) if distance / 2 < len(part) <= distance]
    texts = [material.texts[use.text][max(0, use.before - LEAD) : use.start] for use in near]
    rows, scored = material.endings(texts, [use.name for use in near])
    kept = [number for number in range(len(near)) if scored[number] <= LONGEST_NAME][:count]
    if len(kept) < 2:
        raise CorpusError(
            f"the held-out text uses fewer than two names again after {distance // 2 + 1} to {distance} tokens"
        )
    names = sorted(counts)
    other = []
    for number in kept:
        name, first = near[number].name, int(rng.integers(0, len(names)))
        others = [one for one in names[first:] + names[:first] if one != name]
        instead = next((one for one in others if one not in texts[number]), others[0])
        other.append(re.sub(rf"\b{re.escape(name)}\b", instead, texts[number]))
    cut = [LONGEST_NAME + distance + TOKENS_BEFORE + scored[number] for number in kept]
    main = padded([rows[number][-most:] for number, most in zip(kept, cut, strict=True)], [scored[n] for n in kept])
    rows, scored = material.endings(other, [near[number].name for number in kept])
    control = padded([row[-most:] for row, most in zip(rows, cut, strict=True)], scored)
    chance = sum(times**2 for times in counts.values()) / sum(counts.values()) ** 2
    return Made(Items(*main, whole=True), chance, Items(*control, whole=True))


def positions(distance: float) -> int:
    return TOKENS_BEFORE + LONGEST_NAME + int(distance) + LONGEST_NAME - 1


IDENTIFIERS = Probe(
    name="identifiers",
    shows="whether the names of a program are taken up from its own text",
    scoring=(
        "places of held-out code where a name is used again after more than half of so many tokens; right where all of "
        "its tokens rank first among the whole vocabulary; chance: a name drawn as often as names are used again; the "
        "control has another name in the earlier places"
    ),
    values=(16, 32, 64, 128, 256, 512),
    unit="tokens back, at most",
    text=True,
    positions=positions,
    make=make,
)
