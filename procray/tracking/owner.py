"""Which store an experiment and its runs belong to: several stores may have a sweep of one name on one server."""

from __future__ import annotations

import contextlib
import os
import re
import uuid
from typing import TYPE_CHECKING, Any

from procray import links
from procray.errors import StoreError
from procray.files import digest, read_bytes
from procray.tracking import backend

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from procray.store.store import Store

STORE = "procray.store"  # tag of an experiment and of its runs
FILE = "store-id"
_ID = re.compile(r"[0-9a-f]{12}")


def store_id(store: Store, make: bool = True) -> str:
    """Twelve hex digits: of a bucket by its address, of a folder drawn once and kept in it, wherever it is moved.

    Args:
        make: draw them where there are none; else they are empty then, and nothing is written.

    Raises:
        StoreError: the file that keeps it is a link or says something else.
    """
    if store.in_bucket:
        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        return digest([store.address, endpoint], 12)
    path = store.path / FILE
    links.refuse(path)
    if not make and not path.exists():
        return ""
    with backend.file_lock(path) if make else contextlib.nullcontext():
        try:
            text = read_bytes(path, 1 << 10).decode("utf-8", "replace").strip()
        except ValueError:
            text = "too long"
        if make and not text:
            text = uuid.uuid4().hex[:12]
            with open(path, "w", encoding="utf-8", opener=links.open_file) as file:
                file.write(text + "\n")
    if (make or text) and not _ID.fullmatch(text):
        raise StoreError(f"{path} does not hold the store's twelve hex digits; remove it, and others are drawn")
    return text


def names(title: str, store: str) -> tuple[str, str]:
    """What the experiment of a sweep is called: by its title, or apart where another store was there first."""
    return title, f"{title} (store {store})"


def experiment(client: MlflowClient, title: str, store: str) -> Any | None:
    """The experiment of a store's sweep, active or deleted; None where there is none.

    One that names no store, as earlier versions made them, belongs to whoever asks first.
    """
    found = [one for name in names(title, store) if (one := client.get_experiment_by_name(name)) is not None]
    found = [one for one in found if one.tags.get(STORE, store) == store]
    return next((one for one in found if STORE in one.tags), found[0] if found else None)
