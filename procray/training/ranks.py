"""What the processes of one phase tell each other beside gradients.

Every decision that all must take alike (to stop, to fail) is taken from values that all hold.
"""

from __future__ import annotations

import torch
import torch.distributed as dist


class Ranks:
    """Sums and votes over the processes of a phase; costs nothing for a single one.

    Works on host values over a gloo group of its own, so that it neither makes a GPU wait nor mixes
    with the order of gradient reductions. The process group must exist already.
    """

    def __init__(self, world_size: int):
        self.world_size = world_size
        self._group = dist.new_group(backend="gloo") if world_size > 1 else None
        self._vote: tuple[torch.Tensor, dist.Work] | None = None

    def add(self, values: list[float]) -> list[float]:
        """Element-wise sums over all ranks; every rank must call it."""
        if self._group is None:
            return values
        sums = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(sums, group=self._group)
        return sums.tolist()

    def any(self, mine: bool) -> bool:
        """Whether some rank said yes: in this call for one process, else in the call before.

        The answer travels while the step in between is computed. Every rank must call it.
        """
        if self._group is None:
            return mine
        answer = self._collect()
        vote = torch.tensor([int(mine)])
        self._vote = (vote, dist.all_reduce(vote, op=dist.ReduceOp.MAX, group=self._group, async_op=True))
        return answer

    def close(self) -> None:
        if self._group is not None:
            self._collect()
            dist.destroy_process_group(self._group)

    def _collect(self) -> bool:
        if self._vote is None:
            return False
        vote, work = self._vote
        work.wait()
        self._vote = None
        return bool(vote.item())
