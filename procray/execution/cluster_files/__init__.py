"""Cluster files, checked offline: all problems at once, with their places."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from procray.errors import ProcrayError
from procray.execution.cluster_files.findings import Findings, Tree
from procray.execution.cluster_files.fit import Need, needs_of
from procray.execution.cluster_files.kuberay import check_kuberay, is_kuberay
from procray.execution.cluster_files.launcher import check_launcher
from procray.execution.cluster_files.secrets import check_examples, check_secrets
from procray.execution.cluster_files.slurm import check_slurm, is_slurm
from procray.execution.cluster_files.stores import ask_bucket
from procray.spec.tree import read

__all__ = ["Findings", "ask_bucket", "check"]

_LARGEST = 2**20  # bytes; a cluster file has some kilobytes


def check(file: Path, plan: Any | None = None, store: str | None = None) -> Findings:
    """Everything that is wrong with a cluster file, without asking anybody.

    Args:
        file: of `ray up`, for KubeRay, or a Slurm script.
        plan: of a sweep whose phases must fit; None checks the file alone.
        store: in place of the one that the file names.

    Raises:
        ProcrayError: the file cannot be read.
    """
    text = _read(file)
    findings = Findings(str(file))
    lines = text.splitlines()
    needs = None if plan is None else needs_of(plan)
    check_secrets(lines, findings)
    check_examples(lines, findings)
    if needs is None:
        findings.skip("whether a sweep fits (--sweep FILE)")
    if is_slurm(text):
        check_slurm(text, findings, needs, store)
    else:
        _check_yaml(text, findings, needs, store)
    findings.problems = sorted(set(findings.problems))
    return findings


def _check_yaml(text: str, findings: Findings, needs: list[Need] | None, store: str | None) -> None:
    trees = []
    for document in _documents(text):
        root, problems = read(document, findings.file)
        findings.problems += problems
        if root is not None and root.is_mapping and root.value:
            trees.append(Tree(root))
        elif root is not None and not root.is_mapping:
            findings.add(root.place, "a cluster file is a mapping with `cluster_name`, `provider` and more")
    if is_kuberay(trees):
        check_kuberay(trees, findings, needs, store)
    elif len(trees) == 1:
        try:
            data = yaml.safe_load(text)
        except yaml.YAMLError:  # reported by `read`
            return
        check_launcher(data, trees[0], findings, needs, store)
    elif not findings.problems:
        text = "no cluster file: neither `provider` (ray up), nor a RayJob, nor a script with #SBATCH"
        findings.add(None, text)


def _documents(text: str) -> Iterator[str]:
    """The documents of a YAML file, each at its own lines."""
    lines = text.splitlines()
    starts = [0, *(number + 1 for number, line in enumerate(lines) if re.match(r"---(\s|$)", line)), len(lines) + 1]
    for begin, end in pairwise(starts):
        part = lines[begin : end - 1]
        if any(line.strip() and not line.lstrip().startswith("#") for line in part):
            yield "\n" * begin + "\n".join(part) + "\n"


def _read(file: Path) -> str:
    try:
        if file.stat().st_size > _LARGEST:
            raise ProcrayError(f"{file} has more than a megabyte; that is no cluster file")
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ProcrayError(f"{file} is not text in UTF-8") from None
    except OSError as error:
        raise ProcrayError(f"{file}: {error.strerror or error}") from None
