"""What a file for AWS must say itself, because Ray's answers to what is left out are unsafe."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from typing import Any

from procray.errors import did_you_mean
from procray.execution.cluster_files.findings import Findings, Tree

_IMAGE = re.compile(r"ami-(?:[0-9a-f]{8}|[0-9a-f]{17})")
_GROUP = re.compile(r"sg-(?:[0-9a-f]{8}|[0-9a-f]{17})")
_PROFILE = re.compile(r"arn:aws[\w-]*:iam::\d{12}:instance-profile/[\w+=,.@/-]+")
_RAYS_OWN = {"SubnetIds"}  # keys of node_config that are Ray's and not EC2's


def check(tree: Tree, findings: Findings) -> None:
    """Images, security groups, instance profiles, metadata, volumes and spot, of every node type."""
    if tree.find(("provider", "security_group")) is not None:
        text = "Ray adds these rules to a group that it opens to 0.0.0.0/0 at port 22; name SecurityGroupIds of yours"
        findings.add(tree.key("provider", "security_group"), text)
    if tree.find(("provider", "aws_credentials")) is not None:
        text = "provider.aws_credentials: the head keeps a copy of them; it has its instance profile"
        findings.add(tree.key("provider", "aws_credentials"), text)
    types = [name for name, node in tree.mapping("available_node_types").items() if isinstance(node, dict)]
    spot = [name for name in types if _is_spot(tree, name)]
    if spot and tree.get("provider", "cache_stopped_nodes") is not False:
        text = (
            "cache_stopped_nodes must be false: Ray's default stops idle machines, and keeps the disks of all of them"
        )
        findings.add(tree.place("provider", "cache_stopped_nodes"), text)
    head = tree.get("head_node_type")
    if head in spot:
        place = tree.place("available_node_types", head, "node_config", "InstanceMarketOptions")
        findings.add(place, f"{head}: a spot head takes the whole cluster with it; take InstanceMarketOptions out")
    for name in types:
        _check_node(name, tree, findings)
    _check_names(types, tree, findings)


def _is_spot(tree: Tree, name: str) -> bool:
    return tree.get("available_node_types", name, "node_config", "InstanceMarketOptions", "MarketType") == "spot"


def _check_node(name: str, tree: Tree, findings: Findings) -> None:
    here = ("available_node_types", name, "node_config")
    place = tree.key(*here)
    template = tree.find((*here, "LaunchTemplate")) is not None
    if template:
        findings.skip(f"{name}: what its LaunchTemplate says")
        return
    image = tree.get(*here, "ImageId")
    if image is None:
        findings.add(place, f"{name}: ImageId is missing, and Ray's default is an Ubuntu 18.04 with CUDA 11.2")
    elif not _IMAGE.fullmatch(str(image)):
        findings.add(tree.place(*here, "ImageId"), f"{name}: '{image}' is no AMI id (ami- and 17 of 0-9a-f)")
    groups = tree.get(*here, "SecurityGroupIds")
    if groups is None and tree.find((*here, "NetworkInterfaces")) is None:
        text = f"{name}: SecurityGroupIds is missing, and Ray's own group lets the whole internet try SSH"
        findings.add(place, text)
    for number, group in enumerate(groups if isinstance(groups, list) else []):
        if not _GROUP.fullmatch(str(group)):
            where = tree.place(*here, "SecurityGroupIds", number)
            findings.add(where, f"{name}: '{group}' is no security group id (sg- and 17 of 0-9a-f)")
    _check_profile(name, tree, findings)
    if tree.get("auth", "ssh_private_key") and tree.find((*here, "KeyName")) is None:
        findings.add(place, f"{name}: KeyName is missing; with auth.ssh_private_key every node type needs it")
    if tree.get(*here, "MetadataOptions", "HttpTokens") != "required":
        text = f"{name}: MetadataOptions needs HttpTokens: required (IMDSv2), or a forged request reads the role's keys"
        findings.add(tree.place(*here, "MetadataOptions"), text)
    volumes = tree.get(*here, "BlockDeviceMappings")
    if not isinstance(volumes, list) or not volumes:
        findings.add(
            place,
            f"{name}: BlockDeviceMappings is missing: the image's own disk is too small for a container with CUDA",
        )
    for number, volume in enumerate(volumes if isinstance(volumes, list) else []):
        disk = volume.get("Ebs") if isinstance(volume, dict) else None
        if isinstance(disk, dict) and disk.get("Encrypted") is not True:
            where = tree.place(*here, "BlockDeviceMappings", number)
            findings.add(where, f"{name}: the disk is not encrypted; write Encrypted: true")


def _check_profile(name: str, tree: Tree, findings: Findings) -> None:
    here = ("available_node_types", name, "node_config", "IamInstanceProfile")
    profile = tree.get(*here)
    if not isinstance(profile, dict) or not (profile.get("Arn") or profile.get("Name")):
        default = (
            "Ray then makes a role with AmazonEC2FullAccess and AmazonS3FullAccess"
            if name == tree.get("head_node_type")
            else "a worker without it cannot reach the store on S3"
        )
        findings.add(tree.place(*here), f"{name}: IamInstanceProfile is missing; {default}")
    elif profile.get("Arn") and not _PROFILE.fullmatch(str(profile["Arn"])):
        text = f"{name}: '{profile['Arn']}' is no instance profile's ARN (a role's ARN does not do)"
        findings.add(tree.place(*here, "Arn"), text)


def _check_names(types: list[str], tree: Tree, findings: Findings) -> None:
    """Keys and values of node_config against EC2's own description of RunInstances, which boto3 brings along."""
    shape = _request()
    if shape is None:
        findings.skip("the keys of node_config (they need boto3: pip install 'procray[cluster]')")
        return
    for name in types:
        here = ("available_node_types", name, "node_config")
        value = {key: child for key, child in tree.mapping(*here).items() if key not in _RAYS_OWN}
        for path, message in _violations(value, shape, ()):
            findings.add(tree.key(*here, *path), f"{name}: {'.'.join(map(str, path))}: {message}")


@functools.cache
def _request() -> Any:
    """botocore's description of what RunInstances takes, or None where botocore is not installed."""
    try:
        import botocore.session
    except ImportError:
        return None
    return botocore.session.get_session().get_service_model("ec2").operation_model("RunInstances").input_shape


def _violations(value: Any, shape: Any, path: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    kind = shape.type_name
    if kind == "structure":
        if not isinstance(value, dict):
            yield path, "must be a mapping"
            return
        for key, child in value.items():
            if key in shape.members:
                yield from _violations(child, shape.members[key], (*path, key))
            else:
                yield (*path, key), f"EC2 knows no key '{key}'{did_you_mean(key, shape.members)}"
    elif kind == "list":
        if not isinstance(value, list):
            yield path, "must be a list"
            return
        for number, child in enumerate(value):
            yield from _violations(child, shape.member, (*path, number))
    elif kind == "string":
        if not isinstance(value, str):
            yield path, "must be a text"
        elif shape.enum and value not in shape.enum and len(shape.enum) < 50:
            yield path, f"'{value}' is none of {', '.join(shape.enum)}{did_you_mean(value, shape.enum)}"
        elif shape.enum and value not in shape.enum:
            yield path, f"EC2 knew no '{value}' when this boto3 was made{did_you_mean(value, shape.enum)}"
    elif kind in ("integer", "long") and (not isinstance(value, int) or isinstance(value, bool)):
        yield path, "must be a whole number"
    elif kind == "boolean" and not isinstance(value, bool):
        yield path, "must be true or false"
