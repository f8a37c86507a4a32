"""What comes from the hub: whether it can be reached, which revision is meant, single files.

The hub's own client tries again for half a minute when there is no network. Here one question is
asked first, once and with a time limit; only when it is answered does a download begin.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from procray.errors import CorpusError, EnvironmentProblem

TIMEOUT_SECONDS = 10.0
OFFLINE_CORPORA = "corpora that need no network: python-stdlib, {files: [globs]}, {name: deepmind-math, files: [globs]}"
OFFLINE_TOKENIZERS = "tokenizers that need no network: byte, char, {bpe: N}, {folder: path}"

T = TypeVar("T")


def resolve_revision(kind: str, name: str, revision: str, where: str) -> str:
    """The commit that `revision` of a hub repository (`kind` "dataset" or "model") stands for now.

    Raises:
        CorpusError: no such repository or revision, or it asks for an access token.
        EnvironmentProblem: the hub cannot be reached, with the cause.
    """
    if os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on"):
        raise unreachable(where, kind, "HF_HUB_OFFLINE is set")
    try:
        from huggingface_hub import HfApi
        from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError
    except ImportError as error:
        raise EnvironmentProblem(f"{where} needs the packages 'datasets' and 'huggingface_hub'") from error
    try:
        info = within(
            2 * TIMEOUT_SECONDS,
            lambda: HfApi().repo_info(name, repo_type=kind, revision=revision, timeout=TIMEOUT_SECONDS),
        )
    except GatedRepoError as error:
        raise CorpusError(f"{where}: the hub asks for an accepted licence and a token (hf auth login)") from error
    except RevisionNotFoundError as error:
        raise CorpusError(f"{where}: the hub has no revision '{revision}' of it") from error
    except RepositoryNotFoundError as error:
        raise CorpusError(f"{where}: the hub has no public {kind} '{name}'; check its spelling") from error
    except Exception as error:  # any transport, proxy, TLS or server failure
        raise unreachable(where, kind, cause_of(error)) from error
    return str(info.sha)


def unreachable(where: str, kind: str, cause: str) -> EnvironmentProblem:
    """The error for `where` without its network: what, why, and what works without one."""
    other = OFFLINE_TOKENIZERS if kind == "model" else OFFLINE_CORPORA
    return EnvironmentProblem(f"{where} needs the network, and the hub cannot be reached: {cause}; {other}")


@contextmanager
def reading_rows(where: str) -> Iterator[None]:
    """Around what opens and reads a dataset of the hub: whatever fails there is told as of `where`.

    Raises:
        CorpusError: `datasets` knows no such configuration or split.
        EnvironmentProblem: any failure of transport or server, also in mid-stream.
    """
    try:
        yield
    except (CorpusError, EnvironmentProblem):
        raise
    except ValueError as error:  # datasets: unknown configuration or split
        raise CorpusError(f"{where}: {' '.join(str(error).split())[:400]}") from error
    except Exception as error:
        raise unreachable(where, "dataset", cause_of(error)) from error


def cause_of(error: BaseException) -> str:
    """One line: the kind and the text of the first cause of `error`."""
    while error.__cause__ is not None:
        error = error.__cause__
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0][:200]}" if text else type(error).__name__


def within(seconds: float, ask: Callable[[], T]) -> T:
    """`ask()`, or TimeoutError: looking up a name can block for longer than any client's own limit."""
    answer: list[Any] = []

    def run() -> None:
        try:
            answer.append((ask(), None))
        except BaseException as error:
            answer.append((None, error))

    # A daemon: a question that is never answered must not keep the process alive.
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if not answer:
        raise TimeoutError(f"no answer within {seconds:.0f} s")
    value, problem = answer[0]
    if problem is not None:
        raise problem
    return value


def fetch_file(name: str, file: str, revision: str, *, local: bool) -> Path | None:
    """One file of a hub model, from the cache alone when `local`; None where there is none."""
    try:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
    except ImportError as error:
        raise EnvironmentProblem("a hub tokenizer needs the package 'huggingface_hub'") from error
    try:
        return Path(hf_hub_download(name, file, revision=revision, local_files_only=local))
    except LocalEntryNotFoundError as error:
        if local:
            return None
        raise unreachable(f"tokenizer '{name}'", "model", cause_of(error)) from error
    except EntryNotFoundError:
        return None
