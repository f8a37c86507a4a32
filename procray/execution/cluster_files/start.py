"""Reads `ray start` out of shell commands."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass, field
from typing import Any

_ASSIGNMENT = re.compile(r"(?<![\w-])([A-Za-z_]\w*)=(\"[^\"]*\"|'[^']*'|[^\s;&|]*)")


@dataclass
class Start:
    """One `ray start` with what was set before it.

    Attributes:
        options: by name without dashes; True for those without a value.
        variables: that the same command sets or exports.
    """

    options: dict[str, Any] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def is_head(self) -> bool:
        return "head" in self.options

    def resources(self) -> dict[str, float] | None:
        """What the command itself says that the node offers; None where it is not readable here."""
        found: dict[str, float] = {}
        try:
            for option, name in (("num-cpus", "CPU"), ("num-gpus", "GPU")):
                if option in self.options:
                    found[name] = float(self.options[option])
            if "resources" in self.options:
                found |= {str(name): float(value) for name, value in json.loads(self.options["resources"]).items()}
        except (ValueError, TypeError, AttributeError):
            return None
        return found


def starts(command: str) -> list[Start]:
    """Every `ray start` of a shell command."""
    found = []
    for match in re.finditer(r"(?<![\w./-])(?:[\w./~$-]*/)?ray[\"']?\s+start\b", command):
        begin = max(command.rfind(mark, 0, match.start()) for mark in ("\n", ";", "&", "|"))
        rest = re.split(
            r"\n|\s\d?>|(?<![\"'\\]);|&&|\|\||(?<!>)&(?!>)|\|", command[match.end() :].replace("\\\n", " ")
        )[0]
        try:
            words = shlex.split(rest, comments=True)
        except ValueError:
            words = rest.split()
        options: dict[str, Any] = {}
        while words:
            word = words.pop(0)
            if not word.startswith("--"):
                continue
            name, equals, value = word[2:].partition("=")
            if equals:
                options[name] = value
            elif words and not words[0].startswith("-"):
                options[name] = words.pop(0)
            else:
                options[name] = True
        set_before = variables(command[begin + 1 : match.start()]) | exported(command[: match.start()])
        found.append(Start(options, set_before))
    return found


def variables(text: str) -> dict[str, str]:
    return {name: value.strip("\"'") for name, value in _ASSIGNMENT.findall(text)}


def exported(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for part in re.findall(r"\bexport\s+([^;&|\n]*)", text):
        found |= variables(part)
    return found


def container_variables(options: list[str]) -> dict[str, str]:
    """What `docker run` options set: `--env NAME=VALUE`, `-e NAME=VALUE`."""
    text = " ".join(options)
    return {name: value.strip("\"'") for name, value in re.findall(r"(?:--env|-e)[ =](\w+)=(\S*)", text)}


def container_mounts(options: list[str]) -> dict[str, str]:
    """By folder in the container, the folder of the machine: `-v /mnt/x:/mnt/x`, `--volume ...`."""
    text = " ".join(options)
    return {inside: outside for outside, inside in re.findall(r"(?:-v|--volume)[ =]([^:\s]+):([^:\s]+)", text)}
