"""Cluster files, checked offline: all problems at once, with their places."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from procray.errors import ProcrayError
from procray.execution.cluster_files.findings import Findings, Tree
from procray.execution.cluster_files.fit import needs_of
from procray.execution.cluster_files.launcher import check_launcher
from procray.execution.cluster_files.secrets import check_examples, check_secrets
from procray.sweep.source import read

__all__ = ["Findings", "check"]

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
    root, problems = read(text, str(file))
    findings.problems += problems
    if root is None or not root.is_mapping:
        if root is not None:
            findings.add(root.place, "a cluster file is a mapping with `cluster_name`, `provider` and more")
        return findings
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError:  # reported above
        return findings
    check_launcher(data, Tree(root), findings, needs, store)
    findings.problems = sorted(set(findings.problems))
    return findings


def _read(file: Path) -> str:
    try:
        if file.stat().st_size > _LARGEST:
            raise ProcrayError(f"{file} has more than a megabyte; that is no cluster file")
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ProcrayError(f"{file} is not text in UTF-8") from None
    except OSError as error:
        raise ProcrayError(f"{file}: {error.strerror or error}") from None
