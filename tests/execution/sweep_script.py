"""Run as a command by test_kills.py: one small sweep, its events on stdout as lines of JSON."""

from __future__ import annotations

import json
import sys

from small_plans import kill_plan

from procray.execution import RunOptions, run

if __name__ == "__main__":
    result = run(kill_plan(), sys.argv[1], RunOptions(on_event=lambda event: print(json.dumps(event), flush=True)))
    print(json.dumps({"event": "result", "interrupted": result.interrupted, "unfinished": result.unfinished}))
    sys.exit(130 if result.interrupted else 0)
