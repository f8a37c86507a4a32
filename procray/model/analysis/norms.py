"""How large the components of a model are, and how far they moved from where they were."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from procray.model.analysis.places import groups_of


def component_norms(weights: Mapping[str, Tensor]) -> list[dict[str, Any]]:
    """The Frobenius norm of every component in every layer, all its tensors together.

    Entries have `component`, `layer` (None outside the blocks), `values` (how many), `frobenius` and `rms`, in the
    order of the components.
    """
    return [
        {
            "component": component,
            "layer": layer,
            "values": int(sum(t.numel() for t in tensors.values())),
            "frobenius": (norm := math.sqrt(sum(float(t.double().square().sum()) for t in tensors.values()))),
            "rms": norm / math.sqrt(sum(t.numel() for t in tensors.values())),
        }
        for (component, layer), tensors in groups_of(weights).items()
    ]


def distances(weights: Mapping[str, Tensor], reference: Mapping[str, Tensor]) -> list[dict[str, Any]]:
    """How far weights are from others of the same shape, by component and layer and by whole component.

    Entries have `component`, `layer` (None outside the blocks; `"all"` for the whole component), `relative`
    (Frobenius norm of the difference over that of the reference) and `cosine`; both None where a norm is 0.
    Components in which a tensor is missing or has another shape are left out.
    """
    entries: list[dict[str, Any]] = []
    whole: dict[str, list[float]] = {}
    skipped: set[str] = set()
    for (component, layer), tensors in groups_of(weights).items():
        if any(name not in reference or reference[name].shape != t.shape for name, t in tensors.items()):
            skipped.add(component)
            continue
        sums = [0.0, 0.0, 0.0, 0.0]  # |w - r|^2, |r|^2, |w|^2, w.r
        for name, tensor in tensors.items():
            w, r = tensor.detach().double(), reference[name].detach().double()
            parts = ((w - r).square(), r.square(), w.square(), w * r)
            sums = [total + float(part.sum()) for total, part in zip(sums, parts, strict=True)]
        entries.append({"component": component, "layer": layer, **_distance(sums)})
        before = whole.get(component, [0.0] * 4)
        whole[component] = [a + b for a, b in zip(before, sums, strict=True)]
    for component, sums in whole.items():
        if component not in skipped:
            entries.append({"component": component, "layer": "all", **_distance(sums)})
    return [entry for entry in entries if entry["component"] not in skipped]


def _distance(sums: Sequence[float]) -> dict[str, float | None]:
    apart, there, here, product = sums
    return {
        "relative": math.sqrt(apart / there) if there else None,
        "cosine": product / math.sqrt(here * there) if here and there else None,
    }
