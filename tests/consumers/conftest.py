# SPDX-License-Identifier: Apache-2.0
"""
Programs that use safetensors, run twice: first with the published package, which records what every test gets,
then with ours, which has to get the same.
"""

import hashlib
import json
import os
import pathlib

import numpy as np
import pytest
import torch

OURS = "ST_PACKAGE" in os.environ
RESULTS = pathlib.Path(os.environ["ST_RESULTS"])


def hash_of(data):
    """A hash of a file's bytes; metadata of several keys, which the published package puts in any order, sorted."""
    size = int.from_bytes(data[:8], "little")
    if data[8:9] == b"{" and len(data) >= 8 + size:
        header = json.loads(data[8 : 8 + size])
        if len(header.get("__metadata__", {})) > 1:
            header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
            data = json.dumps(header).encode() + data[8 + size :]
    return hashlib.sha256(data).hexdigest()


def digest(value):
    """A value as JSON can hold it, with a hash in place of whatever is large."""
    if isinstance(value, torch.Tensor):
        raw = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        return f"{value.dtype} {list(value.shape)} {hashlib.sha256(raw).hexdigest()}"
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {list(value.shape)} {hashlib.sha256(value.tobytes()).hexdigest()}"
    if isinstance(value, os.PathLike):
        # What a program saved: all of its tensors, and the lists of which file has which.
        root = pathlib.Path(value)
        files = [path for path in sorted(root.rglob("*")) if path.suffix == ".safetensors" or "index.json" in path.name]
        assert files, f"nothing was saved below {root}"
        return {str(path.relative_to(root)): hash_of(path.read_bytes()) for path in files}
    if isinstance(value, dict):
        return {str(key): digest(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [digest(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted(digest(item) for item in value)
    assert value is None or isinstance(value, (str, int, float)), type(value)
    return value


@pytest.fixture
def agree(request):
    """agree(name=value, ...): each value has to be what it was with the published package."""
    path = RESULTS / f"{request.node.name.replace('/', '-')}.json"
    recorded = json.loads(path.read_text()) if OURS else {}
    seen = set()

    def check(**values):
        for name, value in values.items():
            seen.add(name)
            if OURS:
                assert digest(value) == recorded[name], name
            else:
                recorded[name] = digest(value)

    yield check
    if OURS:
        assert seen == set(recorded)
    else:
        assert seen
        path.write_text(json.dumps(recorded, indent=1))


@pytest.fixture(autouse=True)
def repeatable():
    # Sums depend on how many threads share them out.
    torch.set_num_threads(1)
    torch.manual_seed(0)
