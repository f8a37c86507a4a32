"""The command of these tests: runs a plan of plans.py, its events on stdout as lines of JSON."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "execution"))

import plans

from procray.errors import ProcrayError, Stopped
from procray.execution import RunOptions, run


def tell(event: dict[str, Any]) -> None:
    print(json.dumps({**event, "at": time.time()}), flush=True)


def stuck(reason: str) -> None:
    """As the command does."""
    from procray.execution.fresh import begin_afresh, may_begin_afresh

    tell({"event": "stuck", "reason": reason})
    if "--address" not in sys.argv and may_begin_afresh():
        begin_afresh()
    os._exit(Stopped.exit_code)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("plan", help="see plans.find")
    parser.add_argument("store")
    parser.add_argument("--address")
    parser.add_argument("--max-hours", type=float)
    chosen = parser.parse_args()
    plan = plans.find(chosen.plan)
    try:
        options = RunOptions(address=chosen.address, max_hours=chosen.max_hours, on_event=tell, on_stuck=stuck)
        result = run(plan, chosen.store, options)
    except ProcrayError as error:
        tell({"event": "error", "kind": type(error).__name__, "reason": str(error)})
        return error.exit_code
    tell(
        {
            "event": "result",
            "done": sorted(result.done),
            "failed": result.failed,
            "unfinished": result.unfinished,
            "interrupted": result.interrupted,
            "out_of_time": result.out_of_time,
        }
    )
    return 128 + result.signal if result.interrupted else int(bool(result.failed))


if __name__ == "__main__":
    sys.exit(main())
