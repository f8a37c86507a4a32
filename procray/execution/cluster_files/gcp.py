"""What a file for Google Cloud must say itself."""

from __future__ import annotations

from procray.execution.cluster_files.findings import Findings, Tree

_WIDE = ("https://www.googleapis.com/auth/cloud-platform",)


def check(tree: Tree, findings: Findings) -> None:
    """Project, service accounts, images and network of every node type."""
    if not tree.get("provider", "project_id"):
        findings.add(
            tree.place("provider", "project_id"), "provider.project_id is missing; Ray would make a new project"
        )
    for name, kind in tree.mapping("available_node_types").items():
        if isinstance(kind, dict) and isinstance(kind.get("node_config"), dict):
            _check_node(name, tree, findings)
    findings.skip("the keys of node_config (Google's client has no description of them offline)")


def _check_node(name: str, tree: Tree, findings: Findings) -> None:
    here = ("available_node_types", name, "node_config")
    is_head = name == tree.get("head_node_type")
    if not tree.get(*here, "serviceAccounts"):
        default = (
            "Ray then makes one that may change the whole project's machines and storage"
            if is_head
            else "a worker then gets Google's default one, which is an editor of the project"
        )
        findings.add(tree.key(*here), f"{name}: serviceAccounts is missing; {default}")
    if not tree.get(*here, "networkInterfaces"):
        text = f"{name}: networkInterfaces is missing; the default network lets the whole internet try SSH"
        findings.add(tree.key(*here), f"{text}, so name your subnetwork")
    disks = tree.get(*here, "disks")
    for number in range(len(disks) if isinstance(disks, list) else 0):
        image = tree.get(*here, "disks", number, "initializeParams", "sourceImage")
        if isinstance(image, str) and "/family/" in image:
            place = tree.place(*here, "disks", number, "initializeParams", "sourceImage")
            findings.add(place, f"{name}: an image family changes its image; name one image of it")
    if not disks:
        findings.add(tree.key(*here), f"{name}: disks is missing")
    if is_head and (tree.get(*here, "scheduling", 0, "preemptible") or tree.get(*here, "scheduling", "preemptible")):
        findings.add(tree.place(*here, "scheduling"), f"{name}: a head that Google may take ends the whole cluster")
