"""The chains of phases that a sweep file describes, read from its checked settings."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from procray.errors import did_you_mean
from procray.spec.paths import Path
from procray.spec.structure import Link, Tail
from procray.training.recipe import Kind


def read_tails(base: dict[str, Any]) -> list[Tail]:
    """The chains of a sweep, whose `compared` still is the last link that is not procedural."""
    if "chain" in base:
        links = tuple(link for i, item in enumerate(base["chain"]) if (link := _chain_link(i, item)))
        return [Tail("", "", links, _last(links))]
    warm: tuple[Link, ...] = ()
    if "procedural" in base:
        warm = (Link("procedural", "procedural", ("procedural",), (("model",), ("procedural", "model")), None),)
    if "targets" in base:
        tails = []
        for i, target in enumerate(base["targets"]):
            prefix: Path = ("targets", i)
            links = warm + _tail_links(prefix, target)
            name = target.get("name", str(i))
            tails.append(Tail(name if len(base["targets"]) > 1 else "", name, links, _last(links)))
        return tails
    links = warm + _tail_links((), base)
    return [Tail("", "", links, _last(links))]


def _tail_links(prefix: Path, section: dict[str, Any]) -> tuple[Link, ...]:
    models: tuple[Path, ...] = (("model",), (*prefix, "model")) if prefix else (("model",),)
    links: list[Link] = []
    kinds: tuple[Kind, ...] = ("semantic", "diagnostic", "finetune")
    for kind in kinds:
        if kind in section:
            path: Path = (*prefix, kind)
            # Of a fine-tuning the settings stand in its section; else in the target, or else they are the sweep's.
            start = [
                (*(path if kind == "finetune" else prefix if key in section else ()), key)
                for key in ("transfer", "freeze", "perturb")
            ]
            links.append(Link(kind, kind, path, (*models, (*path, "model")), *start))
    return tuple(links)


def _chain_link(i: int, item: dict[str, Any]) -> Link | None:
    kinds: tuple[Kind, ...] = ("procedural", "semantic", "diagnostic", "finetune")
    kind = next((kind for kind in kinds if kind in item), None)
    if kind is None:
        return None  # reported where the structure is checked
    path: Path = ("chain", i, kind)
    return Link(kind, item.get("name", kind), path, (("model",), (*path, "model")),
                *(("chain", i, key) for key in ("transfer", "freeze", "perturb")))  # fmt: skip


def _last(links: tuple[Link, ...]) -> int:
    return max((i for i, link in enumerate(links) if link.kind != "procedural"), default=len(links) - 1)


def compare(tails: list[Tail], name: str) -> tuple[list[Tail], str | None]:
    """The tails with the last phase of that name or kind as the compared one; and a message where none has it."""
    known: dict[str, None] = {}
    settled: list[Tail] = []
    matches = False
    for tail in tails:
        cold = [(i, link) for i, link in enumerate(tail.links) if link.kind != "procedural"]
        known |= {link.name: None for _, link in cold}
        found = [i for i, link in cold if name in (link.name, link.kind)]
        matches = matches or bool(found)
        settled.append(replace(tail, compared=found[-1]) if found else tail)
    if matches:
        return settled, None
    return tails, f"no phase '{name}' after the warm-up{did_you_mean(name, known)} (phases: {', '.join(known)})"
