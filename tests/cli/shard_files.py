# SPDX-License-Identifier: Apache-2.0
"""A folder of two shards, its index, and the same tensors in one file."""

import json

import pytest

from model_files import build, floats

INDEX = "model.safetensors.index.json"
SHARDS = {
    "m-1.safetensors": {"a.w": ("F32", [2], floats(1, 2)), "a.b": ("F32", [1], floats(3))},
    "m-2.safetensors": {"c": ("F16", [4], bytes(8))},
}
TENSORS = {name: tensor for shard in SHARDS.values() for name, tensor in shard.items()}
METADATA = {"format": "pt"}


def index_of(weight_map=None, total_size=20, **metadata):
    weight_map = weight_map or {name: shard for shard, held in SHARDS.items() for name in held}
    return {"metadata": {"total_size": total_size, **metadata}, "weight_map": weight_map}


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "model"
    path.mkdir()
    for name, tensors in SHARDS.items():
        (path / name).write_bytes(build(tensors, METADATA))
    (path / INDEX).write_text(json.dumps(index_of()))
    return path


@pytest.fixture
def single(make):
    return make(TENSORS, METADATA, name="single.safetensors")


@pytest.fixture(params=["folder", "index", "no index"])
def either(request, folder):
    """The same tensors, as they may be named."""
    if request.param == "no index":
        (folder / INDEX).unlink()
    return folder / INDEX if request.param == "index" else folder


def rewrite(folder, **changes):
    (folder / INDEX).write_text(json.dumps(index_of(**changes)))
