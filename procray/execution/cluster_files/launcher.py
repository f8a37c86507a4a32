"""Files of `ray up`: what Ray's own check lets pass and what then hangs, leaks or stands open."""

from __future__ import annotations

import re
from typing import Any

from procray.execution.cluster_files import aws, gcp
from procray.execution.cluster_files.findings import Findings, Tree, whole
from procray.execution.cluster_files.fit import Need, NodeType, check_fit
from procray.execution.cluster_files.images import check_image
from procray.execution.cluster_files.schema import check_by_ray, check_schema
from procray.execution.cluster_files.secrets import check_open
from procray.execution.cluster_files.start import Start, container_mounts, container_variables, exported, starts
from procray.execution.cluster_files.stores import check_store
from procray.execution.room import DRIVER

TOKEN = ".ray/auth_token"
LOCAL = ("127.0.0.1", "localhost", "::1")
_COMMANDS = ("setup_commands", "head_setup_commands", "worker_setup_commands")
_START = {"head": "head_start_ray_commands", "worker": "worker_start_ray_commands"}


def check_launcher(
    data: dict[str, Any], tree: Tree, findings: Findings, needs: list[Need] | None, store: str | None
) -> None:
    """Everything about one file of `ray up`.

    Args:
        data: as Ray reads it.
        needs: what the phases of a sweep take, or None where no sweep was given.
        store: overrides the store that the file names.
    """
    provider = tree.get("provider", "type")
    findings.kind = f"ray up ({provider})"
    if check_schema(data, tree, findings):
        check_by_ray(data, tree, findings)
    elif not isinstance(provider, str):
        return
    check_open(tree, findings)
    _check_images(tree, findings)
    _check_setup(tree, findings)
    _check_workers(tree, findings)
    started = {role: _check_start(role, tree, findings) for role in _START}
    _check_token(started, tree, findings)
    if provider == "aws":
        aws.check(tree, findings)
    elif provider == "gcp":
        gcp.check(tree, findings)
    elif provider != "local":
        findings.skip(f"what the provider '{provider}' itself wants (aws, gcp and local are known)")
    _check_head(started["head"], tree, findings)
    named = store or _store(tree, started)
    check_store(named, _mounted(tree), tree.place(*_store_place(tree)), findings)
    if needs is not None:
        types = _types(started, tree, findings)
        if types is not None:
            where = ("available_node_types",) if tree.find(("available_node_types",)) else ("provider",)
            check_fit(needs, types, tree.key(*where), findings)


def node_types(tree: Tree) -> list[str]:
    return list(tree.mapping("available_node_types"))


def _check_images(tree: Tree, findings: Findings) -> None:
    paths = [("docker", name) for name in ("image", "head_image", "worker_image")]
    nodes = [("available_node_types", name, "docker", "worker_image") for name in node_types(tree)]
    found = [path for path in [*paths, *nodes] if isinstance(tree.get(*path), str) and tree.get(*path)]
    for path in found:
        check_image(tree.get(*path), tree.place(*path), findings)
    if not found:
        findings.skip("which Ray and Python the nodes have (no container image: what setup_commands install)")


def _check_setup(tree: Tree, findings: Findings) -> None:
    if tree.find(("setup_commands",)) is None and tree.get("provider", "type") != "local":
        text = (
            "setup_commands is missing, and Ray's default installs a nightly build of Ray; write `setup_commands: []`"
        )
        findings.add(tree.root.place, text)
    commands = [line for name in _COMMANDS for line in tree.texts(name)]
    image = str(tree.get("docker", "image") or tree.get("docker", "worker_image") or "")
    if (not image or "rayproject/" in image) and not any("pip" in line or "uv " in line for line in commands):
        findings.add(
            tree.key("setup_commands"), "nothing installs procray on the nodes, and Ray's image does not have it"
        )


def _check_workers(tree: Tree, findings: Findings) -> None:
    most = tree.get("max_workers")
    head = tree.get("head_node_type")
    for name in node_types(tree):
        here = ("available_node_types", name)
        low, high = tree.get(*here, "min_workers", default=0), tree.get(*here, "max_workers")
        if isinstance(low, int) and isinstance(high, int) and low > high:
            findings.add(tree.place(*here, "min_workers"), f"{name}: min_workers {low} is above max_workers {high}")
        if isinstance(high, int) and isinstance(most, int) and high > most:
            text = f"{name}: max_workers {high} is above the {most} that the whole cluster may have"
            findings.add(tree.place(*here, "max_workers"), text)
        if name == head and high != 0:
            text = f"{name}: the head's type needs `max_workers: 0`, or Ray starts workers of it"
            findings.add(tree.place(*here, "max_workers"), text)


def _check_start(role: str, tree: Tree, findings: Findings) -> Start | None:
    """The `ray start` of head or workers; what is wrong with it is reported."""
    key = _START[role]
    lines = tree.texts(key)
    found = [(number, start) for number, line in enumerate(lines) for start in starts(line)]
    if not found:
        text = (
            f"{key} starts no Ray" if lines else f"{key} is missing; Ray's default opens the dashboard and has no token"
        )
        findings.add(tree.place(key), text)
        return None
    number, start = found[-1]
    place = tree.place(key, number)
    if start.is_head != (role == "head"):
        findings.add(place, f"{key}: `ray start` {'needs' if role == 'head' else 'must not have'} --head")
    host = str(start.options.get("dashboard-host", LOCAL[0]))
    if host not in LOCAL:
        text = f"--dashboard-host={host} opens the dashboard, which runs code for whoever reaches it"
        findings.add(place, f"{text}; write 127.0.0.1 and use `ray dashboard FILE`")
    if role == "head" and "autoscaling-config" not in start.options:
        findings.add(place, "without --autoscaling-config=~/ray_bootstrap_config.yaml the head starts no workers")
    if role == "worker" and not str(start.options.get("address", "")).startswith("$RAY_HEAD_IP:"):
        findings.add(place, "the workers' `ray start` needs --address=$RAY_HEAD_IP:PORT")
    exports = {
        name: value for line in lines[: number + 1] for name, value in exported(line).items() if line == lines[number]
    }
    start.variables = _variables(tree, role) | exports | start.variables
    return start


def _check_token(started: dict[str, Start | None], tree: Tree, findings: Findings) -> None:
    for role, start in started.items():
        if start is None:
            continue
        mode = start.variables.get("RAY_AUTH_MODE")
        if mode != "token":
            said = f"RAY_AUTH_MODE is '{mode}'" if mode else "RAY_AUTH_MODE=token is missing"
            text = f"{_START[role]}: {said}, so whoever reaches the port can run code there"
            findings.add(tree.place(_START[role], len(tree.texts(_START[role])) - 1), text)
    targets = list(tree.mapping("file_mounts")) + list(container_mounts(_run_options(tree, "worker")))
    wanted = next(
        (s.variables["RAY_AUTH_TOKEN_PATH"] for s in started.values() if s and "RAY_AUTH_TOKEN_PATH" in s.variables),
        TOKEN,
    )
    if not any(
        target.rstrip("/").endswith(wanted.lstrip("~/")) or wanted.startswith(target.rstrip("/") + "/")
        for target in targets
    ):
        where = ("file_mounts",) if tree.find(("file_mounts",)) else ()
        text = "the token is on no node: mount it, `file_mounts: {~/.ray/auth_token: ~/.ray/auth_token}`"
        findings.add(tree.key(*where) if where else tree.root.place, text)
    ports = {str(s.options.get("port", 6379)) for s in [started["head"]] if s}
    joined = {str(s.options.get("address", "")).rpartition(":")[2] for s in [started["worker"]] if s}
    if ports and joined and ports != joined and all(port.isdecimal() for port in joined):
        text = f"the workers look for the head at port {joined.pop()}, and it listens at {ports.pop()}"
        findings.add(tree.place(_START["worker"]), text)


def _check_head(start: Start | None, tree: Tree, findings: Findings) -> None:
    """The head drives and does not train."""
    head = tree.get("head_node_type")
    said = start.resources() if start else None
    resources = tree.mapping("available_node_types", head, "resources") if isinstance(head, str) else {}
    offered = {**(said or {}), **resources} if tree.get("provider", "type") != "local" else (said or {})
    where = ("available_node_types", head, "resources") if isinstance(head, str) else (_START["head"],)
    if offered.get("CPU") != 0:
        how = "`resources: {CPU: 0}`" if isinstance(head, str) else "`--num-cpus=0` in its `ray start`"
        findings.add(
            tree.place(*where), f"the head takes work (it does whenever its processors are offered); write {how}"
        )
    if offered.get("GPU"):
        findings.add(tree.place(*where), "the head offers a GPU, so training lands beside the driver; leave GPU out")
    if not offered.get(DRIVER):
        text = f"the head offers no `{DRIVER}`, which phases of several workers are driven by; write `{DRIVER}: 16`"
        findings.add(tree.place(*where), text)


def _types(started: dict[str, Start | None], tree: Tree, findings: Findings) -> list[NodeType] | None:
    """What there can be, or None where the file does not say it."""
    if tree.get("provider", "type") == "local":
        head, worker = started["head"], started["worker"]
        offered = worker.resources() if worker else None
        if not offered or "CPU" not in offered:
            findings.skip("whether the phases fit: write --num-cpus and --num-gpus into the workers' `ray start`")
            return None
        count = len(tree.texts("provider", "worker_ips"))
        return [NodeType("head", (head.resources() if head else None) or {}, 1), NodeType("worker", offered, count)]
    found = []
    head_type = tree.get("head_node_type")
    most = whole(tree.get("max_workers"))
    for name in node_types(tree):
        resources = tree.mapping("available_node_types", name, "resources")
        if "CPU" not in resources and name != head_type:
            text = f"{name}: its resources are not written out, so nobody can tell offline what fits; name CPU and GPU"
            findings.add(tree.place("available_node_types", name, "resources"), text)
            return None
        high = 1 if name == head_type else whole(tree.get("available_node_types", name, "max_workers", default=most))
        numbers = {key: float(value) for key, value in resources.items() if isinstance(value, (int, float))}
        found.append(NodeType(name, numbers, min(high, max(most, 1))))
    return found


def _run_options(tree: Tree, role: str) -> list[str]:
    return tree.texts("docker", "run_options") + tree.texts("docker", f"{role}_run_options")


def _variables(tree: Tree, role: str) -> dict[str, str]:
    return container_variables(_run_options(tree, role))


def _store(tree: Tree, started: dict[str, Start | None]) -> str | None:
    """PROCRAY_STORE as the workers see it."""
    start = started["worker"]
    return start.variables.get("PROCRAY_STORE") if start else _variables(tree, "worker").get("PROCRAY_STORE")


def _store_place(tree: Tree) -> tuple[str | int, ...]:
    for path, node in tree.scalars():
        if isinstance(node.value, str) and "PROCRAY_STORE=" in node.value:
            return path
    return ("docker",) if tree.find(("docker",)) else (_START["worker"],)


def _mounted(tree: Tree) -> list[str]:
    """Folders that commands of the file mount on every node, as processes there see them."""
    commands = tree.texts("initialization_commands") + tree.texts("setup_commands")
    mounting = [line for line in commands if re.search(r"\bmount(?:point)?\b", line)]
    words = {word.strip("'\"();&|") for line in mounting for word in line.split()}
    outside = sorted(word for word in words if word.startswith("/") and len(word) > 1)
    if tree.find(("docker",)) is None or not tree.mapping("docker"):
        return outside
    shared = container_mounts(tree.texts("docker", "run_options"))
    return sorted(
        inside for inside, host in shared.items() if any(host == one or host.startswith(one + "/") for one in outside)
    )
