"""What a terminal or a page would act on is written out; everything that people write stays."""

from __future__ import annotations

import unicodedata

import pytest

from procray.visible import on_one_line, visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b]0;title\x07\x1b[2J", "\\x1b]0;title\\x07\\x1b[2J"),
        ("done\rfailed", "done\\rfailed"),
        ("\x9b31m", "\\x9b31m"),
        ("a\u202ebc\u2066", "a\\u202ebc\\u2066"),
        ("a\u2028b", "a\\u2028b"),
        ("two\nlines\tand a tab", "two\nlines\tand a tab"),
        ("−0.016 ± 0.2 · café 中 \U0001f600 ≤ “so”", "−0.016 ± 0.2 · café 中 \U0001f600 ≤ “so”"),
        ("e\u0301 עברית العربية", "e\u0301 עברית العربية"),
    ],
)
def test_what_would_be_obeyed_is_written_out(text: str, shown: str) -> None:
    assert visible(text) == shown
    assert visible(shown) == shown


def test_every_control_character_and_every_mark_of_direction_is_known() -> None:
    for code in range(0x110000):
        character = chr(code)
        turns = unicodedata.bidirectional(character) in ("LRE", "RLE", "PDF", "LRO", "RLO", "LRI", "RLI", "FSI", "PDI")
        if (unicodedata.category(character) == "Cc" and character not in "\n\t") or turns:
            assert visible(character) != character, hex(code)
        if character.isprintable():
            assert visible(character) == character, hex(code)


def test_a_name_makes_no_line_of_its_own() -> None:
    assert on_one_line("lr1\ndone      all\tof it") == "lr1\\ndone      all\\tof it"
