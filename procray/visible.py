"""Text from outside is shown, never obeyed: characters that a terminal or a page would act on are written out.

A reason in a store, a name in a plan or a line of a log may hold an escape sequence that clears the screen, a carriage
return that writes over what stands there, or a mark that turns the direction of what follows. Whoever can write to a
store chooses these texts; who reads them should see what they say.
"""

from __future__ import annotations

import re

# C0 without tab and newline, DEL and C1; marks of direction and its overrides; separators of lines that are no newline;
# the soft hyphen and what has no width, which hide or part words; halves of characters are left to the encoding.
_ACTED_ON = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u200b\u200e\u200f\u2028\u2029\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]"
)
_BREAKS = re.compile(r"[\t\n]")


def visible(text: str) -> str:
    r"""`text` with `\x1b`, `\u202e` and the like in place of what would be acted on; newlines and tabs stay."""
    return text if text.isprintable() else _ACTED_ON.sub(_written, text)


def on_one_line(text: str) -> str:
    r"""As `visible`, for what must not look like lines of its own: a newline is `\n`, a tab `\t`."""
    if text.isprintable():
        return text
    return _BREAKS.sub(lambda found: "\\n" if found[0] == "\n" else "\\t", visible(text))


def _written(found: re.Match[str]) -> str:
    if found[0] == "\r":
        return "\\r"
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
