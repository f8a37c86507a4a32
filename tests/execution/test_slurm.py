"""cluster/slurm.sh as Slurm would run it: `srun` and `scontrol` are stand-ins that start everything on this machine.

Two nodes are two real raylets; the sweep, the token, the signals and the cleaning up are real.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

SCRIPT = Path(__file__).parents[2] / "cluster" / "slurm.sh"
SWEEP = """\
name: small
setting: additive
seeds: [0]
model: {layers: 1, heads: 1, width: 16, context: 32}
procedural:
  task: {grid: [reverse, identity]}
  length: 8
  batch: 32
  tokens: 600k
  optimizer: {lr: 1e-3}
  evaluate: {every: 100k, sequences: 32}
diagnostic: {task: haystack, pairs: 2, batch: 32, tokens: 100k, optimizer: {lr: 1e-3}, evaluate: {every: 50k}}
"""
STANDINS = {
    "srun": 'while [ "${1#--}" != "$1" ]; do shift; done\nexec "$@"\n',
    "scontrol": 'if [ "$1" = show ]; then echo node0; echo node1; else echo "$@" >> "$RECORD"; fi\n',
    "squeue": "echo 2:41\n",
}


@pytest.fixture
def job(tmp_path: Path) -> dict[str, str]:
    """The environment of a batch job on two nodes of one processor each."""
    (tmp_path / "bin").mkdir()
    for name, text in STANDINS.items():
        file = tmp_path / "bin" / name
        file.write_text("#!/usr/bin/env bash\n" + text)
        file.chmod(0o755)
    (tmp_path / ".venv").symlink_to(sys.prefix)
    (tmp_path / "home").mkdir()
    (tmp_path / "small.yaml").write_text(SWEEP)
    shutil.copy(SCRIPT, tmp_path / "job.sh")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "SLURM_", "MLFLOW_"))}
    return {
        **kept,
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        "HOME": str(tmp_path / "home"),
        "RECORD": str(tmp_path / "record"),
        "SLURM_SUBMIT_DIR": str(tmp_path),
        "SLURM_JOB_ID": str(10_000_000 + os.getpid()),
        "SLURM_JOB_NODELIST": "node[0-1]",
        "SLURM_CPUS_PER_TASK": "1",
        "PROCRAY_HEAD_ADDRESS": "127.0.0.1",
        "PROCRAY_STORE": str(tmp_path / "store"),
        "NO_COLOR": "1",
    }


def start(job: dict[str, str], folder: Path) -> subprocess.Popen[str]:
    words = ["bash", "job.sh", "small.yaml", "--no-tracking"]
    log = (folder / "log").open("a")
    return subprocess.Popen(words, cwd=folder, env=job, stdout=log, stderr=log, text=True, start_new_session=True)


RAY = 'if [ "$1" = start ]; then sleep 600 & trap "kill $!" TERM; wait; fi\n'


def with_ray(folder: Path, ray: str) -> Path:
    """Puts stand-ins where ray and procray would be. Gives the file that then has all calls of `srun`, of which each is
    a line, and `sweep` once the sweep has begun."""
    (folder / ".venv").unlink()
    (folder / ".venv" / "bin").mkdir(parents=True)
    called = folder / "called"
    programs = {
        folder / "bin" / "srun": f'echo "srun $@" >> {called}\n' + STANDINS["srun"],
        folder / ".venv" / "bin" / "ray": ray,
        folder / ".venv" / "bin" / "procray": f"echo sweep >> {called}\n",
        # What asks whether so many nodes are there.
        folder / ".venv" / "bin" / "python": f'if [[ "$2" != *ray.nodes* ]]; then exec {sys.executable} "$@"; fi\n'
        'if [ "$4" = 1 ]; then eval "${HEAD:-:}"; exit; fi\n'
        f'until [ "$(grep -c " start " {called})" -ge 2 ] && eval "${{TOO:-:}}"; do sleep 0.1; done\n',
    }
    for file, text in programs.items():
        file.write_text("#!/usr/bin/env bash\n" + text)
        file.chmod(0o755)
    return called


def test_jobs_on_one_node_share_no_port_and_steps_have_their_processors(job, tmp_path):
    """With a ray that only writes down how it is called: what a Slurm from 22.05 on gives it, and on which ports."""
    called = with_ray(tmp_path, RAY)
    job["SLURM_CPUS_PER_TASK"] = "16"
    ports = []
    for number in (7_000_001, 7_000_002):
        job["SLURM_JOB_ID"] = str(number)
        assert start(job, tmp_path).wait(600) == 0, (tmp_path / "log").read_text()
    lines = called.read_text().splitlines()
    made = [line.split(" mkdir -m 700 ")[1] for line in lines if " mkdir -m 700 " in line]
    assert len(set(made)) == 2, "drawn anew for each job"
    for folder in made:  # Ray opens its own folder to everybody, so that one stands below
        assert re.fullmatch(r"/tmp/procray-[0-9a-f]{12}", folder)
        assert any(f" --temp-dir={folder}/r " in line for line in lines)
        assert any(line.endswith(f" rm -rf {folder}") and "--ntasks-per-node=1" in line for line in lines)
        assert not Path(folder).exists()
        session = "session_2026-11-27_22-05-53_123456_1234567"
        assert len(f"{folder}/r/{session}/sockets/plasma_store") < 107, "the longest path of a socket"
    for line in called.read_text().splitlines():
        if " start " not in line:
            continue
        step, _, ray = line.partition(" start ")
        assert "--cpus-per-task=16" in step
        assert "--num-cpus=16" in ray
        ports += [int(found) for found in re.findall(r"port=(\d+)", ray) if "--head" in ray]
    ports = [port for port in ports if port]
    assert len(set(ports)) == 4
    assert 10001 not in ports
    assert all(1024 < port < 32768 for port in ports), "not one that the system gives to somebody else"


@pytest.mark.parametrize("where", ["--head", "--address"], ids=["head", "node"])
def test_a_ray_that_does_not_come_up_is_started_again(job, tmp_path, where):
    """As on a node that is too slow for the 30 seconds that Ray gives itself."""
    ray = f"""\
if [ "$1" = health-check ]; then exit; fi  # Ray's says so before the head's node is there
if [[ "$*" == *{where}* ]] && mkdir failed; then exit 7; fi
if [[ "$*" == *--head* ]]; then touch up; fi
{RAY}"""
    called = with_ray(tmp_path, ray)
    job |= {"HEAD": "[ -e up ]", "TOO": f'[ "$(grep -c " start " {called})" -ge 3 ]', "PROCRAY_START_SECONDS": "3600"}
    assert start(job, tmp_path).wait(600) == 0, (tmp_path / "log").read_text()
    calls = called.read_text().splitlines()
    starts = [call for call in calls if " start " in call]
    assert [where in call for call in starts].count(True) == 2
    assert len(starts) == 3
    assert calls.index("sweep") > calls.index(starts[-1]), "it begins when all nodes are there"
    name = "Ray's head on node0" if where == "--head" else "Ray on node1"
    said = re.findall(rf"{name} ended with 7\b.*\(try 1\); trying again", (tmp_path / "log").read_text())
    assert len(said) == 1, (tmp_path / "log").read_text()


def test_a_head_that_never_comes_up_ends_the_job_with_words(job, tmp_path):
    called = with_ray(tmp_path, "exit 7\n")
    job["PROCRAY_START_SECONDS"] = "1"
    assert start(job, tmp_path).wait(600) == 3
    said = (tmp_path / "log").read_text()
    assert re.search(r"Ray's head did not start on node0 within 1 seconds \(tries: \d+\)", said), said
    assert "sweep" not in called.read_text().splitlines()
    assert not Path(job["HOME"], ".procray", f"token-{job['SLURM_JOB_ID']}").exists()


def test_a_node_that_never_comes_up_is_left_out(job, tmp_path):
    called = with_ray(tmp_path, 'if [[ "$*" == *--address=* ]]; then exit 7; fi\n' + RAY)
    job |= {"TOO": 'grep -q "without this node" log', "PROCRAY_START_SECONDS": "0"}
    assert start(job, tmp_path).wait(600) == 0, (tmp_path / "log").read_text()
    assert "sweep" in called.read_text().splitlines()
    said = (tmp_path / "log").read_text()
    assert re.search(r"Ray on node1 ended with 7\b.*without this node", said), said


def processes_of(session: int) -> list[psutil.Process]:
    """What still runs of a job: everything that it started is in its session, or names its folder."""
    found = []
    for process in psutil.process_iter(["pid"]):
        try:
            if os.getsid(process.pid) == session and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (OSError, psutil.Error):
            continue
    return found


@pytest.mark.slow
@pytest.mark.timeout(3600)  # of what hangs: how long two raylets take is a matter of the machine
def test_a_job_saves_ahead_of_its_limit_and_continues(job, tmp_path):
    token = Path(job["HOME"], ".procray", f"token-{job['SLURM_JOB_ID']}")
    sessions = []
    job["PROCRAY_START_SECONDS"] = "3600"  # for a machine that is busy with something else
    taken = socket.socket()
    with contextlib.suppress(OSError):  # somebody has it already
        taken.bind(("", 10001))  # where another job's Ray has its client
        taken.listen()
    try:
        first = start(job, tmp_path)
        sessions.append(first.pid)
        while not any(file.stat().st_size for file in tmp_path.glob("store/phases/*/journal/*.jsonl")):
            assert first.poll() is None, (tmp_path / "log").read_text()
            time.sleep(0.2)
        assert token.stat().st_mode & 0o777 == 0o600
        assert token.parent.stat().st_mode & 0o777 == 0o700
        shown = [word for process in processes_of(first.pid) for word in process.cmdline()]
        assert token.read_text() not in " ".join(shown)
        assert sum("raylet/raylet" in word for word in shown) == 2
        first.send_signal(signal.SIGTERM)
        assert first.wait() == 143, (tmp_path / "log").read_text()
        assert (tmp_path / "record").read_text() == f"requeue {job['SLURM_JOB_ID']}\n"
        assert not token.exists()
        assert settled(first.pid) == []

        second = start(job, tmp_path)
        sessions.append(second.pid)
        assert second.wait() == 0, (tmp_path / "log").read_text()
        assert re.search(r"(\d+) of \1 phases done", (tmp_path / "log").read_text())
        assert (tmp_path / "record").read_text().count("\n") == 1
        assert not token.exists()
        assert settled(second.pid) == []
    finally:
        taken.close()
        for session in sessions:
            for process in processes_of(session):
                process.kill()


def settled(session: int, seconds: float = 600.0) -> list[list[str]]:
    """What is left of a job after a moment: Ray's agents end after their raylet."""
    deadline = time.monotonic() + seconds
    while (left := processes_of(session)) and time.monotonic() < deadline:
        time.sleep(0.2)
    return [process.cmdline() for process in left]
