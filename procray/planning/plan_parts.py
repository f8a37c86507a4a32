"""plan.json read in parts: an entry of its lists at a time, so that a large plan never stands in memory as JSON.

However its text is laid out; what stands in a plan may be of an older version, damaged, or somebody else's.
"""

from __future__ import annotations

import codecs
import json
import os
from collections.abc import Container, Iterator
from typing import Any, NamedTuple

from procray import links
from procray.files import no_number, refuse_halves

LARGEST_PLAN = 1 << 29  # bytes of a file; the plan of 100,000 cells takes 183 million
LARGEST_PART = (
    12 << 20
)  # characters of an entry, or of what is no list; a hundred times as many bytes at most in memory
_CHUNK = 1 << 20
_SPACE = " \t\n\r"
_scan = json.JSONDecoder(parse_constant=no_number).raw_decode


class Part(NamedTuple):
    """The value of a key, or one entry of it where it is a list."""

    key: str
    value: Any
    entry: bool


def plan_parts(path: str | os.PathLike[str], of: Container[str] | None = None) -> Iterator[Part]:
    """The parts of a plan.json in the order of the file; a list without entries is a part itself.

    Args:
        of: only these keys.

    Raises:
        OSError, StoreError: it cannot be read.
        ValueError: it is no JSON object, or larger than plans are; the parts before have been given then.
    """
    with open(path, "rb", opener=links.open_file) as file:
        if os.fstat(file.fileno()).st_size > LARGEST_PLAN:
            raise ValueError(f"more than {LARGEST_PLAN:,} bytes")
        text = _Text(file)
        text.expect("{")
        known: set[str] = set()
        while text.next() != "}":
            if known:
                text.expect(",")
            key = text.value()
            if not isinstance(key, str) or key in known:
                raise ValueError("its keys must be texts that are all different")
            known.add(key)
            text.expect(":")
            wanted = of is None or key in of
            if text.next() != "[":
                value = text.value()
                if wanted:
                    yield Part(key, value, False)
                continue
            text.expect("[")
            number = 0
            while text.next() != "]":
                if number:
                    text.expect(",")
                number += 1
                value = text.value()
                if wanted:
                    yield Part(key, value, True)
            text.expect("]")
            if wanted and not number:
                yield Part(key, [], False)
        text.expect("}")
        if text.next():
            raise ValueError("it goes on behind its end")


class _Text:
    """A file's text, of which no more is held than the value that is being read."""

    def __init__(self, file: Any):
        self._file = file
        self._decode = codecs.getincrementaldecoder("utf-8")().decode
        self._text, self._at, self._ended = "", 0, False
        self._read = 0

    def next(self) -> str:
        """The next character that is no space, which stays; empty at the end."""
        while True:
            while self._at < len(self._text):
                if self._text[self._at] not in _SPACE:
                    return self._text[self._at]
                self._at += 1
            if self._ended:
                return ""
            self._more()

    def expect(self, sign: str) -> None:
        if (found := self.next()) != sign:
            raise ValueError(f"'{sign}' expected, not '{found}' (near character {self._read + self._at:,})")
        self._at += 1

    def value(self) -> Any:
        self.next()
        while True:
            try:
                value, end = _scan(self._text, self._at)
            except RecursionError:
                raise ValueError("nested too deeply") from None
            except ValueError as error:
                # Cut off, or wrong: more of it tells, but no part is longer than LARGEST_PART.
                if self._ended:
                    raise ValueError(f"{error} (counted from character {self._read:,})") from None
                end = len(self._text)
            if end < len(self._text) or self._ended:  # a number at the end may go on
                if end - self._at > LARGEST_PART:
                    break
                if self._text.find("\\u", self._at, end) >= 0:
                    refuse_halves(value)
                self._at = end
                return value
            if len(self._text) - self._at > LARGEST_PART:
                break
            self._more()
        raise ValueError(f"a part of more than {LARGEST_PART:,} characters (from character {self._read + self._at:,})")

    def _more(self) -> None:
        left = self._text[self._at :]
        data = self._file.read(max(_CHUNK, len(left)))
        self._ended = not data
        self._read += self._at
        self._text, self._at = left + self._decode(data, self._ended), 0
