"""Watches for the notice that AWS takes a spot instance back, and tells Ray: `python -m procray.execution.spot`.

Run it on every node that may be a spot instance, beside its raylet. AWS gives two minutes, and nothing but this tells
Ray of it. What trains on the node then saves at once and goes on elsewhere (`procray.execution.leaving`).
"""

from __future__ import annotations

import argparse
import json
import logging
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import psutil

ENDPOINT = "http://169.254.169.254"  # of the instance metadata service, the same on every instance
NOTICE = "latest/meta-data/spot/instance-action"
REBALANCE = "latest/meta-data/events/recommendations/rebalance"

_TOKEN_SECONDS = 21600
_WITHIN = 2.0
_log = logging.getLogger("procray.spot")


@dataclass(frozen=True)
class Notice:
    """That the instance goes away: `terminate`, `stop`, `hibernate` or `rebalance`; `at` is a Unix time, 0 unknown."""

    action: str
    at: float


class Metadata:
    """The instance metadata service, version 2: every question carries a token, which is fetched anew when refused."""

    def __init__(self, endpoint: str = ENDPOINT):
        self._endpoint = endpoint.rstrip("/")
        self._open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open  # never through a proxy
        self._token = ""

    def get(self, path: str) -> str | None:
        """What stands at a path; None when nothing does.

        Raises:
            OSError: nobody answers, or refuses.
        """
        for last in (False, True):
            if not self._token:
                self._token = self._ask("latest/api/token", "PUT", "ttl-seconds", str(_TOKEN_SECONDS))
            try:
                return self._ask(path, "GET", "", self._token)
            except urllib.error.HTTPError as error:
                if error.code == 404:
                    return None
                if error.code != 401 or last:
                    raise
                self._token = ""
        raise AssertionError("the second try returns or raises")

    def _ask(self, path: str, method: str, header: str, value: str) -> str:
        name = "X-aws-ec2-metadata-token" + (f"-{header}" if header else "")
        request = urllib.request.Request(f"{self._endpoint}/{path}", method=method, headers={name: value})
        with self._open(request, timeout=_WITHIN) as answer:
            return str(answer.read(65536).decode())


def notice(metadata: Metadata, rebalance: bool = False) -> Notice | None:
    """What AWS has announced for this instance; None when nothing.

    Args:
        rebalance: count the earlier hint, too, that the instance is likely to be taken back.

    Raises:
        OSError: the service does not answer.
    """
    text = metadata.get(NOTICE)
    if text is not None:
        value = _object(text)
        return Notice(str(value.get("action", "terminate")), _seconds(value.get("time")))
    if rebalance and metadata.get(REBALANCE) is not None:
        return Notice("rebalance", 0.0)
    return None


def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _seconds(text: Any) -> float:
    """The Unix time of `2026-11-27T08:22:00Z`; 0 for anything else."""
    try:
        return datetime.strptime(str(text), "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp()
    except ValueError:
        return 0.0


def this_node() -> tuple[str, str] | None:
    """Ray's id of the node whose raylet runs on this machine, and the address of its head; None without one."""
    for process in psutil.process_iter(["name", "cmdline"]):
        words = process.info["cmdline"] or []
        if process.info["name"] != "raylet":
            continue
        found = {name: value for name, _, value in (word.partition("=") for word in words)}
        if "--node_id" in found and "--gcs-address" in found:
            return found["--node_id"], found["--gcs-address"]
    return None


def drain(node: str, head: str, found: Notice) -> None:
    """Tells Ray that a node goes away.

    Raises:
        RuntimeError: Ray refuses.
        Exception: its head does not answer.
    """
    from ray._raylet import GcsClient  # type: ignore[attr-defined]
    from ray.core.generated import autoscaler_pb2

    reason = autoscaler_pb2.DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")
    accepted, why = GcsClient(address=head).drain_node(node, reason, f"AWS: {found.action}", int(found.at * 1000))
    if not accepted:
        raise RuntimeError(f"Ray refuses to drain node {node}: {why}")


def watch(
    look: Callable[[], Notice | None],
    tell: Callable[[Notice], None],
    every: float,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Returns when a notice came and Ray was told of it. Whatever fails is logged and tried again."""
    quiet = False
    while True:
        try:
            found = look()
            quiet = False
        except OSError as error:
            found = None
            if not quiet:
                _log.warning("no answer from the metadata service (%s); trying on", error)
            quiet = True
        if found is not None:
            left = f" in {found.at - time.time():.0f} s" if found.at else ""
            _log.warning("AWS announces: %s%s", found.action, left)
            try:
                tell(found)
                _log.warning("Ray is told; running phases save now")
                return
            except Exception as error:
                _log.error("Ray could not be told, trying again: %s", error)
        sleep(every)


def main() -> None:
    parser = argparse.ArgumentParser(description="Drains this node when AWS takes its spot instance back.")
    parser.add_argument("--endpoint", default=ENDPOINT, help="of the instance metadata service")
    parser.add_argument("--every", type=float, default=2.0, help="seconds between two looks")
    parser.add_argument("--rebalance", action="store_true", help="leave on the earlier rebalance recommendation, too")
    parser.add_argument("--node", help="Ray's id of the node, where several run on one machine; needs --head")
    parser.add_argument("--head", help="address of Ray's head")
    chosen = parser.parse_args()
    if bool(chosen.node) != bool(chosen.head):
        parser.error("--node and --head go together")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")
    metadata = Metadata(chosen.endpoint)

    def tell(found: Notice) -> None:
        node = (chosen.node, chosen.head) if chosen.node else this_node()
        if node is None:
            raise RuntimeError("no raylet runs on this machine")
        name, head = node
        drain(name, head, found)

    _log.info("watching %s every %g s", chosen.endpoint, chosen.every)
    watch(lambda: notice(metadata, chosen.rebalance), tell, chosen.every)


if __name__ == "__main__":
    main()
