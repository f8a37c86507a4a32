"""How well a model compresses held-out text of other kinds: bits per byte, which models of any tokenizer share.

Shape suffixes: B windows, T tokens, N tokens of a text.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from procray.corpora.tokenizer import Tokenizer
from procray.downstream.score import token_scores
from procray.errors import CorpusError, ProcrayError, did_you_mean
from procray.model import ModelConfig, Network

TEXTS = Path(__file__).parent / "texts"
PIECE = 512  # bytes at least: one number each, by which two models are compared
# Where the usual tokenizers have a boundary anyway: behind a line end that stands alone, or between two.
_LINE_END = re.compile(rb"(?<=\S\n)(?=\S)|(?<=\S\n)(?=\n\S)")


@dataclass(frozen=True)
class Domain:
    """A text that is shipped. Its digest makes sure that everybody measures on the same one."""

    name: str
    about: str
    bytes: int
    sha256: str

    @property
    def path(self) -> Path:
        return TEXTS / f"{self.name}.txt"


DOMAINS = {
    "code": Domain(
        "code",
        "modules of this repository, Python",
        25_134,
        "48cc8b894d14eb1087d91a9d0cba877c6cf738a4a93cd1394e7dc0c3b9bf5b52",
    ),
    "prose": Domain(
        "prose",
        "two essays, a story and a letter, plain English",
        6_944,
        "060058c687bcdfc7bcccb38bad67313d25b9f65cb742cbddc5b7354010d52f92",
    ),
    "mathematics": Domain(
        "mathematics",
        "questions with worked answers, from `procray.downstream.sums`",
        18_704,
        "a7268a86760ecf3de55431ec0d534399216052177f8357cafe13b9cfaef70cf0",
    ),
    "markup": Domain(
        "markup",
        "HTML with CSS, LaTeX, XML, Markdown and YAML",
        20_235,
        "debda78c96a70546edd8a0d7c4520003ec2b4a3a7840de8aa0de248e156f032a",
    ),
}


@dataclass(frozen=True)
class Compression:
    """What a model makes of a text.

    Attributes:
        sha256: of the text.
        bytes_P, nats_P: of each piece of the text, cut at line ends whatever the tokenizer.
        tokens: that the text takes in the model's tokenizer.
        window: positions that the model reads at once.
        stride: new tokens of each window but the first: every token has at least `window - stride` tokens before it, or
            all of the text.
    """

    domain: str
    sha256: str
    bytes_P: np.ndarray
    nats_P: np.ndarray
    tokens: int
    window: int
    stride: int

    @property
    def bits_per_byte(self) -> float:
        return float(self.nats_P.sum() / math.log(2) / self.bytes_P.sum())

    def to_json(self) -> dict[str, Any]:
        """Plain data; `bits` holds one number a piece."""
        return {
            "domain": self.domain,
            "sha256": self.sha256,
            "bytes": int(self.bytes_P.sum()),
            "tokens": self.tokens,
            "window": self.window,
            "stride": self.stride,
            "bits_per_byte": self.bits_per_byte,
            "piece_bytes": self.bytes_P.tolist(),
            "bits": [round(value, 4) for value in (self.nats_P / math.log(2)).tolist()],
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Compression:
        """What `to_json` gave."""
        bytes_P, nats_P = np.array(value["piece_bytes"]), np.array(value["bits"]) * math.log(2)
        rest = (value[name] for name in ("tokens", "window", "stride"))
        return cls(value["domain"], value["sha256"], bytes_P, nats_P, *rest)


def choose(names: Sequence[str] | None, config: ModelConfig, tokenizer: bool) -> list[Domain]:
    """The domains of these names, or all of them. Reads nothing.

    Raises:
        ProcrayError: unknown names, all of them; or a model that reads no text.
    """
    unknown = [name for name in names or () if name not in DOMAINS]
    if unknown:
        known = f"(domains: {', '.join(DOMAINS)})"
        raise ProcrayError(
            "\n".join(f"no domain is called '{name}'{did_you_mean(name, DOMAINS)} {known}" for name in unknown)
        )
    if config.rows is not None or not tokenizer:
        raise ProcrayError("bits per byte need a model of text, and this one has no tokenizer")
    return [DOMAINS[name] for name in dict.fromkeys(DOMAINS if names is None else names)]


def text_of(domain: Domain) -> str:
    """The text of a domain.

    Raises:
        ProcrayError: it is not the one that is shipped.
    """
    try:
        content = domain.path.read_bytes()
    except OSError as error:
        raise ProcrayError(f"{domain.path} cannot be read ({error.strerror}); install procray again") from error
    if hashlib.sha256(content).hexdigest() != domain.sha256:
        raise ProcrayError(f"{domain.path} is not the text that is shipped, so nothing can be compared with it")
    return content.decode("utf-8")


def compress(
    model: Network, tokenizer: Tokenizer, domain: Domain, *, window: int | None = None, stride: int | None = None
) -> Compression:
    """Reads a domain's text in overlapping windows, so that every byte is scored once; a separator stands before it.

    The probability that a model keeps for special tokens counts against it: they are not left out of the sum.

    Args:
        window: positions read at once; the model's context without it.
        stride: half a window without it.

    Raises:
        ProcrayError: an impossible window or stride.
        CorpusError: the tokenizer does not give the text back.
    """
    context = model.config.context
    window = context if window is None else window
    stride = max(1, window // 2) if stride is None else stride
    if not 1 <= window <= context:
        raise ProcrayError(f"a window of {window} positions: the model has {context}")
    if not 1 <= stride <= window:
        raise ProcrayError(f"a stride of {stride}: expected a number from 1 to the window, {window}")
    pieces = pieces_of(text_of(domain))
    tokens_N, counts_P = encoded(tokenizer, pieces, domain.name)
    tokens_BT, scored_BT = windows(np.concatenate([[tokenizer.separator], tokens_N]), window, stride)
    logp_N, _ = token_scores(model, tokens_BT, scored_BT)
    return Compression(
        domain.name,
        domain.sha256,
        np.array([len(piece.encode()) for piece in pieces]),
        -np.add.reduceat(logp_N, counts_P.cumsum() - counts_P),
        len(tokens_N),
        window,
        stride,
    )


def check_tokenizer(tokenizer: Tokenizer, domain: Domain) -> None:
    """Whether a tokenizer can write a domain's text, which needs no model.

    Raises:
        ProcrayError, CorpusError: as `compress`.
    """
    encoded(tokenizer, pieces_of(text_of(domain)), domain.name)


def pieces_of(text: str) -> list[str]:
    """A text cut at line ends into pieces of at least `PIECE` bytes; the last one may be shorter."""
    content, pieces, start = text.encode("utf-8"), [], 0
    for cut in _LINE_END.finditer(content):
        if cut.start() - start >= PIECE:
            pieces.append(content[start : cut.start()].decode("utf-8"))
            start = cut.start()
    return [*pieces, content[start:].decode("utf-8")]


def encoded(tokenizer: Tokenizer, pieces: list[str], name: str) -> tuple[np.ndarray, np.ndarray]:
    """The tokens of all pieces in one, int64, and the number of each piece's.

    Raises:
        CorpusError: decoded they are not the text.
    """
    tokens_N, counts_P = tokenizer.encode(pieces)
    for piece, part in zip(pieces, np.split(tokens_N, counts_P.cumsum()[:-1]), strict=True):
        back = tokenizer.decode(part)
        if back != piece:
            place = next(
                (at for at, pair in enumerate(zip(piece, back, strict=False)) if pair[0] != pair[1]), len(back)
            )
            raise CorpusError(
                f"domain {name}: the model's tokenizer cannot write {piece[place : place + 1]!r}, so its bits per byte "
                "would be those of another text"
            )
    return tokens_N.astype(np.int64), counts_P


def windows(tokens_N: np.ndarray, window: int, stride: int) -> tuple[np.ndarray, np.ndarray]:
    """`tokens_BT` and `scored_BT`, T = window + 1: every token but the first is scored in one window, in order.

    Each window but the first goes on `stride` tokens; the last one ends with the text and scores what is left.
    """
    last = len(tokens_N) - 1  # the token that is predicted last
    width = min(window, last)
    ends_B = np.minimum(width + stride * np.arange(1 + -(-(last - width) // stride)), last)
    tokens_BT = tokens_N[(ends_B - width)[:, None] + np.arange(width + 1)]
    new_B = np.diff(ends_B, prepend=0)
    return tokens_BT, np.arange(width + 1) > width - new_B[:, None]
