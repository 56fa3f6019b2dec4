# SPDX-License-Identifier: Apache-2.0
"""Arguments that are wrong, and names of files that are odd, of the functions that work on paths: each is refused by
its name, and by one rule of classes."""

import os
import re

import numpy as np
import pytest

from safetensors import SafetensorError, check, checkpoint, diff, grep, stats
from safetensors._safetensors_rust import SafetensorKeyError, SafetensorValueError
from safetensors.checkpoint import cat, merge, split
from safetensors.edit import edit, recover, remove_metadata, set_metadata
from safetensors.hash import hash_files, record, verify_manifest, verify_records, write_manifest
from safetensors.numpy import save_file

TENSORS = {"ids": np.arange(5), "w": np.ones((2, 3), np.float32)}


@pytest.fixture
def path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_file(TENSORS, tmp_path / "model.safetensors", {"format": "np"})
    return "model.safetensors"


class Compiled:
    def __repr__(self):
        return "compiled"


# What a caller passes, and what the message tells of it.
TYPES = {
    "drop=b'ids'": (lambda p: edit(p, drop=b"ids"), "drop must be a str or several, not b'ids'"),
    "drop=False": (lambda p: edit(p, drop=False), "drop must be a str or several, not False"),
    "rename of numbers": (lambda p: edit(p, rename={"ids": 1}), "rename must be a dict of str to str; 'ids' is 1"),
    "rename_regex compiled": (
        lambda p: edit(p, rename_regex={Compiled(): ""}),
        "rename_regex must be a dict of str to str; compiled is ''",
    ),
    "rename called": (lambda p: edit(p, rename=3), "rename must be a str or several, not 3"),
    "cast by numbers": (lambda p: edit(p, cast={1: "f16"}), "cast must be a dict by str, not 1"),
    "replace list": (lambda p: edit(p, replace=[("ids", b"")]), "replace must be a dict, not <class 'list'>"),
    "replace by numbers": (lambda p: edit(p, replace={1: b""}), "replace must be a dict by str, not 1"),
    "replace path": (
        lambda p: edit(p, replace={"ids": "x"}),
        "tensor 'ids': the path of its data comes in a tuple, with a tensor's name, not 'x'",
    ),
    "replace three": (
        lambda p: edit(p, replace={"ids": ("x", "y", "z")}),
        "tensor 'ids': a tuple must be a path and a tensor's name, not ('x', 'y', 'z')",
    ),
    "add list": (lambda p: edit(p, add=["x"]), "add must be a dict, not <class 'list'>"),
    "align text": (lambda p: edit(p, align="64"), "align must be an integer, not '64'"),
    "reserve text": (lambda p: edit(p, reserve="1K"), "reserve must be an integer, not '1K'"),
    "no entries": (lambda p: set_metadata(p, None), "entries must be a dict of str to str, not None"),
    "no keys": (lambda p: remove_metadata(p, None), "keys must be a str, several, or True, not None"),
    "pattern": (lambda p: split(p, "out", pattern=1), "pattern must be a str, not 1"),
    "shard size": (lambda p: split(p, "out", max_shard_size=1.5), "max_shard_size must be an integer, not 1.5"),
    "stats by numbers": (lambda p: stats(p, {1: None}), "tensors must be a dict by str, not 1"),
    "quantile": (lambda p: stats(p, quantiles=0.5), "quantiles must be numbers, several, not 0.5"),
    "bins": (lambda p: stats(p, bins=1.5), "bins must be an integer, not 1.5"),
    "grep compiled": (lambda p: grep(Compiled(), p), "pattern must be a str, not compiled"),
    "max_count": (lambda p: grep("a", p, max_count="1"), "max_count must be an integer, not '1'"),
    "onerror": (lambda p: grep("a", p, onerror=3), "onerror must be a function, or None, not 3"),
    "grep bytes": (lambda p: grep("a", b"x"), "paths must be a path or several, not b'x'"),
    "grep number": (lambda p: grep("a", 3), "paths must be a path or several, not 3"),
    "grep list of bytes": (
        lambda p: list(grep("a", [b"x"])),
        "a path must be a str or an os.PathLike of one, not b'x'",
    ),
    "hash bytes": (lambda p: hash_files(b"x"), "paths must be a path or several, not b'x'"),
    "verify list of bytes": (
        lambda p: verify_records([b"x"]),
        "a path must be a str or an os.PathLike of one, not b'x'",
    ),
    "manifest bytes": (lambda p: verify_manifest(b"x"), "a path must be a str or an os.PathLike of one, not b'x'"),
    "manifest to bytes": (
        lambda p: write_manifest(p, b"x"),
        "a path must be a str or an os.PathLike of one, not b'x'",
    ),
    "open bytes": (lambda p: checkpoint.open(b"x", "np"), "a path must be a str or an os.PathLike of one, not b'x'"),
}


@pytest.mark.parametrize("call, message", TYPES.values(), ids=TYPES)
def test_a_wrong_type_is_named(path, tmp_path, call, message):
    with pytest.raises(TypeError, match=f"^{re.escape(message)}$"):
        call(path)
    assert os.listdir(tmp_path) == [path]


VALUES = {
    "keep nothing": (lambda p: edit(p, keep=[]), "keep must be one pattern at least: none would leave nothing"),
    "range": (lambda p: stats(p, range=(1, 2, 3)), "range must be two numbers, the lower one first, not (1, 2, 3)"),
    "max_count": (lambda p: grep("a", p, max_count=2**70), f"max_count must be from 0 to {2**63 - 1}, not {2**70}"),
}


@pytest.mark.parametrize("call, message", VALUES.values(), ids=VALUES)
def test_a_wrong_value_is_named(path, call, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        call(path)


def test_tensors_without_data_of_their_own_are_refused_by_name(path):
    torch = pytest.importorskip("torch")
    for tensor, text in (
        (torch.empty(3, device="meta"), "tensor 'x' is on the meta device, and has no data"),
        (torch.eye(2).to_sparse(), "tensor 'x' is not dense but torch.sparse_coo; put in `.to_dense()` of it"),
    ):
        with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
            edit(path, add={"x": tensor})


def test_what_the_library_says_of_an_argument_is_a_value_error_too(path):
    """Whoever checks it, and whichever function it is passed to."""
    for call in (
        lambda: edit(path, rename_regex={"(": ""}),
        lambda: edit(path, cast="i8"),
        lambda: edit(path, rename={"ids": "__metadata__"}),
        lambda: edit(path, order="offset"),
        lambda: split(path, "out", pattern="x"),
        lambda: grep("(", path),
    ):
        with pytest.raises(ValueError):
            call()
    for call in (lambda: edit(path, cast="i8"), lambda: grep("(", path), lambda: split(path, "out", pattern="x")):
        with pytest.raises(SafetensorError) as raised:
            call()
        assert type(raised.value) is SafetensorValueError


def test_what_is_not_there_by_its_name_is_a_key_error_too(path):
    for call, text in (
        (lambda: edit(path, replace={"no": b""}), "model.safetensors: no tensor 'no'"),
        (lambda: edit(path, add={"x": (path, "no")}), "model.safetensors: no tensor 'no'"),
        (lambda: stats(path, "no"), "model.safetensors: no tensor 'no'"),
        (lambda: remove_metadata(path, "no"), "model.safetensors: remove_metadata 'no': no such key"),
    ):
        with pytest.raises(SafetensorKeyError) as raised:
            call()
        assert str(raised.value) == text and isinstance(raised.value, KeyError)


def test_what_the_system_refuses_begins_with_the_file(path, tmp_path):
    split(path, "shards", shard_count=2)
    for call in (
        lambda: edit(path, "no/out"),
        lambda: set_metadata(path, {"a": "b"}, out="no/out"),
        lambda: merge("shards", "no/out"),
        lambda: cat([path], "no/out"),
        lambda: record(path, out="no/out"),
    ):
        with pytest.raises(FileNotFoundError, match="^no/out: ") as raised:
            call()
        assert isinstance(raised.value, SafetensorError)


def test_names_of_files_need_not_be_utf8(path):
    try:
        os.mkdir(b"\xff")
    except OSError:
        pytest.skip("the file system has no such names")
    folder = os.fsdecode(b"\xff")
    file = os.path.join(folder, os.fsdecode(b"\xfe.safetensors"))
    edit(path, file, drop="w")
    edit(path, os.path.join(folder, "second.safetensors"), drop="ids")
    with checkpoint.open(folder, "np") as model:
        assert sorted(model.files) == ["second.safetensors", os.fsdecode(b"\xfe.safetensors")]
        assert model["ids"].tolist() == list(range(5)) and model["w"].all()
    with checkpoint.open(file, "np") as model:
        assert model["ids"].tolist() == list(range(5))
    assert [found.file for found in hash_files([folder, file])][1:] == sorted([file, file])
    assert all(verify_records(file)) if record(file) else False
    write_manifest(path, os.path.join(folder, "manifest.json"))
    assert all(verify_manifest(os.path.join(folder, "manifest.json"), path))
    assert check(folder).ok and not diff(file, file) and len(stats(folder)) == 2 and recover(file) == []
    assert {match.path for match in grep("ids|^w$", folder, names=True)} == {
        file,
        os.path.join(folder, "second.safetensors"),
    }


def test_a_manifest_is_not_written_in_a_dry_run(path, tmp_path):
    assert write_manifest(path, "manifest.json", dry_run=True) == write_manifest(path, "other.json")
    assert sorted(os.listdir(tmp_path)) == ["model.safetensors", "other.json"]
