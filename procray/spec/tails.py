"""The chains of phases that a sweep file describes, read from its checked settings."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from procray.errors import did_you_mean
from procray.spec.among import is_among
from procray.spec.controls import SAME_WARMUPS, Control, kind_of
from procray.spec.paths import Path, get
from procray.spec.structure import Link, Tail
from procray.training.recipe import Kind


def read_tails(base: dict[str, Any]) -> list[Tail]:
    """The chains of a sweep, whose `compared` still is the last link that is not procedural."""
    if "chain" in base:
        chain = tuple(link for i, item in enumerate(base["chain"]) if (link := _chain_link(i, item)))
        links = _with_data_among(chain, base)
        return [Tail("", "", links, _last(links))]
    warm: tuple[Link, ...] = ()
    if "procedural" in base:
        warm = (Link("procedural", "procedural", ("procedural",), (("model",), ("procedural", "model")), None),)
    if "targets" in base:
        tails = []
        for i, target in enumerate(base["targets"]):
            prefix: Path = ("targets", i)
            links = _with_data_among(warm + _tail_links(prefix, target), base)
            name = target.get("name", str(i))
            tails.append(Tail(name if len(base["targets"]) > 1 else "", name, links, _last(links)))
        return tails
    links = _with_data_among(warm + _tail_links((), base), base)
    return [Tail("", "", links, _last(links))]


def _with_data_among(links: tuple[Link, ...], base: dict[str, Any]) -> tuple[Link, ...]:
    """The links, where the file says so with procedural data inside of the text phase after them.

    Their symbols have rows in that phase, and in those after it, which go on with its weights.
    """
    found = (i for i, link in enumerate(links[:-1]) if link.kind == "procedural" and is_among(get(base, link.section)))
    at = next(found, None)
    if at is None or not has_text(links[at + 1]):
        return links
    data, host, *later = links[at:]
    rest = (replace(link, symbols_of=data) for link in later)
    own = replace(host, among=data, symbols_of=data, transfer=None, freeze=None, perturb=None)  # nothing is carried
    return (*links[:at], own, *rest)


def without_data_among(tail: Tail) -> Tail:
    """The baseline of a tail with procedural data among its text: the same rows, and nothing trained on them."""
    return replace(tail, links=tuple(replace(link, among=None) for link in tail.links), controls=())


def has_data_among(tail: Tail) -> bool:
    """Whether procedural data stand among the text of one of its phases."""
    return any(link.among is not None for link in tail.links)


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


def add_controls(tails: list[Tail], entries: list[Any]) -> list[Tail]:
    """The tails, each with the chains that `controls:` adds to it; what cannot be made is left to be reported."""
    kinds = {kind_of(entry): entry["text"] if isinstance(entry, dict) else None for entry in entries}
    settled: list[Tail] = []
    for tail in tails:
        found = [control for kind, text in kinds.items() if (control := _control(tail, kind, text)) is not None]
        settled.append(replace(tail, controls=tuple(found)))
    return settled


def follower(tail: Tail) -> int | None:
    """The link that the first warm-ups of a chain lead to, or in which they stand; None where there is no such."""
    host = next((i for i, link in enumerate(tail.links) if link.symbols_of is not None), None)
    if host is not None:
        return host
    kinds = [link.kind == "procedural" for link in tail.links]
    return next((i for i in range(1, len(kinds)) if any(kinds[:i]) and not kinds[i]), None)


def longer(tail: Tail, tokens: int) -> Tail:
    """A tail whose phase after the warm-ups trains so many tokens more, of which the cold links are meant."""
    at = follower(tail)
    links = tuple(
        replace(link, control=Control("more_semantic", link, more=tokens if i == at else 0))
        for i, link in enumerate(tail.links)
    )
    return replace(tail, links=links, control="more_semantic", controls=())


def _control(tail: Tail, kind: str, text: dict[str, Any] | None) -> Tail | None:
    """What a tail is under a control. Phases on which it has no bearing stay the same link, so that they are shared.

    None without a warm-up, and where text is asked for and the target has none. How many tokens `more_semantic` adds
    is known when the warm-ups are: see `longer`.
    """
    at = follower(tail)
    if at is None:
        return None
    if has_data_among(tail):
        return _control_among(tail, kind)
    target = tail.links[at] if kind == "text" and has_text(tail.links[at]) else None
    if kind == "text" and text is None and target is None:
        return None
    links = tuple(
        link if kind in SAME_WARMUPS and i < at else replace(link, control=Control(kind, link, text, target))
        for i, link in enumerate(tail.links)
    )
    return replace(tail, links=links, control=kind, controls=(), of=tail)


def _control_among(tail: Tail, kind: str) -> Tail | None:
    """The same for procedural data among text: they stand where they stood, without their order."""
    if kind != "shuffled":
        return None
    links = tuple(
        link if link.among is None else replace(link, among=replace(link.among, control=Control(kind, link.among)))
        for link in tail.links
    )
    return replace(tail, links=links, control=kind, controls=(), of=tail)


def unshuffled(link: Link) -> Link:
    """A link that trains on a shuffled task, with the task as it is."""
    return replace(link, control=Control("unshuffled", link))


def has_text(link: Link) -> bool:
    """Whether a phase trains on a corpus."""
    return link.kind in ("semantic", "finetune")
