"""What keys random numbers of a phase: its seed, its role, and what they are for.

A role says what a phase is for the chain that it belongs to: `target/semantic`, `warmup/union`, with `#1` and so on
for further ones of that kind. Phases of one seed and role draw alike, whatever came before them, so that a baseline
and its variants are paired; phases of other roles draw independently of them.
"""

from __future__ import annotations

import hashlib


def draw_key(seed: int, role: str, *what: object) -> int:
    """A key of 63 bits for a generator of torch. An empty role is none: the seed alone keys, with what it is for."""
    text = "/".join(map(str, [seed, role, *what] if role else [seed, *what]))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) >> 1
