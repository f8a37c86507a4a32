"""Objects below one prefix of an S3 bucket: conditional writes, patience, and errors that say what to mend.

Names are relative to the prefix. Requests that fail for what may pass (no connection, 5xx, SlowDown) are repeated
until `patience` runs out. Keys, region and another endpoint come from where every AWS program takes them:
environment, profile, instance role, `AWS_ENDPOINT_URL`.
"""

from __future__ import annotations

import hashlib
import json
import logging
import random
import re
import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from procray import links
from procray.errors import EnvironmentProblem, StoreError

PATIENCE = 60.0  # seconds, for a command that somebody waits for
PATIENCE_OF_RUNNERS = 600.0  # and for a training that would lose its work
_URL = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])((?:/[A-Za-z0-9!_.*'()=@+-]+)*)/?")
_SMALL = 1 << 16  # bytes
_PART = 64 * 2**20  # bytes of a part of a large upload
_SAY_AFTER = 5.0  # seconds without an answer
_SAY_EVERY = 60.0
_AT_ONCE = 1000  # keys that one request deletes
_TRANSIENT = {
    "ConditionalRequestConflict",  # two conditional writes at the same moment
    "InternalError",
    "OperationAborted",
    "RequestTimeTooSkewed",  # of a clock that is being set; botocore corrects for it on the next try
    "RequestTimeout",
    "ServiceUnavailable",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
}
_log = logging.getLogger("procray.store")


class StoreUnreachable(EnvironmentProblem):
    """The bucket did not answer for as long as one was willing to wait. Trying again later may cure it."""


@dataclass(frozen=True)
class Entry:
    """An object as a listing tells of it; `modified` in seconds since 1970 by the clock of the bucket."""

    bytes: int
    etag: str
    modified: float


@dataclass(frozen=True)
class Listing:
    """Objects by name, and the time of the bucket's clock when it answered."""

    entries: dict[str, Entry]
    now: float


class Objects:
    """What stands below `s3://bucket/prefix`. Making one connects to nothing; threads may share it."""

    def __init__(self, url: str, patience: float = PATIENCE):
        """Raises StoreError for anything but the address of a bucket that can be a store."""
        self.bucket, self._prefix = _parts(url)
        self.url = f"s3://{self.bucket}/{self._prefix}".rstrip("/")
        self.patience = patience
        self._checked = False
        self._said = -_SAY_EVERY

    @cached_property
    def _client(self) -> Any:
        try:
            import boto3
            from botocore.config import Config
            from botocore.exceptions import BotoCoreError
        except ImportError:
            raise EnvironmentProblem(
                f"the store {self.url} needs boto3; install it with `pip install 'procray[cluster]'`"
            ) from None
        settings = Config(
            retries={"mode": "standard", "total_max_attempts": 3},
            connect_timeout=5,
            read_timeout=30,
            max_pool_connections=32,
        )
        try:
            return boto3.session.Session().client("s3", config=settings)  # the default one is not for threads
        except (BotoCoreError, ValueError) as error:
            raise EnvironmentProblem(f"the store {self.url} cannot be opened: {error}") from None

    # -- small objects -------------------------------------------------------------------------------

    def get(self, name: str, most: int, patience: float | None = None) -> tuple[bytes, str] | None:
        """Content and etag of an object of at most so many bytes; None when there is none.

        Raises:
            StoreError: it is larger; nothing of it was fetched.
        """

        def read() -> tuple[bytes, str]:
            answer = self._client.get_object(Bucket=self.bucket, Key=self._key(name))
            size = answer["ContentLength"]
            if size > most:
                answer["Body"].close()
                raise StoreError(f"{self.url}/{name} is damaged: it has {size:,} bytes, more than {most:,}")
            return answer["Body"].read(), answer["ETag"]

        return self._try(read, name, patience=patience)

    def put(self, name: str, data: bytes, patience: float | None = None) -> str:
        """Writes an object whatever stands there; returns its etag."""

        def write() -> Any:
            return self._client.put_object(Bucket=self.bucket, Key=self._key(name), Body=data)

        return str(self._try(write, name, missing=False, patience=patience)["ETag"])

    def create(self, name: str, data: bytes) -> str | None:
        """Writes an object that does not exist yet; None when one with another content does."""
        return self._conditional(name, data, {"IfNoneMatch": "*"})

    def swap(self, name: str, data: bytes, etag: str) -> str | None:
        """Replaces just the object with this etag; None when it is another one by now, or gone."""
        return self._conditional(name, data, {"IfMatch": etag})

    def age(self, name: str) -> float | None:
        """Seconds since an object was written, by the clock of the bucket; None when there is none."""
        answer = self._try(lambda: self._client.head_object(Bucket=self.bucket, Key=self._key(name)), name)
        return None if answer is None else _now(answer) - answer["LastModified"].timestamp()

    def remove(self, names: Iterable[str]) -> None:
        """Deletes objects; those that are gone already are no error."""
        keys = [{"Key": self._key(name)} for name in names]
        for start in range(0, len(keys), _AT_ONCE):
            some = {"Objects": keys[start : start + _AT_ONCE], "Quiet": True}

            def delete(some: dict[str, Any] = some) -> Any:
                return self._client.delete_objects(Bucket=self.bucket, Delete=some)

            answer = self._try(delete, "", missing=False)
            if answer.get("Errors"):
                first = answer["Errors"][0]
                raise StoreError(f"{self.url}: {first.get('Key')} cannot be deleted: {first.get('Message')}")

    # -- many ----------------------------------------------------------------------------------------

    def below(self, folder: str) -> Listing:
        """Every object below `folder/`, named relative to it."""
        start = self._key(folder) + "/"
        entries: dict[str, Entry] = {}
        more: dict[str, str] = {}
        now = 0.0
        while True:
            answer = self._list(start, **more)
            now = now or _now(answer)
            for found in answer.get("Contents", ()):
                name = found["Key"].removeprefix(start)
                entries[name] = Entry(found["Size"], found["ETag"], found["LastModified"].timestamp())
            if not answer.get("IsTruncated"):
                return Listing(entries, now)
            more = {"ContinuationToken": answer["NextContinuationToken"]}

    def children(self, folder: str) -> list[str]:
        """The names of the folders right below `folder/`."""
        start = self._key(folder) + "/"
        found: list[str] = []
        more: dict[str, str] = {}
        while True:
            answer = self._list(start, Delimiter="/", **more)
            found += [part["Prefix"].removeprefix(start).rstrip("/") for part in answer.get("CommonPrefixes", ())]
            if not answer.get("IsTruncated"):
                return found
            more = {"ContinuationToken": answer["NextContinuationToken"]}

    # -- files ---------------------------------------------------------------------------------------

    def upload(self, path: Path, name: str) -> None:
        """Writes a file as an object, a large one in parts."""

        def send() -> bool:
            with open(path, "rb", opener=links.open_file) as file:
                self._client.upload_fileobj(file, self.bucket, self._key(name), Config=_parts_of())
            return True

        self._try(send, name, missing=False)

    def download(self, name: str, path: Path) -> bool:
        """Writes an object into a file, whole or not at all; False when there is no such object."""
        links.make_folder(path.parent)
        temporary = path.with_name(f".{uuid.uuid4().hex[:8]}-{path.name}")

        def fetch() -> bool:
            with open(temporary, "wb", opener=links.open_file) as file:
                self._client.download_fileobj(self.bucket, self._key(name), file, Config=_parts_of())
            return True

        try:
            if not self._try(fetch, name):
                return False
            links.rename(temporary, path)
            return True
        finally:
            links.remove(temporary)

    def holds(self, path: Path, name: str) -> bool:
        """Whether an object is known to have the content of a file; False may also mean that nobody can tell."""
        answer = self._try(lambda: self._client.head_object(Bucket=self.bucket, Key=self._key(name)), name)
        if answer is None or answer["ContentLength"] != links.status(path).st_size:
            return False
        with open(path, "rb", opener=links.open_file) as file:
            return bool(answer["ETag"].strip('"') == hashlib.file_digest(file, "md5").hexdigest())

    def sha256(self, name: str) -> str | None:
        """The digest of an object's content, read as a stream; None when there is no such object."""

        def read() -> str:
            body, sha = self._client.get_object(Bucket=self.bucket, Key=self._key(name))["Body"], hashlib.sha256()
            for part in iter(lambda: body.read(1 << 20), b""):
                sha.update(part)
            return sha.hexdigest()

        found = self._try(read, name)
        return None if found is None else str(found)

    # -- what makes a bucket a store -----------------------------------------------------------------

    def check_conditions(self) -> None:
        """Makes sure once for each store that the service honours conditional writes.

        Raises:
            StoreError: it ignores them, so that two writers could not be told apart.
        """
        if self._checked or self.get("store.json", _SMALL) is not None:
            self._checked = True
            return
        probe = f"probe-{uuid.uuid4().hex}"
        try:
            first = self.create(probe, b"1")
            honoured = (
                first is not None
                and self.create(probe, b"2") is None
                and self.swap(probe, b"3", '"00000000000000000000000000000000"') is None
                and self.swap(probe, b"4", first) is not None
            )
        finally:
            self.remove([probe])
        if not honoured:
            raise StoreError(
                f"{self.url} cannot be a store: its service ignores conditional writes (If-None-Match, If-Match), "
                "so two runners could overwrite each other. Use Amazon S3 or another service that has them, or a "
                "folder that all nodes mount"
            )
        self.create("store.json", json.dumps({"store": "procray", "format": 1}).encode() + b"\n")

    # -- below ---------------------------------------------------------------------------------------

    def _key(self, name: str) -> str:
        return f"{self._prefix}/{name}" if self._prefix else name

    def _list(self, start: str, **more: str) -> Any:
        return self._try(
            lambda: self._client.list_objects_v2(Bucket=self.bucket, Prefix=start, **more), start, missing=False
        )

    def _conditional(self, name: str, data: bytes, condition: dict[str, str]) -> str | None:
        def write() -> str:
            answer = self._client.put_object(Bucket=self.bucket, Key=self._key(name), Body=data, **condition)
            return str(answer["ETag"])

        try:
            etag = self._try(write, name)
        except _Refused:
            etag = None
        if etag is None:  # or an earlier try of ours went through, and only its answer was lost
            found = self.get(name, max(len(data), _SMALL))
            return found[1] if found is not None and found[0] == data else None
        return str(etag)

    def _try(self, request: Any, name: str, missing: bool = True, patience: float | None = None) -> Any:
        """The answer to a request; None when the object is missing and that is an answer."""
        from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError, NoCredentialsError
        from botocore.exceptions import ConnectionError as NoConnection

        began, wait = time.monotonic(), 0.5
        patience = self.patience if patience is None else patience
        while True:
            try:
                return request()
            except ClientError as error:
                facts, status = error.response.get("Error", {}), _status(error)
                code = str(facts.get("Code", ""))
                if status == 412:
                    raise _Refused from None
                if status == 404 and code != "NoSuchBucket" and missing:
                    return None
                if status < 500 and status != 429 and code not in _TRANSIENT:
                    raise self._explained(code, str(facts.get("Message", "")), name) from None
                why = f"{status} {code}"
            except NoCredentialsError:
                raise EnvironmentProblem(
                    f"the store {self.url} cannot be opened: no AWS credentials were found (environment, profile or "
                    "instance role)"
                ) from None
            except (NoConnection, HTTPClientError) as error:
                why = f"{type(error).__name__}, {urlsplit(self._client.meta.endpoint_url).hostname}"
            except BotoCoreError as error:
                raise EnvironmentProblem(f"the store {self.url}: {error}") from None
            left = began + patience - time.monotonic()
            if left <= 0:
                raise StoreUnreachable(f"the store {self.url} has not answered for {patience:g} s: {why}")
            if time.monotonic() - began > _SAY_AFTER and time.monotonic() - self._said > _SAY_EVERY:
                self._said = time.monotonic()
                _log.warning("the store %s does not answer (%s); trying again for %.0f s", self.url, why, left)
            time.sleep(min(left, wait * random.uniform(0.5, 1.0)))
            wait = min(2 * wait, 15.0)

    def _explained(self, code: str, message: str, name: str) -> EnvironmentProblem | StoreError:
        if code == "NoSuchBucket":
            return StoreError(f"there is no bucket '{self.bucket}', so {self.url} cannot be a store; make it first")
        if code in ("AccessDenied", "403", "Forbidden"):
            return EnvironmentProblem(
                f"access to {self.url}/{name} is denied; a store needs s3:GetObject, s3:PutObject, s3:DeleteObject "
                "on its prefix and s3:ListBucket on the bucket"
            )
        if code == "NotImplemented":
            return StoreError(f"{self.url} cannot be a store: its service does not know conditional writes ({message})")
        return EnvironmentProblem(f"the store {self.url} refuses {name or 'a request'}: {code} {message}".rstrip())


class _Refused(Exception):
    """The condition of a write does not hold."""


def _parts(url: str) -> tuple[str, str]:
    scheme, _, rest = url.partition("://")
    if scheme in ("gs", "gcs"):
        raise StoreError(
            f"a store cannot be on {scheme}://: Google's S3-compatible interface has no conditional writes, so two "
            "runners could overwrite each other. Use s3://, or a folder that all nodes mount (Filestore, NFS)"
        )
    if scheme != "s3":
        raise StoreError(f"a store is a folder or s3://BUCKET/PREFIX; '{scheme}://' is not supported")
    if "@" in rest.split("/")[0]:
        raise StoreError("the address of a store holds no keys; give them to AWS's own environment or profile")
    if "?" in rest:
        raise StoreError(f"'s3://{rest.split('?')[0]}': options are not part of a store's address; for another "
                         "endpoint set AWS_ENDPOINT_URL")  # fmt: skip
    found = _URL.fullmatch(url)
    if found is None or any(part in (".", "..") for part in found[2].split("/")):
        raise StoreError(f"'{url}' is not s3://BUCKET/PREFIX with plain names")
    return found[1], found[2].strip("/")


def _parts_of() -> Any:
    from boto3.s3.transfer import TransferConfig

    return TransferConfig(multipart_threshold=_PART, multipart_chunksize=_PART, max_concurrency=4)


def _status(error: Any) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 500))


def _now(answer: Any) -> float:
    """When the service answered, by its own clock; by ours where it does not say."""
    date = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
    return parsedate_to_datetime(date).timestamp() if date else time.time()
