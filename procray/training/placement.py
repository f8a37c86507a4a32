"""Where the weights of a phase are: a copy in every worker, or (`shard`) a share of them in each."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from procray.training.objective import Objective


class Placement(Protocol):
    """What the loop asks of either; every worker makes every call, in the same order."""

    @property
    def spread(self) -> bool:
        """Whether no worker holds everything."""

    @property
    def module(self) -> nn.Module:
        """What to call in place of the objective, so that gradients are averaged over the workers."""

    def part(self, last: bool) -> AbstractContextManager[Any]:
        """Around one part of a batch: gradients travel with the last one only."""

    def rest(self) -> None:
        """After an evaluation, which has no backward pass to let go of what was gathered for it."""

    def whole(self, tensor: Tensor) -> Tensor:
        """All of a tensor, on the device."""

    def gathered(self, tensors: Mapping[str, Tensor], keep: bool) -> dict[str, Tensor]:
        """Whole tensors, to be written by the worker that keeps them."""

    def share(self, value: Tensor, like: Tensor) -> Tensor:
        """What this worker holds of a whole tensor, placed as `like` is."""


class Copies:
    """A copy of everything in every worker, on `device`; of several workers DistributedDataParallel sums gradients."""

    spread = False

    def __init__(self, objective: Objective, device: torch.device, world_size: int):
        objective.to(device)
        self.module: nn.Module = objective
        self._parallel: DistributedDataParallel | None = None
        if world_size > 1:
            # Buckets stay at torch's 25 MB: the first ones travel early, and the embedding, which is ready last,
            # is a bucket of its own. A static graph would only save what rebuilding them once costs.
            self.module = self._parallel = DistributedDataParallel(
                objective,
                device_ids=None if device.index is None else [device],
                gradient_as_bucket_view=True,
            )

    def part(self, last: bool) -> AbstractContextManager[Any]:
        return nullcontext() if last or self._parallel is None else self._parallel.no_sync()

    def rest(self) -> None:
        return

    def whole(self, tensor: Tensor) -> Tensor:
        return tensor

    def gathered(self, tensors: Mapping[str, Tensor], keep: bool) -> dict[str, Tensor]:
        return dict(tensors)

    def share(self, value: Tensor, like: Tensor) -> Tensor:
        return on_device(value, like)


def on_device(value: Tensor, like: Tensor) -> Tensor:
    return value.to(like.device)
