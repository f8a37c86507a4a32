"""The container image: exactly our Ray and Python, or as much as its name tells."""

from __future__ import annotations

import re
import sys
from importlib.metadata import version

from procray.execution.cluster_files.findings import Findings
from procray.spec.tree import Place

_RAY_TAG = re.compile(r"^(?P<ray>\d+\.\d+\.\d+)(?:\.[0-9a-f]{6})?(?:-py(?P<major>\d)(?P<minor>\d+))?(?:-[\w.-]+)?$")


def check_image(image: str, place: Place, findings: Findings) -> None:
    """Its tag is pinned; of Ray's own images, to the Ray and the Python of this command."""
    name, _, digest = image.partition("@")
    repository, colon, tag = name.rpartition(":")
    if not colon or "/" in tag:
        repository, tag = name, ""
    if not tag and not digest:
        findings.add(place, f"the image '{image}' has no tag, which means `latest`; pin it")
        return
    if tag in ("latest", "nightly") or tag.startswith(("latest-", "nightly")):
        findings.add(place, f"the tag '{tag}' moves; pin the image to a version")
        return
    if not re.search(r"(?:^|/)rayproject/ray(?:-ml|-llm)?$", repository):
        findings.skip(f"which Ray and Python are in the image {image}")
        return
    match = _RAY_TAG.match(tag)
    ours = version("ray")
    if match is None:
        findings.add(place, f"the tag '{tag}' names no Ray version; write {ours}-py3{sys.version_info.minor}")
        return
    if match["ray"] != ours:
        findings.add(place, f"the image has Ray {match['ray']}, and this procray has {ours}; the two do not talk")
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    if match["major"] is None:
        findings.add(place, f"the tag '{tag}' leaves Python open; write {match['ray']}-py{here.replace('.', '')}")
    elif (there := f"{match['major']}.{match['minor']}") != here:
        findings.add(place, f"the image has Python {there}, and this is Python {here}")
