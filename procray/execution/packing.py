"""How many workers a node has room for, as Ray places them.

A worker's share of a GPU lies on one GPU: two GPUs with 0.4 left each have no room for 0.6. Above one GPU Ray gives
whole ones only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

_NEAR = 1e-9  # what sums of fractions are off


class Free:
    """What is left on one node: processors, and of each GPU its share."""

    __slots__ = ("cpu", "gpus")

    def __init__(self, node: Mapping[str, float]):
        self.cpu = float(node.get("CPU", 0.0))
        self.gpus = [1.0] * int(node.get("GPU", 0.0) + _NEAR)

    def copy(self) -> Free:
        other = Free({})
        other.cpu, other.gpus = self.cpu, self.gpus.copy()
        return other

    @property
    def size(self) -> tuple[float, float]:
        """GPUs and processors that are left; the smallest that has room is taken first."""
        return sum(self.gpus), self.cpu

    def has_room(self, cpu: float, gpu: float) -> bool:
        """The same as `copies` above 0, sooner: it is asked of each node for each segment that runs."""
        if self.cpu < cpu - _NEAR:
            return False
        if gpu >= 1:
            return self.gpus.count(1.0) >= gpu and is_whole(gpu)
        return not gpu or (bool(self.gpus) and max(self.gpus) >= gpu - _NEAR)

    def copies(self, cpu: float, gpu: float) -> int:
        """How many workers of so many processors and GPUs there is room for."""
        fits = [self.cpu / cpu] if cpu else []
        if gpu >= 1:
            if not is_whole(gpu):
                return 0
            fits.append(self.gpus.count(1.0) // round(gpu))
        elif gpu:
            fits.append(sum(math.floor(share / gpu + _NEAR) for share in self.gpus))
        return max(0, math.floor(min(fits, default=1.0) + _NEAR))

    def take(self, cpu: float, gpu: float) -> None:
        """Takes what one worker asks for, or as much of it as there is.

        A share comes from the fullest GPU that has room for it, so that whole ones are left.
        """
        self.cpu = max(0.0, self.cpu - cpu)
        if gpu >= 1:
            for number in sorted(range(len(self.gpus)), key=lambda at: -self.gpus[at])[: round(gpu)]:
                self.gpus[number] = 0.0
        elif gpu and self.gpus:
            roomy = [at for at, share in enumerate(self.gpus) if share >= gpu - _NEAR]
            number = min(roomy, key=self.gpus.__getitem__) if roomy else self.gpus.index(max(self.gpus))
            self.gpus[number] = max(0.0, self.gpus[number] - gpu)

    def lacks(self, cpu: float, gpu: float) -> tuple[float, float]:
        """How many GPUs and processors are missing for one worker."""
        if gpu >= 1:
            missing = max(0.0, gpu - self.gpus.count(1.0))
        else:
            missing = max(0.0, gpu - max(self.gpus, default=0.0))
        return missing, max(0.0, cpu - self.cpu)


def is_whole(gpu: float) -> bool:
    return abs(gpu - round(gpu)) < _NEAR
