"""The names that the store gives, and only what has one is ever deleted: one strict parser for all of them.

A number is one to eighteen of the digits 0 to 9; what Python takes for a digit beside them is none.
"""

from __future__ import annotations

import re

_NUMBER = r"[0-9]{1,18}"
_END = r"[a-z0-9_]{8}"  # as tempfile and `write_atomic` draw it
_ID = re.compile(r"[0-9a-f]{16}")
_GONE = re.compile(rf"\.gone-[0-9a-f]{{16}}-{_NUMBER}")
_FILLING = re.compile(rf"\.tmp-({_NUMBER})-{_NUMBER}")
_BRINGING = re.compile(r"\.bring-[0-9a-f]{8}")
_UNFINISHED = re.compile(rf"\.(clock-{_END}|claim-{_END}|progress-{_NUMBER}|[0-9a-f]{{8}}-progress\.json|.+\.{_END})")
_OF_THE_STORE = re.compile(rf"\.(clock-|(machine\.json|store-id)\.){_END}")


def is_id(name: str) -> bool:
    """Of a phase's folder, or a corpus's."""
    return _ID.fullmatch(name) is not None


def is_gone(name: str) -> bool:
    """Of a phase that was being deleted."""
    return _GONE.fullmatch(name) is not None


def filled_by(name: str) -> int | None:
    """The attempt that fills a mark or a resume state under this name; None for any other name."""
    found = _FILLING.fullmatch(name)
    return int(found[1]) if found else None


def is_unfinished(name: str) -> bool:
    """Of a file that is being written, and then gets another name."""
    return _UNFINISHED.fullmatch(name) is not None


def is_unfinished_of_store(name: str) -> bool:
    """The same, of a file that stands in the store's own folder."""
    return _OF_THE_STORE.fullmatch(name) is not None


def is_left(name: str) -> bool:
    """Of a file below a phase, with `/` between folders, that only an attempt that was killed can have left."""
    *folders, last = name.split("/")
    if len(folders) == 2 and folders[0] in ("marks", "resume"):
        return filled_by(folders[1]) is not None or _BRINGING.fullmatch(folders[1]) is not None
    return len(folders) <= 1 and is_unfinished(last)
