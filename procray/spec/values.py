"""The checking and converting of single values: what may stand behind one key, as types for the models.

A value of several forms (a task, a transfer, a corpus) is one value, however deep its mapping is.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, StringConstraints, WithJsonSchema

from procray import tasks
from procray.errors import TransferError, did_you_mean
from procray.model.components import NAMES, parse_heads, parse_layers, parse_mode, parse_names
from procray.model.perturb import MANNERS
from procray.spec.controls import CONTROLS, kind_of
from procray.spec.counts import WITHOUT_COMMAS, has_commas, parse_count
from procray.spec.parts import below, count_at, known_keys, wrong
from procray.spec.quantities import QUANTITIES
from procray.spec.sequences import sequences_from
from procray.spec.written import show_shortly


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
    expected = "expected a task's name, {shuffled: task}, {mixture: {task: weight}} or {sequences_from: {path: ...}}"
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        value = known_keys(value, ("shuffled", "mixture", "prefix", "text", "sequences_from"))
    if isinstance(value, dict) and "text" in value:
        return _text_warmup(value)
    if not isinstance(value, dict) or (len(value) != 1 and set(value) != {"mixture", "prefix"}):
        raise wrong(expected)
    if "sequences_from" in value:
        return {"sequences_from": sequences_from(value["sequences_from"])}
    if "shuffled" in value:
        return {"shuffled": below(_task, value["shuffled"], "shuffled")}
    if "mixture" not in value:
        raise wrong(expected)
    parts = value["mixture"]
    if not isinstance(parts, dict) or not parts:
        raise wrong("expected a mapping of tasks to weights", "mixture")
    parts = known_keys(parts, (*tasks.names(), "eca"), "mixture")
    for name, weight in parts.items():
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight < math.inf:
            hint = f"; {WITHOUT_COMMAS}" if has_commas(weight) else ""
            raise wrong(f"a weight must be a number above 0{hint}", "mixture", name)
    if not parts:
        raise wrong("expected a mapping of tasks to weights", "mixture")
    if not isinstance(value.get("prefix", False), bool):
        raise wrong("expected true or false", "prefix")
    prefix = {"prefix": True} if value.get("prefix") else {}
    return {"mixture": {name: float(weight) for name, weight in parts.items()}, **prefix}


def _text_warmup(value: dict[str, Any]) -> dict[str, Any]:
    """`{text: corpus}` or `{text: {corpus: ...}}`, with tokenizer, context and batch: text in place of a task."""
    given = value["text"]
    if isinstance(given, str) and len(value) == 1:
        return {"text": {"corpus": given}}
    if len(value) > 1 or not isinstance(given, dict) or "corpus" not in given:
        raise wrong("expected {text: a corpus's name} or {text: {corpus: ..., tokenizer: ...}}")
    known = ("corpus", "tokenizer", "context", "batch", "noise")
    given = known_keys(given, known, "text")
    if "corpus" not in given:
        raise wrong("missing key 'corpus'", "text")
    found: dict[str, Any] = {}
    for key, child in given.items():
        if key in ("corpus", "tokenizer"):
            found[key] = _corpus(child, "text", key) if key == "corpus" else _tokenizer(child, "text", key)
        elif key in ("context", "batch"):
            found[key] = count_at(child, "text", key)
            if found[key] < 1:
                raise wrong("must be at least 1", "text", key)
        elif key == "noise":
            found[key] = _noise(child, "text", key)
        else:
            raise wrong(f"unknown key '{key}'{did_you_mean(key, known)}", "text", key)
    return {"text": found}


def _noise(value: Any, *path: str) -> Any:
    """A share of the tokens, or of `{tokens: share}` or `{blocks: share}`; of tokens, it is a number."""
    given = {"tokens": value} if not isinstance(value, dict) else known_keys(value, ("tokens", "blocks"), *path)
    for key in given:
        if key not in ("tokens", "blocks"):
            raise wrong(f"unknown key '{key}'{did_you_mean(key, ('tokens', 'blocks'))}", *path, key)
    if len(given) != 1:
        raise wrong("expected a share of the tokens such as 0.1, or {blocks: 0.1}", *path)
    ((of, share),) = given.items()
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1:
        raise wrong("expected a share from 0 to 1", *path, *([of] if isinstance(value, dict) else []))
    share = float(share) + 0.0
    return share if of == "tokens" or not share else {of: share}


def _parameter(value: Any) -> Any:
    """A task's parameter: the task itself knows what it accepts."""
    if isinstance(value, str) and has_commas(value):
        raise wrong(WITHOUT_COMMAS)
    if isinstance(value, str | float):
        try:
            return parse_count(value)
        except ValueError:
            return value
    if isinstance(value, dict):
        known = known_keys(value, ("min", "max", "start", "step", "mastery"))
        return {key: _parameter(child) for key, child in known.items()}
    if isinstance(value, list):
        raise wrong("expected one value; several are written {grid: [...]}")
    return value


def _transfer(value: Any) -> Any:
    """A mode such as `full` or `attention+mlp`, or `{component: parent}`."""
    if isinstance(value, str):
        return _mode(value)
    if isinstance(value, dict):
        for component in [component for component, parent in value.items() if parent is None]:
            try:
                parse_mode("full" if component == "everything" else component)
            except TransferError as error:
                raise wrong(str(error), component) from None
        value = {component: parent for component, parent in value.items() if parent is not None}
    if isinstance(value, dict) and value:
        return {
            component: [_parent(item, component, i) for i, item in enumerate(parent)]
            if isinstance(parent, list) and parent
            else _parent(parent, component)
            for component, parent in value.items()
        }
    raise wrong("expected a mode such as full, attention or attention+mlp, or {component: parent}")


def _mode(mode: str) -> str:
    """A mode in one spelling: components in a fixed order, without blanks; what cannot be read stays as it is."""
    given = [part.strip() for part in mode.split("+")]
    order = ("full", *NAMES)
    return "+".join(sorted(given, key=order.index) if set(given) <= set(order) else given)


_GIVER = "the name of a procedural task or of an earlier phase, {path: a checkpoint} or hf:NAME@COMMIT"
_PARENT_KEYS = ("from", "path", "heads", "random_heads", "interpolate", "weight", "layers")


def _parent(value: Any, *path: str | int) -> Any:
    """Who gives a component, all of it or some layers; or between which two it lies."""
    if isinstance(value, str):
        return value
    if not isinstance(value, dict) or not value:
        raise wrong(f"expected {_GIVER}, or a mapping with from, layers or interpolate", *path)
    value = known_keys(value, _PARENT_KEYS, *path)
    for key in value:
        if key not in _PARENT_KEYS:
            known = f" (keys: {', '.join(_PARENT_KEYS)})"
            raise wrong(f"unknown key '{key}'{did_you_mean(key, _PARENT_KEYS)}{known}", *path, key)
    sources = [key for key in ("from", "path", "interpolate") if key in value]
    if len(sources) > 1:
        raise wrong(f"'{sources[1]}' cannot stand beside '{sources[0]}'", *path, sources[1])
    found = dict(value)
    if "from" in value:
        found["from"] = _giver(value["from"], *path, "from")
    if "path" in value:
        number = {"heads": value["heads"]} if _is_number(value.get("heads")) else {}
        found |= _giver({"path": value["path"], **number}, *path)
    elif _is_number(value.get("heads")):
        raise wrong("the number of heads belongs to a path; some of them are written {0: [1, 3]}", *path, "heads")
    if "interpolate" in value:
        pair = value["interpolate"]
        if not isinstance(pair, list) or len(pair) != 2:
            raise wrong("expected two parents, such as [set, union]", *path, "interpolate")
        found["interpolate"] = [_giver(one, *path, "interpolate", i) for i, one in enumerate(pair)]
    weight = value.get("weight", 0.5)
    if "weight" in value and "interpolate" not in value:
        raise wrong("'weight' belongs to interpolate", *path, "weight")
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight <= 1:
        raise wrong("a weight lies between 0 (the first parent) and 1 (the second)", *path, "weight")
    if "interpolate" in value:
        found["weight"] = float(weight) + 0.0
    chosen = [
        key for key in ("heads", "random_heads") if key in value and not (key == "heads" and _is_number(value[key]))
    ]
    if len(chosen) > 1:
        raise wrong("'random_heads' stands in place of 'heads'", *path, "random_heads")
    for key in chosen:
        if "layers" in value:
            raise wrong(f"'layers' cannot stand beside '{key}', which name their layers", *path, "layers")
        try:
            found[key] = [[layer, list(heads)] for layer, heads in parse_heads(value[key]).items()]
        except TransferError as error:
            raise wrong(str(error), *path, key) from None
    if "layers" in value:
        try:
            found["layers"] = [list(pair) for pair in parse_layers(value["layers"]).items()]
        except TransferError as error:
            raise wrong(str(error), *path, "layers") from None
    return found


def _is_number(heads: Any) -> bool:
    """Whether `heads` tells how many a file has; else it chooses some."""
    return heads is not None and not isinstance(heads, dict)


def _giver(value: Any, *path: str | int) -> Any:
    if isinstance(value, str) and value:
        return value
    if not isinstance(value, dict) or not isinstance(value.get("path"), str) or value.keys() - {"path", "heads"}:
        raise wrong(f"expected {_GIVER}", *path)
    heads = value.get("heads", 1)
    if isinstance(heads, bool) or not isinstance(heads, int) or heads < 1:
        raise wrong("expected a whole number above 0", *path, "heads")
    return value


def _freeze(value: Any) -> Any:
    """Components that are not trained."""
    if not isinstance(value, str | list):
        raise wrong("expected none, a component, or a list such as [attention, embeddings]")
    try:
        return list(parse_names(value))
    except TransferError as error:
        raise wrong(str(error)) from None


def _perturb(value: Any) -> Any:
    """What is done to carried weights; nothing is an empty mapping."""
    if value == "none":
        return {}
    expected = "expected none, {noise: 0.05}, {shuffle: per_layer} or {random: norm_matched}"
    if isinstance(value, dict):
        value = known_keys(value, ("noise", *MANNERS, "components"))
    kinds = [key for key in ("noise", *MANNERS) if isinstance(value, dict) and key in value]
    if len(kinds) != 1:
        raise wrong(expected)
    (kind,) = kinds
    stray = next((key for key in value if key not in (kind, "components")), None)
    if stray is not None:
        raise wrong(f"unknown key '{stray}'{did_you_mean(stray, ['components'])}", stray)
    if kind in MANNERS and value[kind] != MANNERS[kind]:
        raise wrong(f"expected {MANNERS[kind]}", kind)
    sigma = value[kind]
    if kind == "noise" and (isinstance(sigma, bool) or not isinstance(sigma, int | float) or not 0 < sigma < math.inf):
        raise wrong("noise is a number above 0: standard deviations of the tensor itself", kind)
    found = {kind: float(sigma) if kind == "noise" else sigma}
    if "components" in value:
        try:
            found["components"] = list(parse_names(value["components"]))
        except TransferError as error:
            raise wrong(str(error), "components") from None
        if not found["components"]:
            raise wrong(
                "expected at least one component; what is carried is perturbed where none is named", "components"
            )
    return found


_CORPUS_KEYS = (
    "name", "files", "hf", "package", "config", "split", "field", "revision", "documents", "validation",
    "validation_documents", "holdout", "records", "validation_records",
)  # fmt: skip
_CORPUS_COUNTS = ("documents", "validation_documents", "records", "validation_records")
_TOKENIZER_KEYS = ("bpe", "char", "hub", "folder", "revision", "entries")


def _corpus(value: Any, *path: str) -> Any:
    """A corpus's name, or a mapping of single values, lists of files, and where validation comes from.

    The corpora know which keys go together, and what may stand behind each.
    """
    found = _source(value, _CORPUS_KEYS, *path)
    if not isinstance(found, dict):
        return found
    for key, child in found.items():
        if isinstance(child, dict) and key == "validation":
            found[key] = _source(child, _CORPUS_KEYS, *path, key)
        elif isinstance(child, list) and key in ("files", "validation"):
            if not child or not all(isinstance(one, str) for one in child):
                raise wrong("expected a path or pattern, or a list of them", *path, key)
        elif isinstance(child, dict | list):
            raise wrong("expected one value", *path, key)
        elif key in _CORPUS_COUNTS:
            found[key] = _count_if_any(child)
        elif key in ("files", "validation") and "files" in found and isinstance(child, str):
            found[key] = [child]
    return found


def _tokenizer(value: Any, *path: str) -> Any:
    """A tokenizer's name, or a mapping of single values; the corpora know what may stand there."""
    found = _source(value, _TOKENIZER_KEYS, *path)
    for key, child in found.items() if isinstance(found, dict) else ():
        if isinstance(child, dict | list):
            raise wrong("expected one value", *path, key)
        if key in ("bpe", "entries"):
            found[key] = _count_if_any(child)
    return found


def _source(value: Any, known: Collection[str], *path: str) -> Any:
    if isinstance(value, str):
        return value
    found = known_keys(value, known, *path) if isinstance(value, dict) else {}
    if not found:
        raise wrong("expected a name or a mapping", *path)
    return found


def _count_if_any(value: Any) -> Any:
    """The whole number that a count stands for; anything else as it is."""
    try:
        return parse_count(value)
    except ValueError:
        return value


def _seeds(value: Any) -> Any:
    if not isinstance(value, list):
        raise wrong("expected a list of whole numbers, such as [0, 1, 2]")
    if not value:
        raise wrong("expected at least one seed")
    seen: set[int] = set()
    for i, seed in enumerate(value):
        if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**32:
            raise wrong(f"a seed is a whole number from 0 to 2^32 - 1 (got {seed!r})", i)
        if seed in seen:
            raise wrong(f"seed {seed} stands here twice", i)
        seen.add(seed)
    return value


def _fractions(value: Any) -> Any:
    if not isinstance(value, list):
        raise wrong("expected a list of fractions, such as [0.5, 0.7]")
    for i, fraction in enumerate(value):
        if isinstance(fraction, bool) or not isinstance(fraction, int | float) or not 0 < fraction < 1:
            raise wrong(f"a fraction lies between 0 and 1 (got {fraction!r})", i)
        if fraction in value[:i]:
            raise wrong(f"{fraction} stands here twice", i)
    return [float(fraction) for fraction in value]


def _controls(value: Any) -> Any:
    """Names of controls; text may say whose: `{text: corpus}` as a task may."""
    if not isinstance(value, list):
        raise wrong(f"expected a list of controls, such as [{', '.join(CONTROLS)}]")
    found: list[Any] = []
    for i, one in enumerate(value):
        kind = next(iter(one), None) if isinstance(one, dict) and len(one) == 1 else one
        if not isinstance(kind, str) or kind not in CONTROLS:
            hint = did_you_mean(kind, CONTROLS) if isinstance(kind, str) else ""
            shown = f"'{kind}'" if isinstance(kind, str) else show_shortly(one)
            raise wrong(f"no control {shown}{hint} (known: {', '.join(CONTROLS)})", i)
        if isinstance(one, dict) and kind != "text":
            raise wrong(f"'{kind}' stands alone; only text says more: {{text: a corpus's name}}", i)
        if any(kind_of(other) == kind for other in found):
            raise wrong(f"'{kind}' stands here twice", i)
        found.append(below(_text_warmup, one, i) if isinstance(one, dict) else one)
    return found


def _quantity(value: Any) -> Any:
    if not isinstance(value, str) or value not in QUANTITIES:
        raise wrong(f"no quantity '{value}'{did_you_mean(str(value), QUANTITIES)} (known: {', '.join(QUANTITIES)})")
    return value


_SHARE_SCHEMA = {"anyOf": [{"type": "number"}, {"type": "string", "pattern": r"^[+-]?[0-9.]+ ?%$"}]}
Share = Annotated[Number, WithJsonSchema(_SHARE_SCHEMA)]
Tolerance = Annotated[Number, Field(ge=0), WithJsonSchema(_SHARE_SCHEMA)]
Quantity = Annotated[str, BeforeValidator(_quantity), WithJsonSchema({"enum": list(QUANTITIES)})]
_NAME_OR_MAPPING = {"anyOf": [{"type": "string"}, {"type": "object"}]}
TaskName = Annotated[Any, BeforeValidator(_task), WithJsonSchema(_NAME_OR_MAPPING)]
Parameter = Annotated[Any, BeforeValidator(_parameter), WithJsonSchema({"type": ["number", "string", "object"]})]
Transfer = Annotated[Any, BeforeValidator(_transfer), WithJsonSchema(_NAME_OR_MAPPING)]
Freeze = Annotated[Any, BeforeValidator(_freeze), WithJsonSchema({"type": ["string", "array"]})]
Perturb = Annotated[Any, BeforeValidator(_perturb), WithJsonSchema(_NAME_OR_MAPPING)]
Corpus = Annotated[Any, BeforeValidator(_corpus), WithJsonSchema(_NAME_OR_MAPPING)]
Noise = Annotated[Any, BeforeValidator(_noise), WithJsonSchema({"type": ["number", "object"]})]
Tokenizer = Annotated[Any, BeforeValidator(_tokenizer), WithJsonSchema(_NAME_OR_MAPPING)]
Seeds = Annotated[list[int], BeforeValidator(_seeds)]
Fractions = Annotated[list[float], BeforeValidator(_fractions)]
_CONTROL_SCHEMA = {"anyOf": [{"enum": list(CONTROLS)}, {"type": "object", "required": ["text"]}]}
Controls = Annotated[list[Any], BeforeValidator(_controls), WithJsonSchema({"type": "array", "items": _CONTROL_SCHEMA})]
