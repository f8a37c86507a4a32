"""What defines the result of a phase, and the identity that follows from it.

A recipe is plain data: it travels as JSON between the plan, the store and the workers. Everything
that changes the numbers is in it; what changes bits but not meaning (device, threads, world size,
kernels, library versions) is provenance and stays outside.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from procray.corpora.recipe import identity as identity_of_data
from procray.errors import ProcrayError, StoreError
from procray.files import digest
from procray.model.components import show_heads, show_layers
from procray.model.families import DEFAULT, family
from procray.model.family import ModelConfig
from procray.model.perturb import Perturbation, perturbation_form
from procray.records import Every, Exactly, check, count, of, plain
from procray.training.interleaving import Interleaving
from procray.training.noise import Noise

Kind = Literal["procedural", "semantic", "finetune", "diagnostic"]
Schedule = Literal["constant", "linear", "cosine", "wsd"]

# Raised when the same recipe gives other numbers than before. The golden curves guard it.
NUMERICS = 3


@dataclass(frozen=True)
class ModelShape:
    """A model without its vocabulary, which comes from the data.

    Attributes:
        context: positions the model has.
        family: as in `procray.model.FAMILIES`.
        more: by name what only models of this family have, all of it.
    """

    layers: int
    heads: int
    width: int
    context: int
    tied: bool = True
    dropout: float = 0.0
    family: str = DEFAULT
    more: tuple[tuple[str, Any], ...] = ()

    def config(self, vocab: int, rows: int | None, pad_vocab: int = 1) -> ModelConfig:
        """The full shape of a phase's model, with the vocabulary (or the cells) of its data."""
        value = {key: value for key, value in vars(self).items() if key not in ("family", "more")}
        found: ModelConfig = family(self.family).config(
            **value, **dict(self.more), vocab=vocab, rows=rows, pad_vocab=pad_vocab
        )
        return found

    def to_json(self) -> dict[str, Any]:
        """Plain data; that of a GPT-2 as in earlier versions, so that ids stay."""
        value = {key: value for key, value in vars(self).items() if key not in ("family", "more")}
        return value if self.family == DEFAULT else {**value, "family": self.family, **dict(self.more)}

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> ModelShape:
        """What `to_json` gave; settings that are not there get the values that they have by default.

        Raises:
            ProcrayError: an impossible shape.
        """
        known = [key for key in ModelShape.__dataclass_fields__ if key not in ("family", "more")]
        own = family(value.get("family", DEFAULT))
        given = {key: one for key, one in value.items() if key != "family"}
        try:
            whole = own.config(**given, vocab=1)
        except TypeError as error:
            raise ProcrayError(f"not the shape of a {own.title}: {error}") from error
        more = tuple((key, getattr(whole, key)) for key in own.settings)
        return ModelShape(**{key: getattr(whole, key) for key in known}, family=own.name, more=more)


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
class Share:
    """Weights that are not simply one component of one mark: some layers of it, or a blend of two marks.

    Attributes:
        part: a component, or a part of one, as `procray.model.NAMES` lists them.
        layers: pairs (layer here, layer of the parent), ascending; None: all of them, as they are.
        heads: pairs (layer, its heads), ascending; only these are carried, and no other layers; None: all of them.
        second, weight: `(1 - weight) * parent + weight * second`, tensor by tensor.
    """

    part: str
    parent: Parent
    layers: tuple[tuple[int, int], ...] | None = None
    second: Parent | None = None
    weight: float | None = None
    heads: tuple[tuple[int, tuple[int, ...]], ...] | None = None

    def to_json(self) -> dict[str, Any]:
        value: dict[str, Any] = {"part": self.part, **vars(self.parent)}
        if self.layers is not None:
            value["layers"] = [list(pair) for pair in self.layers]
        if self.second is not None:
            value |= {"second": dict(vars(self.second)), "weight": self.weight}
        if self.heads is not None:
            value["heads"] = [[layer, list(heads)] for layer, heads in self.heads]
        return value

    @staticmethod
    def from_json(value: dict[str, Any]) -> Share:
        second = value.get("second")
        return Share(
            value["part"],
            Parent(value["phase"], value["step"]),
            tuple((target, source) for target, source in value["layers"]) if "layers" in value else None,
            None if second is None else Parent(**second),
            value.get("weight"),
            tuple((layer, tuple(heads)) for layer, heads in value["heads"]) if "heads" in value else None,
        )


@dataclass(frozen=True)
class Init:
    """Where the weights come from, and what of them is not trained; what is not named is drawn anew.

    Attributes:
        components: by component, or part of one (`procray.model.NAMES`), the mark that gives it whole.
        embeddings: how embeddings are carried: `copy` row by row (equal vocabularies) or `mean`, every row
            the mean of the parent's (the form of arXiv 2505.22308).
        shares: what is given in part, or by two marks.
        perturb: what is done to all that was carried, before training.
        freeze: components and parts that keep the weights they begin with.
    """

    components: dict[str, Parent] = field(default_factory=dict)
    embeddings: Literal["copy", "mean"] = "copy"
    shares: tuple[Share, ...] = ()
    perturb: Perturbation | None = None
    freeze: tuple[str, ...] = ()

    def every_share(self) -> list[Share]:
        """Everything that is carried, whole components included, in a stable order."""
        return [*(Share(part, parent) for part, parent in self.components.items()), *self.shares]

    def parents(self) -> list[Parent]:
        """The distinct parents, in a stable order."""
        return list(self._parents)

    @cached_property
    def _parents(self) -> list[Parent]:  # many phases of a plan share one init, and are asked several times
        found = {parent for share in self.every_share() for parent in (share.parent, share.second) if parent}
        return sorted(found, key=lambda p: (p.phase, p.step))

    def carried(self) -> dict[Parent, list[str]]:
        """By parent, in words, what it gives: `attention`, `mlp of layers 0-5`, `30 % of attention`."""
        found: dict[Parent, list[str]] = {}
        for share in self.every_share():
            words = share.part if share.layers is None else f"{share.part} of layers {show_layers(dict(share.layers))}"
            if share.heads is not None:
                words = f"heads {show_heads(dict(share.heads))[1:]} of {share.part}"
            weight = share.weight or 0.0
            if share.second is None:
                found.setdefault(share.parent, []).append(words)
                continue
            found.setdefault(share.parent, []).append(f"{100 * (1 - weight):.3g} % of {words}")
            found.setdefault(share.second, []).append(f"{100 * weight:.3g} % of {words}")
        return found

    def to_json(self) -> dict[str, Any]:
        """Plain data; what stands at its default and came with later versions is left out, so that ids stay."""
        value: dict[str, Any] = {
            "components": {name: dict(vars(parent)) for name, parent in self.components.items()},
            "embeddings": self.embeddings,
        }
        if self.shares:
            value["shares"] = [share.to_json() for share in self.shares]
        if self.perturb is not None:
            value["perturb"] = self.perturb.to_json()
        if self.freeze:
            value["freeze"] = list(self.freeze)
        return value

    @staticmethod
    def from_json(value: dict[str, Any]) -> Init:
        return Init(
            {name: Parent(**parent) for name, parent in value["components"].items()},
            value["embeddings"],
            tuple(Share.from_json(share) for share in value.get("shares", ())),
            Perturbation.from_json(value["perturb"]) if "perturb" in value else None,
            tuple(value.get("freeze", ())),
        )


@dataclass(frozen=True)
class PhaseRecipe:
    """One phase: one model, one stream of data, one schedule.

    `data` is the canonical description of the stream: `{"task": {...}}` as returned by `Task.recipe()`, or
    `{"corpus": {...}, "tokenizer": {...}}` as returned by `corpora.recipe()`. `steps` is the length of a decaying
    schedule and None for a constant one, where a longer budget extends the same run. `noise` and `interleaving` are of
    text alone. `role` keys what is drawn, together with the seed: see `procray.model.draws`; recipes of the first two
    `numerics` have none. `paced_by` is the phase whose lengths of sequences this one follows step by step, in place of
    its own evaluations; see `procray.training.pacing`.
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
    role: str = ""
    numerics: int = NUMERICS
    paced_by: str = ""
    noise: Noise | None = None
    interleaving: Interleaving | None = None

    def __post_init__(self) -> None:
        assert (self.steps is None) == (self.optimizer.schedule == "constant"), "steps belong to decaying schedules"

    @property
    def id(self) -> str:
        """The first 16 hex digits of the hash over `meaning`."""
        return digest(self.meaning(), 16)

    def has_id(self, id: str) -> bool:
        """Whether this is its id, or was in earlier versions, which hashed all of `to_json`."""
        return id in (self.id, digest(self.to_json(), 16))

    def meaning(self) -> dict[str, Any]:
        """What identifies the phase, as plain data: `to_json` without what leaves its numbers alone.

        That is where the data lie; and of a warm-up, whose curve is looked at but not compared, how often and on how
        much it is evaluated. Where evaluations decide what is trained (a rule that ends the warm-up, a length that
        grows with what is mastered) they stay.
        """
        value = self.to_json()
        for name in ("data", "interleaving"):
            if name in value:
                value[name] = identity_of_data(value[name])
        if self.kind == "procedural" and self.evaluation.solved is None and not self.grows:
            del value["evaluation"]["every"], value["evaluation"]["sequences"]
        return value

    @property
    def length(self) -> float | None:
        """Of the schedule, in steps; tokens of a task among the text take as much of it as tokens of text."""
        extra = 0 if self.interleaving is None else self.interleaving.updates * self.interleaving.weight
        return None if self.steps is None else self.steps + extra

    def place(self, steps: int, inserted: int) -> float:
        """In the schedule, after so many steps and updates on a task among the text."""
        return steps + (inserted * self.interleaving.weight if self.interleaving is not None and inserted else 0)

    @property
    def grows(self) -> bool:
        """Whether evaluations decide how long the sequences of the data are (a curriculum)."""
        return not self.paced_by and has_curriculum(self.data)

    @property
    def growing(self) -> bool:
        """Whether its sequences grow on the way, by its own evaluations or by another phase's."""
        return self.grows or bool(self.paced_by)

    @property
    def follows_evaluations(self) -> bool:
        """Whether evaluations, its own or another phase's, decide how many tokens it consumes of its budget."""
        return self.growing or self.evaluation.solved is not None

    def needs(self, until: int) -> list[Parent]:
        """The marks that must exist before it can be trained to a step: what it begins with, and what paces it."""
        return [*self.init.parents(), *([Parent(self.paced_by, until)] if self.paced_by else [])]

    def to_json(self) -> dict[str, Any]:
        """Plain data. Fields of later versions are left out at their default, so that ids stay."""
        evaluation = dict(vars(self.evaluation))
        if self.evaluation.solved is None:
            del evaluation["solved"]
        else:
            evaluation["solved"] = dict(vars(self.evaluation.solved))
        if self.evaluation.split == "validation":
            del evaluation["split"]
        value = {
            **vars(self),
            "model": self.model.to_json(),
            "data": _copied(self.data),
            "optimizer": dict(vars(self.optimizer)),
            "evaluation": evaluation,
            "init": self.init.to_json(),
        }
        for name in ("role", "paced_by", "noise", "interleaving"):
            if not value[name]:
                del value[name]
            elif not isinstance(value[name], str):
                value[name] = _copied(value[name].to_json())
        return value

    @staticmethod
    def from_json(value: dict[str, Any]) -> PhaseRecipe:
        """The recipe that `to_json` gave.

        Raises:
            StoreError: something else.
        """
        check(value, _FORM, "the recipe of a phase")
        if (value.get("steps") is None) != (value["optimizer"].get("schedule", "constant") == "constant"):
            raise StoreError("the recipe of a phase is damaged: steps belong to decaying schedules, and to them only")
        try:
            model = ModelShape.from_json(value["model"])
        except ProcrayError as error:
            raise StoreError(f"the recipe of a phase is damaged: model: {error}") from error
        evaluation = value["evaluation"]
        solved = evaluation.get("solved")
        return PhaseRecipe(
            **{
                **value,
                "model": model,
                "optimizer": Optimizer(**value["optimizer"]),
                "evaluation": Evaluation(**{**evaluation, "solved": None if solved is None else Solved(**solved)}),
                "init": Init.from_json(value["init"]),
                "noise": Noise.from_json(value["noise"]) if "noise" in value else None,
                "interleaving": Interleaving.from_json(value["interleaving"]) if "interleaving" in value else None,
            }
        )


def has_curriculum(data: dict[str, Any]) -> bool:
    """Whether the sequences of a stream of data grow as they are mastered."""
    length = unshuffled(data.get("task", {})).get("length")
    return isinstance(length, dict) and "mastery" in length


def unshuffled(task: dict[str, Any]) -> dict[str, Any]:
    """The recipe of the task whose tokens a shuffled one has, or the very one."""
    while "shuffled" in task:
        task = task["shuffled"]
    return task


def _layer_pair(value: Any) -> str:
    """As a form: a layer here and a layer of the parent."""
    fits = isinstance(value, list) and len(value) == 2 and not any(map(count, value))
    return "" if fits else "not a pair of layers"


def _heads_of_layer(value: Any) -> str:
    """As a form: a layer and some of its heads."""
    fits = isinstance(value, list) and len(value) == 2 and not count(value[0]) and isinstance(value[1], list)
    return "" if fits and not any(map(count, value[1])) else "not a layer and its heads"


_PARENT = of(Parent, phase=plain, step=count)
_INIT = Exactly(
    {
        "components": Every(_PARENT),
        "embeddings": str,
        "shares?": [
            Exactly(
                {
                    "part": str,
                    "phase": plain,
                    "step": count,
                    "layers?": [_layer_pair],
                    "second?": _PARENT,
                    "weight?": (float, type(None)),
                    "heads?": [_heads_of_layer],
                }
            )
        ],
        "perturb?": perturbation_form,
        "freeze?": [str],
    }
)


def _data_form(value: Any) -> str:
    """As a form: what `meaning` looks into is a mapping; the rest is up to who makes the data."""
    for name in ("task", "shuffled"):
        if not isinstance(value, dict):
            break
        value = value.get(name, {})
    return "" if isinstance(value, dict) else "not a mapping, or its task is none"


def _model_form(value: Any) -> str:
    """As a form: single values; which of them a family has is up to it."""
    fits = isinstance(value, dict) and not any(isinstance(one, dict | list) for one in value.values())
    return "" if fits else "not the shape of a model"


_FORM = Exactly(
    of(PhaseRecipe, init=_INIT, steps=(count, type(None)), model=_model_form, paced_by=plain).form
    | {"init": _INIT, "data": _data_form, "noise?": dict, "interleaving?": dict}
)


def _copied(value: Any) -> Any:
    """Plain data anew: whoever changes it does not change the recipe. Quicker than `deepcopy`, which looks for more."""
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    return [_copied(item) for item in value] if isinstance(value, list | tuple) else value
