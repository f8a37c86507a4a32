"""The local Ray belongs to this user and this machine."""

from __future__ import annotations

import os
import subprocess
import sys

CODE = """
import os, stat, psutil
from pathlib import Path
from procray.execution.cluster import cluster
with cluster(None, Path(os.environ["LOGS"]), {}):
    import ray
    session = Path(ray._private.worker.global_worker.node.get_session_dir_path())
    owned = session.parent.parent
    assert stat.S_IMODE(owned.stat().st_mode) == 0o700, oct(owned.stat().st_mode)
    words = [" ".join(p.cmdline()) for p in psutil.Process().children(recursive=True)]
    assert any("raylet" in line for line in words)
    assert not any(os.environ["RAY_AUTH_TOKEN"] in line for line in words)
    for process in psutil.Process().children(recursive=True):
        for one in process.net_connections("inet"):
            if one.status == "LISTEN":
                assert one.laddr.ip in ("127.0.0.1", "::1", "::ffff:127.0.0.1"), (process.cmdline()[:2], one.laddr)
assert not owned.exists()
print("fine")
"""


def test_it_listens_here_only_in_a_folder_that_others_cannot_enter(tmp_path):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        capture_output=True, text=True, check=False, env={**environment, "LOGS": str(tmp_path)},
    )  # fmt: skip
    assert done.stdout.strip() == "fine", done.stderr[-2000:]
