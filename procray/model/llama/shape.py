"""The shape of a Llama: its parameters, and how they are laid out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from procray.errors import ProcrayError
from procray.model.family import Cut, Setting, check_above_zero, check_shape

SETTINGS = {
    "inner": Setting(
        int, "width inside the MLP; default 8/3 x width, rounded up to a multiple of 64", low=1, high=10_000_000
    ),
    "kv_heads": Setting(
        int,
        "heads of keys and values, of which each serves as many queries; default as many as heads",
        low=1,
        high=10_000,
    ),
    "rotary_base": Setting(float, "the longest wave is 2 pi times this; default 10000", low=0),
    "norm_eps": Setting(float, "of the normalisations; default 1e-5", low=0, high=1),
    "init_std": Setting(float, "standard deviation of the first weights; default 0.02", low=0, high=10),
}


@dataclass(frozen=True)
class LlamaConfig:
    """The shape of a Llama; the attributes as in `ModelConfig` and `SETTINGS`.

    Attributes:
        dropout: on the attention weights, which is all that Llama has.

    Raises:
        ProcrayError: an impossible shape.
    """

    family: ClassVar[str] = "llama"

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
    kv_heads: int | None = None
    rotary_base: float = 10000.0
    norm_eps: float = 1e-5
    init_std: float = 0.02

    def __post_init__(self) -> None:
        if self.kv_heads is None:
            object.__setattr__(self, "kv_heads", self.heads)
        if self.inner is None and isinstance(self.width, int):
            object.__setattr__(self, "inner", -(-8 * self.width // (3 * 64)) * 64)
        check_shape(self, "inner", "kv_heads")
        check_above_zero(self, "rotary_base", "norm_eps", "init_std")
        for name in ("rotary_base", "norm_eps", "init_std"):
            object.__setattr__(self, name, float(getattr(self, name)))
        if self.heads % self.groups:
            raise ProcrayError(f"{self.heads} heads cannot be divided among model kv_heads {self.kv_heads}")
        if self.head % 2:
            raise ProcrayError(f"model width {self.width}: heads of {self.head} values cannot be turned in pairs")

    @property
    def head(self) -> int:
        """Width of a head."""
        return self.width // self.heads

    @property
    def groups(self) -> int:
        """Heads of keys and values."""
        assert self.kv_heads is not None
        return self.kv_heads


def parameter_shapes(config: LlamaConfig) -> dict[str, tuple[int, ...]]:
    """Every parameter's name and shape: transformers' names, projections stored (out, in)."""
    D, V, W, I = config.width, config.vocab, config.rows, config.inner or 0  # noqa: E741
    shared = config.groups * config.head
    shapes: dict[str, tuple[int, ...]] = {}
    if W is None:
        shapes["model.embed_tokens.weight"] = (V, D)
    for layer in range(config.layers):
        block = f"model.layers.{layer}"
        shapes |= {
            f"{block}.input_layernorm.weight": (D,),
            f"{block}.post_attention_layernorm.weight": (D,),
            f"{block}.self_attn.q_proj.weight": (D, D),
            f"{block}.self_attn.k_proj.weight": (shared, D),
            f"{block}.self_attn.v_proj.weight": (shared, D),
            f"{block}.self_attn.o_proj.weight": (D, D),
            f"{block}.mlp.gate_proj.weight": (I, D),
            f"{block}.mlp.up_proj.weight": (I, D),
            f"{block}.mlp.down_proj.weight": (D, I),
        }
    shapes["model.norm.weight"] = (D,)
    if W is not None:
        shapes |= {"row_in.weight": (D, W), "row_in.bias": (D,), "row_out.weight": (W, D), "row_out.bias": (W,)}
    elif not config.tied:
        shapes["lm_head.weight"] = (V, D)
    return shapes


def cut(config: LlamaConfig, parameter: str) -> Cut | None:
    """Where the heads lie; keys and values have fewer, which several heads share."""
    D, H, K, E = config.width, config.heads, config.groups, config.head
    if parameter.endswith("q_proj.weight"):
        return Cut((H, E, D), heads=0)
    if parameter.endswith(("k_proj.weight", "v_proj.weight")):
        return Cut((K, E, D), heads=0)
    return Cut((D, H, E), heads=1) if parameter.endswith("o_proj.weight") else None
