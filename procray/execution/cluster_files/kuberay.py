"""Manifests for KubeRay: a RayJob or RayCluster with what belongs to it."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

from procray.errors import did_you_mean
from procray.execution.cluster_files.findings import Findings, Tree, whole, words
from procray.execution.cluster_files.fit import Need, NodeType, check_fit
from procray.execution.cluster_files.images import check_image
from procray.execution.cluster_files.secrets import check_open
from procray.execution.cluster_files.stores import check_store
from procray.execution.room import DRIVER

Path = tuple[str | int, ...]

# The keys that KubeRay 1.7 (ray.io/v1) and Kubernetes' pods know.
_JOB = words(
    """activeDeadlineSeconds backoffLimit clusterSelector deletionStrategy entrypoint entrypointNumCpus
    entrypointNumGpus entrypointResources jobId managedBy metadata preRunningDeadlineSeconds rayClusterSpec
    runtimeEnvYAML shutdownAfterJobFinishes submissionMode submitterConfig submitterPodTemplate suspend
    ttlSecondsAfterFinished"""
)
_CLUSTER = words(
    """authOptions autoscalerOptions enableInTreeAutoscaling gcsFaultToleranceOptions headGroupSpec
    headServiceAnnotations historyServerOptions managedBy networkPolicy rayVersion suspend tlsOptions upgradeStrategy
    workerGroupSpecs"""
)
_HEAD = words("enableIngress headService ingressOptions labels rayStartParams resources serviceType template")
_WORKER = words(
    """groupName idleTimeoutSeconds labels maxReplicas minReplicas numOfHosts priority rayStartParams replicas resources
    scaleStrategy suspend template"""
)
_AUTOSCALER = words(
    """args command env envFrom idleTimeoutSeconds image imagePullPolicy resources securityContext upscalingMode version
    volumeMounts"""
)
_POD = words(
    """activeDeadlineSeconds affinity automountServiceAccountToken containers dnsConfig dnsPolicy enableServiceLinks
    ephemeralContainers hostAliases hostIPC hostNetwork hostPID hostUsers hostname hostnameOverride imagePullSecrets
    initContainers nodeName nodeSelector os overhead preemptionPolicy priority priorityClassName readinessGates
    resourceClaims resources restartPolicy runtimeClassName schedulerName schedulingGates schedulingGroup
    securityContext serviceAccount serviceAccountName setHostnameAsFQDN shareProcessNamespace subdomain
    terminationGracePeriodSeconds tolerations topologySpreadConstraints volumes"""
)
_CONTAINER = words(
    """args command env envFrom image imagePullPolicy lifecycle livenessProbe name ports readinessProbe resizePolicy
    resources restartPolicy restartPolicyRules securityContext startupProbe stdin stdinOnce terminationMessagePath
    terminationMessagePolicy tty volumeDevices volumeMounts workingDir"""
)
_SECRET_NAME = re.compile(r"(?i)token|secret|password|passwd|api_?key|access_?key|private_?key|credential")
_UNITS = {"m": 1e-3, "": 1.0, "k": 1e3, "Ki": 2**10, "M": 1e6, "Mi": 2**20, "G": 1e9, "Gi": 2**30, "Ti": 2**40}


def is_kuberay(trees: list[Tree]) -> bool:
    return any(tree.get("kind") in ("RayJob", "RayCluster") for tree in trees)


def check_kuberay(trees: list[Tree], findings: Findings, needs: list[Need] | None, store: str | None) -> None:
    """Everything about one file of manifests."""
    findings.kind = "KubeRay"
    findings.skip("what Kubernetes itself says: kubectl apply --dry-run=server -f FILE")
    claims = {tree.get("metadata", "name"): tree for tree in trees if tree.get("kind") == "PersistentVolumeClaim"}
    for tree in trees:
        check_open(tree, findings)
        _check_exposed(tree, findings)
        kind = tree.get("kind")
        if kind not in ("RayJob", "RayCluster"):
            continue
        if tree.get("apiVersion") != "ray.io/v1":
            findings.add(tree.place("apiVersion"), f"{kind}: apiVersion is ray.io/v1")
        cluster: Path = ("spec",) if kind == "RayCluster" else ("spec", "rayClusterSpec")
        if kind == "RayJob":
            _check_job(tree, findings)
        _check_cluster(tree, cluster, findings)
        _check_store(tree, cluster, claims, store, findings)
        if needs is not None:
            check_fit(needs, _types(tree, cluster), tree.place(*cluster, "workerGroupSpecs"), findings)


def _check_keys(tree: Tree, path: Path, known: frozenset[str], findings: Findings) -> None:
    for name in tree.mapping(*path):
        if name not in known:
            findings.add(tree.key(*path, name), f"unknown key '{name}'{did_you_mean(name, known)}")


def _check_job(tree: Tree, findings: Findings) -> None:
    _check_keys(tree, ("spec",), _JOB, findings)
    entry = str(tree.get("spec", "entrypoint", default=""))
    if not entry:
        findings.add(tree.place("spec"), "spec.entrypoint is missing: what the job runs, `procray sweep ...`")
    elif "procray sweep" in entry and "--address" not in entry:
        text = "without `--address auto` the sweep starts a Ray of its own on the head"
        findings.add(tree.place("spec", "entrypoint"), text)
    if tree.get("spec", "shutdownAfterJobFinishes") is not True:
        text = "shutdownAfterJobFinishes must be true, or the cluster goes on costing money"
        findings.add(tree.place("spec", "shutdownAfterJobFinishes"), text)
    if tree.find(("spec", "submitterPodTemplate")) is not None:
        _check_pod(tree, ("spec", "submitterPodTemplate", "spec"), findings)


def _check_cluster(tree: Tree, path: Path, findings: Findings) -> None:
    _check_keys(tree, path, _CLUSTER, findings)
    ours = version("ray")
    if str(tree.get(*path, "rayVersion")) != ours:
        findings.add(tree.place(*path, "rayVersion"), f"rayVersion must be '{ours}', the Ray of this procray")
    if tree.get(*path, "authOptions", "mode") != "token":
        text = "authOptions: {mode: token} is missing, so every pod that reaches the head can run code there"
        findings.add(tree.place(*path, "authOptions"), text)
    _check_keys(tree, (*path, "autoscalerOptions"), _AUTOSCALER, findings)
    head = (*path, "headGroupSpec")
    _check_keys(tree, head, _HEAD, findings)
    if tree.get(*head, "serviceType") in ("LoadBalancer", "NodePort"):
        findings.add(tree.place(*head, "serviceType"), "the head's service is open beyond Kubernetes; use port-forward")
    parameters = tree.mapping(*head, "rayStartParams")
    if str(parameters.get("num-cpus")) != "0":
        text = 'the head takes work (it does whenever its processors are offered); write num-cpus: "0"'
        findings.add(tree.place(*head, "rayStartParams"), text)
    custom = _custom(parameters)
    if custom is not None and DRIVER not in custom:
        text = f"the head offers no `{DRIVER}`, which phases of several workers are driven by"
        example = f'resources: \'"{{\\"{DRIVER}\\": 16}}"\''
        findings.add(tree.place(*head, "rayStartParams"), f"{text}; write {example}")
    _check_parameters(tree, (*head, "rayStartParams"), findings)
    _check_pod(tree, (*head, "template", "spec"), findings)
    groups = tree.get(*path, "workerGroupSpecs")
    if not isinstance(groups, list) or not groups:
        findings.add(tree.place(*path, "workerGroupSpecs"), "workerGroupSpecs is missing: nothing can train")
        return
    for number in range(len(groups)):
        group = (*path, "workerGroupSpecs", number)
        _check_keys(tree, group, _WORKER, findings)
        low, now, high = (tree.get(*group, key) for key in ("minReplicas", "replicas", "maxReplicas"))
        for key, value in (("minReplicas", low), ("maxReplicas", high)):
            if not isinstance(value, int):
                findings.add(tree.place(*group, key), f"{key} must be a whole number")
        if isinstance(low, int) and isinstance(high, int):
            if low > high:
                findings.add(tree.place(*group, "minReplicas"), f"minReplicas {low} is above maxReplicas {high}")
            elif isinstance(now, int) and not low <= now <= high:
                findings.add(tree.place(*group, "replicas"), f"replicas {now} is not between {low} and {high}")
        _check_parameters(tree, (*group, "rayStartParams"), findings)
        _check_pod(tree, (*group, "template", "spec"), findings)


def _check_parameters(tree: Tree, path: Path, findings: Findings) -> None:
    for name, value in tree.mapping(*path).items():
        if not isinstance(value, str):
            shown = json.dumps(value)
            findings.add(tree.place(*path, name), f'rayStartParams holds texts: write {name}: "{shown}"')
            continue
        if name == "resources" and _custom({name: value}) is None:
            # JSON for JSON's sake, so that the quotes in it come out as this file has to have them.
            wanted = json.dumps(json.dumps(_json(value) or {DRIVER: 16}))
            text = f"the operator's shell makes {_words(value)} of this, and Ray wants one text of JSON"
            findings.add(tree.place(*path, name), f"{text}; write {name}: '{wanted}'")
        elif name != "resources" and len(_words(value)) > 1:
            text = f"the operator's shell makes {_words(value)} of this"
            findings.add(tree.place(*path, name), f"{text}; quote it once more for the shell: '\"...\"'")


def _check_pod(tree: Tree, path: Path, findings: Findings) -> None:
    if tree.find(path) is None:
        findings.add(tree.place(*path), "the pod's template.spec is missing")
        return
    _check_keys(tree, path, _POD, findings)
    for name in ("hostNetwork", "hostPID", "hostIPC"):
        if tree.get(*path, name):
            findings.add(tree.place(*path, name), f"{name} takes the wall between this pod and its machine away")
    containers = tree.get(*path, "containers")
    if not isinstance(containers, list) or not containers:
        findings.add(tree.place(*path), "the pod has no containers")
        return
    for number in range(len(containers)):
        here = (*path, "containers", number)
        _check_keys(tree, here, _CONTAINER, findings)
        name = tree.get(*here, "name", default=f"container {number}")
        image = tree.get(*here, "image")
        if isinstance(image, str):
            check_image(image, tree.place(*here, "image"), findings)
        else:
            findings.add(tree.place(*here), f"{name}: image is missing")
        _check_security(tree, path, here, str(name), findings)
        limits = tree.mapping(*here, "resources", "limits")
        for resource in ("cpu", "memory"):
            if resource not in limits:
                text = f"{name}: no limit for {resource}; Ray then offers what the whole machine has"
                findings.add(tree.place(*here, "resources", "limits"), text)
        for key, value in limits.items():
            if _amount(value) is None:
                findings.add(tree.place(*here, "resources", "limits", key), f"{name}: '{value}' is no amount of {key}")
            elif "gpu" in key and _amount(value) != round(_amount(value) or 0):
                findings.add(tree.place(*here, "resources", "limits", key), f"{name}: a GPU is whole")
        for place, variable in _plain_variables(tree, here):
            if _SECRET_NAME.search(variable["name"]) and not variable["name"].endswith(("_PATH", "_FILE")):
                findings.add(tree.place(*place), f"a value of {variable['name']} stands in the file; use secretKeyRef")


def _check_security(tree: Tree, pod: Path, container: Path, name: str, findings: Findings) -> None:
    own = tree.mapping(*container, "securityContext")
    shared = tree.mapping(*pod, "securityContext")
    place = tree.place(*container, "securityContext")
    if own.get("runAsNonRoot", shared.get("runAsNonRoot")) is not True:
        findings.add(place, f"{name}: securityContext needs runAsNonRoot: true")
    if own.get("allowPrivilegeEscalation") is not False:
        findings.add(place, f"{name}: securityContext needs allowPrivilegeEscalation: false")
    if own.get("privileged"):
        findings.add(place, f"{name}: a privileged container is root on its machine")


def _plain_variables(tree: Tree, container: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Environment variables whose value stands in the file."""
    found = tree.get(*container, "env")
    for number, variable in enumerate(found if isinstance(found, list) else []):
        if isinstance(variable, dict) and isinstance(variable.get("name"), str) and variable.get("value"):
            yield (*container, "env", number, "value"), variable


def _check_exposed(tree: Tree, findings: Findings) -> None:
    if tree.get("kind") == "Secret" and (tree.find(("stringData",)) or tree.find(("data",))):
        findings.add(tree.place("kind"), "a Secret with its content does not belong into a file; kubectl create secret")
    if tree.get("kind") == "Ingress" or tree.get("spec", "type") in ("LoadBalancer", "NodePort"):
        findings.add(tree.place("kind"), f"{tree.get('kind')}: opens Ray beyond Kubernetes; use kubectl port-forward")
    if tree.get("kind") == "NetworkPolicy":
        for path in tree.empty_mappings():
            if path[-1] == "namespaceSelector":
                text = "pods of every namespace may come in, if they carry the label; name the operator's namespace"
                findings.add(
                    tree.key(*path), f"{text}: {{matchLabels: {{kubernetes.io/metadata.name: kuberay-system}}}}"
                )


def _ray_pods(tree: Tree, cluster: Path) -> list[tuple[str, Path]]:
    groups = tree.get(*cluster, "workerGroupSpecs")
    pods: list[tuple[str, Path]] = [("the head", (*cluster, "headGroupSpec", "template", "spec"))]
    for number in range(len(groups) if isinstance(groups, list) else 0):
        name = tree.get(*cluster, "workerGroupSpecs", number, "groupName", default=number)
        pods.append((f"group {name}", (*cluster, "workerGroupSpecs", number, "template", "spec")))
    return pods


def _check_store(tree: Tree, cluster: Path, claims: dict[Any, Tree], store: str | None, findings: Findings) -> None:
    """Every pod of Ray knows the same store, and reaches it."""
    named: dict[str, str] = {}
    mounted: dict[str, set[str]] = {}
    for name, pod in _ray_pods(tree, cluster):
        container = (*pod, "containers", 0)
        named[name] = next(
            (v["value"] for _, v in _plain_variables(tree, container) if v["name"] == "PROCRAY_STORE"), ""
        )
        shared = {}
        for volume in tree.get(*pod, "volumes", default=[]) or []:
            claim = (volume.get("persistentVolumeClaim") or {}).get("claimName") if isinstance(volume, dict) else None
            if claim is not None:
                shared[volume.get("name")] = claim
            elif isinstance(volume, dict) and volume.get("nfs"):
                shared[volume.get("name")] = None
        mounted[name] = set()
        for number, mount in enumerate(tree.get(*container, "volumeMounts", default=[]) or []):
            if not isinstance(mount, dict) or mount.get("name") not in shared:
                continue
            mounted[name].add(str(mount.get("mountPath")))
            claim = shared[mount["name"]]
            found = claims.get(claim)
            modes = found.get("spec", "accessModes", default=[]) if found else None
            if modes is not None and not (isinstance(modes, list) and "ReadWriteMany" in modes):
                text = f"the claim '{claim}' must be ReadWriteMany: all nodes write to it"
                findings.add(found.place("spec", "accessModes") if found else None, text)
            elif claim is not None and found is None:
                findings.skip(f"whether the claim '{claim}' is ReadWriteMany (it is not in the file)")
            _ = number
    place = tree.place(*cluster, "headGroupSpec")
    if store is None:
        for name, value in named.items():
            if not value:
                findings.add(place, f"{name} does not know the store: set PROCRAY_STORE in its first container's env")
        if len({value for value in named.values() if value}) > 1:
            findings.add(place, f"the pods name different stores: {', '.join(sorted(set(named.values())))}")
        store = next((value for value in named.values() if value), None)
        if store is None:
            return
    common = sorted(set.intersection(*mounted.values())) if mounted else []
    check_store(store, common, place, findings)


def _types(tree: Tree, cluster: Path) -> list[NodeType]:
    """What the pods offer: the limits of their first container, unless rayStartParams say something else."""
    found = []
    for name, pod in _ray_pods(tree, cluster):
        group = pod[:-2]
        limits = tree.mapping(*pod, "containers", 0, "resources", "limits")
        parameters = tree.mapping(*group, "rayStartParams")
        offered = {
            "CPU": _amount(parameters.get("num-cpus", limits.get("cpu", 0))) or 0.0,
            "GPU": sum(_amount(value) or 0.0 for key, value in limits.items() if key.endswith("/gpu")),
            **(_custom(parameters) or {}),
        }
        most = whole(tree.get(*group, "maxReplicas", default=1)) * whole(tree.get(*group, "numOfHosts", default=1))
        found.append(NodeType(name, offered, most))
    return found


def _custom(parameters: dict[str, Any]) -> dict[str, float] | None:
    """`resources: '"{\\"x\\": 1}"'` of rayStartParams: JSON, quoted once more for the operator's shell."""
    if "resources" not in parameters:
        return {}
    words = _words(str(parameters["resources"]))
    found = _json(words[0]) if len(words) == 1 else None
    try:
        return {str(name): float(value) for name, value in found.items()} if isinstance(found, dict) else None
    except (ValueError, TypeError):
        return None


def _words(text: str) -> list[str]:
    """What a shell makes of a text: it splits at spaces and operators, and takes quotes away."""
    reader = shlex.shlex(text, posix=True, punctuation_chars=";&|<>()")
    reader.whitespace_split, reader.commenters = True, ""
    try:
        return list(reader)
    except ValueError:  # a quote without its other end
        return text.split()


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _amount(value: Any) -> float | None:
    """`500m`, `24Gi`, `2`, as a number."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([A-Za-z]{0,2})", str(value))
    if match is None or match[2] not in _UNITS:
        return None
    return float(match[1]) * _UNITS[match[2]]
