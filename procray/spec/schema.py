"""The keys of a sweep file and what each may hold, as pydantic models, and the JSON Schema of them.

The models describe one setting: `grid:` forms are taken apart before a value reaches them. They
check and convert; defaults belong to the code that reads a value. Every key is optional to pydantic,
so that a file with a mistake can be checked further without it; `required` names what must be there.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    WithJsonSchema,
    create_model,
    model_validator,
)
from pydantic_core import PydanticCustomError

from procray import tasks
from procray.errors import TransferError, did_you_mean
from procray.model.components import parse_layers, parse_names
from procray.model.perturb import MANNERS
from procray.spec.counts import parse_count
from procray.spec.quantities import QUANTITIES, SHARES

KINDS = ("procedural", "semantic", "diagnostic", "finetune")

# Sections in which `grid:` may stand.
GRIDS = (
    "model", "precision", "procedural", "transfer", "freeze", "perturb", "semantic", "diagnostic", "finetune",
    "targets", "chain",
)  # fmt: skip


def _wrong(message: str, *path: str | int) -> PydanticCustomError:
    """A problem at `path` below the value that a validator looks at."""
    return PydanticCustomError("wrong", "{message}", {"message": message, "path": path})


def _count(value: Any) -> int:
    return parse_count(value)


_COUNT_SCHEMA = {
    "anyOf": [
        {"type": "number"},
        {"type": "string", "pattern": r"^[+]?[0-9_]+(\.[0-9]+)?([eE][+-]?[0-9]+)? ?(Ki|Mi|Gi|[kKMGBT])?$"},
    ]
}
Count = Annotated[int, BeforeValidator(_count), Field(gt=0, le=10**18), WithJsonSchema(_COUNT_SCHEMA)]
CountOrZero = Annotated[int, BeforeValidator(_count), Field(ge=0, le=10**18), WithJsonSchema(_COUNT_SCHEMA)]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)]
Number = Annotated[float, Field(allow_inf_nan=False)]


def _task(value: Any) -> Any:
    """A task's name, `{shuffled: task}` or `{mixture: {name: weight}}`, the latter perhaps with `prefix: true`."""
    expected = "expected a task's name, {shuffled: task} or {mixture: {task: weight}}"
    if isinstance(value, str):
        return value
    if isinstance(value, dict) and "text" in value:
        return _text_warmup(value)
    if not isinstance(value, dict) or (len(value) != 1 and set(value) != {"mixture", "prefix"}):
        raise _wrong(expected)
    if "shuffled" in value:
        return {"shuffled": _task(value["shuffled"])}
    if "mixture" not in value:
        raise _wrong(expected)
    parts = value["mixture"]
    if not isinstance(parts, dict) or not parts:
        raise _wrong("expected a mapping of tasks to weights", "mixture")
    for name, weight in parts.items():
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight < math.inf:
            raise _wrong("a weight must be a number above 0", "mixture", name)
    if not isinstance(value.get("prefix", False), bool):
        raise _wrong("expected true or false", "prefix")
    prefix = {"prefix": True} if value.get("prefix") else {}
    return {"mixture": {name: float(weight) for name, weight in parts.items()}, **prefix}


def _text_warmup(value: dict[str, Any]) -> dict[str, Any]:
    """`{text: corpus}` or `{text: {corpus: ...}}`, with tokenizer, context and batch: text in place of a task."""
    given = value["text"]
    if isinstance(given, str) and len(value) == 1:
        return {"text": {"corpus": given}}
    if len(value) > 1 or not isinstance(given, dict) or "corpus" not in given:
        raise _wrong("expected {text: a corpus's name} or {text: {corpus: ..., tokenizer: ...}}")
    found: dict[str, Any] = {}
    for key, child in given.items():
        if key in ("corpus", "tokenizer"):
            found[key] = _source(child)
        elif key in ("context", "batch"):
            found[key] = _count(child)
            if found[key] < 1:
                raise _wrong("must be at least 1", "text", key)
        else:
            known = ("corpus", "tokenizer", "context", "batch")
            raise _wrong(f"unknown key '{key}'{did_you_mean(key, known)}", "text", key)
    return {"text": found}


def _parameter(value: Any) -> Any:
    """A task's parameter: the task itself knows what it accepts."""
    if isinstance(value, str):
        try:
            return parse_count(value)
        except ValueError:
            return value
    if isinstance(value, dict):
        return {key: _parameter(child) for key, child in value.items()}
    if isinstance(value, list):
        raise _wrong("expected one value; several are written {grid: [...]}")
    return value


def _transfer(value: Any) -> Any:
    """A mode such as `full` or `attention+mlp`, or `{component: parent}`."""
    if isinstance(value, str):
        return value
    if isinstance(value, dict) and value:
        return {
            component: [_parent(item, component, i) for i, item in enumerate(parent)]
            if isinstance(parent, list) and parent
            else _parent(parent, component)
            for component, parent in value.items()
        }
    raise _wrong("expected a mode such as full, attention or attention+mlp, or {component: parent}")


_GIVER = "the name of a procedural task or of an earlier phase, {path: a checkpoint} or hf:NAME@COMMIT"
_PARENT_KEYS = ("from", "path", "heads", "interpolate", "weight", "layers")


def _parent(value: Any, *path: str | int) -> Any:
    """Who gives a component, all of it or some layers; or between which two it lies."""
    if isinstance(value, str):
        return value
    if not isinstance(value, dict) or not value:
        raise _wrong(f"expected {_GIVER}, or a mapping with from, layers or interpolate", *path)
    for key in value:
        if key not in _PARENT_KEYS:
            known = f" (keys: {', '.join(_PARENT_KEYS)})"
            raise _wrong(f"unknown key '{key}'{did_you_mean(key, _PARENT_KEYS)}{known}", *path, key)
    sources = [key for key in ("from", "path", "interpolate") if key in value]
    if len(sources) > 1:
        raise _wrong(f"'{sources[1]}' cannot stand beside '{sources[0]}'", *path, sources[1])
    found = dict(value)
    if "from" in value:
        found["from"] = _giver(value["from"], *path, "from")
    if "path" in value:
        found |= _giver({key: value[key] for key in ("path", "heads") if key in value}, *path)
    elif "heads" in value:
        raise _wrong("'heads' belongs to a path", *path, "heads")
    if "interpolate" in value:
        pair = value["interpolate"]
        if not isinstance(pair, list) or len(pair) != 2:
            raise _wrong("expected two parents, such as [set, union]", *path, "interpolate")
        found["interpolate"] = [_giver(one, *path, "interpolate", i) for i, one in enumerate(pair)]
    weight = value.get("weight", 0.5)
    if "weight" in value and "interpolate" not in value:
        raise _wrong("'weight' belongs to interpolate", *path, "weight")
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight <= 1:
        raise _wrong("a weight lies between 0 (the first parent) and 1 (the second)", *path, "weight")
    if "layers" in value:
        try:
            found["layers"] = [list(pair) for pair in parse_layers(value["layers"]).items()]
        except TransferError as error:
            raise _wrong(str(error), *path, "layers") from None
    return found


def _giver(value: Any, *path: str | int) -> Any:
    if isinstance(value, str) and value:
        return value
    if not isinstance(value, dict) or not isinstance(value.get("path"), str) or value.keys() - {"path", "heads"}:
        raise _wrong(f"expected {_GIVER}", *path)
    heads = value.get("heads", 1)
    if isinstance(heads, bool) or not isinstance(heads, int) or heads < 1:
        raise _wrong("expected a whole number above 0", *path, "heads")
    return value


def _freeze(value: Any) -> Any:
    """Components that are not trained."""
    if not isinstance(value, str | list):
        raise _wrong("expected none, a component, or a list such as [attention, embeddings]")
    try:
        return list(parse_names(value))
    except TransferError as error:
        raise _wrong(str(error)) from None


def _perturb(value: Any) -> Any:
    """What is done to carried weights; nothing is an empty mapping."""
    if value == "none":
        return {}
    expected = "expected none, {noise: 0.05}, {shuffle: per_layer} or {random: norm_matched}"
    kinds = [key for key in ("noise", *MANNERS) if isinstance(value, dict) and key in value]
    if len(kinds) != 1:
        raise _wrong(expected)
    (kind,) = kinds
    stray = next((key for key in value if key not in (kind, "components")), None)
    if stray is not None:
        raise _wrong(f"unknown key '{stray}'{did_you_mean(stray, ['components'])}", stray)
    if kind in MANNERS and value[kind] != MANNERS[kind]:
        raise _wrong(f"expected {MANNERS[kind]}", kind)
    sigma = value[kind]
    if kind == "noise" and (isinstance(sigma, bool) or not isinstance(sigma, int | float) or not 0 < sigma < math.inf):
        raise _wrong("noise is a number above 0: standard deviations of the tensor itself", kind)
    found = {kind: float(sigma) if kind == "noise" else sigma}
    if "components" in value:
        try:
            found["components"] = list(parse_names(value["components"]))
        except TransferError as error:
            raise _wrong(str(error), "components") from None
    return found


def _source(value: Any) -> Any:
    if isinstance(value, str) or (isinstance(value, dict) and value):
        return value
    raise _wrong("expected a name or a mapping")


def _seeds(value: Any) -> Any:
    if not isinstance(value, list):
        raise _wrong("expected a list of whole numbers, such as [0, 1, 2]")
    if not value:
        raise _wrong("expected at least one seed")
    seen: set[int] = set()
    for i, seed in enumerate(value):
        if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**32:
            raise _wrong(f"a seed is a whole number from 0 to 2^32 - 1 (got {seed!r})", i)
        if seed in seen:
            raise _wrong(f"seed {seed} stands here twice", i)
        seen.add(seed)
    return value


def _fractions(value: Any) -> Any:
    if not isinstance(value, list):
        raise _wrong("expected a list of fractions, such as [0.5, 0.7]")
    for i, fraction in enumerate(value):
        if isinstance(fraction, bool) or not isinstance(fraction, int | float) or not 0 < fraction < 1:
            raise _wrong(f"a fraction lies between 0 and 1 (got {fraction!r})", i)
        if fraction in value[:i]:
            raise _wrong(f"{fraction} stands here twice", i)
    return [float(fraction) for fraction in value]


def _quantity(value: Any) -> Any:
    if not isinstance(value, str) or value not in QUANTITIES:
        raise _wrong(f"no quantity '{value}'{did_you_mean(str(value), QUANTITIES)} (known: {', '.join(QUANTITIES)})")
    return value


_SHARE_SCHEMA = {"anyOf": [{"type": "number"}, {"type": "string", "pattern": r"^[+-]?[0-9.]+ ?%$"}]}
Quantity = Annotated[str, BeforeValidator(_quantity), WithJsonSchema({"enum": list(QUANTITIES)})]
_NAME_OR_MAPPING = {"anyOf": [{"type": "string"}, {"type": "object"}]}
TaskName = Annotated[Any, BeforeValidator(_task), WithJsonSchema(_NAME_OR_MAPPING)]
Parameter = Annotated[Any, BeforeValidator(_parameter), WithJsonSchema({"type": ["number", "string", "object"]})]
Transfer = Annotated[Any, BeforeValidator(_transfer), WithJsonSchema(_NAME_OR_MAPPING)]
Freeze = Annotated[Any, BeforeValidator(_freeze), WithJsonSchema({"type": ["string", "array"]})]
Perturb = Annotated[Any, BeforeValidator(_perturb), WithJsonSchema(_NAME_OR_MAPPING)]
Source = Annotated[Any, BeforeValidator(_source), WithJsonSchema(_NAME_OR_MAPPING)]
Seeds = Annotated[list[int], BeforeValidator(_seeds)]
Fractions = Annotated[list[float], BeforeValidator(_fractions)]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    required: ClassVar[tuple[str, ...]] = ()


class Model(Section):
    """A GPT-2. Vocabulary comes from the data; a task's context from the task."""

    layers: int | None = Field(None, ge=1, le=10_000)
    heads: int | None = Field(None, ge=1, le=10_000)
    width: int | None = Field(None, ge=1, le=1_000_000)
    context: int | None = Field(None, ge=1, le=100_000_000, description="positions of the models that train on text")
    tied: bool | None = Field(None, description="one matrix for token embeddings and head; default true")
    dropout: Number | None = Field(None, ge=0, lt=1, description="default 0")


class Optimizer(Section):
    """AdamW and its learning-rate schedule."""

    required = ("lr",)

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

    accuracy: Number | None = Field(None, gt=0, le=1, description="validation accuracy to reach, and to keep")
    evaluations: int | None = Field(None, ge=1, le=1_000_000, description="how many in a row; default 3")


class Evaluate(Section):
    """When to evaluate and on how much held-out data."""

    every: Count | None = Field(None, description="tokens, rounded to whole steps; default 100 steps")
    sequences: Count | None = Field(None, description="size of the fixed set; default 256 for tasks, 64 for text")
    solved: Solved | None = Field(None, description="stop when solved; default: train to the end")


class Resources(Section):
    """What one phase takes."""

    workers: int | None = Field(None, ge=1, le=100_000, description="default 1")
    min_workers: int | None = Field(
        None,
        ge=1,
        le=100_000,
        description="with how few workers to go on where nodes are gone, in place of waiting for them; needs the "
        "executor train, which it chooses; default: as many as `workers`",
    )
    gpu: Number | None = Field(None, ge=0, description="GPUs of one worker, may be a fraction; default 0")
    cpu: Number | None = Field(None, gt=0, description="processors of one worker; default 1")
    executor: Literal["auto", "inprocess", "train-warm", "train"] | None = Field(
        None,
        description="inprocess: in a process that trains one phase after the other (one worker); train-warm: in a "
        "group of workers that does so; train: in a group of its own, which takes 10 to 20 s to form; default auto: "
        "by workers and work",
    )


class _Phase(Section):
    tokens: Count | None = Field(None, description="the budget, rounded up to whole steps")
    batch: Count | None = Field(None, description="sequences in one optimiser step")
    optimizer: Optimizer | None = None
    evaluate: Evaluate | None = None
    model: Model | None = Field(None, description="what differs from the sweep's model")
    resources: Resources | None = Field(None, description="what differs from the sweep's resources")


def task_parameters() -> dict[str, str]:
    """Every parameter that some task accepts, with its meaning."""
    found: dict[str, str] = {"form": "eca: rows or tokens"}
    for name in tasks.names():
        for parameter, (_, meaning) in tasks.describe(name)[1].items():
            found.setdefault(parameter, meaning)
    return {name: meaning for name, meaning in found.items() if name not in ("task", "parts")}


class _TaskBase(_Phase):
    required = ("task", "tokens", "batch", "optimizer")

    task: TaskName | None = None


TaskPhase = create_model(
    "TaskPhase",
    __base__=_TaskBase,
    __doc__="Training on a generated task; the task's parameters stand beside its name.",
    **{name: (Parameter | None, Field(None, description=text)) for name, text in task_parameters().items()},  # type: ignore[call-overload]
)


class TextPhase(_Phase):
    """Training on text."""

    required = ("corpus", "tokens", "optimizer")

    corpus: Source | None = None
    tokenizer: Source | None = Field(None, description="default: the corpus's own")
    batch_tokens: Count | None = Field(None, description="tokens in one optimiser step, in place of batch")


class FinetunePhase(TextPhase):
    """Training on other text after the semantic phase."""

    transfer: Transfer | None = Field(None, description="default everything")
    freeze: Freeze | None = Field(None, description="components that are not trained")
    perturb: Perturb | None = Field(None, description="what is done to the weights that were carried")


class Target(Section):
    """One of several tails after the same warm-ups."""

    required = ("name",)

    name: Name | None = None
    semantic: TextPhase | None = None
    diagnostic: TaskPhase | None = None  # type: ignore[valid-type]
    finetune: FinetunePhase | None = None
    transfer: Transfer | None = Field(None, description="in place of the sweep's")
    freeze: Freeze | None = Field(None, description="components that are not trained")
    perturb: Perturb | None = Field(None, description="what is done to the weights that were carried")
    model: Model | None = Field(None, description="what differs from the sweep's model")


class Link(Section):
    """One phase of a general chain."""

    name: Name | None = None
    procedural: TaskPhase | None = None  # type: ignore[valid-type]
    semantic: TextPhase | None = None
    diagnostic: TaskPhase | None = None  # type: ignore[valid-type]
    finetune: FinetunePhase | None = None
    transfer: Transfer | None = Field(None, description="how the weights of the phase before arrive")
    freeze: Freeze | None = Field(None, description="components that are not trained")
    perturb: Perturb | None = Field(None, description="what is done to the weights that were carried")


class Published(Section):
    """A published value to compare with."""

    required = ("value", "source", "strength", "tolerance")

    value: Annotated[Number, WithJsonSchema(_SHARE_SCHEMA)] | None = Field(None, description="shares also as 99 %")
    source: str | None = Field(None, min_length=1)
    strength: str | None = Field(None, min_length=1, description="how good the evidence for the value is")
    tolerance: Annotated[Number, Field(ge=0), WithJsonSchema(_SHARE_SCHEMA)] | None = None
    quantity: Quantity | None = Field(None, description="default data_fraction")
    variant: str | None = Field(None, description="its name, in which * stands for anything")
    target: str | None = None
    note: str | None = None
    comparable: str | None = Field(None, min_length=1, description="why ours is another number, where it is")

    @model_validator(mode="before")
    @classmethod
    def _units(cls, data: Any) -> Any:
        """Shares are numbers up to 1 or percentages; a forgotten sign would make a 99 out of 0.99."""
        if not isinstance(data, dict):
            return data
        quantity = data.get("quantity", "data_fraction")
        if not isinstance(quantity, str):
            return data  # the field says what is wrong
        for key in ("value", "tolerance"):
            given = data.get(key)
            if isinstance(given, str) and given.rstrip().endswith("%"):
                if quantity not in SHARES:
                    raise _wrong(f"a percentage stands for a share, and {quantity} is none", key)
                try:
                    data = {**data, key: float(given.rstrip()[:-1]) / 100}
                except ValueError:
                    raise _wrong(f"expected a percentage such as 99 % (got '{given}')", key) from None
            elif quantity in SHARES and isinstance(given, int | float) and abs(given) > 1:
                raise _wrong(f"{quantity} is a share: write {given / 100:g} or {given:g} %", key)
        return data


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

    name: Name | None = None
    question: str | None = None
    setting: Literal["additive", "substitutive"] | None = Field(None, description="default additive")
    seeds: Seeds | None = Field(None, description="default [0]")
    model: Model | None = None
    precision: Literal["auto", "fp32", "bf16"] | None = Field(None, description="auto: bf16 on a GPU, else fp32")
    procedural: TaskPhase | None = None  # type: ignore[valid-type]
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
    compare: str | None = Field(None, description="the phase whose curve is the result; default the last")
    resources: Resources | None = None
    retries: int | None = Field(None, ge=0, description="default 2")
    published: list[Published] | None = None
    zip: list[Any] | None = Field(None, description="lists of axes whose values go together")
    exclude: list[Assignment] | None = None
    include: list[Assignment] | None = None
    scales: dict[str, Any] | None = None


# The model that reads the section under each key, for the known keys of a message.
SECTIONS: dict[str, type[Section]] = {
    "": Sweep,
    "model": Model,
    "optimizer": Optimizer,
    "evaluate": Evaluate,
    "solved": Solved,
    "resources": Resources,
    "procedural": TaskPhase,
    "diagnostic": TaskPhase,
    "semantic": TextPhase,
    "finetune": FinetunePhase,
    "targets": Target,
    "chain": Link,
    "published": Published,
    "select": Select,
}

# Keys of later versions: what to say in place of a guess.
LATER = {
    "init": "a phase starts from the phase before it; see transfer",
}


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a sweep file, for editors: every value of a section may also be a grid.

    What an overlay may complete is not required, so a file that passes may still miss a key.
    """
    schema = Sweep.model_json_schema()
    definitions = schema.pop("$defs")
    for name, definition in definitions.items():
        if name not in ("Resources", "Published", "Select"):
            fixed = ("name", "resources")
            definition["properties"] = {
                key: value if key in fixed else _or_grid(value) for key, value in definition["properties"].items()
            }
    properties = {
        key: _or_grid(value) if key in GRIDS and key not in ("targets", "chain") else value
        for key, value in schema["properties"].items()
    }
    overlay = {key: value for key, value in properties.items() if key not in ("name", "scales")}
    definitions["Overlay"] = {
        "type": "object",
        "description": "What differs at this scale; null removes a key.",
        "properties": {key: {"anyOf": [value, {"type": "null"}]} for key, value in overlay.items()},
        "additionalProperties": False,
    }
    properties["scales"] = {
        "type": "object",
        "description": "named overlays; the first is the default",
        "additionalProperties": {"$ref": "#/$defs/Overlay"},
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A procray sweep",
        "type": "object",
        "properties": properties,
        "required": ["name"],
        "additionalProperties": False,
        "$defs": definitions,
    }


def _or_grid(value: dict[str, Any]) -> dict[str, Any]:
    about: dict[str, Any] = {key: value[key] for key in ("title", "description") if key in value}
    inner = {key: child for key, child in value.items() if key not in ("title", "description", "default")}
    grid = {
        "type": "object",
        "properties": {"grid": {"type": "array", "items": inner, "minItems": 1}},
        "required": ["grid"],
        "additionalProperties": False,
    }
    return {**about, "anyOf": [inner, grid]}
