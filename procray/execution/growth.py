"""Which nodes the autoscaler of a cluster may add.

Ray has a place where an autoscaler could say so, and neither that of `ray up` nor KubeRay's fills it in (2.60). So what
they read is read here too: the file that the head was started with, or the RayCluster.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Types = list[
    tuple[dict[str, float], int]
]  # what a node of the type has, and how many there may be; negative: any number

_LOOK_EVERY = 30.0  # seconds; `ray up` on a running cluster and `kubectl apply` may change them
_KUBERNETES = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_known: dict[str, tuple[float, Types]] = {}


def node_types() -> Types:
    """The types of the cluster that Ray is connected to; empty where it does not grow, or does not say so.

    The file of `ray up` is on the head, and KubeRay tells the head's service account: elsewhere nothing is known.
    """
    import ray
    from ray._private.state import state

    config = state.get_cluster_config()
    if config is not None and config.node_group_configs:
        return [(dict(group.resources), group.max_count) for group in config.node_group_configs]
    own = ray._private.worker._global_node
    if own is not None and "gcs_server" in own.all_processes:
        return []  # a Ray that this process has started, perhaps within a pod of a cluster
    address = str(ray.get_runtime_context().gcs_address)
    looked, types = _known.get(address, (-_LOOK_EVERY, []))
    if time.monotonic() - looked >= _LOOK_EVERY:
        types = types_of(launched(address) or kuberay() or {})
        _known[address] = time.monotonic(), types
    return types


def types_of(config: dict[str, Any]) -> Types:
    """The worker types of a configuration of Ray's autoscaler."""
    head, all_of_them = config.get("head_node_type"), config.get("max_workers", 0)
    return [
        (dict(kind.get("resources") or {}), int(kind.get("max_workers", all_of_them)))
        for name, kind in (config.get("available_node_types") or {}).items()
        if name != head
    ]


def launched(address: str) -> dict[str, Any] | None:
    """What the autoscaler that `ray start --head --autoscaling-config` has started on this machine reads.

    Args:
        address: of the head, as that process was told it.
    """
    import yaml

    for words in _commands():
        told = dict(word[2:].partition("=")[::2] for word in words if word.startswith("--"))
        if told.get("gcs-address") == address and told.get("autoscaling-config"):
            with contextlib.suppress(OSError, yaml.YAMLError):
                found = yaml.safe_load(Path(told["autoscaling-config"]).expanduser().read_text(encoding="utf-8"))
                return found if isinstance(found, dict) else None
    return None


def kuberay() -> dict[str, Any] | None:
    """The same of the RayCluster of this pod, from Kubernetes; None outside of it or without an autoscaler."""
    name = os.environ.get("RAY_CLUSTER_NAME")
    if not name or not (_KUBERNETES / "token").exists():
        return None
    from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr
    from ray.autoscaler._private.kuberay.node_provider import KubernetesHttpApiClient

    try:
        client = KubernetesHttpApiClient(namespace=(_KUBERNETES / "namespace").read_text().strip())
        found = client.get(f"rayclusters/{name}")
        if not found["spec"].get("enableInTreeAutoscaling"):
            return None
        return dict(_derive_autoscaling_config_from_ray_cr(found))
    except Exception as error:  # a pod that may not ask, or Kubernetes is away: the nodes that are there still count
        logging.getLogger("ray").warning("cannot ask Kubernetes which pods may come: %s", error)
        return None


def _commands() -> Iterator[list[str]]:
    import psutil

    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            words = process.cmdline()
            if any(word.startswith("--autoscaling-config=") for word in words):
                yield words
