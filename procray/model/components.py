"""Components and their parts: which parameter belongs to what, and the names of transfer modes.

Needs no torch, so that planning a sweep stays quick.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from procray.errors import TransferError, did_you_mean

Embeddings = Literal["mean", "copy"]

COMPONENTS = ("attention", "mlp", "layernorm", "embeddings", "positions")

# What some components consist of: names that may stand beside the components wherever weights are chosen.
PARTS = {"attention": ("qkv", "proj"), "mlp": ("mlp_in", "mlp_out"), "layernorm": ("ln_1", "ln_2", "ln_f")}

# Exact patterns over whole names: a parameter matches one of them or is unknown.
_PATTERNS = {
    "qkv": r"transformer\.h\.\d+\.attn\.c_attn\.(weight|bias)",
    "proj": r"transformer\.h\.\d+\.attn\.c_proj\.(weight|bias)",
    "mlp_in": r"transformer\.h\.\d+\.mlp\.c_fc\.(weight|bias)",
    "mlp_out": r"transformer\.h\.\d+\.mlp\.c_proj\.(weight|bias)",
    "ln_1": r"transformer\.h\.\d+\.ln_1\.(weight|bias)",
    "ln_2": r"transformer\.h\.\d+\.ln_2\.(weight|bias)",
    "ln_f": r"transformer\.ln_f\.(weight|bias)",
    "embeddings": r"transformer\.wte\.weight|lm_head\.weight|row_(in|out)\.(weight|bias)",
    "positions": r"transformer\.wpe\.weight",
}
_COMPILED = {part: re.compile(pattern) for part, pattern in _PATTERNS.items()}
_OWNER = {part: component for component in COMPONENTS for part in PARTS.get(component, (component,))}
_LAYER = re.compile(r"transformer\.h\.(\d+)\.")
_MASK = re.compile(r"(transformer\.)?h\.\d+\.attn\.(bias|masked_bias)")
_BARE = re.compile(r"(wte|wpe|h\.\d+|ln_f)\.")

NAMES = (*COMPONENTS, *(part for parts in PARTS.values() for part in parts))

# The two published bundles (arXiv 2601.21725): semantic targets leave embeddings and positions random,
# the diagnostics also set every embedding to the mean one and keep the positions.
_BUNDLES = {
    "none": (),
    "full": ("attention", "mlp", "layernorm"),
    "full+embeddings": ("attention", "mlp", "layernorm", "embeddings", "positions"),
}


def part_of(parameter: str) -> str:
    """The one part that a parameter belongs to; `embeddings` and `positions` are their own only part.

    Raises:
        TransferError: no GPT-2 of ours has a parameter of this name.
    """
    for part, pattern in _COMPILED.items():
        if pattern.fullmatch(parameter):
            return part
    raise TransferError(f"'{parameter}' is no parameter of a GPT-2, so it belongs to no component")


def component_of(parameter: str) -> str:
    """The one component that a parameter belongs to.

    Raises:
        TransferError: no GPT-2 of ours has a parameter of this name.
    """
    return _OWNER[part_of(parameter)]


def layer_of(parameter: str) -> int | None:
    """The layer that a parameter stands in; None for embeddings, positions and `ln_f`."""
    found = _LAYER.match(parameter)
    return int(found[1]) if found else None


def parts_of(names: Iterable[str]) -> tuple[str, ...]:
    """The parts that components and parts stand for, each once, in a fixed order."""
    wanted = {part for name in names for part in PARTS.get(name, (name,))}
    return tuple(part for part in _PATTERNS if part in wanted)


def whole(parts: Iterable[str]) -> tuple[str, ...]:
    """The shortest names of a set of parts, in a fixed order: `qkv` and `proj` together are `attention`."""
    chosen = set(parts_of(parts))
    found: list[str] = []
    for component in COMPONENTS:
        own = PARTS.get(component, (component,))
        found += [component] if chosen.issuperset(own) else [part for part in own if part in chosen]
    return tuple(found)


def own_name(name: str) -> str | None:
    """The name that we give to a tensor of a GPT-2 checkpoint; None for the causal masks of older ones.

    Checkpoints of the bare `GPT2Model` lack the `transformer.` in front.
    """
    if _MASK.fullmatch(name):
        return None
    return f"transformer.{name}" if _BARE.match(name) else name


def parse_mode(mode: str) -> tuple[tuple[str, ...], Embeddings]:
    """What a transfer mode carries, as `whole` names it, and how embeddings travel.

    `full` is attention + mlp + layernorm; `full+embeddings` adds the mean embeddings and the
    positions; `none` carries nothing; everything else is a `+`-list of components and parts, in which
    `full` may stand for its three. Embeddings named in a mode always travel as their mean. Normalisations
    travel only where they are named: `attention+ln_1` is what the papers' code calls attn+ln.

    Raises:
        TransferError: an unknown or repeated name, with the nearest valid one.
    """
    text = "+".join(part.strip() for part in str(mode).split("+"))
    if text in _BUNDLES:
        return _BUNDLES[text], "mean"
    chosen: list[str] = []
    for part in text.split("+"):
        if part in NAMES:
            chosen.append(part)
        elif part == "full":
            chosen.extend(_BUNDLES["full"])
        elif part == "none":
            raise TransferError(f"transfer mode '{mode}': 'none' stands alone")
        else:
            known = [*NAMES, *_BUNDLES]
            raise TransferError(
                f"transfer mode '{mode}': unknown component '{part}'{did_you_mean(part, known)}"
                f" (a mode is {', '.join(_BUNDLES)}, or a '+'-list of {', '.join(COMPONENTS)}"
                f" or their parts {', '.join(NAMES[len(COMPONENTS) :])})"
            )
    every = [part for name in chosen for part in PARTS.get(name, (name,))]
    repeated = whole(part for part in every if every.count(part) > 1)
    if repeated:
        raise TransferError(f"transfer mode '{mode}' names {', '.join(repeated)} more than once")
    if "full" in text.split("+") and "embeddings" in chosen and "positions" not in chosen:
        chosen.append("positions")  # full+embeddings, however it is written
    return whole(chosen), "mean"


def parse_names(value: Any) -> tuple[str, ...]:
    """Components and parts from a list or a `+`-list, as `whole` names them; `none` and nothing are nothing.

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
    return whole(names)


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
