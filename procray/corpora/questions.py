"""Questions and answers: records that stay whole in a row, with the loss on the answers alone.

A file holds `question`, newline, `answer`, blank line; or, as DeepMind released them, questions and
answers on alternate lines. A row is `BOS q SEP a BOS q SEP a ...` filled up with padding
(arXiv 2601.21725, its mathematics setting).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from procray.corpora.formats import Document, read_text
from procray.corpora.local import LocalFile
from procray.corpora.tokenizer import Tokenizer
from procray.errors import CorpusError


def records_of(file: LocalFile) -> Iterator[Document]:
    """Every record of a file as `question newline answer`, with what `read_text` met beside the first.

    Raises:
        CorpusError: a record without an answer, with its file and line.
    """
    text, note = read_text(file)
    for record in _records_of(file, text):
        yield record, note
        note = None


def _records_of(file: LocalFile, text: str) -> Iterator[str]:
    lines = text.replace("\r\n", "\n").split("\n")
    blank_between = any(not line.strip() for line in lines[:-1])
    block: list[str] = []
    for number, line in enumerate([*lines, ""], 1):
        if line.strip():
            block.append(line.strip())
        if not block or (line.strip() and (blank_between or len(block) < 2)):
            continue
        if len(block) != 2:
            raise CorpusError(
                f"deepmind-math: {file.path}, line {number - 1}: expected a question and an answer on two lines, "
                f"got {len(block)}"
            )
        yield "\n".join(block)
        block = []


def special_tokens(tokenizer: Tokenizer) -> dict[str, int]:
    """BOS is the tokenizer's separator; SEP and PAD are added behind its vocabulary."""
    return {"bos": tokenizer.separator, "sep": tokenizer.vocab_size, "pad": tokenizer.vocab_size + 1}


def encode_records(tokenizer: Tokenizer, records: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """`BOS q SEP a` of every record, concatenated, and a mask that is true on the tokens of answers."""
    special = special_tokens(tokenizer)
    pairs = [record.partition("\n") for record in records]
    questions, question_lengths = tokenizer.encode([question for question, _, _ in pairs])
    answers, answer_lengths = tokenizer.encode([answer for _, _, answer in pairs])
    lengths = np.stack([np.ones_like(question_lengths), question_lengths, np.ones_like(question_lengths)])
    lengths = np.concatenate([lengths, answer_lengths[None]]).T.reshape(-1)
    parts = np.tile(np.arange(4), len(records)).repeat(lengths)
    tokens = np.empty(len(parts), dtype=np.uint32)
    tokens[parts == 0], tokens[parts == 2] = special["bos"], special["sep"]
    tokens[parts == 1], tokens[parts == 3] = questions, answers
    return tokens, parts == 3


def row_bounds(starts: np.ndarray, end: int, context: int) -> np.ndarray:
    """First and last-plus-one token of every row: as many whole records as fit into `context`.

    `starts` are the positions of the records' first tokens, `end` the number of tokens. A record longer
    than a row is left out. Returns int64 of shape (rows, 2).
    """
    edges = np.append(starts, end)
    following = np.searchsorted(edges, edges[:-1] + context, side="right") - 1
    rows, record = [], 0
    steps = following.tolist()
    while record < len(steps):
        if steps[record] > record:
            rows.append((record, steps[record]))
        record = max(steps[record], record + 1)
    return edges[np.array(rows, dtype=np.int64).reshape(-1, 2)]
