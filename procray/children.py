"""What processes that procray starts inherit: its environment, and nothing of the folder where the user stands.

A file called `profile.py` or `mlflow.py` beside a sweep file is the user's own. Python looks for modules in the folder
where it is started before it looks into its own library, so a process that imports from there would get these.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path


def child_environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a process that runs our code in the user's folder; start every child with it.

    Args:
        more: variables that are added to those of this process.
    """
    environment = {**os.environ, **(more or {}), **import_environment()}
    if not environment["PYTHONPATH"]:
        del environment["PYTHONPATH"]
    return environment


def import_environment() -> dict[str, str]:
    """The variables that keep the imports of a process, and of those below it, out of the user's folder."""
    wanted = [*code_paths(), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    kept = [entry for entry in dict.fromkeys(wanted) if not _of_the_user(entry)]
    return {"PYTHONSAFEPATH": "1", "PYTHONPATH": os.pathsep.join(kept)}


def code_paths() -> list[str]:
    """Where a fresh Python must look for procray itself: nowhere beyond its own folders, where it is installed."""
    import site
    import sysconfig

    package = _package_folder()
    installed = {*site.getsitepackages(), site.getusersitepackages(), sysconfig.get_path("purelib")}
    return [] if str(package) in {os.path.realpath(folder) for folder in installed} else [str(package)]


def leave_the_users_folder() -> None:
    """Takes the folder where a command is started off the path of this process. For commands, not for a library."""
    sys.path[:] = [entry for entry in sys.path if not _of_the_user(entry)]


def _of_the_user(entry: str) -> bool:
    """Whether a path of imports is the folder where this process stands, unless procray itself lies there."""
    here = os.path.realpath(entry or os.curdir)
    return here == os.path.realpath(os.curdir) and here != str(_package_folder())


def _package_folder() -> Path:
    return Path(__file__).resolve().parents[1]
