"""Perturbations: what is left of a transfer's effect when the carried weights lose their values or their order.

The controls of arXiv 2505.22308 (noise, permutation within a layer) and 2601.21725 (permutation that keeps the
magnitudes, weights of matched scale). torch is imported inside, so that the names can be looked up without it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from procray.errors import TransferError
from procray.model.components import EVERY, parts_of
from procray.model.draws import draw_key
from procray.model.families import component_of
from procray.records import wrong

if TYPE_CHECKING:
    from torch import Tensor

# The one manner of each kind so far, as the sweep file names it.
MANNERS = {"shuffle": "per_layer", "random": "norm_matched"}


@dataclass(frozen=True)
class Perturbation:
    """What is done to carried weights before training begins.

    Attributes:
        kind: "noise" adds Gaussian noise; "shuffle" permutes the values of each tensor within the tensor;
            "random" replaces each tensor by Gaussian numbers of the same Frobenius norm.
        sigma: of noise, in standard deviations of the tensor itself.
        components: components and parts to which it is limited; none named: everything that was carried.

    Raises:
        TransferError: noise without a positive sigma, or a sigma without noise.
    """

    kind: Literal["noise", "shuffle", "random"]
    sigma: float | None = None
    components: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if (self.kind == "noise") != (self.sigma is not None) or (self.sigma is not None and not self.sigma > 0):
            raise TransferError(f"a perturbation is noise with a sigma above 0, shuffle or random, not {self}")

    @property
    def words(self) -> str:
        """For people: `noise 0.05`, `shuffled`, `random of the same norm`."""
        return {"noise": f"noise {self.sigma:g}" if self.sigma else "", "shuffle": "shuffled"}.get(
            self.kind, "random of the same norm"
        )

    def concerns(self, parts: Iterable[str]) -> tuple[str, ...]:
        """Those of some parts that it acts on, if they were carried."""
        named = parts_of(self.components, EVERY)
        return tuple(part for part in parts if not self.components or part in named)

    def to_json(self) -> dict[str, Any]:
        """As the sweep file writes it: `{"noise": 0.05}`, `{"shuffle": "per_layer", "components": ["attention"]}`."""
        value: dict[str, Any] = {self.kind: self.sigma if self.kind == "noise" else MANNERS[self.kind]}
        return value | ({"components": list(self.components)} if self.components else {})

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Perturbation:
        kind = next(name for name in ("noise", "shuffle", "random") if name in value)
        sigma = float(value["noise"]) if kind == "noise" else None
        return Perturbation(kind, sigma, tuple(value.get("components", ())))  # type: ignore[arg-type]


def perturbation_form(value: Any) -> str:
    """As a form of `procray.records`: what `Perturbation.to_json` gives."""
    kinds = [name for name in ("noise", "shuffle", "random") if isinstance(value, dict) and name in value]
    if len(kinds) != 1:
        return "not a perturbation"
    if kinds == ["noise"] and (wrong(value["noise"], float) or not value["noise"] > 0):
        return "noise without a number above 0"
    return wrong(value.get("components", []), [str])


def perturbed(
    tensor: Tensor, name: str, perturbation: Perturbation, seed: int, role: str = "", parts: tuple[str, ...] = ()
) -> Tensor:
    """A perturbed copy of one carried tensor, on the CPU in float32; the same for the same seed, role and name.

    - noise: `x + sigma * std(x) * z`, z standard normal and the same for every sigma. A constant tensor, such as a
      bias that is still zero, has no standard deviation and stays.
    - shuffle: the same values in another order, whatever the tensor: magnitudes and norm are kept exactly.
    - random: Gaussian numbers rescaled to the tensor's Frobenius norm. Matrices and biases are drawn around
      zero, as they are at initialisation; gains of normalisations around the mean of the gain and with its
      spread, since a gain of zero mean would flip the sign of half the features. A tensor of zeros stays zero.

    Args:
        name: the parameter's name, which keys the random numbers, with the seed and role of the phase that is begun.
        parts: what of the parameter the values are, where they are not all of it; they key, too.
    """
    import torch

    generator = torch.Generator("cpu").manual_seed(draw_key(seed, role, perturbation.kind, name, *parts))
    x = tensor.detach().to("cpu", torch.float32)
    if perturbation.kind == "shuffle":
        return x.flatten()[torch.randperm(x.numel(), generator=generator)].view(x.shape)
    z = torch.empty(x.shape).normal_(generator=generator)
    if perturbation.kind == "noise":
        return x + float(perturbation.sigma or 0.0) * x.std(correction=0) * z
    if component_of(name) == "layernorm" and name.endswith("weight"):
        z = x.mean() + x.std(correction=0) * z
    # In float64: the square root of a float32 sum of squares would miss the norm by more than one bit.
    scale = x.double().norm() / z.double().norm()
    return (z.double() * scale).to(torch.float32) if bool(scale.isfinite()) else x.clone()
