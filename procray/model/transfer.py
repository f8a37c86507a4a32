"""Transfer: which weights of trained models go into the next one.

The modes are those of arXiv 2601.21725; the mean embeddings those of its diagnostics and of arXiv 2505.22308, whose
composition of parts from several models stands here too. torch is imported inside, so that the names can be looked
up without it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from procray.errors import TransferError, did_you_mean
from procray.model.components import (
    NAMES,
    Embeddings,
    component_of,
    layer_of,
    own_name,
    parse_mode,
    part_of,
    parts_of,
    whole,
)
from procray.model.perturb import Perturbation, perturbed

if TYPE_CHECKING:
    from torch import Tensor

    from procray.model.gpt2 import GPT2
    from procray.model.shape import GPT2Config

    Source = GPT2 | Mapping[str, Tensor] | tuple[Mapping[str, Tensor], GPT2Config]

DRAWN = "drawn anew"
_TABLE, _HEAD, _POSITIONS = "transformer.wte.weight", "lm_head.weight", "transformer.wpe.weight"


@dataclass(frozen=True)
class Piece:
    """What one trained model, or the blend of two, gives to another.

    Attributes:
        source: a model, a dict of its weights, or what `load_weights` returns. A bare dict does not tell the
            number of heads, which is then taken to be the target's.
        parts: components and parts, as in `NAMES`.
        embeddings: "mean": every token embedding and every row of an untied head becomes the source's mean token
            embedding; "copy": row by row, which needs equal vocabularies.
        layers: `{layer of the target: layer of the source}`. Only what stands in a layer is then carried, and depths
            may differ; without it both have the same layers.
        second, weight: carry `(1 - weight) * source + weight * second`, tensor by tensor.
        name, digest, second_name, second_digest: for the manifest.
        mode: the mode that was asked for, for the manifest.
    """

    source: Source
    parts: tuple[str, ...]
    embeddings: Embeddings = "mean"
    layers: Mapping[int, int] | None = None
    second: Source | None = None
    weight: float = 0.5
    name: str | None = None
    digest: str | None = None
    second_name: str | None = None
    second_digest: str | None = None
    mode: str | None = None

    @property
    def origin(self) -> str:
        return self.name or self.digest or "source"


def transfer(
    source: Source,
    target: GPT2,
    mode: str | None = None,
    *,
    components: Iterable[str] | None = None,
    embeddings: Embeddings | None = None,
    layers: Mapping[int, int] | None = None,
    source_digest: str | None = None,
    source_name: str | None = None,
) -> dict[str, Any]:
    """Carries components of a trained model into another, in place; the rest of the target stays as it is.

    The short form of `compose` for one source.

    Args:
        source: as in `Piece`.
        target: the model to write into, freshly initialised.
        mode: as in `parse_mode`. Either this or `components`.
        components: components and parts.
        embeddings: "mean" (the default) or "copy".
        layers: `{layer of the target: layer of the source}`, as in `Piece`.
        source_digest, source_name: recorded in the manifest.

    Returns:
        The manifest, as `compose` returns it.

    Raises:
        TransferError: an unknown component, or weights that do not fit: every offending tensor with both
            shapes. The target is then unchanged.
    """
    chosen, form = _choose(mode, components, embeddings)
    piece = Piece(source, chosen, form, layers, name=source_name, digest=source_digest, mode=mode)
    return compose([piece], target)


def compose(
    pieces: Sequence[Piece],
    target: GPT2,
    perturbation: Perturbation | None = None,
    seed: int = 0,
    role: str = "",
) -> dict[str, Any]:
    """Writes the pieces of several trained models into one, in place; the rest of the target stays as it is.

    Attention, MLPs and normalisations are copied tensor by tensor and need equal widths and, unless `layers` maps
    them, equal depths. Of the positions the first ones are copied where the source has at least as many as the
    target; otherwise they stay random, and the manifest says so. Vocabulary and context may differ. Between tokens
    and the row form of an automaton only attention, mlp and layernorm can go.

    Args:
        perturbation: done to what is carried, before it is written.
        seed, role: of the perturbation.

    Returns:
        The manifest, plain JSON: `sources` (for each piece name, digest, mode, components, embeddings; where given
        layers, second, weight), `parameters` (name -> component, shape, `from`: the source's name, else its digest,
        else "source", or "drawn anew"; of what is carried `digest`, `how`: copied, mean, first rows, interpolated;
        `layer` of the source; `second` and `weight` of a blend; `perturbed`), `counts` (tensors and values carried
        and drawn), `notes`; `perturbation` and its `seed` (and `role`) where there is one.

    Raises:
        TransferError: weights that do not fit, or two pieces for one tensor: everything that is wrong, tensor by
            tensor with both shapes. The target is then unchanged.
    """
    import torch

    wanted: dict[str, Tensor] = dict(target.named_parameters())
    plan: dict[str, tuple[Tensor, dict[str, Any]]] = {}  # target's name -> (value, what the manifest says of it)
    problems: list[str] = []
    notes: list[str] = []
    for piece in pieces:
        found, wrong = _one(piece, target, wanted, notes)
        problems += [f"{piece.origin}: {text}" if len(pieces) > 1 else text for text in wrong]
        for name, (value, about) in found.items():
            if name in plan:
                problems.append(f"{name}: both from {plan[name][1]['from']} and from {about['from']}")
            plan[name] = value, about
    if problems:
        raise TransferError(f"{_heading(pieces, wanted)}:\n  " + "\n  ".join(problems))
    with torch.no_grad():
        for name, (value, about) in plan.items():
            value = value.expand_as(wanted[name])
            if perturbation is not None and perturbation.concerns(name):
                about["perturbed"] = _done(value, perturbation)
                value = perturbed(value, name, perturbation, seed, role)
            wanted[name].copy_(value)
    entries: dict[str, dict[str, Any]] = {
        name: {
            "component": component_of(name),
            "shape": list(parameter.shape),
            **(plan[name][1] if name in plan else {"from": DRAWN}),
        }
        for name, parameter in wanted.items()
    }
    manifest: dict[str, Any] = {
        "sources": [_about(piece) for piece in pieces],
        "parameters": entries,
        "counts": _counts(entries),
        "notes": list(dict.fromkeys(notes)),
    }
    if perturbation is not None:
        manifest |= {"perturbation": perturbation.to_json(), "seed": seed} | ({"role": role} if role else {})
    return manifest


def _one(
    piece: Piece, target: GPT2, wanted: Mapping[str, Tensor], notes: list[str]
) -> tuple[dict[str, tuple[Tensor, dict[str, Any]]], list[str]]:
    """What one piece would write, by the target's names, and what does not fit."""
    found, problems = _from_source(piece, piece.source, target, wanted, notes)
    about: dict[str, Any] = {"from": piece.origin} | ({"digest": piece.digest} if piece.digest else {})
    if piece.second is None:
        return {name: (value, {**about, **how}) for name, (value, how) in found.items()}, problems
    others, wrong = _from_source(piece, piece.second, target, wanted, notes)
    second = piece.second_name or piece.second_digest or "second"
    problems += [f"{second}: {text}" for text in wrong if text not in problems]
    about |= {"second": second, "weight": piece.weight}
    about |= {"second_digest": piece.second_digest} if piece.second_digest else {}
    blend: dict[str, tuple[Tensor, dict[str, Any]]] = {}
    for name in found.keys() & others.keys() if not problems else ():
        (one, how), (other, _) = found[name], others[name]
        blend[name] = (1 - piece.weight) * one + piece.weight * other, {**about, **how, "how": "interpolated"}
    return {name: blend[name] for name in wanted if name in blend}, problems


def _from_source(
    piece: Piece, source: Source, target: GPT2, wanted: Mapping[str, Tensor], notes: list[str]
) -> tuple[dict[str, tuple[Tensor, dict[str, Any]]], list[str]]:
    weights, heads = _weights(source)
    parts = parts_of(piece.parts)
    plan: dict[str, tuple[Tensor, dict[str, Any]]] = {}
    problems: list[str] = []
    _plan_blocks(weights, wanted, parts, piece.layers, plan, problems)
    if {"qkv", "proj"}.intersection(parts) and heads is None:
        notes.append(f"attention: the source does not tell its heads; taken to be {target.config.heads}")
    elif {"qkv", "proj"}.intersection(parts) and heads != target.config.heads:
        problems.append(f"attention: {heads} heads in the source, {target.config.heads} in the target")
    for name in ("embeddings", "positions") if piece.layers is not None else ():
        if name in parts:
            problems.append(f"{name}: these stand in no layer, so no layers can be chosen for them")
    if "embeddings" in parts:
        _plan_embeddings(weights, wanted, piece.embeddings, plan, problems)
    if "positions" in parts:
        _plan_positions(weights, wanted, plan, problems, notes)
    return plan, problems


def _choose(
    mode: str | None, components: Iterable[str] | None, embeddings: Embeddings | None
) -> tuple[tuple[str, ...], Embeddings]:
    if (mode is None) == (components is None):
        raise TransferError("a transfer needs either a mode or components")
    if embeddings not in {None, "mean", "copy"}:
        raise TransferError(f"embeddings travel as 'mean' or 'copy', not {embeddings!r}")
    if mode is not None:
        chosen, form = parse_mode(mode)
        return chosen, embeddings or form
    named = [components] if isinstance(components, str) else list(components or ())
    for name in named:
        if name not in NAMES:
            raise TransferError(f"unknown component '{name}'{did_you_mean(name, NAMES)}; known: {NAMES}")
    return whole(named), embeddings or "mean"


def _weights(source: Source) -> tuple[dict[str, Tensor], int | None]:
    from procray.model.gpt2 import GPT2

    if isinstance(source, GPT2):
        return {name: p.detach() for name, p in source.named_parameters()}, source.config.heads
    given, heads = (source[0], source[1].heads) if isinstance(source, tuple) else (source, None)
    return {own: tensor for name, tensor in given.items() if (own := own_name(name)) is not None}, heads


def _plan_blocks(
    weights: Mapping[str, Tensor],
    wanted: Mapping[str, Tensor],
    parts: Sequence[str],
    layers: Mapping[int, int] | None,
    plan: dict[str, tuple[Tensor, dict[str, Any]]],
    problems: list[str],
) -> None:
    blocks = set(parts) - {"embeddings", "positions"}
    if layers is None:
        names = {name: name for name in (*wanted, *(name for name in weights if name not in wanted))}
    else:
        names = {}
        for target, source in layers.items():
            one, other = f"transformer.h.{target}.", f"transformer.h.{source}."
            here = {name for name in wanted if name.startswith(one)}
            there = {one + name.removeprefix(other) for name in weights if name.startswith(other)}
            if not here:
                problems.append(f"layer {target}: absent in the target")
            if not there:
                problems.append(f"layer {source}: absent in the source")
            names |= {name: other + name.removeprefix(one) for name in sorted(here & there)}
    for name, origin in names.items():
        if part_of(name) not in blocks:
            continue
        mine: Any = tuple(wanted[name].shape) if name in wanted else "absent"
        theirs: Any = tuple(weights[origin].shape) if origin in weights else "absent"
        if mine == theirs:
            layer = layer_of(origin)
            plan[name] = weights[origin], {"how": "copied"} | ({} if layer is None else {"layer": layer})
        else:
            mapped = f" (layer {layer_of(origin)} of the source)" if name != origin else ""
            problems.append(f"{name}: {theirs} in the source{mapped}, {mine} in the target")


def _plan_embeddings(
    weights: Mapping[str, Tensor],
    wanted: Mapping[str, Tensor],
    form: Embeddings,
    plan: dict[str, tuple[Tensor, dict[str, Any]]],
    problems: list[str],
) -> None:
    missing = [place for place, names in (("source", weights), ("target", wanted)) if _TABLE not in names]
    if missing:
        problems.append(
            f"embeddings: the {' and the '.join(missing)} has no token embeddings (the row form of a cellular"
            " automaton has none); only attention, mlp and layernorm can be carried"
        )
        return
    table = weights[_TABLE]
    if form == "mean":
        if table.shape[1] != wanted[_TABLE].shape[1]:
            problems.append(
                f"{_TABLE}: {tuple(table.shape)} in the source, {tuple(wanted[_TABLE].shape)} in the target"
            )
            return
        mean_D = table.float().mean(0)
        plan |= {name: (mean_D, {"how": "mean"}) for name in (_TABLE, _HEAD) if name in wanted}
        return
    head = weights.get(_HEAD, table)  # tied: the table is the head
    if _HEAD not in wanted and not (head is table or head.equal(table)):
        problems.append(f"{_HEAD}: {tuple(head.shape)} in the source, tied to the token embedding in the target")
    for name, value in ((_TABLE, table), (_HEAD, head)):
        if name not in wanted:
            continue
        if value.shape == wanted[name].shape:
            plan[name] = value, {"how": "copied"}
        else:
            problems.append(
                f"{name}: {tuple(value.shape)} in the source, {tuple(wanted[name].shape)} in the target"
                " (copied embeddings need equal vocabularies; 'mean' does not)"
            )


def _plan_positions(
    weights: Mapping[str, Tensor],
    wanted: Mapping[str, Tensor],
    plan: dict[str, tuple[Tensor, dict[str, Any]]],
    problems: list[str],
    notes: list[str],
) -> None:
    if _TABLE not in weights or _TABLE not in wanted:
        problems.append("positions: those of rows and those of tokens mean different things")
        return
    there, here = weights.get(_POSITIONS), wanted[_POSITIONS]
    if there is None:
        problems.append(f"{_POSITIONS}: absent in the source, {tuple(here.shape)} in the target")
    elif there.shape[1] != here.shape[1]:
        problems.append(f"{_POSITIONS}: {tuple(there.shape)} in the source, {tuple(here.shape)} in the target")
    elif there.shape[0] < here.shape[0]:
        notes.append(f"positions: the source has {there.shape[0]}, the target needs {here.shape[0]}: {DRAWN}")
    else:
        plan[_POSITIONS] = there[: here.shape[0]], {"how": "first rows"}


def _heading(pieces: Sequence[Piece], wanted: Mapping[str, Tensor]) -> str:
    into = f"into the target ({_size(wanted)})"
    if len(pieces) > 1:
        listed = "; ".join(f"{', '.join(piece.parts)} from {piece.origin}" for piece in pieces)
        return f"cannot compose {listed} {into}"
    (piece,) = pieces
    named = f" {piece.name}" if piece.name else ""
    size = _size(_weights(piece.source)[0])
    return f"cannot carry {', '.join(piece.parts)} from the source{named} ({size}) {into}"


def _about(piece: Piece) -> dict[str, Any]:
    """What the manifest says of a piece."""
    about: dict[str, Any] = {
        "name": piece.name,
        "digest": piece.digest,
        "mode": piece.mode,
        "components": list(piece.parts),
        "embeddings": piece.embeddings if "embeddings" in piece.parts else None,
    }
    if piece.layers is not None:
        about["layers"] = {str(target): source for target, source in piece.layers.items()}
    if piece.second is not None:
        about |= {"second": piece.second_name, "second_digest": piece.second_digest, "weight": piece.weight}
    return about


def _done(carried: Tensor, perturbation: Perturbation) -> dict[str, Any]:
    """What the manifest says of a perturbed tensor: the standard deviation of its noise beside what was asked for."""
    done = {name: value for name, value in perturbation.to_json().items() if name != "components"}
    if perturbation.sigma is not None:
        done["std"] = float(carried.float().std(correction=0)) * perturbation.sigma
    return done


def _size(weights: Mapping[str, Tensor]) -> str:
    layers = {name.split(".")[2] for name in weights if name.startswith("transformer.h.")}
    widths = {tensor.shape[-1] for name, tensor in weights.items() if name == _POSITIONS}
    return f"{len(layers)} layers" + "".join(f" of width {width}" for width in widths)


def _counts(entries: Mapping[str, Mapping[str, Any]]) -> dict[str, int]:
    counts = {"tensors_carried": 0, "tensors_drawn": 0, "values_carried": 0, "values_drawn": 0}
    for entry in entries.values():
        kind = "drawn" if entry["from"] == DRAWN else "carried"
        counts[f"tensors_{kind}"] += 1
        counts[f"values_{kind}"] += math.prod(entry["shape"])
    return counts
