"""The keys of a sweep file and what each may hold, as pydantic models: one a section.

The models describe one setting: `grid:` forms are taken apart before a value reaches them. They
check and convert; defaults belong to the code that reads a value. Every key is optional to pydantic,
so that a file with a mistake can be checked further without it; `required` names what must be there.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import fields
from typing import Any, ClassVar, Literal, get_args

from pydantic import Field, create_model, field_validator

from procray import tasks
from procray.errors import TaskError
from procray.model.families import DEFAULT, FAMILIES, PRESETS
from procray.model.family import Setting
from procray.spec.parts import wrong
from procray.spec.published import Published
from procray.spec.section import Section
from procray.spec.values import (
    Controls,
    Corpus,
    Count,
    CountOrZero,
    Fractions,
    Freeze,
    Name,
    Noise,
    Number,
    Parameter,
    Perturb,
    Seeds,
    TaskName,
    Tokenizer,
    Transfer,
)
from procray.training import recipe

KINDS = ("procedural", "semantic", "diagnostic", "finetune")

# Sections in which `grid:` may stand.
GRIDS = (
    "model", "precision", "procedural", "transfer", "freeze", "perturb", "semantic", "diagnostic", "finetune",
    "targets", "chain",
)  # fmt: skip


class _ModelBase(Section):
    inherits = True
    defaults: ClassVar[dict[str, Any]] = {"family": DEFAULT, "dropout": 0.0}

    family: Literal[*FAMILIES] | None = Field(None, description=f"default {DEFAULT}")  # type: ignore[valid-type]
    preset: Literal[*PRESETS] | None = Field(  # type: ignore[valid-type]
        None, description="a published size, with its family; keys beside it win"
    )
    layers: int | None = Field(None, ge=1, le=10_000)
    heads: int | None = Field(None, ge=1, le=10_000)
    width: int | None = Field(None, ge=1, le=1_000_000)
    context: int | None = Field(None, ge=1, le=100_000_000, description="positions of the models that train on text")
    tied: bool | None = Field(
        None, description="one matrix for token embeddings and head; default true in a GPT-2, else false"
    )
    dropout: Number | None = Field(None, ge=0, lt=1, description="default 0")

    @classmethod
    def silent(cls, section: dict[str, Any]) -> dict[str, Any]:
        preset = PRESETS.get(str(section.get("preset")), {})
        family = FAMILIES.get(str(section.get("family", preset.get("family", DEFAULT))), FAMILIES[DEFAULT])
        return {**cls.defaults, "tied": family.config.tied, "family": family.name, **preset}


def _setting(setting: Setting, owners: Iterable[str]) -> tuple[Any, Any]:
    kind: Any = Number if setting.type is float else setting.type
    bounds: dict[str, Any] = {"gt" if setting.type is float else "ge": setting.low, "le": setting.high}
    bounds = {name: value for name, value in bounds.items() if value is not None}
    return kind | None, Field(None, description=f"{', '.join(owners)}: {setting.about}", **bounds)


def _settings() -> dict[str, Any]:
    """What only some families have, by name."""
    found: dict[str, tuple[Setting, list[str]]] = {}
    for family in FAMILIES.values():
        for name, setting in family.settings.items():
            found.setdefault(name, (setting, []))[1].append(family.name)
    return {name: _setting(setting, owners) for name, (setting, owners) in found.items()}


Model = create_model(
    "Model",
    __base__=_ModelBase,
    __doc__="A model. Vocabulary comes from the data; a task's context from the task.",
    **_settings(),
)


class Optimizer(Section):
    """AdamW and its learning-rate schedule."""

    required = ("lr",)
    rivals = (frozenset({"warmup", "warmup_steps"}),)
    defaults: ClassVar[dict[str, Any]] = {
        "warmup": 0,
        **{field.name: field.default for field in fields(recipe.Optimizer) if field.name != "lr"},
    }

    lr: Number | None = Field(None, gt=0)
    schedule: Literal["constant", "linear", "cosine", "wsd"] | None = Field(None, description="default constant")
    warmup: CountOrZero | None = Field(None, description="tokens, rounded to whole steps; default 0")
    warmup_steps: CountOrZero | None = Field(None, description="in place of warmup")
    min_lr: Number | None = Field(None, ge=0, le=1, description="the floor as a fraction of lr; default 0")
    decay: Number | None = Field(None, gt=0, le=1, description="wsd: the decaying fraction of all steps; default 0.2")
    weight_decay: Number | None = Field(None, ge=0, description="on matrices; default 0.1")
    beta1: Number | None = Field(None, ge=0, lt=1, description="default 0.9")
    beta2: Number | None = Field(None, ge=0, lt=1, description="default 0.999")
    eps: Number | None = Field(None, gt=0, description="default 1e-8")
    clip: Number | None = Field(None, ge=0, description="global gradient norm, 0 for none; default 1")


class Solved(Section):
    """The rule that ends a phase early."""

    required = ("accuracy",)
    defaults: ClassVar[dict[str, Any]] = {"evaluations": recipe.Solved(1.0).evaluations}

    accuracy: Number | None = Field(None, gt=0, le=1, description="validation accuracy to reach, and to keep")
    evaluations: int | None = Field(None, ge=1, le=1_000_000, description="how many in a row; default 3")


class Evaluate(Section):
    """When to evaluate and on how much held-out data."""

    every: Count | None = Field(None, description="tokens, rounded to whole steps; default 100 steps")
    sequences: Count | None = Field(None, description="size of the fixed set; default 256 for tasks, 64 for text")
    solved: Solved | None = Field(None, description="stop when solved; default: train to the end")


class Resources(Section):
    """What one phase takes."""

    inherits = True
    defaults: ClassVar[dict[str, Any]] = {"workers": 1, "gpu": 0.0, "cpu": 1.0, "executor": "auto"}

    workers: int | None = Field(None, ge=1, le=100_000, description="default 1")
    min_workers: int | None = Field(
        None,
        ge=1,
        le=100_000,
        description="with how few workers to go on where nodes are gone, in place of waiting for them; needs the "
        "executor train, which it chooses; default: as many as `workers`",
    )
    gpu: Number | None = Field(
        None, ge=0, description="GPUs of one worker: a share of one, or a whole number of them; default 0"
    )
    cpu: Number | None = Field(None, gt=0, description="processors of one worker; default 1")
    executor: Literal["auto", "inprocess", "train-warm", "train"] | None = Field(
        None,
        description="inprocess: in a process that trains one phase after the other (one worker); train-warm: in a "
        "group of workers that does so; train: in a group of its own, which takes 10 to 20 s to form; default auto: "
        "by workers and work",
    )

    @field_validator("gpu")
    @classmethod
    def _whole(cls, value: float | None) -> float | None:
        if value is not None and value > 1 and value != int(value):
            raise wrong(f"above 1, GPUs are whole: {int(value)} or {int(value) + 1} (got {value:g})")
        return value


class _Phase(Section):
    tokens: Count | None = Field(None, description="the budget, rounded up to whole steps")
    batch: Count | None = Field(None, description="sequences in one optimiser step")
    optimizer: Optimizer | None = None
    evaluate: Evaluate | None = None
    model: Model | None = Field(None, description="what differs from the sweep's model")  # type: ignore[valid-type]
    resources: Resources | None = Field(None, description="what differs from the sweep's resources")


def task_parameters() -> dict[str, str]:
    """Every parameter that some task accepts, with its meaning."""
    found: dict[str, str] = {"form": "eca: rows or tokens"}
    for name in tasks.names():
        for parameter, (_, meaning) in tasks.describe(name)[1].items():
            found.setdefault(parameter, meaning)
    return {name: meaning for name, meaning in found.items() if name not in ("task", "parts")}


def parameters_of(task: str) -> set[str] | None:
    """The parameters that a task accepts, in all of its forms; None for an unknown task."""
    names = [f"eca_{form}" for form in ("rows", "tokens")] if task == "eca" else [task]
    try:
        found = {parameter for name in names for parameter in tasks.describe(name)[1]}
    except TaskError:
        return None
    return found | ({"form"} if task == "eca" else set())


class _TaskBase(_Phase):
    required = ("task", "tokens", "batch", "optimizer")

    task: TaskName | None = None


TaskPhase = create_model(
    "TaskPhase",
    __base__=_TaskBase,
    __doc__="Training on a generated task; the task's parameters stand beside its name.",
    **{name: (Parameter | None, Field(None, description=text)) for name, text in task_parameters().items()},  # type: ignore[call-overload]
)


class Mix(Section):
    """Procedural data spread among the text of the phase that they belong to."""

    required = ("share",)
    defaults: ClassVar[dict[str, Any]] = {"decay": "none"}

    share: Number | None = Field(
        None, gt=0, le=1, description="of procedural tokens among all, where they begin; 1: nothing else until they end"
    )
    decay: Literal["none", "linear", "cosine"] | None = Field(
        None, description="how procedural tokens for each token of text fall to none; default none: they do not"
    )


class ProceduralPhase(TaskPhase):  # type: ignore[misc,valid-type]
    """Procedural data: a phase of their own, or among the text of the phase after them."""

    at: Number | None = Field(
        None,
        ge=0,
        lt=1,
        description="after which share of its text the data stand, in one phase with it, one optimizer and one "
        "schedule; default: a phase of their own before it, whose weights are carried",
    )
    mix: Mix | None = Field(
        None, description="spread the data among the text from there on; without tokens, to its end"
    )

    @classmethod
    def needed(cls, keys: Collection[str]) -> tuple[str, ...]:
        among = {"optimizer": {"at", "mix"}, "tokens": {"mix"}}  # what says it in their place
        return tuple(key for key in cls.required if not among.get(key, set()) & set(keys))


class TextPhase(_Phase):
    """Training on text."""

    required = ("corpus", "tokens", "optimizer")
    rivals = (frozenset({"batch", "batch_tokens"}),)

    corpus: Corpus | None = None
    tokenizer: Tokenizer | None = Field(None, description="default: the corpus's own")
    batch_tokens: Count | None = Field(None, description="tokens in one optimiser step, in place of batch")
    noise: Noise | None = Field(
        None,
        description="share of the training tokens that random ones replace, such as 0.1, or {blocks: 0.1} of whole "
        "blocks; evaluation is clean; default 0",
    )


class FinetunePhase(TextPhase):
    """Training on other text after the semantic phase."""

    defaults: ClassVar[dict[str, Any]] = {"freeze": [], "perturb": {}}

    transfer: Transfer | None = Field(None, description="default everything")
    freeze: Freeze | None = Field(None, description="components that are not trained")
    perturb: Perturb | None = Field(None, description="what is done to the weights that were carried")


class Target(Section):
    """One of several tails after the same warm-ups."""

    required = ("name",)
    rivals = (frozenset({"semantic", "diagnostic"}),)

    name: Name | None = None
    semantic: TextPhase | None = None
    diagnostic: TaskPhase | None = None  # type: ignore[valid-type]
    finetune: FinetunePhase | None = None
    transfer: Transfer | None = Field(None, description="in place of the sweep's")
    freeze: Freeze | None = Field(None, description="components that are not trained")
    perturb: Perturb | None = Field(None, description="what is done to the weights that were carried")
    model: Model | None = Field(None, description="what differs from the sweep's model")  # type: ignore[valid-type]


class Link(Section):
    """One phase of a general chain."""

    rivals = (frozenset(KINDS),)
    defaults: ClassVar[dict[str, Any]] = {"freeze": [], "perturb": {}}

    name: Name | None = None
    procedural: ProceduralPhase | None = None
    semantic: TextPhase | None = None
    diagnostic: TaskPhase | None = None  # type: ignore[valid-type]
    finetune: FinetunePhase | None = None
    transfer: Transfer | None = Field(None, description="how the weights of the phase before arrive")
    freeze: Freeze | None = Field(None, description="components that are not trained")
    perturb: Perturb | None = Field(None, description="what is done to the weights that were carried")


class Select(Section):
    """Settings that are chosen for every variant, the baseline included, on seeds and held-out data of their own."""

    required = ("axes", "seeds")

    axes: list[str] | None = Field(None, min_length=1, description="names of the axes that are searched")
    seeds: Seeds | None = Field(None, description="other seeds than those of the sweep")
    by: Literal["best"] | None = Field(None, description="lowest tuning loss, for tasks highest accuracy; default best")


Assignment = dict[str, Any]


class Sweep(Section):
    """A sweep: the grid of chains that one file describes."""

    required = ("name",)
    rivals = (frozenset({"semantic", "diagnostic", "targets", "chain"}),)
    defaults: ClassVar[dict[str, Any]] = {
        "setting": "additive",
        "seeds": [0],
        "precision": "auto",
        "freeze": [],
        "perturb": {},
        "matched": [],
        "controls": [],
        "retries": 2,
        "published": [],
        "zip": [],
        "exclude": [],
        "include": [],
    }

    name: Name | None = None
    question: str | None = None
    setting: Literal["additive", "substitutive"] | None = Field(None, description="default additive")
    seeds: Seeds | None = Field(None, description="default [0]")
    donors: Seeds | None = Field(
        None,
        description="seeds of the warm-ups, each of which then goes before every seed of `seeds`; default: of each "
        "target its own",
    )
    model: Model | None = None  # type: ignore[valid-type]
    precision: Literal["auto", "fp32", "bf16"] | None = Field(None, description="auto: bf16 on a GPU, else fp32")
    procedural: ProceduralPhase | None = None
    transfer: Transfer | None = Field(None, description="default full")
    freeze: Freeze | None = Field(None, description="components that are not trained")
    perturb: Perturb | None = Field(None, description="what is done to the weights that were carried")
    semantic: TextPhase | None = None
    diagnostic: TaskPhase | None = None  # type: ignore[valid-type]
    finetune: FinetunePhase | None = None
    targets: list[Target] | None = Field(None, min_length=1)
    chain: list[Link] | None = Field(None, min_length=1)
    select: Select | None = Field(None, description="axes whose best value is chosen for every variant")
    matched: Fractions | None = Field(None, description="fractions of T2 to rerun with a schedule of their own")
    controls: Controls | None = Field(
        None,
        description="what every warmed-up variant is compared with beside the baseline: shuffled (the same task "
        "without its order), text (as many tokens of the target's corpus; {text: CORPUS} names another), random "
        "(weights of the norms that were carried), random_heads (where the transfer names heads, as many others of the "
        "same layers), more_semantic (the baseline with the warm-up's tokens added to its own); default none",
    )
    compare: str | None = Field(None, description="the phase whose curve is the result; default the last")
    resources: Resources | None = None
    retries: int | None = Field(None, ge=0, description="default 2")
    published: list[Published] | None = None
    zip: list[Any] | None = Field(None, description="lists of axes whose values go together")
    exclude: list[Assignment] | None = None
    include: list[Assignment] | None = None
    scales: dict[str, Any] | None = None


def section_of(section: type[Section] | None, key: str | int) -> type[Section] | None:
    """The section under a key of a section, or that of each entry where a list of them stands there; else None.

    A number is an entry of such a list, and asks for the section that the list is of.
    """
    if section is None or isinstance(key, int):
        return section
    field = section.model_fields.get(key)
    if field is None:
        return None
    options = [inner for option in get_args(field.annotation) for inner in (option, *get_args(option))]
    return next((option for option in options if isinstance(option, type) and issubclass(option, Section)), None)


def section_at(path: Iterable[str | int]) -> type[Section] | None:
    """The section at a path of a sweep file, None where a value stands there."""
    found: type[Section] | None = Sweep
    for key in path:
        found = section_of(found, key)
    return found


# Keys of later versions: what to say in place of a guess.
LATER = {
    "init": "a phase starts from the phase before it; see transfer",
}
