"""Documents in batches, each with the place from which reading goes on, and the documents of local files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from procray.corpora import formats
from procray.corpora.local import LocalFile
from procray.corpora.split import Share

# A batch of documents is what is encoded at once: enough to keep every core busy, little memory.
BATCH_DOCUMENTS = 512
BATCH_CHARACTERS = 2_000_000

# All documents of a file, whatever a document is; see `formats.documents_of` and `questions.records_of`.
Reader = Callable[[LocalFile], Iterator[formats.Document]]


@dataclass(frozen=True)
class Documents:
    """Some documents in order, and the place from which reading them again begins."""

    texts: list[str]
    position: Any  # JSON; None is the beginning
    # Rows met that are not used: "null", "empty".
    counts: dict[str, int] = field(default_factory=dict)


def read_documents(
    files: list[LocalFile], held_out_files: list[LocalFile] | None, read: Reader, share: Share | None, split: str
) -> Iterator[str]:
    """Every document of one split that is not blank, in the order of the files.

    `share` says which documents, and which part of the one where it ends, are held out; `held_out_files`
    replaces it.
    """
    validation = split == "validation"
    if share is None:
        files = (held_out_files or []) if validation else files
    for file in files:
        for text, _ in read(file):
            part = text if share is None else share.part(text, validation)
            if part.strip():
                yield part


def batches(texts: Iterator[str], position: int | None) -> Iterator[Documents]:
    """Texts in batches, from the `position`-th on."""
    start = position or 0
    batch: list[str] = []
    size = 0
    for met, text in enumerate(texts, 1):
        if met <= (position or 0):
            continue
        batch.append(text)
        size += len(text)
        if len(batch) >= BATCH_DOCUMENTS or size >= BATCH_CHARACTERS:
            yield Documents(batch, start)
            start, batch, size = met, [], 0
    if batch:
        yield Documents(batch, start)
