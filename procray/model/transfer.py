"""Transfer: which weights of a procedurally trained model go into the next one.

The modes are those of arXiv 2601.21725; the mean embeddings those of its diagnostics and of arXiv 2505.22308.
torch is imported inside, so that the names can be looked up without it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from procray.errors import TransferError, did_you_mean
from procray.model.components import COMPONENTS, Embeddings, component_of, own_name, parse_mode

if TYPE_CHECKING:
    from torch import Tensor

    from procray.model.gpt2 import GPT2
    from procray.model.shape import GPT2Config

    Source = GPT2 | Mapping[str, Tensor] | tuple[Mapping[str, Tensor], GPT2Config]

DRAWN = "drawn anew"
_TABLE, _HEAD, _POSITIONS = "transformer.wte.weight", "lm_head.weight", "transformer.wpe.weight"


def transfer(
    source: Source,
    target: GPT2,
    mode: str | None = None,
    *,
    components: Iterable[str] | None = None,
    embeddings: Embeddings | None = None,
    source_digest: str | None = None,
    source_name: str | None = None,
) -> dict[str, Any]:
    """Carries components of a trained model into another, in place; the rest of the target stays as it is.

    Attention, MLPs and normalisations are copied tensor by tensor and need equal widths and depths.
    Embeddings are carried as their mean (every token embedding and every row of an untied head becomes
    the source's mean token embedding) or copied (equal vocabularies). Of the positions the first ones are
    copied where the source has at least as many as the target; otherwise they stay random, and the
    manifest says so. Vocabulary and context may differ. Between tokens and the row form only attention,
    mlp and layernorm can go. To compose several parents, call once for each.

    Args:
        source: a model, a dict of its weights, or what `load_weights` returns. A bare dict does not tell the
            number of heads, which is then taken to be the target's.
        target: the model to write into, freshly initialised.
        mode: as in `parse_mode`. Either this or `components`.
        components: names from `COMPONENTS`.
        embeddings: "mean" (the default) or "copy".
        source_digest, source_name: recorded in the manifest.

    Returns:
        The manifest, plain JSON: `sources` (name, digest, mode, components, embeddings), `parameters` (name ->
        component, shape, `from`: the source's name, else its digest, else "source", or "drawn anew"; and `how`:
        copied, mean, first rows), `counts` (tensors and values carried and drawn), `notes`.

    Raises:
        TransferError: an unknown component, or weights that do not fit: every offending tensor with both
            shapes. The target is then unchanged.
    """
    import torch

    chosen, form = _choose(mode, components, embeddings)
    weights, heads = _weights(source)
    plan: dict[str, tuple[Tensor, str]] = {}  # target's name -> (value, how)
    problems: list[str] = []
    notes: list[str] = []
    wanted: dict[str, Tensor] = dict(target.named_parameters())
    _plan_blocks(weights, wanted, chosen, plan, problems)
    if "attention" in chosen and heads is None:
        notes.append(f"attention: the source does not tell its heads; taken to be {target.config.heads}")
    elif "attention" in chosen and heads != target.config.heads:
        problems.append(f"attention: {heads} heads in the source, {target.config.heads} in the target")
    if "embeddings" in chosen:
        _plan_embeddings(weights, wanted, form, plan, problems)
    if "positions" in chosen:
        _plan_positions(weights, wanted, plan, problems, notes)
    if problems:
        named = f" {source_name}" if source_name else ""
        raise TransferError(
            f"cannot carry {', '.join(chosen)} from the source{named} ({_size(weights)}) into the target"
            f" ({_size(wanted)}):\n  " + "\n  ".join(problems)
        )
    with torch.no_grad():
        for name, (value, _) in plan.items():
            wanted[name].copy_(value.expand_as(wanted[name]))
    origin = source_name or source_digest or "source"
    entries: dict[str, dict[str, Any]] = {}
    for name, parameter in wanted.items():
        carried = {"from": origin, "how": plan[name][1]} if name in plan else {"from": DRAWN}
        entries[name] = {"component": component_of(name), "shape": list(parameter.shape), **carried}
    about = {
        "name": source_name,
        "digest": source_digest,
        "mode": mode,
        "components": list(chosen),
        "embeddings": form if "embeddings" in chosen else None,
    }
    return {"sources": [about], "parameters": entries, "counts": _counts(entries), "notes": notes}


def combine_manifests(manifests: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One manifest for several transfers into the same model, made in this order: the last to write a tensor counts."""
    entries: dict[str, dict[str, Any]] = {}
    for manifest in manifests:
        for name, entry in manifest["parameters"].items():
            if name not in entries or entry["from"] != DRAWN:
                entries[name] = entry
    return {
        "sources": [source for manifest in manifests for source in manifest["sources"]],
        "parameters": entries,
        "counts": _counts(entries),
        "notes": [note for manifest in manifests for note in manifest["notes"]],
    }


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
        if name not in COMPONENTS:
            raise TransferError(f"unknown component '{name}'{did_you_mean(name, COMPONENTS)}; known: {COMPONENTS}")
    return tuple(name for name in COMPONENTS if name in named), embeddings or "mean"


def _weights(source: Source) -> tuple[dict[str, Tensor], int | None]:
    from procray.model.gpt2 import GPT2

    if isinstance(source, GPT2):
        return {name: p.detach() for name, p in source.named_parameters()}, source.config.heads
    given, heads = (source[0], source[1].heads) if isinstance(source, tuple) else (source, None)
    return {own: tensor for name, tensor in given.items() if (own := own_name(name)) is not None}, heads


def _plan_blocks(
    weights: Mapping[str, Tensor],
    wanted: Mapping[str, Tensor],
    chosen: Sequence[str],
    plan: dict[str, tuple[Tensor, str]],
    problems: list[str],
) -> None:
    blocks = {"attention", "mlp", "layernorm"}.intersection(chosen)
    for name in [*wanted, *(name for name in weights if name not in wanted)]:
        if component_of(name) not in blocks:
            continue
        here = tuple(wanted[name].shape) if name in wanted else "absent"
        there = tuple(weights[name].shape) if name in weights else "absent"
        if here == there:
            plan[name] = (weights[name], "copied")
        else:
            problems.append(f"{name}: {there} in the source, {here} in the target")


def _plan_embeddings(
    weights: Mapping[str, Tensor],
    wanted: Mapping[str, Tensor],
    form: Embeddings,
    plan: dict[str, tuple[Tensor, str]],
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
        plan |= {name: (mean_D, "mean") for name in (_TABLE, _HEAD) if name in wanted}
        return
    head = weights.get(_HEAD, table)  # tied: the table is the head
    if _HEAD not in wanted and not (head is table or head.equal(table)):
        problems.append(f"{_HEAD}: {tuple(head.shape)} in the source, tied to the token embedding in the target")
    for name, value in ((_TABLE, table), (_HEAD, head)):
        if name not in wanted:
            continue
        if value.shape == wanted[name].shape:
            plan[name] = (value, "copied")
        else:
            problems.append(
                f"{name}: {tuple(value.shape)} in the source, {tuple(wanted[name].shape)} in the target"
                " (copied embeddings need equal vocabularies; 'mean' does not)"
            )


def _plan_positions(
    weights: Mapping[str, Tensor],
    wanted: Mapping[str, Tensor],
    plan: dict[str, tuple[Tensor, str]],
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
        plan[_POSITIONS] = (there[: here.shape[0]], "first rows")


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
