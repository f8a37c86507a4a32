"""Where words go: answers on stdout, progress on stderr, JSON for machines.

Whatever the terminal can show, and whether it is still there: words never end a command. And whatever a store holds:
what a terminal would obey is written out.
"""

from __future__ import annotations

import codecs
import errno
import io
import json
import os
import shutil
import sys
from typing import Any, TextIO

from procray.visible import visible

_READABLE = "procray.readable"
_ASCII = str.maketrans(
    {"−": "-", "–": "-", "—": "-", "·": "-", "…": "...", "±": "+-", "×": "x", "≤": "<=", "≥": ">=", "≈": "~"}
    | {"→": "->", "←": "<-", "“": '"', "”": '"', "‘": "'", "’": "'", "▲": "^", "▼": "v", "•": "*"}
)  # fmt: skip


def speak_plainly() -> None:
    """Has stdout and stderr write what their encoding lacks in ASCII: a minus sign is no reason to fail."""
    codecs.register_error(_READABLE, _readable)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_READABLE)
    sys.excepthook = _traceback


def _traceback(kind: type[BaseException], error: BaseException, trace: Any) -> None:
    """That of a defect may quote a store as well."""
    import traceback

    say("".join(traceback.format_exception(kind, error, trace)).rstrip())


def _readable(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_ascii, error.object[error.start : error.end])), error.end


def _ascii(character: str) -> str:
    """`?` only for letters of another script and for what is no character at all."""
    import unicodedata  # few terminals need it

    known = character.translate(_ASCII)
    if known.isascii():
        return known
    if "\u2500" <= character <= "\u257f":  # lines and corners of tables
        name = unicodedata.name(character)
        return "-" if name.endswith("HORIZONTAL") else "|" if name.endswith("LIGHT VERTICAL") else "+"
    return unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode() or "?"


def say(text: str = "") -> None:
    """A line of progress or advice for a person (stderr)."""
    _write(text, sys.stderr)


def answer(text: str) -> None:
    """What the command was asked for (stdout)."""
    _write(text, sys.stdout)


def _write(text: str, stream: TextIO) -> None:
    try:
        print(visible(text), file=stream, flush=True)
    except OSError as error:
        # The terminal was closed, or nobody reads the pipe any more: the work goes on without words. A full disk is
        # another matter where the answer is to be kept in a file.
        if stream is sys.stdout and error.errno not in (errno.EIO, errno.EPIPE):
            raise
        _silence(stream)


def _silence(stream: TextIO) -> None:
    """Nothing that is written to it from here on, nor what it still holds, can fail."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, stream.fileno())
    os.close(nothing)


def width() -> int:
    """Columns of the terminal that answers go to, within reason; 120 for a file or a pipe."""
    return min(max(shutil.get_terminal_size((120, 24)).columns, 60), 160) if sys.stdout.isatty() else 120


def answer_json(value: Any) -> None:
    """In ASCII, so that it means the same in any encoding."""
    answer(json.dumps(value, indent=1, allow_nan=False))


AT_MOST = "≤"  # before tokens of a budget whose sequences grow with what is mastered


def short_count(value: float) -> str:
    """12345678 -> `12.3M`."""
    for limit, suffix in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= limit:
            return f"{value / limit:.3g}{suffix}"
    return f"{value:.3g}"


def short_time(seconds: float) -> str:
    """4000 -> `1 h 7 min`."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60} min"


def short_bytes(value: float) -> str:
    for limit, suffix in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if value >= limit:
            return f"{value / limit:.3g} {suffix}"
    return f"{value:.0f} B"
