"""Weights, gradients and moments spread over the workers of a phase (FSDP2), for models too large for copies.

Imported where a phase is spread only: torch's distributed tensors take a while to import.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor

from procray.model.network import Block
from procray.training.objective import Objective


class Shards:
    """A share of every parameter in every worker, as a `Placement`.

    Attention and MLP of each block are gathered before they compute, in the precision of their products, and let go
    again; embeddings, head and normalisations stay gathered from the forward to the backward pass. Shares, gradients,
    moments and sums over workers are float32. Until the last part of a batch every worker holds whole gradients.

    Args:
        objective: with all its weights, on the CPU; afterwards its parameters are shares on `device`.
    """

    spread = True

    def __init__(self, objective: Objective, device: torch.device, world_size: int):
        # Attention and MLP return views; nothing here works in place on what they return.
        warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view tensor")
        mesh = init_device_mesh(device.type, (world_size,))
        # What autocast would round for a product may travel rounded; what it leaves alone may not.
        products = MixedPrecisionPolicy(
            param_dtype=torch.bfloat16 if objective.autocast else None,
            reduce_dtype=torch.float32,
            cast_forward_inputs=False,
        )
        for block in objective.model.blocks:
            assert isinstance(block, Block)
            attention, mlp = block.halves
            fully_shard(attention, mesh=mesh, mp_policy=products)
            fully_shard(mlp, mesh=mesh, mp_policy=products)
            register_fsdp_forward_method(attention, "at")
        self.module: nn.Module = objective
        self._root: FSDPModule = fully_shard(objective, mesh=mesh)
        register_fsdp_forward_method(objective, "states")

    def part(self, last: bool) -> AbstractContextManager[Any]:
        self._root.set_requires_gradient_sync(last)
        return nullcontext()

    def rest(self) -> None:
        self._root.reshard()

    def whole(self, tensor: Tensor) -> Tensor:
        return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor

    def gathered(self, tensors: Mapping[str, Tensor], keep: bool) -> dict[str, Tensor]:
        """In the memory of the host, and one by one, so that a device holds no more than one whole tensor."""
        found: dict[str, Tensor] = {}
        for name, tensor in tensors.items():
            value = self.whole(tensor.detach())
            if keep:
                found[name] = value.cpu()
        return found

    def share(self, value: Tensor, like: Tensor) -> Tensor:
        if not isinstance(like, DTensor):
            return value.to(like.device)
        return distribute_tensor(value.to(like.device), like.device_mesh, like.placements, src_data_rank=None)
