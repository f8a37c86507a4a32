"""Transfer: which weights of trained models go into the next one.

The modes are those of arXiv 2601.21725; the mean embeddings those of its diagnostics and of arXiv 2505.22308, whose
composition of parts from several models stands here too. torch is imported inside, so that the names can be looked
up without it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from procray.errors import TransferError, did_you_mean
from procray.model.carried import DRAWN, Carried, Plan, counts, entry
from procray.model.components import NAMES, PARTS, Embeddings, parse_mode, parts_of, refuse_absent, whole
from procray.model.families import family_of
from procray.model.family import Family, ModelConfig
from procray.model.perturb import Perturbation, perturbed
from procray.model.regions import cut_groups, has_heads, region

if TYPE_CHECKING:
    from torch import Tensor

    from procray.model.network import Network

    Source = Network | Mapping[str, Tensor] | tuple[Mapping[str, Tensor], ModelConfig]


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
        heads: `{layer: heads}`: of attention only these, with their queries, keys, values and rows of the projection
            behind them; its bias, which all heads share, is not carried. Only these layers are.
        second, weight: carry `(1 - weight) * source + weight * second`, tensor by tensor.
        name, digest, second_name, second_digest: for the manifest.
        mode: the mode that was asked for, for the manifest.
    """

    source: Source
    parts: tuple[str, ...]
    embeddings: Embeddings = "mean"
    layers: Mapping[int, int] | None = None
    heads: Mapping[int, tuple[int, ...]] | None = None
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
    target: Network,
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
    chosen, form = _choose(family_of(target.config), mode, components, embeddings)
    piece = Piece(source, chosen, form, layers, name=source_name, digest=source_digest, mode=mode)
    return compose([piece], target)


def compose(
    pieces: Sequence[Piece],
    target: Network,
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
    plan: dict[str, list[Carried]] = {}  # by the target's name
    problems: list[str] = []
    notes: list[str] = []
    for piece in pieces:
        found, wrong = _one(piece, target, wanted, notes)
        problems += [f"{piece.origin}: {text}" if len(pieces) > 1 else text for text in wrong]
        for name, carried in found.items():
            for other in plan.get(name, ()):
                if _meet(other, carried):
                    problems.append(f"{name}: both from {other.about['from']} and from {carried.about['from']}")
            plan.setdefault(name, []).append(carried)
    if problems:
        raise TransferError(f"{_heading(pieces, target, wanted)}:\n  " + "\n  ".join(problems))
    with torch.no_grad():
        for name, several in plan.items():
            for carried in several:
                _write(target, name, wanted[name], carried, perturbation, seed, role)
    entries = {name: entry(target.config, name, parameter, plan.get(name, [])) for name, parameter in wanted.items()}
    manifest: dict[str, Any] = {
        "sources": [_about(piece) for piece in pieces],
        "parameters": entries,
        "counts": counts(entries),
        "notes": list(dict.fromkeys(notes)),
    }
    if perturbation is not None:
        manifest |= {"perturbation": perturbation.to_json(), "seed": seed} | ({"role": role} if role else {})
    return manifest


def _write(
    target: Network,
    name: str,
    parameter: Tensor,
    carried: Carried,
    perturbation: Perturbation | None,
    seed: int,
    role: str,
) -> None:
    """Writes what is carried, and has it perturbed before; a matrix of several parts may be touched in part."""
    value = carried.value.expand_as(parameter)
    here = region(target.config, name, carried.parts, carried.heads)
    touched = () if perturbation is None else perturbation.concerns(carried.parts)
    if perturbation is not None and touched:
        where = region(target.config, name, touched, carried.heads)
        chosen = value if where is None else value[where]
        carried.about["perturbed"] = _done(chosen, perturbation)
        if where is not None and touched != carried.parts:
            carried.about["perturbed"]["parts"] = list(touched)
        changed = perturbed(
            chosen, name, perturbation, seed, role, () if where is None else (*touched, *map(str, carried.heads or ()))
        )
        if where is None:
            value = changed
        else:
            value = value.to(changed.dtype).cpu().clone()
            value[where] = changed
    if here is None:
        parameter.copy_(value)
    else:
        here = here.to(parameter.device)
        parameter[here] = value.to(parameter)[here]


def _one(piece: Piece, target: Network, wanted: Mapping[str, Tensor], notes: list[str]) -> tuple[Plan, list[str]]:
    """What one piece would write, by the target's names, and what does not fit."""
    found, problems = _from_source(piece, piece.source, target, wanted, notes)
    about: dict[str, Any] = {"from": piece.origin} | ({"digest": piece.digest} if piece.digest else {})
    if piece.second is None:
        return {name: replace(one, about={**about, **one.about}) for name, one in found.items()}, problems
    others, wrong = _from_source(piece, piece.second, target, wanted, notes)
    second = piece.second_name or piece.second_digest or "second"
    problems += [f"{second}: {text}" for text in wrong if text not in problems]
    about |= {"second": second, "weight": piece.weight}
    about |= {"second_digest": piece.second_digest} if piece.second_digest else {}
    blend: Plan = {}
    for name in found.keys() & others.keys() if not problems else ():
        one, other = found[name], others[name]
        value = (1 - piece.weight) * one.value + piece.weight * other.value
        blend[name] = Carried(value, {**about, **one.about, "how": "interpolated"}, one.parts)
    return {name: blend[name] for name in wanted if name in blend}, problems


def _from_source(
    piece: Piece, source: Source, target: Network, wanted: Mapping[str, Tensor], notes: list[str]
) -> tuple[Plan, list[str]]:
    own = family_of(target.config)
    weights, config = _weights(source, own)
    if config is not None and config.family != target.config.family:
        theirs = family_of(config).title
        return {}, [f"the source is a {theirs}, the target a {own.title}: their weights do not mean the same"]
    parts = parts_of(piece.parts, own.parts)
    plan: Plan = {}
    problems: list[str] = []
    layers = piece.layers if piece.heads is None else {layer: layer for layer in piece.heads}
    _plan_blocks(own, weights, wanted, parts, layers, plan, problems)
    if {"q", "k", "v", "proj"}.intersection(parts):
        heads = target.config.heads
        if config is None:
            notes.append(f"attention: the source does not tell its heads; taken to be {heads}")
        elif config.heads != heads:
            problems.append(f"attention: {config.heads} heads in the source, {heads} in the target")
    for name in ("embeddings", "positions") if piece.layers is not None else ():
        if name in parts:
            problems.append(f"{name}: these stand in no layer, so no layers can be chosen for them")
    if "embeddings" in parts:
        _plan_embeddings(own, weights, wanted, piece.embeddings, plan, problems)
    if "positions" in parts:
        _plan_positions(own, weights, wanted, plan, problems, notes)
    for name, one in plan.items():
        one.parts = tuple(part for part in own.parts_in(name) if part in parts)
    if piece.heads is not None:
        problems += _choose_heads(own, target, parts, piece.heads, plan)
    return plan, problems


def _choose_heads(
    own: Family, target: Network, parts: Sequence[str], heads: Mapping[int, tuple[int, ...]], plan: Plan
) -> list[str]:
    """Limits a plan to some heads; what is wrong with them."""
    problems = [f"{part}: only attention has heads" for part in parts if part not in PARTS["attention"]]
    for layer, chosen in heads.items():
        problems += [f"layer {layer} has no head {head}" for head in chosen if head >= target.config.heads]
        problems += cut_groups(target.config, parts, layer, chosen)
    for name in [name for name in plan if not has_heads(target.config, name)]:
        del plan[name]
    for name, one in plan.items():
        stands = own.layer_of(name)
        assert stands is not None
        one.heads = heads[stands]
    return problems


def _meet(one: Carried, other: Carried) -> bool:
    """Whether two pieces carry one value."""
    parts = set(one.parts).intersection(other.parts)
    return bool(parts) and (one.heads is None or other.heads is None or bool({*one.heads} & {*other.heads}))


def _choose(
    own: Family, mode: str | None, components: Iterable[str] | None, embeddings: Embeddings | None
) -> tuple[tuple[str, ...], Embeddings]:
    if (mode is None) == (components is None):
        raise TransferError("a transfer needs either a mode or components")
    if embeddings not in {None, "mean", "copy"}:
        raise TransferError(f"embeddings travel as 'mean' or 'copy', not {embeddings!r}")
    if mode is not None:
        chosen, form = parse_mode(mode, own)
        return chosen, embeddings or form
    named = [components] if isinstance(components, str) else list(components or ())
    for name in named:
        if name not in NAMES:
            raise TransferError(f"unknown component '{name}'{did_you_mean(name, NAMES)}; known: {NAMES}")
    refuse_absent(named, own)
    return whole(named, own.parts), embeddings or "mean"


def _weights(source: Source, own: Family) -> tuple[dict[str, Tensor], ModelConfig | None]:
    """The weights of a source under our names, and its shape where it tells it; else it is of the target's family."""
    from procray.model.network import Network

    if isinstance(source, Network):
        return {name: p.detach() for name, p in source.named_parameters()}, source.config
    given, config = source if isinstance(source, tuple) else (source, None)
    own = own if config is None else family_of(config)
    return {name: tensor for raw, tensor in given.items() if (name := own.own_name(raw)) is not None}, config


def _plan_blocks(
    own: Family,
    weights: Mapping[str, Tensor],
    wanted: Mapping[str, Tensor],
    parts: Sequence[str],
    layers: Mapping[int, int] | None,
    plan: Plan,
    problems: list[str],
) -> None:
    blocks = set(parts) - {"embeddings", "positions"}
    if layers is None:
        names = {name: name for name in (*wanted, *(name for name in weights if name not in wanted))}
    else:
        names = {}
        for target, source in layers.items():
            one, other = own.block(target), own.block(source)
            here = {name for name in wanted if name.startswith(one)}
            there = {one + name.removeprefix(other) for name in weights if name.startswith(other)}
            if not here:
                problems.append(f"layer {target}: absent in the target")
            if not there:
                problems.append(f"layer {source}: absent in the source")
            names |= {name: other + name.removeprefix(one) for name in sorted(here & there)}
    for name, origin in names.items():
        if not blocks.intersection(own.parts_in(name)):
            continue
        mine: Any = tuple(wanted[name].shape) if name in wanted else "absent"
        theirs: Any = tuple(weights[origin].shape) if origin in weights else "absent"
        if mine == theirs:
            layer = own.layer_of(origin)
            plan[name] = Carried(weights[origin], {"how": "copied"} | ({} if layer is None else {"layer": layer}))
        else:
            mapped = f" (layer {own.layer_of(origin)} of the source)" if name != origin else ""
            problems.append(f"{name}: {theirs} in the source{mapped}, {mine} in the target")


def _plan_embeddings(
    own: Family,
    weights: Mapping[str, Tensor],
    wanted: Mapping[str, Tensor],
    form: Embeddings,
    plan: Plan,
    problems: list[str],
) -> None:
    table_name, head_name = own.table, own.head
    missing = [place for place, names in (("source", weights), ("target", wanted)) if table_name not in names]
    if missing:
        problems.append(
            f"embeddings: the {' and the '.join(missing)} has no token embeddings (the row form of a cellular"
            " automaton has none); only attention, mlp and layernorm can be carried"
        )
        return
    table = weights[table_name]
    if form == "mean":
        if table.shape[1] != wanted[table_name].shape[1]:
            problems.append(
                f"{table_name}: {tuple(table.shape)} in the source, {tuple(wanted[table_name].shape)} in the target"
            )
            return
        mean_D = table.float().mean(0)
        plan |= {name: Carried(mean_D, {"how": "mean"}) for name in (table_name, head_name) if name in wanted}
        return
    head = weights.get(head_name, table)  # tied: the table is the head
    if head_name not in wanted and not (head is table or head.equal(table)):
        problems.append(f"{head_name}: {tuple(head.shape)} in the source, tied to the token embedding in the target")
    for name, value in ((table_name, table), (head_name, head)):
        if name not in wanted:
            continue
        if value.shape == wanted[name].shape:
            plan[name] = Carried(value, {"how": "copied"})
        else:
            problems.append(
                f"{name}: {tuple(value.shape)} in the source, {tuple(wanted[name].shape)} in the target"
                " (copied embeddings need equal vocabularies; 'mean' does not)"
            )


def _plan_positions(
    own: Family,
    weights: Mapping[str, Tensor],
    wanted: Mapping[str, Tensor],
    plan: Plan,
    problems: list[str],
    notes: list[str],
) -> None:
    assert own.positions is not None, "only a family with a table of positions has that part"
    name = own.positions
    if own.table not in weights or own.table not in wanted:
        problems.append("positions: those of rows and those of tokens mean different things")
        return
    there, here = weights.get(name), wanted[name]
    if there is None:
        problems.append(f"{name}: absent in the source, {tuple(here.shape)} in the target")
    elif there.shape[1] != here.shape[1]:
        problems.append(f"{name}: {tuple(there.shape)} in the source, {tuple(here.shape)} in the target")
    elif there.shape[0] < here.shape[0]:
        notes.append(f"positions: the source has {there.shape[0]}, the target needs {here.shape[0]}: {DRAWN}")
    else:
        plan[name] = Carried(there[: here.shape[0]], {"how": "first rows"})


def _heading(pieces: Sequence[Piece], target: Network, wanted: Mapping[str, Tensor]) -> str:
    own = family_of(target.config)
    into = f"into the target ({_size(own, wanted)})"
    if len(pieces) > 1:
        listed = "; ".join(f"{', '.join(piece.parts)} from {piece.origin}" for piece in pieces)
        return f"cannot compose {listed} {into}"
    (piece,) = pieces
    named = f" {piece.name}" if piece.name else ""
    weights, config = _weights(piece.source, own)
    size = _size(own if config is None else family_of(config), weights)
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


def _size(own: Family, weights: Mapping[str, Tensor]) -> str:
    layers = {layer for name in weights if (layer := own.layer_of(name)) is not None}
    widths = {tensor.shape[-1] for name, tensor in weights.items() if name == (own.positions or own.table)}
    return f"{len(layers)} layers" + "".join(f" of width {width}" for width in widths)
