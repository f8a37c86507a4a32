"""Credentials leave no trace: what is written down, shown or sent elsewhere passes through `redact`.

It knows credentials by their place (in an address, after `token=`), by their form (keys of AWS, tokens of the Hugging
Face hub, GitHub and others), and by their value: what this process's environment holds under a name that says so.
"""

from __future__ import annotations

import os
import re
from typing import Any

_CREDENTIALS = re.compile(r"(?<=://)[^/@\s\"']+@")
_NAMES = r"[\w-]*(?:token|secret|password|passwd|pwd|signature|credential|apikey|api[_-]key|access[_-]key|sig)"
_QUERY = re.compile(rf"(?i)([?&;](?:{_NAMES}|[\w-]*key)=)[^&;#\s\"']+")
_ASSIGNED = re.compile(
    r"(?i)((?:[\w-]*(?:token|secret|password|passwd|api[_-]?key|access[_-]key(?:[_-]id)?))[\"']?\s*(?:=|:\s)\s*[\"']?)"
    r"([A-Za-z0-9+/_.=~-]{16,})"
)
_BEARER = re.compile(r"(?i)(authorization[\"']?\s*[:=]\s*[\"']?(?:bearer|basic)\s+)[^\s\"']+")
_FORMS = re.compile(
    r"\b(?:hf_[A-Za-z0-9]{20,}|(?:AKIA|ASIA)[A-Z0-9]{16}|gh[pousr]_[A-Za-z0-9]{30,}|github_pat_\w{30,}"
    r"|sk-[A-Za-z0-9_-]{20,}|xox[abpr]-[A-Za-z0-9-]{10,}|eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]+)"
)
_PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL)
_SECRET_NAME = re.compile(r"(?i)(?:token|secret|password|passwd|credential|api_?key|access_key)(?:_id|_key)?$")
_SHORTEST = 8  # characters of a value in the environment that is looked for; a shorter one would hit words


def redact(text: str) -> str:
    """`text` with `***` in place of credentials."""
    text = _QUERY.sub(r"\1***", _CREDENTIALS.sub("***@", text))
    text = _PRIVATE_KEY.sub("***", _FORMS.sub("***", _BEARER.sub(r"\1***", text)))
    text = _ASSIGNED.sub(r"\1***", text)
    for value in _of_environment():
        text = text.replace(value, "***")
    return text


def without_credentials(uri: str) -> str:
    """The address as a browser may open it."""
    return _CREDENTIALS.sub("", uri)


def redacted(value: Any) -> Any:
    """Plain data with every text in it redacted."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict):
        return {key: redacted(child) for key, child in value.items()}
    if isinstance(value, list | tuple):
        return [redacted(child) for child in value]
    return value


def _of_environment() -> list[str]:
    """The secret values that this process was given, the longest first."""
    found = {
        value
        for name, value in os.environ.items()
        if len(value) >= _SHORTEST and _SECRET_NAME.search(name) and not os.path.exists(value)
    }
    return sorted(found, key=len, reverse=True)
