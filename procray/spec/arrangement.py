"""Which sections of a sweep file stand together, and which in place of each other."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from procray.errors import Problem
from procray.spec.sections import KINDS
from procray.spec.tree import Node

_TAILS = ("semantic", "diagnostic", "targets")
_OUTSIDE_CHAIN = ("procedural", "transfer", "freeze", "perturb", "finetune", *_TAILS)


def check_arrangement(root: Node) -> list[Problem]:
    """Which sections stand together."""
    problems: list[Problem] = []
    keys = root.value

    def one_of(node: Node, names: Iterable[str], where: str) -> None:
        found = [name for name in names if name in node.value]
        for extra in found[1:]:
            problems.append(node.keys[extra].problem(f"{where}'{extra}' cannot stand beside '{found[0]}'"))

    if "donors" in keys and not _warmed(keys):
        message = "donors: the seeds of warm-ups, and this file has no warm-up (procedural)"
        problems.append(root.keys["donors"].problem(message))
    if "controls" in keys and keys["controls"].value and not _warmed(keys):
        message = "controls: of warmed-up variants, and this file has no warm-up (procedural)"
        problems.append(root.keys["controls"].problem(message))
    if "chain" in keys:
        for key in _OUTSIDE_CHAIN:
            if key in keys:
                problems.append(root.keys[key].problem(f"'{key}' cannot stand beside 'chain': write it into the chain"))
        problems += _check_chain(keys["chain"])
        return problems
    one_of(root, _TAILS, "")
    if not any(key in keys for key in _TAILS):
        problems.append(root.place.problem("nothing to compare: give semantic, diagnostic, targets or chain"))
    if "targets" in keys:
        if "finetune" in keys:
            message = "'finetune' cannot stand beside 'targets': give it to each target"
            problems.append(root.keys["finetune"].problem(message))
        names: list[Any] = []
        for i, target in enumerate(keys["targets"].value if isinstance(keys["targets"].value, list) else []):
            if not target.is_mapping:
                continue
            one_of(target, ("semantic", "diagnostic"), f"targets.{i}: ")
            if not {"semantic", "diagnostic"} & target.value.keys():
                problems.append(target.place.problem(f"targets.{i}: give semantic or diagnostic"))
            name = target.value["name"].value if "name" in target.value else None
            if name is not None and name in names:
                problems.append(target.value["name"].place.problem(f"targets.{i}.name: '{name}' stands here twice"))
            names.append(name)
    return problems


def _warmed(keys: dict[str, Node]) -> bool:
    """Whether anything is a warm-up."""
    chain = keys["chain"].value if "chain" in keys else ()
    links = chain if isinstance(chain, list) else []
    return "procedural" in keys or any(link.is_mapping and "procedural" in link.value for link in links)


def _check_chain(chain: Node) -> list[Problem]:
    problems: list[Problem] = []
    kinds: list[str] = []
    names: list[Any] = []
    for i, item in enumerate(chain.value if isinstance(chain.value, list) else []):
        if not item.is_mapping:
            continue
        found = [kind for kind in KINDS if kind in item.value]
        if len(found) != 1:
            listed = ", ".join(KINDS)
            problems.append(item.place.problem(f"chain.{i}: give exactly one of {listed}"))
        kinds += found[:1]
        if found and found[0] == "finetune" and "finetune" in item.value and item.value["finetune"].is_mapping:
            inner = item.value["finetune"]
            problems += [
                inner.keys[key].problem(f"chain.{i}: write {key} beside finetune, not into it")
                for key in ("transfer", "freeze", "perturb")
                if key in inner.value
            ]
        name = item.value["name"].value if "name" in item.value else None
        if name is not None and name in names:
            problems.append(item.value["name"].place.problem(f"chain.{i}.name: '{name}' stands here twice"))
        names.append(name)
    if kinds and all(kind == "procedural" for kind in kinds):
        problems.append(chain.place.problem("chain: nothing to compare: every phase is procedural"))
    return problems
