"""Writes what the image installs, each file with its SHA-256: `python docker/lock.py`, on Python 3.11 and Linux x86-64.

pip resolves the dependencies under constraints.txt, without installing anything, and reports the files that it would
take and their hashes. Run it after a version in constraints.txt has changed; it needs PyPI and the index of torch's
wheels.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PYPI = "https://pypi.org/simple"
CPU = "https://download.pytorch.org/whl/cpu"
HEAD = """\
# What docker/Dockerfile installs where DEVICE={device}, complete: Python 3.11, Linux x86-64, each file by its SHA-256.
# Made by docker/lock.py from constraints.txt; do not edit.
"""


def wanted() -> list[str]:
    """The requirements of pyproject.toml that the image has."""
    project = tomllib.loads((HERE.parent / "pyproject.toml").read_text())["project"]
    return [*project["dependencies"], *project["optional-dependencies"]["cluster"], "setuptools>=77"]


def resolved(device: str) -> list[str]:
    """One line for each package, in the order of their names."""
    constraints = (HERE.parent / "constraints.txt").read_text()
    indices = ["--index-url", PYPI]
    if device == "cpu":
        constraints = re.sub(r"(?m)^(torch==[\d.]+)$", r"\1+cpu", constraints)
        indices += ["--extra-index-url", CPU]
    with tempfile.TemporaryDirectory() as folder:
        locked, report = Path(folder) / "constraints.txt", Path(folder) / "report.json"
        locked.write_text(constraints)
        words = ["--dry-run", "--ignore-installed", "--quiet", "--only-binary", ":all:", "--report", str(report)]
        # Neither indices nor folders with wheels that this machine alone has.
        kept = {name: value for name, value in os.environ.items() if name != "PIP_FIND_LINKS"}
        subprocess.run(
            [sys.executable, "-m", "pip", "install", *words, *indices, "--constraint", str(locked), *wanted()],
            check=True, env={**kept, "PIP_CONFIG_FILE": os.devnull},
        )  # fmt: skip
        return sorted(map(line, json.loads(report.read_text())["install"]))


def line(package: dict[str, Any]) -> str:
    name = re.sub(r"[-_.]+", "-", package["metadata"]["name"]).lower()
    digest = package["download_info"]["archive_info"]["hashes"]["sha256"]
    return f"{name}=={package['metadata']['version']} --hash=sha256:{digest}\n"


def main() -> None:
    if sys.version_info[:2] != (3, 11) or sys.platform != "linux":
        sys.exit("the image has Python 3.11 on Linux, and so must this command")
    for device in ("cpu", "cuda"):
        (HERE / f"requirements-{device}.txt").write_text(HEAD.format(device=device) + "".join(resolved(device)))


if __name__ == "__main__":
    main()
