"""AdamW with weight decay on matrices only."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from procray.model import Network, family_of
from procray.model.components import parts_of
from procray.model.regions import region
from procray.training.placement import on_device
from procray.training.recipe import Optimizer


def freeze(model: Network, names: Iterable[str]) -> dict[str, Tensor]:
    """Takes components and parts out of training: no gradient, no decay, no moments, the same bits to the end.

    A tied head is the token embedding, so freezing `embeddings` freezes it too.

    Returns:
        Of matrices that hold other parts too, by name, where the frozen values lie: they are for `Held`.
    """
    own = family_of(model.config)
    parts, partly = set(parts_of(names, own.parts)), {}
    for name, parameter in model.named_parameters():
        frozen = parts.intersection(own.parts_in(name))
        where = region(model.config, name, frozen) if frozen else None
        parameter.requires_grad_(not frozen or where is not None)
        if where is not None:
            partly[name] = where
    return partly


class Held:
    """The frozen values within matrices that are trained in part; they stay as they are when it is made.

    Args:
        partly: as `freeze` returns it.
        share: places a whole tensor as a parameter is placed.
    """

    def __init__(self, model: nn.Module, partly: Mapping[str, Tensor], share: Callable[[Tensor, Tensor], Tensor]):
        named = dict(model.named_parameters())
        self._held = [
            (named[name], share(where, named[name]), named[name].detach().clone()) for name, where in partly.items()
        ]
        self.places = dict(partly)

    @torch.no_grad()
    def quiet(self) -> None:
        """Takes them out of the gradients, before these are measured and clipped."""
        for parameter, where, _ in self._held:
            if parameter.grad is not None:
                parameter.grad.masked_fill_(where, 0.0)

    @torch.no_grad()
    def restore(self) -> None:
        """Undoes the decay of a step. Their moments stay 0."""
        for parameter, where, kept in self._held:
            parameter.copy_(torch.where(where, kept, parameter))


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """The optimiser's groups: `matrices` with decay, `vectors` without, each ordered by name.

    As is usual for GPT-2, every parameter of two or more dimensions decays, embeddings and positions
    included; biases and normalisations do not. Frozen parameters are in neither. The order is that of the names,
    so that it follows from the shape of the model and from nothing else.
    """
    named = sorted((name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad)
    matrices = [(name, parameter) for name, parameter in named if parameter.ndim >= 2]
    vectors = [(name, parameter) for name, parameter in named if parameter.ndim < 2]
    return [
        {"params": [parameter for _, parameter in chosen], "names": [name for name, _ in chosen], "weight_decay": decay}
        for chosen, decay in ((matrices, weight_decay), (vectors, 0.0))
    ]


class AdamW(torch.optim.AdamW):
    """Torch's, which is never compiled here.

    To tell its compiler that, torch imports it at the first step: 1.5 s and 80 MB in every process that trains. So
    these methods come without what is wrapped around them.
    """

    zero_grad = inspect.unwrap(torch.optim.AdamW.zero_grad)
    add_param_group = inspect.unwrap(torch.optim.AdamW.add_param_group)
    _step = inspect.unwrap(torch.optim.AdamW.step)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        self._step(closure)


def build_optimizer(model: nn.Module, recipe: Optimizer) -> torch.optim.AdamW:
    """Fused AdamW over the groups above; the loop sets the learning rate of every step."""
    return AdamW(
        parameter_groups(model, recipe.weight_decay),
        lr=recipe.lr,
        betas=(recipe.beta1, recipe.beta2),
        eps=recipe.eps,
        fused=True,
    )


def clip_gradients(
    parameters: list[nn.Parameter], limit: float, whole: Callable[[Tensor], Tensor] = lambda norm: norm
) -> Tensor:
    """Scales the gradients down to the global norm `limit` (0: leaves them) and returns the norm before.

    The norm stays on the device: reading it would make the host wait.

    Args:
        whole: makes one number of a norm that is spread over workers, as the gradients are.
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
    if limit > 0:
        torch._foreach_mul_(gradients, (limit / (norm + 1e-6)).clamp(max=1.0))
    return whole(norm)


def moments(optimizer: torch.optim.AdamW) -> dict[str, Tensor]:
    """AdamW's running moments by name, `exp_avg/<parameter>` and `exp_avg_sq/<parameter>`."""
    found = {}
    for group in optimizer.param_groups:
        for name, parameter in zip(group["names"], group["params"], strict=True):
            for key in ("exp_avg", "exp_avg_sq"):
                found[f"{key}/{name}"] = optimizer.state[parameter][key]
    return found


def restore_moments(
    optimizer: torch.optim.AdamW,
    tensors: Mapping[str, Tensor],
    updates: int,
    share: Callable[[Tensor, Tensor], Tensor] = on_device,
) -> None:
    """Puts back what `moments` gave after `updates` steps; `share` places a whole tensor as a parameter is placed."""
    for group in optimizer.param_groups:
        for name, parameter in zip(group["names"], group["params"], strict=True):
            optimizer.state[parameter] = {
                "step": torch.tensor(float(updates), device=parameter.device),
                **{key: share(tensors[f"{key}/{name}"], parameter) for key in ("exp_avg", "exp_avg_sq")},
            }
