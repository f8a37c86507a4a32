"""Slurm scripts: a Ray cluster inside an allocation."""

from __future__ import annotations

import re
import shutil
import subprocess

from procray.errors import did_you_mean
from procray.execution.cluster_files.findings import Findings, words
from procray.execution.cluster_files.fit import Need, NodeType, check_fit
from procray.execution.cluster_files.start import Start, exported, starts
from procray.execution.cluster_files.stores import check_store
from procray.execution.room import DRIVER
from procray.spec.tree import Place

# sbatch's long options (Slurm 23 to 25) that scripts use.
_OPTIONS = words(
    """account acctg-freq array batch bb bbf begin chdir cluster-constraint clusters comment constraint container
    contiguous core-spec cores-per-socket cpu-freq cpus-per-gpu cpus-per-task deadline delay-boot dependency
    distribution error exclude exclusive export export-file extra-node-info get-user-env gid gpu-bind gpu-freq
    gpus gpus-per-node gpus-per-socket gpus-per-task gres gres-flags hint hold ignore-pbs input job-name
    kill-on-invalid-dep licenses mail-type mail-user mcs-label mem mem-bind mem-per-cpu mem-per-gpu mincpus
    network nice no-kill no-requeue nodefile nodelist nodes ntasks ntasks-per-core ntasks-per-gpu
    ntasks-per-node ntasks-per-socket open-mode output overcommit oversubscribe parsable partition power prefer
    priority profile propagate qos quiet reboot requeue reservation resv-ports segment signal sockets-per-node
    spread-job stepmgr switches test-only thread-spec threads-per-core time time-min tmp tres-bind tres-per-task
    uid use-min-nodes verbose wait wait-all-nodes wckey wrap"""
)
_SAVES = 60  # seconds that a sweep gets to save, at least


def is_slurm(text: str) -> bool:
    return text.startswith("#!") and re.search(r"^#SBATCH\s", text, re.MULTILINE) is not None


def check_slurm(text: str, findings: Findings, needs: list[Need] | None, store: str | None) -> None:
    """Everything about one script."""
    findings.kind = "Slurm"
    findings.skip("what Slurm itself says: sbatch --test-only FILE")
    lines = text.splitlines()
    _check_shell(text, findings)
    given = _options(lines, findings)
    code = "\n".join("" if line.lstrip().startswith("#") else line for line in lines)
    _check_code(lines, code, given, findings)
    _check_named_store(lines, code, store, findings)
    found = starts(code)
    head = next((start for start in found if start.is_head), None)
    if head is None:
        findings.add(None, "no `ray start --head` in the script")
    elif needs is not None:
        _check_needs(head, given, needs, findings)


def _place(lines: list[str], pattern: str, findings: Findings) -> Place | None:
    for number, line in enumerate(lines, 1):
        if (match := re.search(pattern, line)) and (line.startswith("#SBATCH") or not line.lstrip().startswith("#")):
            return Place(findings.file, number, match.start() + 1, line)
    return None


def _check_shell(text: str, findings: Findings) -> None:
    """`bash -n`: reads the script and runs nothing of it."""
    bash = shutil.which("bash")
    if bash is None:
        findings.skip("the shell's grammar (no bash here)")
        return
    said = subprocess.run([bash, "-n"], input=text, capture_output=True, text=True, timeout=30, check=False)
    if said.returncode:
        for told in said.stderr.splitlines():
            match = re.search(r"line (\d+): (.*)", told)
            if match is not None:
                line = min(int(match[1]), len(text.splitlines()))  # it counts the end as one more
                findings.add(Place(findings.file, line, 1), f"bash: {match[2]}")


def _options(lines: list[str], findings: Findings) -> dict[str, tuple[str, Place]]:
    """The #SBATCH options by name; Slurm reads them up to the first command."""
    found: dict[str, tuple[str, Place]] = {}
    begun = False
    for number, line in enumerate(lines, 1):
        if not line.startswith("#SBATCH"):
            begun = begun or bool(line.strip() and not line.startswith("#"))
            continue
        place = Place(findings.file, number, 1, line)
        if begun:
            findings.add(place, "Slurm stops reading #SBATCH at the first command; move this line up")
        for name, value in re.findall(r"--([\w-]+)(?:[= ]([^\s#]+))?", line):
            if name not in _OPTIONS:
                findings.add(place, f"sbatch knows no option '--{name}'{did_you_mean(name, _OPTIONS)}")
            found[name] = value, place
    return found


def _check_code(lines: list[str], code: str, given: dict[str, tuple[str, Place]], findings: Findings) -> None:
    for name, why in (
        ("nodes", "Slurm may give any number of nodes"),
        ("time", "the partition's own limit decides, and nobody saves ahead of it"),
    ):
        if name not in given:
            findings.add(None, f"#SBATCH --{name} is missing: {why}")
    signal = given.get("signal")
    match = re.fullmatch(r"B:(?:SIG)?TERM@(\d+)", signal[0]) if signal else None
    if signal is None:
        text = "#SBATCH --signal=B:TERM@180 is missing: the sweep is killed at the time limit without a chance to save"
        findings.add(None, text)
    elif match is None:
        findings.add(signal[1], f"--signal={signal[0]}: write B:TERM@SECONDS (B: to this script, which passes it on)")
    elif int(match[1]) < _SAVES:
        findings.add(signal[1], f"{match[1]} seconds are little to save in; give it {_SAVES} or more")
    driver = re.search(r"procray\"?\s+sweep\b[^\n]*&[^\S\n]*\n\s*(\w+)=\$!", code)  # other steps have traps too
    name = rf"\$\{{?{driver[1]}\b" if driver else ""
    if not re.search(rf"\btrap\s+.*kill[^\n]*{name}[^\n]*\bTERM\b", code):
        findings.add(None, "nothing passes SIGTERM on to the sweep: trap 'kill -TERM \"$driver\"' TERM")
    if not re.search(r"\btrap\s+(?!-\s)\S.*\bEXIT\b", code):
        findings.add(None, "nothing cleans up: trap cleanup EXIT")
    for pattern, message in (
        (r"--dashboard-host[= ]\S*0\.0\.0\.0", "opens the dashboard, which runs code for whoever reaches it"),
        (r"RAY_AUTH_MODE=(?!token\b)\S*", "RAY_AUTH_MODE must be token: other users share these nodes' network"),
    ):
        if place := _place(lines, pattern, findings):
            findings.add(place, message)
    variables = exported(code)
    if variables.get("RAY_AUTH_MODE") is None:
        text = "RAY_AUTH_MODE=token is not exported, so every user of the cluster can run code in this Ray"
        findings.add(None, text)
    if "RAY_AUTH_TOKEN_PATH" not in variables:
        findings.add(None, "RAY_AUTH_TOKEN_PATH is not exported: a file with the token that only you can read")
    elif not re.search(r"umask 0?77|chmod 0?600|install -m 0?600", code):
        findings.add(
            _place(lines, "RAY_AUTH_TOKEN_PATH", findings), "others may read the token: umask 077 before it is written"
        )
    _check_steps(lines, code, variables, findings)
    _check_temporary(lines, code, findings)
    if "procray sweep" not in re.sub(r"[\"']", "", code):
        findings.add(None, "the script runs no `procray sweep`")
    elif not re.search(r"procray\"?\s+sweep\b[^\n]*--address", code):
        findings.add(
            _place(lines, r"procray\"?\s+sweep", findings), "without --address the sweep starts a Ray of its own"
        )


def _check_temporary(lines: list[str], code: str, findings: Findings) -> None:
    """Ray's own folder, which it opens to every user of a node."""
    for start in starts(code):
        if not start.is_head:
            continue
        place = _place(lines, r"ray\"?\s+start\b.*--head", findings)
        if "temp-dir" not in start.options:
            findings.add(place, "without --temp-dir Ray's session stands in /tmp/ray, which it opens to all users")
        elif not re.search(r"\bmkdir\s+(-m\s*0?700|--mode=0?700)\b|\bmktemp\s+-d\b", code):
            text = (
                "Ray opens --temp-dir to every user of a node: let it stand below a folder that `mkdir -m 700` makes "
                "on all nodes, under a name that nobody can know before"
            )
            findings.add(place, text)


def _check_steps(lines: list[str], code: str, variables: dict[str, str], findings: Findings) -> None:
    """What the steps that start Ray get from Slurm, and what two jobs on one node would fight for."""
    given = "SRUN_CPUS_PER_TASK" in variables
    arrays = dict(re.findall(r"^\s*(\w+)=\(([^)]*)\)", code, re.MULTILINE))
    for step in re.findall(r"^\s*srun\b.*?(?<!\\)$", code, re.MULTILINE | re.DOTALL):
        options = re.sub(r"\$\{(\w+)\[@\]\}", lambda match: arrays.get(match[1], match[0]), step)
        if not starts(step) or given or re.search(r"\s--cpus-per-task\b|\s-c\s*\S", options):
            continue
        text = 'from Slurm 22.05 on srun gives a step one processor; write srun --cpus-per-task="$SLURM_CPUS_PER_TASK"'
        findings.add(_place(lines, re.escape(step.splitlines()[0].strip()), findings), text)
    for start in starts(code):
        if start.is_head and "ray-client-server-port" not in start.options:
            text = "without --ray-client-server-port it is 10001 in every job, and the second one on a node dies"
            findings.add(_place(lines, r"ray\"?\s+start\b.*--head", findings), text)


def _check_named_store(lines: list[str], code: str, store: str | None, findings: Findings) -> None:
    place = _place(lines, "PROCRAY_STORE=", findings)
    match = re.search(r"PROCRAY_STORE=[\"']?(?:\$\{PROCRAY_STORE:-([^}\"']*)\}|([^\s\"';&]*))", code)
    named = store or (match and (match[1] or match[2])) or None
    if named and named.startswith("$"):
        findings.skip(f"the store, which is {named}")
        return
    shared = [named] if named and named.startswith("/") else []
    check_store(named, shared, place, findings)
    if shared:
        findings.skip(f"whether all nodes share {named}")


def _check_needs(head: Start, given: dict[str, tuple[str, Place]], needs: list[Need], findings: Findings) -> None:
    def number(name: str) -> int | None:
        text = given[name][0].rpartition(":")[2] if name in given else ""
        return int(text) if text.isdecimal() else None

    nodes, cpus = number("nodes"), number("cpus-per-task")
    gpus = number("gpus-per-node") if "gpus-per-node" in given else number("gres")
    if nodes is None or cpus is None:
        findings.skip("whether the phases fit: give --nodes and --cpus-per-task as numbers")
        return
    offered = {"CPU": float(cpus), "GPU": float(gpus or 0)}
    custom = head.resources()
    drives = DRIVER in str(head.options.get("resources", "")) if custom is None else custom.get(DRIVER, 0)
    types = [NodeType("each node", offered, nodes), NodeType("the head", {DRIVER: 16.0} if drives else {}, 1)]
    check_fit(needs, types, given["nodes"][1], findings)
