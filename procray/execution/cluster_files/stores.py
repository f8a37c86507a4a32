"""Whether all nodes reach the store that a cluster file names."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from procray.execution.cluster_files.findings import Findings
from procray.spec.tree import Place

EXAMPLE = "FILL-IN"  # in the shipped files; no bucket can have the name
_BUCKET = re.compile(r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")


def check_store(store: str | None, mounted: list[str], place: Place | None, findings: Findings) -> None:
    """The store is a bucket, or a folder below one of `mounted`, which all nodes share.

    Args:
        store: the value of PROCRAY_STORE or --store; None where there is none.
        mounted: folders that every node mounts, as processes there see them.
    """
    if not store:
        text = "no node knows the store: set PROCRAY_STORE=s3://BUCKET/PREFIX or a folder that all nodes mount"
        findings.add(place, f"{text} (or pass --store)")
        return
    scheme, colon, rest = store.partition("://")
    if not colon:
        path = PurePosixPath(store)
        if not path.is_absolute():
            findings.add(place, f"the store '{store}' is a relative path, which is another folder on every node")
        elif not any(path == PurePosixPath(one) or PurePosixPath(one) in path.parents for one in mounted):
            shown = ", ".join(mounted) or "nothing"
            text = f"the store '{store}' is a folder of each node's own: all nodes must mount it (they mount {shown})"
            findings.add(place, f"{text}, or be s3://")
    elif scheme == "s3":
        bucket = rest.partition("/")[0]
        if bucket != EXAMPLE and not _BUCKET.match(bucket):
            findings.add(place, f"'{bucket}' is no name that S3 gives a bucket (3 to 63 of a-z, 0-9, '.' and '-')")
        elif bucket != EXAMPLE:
            findings.bucket = bucket
    elif scheme == "file":
        findings.add(place, f"write the folder as a path: {'/' + rest.lstrip('/')}")
    else:
        why = "it cannot say 'write only if nobody has' through one client, so two sweeps could spoil each other's work"
        findings.add(place, f"a store on {scheme}:// is refused: {why}; use s3:// or a folder that all nodes mount")


def ask_bucket(findings: Findings) -> None:
    """Asks S3 whether the store's bucket keeps versions: whoever may write to a store may delete all of it.

    The only question here that is put to somebody. Where there is no answer it is listed as not checked.
    """
    if not findings.bucket:
        return
    what = f"whether the bucket {findings.bucket} keeps versions"
    try:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError, ClientError
    except ImportError:
        findings.skip(f"{what} (it needs boto3: pip install 'procray[cluster]')")
        return
    config = Config(connect_timeout=5, read_timeout=5, retries={"total_max_attempts": 2})
    try:
        state = boto3.client("s3", config=config).get_bucket_versioning(Bucket=findings.bucket).get("Status")
    except (BotoCoreError, ClientError, ValueError) as error:
        findings.skip(f"{what}: {error}")
        return
    if state != "Enabled":
        text = "what is deleted or overwritten there is gone; aws s3api put-bucket-versioning"
        findings.advice.append(f"let the bucket {findings.bucket} keep versions: {text} (cluster/aws/README.md)")
