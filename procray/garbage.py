"""Python's collector of reference cycles, which costs as much as planning itself where everything made is kept."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def keeping_everything() -> Iterator[None]:
    """Leaves the collector off in the block, which makes many objects and drops few.

    It would look at all of them again and again; what a block drops is freed as always, but for cycles.
    """
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            if not gc.get_freeze_count():  # else it is inside of `set_aside`
                gc.freeze()  # and back: all at once among the old, or it would look at everything as soon as it is on
                gc.unfreeze()
            gc.enable()


@contextmanager
def set_aside() -> Iterator[None]:
    """Keeps the collector off what is there already; it goes on with what the block makes.

    Beside a large plan one of its looks at everything holds up for half a second whoever waits for an answer.
    """
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
