"""Whether the user asked for numbers that do not depend on the number of threads."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path


@cache
def steady_products() -> bool:
    """Whether MKL was told to add products up in one order (`MKL_CBWR=AUTO,STRICT`), on a processor that heeds it.

    Without it the gradients of narrow weights are summed in as many parts as there are threads. It makes products
    slower by far more than a hundredth, and normalisations, softmax and GELU by some hundredths, since these are then
    computed by other calls too (`Norm`, `attention`, `gelu`); so it is for the user to ask.
    """
    try:
        intel = "GenuineIntel" in Path("/proc/cpuinfo").read_text(encoding="utf-8").split("\n\n")[0]
    except OSError:
        return False
    return intel and os.environ.get("MKL_CBWR", "").endswith(",STRICT")
