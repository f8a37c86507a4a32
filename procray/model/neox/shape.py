"""The shape of a GPT-NeoX: its parameters, and how they are laid out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from procray.errors import ProcrayError
from procray.model.family import Cut, Setting, check_above_zero, check_shape

SETTINGS = {
    "inner": Setting(int, "width inside the MLP; default 4 x width", low=1, high=10_000_000),
    "rotary_pct": Setting(float, "the share of each head that is turned; default 0.25", low=0, high=1),
    "rotary_base": Setting(float, "the longest wave is 2 pi times this; default 10000", low=0),
    "parallel_residual": Setting(bool, "attention and MLP read the same; default true"),
    "norm_eps": Setting(float, "of the normalisations; default 1e-5", low=0, high=1),
}


@dataclass(frozen=True)
class NeoXConfig:
    """The shape of a GPT-NeoX; the attributes as in `ModelConfig` and `SETTINGS`.

    Attributes:
        dropout: on the embeddings, the attention weights and both residual branches, as in GPT-NeoX.

    Raises:
        ProcrayError: an impossible shape.
    """

    family: ClassVar[str] = "neox"

    layers: int
    heads: int
    width: int
    vocab: int
    context: int
    tied: bool = False
    dropout: float = 0.0
    rows: int | None = None
    pad_vocab: int = 1
    inner: int | None = None
    rotary_pct: float = 0.25
    rotary_base: float = 10000.0
    parallel_residual: bool = True
    norm_eps: float = 1e-5

    def __post_init__(self) -> None:
        if self.inner is None and isinstance(self.width, int):
            object.__setattr__(self, "inner", 4 * self.width)
        check_shape(self, "inner")
        check_above_zero(self, "rotary_pct", "rotary_base", "norm_eps")
        if self.rotary_pct > 1:
            raise ProcrayError(f"model rotary_pct must be at most 1, not {self.rotary_pct!r}")
        for name in ("rotary_pct", "rotary_base", "norm_eps"):
            object.__setattr__(self, name, float(getattr(self, name)))
        head = self.width // self.heads
        if self.turned < 1 or self.turned + self.turned % 2 > head:
            raise ProcrayError(
                f"model rotary_pct {self.rotary_pct:g} of a head of {head} values are {head * self.rotary_pct:g},"
                " and they are turned in pairs"
            )

    @property
    def turned(self) -> int:
        """Values of a head that are turned."""
        return int(self.width // self.heads * self.rotary_pct)


def parameter_shapes(config: NeoXConfig) -> dict[str, tuple[int, ...]]:
    """Every parameter's name and shape: transformers' names on disk, projections stored (out, in)."""
    D, V, W, I = config.width, config.vocab, config.rows, config.inner or 0  # noqa: E741
    shapes: dict[str, tuple[int, ...]] = {}
    if W is None:
        shapes["gpt_neox.embed_in.weight"] = (V, D)
    for layer in range(config.layers):
        block = f"gpt_neox.layers.{layer}"
        for norm in ("input_layernorm", "post_attention_layernorm"):
            shapes |= {f"{block}.{norm}.weight": (D,), f"{block}.{norm}.bias": (D,)}
        for name, out, inside in (
            ("attention.query_key_value", 3 * D, D),
            ("attention.dense", D, D),
            ("mlp.dense_h_to_4h", I, D),
            ("mlp.dense_4h_to_h", D, I),
        ):
            shapes |= {f"{block}.{name}.weight": (out, inside), f"{block}.{name}.bias": (out,)}
    shapes |= {"gpt_neox.final_layer_norm.weight": (D,), "gpt_neox.final_layer_norm.bias": (D,)}
    if W is not None:
        shapes |= {"row_in.weight": (D, W), "row_in.bias": (D,), "row_out.weight": (W, D), "row_out.bias": (W,)}
    elif not config.tied:
        shapes["embed_out.weight"] = (V, D)
    return shapes


def cut(config: NeoXConfig, parameter: str) -> Cut | None:
    """Every head has its queries, keys and values side by side."""
    D, H, E = config.width, config.heads, config.width // config.heads
    if parameter.endswith("query_key_value.weight"):
        return Cut((H, 3, E, D), parts=1, heads=0)
    if parameter.endswith("query_key_value.bias"):
        return Cut((H, 3, E), parts=1, heads=0)
    return Cut((D, H, E), heads=1) if parameter.endswith("attention.dense.weight") else None
