# SPDX-License-Identifier: Apache-2.0
"""safetensors.edit over checkpoints: what it does to shards and their index, and what it refuses."""

import gc
import json
import os
import shutil
import sys

import numpy as np
import pytest
from exhaust import every_allocation_may_fail
from command import run

from safetensors import SafetensorError, _editing, checkpoint, diff, safe_open
from safetensors._safetensors_rust import _edit
from safetensors.checkpoint import merge, split
from safetensors.edit import CastLoss, edit, remove_metadata, set_metadata
from safetensors.hash import record, verify_records
from safetensors.numpy import load_file, save_file

TENSORS = {
    "layers.0.w": np.arange(6, dtype=np.float32).reshape(2, 3),
    "layers.1.w": np.array([1.0, 70000.0, -1e-9, 0.5], dtype=np.float32),
    "head": np.array([1e300, 2.0], dtype=np.float64),
    "ids": np.arange(5, dtype=np.int64),
}
INDEX = "model.safetensors.index.json"


@pytest.fixture
def shards(tmp_path):
    save_file(TENSORS, tmp_path / "model.safetensors", {"format": "np", "title": "ß"})
    split(tmp_path / "model.safetensors", tmp_path / "shards", shard_count=3)
    return tmp_path / "shards"


@pytest.fixture
def folder(shards):
    """The same without an index."""
    (shards / INDEX).unlink()
    return shards


def contents(folder):
    return {name: (folder / name).read_bytes() for name in sorted(os.listdir(folder))}


def index_of(folder):
    return json.loads((folder / INDEX).read_text())


def tensors_of(folder):
    with checkpoint.open(folder, "np") as model:
        return model.get_tensors()


def metadata_of(path):
    with safe_open(path, "np") as file:
        return file.metadata()


# ------------------------------------------------------------------------------ as one file is changed

CHANGES = [
    dict(rename={"layers.*.w": "blk.*.weight"}),
    dict(rename={"head": "ids", "ids": "head"}, rename_regex=["^i=I"]),
    dict(rename_regex={r"^layers\.([0-9])": r"l\1"}),
    dict(drop="layers.*"),
    dict(keep=["ids", "layers.*"], drop="layers.0.*"),
    dict(cast="bf16"),
    dict(cast={"layers.*": "F16", "head": "F8_E4M3"}),
    dict(replace={"ids": np.arange(3, dtype=np.int8), "head": bytes(range(16))}),
    dict(add={"new": np.ones((2, 2))}, drop="head"),
    dict(order="name"),
    dict(metadata={"b": "2"}, remove_metadata="format"),
]


@pytest.mark.parametrize("options", CHANGES, ids=lambda case: str(case)[:60])
@pytest.mark.parametrize("elsewhere", [False, True])
def test_the_tensors_are_those_of_an_edit_of_one_file(shards, tmp_path, options, elsewhere):
    whole, out = tmp_path / "whole.safetensors", tmp_path / "out" if elsewhere else None
    if options.get("rename", {}).get("head") == "ids":  # one after the other, as for one file
        options = {**options, "rename": {"head": "x", "ids": "head", "x": "ids"}}
    of_one = edit(tmp_path / "model.safetensors", whole, **options)
    before = contents(shards)
    found = edit(shards, out, **options)
    after = out or shards
    result = diff(whole, after, metadata=False)
    assert not result, result.tensors
    for name in ("count", "renamed", "dropped", "cast", "replaced", "added", "written", "moved", "overflowed"):
        assert getattr(found, name) == getattr(of_one, name), name
    weights = index_of(after)["weight_map"]
    assert weights.keys() == load_file(whole).keys()
    assert index_of(after)["metadata"]["total_size"] == sum(array.nbytes for array in tensors_of(after).values())
    assert {name for name in os.listdir(after)} == {INDEX, *weights.values()}
    if elsewhere:
        assert contents(shards) == before


VERBS = [
    (dict(rename={"layers.*.w": "blk.*.weight"}), ["edit", "-r", "layers.*.w=blk.*.weight"]),
    (dict(rename_regex={r"^layers\.([0-9])": r"l\1"}), ["edit", "-e", r"^layers\.([0-9])=l\1"]),
    (dict(keep=["ids", "layers.*"], drop="layers.0.*"), ["edit", "-k", "ids", "-k", "layers.*", "-x", "layers.0.*"]),
    (dict(cast={"layers.*": "F16", "head": "F8_E4M3"}), ["edit", "-c", "F16:layers.*", "-c", "F8_E4M3:head"]),
    (dict(order="name", reserve=1000), ["edit", "--order", "name", "--reserve", "1000"]),
    (dict(align=4096), ["edit", "--align", "4096"]),
    (dict(metadata={"b": "2", "a": "ß"}), ["meta", "set", "b", "2", "a", "ß"]),
    (dict(remove_metadata="format"), ["meta", "rm", "format"]),
    (dict(remove_metadata=True), ["meta", "rm", "--all"]),
]


@pytest.mark.parametrize("options, verb", VERBS, ids=lambda case: str(case)[:60])
def test_the_files_are_those_of_the_program(shards, tmp_path, options, verb):
    def program(path, *words):
        run(*(verb[:2] if verb[0] == "meta" else verb[:1]), path, *verb[2 if verb[0] == "meta" else 1 :], *words)

    edit(shards, tmp_path / "python", **options)
    program(shards, "-o", tmp_path / "program")
    assert contents(tmp_path / "python") == contents(tmp_path / "program") != contents(shards)
    copy = tmp_path / "copy"
    shutil.copytree(shards, copy)
    edit(shards, **options)
    program(copy)
    assert contents(shards) == contents(copy) == contents(tmp_path / "python")


def test_data_of_other_files_is_taken_as_the_program_does(shards, tmp_path):
    other, raw = tmp_path / "other.safetensors", tmp_path / "raw"
    save_file({"more": np.arange(3, dtype=np.int16), "head": np.ones(2)}, other)
    raw.write_bytes(bytes(range(40)))
    edit(shards, tmp_path / "python", replace={"head": (other, "more"), "ids": raw.read_bytes()}, add={"more": other})
    words = ["-p", f"head={other}:more", "-p", f"ids={raw}", "-a", f"more={other}"]
    run("edit", shards, *words, "-o", tmp_path / "program")
    assert contents(tmp_path / "python") == contents(tmp_path / "program")


def test_data_of_shards_is_taken(shards, tmp_path):
    edit(shards, tmp_path / "other", rename={"*": "o.*"})
    whole = tmp_path / "model.safetensors"
    for place in (tmp_path / "other", tmp_path / "other" / INDEX):
        edit(
            whole,
            tmp_path / "out",
            replace={"ids": (place, "o.head")},
            add={"o.ids": place, "x": (place, "o.layers.1.w")},
        )
        found = load_file(tmp_path / "out")
        for name, source in [("ids", "head"), ("o.ids", "ids"), ("x", "layers.1.w")]:
            assert found[name].tobytes() == TENSORS[source].tobytes()
        with pytest.raises(SafetensorError, match="other.*: no tensor 'none'"):
            edit(whole, tmp_path / "out", add={"x": (place, "none")})


def test_an_index_or_a_folder_without_one(shards, tmp_path):
    edit(shards / INDEX, tmp_path / "a", drop="head")
    edit(shards, tmp_path / "b", drop="head")
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    (shards / INDEX).unlink()
    edit(shards, tmp_path / "c", drop="head")
    assert not diff(tmp_path / "a", tmp_path / "c", metadata=False)
    assert not (tmp_path / "c" / INDEX).exists()


def test_what_is_added_goes_into_the_last_file(shards):
    edit(shards, add={"new": np.ones(3), "aaa": np.zeros(1)})
    weights = index_of(shards)["weight_map"]
    assert weights["new"] == weights["aaa"] == max(weights.values())


def test_metadata_is_changed_in_each_file(shards):
    files = sorted(set(index_of(shards)["weight_map"].values()))
    before = index_of(shards)
    set_metadata(shards, {"who": "me", "format": "pt"})
    assert [metadata_of(shards / name) for name in files] == [{"format": "pt", "who": "me"}] * 3
    remove_metadata(shards / files[0], "who")
    remove_metadata(shards, ["who", "format"])
    assert {str(metadata_of(shards / name)) for name in files} <= {"None", "{}"}
    with pytest.raises(SafetensorError, match="shards: remove_metadata 'who': no such key"):
        remove_metadata(shards, "who")
    assert index_of(shards) == before


def test_files_that_stay_are_not_written(shards):
    weights = index_of(shards)["weight_map"]
    before = {name: (shards / name).stat().st_ino for name in os.listdir(shards)}
    edit(shards, replace={"head": bytes(16)})
    after = {name: (shards / name).stat().st_ino for name in os.listdir(shards)}
    assert {name for name in before if before[name] != after[name]} == {weights["head"]}
    edit(shards)
    set_metadata(shards, {})
    edit(shards, rename={"ids": "ids"})
    assert after == {name: (shards / name).stat().st_ino for name in os.listdir(shards)}


def test_losses_name_the_file(shards, tmp_path):
    weights = index_of(shards)["weight_map"]
    summary = edit(shards, tmp_path / "out", cast="f16")
    losses = {loss.name: loss for loss in summary.casts}
    assert losses["layers.1.w"] == CastLoss("layers.1.w", "F16", 4, 1, 1, weights["layers.1.w"])
    assert losses["head"] == CastLoss("head", "F16", 2, 1, 0, weights["head"])
    assert (summary.overflowed, summary.underflowed) == (2, 1)
    (told,) = json.loads(run("edit", "--json", shards, "-c", "f16", "-o", tmp_path / "program"))["files"]
    assert [{"new_dtype": loss.dtype, **vars(loss)} for loss in summary.casts] == [
        {"dtype": loss["new_dtype"], **loss} for loss in told["casts"]
    ]
    for name, member in [("count", "tensors"), ("header", "header_text"), ("room", "header_room"), ("size", "size")]:
        assert getattr(summary, name) == told[member], name
    before = contents(shards)
    with pytest.raises(
        SafetensorError, match=r"shards: tensor '.*': 1 of . numbers are beyond the range of F16, and so"
    ):
        edit(shards, cast="f16", strict=True)
    assert contents(shards) == before


def test_a_dry_run_changes_nothing(shards, tmp_path):
    before = contents(shards)
    dry = edit(shards, tmp_path / "out", drop="head", cast={"layers.*": "bf16"}, dry_run=True)
    assert contents(shards) == before and not (tmp_path / "out").exists()
    wet = edit(shards, tmp_path / "out", drop="head", cast={"layers.*": "bf16"})
    assert (dry.size, dry.count, dry.dropped, dry.cast) == (wet.size, wet.count, wet.dropped, wet.cast)


def test_what_is_written_is_a_checkpoint_for_the_program(shards, tmp_path):
    edit(shards, tmp_path / "out", rename={"layers.*": "l.*"}, drop="ids")
    run("check", tmp_path / "out")
    merge(tmp_path / "out", tmp_path / "merged")
    assert sorted(load_file(tmp_path / "merged")) == ["head", "l.0.w", "l.1.w"]


# ------------------------------------------------------------------------------------------- in place


def test_in_place(shards):
    edit(shards, reserve=500)
    before = {name: (shards / name).stat().st_ino for name in os.listdir(shards)}
    summary = edit(shards, replace={"head": np.array([3.0, 4.0])}, metadata={"k": "v"}, in_place=True)
    assert summary.in_place
    assert before == {name: (shards / name).stat().st_ino for name in os.listdir(shards)}
    found = tensors_of(shards)
    assert found["head"].tolist() == [3.0, 4.0] and found["ids"].tobytes() == TENSORS["ids"].tobytes()
    assert all(metadata_of(shards / name)["k"] == "v" for name in before if name != INDEX)


@pytest.mark.parametrize("dry_run", [False, True])
@pytest.mark.parametrize(
    "options, text",
    [
        (dict(rename={"ids": "IDS"}), "names"),
        (dict(drop="ids"), "shards"),
        (dict(cast="f16"), "shards"),
        (dict(metadata={"k": "v" * 1000}), "header"),
    ],
)
def test_in_place_has_limits(shards, options, text, dry_run):
    edit(shards, reserve=500)
    before = contents(shards)
    with pytest.raises(SafetensorError, match=text):
        edit(shards, in_place=True, dry_run=dry_run, **options)
    assert contents(shards) == before


def test_names_change_in_place_where_there_is_no_index(folder):
    edit(folder, reserve=500)
    edit(folder, rename={"ids": "IDS"}, in_place=True)
    assert "IDS" in tensors_of(folder)


# -------------------------------------------------------------------------------------------- records


def test_records_of_shards(shards, tmp_path):
    copy = tmp_path / "program"
    copy.mkdir()
    for name, content in contents(shards).items():
        (copy / name).write_bytes(content)
    told = []
    summary = record(shards, algorithm="xxh3", progress=lambda done, total: told.append((done, total)))
    run("hash", "--record", "-a", "xxh3", copy)
    assert contents(shards) == contents(copy)
    assert summary.count == 4 and all(verify_records(shards)) and len(verify_records([shards])) == 3
    total = sum(array.nbytes for array in TENSORS.values())
    assert told[-1] == (2 * total, 2 * total)
    edit(shards, replace={"head": bytes(16)})
    assert [bool(found) for found in verify_records(shards / INDEX)].count(False) == 1


# ------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    "options, error, text",
    [
        (dict(drop="nothing"), SafetensorError, r"shards: drop 'nothing': no tensor matches"),
        (dict(cast={"ids": "f16"}), SafetensorError, r"shards: cast 'ids': no tensor of floats matches"),
        (dict(rename={"nothing": "x"}), SafetensorError, r"rename 'nothing': no tensor matches"),
        (dict(rename={"layers.*": "x"}), SafetensorError, r'tensor "x"'),
        (dict(rename={"ids": "head"}), SafetensorError, r'tensor "head": '),
        (dict(add={"ids": np.ones(1)}), SafetensorError, r'tensor "ids": '),
        (dict(replace={"nothing": b""}), SafetensorError, r"shards: no tensor 'nothing'"),
        (dict(remove_metadata="none"), SafetensorError, r"shards: remove_metadata 'none': no such key"),
        (dict(out="missing/there"), OSError, r"missing"),
    ],
    ids=lambda case: str(case)[:50],
)
def test_refusals_leave_all_as_it_was(shards, monkeypatch, tmp_path, options, error, text):
    monkeypatch.chdir(tmp_path)
    before = contents(shards)
    with pytest.raises(error, match=text):
        edit("shards", **options)
    assert contents(shards) == before and sorted(os.listdir(tmp_path)) == ["model.safetensors", "shards"]


def test_files_that_are_there_may_be_kept(shards, tmp_path):
    edit(shards, tmp_path / "out", drop="ids")
    before = contents(tmp_path / "out")
    with pytest.raises(FileExistsError):
        edit(shards, tmp_path / "out", drop="head", overwrite=False)
    assert contents(tmp_path / "out") == before
    edit(shards, tmp_path / "out", drop="head")
    assert contents(tmp_path / "out") != before


def test_progress_ends_it_before_anything_has_changed(shards, tmp_path):
    class Enough(Exception):
        pass

    def progress(done, total):
        if done == total:
            raise Enough

    before = contents(shards)
    with pytest.raises(Enough):
        edit(shards, cast="bf16", progress=progress)
    with pytest.raises(Enough):
        edit(shards, tmp_path / "out", cast="bf16", progress=progress)
    assert contents(shards) == before and contents(tmp_path / "out") == {}


def test_nothing_is_kept(shards, tmp_path):
    array = np.arange(5)

    def all_of_it():
        edit(shards, tmp_path / "out", replace={"ids": array}, cast={"layers.*": "f16"}, durability="none")
        with pytest.raises(SafetensorError):
            edit(shards, drop="nothing", replace={"ids": array})

    all_of_it()
    gc.collect()
    count, descriptors, objects = sys.getrefcount(array), len(os.listdir("/proc/self/fd")), len(gc.get_objects())
    for _ in range(20):
        all_of_it()
    gc.collect()
    assert sys.getrefcount(array) == count and len(os.listdir("/proc/self/fd")) <= descriptors + 4
    assert len(gc.get_objects()) < objects + 100


def test_every_allocation_of_pythons_may_fail(shards, tmp_path):
    """It is told, and nothing is there; or what comes out is right all the same."""
    name, out = os.fspath(shards), os.fspath(tmp_path / "out")
    making = _editing.making("name", None, 100, "none", True, False, None)
    steps = [("keep", ["*"]), ("drop", "ids"), ("cast", "f16", "layers.*"), ("glob", "head", "tail"), ("set", "k", "v")]
    every_allocation_may_fail(
        lambda: _edit(name, out, steps, making, False, False), 150, 10, left=lambda: contents(tmp_path / "out")
    )
