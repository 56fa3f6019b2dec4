# SPDX-License-Identifier: Apache-2.0
"""`progress` of the functions that take long: what it is told, and how it ends the work."""

import os

import numpy as np
import pytest

from safetensors import SafetensorError, diff, salvage, stats
from safetensors.checkpoint import cat, merge, split
from safetensors.edit import edit, remove_metadata, set_metadata
from safetensors.hash import hash_files, record, verify_manifest, verify_records, write_manifest
from safetensors.numpy import save_file

TENSORS = {f"layer.{i}": np.full(300_000 + i, i, np.float32) for i in range(8)}
BYTES = sum(array.nbytes for array in TENSORS.values())


class Enough(Exception):
    pass


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("progress")
    save_file(TENSORS, folder / "model.safetensors")
    split(folder / "model.safetensors", folder / "shards", shard_count=3)
    record(folder / "model.safetensors", out=folder / "recorded.safetensors", algorithm="xxh3")
    write_manifest(folder / "model.safetensors", folder / "manifest.json", algorithm="xxh3")
    return folder


def calls(folder, out, progress):
    """Each function, what it is called with, and the bytes that it has to do; None where that is its own matter."""
    model, shards = folder / "model.safetensors", folder / "shards"
    size = model.stat().st_size
    return {
        "edit": (lambda: edit(model, out, cast="bf16", progress=progress), BYTES // 2),
        "set_metadata": (lambda: set_metadata(model, {"a": "b"}, out=out, progress=progress), BYTES),
        "remove_metadata": (
            lambda: remove_metadata(folder / "recorded.safetensors", True, out=out, progress=progress),
            BYTES,
        ),
        "split": (lambda: split(model, out, shard_count=1, progress=progress), BYTES),
        "merge": (lambda: merge(shards, out, progress=progress), BYTES),
        "cat": (lambda: cat([model], out, progress=progress), BYTES),
        "salvage": (lambda: salvage(model, out, progress=progress), BYTES),
        "diff": (lambda: diff(model, shards, progress=progress), 2 * BYTES),
        "stats": (lambda: stats(shards, quantiles=[0.5], progress=progress), BYTES),
        "hash_files": (lambda: hash_files(model, algorithm="xxh3", progress=progress), size),
        "record": (lambda: record(model, algorithm="xxh3", out=out, progress=progress), 2 * BYTES),
        "verify_records": (lambda: verify_records(folder / "recorded.safetensors", progress=progress), None),
        "verify_manifest": (lambda: verify_manifest(folder / "manifest.json", progress=progress), size),
        "write_manifest": (lambda: write_manifest(model, out, algorithm="xxh3", progress=progress), size),
    }


NAMES = [
    "edit",
    "set_metadata",
    "remove_metadata",
    "split",
    "merge",
    "cat",
    "salvage",
    "diff",
    "stats",
    "hash_files",
    "record",
    "verify_records",
    "verify_manifest",
    "write_manifest",
]


@pytest.mark.parametrize("name", NAMES)
def test_it_is_told_of_all_of_it(folder, tmp_path, name):
    told = []
    call, total = calls(folder, tmp_path / "out", lambda done, total: told.append((done, total)))[name]
    call()
    totals = {total for _, total in told}
    assert len(told) >= 1 and len(totals) == 1 and (total is None or totals == {total})
    done = [done for done, _ in told]
    assert done == sorted(set(done)) and 0 < done[0] and done[-1] <= told[-1][1]
    assert len(told) < 1000
    if name not in ("diff", "stats"):  # what threads other than the caller's do last need not be told
        assert done[-1] == told[-1][1]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("ends", ["raises", "false"])
def test_it_ends_the_work_and_no_file_is_left(folder, tmp_path, name, ends):
    told = []

    def progress(done, total):
        told.append(done)
        if ends == "raises":
            raise Enough(done)
        return False

    before = {file: (folder / file).stat().st_mtime_ns for file in os.listdir(folder)}
    call, _ = calls(folder, tmp_path / "out", progress)[name]
    with pytest.raises(Enough if ends == "raises" else SafetensorError) as raised:
        call()
    assert len(told) == 1 and (ends == "false" or raised.value.args == (told[0],))
    assert [os.listdir(tmp_path / "out")] == [[]] if name == "split" else os.listdir(tmp_path) == []
    assert {file: (folder / file).stat().st_mtime_ns for file in os.listdir(folder)} == before


@pytest.mark.parametrize("name", NAMES)
def test_it_ends_the_work_at_the_last_moment_too(folder, tmp_path, name):
    """Where the last call comes before the file takes its name: it is there whole, or not at all."""

    def progress(done, total):
        if done == total:
            raise Enough

    call, _ = calls(folder, tmp_path / "out", progress)[name]
    try:
        call()
    except Enough:
        left = os.listdir(tmp_path / "out") if name == "split" else os.listdir(tmp_path)
        assert left == []
    else:
        assert name in ("diff", "stats")


def test_it_has_to_be_a_function(folder, tmp_path):
    for call, _ in calls(folder, tmp_path / "out", 3).values():
        with pytest.raises(TypeError, match="argument 'progress': 'int' object is not a function, or None"):
            call()
    assert os.listdir(tmp_path) == []
