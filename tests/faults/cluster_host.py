"""Holds a Ray cluster of several raylets on this machine; obeys lines of JSON on stdin, answers on stdout.

A process of its own, so that a test may kill any part of the cluster, and whatever Ray the test has stays apart.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from typing import Any

os.environ.update(
    RAY_USAGE_STATS_ENABLED="0",
    RAY_AUTH_MODE="disabled",
    RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER="0",  # 127.0.0.1 only
)

import ray
from ray.cluster_utils import Cluster

from procray.execution.cluster import few_daemons

ROOM = 80 * 2**20


def start(temporary: str) -> Cluster:
    return Cluster(
        initialize_head=True,
        head_node_args={
            "num_cpus": 0,
            "resources": {"train_driver": 16},
            "include_dashboard": False,
            "object_store_memory": ROOM,
            "temp_dir": temporary,
        },
    )


class Host:
    def __init__(self, cluster: Cluster):
        self.cluster = cluster
        self.gcs = ray._raylet.GcsClient(address=cluster.address)

    def add(self, cpus: float = 1, env: dict[str, str] | None = None, **resources: float) -> dict[str, Any]:
        node = self.cluster.add_node(num_cpus=cpus, resources=resources, object_store_memory=ROOM, env_vars=env)
        return {"id": node.node_id, "pid": node.all_processes["raylet"][0].process.pid}

    def head(self) -> dict[str, Any]:
        processes = self.cluster.head_node.all_processes
        return {
            "address": self.cluster.address,
            **{name: processes[name][0].process.pid for name in ("gcs_server", "raylet")},
        }

    def drain(self, node: str, seconds: float) -> dict[str, Any]:
        from ray.core.generated import autoscaler_pb2

        reason = autoscaler_pb2.DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")
        accepted, why = self.gcs.drain_node(node, reason, "a test", int((time.time() + seconds) * 1000))
        return {"accepted": accepted, "why": why}

    def remove(self, node: str) -> dict[str, Any]:
        """Kills a raylet and whatever else belongs to its node, at once."""
        (found,) = [one for one in self.cluster.worker_nodes if one.node_id == node]
        self.cluster.remove_node(found, allow_graceful=False)
        return {}

    def look(self) -> dict[str, Any]:
        """What is held at the moment."""
        if not ray.is_initialized():
            ray.init(address=self.cluster.address, log_to_driver=False, logging_level="ERROR")
        groups = ray.util.placement_group_table().values()
        return {
            "groups": [group["state"] for group in groups if group["state"] != "REMOVED"],
            "alive": [node["NodeID"] for node in ray.nodes() if node["Alive"]],
            "total": ray.cluster_resources(),
            "free": ray.available_resources(),
        }

    def put(self, key: str, value: str) -> dict[str, Any]:
        """Writes the configuration of an autoscaler, as `ray up` and KubeRay do."""
        from google.protobuf import json_format
        from ray.core.generated import autoscaler_pb2

        config = json_format.Parse(value, autoscaler_pb2.ClusterConfig())
        self.gcs.internal_kv_put(key.encode(), config.SerializeToString(), True, b"__autoscaler")
        return {}


if __name__ == "__main__":
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # Ray prints
    with (
        few_daemons(),
        tempfile.TemporaryDirectory(prefix="rc-", dir="/tmp", ignore_cleanup_errors=True) as folder,
    ):
        host = Host(start(folder))
        try:
            for line in sys.stdin:
                command = json.loads(line)
                try:
                    answer = getattr(host, command.pop("do"))(**command)
                except Exception as error:
                    answer = {"error": f"{type(error).__name__}: {error}"}
                print(json.dumps(answer), file=answers, flush=True)
        finally:
            ray.shutdown()
            host.cluster.shutdown()
