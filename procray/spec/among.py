"""Procedural data among the text of one phase (`at:`, `mix:`): what cannot stand beside it in a sweep file.

One phase has one model, one optimizer and one schedule, which are those of its text; nothing is carried into it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from procray.errors import Problem
from procray.spec.tree import Node

_KEYS = ("at", "mix")
_OF_THE_TEXT = ("optimizer", "model", "resources")
_CARRYING = ("transfer", "freeze", "perturb")
_NO_CONTROL = {
    "text": "text in place of the data would be more of that text, which is the control more_semantic",
    "random": "no weights are carried that random ones could replace",
    "random_heads": "no heads are carried",
}


def is_among(section: Any) -> bool:
    """Whether a procedural section says that its data stand among text."""
    return isinstance(section, Mapping) and any(key in section for key in _KEYS)


@dataclass(frozen=True)
class _Section:
    """One procedural section.

    Attributes:
        beside: by name, mappings whose `transfer` and the like would be about what is carried from it.
        wrong: why its data cannot stand among what follows; empty where they can.
    """

    node: Node
    name: str
    beside: dict[str, Node]
    wrong: str


def check_among(root: Node) -> list[Problem]:
    """What cannot stand beside `at:` or `mix:`, each at its own line."""
    return [problem for section in _sections(root) for problem in _problems(root, section)]


def _problems(root: Node, section: _Section) -> Iterator[Problem]:
    node, name = section.node, section.name
    key = next((key for key in _KEYS if key in node.value), None)
    if key is None:
        return
    said = f"beside {name}.{key}"
    if section.wrong:
        yield node.keys[key].problem(f"{name}.{key}: {section.wrong}")
    for own in _OF_THE_TEXT:
        if own in node.value:
            yield node.keys[own].problem(f"{name}.{own}: {said} the data have the {own} of the text; leave it out")
    evaluate = node.value.get("evaluate")
    for own in ("every", "solved") if evaluate is not None and evaluate.is_mapping else ():
        if own in evaluate.value:
            message = f"{name}.evaluate.{own}: {said} only 'sequences' has a meaning: evaluations are those of the text"
            yield evaluate.keys[own].problem(message)
    for place, other in section.beside.items():
        for own in _CARRYING:
            if other.is_mapping and own in other.value:
                yield other.keys[own].problem(f"{place}{own}: {said} no weights are carried: one phase has all data")
    if "donors" in root.value:
        yield root.keys["donors"].problem(f"donors: {said} no warm-up has a seed of its own")
    entries = root.value["controls"].value if "controls" in root.value else []
    for entry in entries if isinstance(entries, list) else []:
        kind = next(iter(entry.value), "") if entry.is_mapping else str(entry.value)
        if kind in _NO_CONTROL:
            yield entry.place.problem(f"controls: {kind}: {said} {_NO_CONTROL[kind]}")


def _sections(root: Node) -> Iterator[_Section]:
    keys = root.value
    if "chain" in keys:
        yield from _of_chain(keys["chain"].value)
    elif "procedural" in keys and keys["procedural"].is_mapping:
        listed = keys["targets"].value if "targets" in keys else None
        targets = {f"targets.{i}.": item for i, item in enumerate(listed if isinstance(listed, list) else [])}
        tails = [root, *targets.values()]
        diagnostic = any(tail.is_mapping and "diagnostic" in tail.value for tail in tails)
        wrong = "a diagnostic has no text; data before it are a phase of their own" if diagnostic else ""
        yield _Section(keys["procedural"], "procedural", {"": root, **targets}, wrong)


def _of_chain(chain: Any) -> Iterator[_Section]:
    links = [link if link.is_mapping else Node({}, link.place) for link in (chain if isinstance(chain, list) else [])]
    for i, link in enumerate(links):
        node = link.value.get("procedural")
        if node is None or not node.is_mapping:
            continue
        beside = {f"chain.{j}.": links[j] for j in (i, i + 1) if j < len(links)}
        wrong = ""
        if sum("procedural" in other.value for other in links) > 1:
            wrong = "no other phase of the chain can be procedural; a mixture of tasks is one task"
        elif i + 1 == len(links) or "semantic" not in links[i + 1].value:
            wrong = "a semantic phase must come next, among whose text the data stand"
        yield _Section(node, f"chain.{i}.procedural", beside, wrong)
