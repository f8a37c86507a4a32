"""Credentials leave no trace: what is written down, shown or sent elsewhere passes through `redact`.

It knows credentials by their place (in an address, after `token=`, in a header), by their form (keys of clouds, tokens
of hubs and chats, private keys), and by their value: what this process's environment holds under a name that says so,
or inside of an address there.

Logs of any content pass through here, so the work grows with the length of a text and not faster: no pattern begins
with a repeat that could start at every character, and none walks over a stretch that another start walks over again.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, TextIO
from urllib.parse import quote, unquote

# Up to the last `@` of the part with the host, since a password may hold some. Where that part has none, a password
# that holds `/`, `?` or `#`: behind `name:` that is no host with its port, up to the last `@` of the address.
_CREDENTIALS = re.compile(
    r"(?<=://)(?:[^/?#\s\"'<>]*@|[^/?#@:\s\"'<>]+:(?!\d{1,5}(?:[/?#]|$))(?:(?!://)[^\s\"'<>])*@)", re.MULTILINE
)
_ADDRESS = re.compile(r"://[^/?#@:\s]*:(.*)@", re.DOTALL)  # the password of one address

# Names end with one of these. An address says `key=` and `sig=` too, and means it however short the value is.
_QUERY_NAMES = ("token", "secret", "password", "passwd", "passphrase", "pwd", "signature", "credential", "key", "sig")
_NAMED = "|".join(f"(?<={name})" for name in _QUERY_NAMES)
_QUERY = re.compile(rf"(?i)([?&;][\w%.-]++(?:{_NAMED})=)[^&;#\s\"']+")

# The patterns with a group called `value` are looked for in small letters, and begin with a text: that is quick.
# What stands between a name and its value: `=`, `: `, `": "`.
_SEPARATOR = r"\\?[\"']?\s*+(?:=|:(?=\s|\\?[\"']))\s*+"
_REFERENCE = r"(?![$<{~*]|\.{1,2}/)"  # names where the value is, and is none
_PASSWORD = re.compile(
    rf"(?:password|passwd|passphrase|sshpass|_pass|_pwd|_pat|-pass|-pwd|-pat){_SEPARATOR}"
    rf"(?:\\?(?P<quote>[\"'])(?P<quoted>{_REFERENCE}[^\"'\s][^\"'\n]{{2,}}?)(?=\\?(?P=quote))|"
    rf"(?P<value>{_REFERENCE}(?![\d.,]+(?:\s|$))[^\s\"'&,;]{{3,}}))"
)
_ASSIGNED = re.compile(
    r"(?:token|secret|credential|credentials|api_key|api-key|apikey|access_key|access-key|accesskey|access_key_id|"
    r"access-key-id|accesskeyid|sharedaccesssignature|account_key|accountkey|storage_key|storagekey|secret_key|secretkey|"
    r"secret-key|private_key|private-key|privatekey|signing_key|encryption_key|master_key|session_key|shared_key|client_key)"
    rf"{_SEPARATOR}\\?[\"']?(?P<value>{_REFERENCE}[a-z0-9+/_.=~%@:!-]{{16,}})"
)
_KEY_OF_40 = re.compile(r"key[\"']?[\s=:]{1,3}[\"']?(?P<value>[0-9a-f]{40})\b")  # Weights & Biases
_OPTION = re.compile(rf"--(?<![\w-]--)[\w-]*+(?:{_NAMED})\s\s*+(?P<value>[^\s\"'-][^\s\"']{{5,}})")
_BEARER = re.compile(
    r"authorization\\?[\"']?\s*+[:=]\s*+\\?[\"']?(?:(?:bearer|basic|token|negotiate|apikey)\s++(?P<value>[^\s\"'\\]+)|"
    r"(?:digest|aws4-hmac-sha256)\s(?P<line>[^\n\"]+)|(?P<bare>[^\s\"'\\]{8,}))"
)
_BARE_BEARER = re.compile(r"bearer\s\s*+(?P<value>[a-z0-9._~+/=-]{16,})")
_SET = re.compile(rf"(?:TOKEN|SECRET|KEY|KEY_ID|SAS)=[\"']?(?P<value>{_REFERENCE}[^\s\"'&,;]{{8,}})")  # as `env` prints

_AMAZON = (
    r"[A-Z0-9]{16}(?:[\s:,;\"'=|]{1,8}[A-Za-z0-9/+]{40}(?![A-Za-z0-9/+=]))?"  # an id, and its secret if that follows
)
_FORMS = tuple(
    (begin, re.compile(rf"{re.escape(begin)}(?<![A-Za-z0-9]{re.escape(begin)}){rest}"))
    for begin, rest in (
        ("hf_", r"[A-Za-z0-9]{20,}"),
        ("api_org_", r"[A-Za-z0-9]{20,}"),
        ("AKIA", _AMAZON),
        ("ASIA", _AMAZON),
        ("gh", r"[pousr]_[A-Za-z0-9]{30,}"),
        ("github_pat_", r"\w{30,}"),
        ("glpat-", r"[\w-]{20,}"),
        ("sk-", r"[A-Za-z0-9_-]{20,}"),
        ("xox", r"[abeoprs]-[A-Za-z0-9-]{10,}"),
        ("xapp-", r"[A-Za-z0-9-]{10,}"),
        ("AIza", r"[\w-]{35}"),
        ("ya29.", r"[\w-]{20,}"),
        ("npm_", r"[A-Za-z0-9]{36}"),
        ("pypi-", r"[\w-]{50,}"),
        ("dapi", r"[0-9a-f]{32}"),
        ("eyJ", r"(?<![\w-]eyJ)[\w-]{10,}+\.eyJ[\w-]{10,}+\.[\w-]+"),
    )
)
_PRIVATE_KEY = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY(?: BLOCK)?-----.*?(?:-----END [A-Z ]*PRIVATE KEY(?: BLOCK)?-----|\Z)", re.DOTALL
)
_BY_NAME = (  # each with texts without which it need not be looked for
    (("authorization",), _BEARER),
    (("bearer",), _BARE_BEARER),
    (("pass", "pwd", "_pat", "-pat"), _PASSWORD),
    (("token", "secret", "credential", "access", "account", "api", "_key", "-key", "private", "storage"), _ASSIGNED),
    (("key",), _KEY_OF_40),
    (("--",), _OPTION),
)
_KEY_BEGINS, _KEY_ENDS = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY"), re.compile(r"-----END [A-Z ]*PRIVATE KEY")
_SECRET_NAME = re.compile(
    r"(?i)(?:token|secret|password|passwd|passphrase|credentials?|api_?key|access_key|_pwd|_pass|sshpass|_pat|_sas|_key)"
    r"(?:_id|_key)?$"
)
_SHORTEST = 8  # characters of a value in the environment that is looked for; a shorter one would hit words
LINE = 10_000  # characters of one line of a log that are kept
_BLOCK = 2**20  # characters of a log that are looked at together


def redact(text: str) -> str:
    """`text` with `***` in place of credentials, in a time that grows with its length."""
    if "://" in text:
        text = _CREDENTIALS.sub("***@", text)
    if "PRIVATE KEY" in text:
        text = _PRIVATE_KEY.sub("***", text)
    for begin, form in _FORMS:
        if begin in text:
            text = form.sub("***", text)
    if "=" in text:
        text = _QUERY.sub(r"\1***", text)
        text = _blanked(_SET, text, text)
    small = _small(text)
    for pieces, pattern in _BY_NAME:
        if any(piece in small for piece in pieces):
            cleaned = _blanked(pattern, text, small)
            if cleaned is not text:
                text, small = cleaned, _small(cleaned)
    for value in _of_environment(tuple(os.environ.items())):
        text = text.replace(value, "***")
    return text


def _small(text: str) -> str:
    """The text in small letters, each character at its place: only this one would become two."""
    return text.replace("\u0130", "i").lower()


def _blanked(pattern: re.Pattern[str], text: str, looked_at: str) -> str:
    """`text` with `***` where a pattern finds a value in `looked_at`, which has the same places."""
    pieces, done = [], 0
    for match in pattern.finditer(looked_at):
        begin, end = match.span(match.lastgroup or 0)
        pieces += [text[done:begin], "***"]
        done = end
    return "".join([*pieces, text[done:]]) if pieces else text


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


def redacted_log(log: TextIO) -> Iterator[str]:
    """A log in pieces, without credentials, and each line cut to `LINE` characters.

    A line is looked at before it is cut, as far as a million characters, so that no half of a credential is left at its
    end; and a private key is left out as a whole, however the log falls into pieces.
    """
    lines: list[str] = []
    size, inside = 0, False
    while line := log.readline(_BLOCK):
        whole = line.endswith("\n")
        while not whole and (rest := log.readline(_BLOCK)):
            whole = rest.endswith("\n")
        if inside:
            inside = _KEY_ENDS.search(line) is None
            continue
        begin = _KEY_BEGINS.search(line)
        if begin is not None and not _KEY_ENDS.search(line, begin.end()):
            inside, line = True, f"{line[: begin.start()]}***\n"
        lines.append(line)
        size += len(line)
        if size >= _BLOCK:
            yield _short(redact("".join(lines)))
            lines, size = [], 0
    yield _short(redact("".join(lines)))


def _short(text: str) -> str:
    return "".join(
        line if len(line) <= LINE + 1 else f"{line[:LINE]} ... (the rest of a long line is left out)\n"
        for line in text.splitlines(keepends=True)
    )


@lru_cache(maxsize=4)
def _of_environment(variables: tuple[tuple[str, str], ...]) -> list[str]:
    """The secret values among these variables, the longest first: whole ones by name, passwords out of addresses."""
    found = set()
    for name, value in variables:
        if _SECRET_NAME.search(name) and not os.path.exists(value):
            found |= {value, quote(value, safe="")}
        elif (inside := _ADDRESS.search(value)) is not None:
            found |= {inside[1], unquote(inside[1])}
    return sorted((value for value in found if len(value) >= _SHORTEST), key=len, reverse=True)
