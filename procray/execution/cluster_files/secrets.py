"""What holds for every line of a cluster file: no secret stands in it, and which values are still examples."""

from __future__ import annotations

import re

from procray.execution.cluster_files.findings import Findings, Tree
from procray.spec.tree import Place

_NAMES = r"(?:[A-Za-z0-9_]*(?:TOKEN|SECRET|PASSWORD|PASSWD|API_KEY|ACCESS_KEY|PRIVATE_KEY|CREDENTIALS)[A-Za-z0-9_]*)"
_FILES = re.compile(r"(?i)(?:path|file|dir|mode|name|timeout|arn|ref)$")  # `RAY_AUTH_TOKEN_PATH` names a file
_SECRETS = (
    (re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"), "an AWS access key"),
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----"), "a private key"),
    (re.compile(r"\bhf_[A-Za-z0-9]{20,}\b"), "a Hugging Face token"),
    (re.compile(r"\bgh[pousr]_[A-Za-z0-9]{30,}\b"), "a GitHub token"),
    (re.compile(r"\bAIza[A-Za-z0-9_-]{35}\b"), "a Google key"),
    (re.compile(r"://[^\s/@:\"'$]+:[^\s/@\"'$]+@"), "a password in an address"),
)
_GIVEN = re.compile(rf"(?i)\b({_NAMES})\s*[=:]\s*[\"']?(?![\"'$<{{(~/.\s]|$)([^\s\"';&]+)")
_HARMLESS = re.compile(r"(?i)^(?:null|none|~|true|false|secretKeyRef|valueFrom|token|optional|required|disabled)[:,]?$")
_EXAMPLES = re.compile(
    r"\b(?:ami|sg|subnet|vpc)-0{15}\d*|0{12}\b|[\w.-]+\.invalid\b|\bFILL[-_ ]IN\b|"
    r"\b(?:192\.0\.2|198\.51\.100|203\.0\.113)\.\d+|\bprocray-example\b"
)


def check_secrets(lines: list[str], findings: Findings) -> None:
    """No key, token or password stands in the file. The message never shows it."""
    for number, line in enumerate(lines, 1):
        text = line.split(" #")[0] if not line.lstrip().startswith("#") else line
        found = next(((match, what) for pattern, what in _SECRETS if (match := pattern.search(text))), None)
        if found is None:
            for match in _GIVEN.finditer(text):
                if not _FILES.search(match[1]) and not _HARMLESS.match(match[2]) and not line.lstrip().startswith("#"):
                    found = match, f"a value of {match[1]}"
                    break
        if found is not None:
            match, what = found
            message = f"{what} stands in the file; name the file or the secret that holds it, or pass it by environment"
            findings.add(Place(findings.file, number, match.start() + 1), message)


def check_examples(lines: list[str], findings: Findings) -> None:
    """Lists the values that no real account, host or bucket has."""
    for number, line in enumerate(lines, 1):
        text = _without_comment(line)
        for match in _EXAMPLES.finditer(text):
            place = Place(findings.file, number, match.start() + 1, line)
            findings.examples.append(place.problem(f"'{_word(text, match)}' is an example; fill in yours"))
            break


def check_open(tree: Tree, findings: Findings) -> None:
    """Nothing is open to every address."""
    for path, node in tree.scalars():
        if isinstance(node.value, str) and re.search(r"(?<![\d.])0\.0\.0\.0/0|(?<![\w:])::/0", node.value):
            findings.add(
                tree.place(*path), "open to every address of the internet; name the addresses that may come in"
            )


def _without_comment(line: str) -> str:
    return "" if line.lstrip().startswith("#") else re.split(r"\s#", line, maxsplit=1)[0]


def _word(text: str, match: re.Match[str]) -> str:
    """The whole word around a match."""
    before = re.search(r"[^\s\"'\[\]{},=]*$", text[: match.start()])
    after = re.match(r"[^\s\"'\[\]{},]*", text[match.end() :])
    return ((before[0] if before else "") + match[0] + (after[0] if after else "")).rpartition(":-")[2]
