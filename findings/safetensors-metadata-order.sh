#!/bin/sh
# safetensors 0.8.0: the same tensors with the same metadata, saved again, are another file.
#
# The header's `__metadata__` is written in the order of a hash map that is seeded anew for every call, so a file with
# several entries has another digest at each save, in one process as well. With one entry it has not. Whoever addresses
# weights by the digest of the file (caches, deduplicating stores, "is this the checkpoint that I trained?") sees changes
# where there are none.
#
# Seen (2026-11-27, Python 3.11):
#   1 entry:   1 distinct digest of 20 saves
#   8 entries: 20 distinct digests of 20 saves, same tensors, same metadata when read
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet 'safetensors==0.8.0' 'numpy==2.4.6'
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import hashlib

import numpy
from safetensors import safe_open
from safetensors.numpy import save_file

weights = {"a": numpy.zeros(4, dtype=numpy.float32)}


def digests(entries: int) -> int:
    metadata = {f"key{i}": str(i) for i in range(entries)}
    found = set()
    for _ in range(20):
        save_file(weights, "x.safetensors", metadata=metadata)
        with safe_open("x.safetensors", framework="numpy") as file:
            assert file.metadata() == metadata
        found.add(hashlib.sha256(open("x.safetensors", "rb").read()).hexdigest())
    return len(found)


one, many = digests(1), digests(8)
print(f"1 entry:   {one} distinct digest of 20 saves")
print(f"8 entries: {many} distinct digests of 20 saves, same tensors, same metadata when read")
assert one == 1 and many > 10, "the behaviour has changed"
PY
