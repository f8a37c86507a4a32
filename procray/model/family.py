"""What a family of models tells the rest of the house, so that nobody else has to know it.

Needs no torch, so that planning a sweep stays quick.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Protocol

from procray.errors import ProcrayError, TransferError

# Far beyond anything that has been trained; a configuration from elsewhere must not cost memory by its numbers alone.
_MOST = {
    "layers": 10_000,
    "heads": 10_000,
    "kv_heads": 10_000,
    "width": 10**6,
    "inner": 10**7,
    "vocab": 2**31,
    "context": 10**8,
    "pad_vocab": 2**20,
    "rows": 10**6,
}


class ModelConfig(Protocol):
    """The shape of a model of any family: a frozen dataclass with these fields and those that only its family has.

    Attributes:
        family: the family's name.
        vocab: rows of the token embedding, and of the logits.
        context: positions the model has; sequences may be shorter.
        tied: whether the head is the token embedding or a matrix of its own.
        dropout: where the family has it.
        rows: None for tokens. W for rows of a cellular automaton: one position is one row of W
            cells, a linear map W -> width stands in place of the token embedding and one
            width -> W in place of the head. `vocab` and `tied` then mean nothing.
        pad_vocab: the head's matrix product is computed with its rows rounded up to a multiple of
            this (64 suits tensor cores). Seen nowhere outside: parameters and logits have `vocab`.
    """

    def __hash__(self) -> int: ...
    @property
    def family(self) -> str: ...
    @property
    def layers(self) -> int: ...
    @property
    def heads(self) -> int: ...
    @property
    def width(self) -> int: ...
    @property
    def vocab(self) -> int: ...
    @property
    def context(self) -> int: ...
    @property
    def tied(self) -> bool: ...
    @property
    def dropout(self) -> float: ...
    @property
    def rows(self) -> int | None: ...
    @property
    def pad_vocab(self) -> int: ...


@dataclass(frozen=True)
class Setting:
    """A number of a model that only some families have, as a sweep file may give it.

    Attributes:
        type: int, float or bool.
        low, high: its bounds; of a float `low` itself is not allowed.
        about: its meaning and default, for people.
    """

    type: type
    about: str
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Cut:
    """How the values of a tensor are laid out: the shape that sets its parts and its heads apart, and their axes.

    An axis of heads may have fewer entries than the model has heads, where several heads share one.
    """

    shape: tuple[int, ...]
    parts: int | None = None
    heads: int | None = None


@dataclass(frozen=True)
class Family:
    """A family of models.

    Attributes:
        name: as sweep files write it.
        title: for people, to stand after an article: a `GPT-2`.
        config: the dataclass of its shapes, a `ModelConfig`.
        settings: fields of `config` that not every family has, by name.
        parts: every part that its models have, as in `procray.model.components`.
        blocks: what the names of tensors in a block begin with, before the number of the layer.
        inside: the parts that a module of a block consists of, by the module's name: several where one matrix holds
            several, in the order of their axis.
        outside: the part of every module outside of the blocks.
        table, head, positions: parameters of these meanings; no position table: None.
        shapes: of a shape every parameter's name and shape: transformers' names and layout.
        cut: of a shape and a parameter how it is laid out, where parts or heads can be told apart in it.
        needs: what of a shape a part's tensors, and their meaning, depend on.
        model_type, architecture: as config.json names them.
        to_transformers: what config.json says of a shape beside that.
        from_transformers: the shape that a config.json means, as arguments of `config`, and what in it is not known.
        own_name: the name that we give to a tensor of a checkpoint of this family; None for what is no weight.
        network_name: the class of its networks.
        network: that class; imports torch.
        stacked: the networks of several models computed as one, as `procray.model.pack` needs them; imports torch.
        presets: published sizes by name, as a sweep file would write them.
        steady: whether its kernels are known to give the same bits on any number of threads (see `steady_products`).
    """

    name: str
    title: str
    config: Any
    parts: tuple[str, ...]
    blocks: str
    inside: Mapping[str, tuple[str, ...]]
    outside: Mapping[str, str]
    table: str
    head: str
    positions: str | None
    shapes: Callable[[Any], dict[str, tuple[int, ...]]]
    cut: Callable[[Any, str], Cut | None]
    needs: Callable[[str], tuple[str, ...]]
    model_type: str
    architecture: str
    to_transformers: Callable[[Any], dict[str, Any]]
    from_transformers: Callable[[Mapping[str, Any]], tuple[dict[str, Any], list[str]]]
    own_name: Callable[[str], str | None]
    network_name: str
    network: Callable[[], Any]
    stacked: Callable[[], Any]
    settings: Mapping[str, Setting] = field(default_factory=dict)
    presets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    steady: bool = False

    @cached_property
    def _in_block(self) -> re.Pattern[str]:
        return re.compile(rf"{re.escape(self.blocks)}\.(\d+)\.(.+)\.(?:weight|bias)")

    @property
    def root(self) -> str:
        """What the names of most of its tensors begin with."""
        return self.blocks.partition(".")[0] + "."

    def parts_in(self, parameter: str, missing: tuple[str, ...] | None = None) -> tuple[str, ...]:
        """The parts that a parameter holds: one, but of a matrix of several all of them, in the order of its axis.

        Args:
            missing: what to give for an unknown parameter, in place of an error.

        Raises:
            TransferError: none of its models has a parameter of this name.
        """
        found = self._in_block.fullmatch(parameter)
        if found is not None and found[2] in self.inside:
            return self.inside[found[2]]
        module = parameter.rpartition(".")[0]
        if found is None and module in self.outside and parameter.endswith((".weight", ".bias")):
            return (self.outside[module],)
        if missing is not None:
            return missing
        raise TransferError(f"'{parameter}' is no parameter of a {self.title}, so it belongs to no component")

    def layer_of(self, parameter: str) -> int | None:
        """The layer that a parameter stands in; None for embeddings, positions and the last normalisation."""
        found = re.match(rf"{re.escape(self.blocks)}\.(\d+)\.", parameter)
        return int(found[1]) if found else None

    def block(self, layer: int) -> str:
        """What the names of a layer's parameters begin with."""
        return f"{self.blocks}.{layer}."


def changed(config: ModelConfig, **changes: Any) -> ModelConfig:
    """A shape with other values of some fields."""
    found: ModelConfig = replace(config, **changes)  # type: ignore[type-var]
    return found


def check_shape(config: Any, *more: str) -> None:
    """What every family asks of a shape; `more` names further whole numbers.

    Raises:
        ProcrayError: an impossible shape.
    """
    names = ["layers", "heads", "width", "vocab", "context", "pad_vocab", *more]
    for name in [*names, "rows"] if config.rows is not None else names:
        value = getattr(config, name)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ProcrayError(f"model {name} must be a whole number of at least 1, not {value!r:.40}")
        if value > _MOST[name]:
            raise ProcrayError(f"model {name} must be at most {_MOST[name]:,}")
    if config.width % config.heads:
        raise ProcrayError(f"model width {config.width} cannot be divided among {config.heads} heads")
    if isinstance(config.dropout, bool) or not isinstance(config.dropout, int | float) or not 0 <= config.dropout < 1:
        raise ProcrayError(f"model dropout must lie in [0, 1), not {config.dropout!r}")


def check_above_zero(config: Any, *names: str) -> None:
    """The same for numbers above 0.

    Raises:
        ProcrayError: another value.
    """
    for name in names:
        value = getattr(config, name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e18:
            raise ProcrayError(f"model {name} must be a number above 0, not {value!r:.40}")


def others(value: Mapping[str, Any], known: Mapping[str, tuple[Any, ...]]) -> list[str]:
    """What a configuration says, in a sentence each, that is none of the values known to mean our network."""
    return [
        f"{key} is {value[key]!r}, and only {' or '.join(map(repr, allowed))} is known"
        for key, allowed in known.items()
        if key in value and value[key] not in allowed
    ]
