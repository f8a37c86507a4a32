"""Components and their parts, and the names of transfer modes.

Needs no torch, so that planning a sweep stays quick.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from procray.errors import TransferError, did_you_mean
from procray.model.family import Family

Embeddings = Literal["mean", "copy"]

COMPONENTS = ("attention", "mlp", "layernorm", "embeddings", "positions")

# What some components consist of, over all families: names that may stand beside the components wherever weights are
# chosen. No family has all of them.
PARTS = {
    "attention": ("q", "k", "v", "proj"),
    "mlp": ("mlp_in", "mlp_out", "gate", "up", "down"),
    "layernorm": ("ln_1", "ln_2", "ln_f"),
}
# Parts that have a name together, too.
TOGETHER = {"qkv": ("q", "k", "v")}
_COMPLETE = (("mlp", "mlp_in", "mlp_out"), ("mlp", "gate", "up", "down"))  # of some family
EVERY = tuple(part for component in COMPONENTS for part in PARTS.get(component, (component,)))

NAMES = (*COMPONENTS, *TOGETHER, *(part for parts in PARTS.values() for part in parts))

# The two published bundles (arXiv 2601.21725): semantic targets leave embeddings and positions random,
# the diagnostics also set every embedding to the mean one and keep the positions.
_BUNDLES = {
    "none": (),
    "full": ("attention", "mlp", "layernorm"),
    "full+embeddings": ("attention", "mlp", "layernorm", "embeddings", "positions"),
}


def component_with(part: str) -> str:
    """The component that a part belongs to; `embeddings` and `positions` are their own only part."""
    return next(component for component in COMPONENTS if part in PARTS.get(component, (component,)))


def named_in(family: Family) -> tuple[str, ...]:
    """The names that a family has weights for, in the order of `NAMES`."""
    return tuple(name for name in NAMES if parts_of([name], family.parts))


def parts_of(names: Iterable[str], own: Sequence[str]) -> tuple[str, ...]:
    """The parts that components and parts stand for, each once, in a fixed order.

    Args:
        own: the parts that there are: those of a family, or `EVERY`.
    """
    wanted = {part for name in names for part in PARTS.get(name, TOGETHER.get(name, (name,)))}
    return tuple(part for part in EVERY if part in wanted and part in own)


def whole(parts: Iterable[str], own: Sequence[str]) -> tuple[str, ...]:
    """The shortest names of a set of parts, in a fixed order: `qkv` and `proj` together are `attention`.

    Args:
        own: as in `parts_of`; a component is named where it has no other part.
    """
    chosen = set(parts_of(parts, own))
    found: list[str] = []
    for component in COMPONENTS:
        inside = [part for part in PARTS.get(component, (component,)) if part in own]
        if inside and chosen.issuperset(inside):
            found.append(component)
            continue
        for name, several in TOGETHER.items():
            if chosen.issuperset(several) and several[0] in inside:
                found.append(name)
                chosen -= set(several)
        found += [part for part in inside if part in chosen]
    return tuple(found)


def refuse_absent(names: Iterable[str], family: Family, text: str = "") -> None:
    """Raises TransferError for the first of some names that a family has no weights for, with those that it has."""
    known = named_in(family)
    for name in names:
        if name in NAMES and name not in known:
            raise TransferError(f"{text}a {family.title} has no {name} (it has {', '.join(known)})")


def parse_mode(mode: str, family: Family | None = None) -> tuple[tuple[str, ...], Embeddings]:
    """What a transfer mode carries, as `whole` names it, and how embeddings travel.

    `full` is attention + mlp + layernorm; `full+embeddings` adds the mean embeddings and the
    positions; `none` carries nothing; everything else is a `+`-list of components and parts, in which
    `full` may stand for its three. Embeddings named in a mode always travel as their mean. Normalisations
    travel only where they are named: `attention+ln_1` is what the papers' code calls attn+ln.

    Args:
        family: whose weights are meant; what it lacks is left out of bundles. None: not known yet.

    Raises:
        TransferError: an unknown or repeated name, with the nearest valid one; one that the family has nothing for.
    """
    own = EVERY if family is None else family.parts
    text = "+".join(part.strip() for part in str(mode).split("+"))
    if text in _BUNDLES:
        return whole(parts_of(_BUNDLES[text], own), own), "mean"
    chosen: list[str] = []
    for part in text.split("+"):
        if part in NAMES:
            chosen.append(part)
        elif part == "full":
            chosen.extend(_BUNDLES["full"])
        elif part == "none":
            raise TransferError(f"transfer mode '{mode}': 'none' stands alone")
        else:
            names = NAMES if family is None else named_in(family)
            known = [*names, *_BUNDLES]
            raise TransferError(
                f"transfer mode '{mode}': unknown component '{part}'{did_you_mean(part, known)}"
                f" (a mode is {', '.join(_BUNDLES)}, or a '+'-list of"
                f" {', '.join(name for name in names if name in COMPONENTS)}"
                f" or their parts {', '.join(name for name in names if name not in COMPONENTS)})"
            )
    if family is not None:
        refuse_absent(chosen, family, f"transfer mode '{mode}': ")
    every = [part for name in chosen for part in parts_of([name], own)]
    repeated = whole((part for part in every if every.count(part) > 1), own)
    if repeated:
        raise TransferError(f"transfer mode '{mode}' names {', '.join(repeated)} more than once")
    if "full" in text.split("+") and "embeddings" in chosen and "positions" not in chosen:
        chosen.append("positions")  # full+embeddings, however it is written
    return whole(chosen, own), "mean"


def parse_names(value: Any) -> tuple[str, ...]:
    """Components and parts from a list or a `+`-list, as `whole` names them; `none` and nothing are nothing.

    Whose weights are meant is not known yet: all the parts that a component has in some family are that component.

    Raises:
        TransferError: an unknown name, with the nearest valid one.
    """
    given = value.split("+") if isinstance(value, str) else value
    names = [str(name).strip() for name in given]
    if names == ["none"]:
        return ()
    for name in names:
        if name not in NAMES:
            raise TransferError(
                f"unknown component '{name}'{did_you_mean(name, NAMES)} (components: {', '.join(COMPONENTS)};"
                f" parts: {', '.join(NAMES[len(COMPONENTS) :])})"
            )
    for component, *several in _COMPLETE:
        names += [component] if set(several) <= set(names) else []
    return whole(names, EVERY)


def parse_layers(value: Any) -> dict[int, int]:
    """`{layer of the target: layer of the source}` from `3`, `0-5`, `0-2,6`, a list of those, or a mapping.

    Raises:
        TransferError: anything else, or a layer of the target that stands there twice.
    """
    expected = f"layers are written 3, 0-5, [0, 1, 5] or {{target: source}}, not {value!r}"
    if isinstance(value, Mapping):
        try:
            pairs = [(int(str(target)), int(str(source))) for target, source in value.items()]
        except ValueError:
            raise TransferError(expected) from None
    else:
        texts = value if isinstance(value, list | tuple) else str(value).split(",")
        pairs = []
        for text in texts:
            found = re.fullmatch(r"(\d+)(?:-(\d+))?", str(text).strip())
            if found is None or isinstance(text, bool):
                raise TransferError(expected)
            first, last = int(found[1]), int(found[2] or found[1])
            if last < first or last - first > 100_000:
                raise TransferError(expected)
            pairs += [(layer, layer) for layer in range(first, last + 1)]
    targets = [target for target, _ in pairs]
    twice = next((target for target in targets if targets.count(target) > 1), None)
    if twice is not None:
        raise TransferError(f"layer {twice} stands twice in {value!r}")
    if not pairs or any(layer < 0 for pair in pairs for layer in pair):
        raise TransferError(expected)
    return dict(sorted(pairs))


def parse_heads(value: Any) -> dict[int, tuple[int, ...]]:
    """`{layer: heads}` from `{0: [1, 3], 2: 0}`, both ascending; `{0-2: [1]}` and `{"0,4": [1]}` name several layers.

    Raises:
        TransferError: anything else.
    """
    expected = f"heads are written {{layer: [head, head]}}, such as {{0: [1, 3], 2-4: [0]}}, not {value!r}"
    if not isinstance(value, Mapping) or not value:
        raise TransferError(expected)
    found: dict[int, tuple[int, ...]] = {}
    for key, heads in value.items():
        if isinstance(key, bool):
            raise TransferError(expected)
        try:
            layers = parse_layers(key)
        except TransferError:
            raise TransferError(f"heads of '{key}', which is no layer and no range of them such as 0-2") from None
        listed = heads if isinstance(heads, list | tuple) else [heads]
        if not listed:
            raise TransferError(f"heads of layer {key}: an empty list; leave the layer out where no head is meant")
        if heads is None:
            raise TransferError(f"heads of layer {key}: none are named; several layers are written 0-2 or '0,2'")
        strange = [head for head in listed if isinstance(head, bool) or not isinstance(head, int) or head < 0]
        if strange:
            raise TransferError(f"heads of layer {key}: {strange[0]!r} is no head; they are numbered 0, 1, 2, ..")
        twice = [head for head in listed if listed.count(head) > 1]
        if twice:
            raise TransferError(f"heads of layer {key}: head {twice[0]} stands there twice")
        for layer in layers:
            if layer in found:
                raise TransferError(f"heads of layer {layer} are named twice, the second time under '{key}'")
            found[layer] = tuple(sorted(listed))
    return dict(sorted(found.items()))


def show_heads(heads: Mapping[int, Iterable[int]]) -> str:
    """`h0.1,0.3`: the heads 1 and 3 of layer 0."""
    return "h" + ",".join(f"{layer}.{head}" for layer, several in sorted(heads.items()) for head in several)


def show_layers(layers: Mapping[int, int]) -> str:
    """`0-5`, `0-2,6`; `0=11,1=10` where a layer comes from another one."""
    if any(target != source for target, source in layers.items()):
        return ",".join(f"{target}={source}" for target, source in sorted(layers.items()))
    runs: list[list[int]] = []
    for layer in sorted(layers):
        if runs and layer == runs[-1][-1] + 1:
            runs[-1].append(layer)
        else:
            runs.append([layer])
    return ",".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)
