"""What a fresh model takes over from the marks of its parents, as the recipe's init says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from procray.files import read_json, sha256_file
from procray.model import Network, Piece, compose, load_weights
from procray.model.components import whole
from procray.model.families import family_of
from procray.model.outside import OUTSIDE, Outside
from procray.training.context import Context
from procray.training.recipe import Parent, PhaseRecipe


def carry_in(model: Network, recipe: PhaseRecipe, context: Context) -> dict[str, Any] | None:
    """Writes the weights that the recipe names into a fresh model; returns the manifest."""
    init = recipe.init
    parents = {parent: context.parent(parent) for parent in init.parents()}
    if not parents:
        return None
    weights = {parent: load_weights(folder) for parent, folder in parents.items()}
    names = {parent: _named(parent, folder) for parent, folder in parents.items()}
    alike: dict[Any, list[str]] = {}  # parts that come in the same way are one piece
    for share in init.every_share():
        alike.setdefault((share.parent, share.second, share.weight, share.layers, share.heads), []).append(share.part)
    pieces = []
    for (parent, second, weight, layers, heads), parts in alike.items():
        name, known = names[parent]
        other, other_known = names[second] if second else (None, None)
        pieces.append(
            Piece(
                weights[parent],
                whole(parts, family_of(model.config).parts),
                init.embeddings,
                None if layers is None else dict(layers),
                None if heads is None else dict(heads),
                weights[second] if second else None,
                0.0 if weight is None else weight,
                name,
                known,
                other,
                other_known,
            )
        )
    return compose(pieces, model, init.perturb, recipe.seed, recipe.role)


def _named(parent: Parent, folder: Path) -> tuple[str, str]:
    """What a manifest calls a parent, and the digest of its weights; of an outside checkpoint those of the original."""
    if (folder / OUTSIDE).exists():
        origin = Outside.from_json(read_json(folder / OUTSIDE))
        return f"{origin.name} (outside)", origin.digest or ""
    return f"{parent.phase}@{parent.step}", sha256_file(folder / "model.safetensors")
