"""Which part of a corpus is held out: a share of its text, found from the documents alone.

Documents stand in the order of the hash of their text (of their question, where they are records); the first of
them, up to the wanted share of all characters, are held out, and the one in which the share ends gives its end.
So the share is one of data and not of files, equal documents fall on one side, and neither names, places nor the
order of reading matter. More documents move only those near the end of the share.
"""

from __future__ import annotations

import hashlib
import time
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from procray.corpora import formats
from procray.corpora.local import LocalFile

_CLOSE = 0.05  # of the held-out share: a document is cut only where leaving it whole would miss the share by more
_SAY_SECONDS = 1.0


def held_out(text: str, fraction: float) -> bool:
    """Whether a document of a stream, whose size nobody knows, is held out: by hash, for ever the same."""
    return _hash(text) / 2**64 < fraction


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "replace")).digest()[:8], "big")


def _key(text: str, records: bool) -> int:
    return _hash(text.partition("\n")[0] if records else text)


@dataclass(frozen=True)
class Share:
    """The held-out share: documents whose hash is below `below`, and of those at it the last `cut` (0 to 1).

    `records`: a document is a question and its answer, which is never cut, and has the hash of its question.
    """

    below: int
    cut: float = 0.0
    records: bool = False

    def part(self, text: str, validation: bool) -> str:
        """What of a document belongs to the split; empty where nothing does."""
        key = _key(text, self.records)
        if key != self.below or not self.cut:
            return text if (key < self.below) == validation else ""
        at = _cut(text, self.cut)
        return text[at:] if validation else text[:at]

    def to_json(self) -> dict[str, Any]:
        return {"below": f"{self.below:016x}", "cut_share": self.cut, "records": self.records}

    @staticmethod
    def from_json(value: dict[str, Any]) -> Share:
        return Share(int(value["below"], 16), value["cut_share"], value["records"])


def _cut(text: str, share: float) -> int:
    """Where the last `share` of a text begins: at a line's or word's beginning where one is near."""
    at = min(max(round(len(text) * (1 - share)), 1), len(text) - 1)
    near = text[at - 1 : min(at + max(1, (len(text) - at) // 10), len(text) - 1)]  # before the last: both get something
    for sign in ("\n", " "):
        found = near.find(sign)
        if found >= 0:
            return at + found
    return at


@dataclass
class Survey:
    """What the files of a corpus hold, found by reading them once.

    Attributes:
        files, documents, characters: what there is to use.
        left_out: files without text, as {name, why, bytes}.
        empty, null, replaced: documents that are blank, that are nothing at all, and those with bytes that are not
            in their encoding, which become U+FFFD.
    """

    files: int = 0
    documents: int = 0
    characters: int = 0
    empty: int = 0
    null: int = 0
    replaced: int = 0
    left_out: list[dict[str, Any]] = field(default_factory=list)
    hashes: array[int] = field(default_factory=lambda: array("Q"), repr=False)
    sizes: array[int] = field(default_factory=lambda: array("Q"), repr=False)

    def to_json(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in ("hashes", "sizes")}


def survey(
    files: list[LocalFile],
    field_name: str | None,
    read: Callable[[LocalFile], Iterator[formats.Document]],
    records: bool,
    say: Callable[[str], None],
) -> Survey:
    """Reads all files once.

    Raises:
        CorpusError: one that cannot be read, or holds something else than its name says.
    """
    found = Survey()
    total = sum(file.path.stat().st_size for file in files)
    done, said = 0, time.monotonic()
    for file in files:
        size = file.path.stat().st_size
        why = formats.without_text(file, field_name)
        if why:
            found.left_out.append({"name": file.name, "why": why, "bytes": size})
        else:
            found.files += 1
            for text, note in read(file):
                _count(found, text, note, records)
                if time.monotonic() - said > _SAY_SECONDS:
                    said = time.monotonic()
                    say(f"reading, {100 * done / max(1, total):.0f} % of {total / 1e6:,.1f} MB, at {file.name}")
        done += size
    return found


def _count(found: Survey, text: str, note: str | None, records: bool) -> None:
    if note == "null":
        found.null += 1
    elif not text.strip():
        found.empty += 1
    else:
        found.documents += 1
        found.characters += len(text)
        found.replaced += note == "replaced"
        found.hashes.append(_key(text, records))
        found.sizes.append(len(text))


def share_of(found: Survey, fraction: float, records: bool) -> tuple[Share, dict[str, Any]]:
    """The held-out share of what was found, and what it holds: `documents`, of them `cut`, and `characters`.

    Of two distinct documents or more, both splits get something; records are never cut, nor are others where that
    would change little.
    """
    keys, where, numbers = np.unique(np.array(found.hashes, np.uint64), return_inverse=True, return_counts=True)
    sizes = np.bincount(where, weights=np.array(found.sizes, np.float64)).astype(np.int64)  # equal documents are one
    ends = np.cumsum(sizes)
    wanted = fraction * found.characters
    at = min(int(np.searchsorted(ends, wanted)), len(keys) - 1)  # where the share ends
    inside, beyond = wanted - (ends[at] - sizes[at]), ends[at] - wanted
    if not records and (len(keys) == 1 or min(inside, beyond) > _CLOSE * wanted):
        taken = {"documents": int(numbers[: at + 1].sum()), "cut": int(numbers[at]), "characters": round(wanted)}
        return Share(int(keys[at]), float(inside / sizes[at])), taken
    whole = min(max(at + int(beyond <= inside), 1), len(keys) - 1)
    taken = {"documents": int(numbers[:whole].sum()), "cut": 0, "characters": int(sizes[:whole].sum())}
    return Share(int(keys[whole]), records=records), taken
