"""What defines the result of a phase, and the identity that follows from it.

A recipe is plain data: it travels as JSON between the plan, the store and the workers. Everything
that changes the numbers is in it; what changes bits but not meaning (device, threads, world size,
kernels, library versions) is provenance and stays outside.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from procray.files import digest

Kind = Literal["procedural", "semantic", "finetune", "diagnostic"]
Schedule = Literal["constant", "linear", "cosine", "wsd"]

# Raised when the same recipe gives other numbers than before. The golden curves guard it.
NUMERICS = 2


@dataclass(frozen=True)
class ModelShape:
    """A GPT-2 without its vocabulary, which comes from the data."""

    layers: int
    heads: int
    width: int
    context: int  # positions the model has
    tied: bool = True
    dropout: float = 0.0


@dataclass(frozen=True)
class Optimizer:
    """AdamW and its learning-rate schedule. Decay acts on matrices only."""

    lr: float
    schedule: Schedule = "constant"
    warmup_steps: int = 0
    min_lr: float = 0.0  # the floor, as a fraction of lr (linear, cosine, wsd)
    decay: float = 0.2  # wsd: the fraction of all steps spent decaying
    weight_decay: float = 0.1
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    clip: float = 1.0  # global gradient norm; 0 switches clipping off


@dataclass(frozen=True)
class Solved:
    """The rule that ends a phase early: so many evaluations of the cadence in a row at this accuracy or above."""

    accuracy: float
    evaluations: int = 3


@dataclass(frozen=True)
class Evaluation:
    """When and on how much held-out data. `version` names the definition of the metrics."""

    every: int  # steps
    sequences: int  # size of the fixed validation set
    version: int = 1
    solved: Solved | None = None  # train to the end
    split: Literal["validation", "tuning"] = "validation"  # which held-out data; settings are chosen on `tuning`


@dataclass(frozen=True)
class Parent:
    """A mark of another phase."""

    phase: str
    step: int


@dataclass(frozen=True)
class Init:
    """Where the weights come from; a component that is not named is drawn from the seed.

    `components` maps a component (`attention`, `mlp`, `layernorm`, `embeddings`, `positions`) to a
    parent. `embeddings` says how that component is carried: `copy` row by row (equal vocabularies)
    or `mean`, every row the mean of the parent's (the form of arXiv 2505.22308).
    """

    components: dict[str, Parent] = field(default_factory=dict)
    embeddings: Literal["copy", "mean"] = "copy"

    def parents(self) -> list[Parent]:
        """The distinct parents, in a stable order."""
        return sorted(set(self.components.values()), key=lambda p: (p.phase, p.step))


@dataclass(frozen=True)
class PhaseRecipe:
    """One phase: one GPT-2, one stream of data, one schedule.

    `data` is the canonical description of the stream: `{"task": {...}}` as returned by
    `Task.recipe()`, or `{"corpus": {...}, "tokenizer": {...}}` as returned by
    `corpora.recipe()`. `steps` is the length of a decaying schedule and None for a constant one,
    where a longer budget extends the same run.
    """

    kind: Kind
    model: ModelShape
    data: dict[str, Any]
    batch: int  # sequences in one optimiser step, over all workers
    optimizer: Optimizer
    evaluation: Evaluation
    seed: int
    steps: int | None = None
    precision: Literal["fp32", "bf16"] = "fp32"
    init: Init = field(default_factory=Init)
    numerics: int = NUMERICS

    def __post_init__(self) -> None:
        assert (self.steps is None) == (self.optimizer.schedule == "constant"), "steps belong to decaying schedules"

    @property
    def id(self) -> str:
        """The first 16 hex digits of the hash over everything above."""
        return digest(self.to_json(), 16)

    def to_json(self) -> dict[str, Any]:
        """Plain data. Fields of later versions are left out at their default, so that ids stay."""
        value = asdict(self)
        if self.evaluation.solved is None:
            del value["evaluation"]["solved"]
        if self.evaluation.split == "validation":
            del value["evaluation"]["split"]
        return value

    @staticmethod
    def from_json(value: dict[str, Any]) -> PhaseRecipe:
        init, evaluation = value["init"], value["evaluation"]
        solved = evaluation.get("solved")
        return PhaseRecipe(
            **{
                **value,
                "model": ModelShape(**value["model"]),
                "optimizer": Optimizer(**value["optimizer"]),
                "evaluation": Evaluation(**{**evaluation, "solved": None if solved is None else Solved(**solved)}),
                "init": Init(
                    {name: Parent(**parent) for name, parent in init["components"].items()}, init["embeddings"]
                ),
            }
        )
