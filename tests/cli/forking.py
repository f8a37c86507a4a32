"""Holds an interpreter that has imported what commands need, and forks a process of it for each command.

What a command does is the same: it is a process of its own that begins with `main` and ends with its exit code. Only
the seconds in which Python imports are spent once: what one command has imported is there already for the next ones.
Obeys lines of JSON on stdin, answers with exit codes on stdout.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import sys
import threading
import traceback
from pathlib import Path
from typing import Any, NoReturn

from procray.cli import main as procray
from procray.cli.app import app  # noqa: F401


def become(asked: dict[str, Any]) -> None:
    """Makes this process the command: its words, folder, environment and streams."""
    known = set(sys.modules)
    learned = Path(asked["learned"])
    atexit.register(lambda: learned.write_text(json.dumps([name for name in sys.modules if name not in known])))
    os.setsid()
    os.chdir(asked["folder"])
    os.environ.clear()
    os.environ.update(asked["environment"])
    for number, name in enumerate((os.devnull, asked["out"], asked["err"])):
        file = os.open(name, os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT)
        os.dup2(file, number)
        os.close(file)
    sys.argv = ["-c", *asked["words"]]
    sys.path.insert(0, "")  # the user's folder, as for `python -c`
    encoding = os.environ.get("PYTHONIOENCODING", "utf-8")
    sys.stdout = open(1, "w", encoding=encoding)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding=encoding, errors="backslashreplace")  # noqa: SIM115


# Only what does nothing but define when it is imported: no threads, no settings.
LEARNED = {
    "jsonschema",
    "matplotlib",
    "numpy",
    "procray",
    "pydantic",
    "ray",
    "rich",
    "safetensors",
    "scipy",
    "torch",
} | {"typer"}


def run(asked: dict[str, Any]) -> NoReturn:
    """The command, and the end of its process without taking apart what it shares with this one."""
    become(asked)
    code = 1
    try:
        procray()
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        traceback.print_exc()
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def learn(names: list[str]) -> None:
    """Imports what a command has imported, so that those after it need not."""
    for name in names:
        top = name.partition(".")[0]
        if top in LEARNED or top in sys.stdlib_module_names:
            with contextlib.suppress(Exception):  # a name that is no module of its own
                importlib.import_module(name)
    gc.collect()
    gc.freeze()  # the collector of a fork touches none of it


def main() -> None:
    answers, questions = os.fdopen(os.dup(1), "w"), os.fdopen(os.dup(0), "r")
    for line in questions:
        asked = json.loads(line)
        process = os.fork()
        if process == 0:
            run(asked)
        _, status = os.waitpid(process, 0)
        learned = Path(asked["learned"])
        learn(json.loads(learned.read_text()) if learned.exists() else [])
        print(os.waitstatus_to_exitcode(status), file=answers, flush=True)


if __name__ == "__main__":
    main()
