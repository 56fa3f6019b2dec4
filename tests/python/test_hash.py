# SPDX-License-Identifier: Apache-2.0
"""safetensors.hash: digests, manifests and records, as the program's verb `hash` has them."""

import gc
import hashlib
import json
import os
import sys

import numpy as np
import pytest
from exhaust import every_allocation_may_fail, keeps_nothing
from command import run

from safetensors import SafetensorError, safe_open
from safetensors._safetensors_rust import _hash, _hash_verify, _manifest_names
from safetensors.checkpoint import split
from safetensors.edit import edit, set_metadata
from safetensors.hash import FileHash, hash_files, record, verify_manifest, verify_records, write_manifest

TENSORS = {
    "w": np.arange(6, dtype=np.float32).reshape(2, 3),
    "b": np.array([7, 8], dtype=np.uint8),
    "ß": np.zeros((0, 3)),
}


@pytest.fixture
def path(model):
    return model(TENSORS, {"format": "np"})


@pytest.fixture
def shards(path, tmp_path):
    split(path, tmp_path / "shards", shard_count=2)
    return tmp_path / "shards"


def program(*arguments, codes=(0,)):
    return json.loads(run("hash", "--json", *arguments, codes=codes))["files"]


def as_json(found):
    """What the program prints."""
    members = {"file": found.file, "algorithm": found.algorithm}
    if found.digest is not None:
        members["digest"] = found.digest
    if found.data_digest is not None:
        members["data_digest"] = found.data_digest
    if found.tensors is not None:
        members["tensors"] = [{"name": name, "digest": digest} for name, digest in found.tensors.items()]
    return members


@pytest.mark.parametrize("algorithm", ["sha256", "xxh3", "xxh128"])
@pytest.mark.parametrize("parts, words", [("file", []), (["data", "tensors"], ["-d", "-t"]), (("tensors",), ["-t"])])
def test_digests_are_those_of_the_program(path, shards, algorithm, parts, words):
    for paths in (path, os.fspath(shards), [path, shards / "model.safetensors.index.json"]):
        found = hash_files(paths, algorithm=algorithm, parts=parts)
        given = paths if isinstance(paths, list) else [paths]
        assert [as_json(one) for one in found] == program("-a", algorithm, *words, *given)


def test_a_digest_is_that_of_the_bytes(path):
    (found,) = hash_files(path, parts=["file", "data", "tensors"])
    content = path.read_bytes()
    data = b"".join(array.tobytes() for array in TENSORS.values())
    tensors = {name: hashlib.sha256(array.tobytes()).hexdigest() for name, array in TENSORS.items()}
    whole, behind = hashlib.sha256(content).hexdigest(), hashlib.sha256(data).hexdigest()
    assert found == FileHash(os.fspath(path), "sha256", whole, behind, tensors)


def test_files_are_named_as_the_program_names_them(shards, monkeypatch):
    monkeypatch.chdir(shards)
    run_here = [".", "model.safetensors.index.json", "../shards"]
    assert [as_json(one) for one in hash_files(run_here)] == program(*run_here)


# ------------------------------------------------------------------------------------------- manifests


def test_a_manifest_is_that_of_the_program(path, shards, tmp_path):
    for name, options, words in [
        ("one.json", {}, []),
        ("shards/two.json", dict(data=True, algorithm="xxh3"), ["-d", "-a", "xxh3"]),
    ]:
        found = write_manifest([path, shards], tmp_path / name, **options)
        assert [as_json(one) for one in found] == program("-m", tmp_path / "program.json", *words, path, shards)
        written = (tmp_path / name).read_bytes()
        run("hash", "-m", tmp_path / name, *words, path, shards)
        assert (tmp_path / name).read_bytes() == written
        assert all(verify_manifest(tmp_path / name, [path, shards])) and len(found) == 3


def told(found):
    return [
        {
            "file": one.file,
            "name": one.name,
            "differences": [vars(difference) for difference in one.differences],
            "good": bool(one),
        }
        for one in found
    ]


def test_differences_are_those_of_the_program(path, shards, tmp_path):
    manifest = tmp_path / "manifest.json"
    write_manifest([path, shards], manifest, data=True)
    edit(path, drop="b", replace={"w": TENSORS["w"] + 1}, add={"new": np.ones(1)})
    edit(shards / "model-00001-of-00002.safetensors", cast="f16")
    found = verify_manifest(manifest)
    assert told(found) == program("-c", manifest, codes=(1,))
    assert {difference.kind for one in found for difference in one.differences} >= {
        "size",
        "missing",
        "extra",
        "tensor",
    }
    assert [bool(one) for one in found] == [False, False, True]
    # By where a file lies, and else by its name.
    (tmp_path / "other").mkdir()
    moved = tmp_path / "other" / "model.safetensors"
    os.rename(path, moved)
    assert told(verify_manifest(manifest, moved)) == program("-c", manifest, moved, codes=(1,))


def test_a_link_to_the_manifest_stays(path, tmp_path):
    (tmp_path / "real.json").write_text("old")
    (tmp_path / "link.json").symlink_to("real.json")
    write_manifest(path, tmp_path / "link.json")
    assert (tmp_path / "link.json").is_symlink() and json.loads((tmp_path / "real.json").read_text())["version"] == 1
    assert sorted(os.listdir(tmp_path)) == ["link.json", path.name, "real.json"]


def test_refusals_of_manifests(path, tmp_path):
    manifest = tmp_path / "manifest.json"
    with pytest.raises(FileNotFoundError, match="none"):
        write_manifest(path, tmp_path / "none" / "manifest.json")
    with pytest.raises(FileNotFoundError, match="none"):
        write_manifest([path, tmp_path / "none"], manifest)
    with pytest.raises(SafetensorError, match="model.safetensors"):
        write_manifest([path, path], manifest)
    assert os.listdir(tmp_path) == [path.name]
    manifest.write_text("{")
    with pytest.raises(SafetensorError, match="manifest.json"):
        verify_manifest(manifest)
    write_manifest(path, manifest)
    (tmp_path / "unknown.safetensors").write_bytes(path.read_bytes())
    with pytest.raises(SafetensorError, match="manifest.json: it has no file called 'unknown.safetensors'"):
        verify_manifest(manifest, tmp_path / "unknown.safetensors")
    path.unlink()
    with pytest.raises(FileNotFoundError, match="model.safetensors"):
        verify_manifest(manifest)
    for name in ("/etc/passwd", "../x", "a/../../x"):
        manifest.write_text(
            f'{{"format":"safetensors-manifest","version":1,"hash":"xxh3","files":[{{"name":"{name}","size":1}}]}}'
        )
        with pytest.raises(SafetensorError, match="outside of its folder"):
            verify_manifest(manifest)


def test_a_name_that_two_files_have_is_told(path, tmp_path):
    (tmp_path / "a").mkdir(), (tmp_path / "b").mkdir()
    for folder in "ab":
        (tmp_path / folder / path.name).write_bytes(path.read_bytes())
    write_manifest([tmp_path / "a" / path.name, tmp_path / "b" / path.name], tmp_path / "manifest.json")
    with pytest.raises(SafetensorError, match="it has more than one file called 'model.safetensors'"):
        verify_manifest(tmp_path / "manifest.json", path)
    assert [one.name for one in verify_manifest(tmp_path / "manifest.json", [tmp_path / "b" / path.name])] == [
        "b/model.safetensors"
    ]


# --------------------------------------------------------------------------------------------- records


@pytest.mark.parametrize("algorithm", ["sha256", "xxh3"])
def test_records_are_those_of_the_program(path, tmp_path, algorithm):
    copy = tmp_path / "program.safetensors"
    copy.write_bytes(path.read_bytes())
    summary = record(path, algorithm=algorithm)
    run("hash", "--record", "-a", algorithm, copy)
    assert path.read_bytes() == copy.read_bytes() and summary.count == 3
    assert told(verify_records(path)) == [{**one, "name": None} for one in program("-M", path)]
    # Of another algorithm, in place of the one before.
    record(path, algorithm="xxh128")
    with safe_open(path, "np") as file:
        assert sorted(file.metadata()) == ["format", "st.hash.xxh128"]


def test_a_record_tells_what_has_changed(path):
    record(path)
    set_metadata(path, {"more": "x"})
    edit(path, order="name")
    assert all(verify_records(path))
    edit(path, replace={"b": b"\1\2"})
    (found,) = verify_records([path])
    assert not found and [(one.kind, one.tensor) for one in found.differences] == [("tensor", "b")]
    assert told([found]) == [{**one, "name": None} for one in program("-M", path, codes=(1,))]


def test_a_record_may_go_elsewhere_or_into_the_room(path, tmp_path):
    before = path.read_bytes()
    record(path, dry_run=True)
    record(path, out=tmp_path / "out")
    assert path.read_bytes() == before and all(verify_records(tmp_path / "out"))
    edit(path, reserve=2000)
    inode = path.stat().st_ino
    record(path, in_place=True)
    assert path.stat().st_ino == inode and all(verify_records(path))


def test_refusals_of_records(path):
    with pytest.raises(SafetensorError, match="model.safetensors: no digests are recorded in its metadata"):
        verify_records(path)
    with pytest.raises(SafetensorError, match="header"):
        record(path, in_place=True)
    set_metadata(path, {"st.hash.sha256": "{"})
    with pytest.raises(SafetensorError, match="st.hash.sha256"):
        verify_records(path)


def test_refusals(path):
    for options, error, text in [
        (dict(algorithm="md5"), ValueError, "algorithm must be one of 'sha256', 'xxh3', 'xxh128', not 'md5'"),
        (dict(parts="all"), ValueError, "parts must be some of 'file', 'data', 'tensors', not 'all'"),
        (dict(parts=[]), ValueError, "parts must be some of"),
        (dict(progress="x"), TypeError, "argument 'progress': 'str' object is not a function"),
    ]:
        with pytest.raises(error, match=text):
            hash_files(path, **options)
    with pytest.raises(TypeError):
        hash_files([3])


def test_nothing_is_kept(path, tmp_path):
    record(path)

    def all_of_it():
        hash_files(path, parts=["file", "tensors"], progress=lambda done, total: True)
        write_manifest(path, tmp_path / "manifest.json")
        verify_manifest(tmp_path / "manifest.json")
        verify_records(path)
        with pytest.raises(ZeroDivisionError):
            verify_records(path, progress=lambda done, total: 1 // 0)
        with pytest.raises(FileNotFoundError):
            hash_files([path, tmp_path / "none"])

    keeps_nothing(all_of_it)


def test_every_allocation_of_pythons_may_fail(path):
    """It is told, or what comes out is right all the same."""
    name = os.fspath(path)
    inputs, places = ((name, "a"),), ((name, 0),)
    text = _hash(inputs, "sha256", 7, True, 0, None)[1]
    edit(path, replace={"b": b"\1\2"})
    for call in (
        lambda: _hash(inputs, "sha256", 7, True, 0, None),
        lambda: _hash_verify(places, text, "m", 0, None),
        lambda: _manifest_names(text, "m"),
    ):
        every_allocation_may_fail(call, 150, 0)


@pytest.mark.parametrize("place", ["model", "link", "shard", "index", "damaged"])
def test_a_manifest_takes_the_place_of_no_model(path, shards, tmp_path, place):
    (tmp_path / "link").symlink_to(path)
    (tmp_path / "damaged").write_bytes(path.read_bytes()[:-1])
    target = {
        "model": path,
        "shard": shards / "model-00001-of-00002.safetensors",
        "index": shards / "model.safetensors.index.json",
    }.get(place, tmp_path / place)
    before = target.read_bytes()
    for dry_run in (False, True):
        with pytest.raises(ValueError, match="would take the place of a model"):
            write_manifest(path, target, dry_run=dry_run)
    run("hash", "-m", target, path, codes=(2,))
    assert target.read_bytes() == before


def test_a_manifest_keeps_the_mode_of_the_old_one(path, tmp_path):
    target = tmp_path / "manifest.json"
    target.write_text("old")
    target.chmod(0o600)
    write_manifest(path, target)
    assert target.stat().st_mode & 0o777 == 0o600 and target.read_text() != "old"
