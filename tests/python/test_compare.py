# SPDX-License-Identifier: Apache-2.0
"""safetensors.diff and safetensors.salvage: what they tell is what the program's verbs tell."""

import dataclasses
import gc
import json
import os
import sys

import numpy as np
import pytest
from exhaust import every_allocation_may_fail, keeps_nothing
from command import run

import safetensors
from safetensors import SafetensorError, diff, salvage
from safetensors._safetensors_rust import _compare, _salvage, _salvage_checkpoint
from safetensors.checkpoint import split
from safetensors.numpy import load_file

ONE = {
    "same": np.arange(4),
    "near": np.array([1.0, 2.0, np.nan, np.inf, 5.0]),
    "kind": np.array([1, 2, 3], dtype=np.float32),
    "shape": np.ones((2, 3)),
    "gone": np.ones(2, np.int8),
    "called": np.arange(7, dtype=np.uint16),
    "int": np.array([0, 2**62], dtype=np.int64),
}
OTHER = {
    "same": np.arange(4),
    "near": np.array([1.0, 2.0000001, np.nan, -np.inf, np.nan]),
    "kind": np.array([1, 2, 3], dtype=np.float16),
    "shape": np.ones((3, 2)),
    "new": np.ones(5, np.int8),
    "named": np.arange(7, dtype=np.uint16),
    "int": np.array([0, -(2**62)], dtype=np.int64),
}


@pytest.fixture
def pair(model):
    a = model(ONE, {"format": "np", "a": "1", "c": "x"}, name="a.safetensors")
    b = model(OTHER, {"format": "np", "b": "2", "c": "y"}, name="b.safetensors")
    return a, b


def program(*arguments):
    return json.loads(run(*arguments, codes=(0, 1)))


def as_json(value):
    """What the program prints: no members of a deviation of bytes, and NaN and infinity as texts."""
    if dataclasses.is_dataclass(value):
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {name: as_json(member) for name, member in value.items()}
    if isinstance(value, tuple):
        return [as_json(member) for member in value]
    if isinstance(value, float) and not np.isfinite(value):
        return {"nan": "nan", "inf": "inf", "-inf": "-inf"}[str(value)]
    return value


CASES = [
    (dict(), []),
    (dict(rtol=1e-5), ["--rtol", "1e-5"]),
    (dict(atol=0.5, rtol=0), ["--atol", "0.5", "--rtol", "0"]),
    (dict(equal_nan=True, cast=True), ["--equal-nan", "--cast"]),
    (dict(renames=True, places=True), ["--renames", "--places"]),
    (dict(values=False), ["--structure"]),
    (dict(metadata=False), ["--no-metadata"]),
    (dict(tensors=False), ["--metadata"]),
]


@pytest.mark.parametrize("options, words", CASES)
def test_differences_are_those_of_the_program(pair, options, words):
    found = diff(*pair, **options)
    expected = program("diff", "--json", *words, *pair)["diff"]
    assert as_json(found) == expected
    assert found and not found.same


@pytest.mark.parametrize("options, words", CASES)
def test_differences_of_checkpoints_are_those_of_the_program(pair, tmp_path, options, words):
    for name, path in zip("ab", pair):
        split(path, tmp_path / name, shard_count=3)
    index = tmp_path / "b" / "model.safetensors.index.json"
    for sides in [(tmp_path / "a", index), (pair[0], tmp_path / "b"), (index, pair[0])]:
        found = diff(*sides, **options)
        assert as_json(found) == program("diff", "--json", *words, *sides)["diff"]
        assert found
    assert not diff(pair[0], tmp_path / "a", places=False)


def test_a_diff_of_the_same_is_false(pair):
    found = diff(pair[0], os.fspath(pair[0]))
    assert not found and found.same and found.metadata == found.tensors == ()
    assert found.summary.same == len(ONE) and found.summary.elements == sum(array.size for array in ONE.values())


def test_near_enough_is_the_same(model):
    a = model({"w": np.array([1.0, 2.0])}, name="a.safetensors")
    b = model({"w": np.array([1.0, 2.25])}, name="b.safetensors")
    assert diff(a, b) and diff(a, b, atol=0.125) and not diff(a, b, atol=0.25) and not diff(a, b, rtol=0.125)
    (change,) = diff(a, b, atol=0.25).tensors
    assert not change.differs and change.parts == ("values",)
    assert (change.values.max_absolute, change.values.max_absolute_at, change.values.different) == (0.25, 1, 1)
    assert change.a == safetensors.SideTensor("w", "F64", (2,), 2, 16, change.a.offset)


def test_brief_stops_at_the_first(pair):
    assert diff(*pair, brief=True).summary.differences == 1


def test_refusals_of_diff(pair, tmp_path):
    for options, text in [
        (dict(rtol=-1), "rtol must be a number that is not below 0"),
        (dict(atol=float("nan")), "atol must be a number"),
        (dict(atol=float("inf")), "atol must be a number"),
        (dict(metadata=False, tensors=False), "nothing is to be compared"),
    ]:
        with pytest.raises(ValueError, match=text):
            diff(*pair, **options)
    with pytest.raises(FileNotFoundError, match="none"):
        diff(pair[0], tmp_path / "none")
    (tmp_path / "bad").write_bytes(b"\xff" * 20)
    with pytest.raises(SafetensorError, match="Error while deserializing header"):
        diff(tmp_path / "bad", pair[0])
    with pytest.raises(TypeError):
        diff(pair[0], 3)
    (tmp_path / "empty").mkdir()
    with pytest.raises(SafetensorError, match="empty"):
        diff(pair[0], tmp_path / "empty")
    (tmp_path / "x.json").write_text('{"weight_map": {"w": "gone.safetensors"}}')
    with pytest.raises(FileNotFoundError, match="gone.safetensors"):
        diff(tmp_path / "x.json", pair[0])


# ------------------------------------------------------------------------------------------- salvage


@pytest.fixture
def damaged(model, tmp_path):
    path = model(ONE, {"format": "np"}, name="damaged.safetensors")
    with open(path, "r+b") as file:
        file.truncate(path.stat().st_size - 20)
    return path


def items_of(found):
    return [{name: member for name, member in vars(item).items() if name != "file"} for item in found]


@pytest.mark.parametrize("dry", [False, True])
def test_what_is_saved_is_what_the_program_saves(damaged, tmp_path, dry):
    found = salvage(damaged, tmp_path / "python", dry_run=dry)
    words = ["--dry-run"] if dry else []
    told = program("check", "--json", *words, "--repair", tmp_path / "program", damaged)["files"][0]
    assert items_of(found) == told["items"]
    for name in ("saved", "changed", "lost", "bytes", "metadata", "size"):
        assert getattr(found, name) == told[name], name
    assert not found and found.lost >= 1 and found.saved == len(ONE) - 2
    assert [item.kind for item in found].count("saved") == found.saved
    if dry:
        assert not (tmp_path / "python").exists()
    else:
        assert (tmp_path / "python").read_bytes() == (tmp_path / "program").read_bytes()
        assert set(load_file(tmp_path / "python")) < set(ONE)


@pytest.fixture
def broken(pair, tmp_path):
    """Shards of which one is cut off and one is missing, and an index that names a tensor which is nowhere."""
    split(pair[0], tmp_path / "broken", shard_count=3)
    first, second, _ = sorted((tmp_path / "broken").glob("*.safetensors"))
    with open(first, "r+b") as file:
        file.truncate(first.stat().st_size - 3)
    index = tmp_path / "broken" / "model.safetensors.index.json"
    index.write_text(index.read_text().replace('"weight_map": {', f'"weight_map": {{"ghost": "{first.name}", '))
    second.unlink()
    return tmp_path / "broken"


@pytest.mark.parametrize("dry", [False, True])
@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("indexed", [False, True])
def test_what_is_saved_of_shards_is_what_the_program_saves(broken, tmp_path, dry, named, indexed):
    index = broken / "model.safetensors.index.json"
    if not indexed:
        index.unlink()
    path = index if named and indexed else broken
    told = []
    found = salvage(path, tmp_path / "python", dry_run=dry, progress=lambda done, total: told.append((done, total)))
    words = ["--dry-run"] if dry else []
    files = program("check", "--json", *words, "--repair", tmp_path / "program", path)["files"]
    assert [items_of(one) for one in found.files] == [file["items"] for file in files[:2]]
    assert [one.file for one in found.files] == [file["file"] for file in files[:2]]
    assert items_of(found) == [item for file in files for item in file["items"]]
    assert found.saved == sum(file.get("saved", 0) for file in files) and not found
    assert len(files) == 2 + indexed and all(done <= total for done, total in told)
    if indexed:
        assert {item.file for item in found} == {file["file"] for file in files if file["items"]}
    if dry:
        assert not (tmp_path / "python").exists()
        return
    assert sorted(os.listdir(tmp_path / "python")) == sorted(os.listdir(tmp_path / "program"))
    for name in os.listdir(tmp_path / "python"):
        assert (tmp_path / "python" / name).read_bytes() == (tmp_path / "program" / name).read_bytes()
    assert not diff(tmp_path / "python", tmp_path / "program")


def test_refusals_of_salvage_of_shards(broken, pair, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("x")
    with pytest.raises(SafetensorError, match="full: is not empty; name a new folder"):
        salvage(broken, tmp_path / "full")
    with pytest.raises(OSError):
        salvage(broken, tmp_path / "none" / "out")

    def progress(done, total):
        raise ZeroDivisionError

    for made in (False, True):
        if made:
            (tmp_path / "out").mkdir()
        with pytest.raises(ZeroDivisionError):
            salvage(broken, tmp_path / "out", progress=progress)
        assert (os.listdir(tmp_path / "out") == []) if made else not (tmp_path / "out").exists()
    (broken / "other.safetensors.index.json").write_text('{"weight_map": {}}')
    with pytest.raises(SafetensorError, match="broken: holds 2 indices"):
        salvage(broken, tmp_path / "new")
    (tmp_path / "gone.json").write_text('{"weight_map": {"w": "gone.safetensors"}}')
    with pytest.raises(SafetensorError, match="gone.json: none of its files is there"):
        salvage(tmp_path / "gone.json", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_salvage_of_shards_is_all_or_nothing(broken, tmp_path):
    """What cannot be read, or has no index, is an error, and nothing is left."""
    first, last = sorted(broken.glob("*.safetensors"))
    whole = last.read_bytes()
    last.unlink()
    last.mkdir()
    with pytest.raises(SafetensorError, match=f"{last.name}: is a directory"):
        salvage(broken, tmp_path / "out")
    last.rmdir()
    last.write_bytes(first.read_bytes())
    with pytest.raises(SafetensorError, match="tensor .*: stands in"):
        salvage(broken, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    last.write_bytes(whole)
    (tmp_path / "out").mkdir()
    assert salvage(broken, tmp_path / "out").size > 0


def test_salvage_keeps_the_metadata_of_the_index(broken, tmp_path):
    index = broken / "model.safetensors.index.json"
    index.write_text(index.read_text().replace('"metadata": {', '"metadata": {"note": [1, "\u00e9"], '))
    salvage(broken, tmp_path / "out")
    about = json.loads((tmp_path / "out" / index.name).read_text())["metadata"]
    assert (
        about["note"] == [1, "\u00e9"] and about["total_size"] < json.loads(index.read_text())["metadata"]["total_size"]
    )


def test_of_a_good_file_all_is_saved(pair, tmp_path):
    found = salvage(pair[0], tmp_path / "out")
    assert found and (found.saved, found.lost, found.changed, found.errors) == (len(ONE), 0, 0, 0)
    assert set(load_file(tmp_path / "out")) == set(ONE)


def test_refusals_of_salvage(damaged, tmp_path):
    before = damaged.read_bytes()
    with pytest.raises(ValueError, match="the damaged file itself"):
        salvage(damaged, damaged)
    with pytest.raises(FileNotFoundError):
        salvage(tmp_path / "none", tmp_path / "out")
    with pytest.raises(OSError):
        salvage(damaged, tmp_path / "none" / "out")
    (tmp_path / "noise").write_bytes(b"\xff" * 50)
    found = salvage(tmp_path / "noise", tmp_path / "out")
    assert not found and found.size == 0 and not (tmp_path / "out").exists()
    assert damaged.read_bytes() == before


def test_nothing_is_kept(pair, damaged, broken, tmp_path):
    def all_of_it():
        diff(*pair, cast=True, renames=True)
        salvage(damaged, tmp_path / "out")
        salvage(broken, tmp_path / "folder", dry_run=True)
        with pytest.raises(FileNotFoundError):
            diff(pair[0], tmp_path / "none")

    keeps_nothing(all_of_it)


def test_every_allocation_of_pythons_may_fail(pair, damaged, broken, tmp_path):
    """It is told, or what comes out is right all the same."""
    a, b, path, out = *map(os.fspath, pair), os.fspath(damaged), os.fspath(tmp_path / "out")
    folder = os.fspath(broken)
    for call in (
        lambda: _compare(a, b, 7, 16, 0.0, 0.0, None, None),
        lambda: _salvage(path, out, None),
        lambda: _salvage_checkpoint(folder, out + "-folder", True, None),
    ):
        every_allocation_may_fail(call, 200, 5)
