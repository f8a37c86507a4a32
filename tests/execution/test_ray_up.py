"""`ray up cluster/aws.yaml` from beginning to end: AWS is moto, and what would go through SSH is recorded.

Ray's own launcher and node provider run here. What a real AWS adds (permissions, quotas, spot capacity, time) does not.
"""

from __future__ import annotations

import copy
import json
import os
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

pytest.importorskip("moto")
ROOT = Path(__file__).parents[2]
FILE = ROOT / "cluster" / "aws.yaml"
REGION = "us-west-2"


class Recorder:
    """In place of `subprocess`: notes what would be run, and answers as a fresh machine with Docker."""

    DEVNULL, PIPE, STDOUT = subprocess.DEVNULL, subprocess.PIPE, subprocess.STDOUT
    CalledProcessError = subprocess.CalledProcessError

    def __init__(self, config: dict[str, Any], image: str):
        self.commands: list[str] = []
        self._image = image
        self._mounts = config["file_mounts"]

    def _note(self, command: Any) -> str:
        self.commands.append(" ".join(command) if isinstance(command, list) else command)
        return self.commands[-1]

    def check_call(self, command: Any, *args: Any, **options: Any) -> int:
        self._note(command)
        return 0

    call = check_call

    def check_output(self, command: Any, *args: Any, **options: Any) -> bytes:
        text = self._note(command)
        if ".State.Running" in text:
            return b"true" if any("docker run" in line for line in self.commands) else b"false"
        if ".Config.Image" in text:
            return self._image.encode()
        if ".Config.Env" in text:
            return b'["PATH=/usr/bin"]'
        if "command -v docker" in text:
            return b"docker"
        if "json .Mounts" in text:
            return json.dumps([{"Destination": name, "Source": name} for name in self._mounts]).encode()
        if "meminfo" in text:
            return b"MemTotal: 16000000 kB\nMemAvailable: 15000000 kB"
        return b"/home/ray"


def filled_in(file: Path, values: dict[str, str]) -> dict[str, Any]:
    text = file.read_text()
    for example, real in values.items():
        assert example in text
        text = text.replace(example, real)
    return yaml.safe_load(text)


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """The cluster after `ray up`, with one spot and one on-demand worker that the autoscaler then asks for."""
    home = tmp_path_factory.mktemp("home")
    (home / ".ssh").mkdir()
    (home / ".ssh" / "procray.pem").write_text("a key")
    (home / ".ray").mkdir()
    (home / ".ray" / "auth_token").write_text("a token")
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        variables = {
            "HOME": str(home),
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
            "RAY_USAGE_STATS_ENABLED": "0",
        }
        for name, value in variables.items():
            patch.setenv(name, value)
        patch.chdir(ROOT)
        from moto import mock_aws

        with mock_aws():
            yield bring_up(patch)


def bring_up(patch: pytest.MonkeyPatch) -> SimpleNamespace:
    import boto3
    from ray.autoscaler._private import commands
    from ray.autoscaler._private.providers import _get_node_provider
    from ray.autoscaler.tags import (
        NODE_KIND_WORKER,
        TAG_RAY_NODE_KIND,
        TAG_RAY_NODE_NAME,
        TAG_RAY_USER_NODE_TYPE,
    )
    from ray.autoscaler.v2.instance_manager.config import AutoscalingConfig
    from ray.autoscaler.v2.instance_manager.ray_installer import RayInstaller
    from ray.core.generated.instance_manager_pb2 import Instance

    ec2, iam = boto3.client("ec2"), boto3.client("iam")
    group = ec2.create_security_group(GroupName="procray", Description="procray")["GroupId"]
    rule = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "203.0.113.7/32"}]}
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[rule])
    ec2.create_key_pair(KeyName="procray")
    trust = (FILE.parent / "aws" / "trust-policy.json").read_text()
    for node in ("head", "worker"):
        iam.create_role(RoleName=f"procray-{node}", AssumeRolePolicyDocument=trust)
        document = (FILE.parent / "aws" / "worker-policy.json").read_text()
        iam.put_role_policy(RoleName=f"procray-{node}", PolicyName="store", PolicyDocument=document)
        iam.create_instance_profile(InstanceProfileName=f"procray-{node}")
        iam.add_role_to_instance_profile(InstanceProfileName=f"procray-{node}", RoleName=f"procray-{node}")
    account = boto3.client("sts").get_caller_identity()["Account"]
    document = (FILE.parent / "aws" / "head-policy.json").read_text()
    iam.put_role_policy(RoleName="procray-head", PolicyName="workers", PolicyDocument=document)
    image = ec2.describe_images()["Images"][0]["ImageId"]
    config = filled_in(
        FILE,
        {
            "ami-00000000000000000": image,
            "ami-00000000000000001": image,
            "sg-00000000000000000": group,
            "arn:aws:iam::000000000000": f"arn:aws:iam::{account}",
        },
    )
    before = {
        "groups": ec2.describe_security_groups()["SecurityGroups"],
        "keys": ec2.describe_key_pairs()["KeyPairs"],
        "roles": iam.list_roles()["Roles"],
    }
    recorder = Recorder(config, config["docker"]["head_image"])
    patch.setattr(commands, "POLL_INTERVAL", 0.05)
    booted = commands._bootstrap_config(config, no_config_cache=True)
    provider = _get_node_provider(booted["provider"], booted["cluster_name"], use_cache=False)
    asked: list[str] = []
    for client in (provider.ec2.meta.client, provider.ec2_fail_fast.meta.client):
        client.meta.events.register("before-call.ec2.*", lambda model, **rest: asked.append(model.name))
    commands.get_or_create_head_node(booted, str(FILE), False, False, True, None, _provider=provider, _runner=recorder)
    head = provider.non_terminated_nodes({TAG_RAY_NODE_KIND: "head"})
    assert len(head) == 1
    workers = {}
    for kind in ("gpu_spot", "gpu_on_demand", "cpu"):
        tags = {TAG_RAY_NODE_KIND: NODE_KIND_WORKER, TAG_RAY_USER_NODE_TYPE: kind, TAG_RAY_NODE_NAME: "worker"}
        node_config = dict(booted["available_node_types"][kind]["node_config"])
        workers[kind] = next(iter(provider.create_node(node_config, tags, 1)))
    deadline = time.monotonic() + 600
    while len(provider.non_terminated_nodes({})) < 4 and time.monotonic() < deadline:
        time.sleep(0.1)
    provider.set_node_tags(workers["cpu"], {"ray-node-status": "up-to-date"})
    while "CreateTags" not in asked and time.monotonic() < deadline:  # written in batches, by a thread
        time.sleep(0.1)
    instances = {
        one["InstanceId"]: one for many in ec2.describe_instances()["Reservations"] for one in many["Instances"]
    }
    on_worker = Recorder(config, config["docker"]["image"])
    patch.setattr("time.sleep", lambda seconds, sleep=time.sleep: sleep(min(seconds, 0.1)))
    RayInstaller(provider, AutoscalingConfig(copy.deepcopy(booted)), process_runner=on_worker).install_ray(
        Instance(cloud_instance_id=workers["gpu_spot"], instance_type="gpu_spot"), "172.31.0.4"
    )
    volumes = {one["VolumeId"]: one for one in ec2.describe_volumes()["Volumes"]}
    provider.terminate_nodes([workers["cpu"]])
    return SimpleNamespace(
        asked=asked, before=before, booted=booted, commands=recorder.commands, on_worker=on_worker.commands, ec2=ec2,
        head=instances[head[0]],
        iam=iam, image=image, volumes=volumes, group=group, account=account,
        workers={kind: instances[node] for kind, node in workers.items()},
    )  # fmt: skip


def in_container(up: SimpleNamespace, word: str) -> list[str]:
    """Commands of the head's container."""
    return [line for line in up.commands if word in line and "docker exec" in line]


@pytest.mark.slow
def test_nothing_is_made_but_machines(up):
    """No key pair, no role, no security group of Ray's own, and no rule added to ours."""
    assert up.ec2.describe_security_groups()["SecurityGroups"] == up.before["groups"]
    assert up.ec2.describe_key_pairs()["KeyPairs"] == up.before["keys"]
    assert up.iam.list_roles()["Roles"] == up.before["roles"]


@pytest.mark.slow
def test_every_machine_has_its_role_group_and_sessions(up):
    for name, machine in {"head": up.head, **up.workers}.items():
        profile = "procray-head" if name == "head" else "procray-worker"
        assert machine["IamInstanceProfile"]["Arn"].endswith(f"instance-profile/{profile}")
        assert [group["GroupId"] for group in machine["SecurityGroups"]] == [up.group]
        assert machine["ImageId"] == up.image
        options = machine["MetadataOptions"]
        assert (options["HttpTokens"], options["HttpPutResponseHopLimit"]) == ("required", 1)
        assert {"Key": "ray-cluster-name", "Value": "procray"} in machine["Tags"]
        disks = [mapping["Ebs"]["VolumeId"] for mapping in machine["BlockDeviceMappings"]]
        assert disks
        assert all(up.volumes[disk]["Encrypted"] for disk in disks)


@pytest.mark.slow
def test_spot_where_it_is_asked_for(up):
    assert up.workers["gpu_spot"]["InstanceLifecycle"] == "spot"
    assert up.workers["cpu"]["InstanceLifecycle"] == "spot"
    assert "InstanceLifecycle" not in up.workers["gpu_on_demand"]
    assert "InstanceLifecycle" not in up.head


@pytest.mark.slow
def test_the_container_is_the_pinned_one(up):
    (run,) = [line for line in up.commands if "docker run" in line]
    assert "rayproject/ray:2.60.0-py311 " in run
    assert "--net=host" in run  # why one hop to the metadata service is enough
    assert "--env RAY_AUTH_MODE=token" in run
    assert "--env PROCRAY_STORE=s3://" in run
    assert "--env MLFLOW_TRACKING_URI=" in run
    assert any("docker pull rayproject/ray:2.60.0-py311" in line for line in up.commands)


@pytest.mark.slow
def test_ray_starts_with_a_token_and_for_this_machine_only(up):
    (start,) = in_container(up, "ray start")
    assert "RAY_AUTH_MODE=token" in start
    assert "--dashboard-host=127.0.0.1" in start
    assert "--autoscaling-config=" in start
    assert "RAY_OVERRIDE_RESOURCES=" in start
    assert '{"CPU":0,"train_driver":16}' in start
    assert "RAY_enable_autoscaler_v2=1" in start
    assert not any("0.0.0.0" in line for line in up.commands)


@pytest.mark.slow
def test_procray_is_installed_under_the_lock_file_and_no_nightly(up):
    installs = in_container(up, "pip install")
    assert len(installs) == 1
    assert installs[0].count("--constraint constraints.txt") == 2
    assert not any("nightly" in line or "ray-wheels" in line for line in up.commands)


@pytest.mark.slow
def test_token_and_checkout_are_copied(up):
    copies = [line for line in up.commands if line.startswith("rsync") or "docker cp" in line or " cp " in line]
    assert any("/.ray/auth_token" in line for line in copies)
    assert any("/home/ray/procray" in line for line in copies)
    assert not any("a token" in line for line in up.commands)  # a file, never a word of a command


@pytest.mark.slow
def test_workers_get_the_same_and_the_watcher(up):
    """What the autoscaler on the head runs for each machine that it has started."""
    (run,) = [line for line in up.on_worker if "docker run" in line]
    assert "rayproject/ray:2.60.0-py311-gpu " in run
    assert "--shm-size=8g" in run
    assert "--env PROCRAY_STORE=s3://" in run
    assert "MLFLOW_TRACKING_URI" not in run
    start = next(line for line in up.on_worker if "ray start" in line)
    assert "RAY_AUTH_MODE=token" in start
    assert "RAY_HEAD_IP=172.31.0.4" in start
    assert '"CPU":4' in start
    assert '"GPU":1' in start
    watcher = next(line for line in up.on_worker if "procray.execution.spot" in line)
    assert up.on_worker.index(start) < up.on_worker.index(watcher)
    assert "RAY_AUTH_MODE=token" in watcher
    assert any("--constraint constraints.txt" in line and "pip install" in line for line in up.on_worker)
    assert any("/.ray/auth_token" in line for line in up.on_worker)
    assert not any("0.0.0.0" in line or "nightly" in line for line in up.on_worker)


@pytest.mark.slow
def test_the_head_needs_no_more_than_its_policy(up):
    """Every request that Ray's node provider made is allowed, and the policy allows no other on EC2."""
    policy = json.loads((FILE.parent / "aws" / "head-policy.json").read_text())
    allowed = set()
    for statement in policy["Statement"]:
        actions = statement["Action"]
        allowed |= {actions} if isinstance(actions, str) else set(actions)
    assert {f"ec2:{name}" for name in up.asked} == {action for action in allowed if action.startswith("ec2:")}
    assert {action for action in allowed if not action.startswith("ec2:")} == {"iam:PassRole"}
    assert not any("*" in action for action in allowed)


@pytest.mark.slow
def test_policies_name_what_the_file_names(up):
    """Whoever changes a machine, an image or the bucket in one place is told of the other."""
    config = yaml.safe_load(FILE.read_text())
    head = (FILE.parent / "aws" / "head-policy.json").read_text()
    workers = [kind for name, kind in config["available_node_types"].items() if name != config["head_node_type"]]
    statement = next(s for s in json.loads(head)["Statement"] if s["Sid"] == "StartWorkersOfThisCluster")
    types = sorted({kind["node_config"]["InstanceType"] for kind in workers})
    assert sorted(statement["Condition"]["StringEquals"]["ec2:InstanceType"]) == types
    (disks,) = (s["Condition"] for s in json.loads(head)["Statement"] if "volume/*" in s["Resource"])
    wanted = [volume["Ebs"] for kind in workers for volume in kind["node_config"]["BlockDeviceMappings"]]
    assert int(disks["NumericLessThanEquals"]["ec2:VolumeSize"]) == max(volume["VolumeSize"] for volume in wanted)
    assert {volume["VolumeType"] for volume in wanted} == {disks["StringEquals"]["ec2:VolumeType"]}
    assert all(volume["Encrypted"] for volume in wanted)
    assert disks["Bool"] == {"ec2:Encrypted": "true"}
    assert all(kind["node_config"]["ImageId"] in head for kind in workers)
    assert all(group in head for kind in workers for group in kind["node_config"]["SecurityGroupIds"])
    assert f'"{config["cluster_name"]}"' in head
    bucket, prefix = re.search(r"s3://([^/]+)/(\S+)", config["metadata"]["store"]).groups()
    assert f"arn:aws:s3:::{bucket}/{prefix}/*" in (FILE.parent / "aws" / "worker-policy.json").read_text()


@pytest.fixture(scope="module")
def asks() -> Any:
    """What the autoscaler of this Ray starts for demands, by node type."""
    from ray.autoscaler.v2.instance_manager.config import AutoscalingConfig
    from ray.autoscaler.v2.scheduler import ResourceDemandScheduler, SchedulingRequest
    from ray.autoscaler.v2.utils import ResourceRequestUtil

    config = yaml.safe_load(FILE.read_text())
    del config["auth"]["ssh_private_key"]  # it would read the key, for a digest
    known = AutoscalingConfig(config, skip_content_hash=True)

    def ask(demands: list[dict[str, float]], **facts: Any) -> dict[str, int]:
        request = SchedulingRequest(
            disable_launch_config_check=True,
            node_type_configs=known.get_node_type_configs(),
            max_num_nodes=known.get_max_num_nodes(),
            resource_requests=ResourceRequestUtil.group_by_count([ResourceRequestUtil.make(one) for one in demands]),
            **facts,
        )
        reply = ResourceDemandScheduler(event_logger=None).schedule(request)
        return {launch.instance_type: launch.count for launch in reply.to_launch}

    return ask


def test_what_the_autoscaler_starts(asks):
    """The comments of the file on priorities are true of this Ray."""
    gpu = {"CPU": 1, "GPU": 1}
    assert asks([gpu]) == {"gpu_spot": 1}
    assert asks([gpu] * 10) == {"gpu_spot": 8, "gpu_on_demand": 2}
    assert asks([gpu] * 50) == {"gpu_spot": 8, "gpu_on_demand": 2}
    assert asks([{"CPU": 1}] * 8) == {"cpu": 1}
    assert asks([{"CPU": 8}] * 9) == {"cpu": 4}


def test_a_refused_spot_machine_is_asked_for_again(asks):
    """Ray 2.60 remembers machines that did not come up, not those that the cloud refused."""
    from ray.autoscaler.v2.instance_manager.subscribers.cloud_resource_monitor import CloudResourceMonitor
    from ray.core.generated.instance_manager_pb2 import Instance, InstanceUpdateEvent

    found = {}
    for status in (Instance.ALLOCATION_FAILED, Instance.ALLOCATION_TIMEOUT):
        monitor = CloudResourceMonitor()
        event = InstanceUpdateEvent(instance_id="a", instance_type="gpu_spot", new_instance_status=status)
        monitor.notify([event])
        recoverable = monitor.get_recoverable_resource_availabilities()
        found[status] = asks([{"CPU": 1, "GPU": 1}], recoverable_resource_availabilities=recoverable)
    assert found == {Instance.ALLOCATION_FAILED: {"gpu_spot": 1}, Instance.ALLOCATION_TIMEOUT: {"gpu_on_demand": 1}}


@pytest.mark.parametrize("name", ["aws.yaml", "gcp.yaml"])
def test_machines_that_are_wanted_are_asked_for_at_once(name):
    """While none of a type trains, however many boot: Ray's own rule, with the file's `upscaling_speed`."""
    from ray.autoscaler.v2.instance_manager.reconciler import Reconciler
    from ray.core.generated.instance_manager_pb2 import Instance

    config = yaml.safe_load((FILE.parent / name).read_text())
    most = max(kind["max_workers"] for kind in config["available_node_types"].values() if kind["resources"].get("GPU"))

    def asked(speed: float, booting: int) -> int:
        wanted = [Instance(instance_id=f"q{n}", instance_type="gpu") for n in range(most - booting)]
        under_way = [Instance(instance_id=f"b{n}", instance_type="gpu") for n in range(booting)]
        found = Reconciler._compute_to_launch(wanted, under_way, [], speed, max_concurrent_launches=10)
        return len(found["gpu"])

    assert asked(config["upscaling_speed"], 0) == most
    assert asked(config["upscaling_speed"], 3) == most - 3
    assert asked(1.0, 3) == 1, "what the comment says of 1.0"
