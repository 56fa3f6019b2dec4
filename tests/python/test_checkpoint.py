# SPDX-License-Identifier: Apache-2.0
"""safetensors.checkpoint: split, merge and cat, byte for byte as the program's verbs; open; and what they refuse."""

import gc
import json
import os
import sys

import numpy as np
import pytest
from exhaust import every_allocation_may_fail
from command import run

from safetensors import SafetensorError, _editing, checkpoint, safe_open
from safetensors._safetensors_rust import _cat, _checkpoint, _merge, _split
from safetensors.checkpoint import Checkpoint, Shard, Shards, cat, merge, split
from safetensors.numpy import load_file

TENSORS = {f"layer.{i}": np.full(10 + i, i, np.float32) for i in range(8)}
METADATA = {"format": "np", "title": "ß"}


@pytest.fixture
def path(model):
    return model(TENSORS, METADATA)


def contents(folder):
    return {name: (folder / name).read_bytes() for name in sorted(os.listdir(folder))}


SPLITS = [
    (dict(), []),
    (dict(max_shard_size=100), ["--max-size", "100"]),
    (dict(max_shard_size="0.1KiB"), ["--max-size", "0.1KiB"]),
    (dict(shard_count=3), ["--count", "3"]),
    (
        dict(shard_count=2, pattern="m{suffix}.safetensors", align=64),
        ["-c", "2", "-p", "m{suffix}.safetensors", "--align", "64"],
    ),
]


@pytest.mark.parametrize("options, words", SPLITS)
def test_shards_are_those_of_the_program(path, tmp_path, options, words):
    shards = split(path, tmp_path / "python", **options)
    run("split", *words, path, tmp_path / "program")
    assert contents(tmp_path / "python") == contents(tmp_path / "program")
    told = json.loads(run("split", "--dry-run", "--json", *words, path, tmp_path / "program"))["files"][0]
    assert shards.index == told["index"]
    assert [(s.name, s.size, list(s.tensors)) for s in shards] == [
        (s["name"], s["size"], s["tensors"]) for s in told["shards"]
    ]


@pytest.mark.parametrize("dry", [False, True])
def test_what_is_cleaned_away_is_what_the_program_removes(path, tmp_path, dry):
    for name in ("python", "program"):
        split(path, tmp_path / name, max_shard_size=100)
        (tmp_path / name / "other-00001-of-00009.safetensors").write_text("x")
    words = ["--dry-run"] if dry else []
    told = json.loads(run("split", "--clean", "--json", *words, path, tmp_path / "program"))["files"][0]
    shards = split(path, tmp_path / "python", clean=True, dry_run=dry)
    assert list(shards.removed) == told["removed"] and shards.removed
    assert contents(tmp_path / "python") == contents(tmp_path / "program")
    assert all((tmp_path / "python" / name).exists() == dry for name in shards.removed)
    assert (tmp_path / "python" / "other-00001-of-00009.safetensors").exists()
    assert split(path, tmp_path / "new", shard_count=2, clean=True).removed == ()


def test_a_dry_run_makes_nothing(path, tmp_path):
    shards = split(path, tmp_path / "out", shard_count=2, dry_run=True)
    assert isinstance(shards, Shards) and len(shards) == 2 and not (tmp_path / "out").exists()
    assert shards == split(path, tmp_path / "out", shard_count=2)
    assert isinstance(shards.shards[0], Shard)
    assert merge(tmp_path / "out", tmp_path / "whole", dry_run=True).count == 8
    assert cat([path], tmp_path / "whole", dry_run=True).count == 8
    assert not (tmp_path / "whole").exists()


@pytest.mark.parametrize(
    "options, words",
    [
        (dict(), []),
        (dict(order="file"), ["-O", "file"]),
        (dict(order="name", align=512, reserve=99), ["-O", "name", "--align", "512", "-R", "99"]),
    ],
)
def test_merged_files_are_those_of_the_program(path, tmp_path, options, words):
    split(path, tmp_path / "shards", max_shard_size=100)
    for source in (tmp_path / "shards", tmp_path / "shards" / "model.safetensors.index.json"):
        summary = merge(source, tmp_path / "python", **options)
        run("merge", *words, source, "-o", tmp_path / "program")
        assert (tmp_path / "python").read_bytes() == (tmp_path / "program").read_bytes()
        assert (summary.count, summary.size) == (8, (tmp_path / "python").stat().st_size)
    found = load_file(tmp_path / "python")
    assert {name: array.tobytes() for name, array in found.items()} == {n: a.tobytes() for n, a in TENSORS.items()}


@pytest.fixture
def pair(model):
    a = model({"w": np.ones(3), "b": np.zeros(2)}, {"format": "np", "z": "1", "who": "a"}, name="a.safetensors")
    b = model({"w": np.arange(4)}, {"format": "np", "a": "2", "who": "b"}, name="b.v2.safetensors")
    return a, b


CATS = [
    (dict(prefixes=["x.", ""], metadata="first"), ["-p", "x.", "-p", "", "-m", "first"]),
    (dict(prefix_stem=True, metadata="none"), ["-P", "-m", "none"]),
    (dict(prefix_stem=True, metadata="first", order="file"), ["-P", "-m", "first", "-O", "file"]),
]


@pytest.mark.parametrize("options, words", CATS)
def test_files_in_one_are_those_of_the_program(pair, tmp_path, options, words):
    summary = cat(pair, tmp_path / "python", **options)
    run("cat", *words, *pair, "-o", tmp_path / "program")
    assert (tmp_path / "python").read_bytes() == (tmp_path / "program").read_bytes()
    assert summary.count == 3
    if options["metadata"] == "first":
        with safe_open(tmp_path / "python", "np") as file:
            assert file.metadata() == {"format": "np", "z": "1", "who": "a", "a": "2"}


def test_clashes_are_told(pair, tmp_path):
    with pytest.raises(SafetensorError) as told:
        cat(pair, tmp_path / "out")
    assert str(told.value) == f'{pair[1]}: tensor "w": stands in {pair[0]} too; prefixes make two names of it'
    with pytest.raises(SafetensorError) as told:
        cat(pair, tmp_path / "out", prefix_stem=True)
    text = f'{pair[1]}: the metadata have another "who" than those of {pair[0]}; metadata "first" takes the first'
    assert str(told.value) == text
    assert not (tmp_path / "out").exists()


def test_a_file_may_be_in_twice(tmp_path):
    """Also one that has not changed for long, whose header could be shared."""
    sample = os.path.join(os.path.dirname(__file__), "..", "package", "sample.safetensors")
    cat([sample, sample], tmp_path / "out", prefixes=["a.", "b."])
    names = load_file(sample).keys()
    assert load_file(tmp_path / "out").keys() == {prefix + name for prefix in ("a.", "b.") for name in names}
    with pytest.raises(SafetensorError, match=r"prefixes make two names"):
        cat([sample, sample], tmp_path / "out")


REFUSED = [
    (split, dict(max_shard_size=1, shard_count=1), ValueError, "exclude each other"),
    (split, dict(max_shard_size=0), ValueError, "max_shard_size must be from 1"),
    (split, dict(max_shard_size="0"), ValueError, "max_shard_size must be from 1"),
    (split, dict(max_shard_size="5Gb"), ValueError, "5Gb"),
    (split, dict(max_shard_size=1.5), TypeError, "integer"),
    (split, dict(shard_count=-1), ValueError, "shard_count must be from 1"),
    (split, dict(pattern="x.safetensors"), SafetensorError, "suffix"),
    (split, dict(align=9), ValueError, "align must be"),
    (merge, dict(order="x"), ValueError, "order must be one of"),
    (merge, dict(reserve=-1), ValueError, "reserve must be from 0"),
]


@pytest.mark.parametrize("function, options, error, text", REFUSED)
def test_refusals(path, tmp_path, function, options, error, text):
    with pytest.raises(error, match=text):
        function(path, tmp_path / "out", **options)
    assert os.listdir(tmp_path) == [path.name]


def test_refusals_of_cat(path, tmp_path):
    for paths, options, error, text in [
        (path, {}, TypeError, "paths must be several"),
        ([], {}, ValueError, "at least one path"),
        ([path], dict(prefixes=[]), ValueError, "prefixes must be as many as paths: 0 for 1"),
        ([path], dict(prefixes=[1]), TypeError, "prefixes must be a str or several"),
        ([path], dict(prefixes=["a"], prefix_stem=True), ValueError, "exclude each other"),
        ([path], dict(metadata="last"), ValueError, "metadata must be one of 'same', 'first', 'none', not 'last'"),
        ([path], dict(prefixes=["\udc00"]), UnicodeEncodeError, "surrogates"),
        ([path, tmp_path / "none"], {}, FileNotFoundError, "none"),
    ]:
        with pytest.raises(error, match=text):
            cat(paths, tmp_path / "out", **options)
    making = _editing.making("file", None, 0, "none", True, False, None)
    with pytest.raises(ValueError, match="no such rule of metadata: last"):
        _cat([(os.fspath(path), "")], os.fspath(tmp_path / "out"), "last", making)
    assert os.listdir(tmp_path) == [path.name]


def test_what_is_missing_is_named(path, tmp_path):
    split(path, tmp_path / "shards", shard_count=2)
    (tmp_path / "shards" / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="model-00002-of-00002.safetensors"):
        merge(tmp_path / "shards", tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(SafetensorError, match="empty"):
        split(tmp_path / "empty", tmp_path / "out")
    (tmp_path / "odd.index.json").write_text("{")
    with pytest.raises(SafetensorError, match="odd.index.json"):
        merge(tmp_path / "odd.index.json", tmp_path / "out")


def test_files_that_are_there_may_be_kept(path, tmp_path):
    split(path, tmp_path / "shards", shard_count=2)
    before = contents(tmp_path / "shards")
    with pytest.raises(FileExistsError):
        split(path, tmp_path / "shards", shard_count=2, align=512, overwrite=False)
    assert contents(tmp_path / "shards") == before
    for function in (merge, lambda source, out, **options: cat([source], out, **options)):
        with pytest.raises(FileExistsError):
            function(tmp_path / "shards", path, overwrite=False)


# ------------------------------------------------------------------------------------------------ open


@pytest.fixture
def shards(path, tmp_path):
    split(path, tmp_path / "shards", shard_count=3)
    return tmp_path / "shards"


@pytest.mark.parametrize("backend", ["mmap", "pread", "auto"])
def test_shards_are_read_as_one_file(shards, path, backend):
    with safe_open(path, "np") as whole:
        for place in (shards, os.fspath(shards / "model.safetensors.index.json"), path):
            with checkpoint.open(place, "np", backend=backend) as model:
                assert isinstance(model, Checkpoint) and len(model) == len(whole)
                assert model.keys() == list(model) == whole.keys()
                assert sorted(model.offset_keys()) == model.keys()
                assert "layer.1" in model and "none" not in model and 3 not in model
                for name in whole.keys():
                    assert model.get_tensor(name).tobytes() == model[name].tobytes() == TENSORS[name].tobytes()
                    assert model.get_slice(name)[2:5].tobytes() == TENSORS[name][2:5].tobytes()
                    assert (model.get_shape(name), model.get_dtype(name)) == (list(TENSORS[name].shape), "F32")
                    assert model.get_tensor_meta(name).shape == list(TENSORS[name].shape)
                found = model.get_tensors()
                assert list(found) == model.offset_keys()
                assert {name: array.tobytes() for name, array in found.items()} == {
                    name: array.tobytes() for name, array in TENSORS.items()
                }
                some = model.get_tensors(iter(["layer.7", "layer.0", "layer.7"]))
                assert set(some) == {"layer.0", "layer.7"}
                out = np.empty(17, np.float32)
                assert model.get_tensor("layer.7", out=out) is out and out.tobytes() == TENSORS["layer.7"].tobytes()


def test_which_file_a_tensor_lies_in(shards, path):
    weights = json.loads((shards / "model.safetensors.index.json").read_text())["weight_map"]
    with checkpoint.open(shards, "np") as model:
        assert model.files == tuple(sorted(set(weights.values())))
        assert {name: model.file_of(name) for name in model} == weights
        assert model.index == os.fspath(shards / "model.safetensors.index.json") and model.path == os.fspath(shards)
        assert model.metadata() == METADATA
    with checkpoint.open(path, "np") as model:
        assert (model.files, model.index, model.metadata()) == ((path.name,), None, METADATA)
    (shards / "model.safetensors.index.json").unlink()
    with checkpoint.open(shards, "np") as model:
        assert (len(model.files), model.index, model.metadata()) == (3, None, {"format": "np"})


def test_files_are_opened_when_they_are_needed(shards, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    model = checkpoint.open("shards", "np")
    descriptors = len(os.listdir("/proc/self/fd"))
    monkeypatch.chdir("/")
    kept = model.get_slice("layer.7")
    assert len(os.listdir("/proc/self/fd")) > descriptors
    model.close()
    assert model.closed and len(os.listdir("/proc/self/fd")) < descriptors + 1
    assert kept[:].tobytes() == TENSORS["layer.7"].tobytes()
    for use in (lambda: model["layer.7"], lambda: model.get_tensors(), lambda: model.__enter__()):
        with pytest.raises(SafetensorError, match="File is closed"):
            use()
    model.close()


def test_torch_and_devices(shards):
    torch = pytest.importorskip("torch")
    with checkpoint.open(shards, "pt", device="cpu") as model:
        assert torch.equal(model["layer.3"], torch.from_numpy(TENSORS["layer.3"]))
    with checkpoint.open(shards, "pt", device="meta") as model:
        assert {tensor.device.type for tensor in model.get_tensors().values()} == {"meta"}


def test_refusals_of_open(shards, tmp_path):
    with checkpoint.open(shards, "np") as model:
        for get in (model.get_tensor, model.file_of, model.get_slice, lambda name: model.get_tensors([name])):
            with pytest.raises(KeyError, match="Checkpoint does not contain tensor none"):
                get("none")
            with pytest.raises(SafetensorError):
                get("none")
        with pytest.raises(TypeError, match="names must be an iterable of str"):
            model.get_tensors("layer.1")
    with pytest.raises(SafetensorError):
        checkpoint.open(shards, "none")
    with pytest.raises(SafetensorError):
        checkpoint.open(shards, "np", backend="none")
    with pytest.raises(FileNotFoundError):
        checkpoint.open(tmp_path / "none", "np")
    (tmp_path / "no.json").write_text('{"weight_map": {}}')
    with checkpoint.open(tmp_path / "no.json", "np") as model:
        assert (len(model), model.files, model.get_tensors(), model.metadata()) == (0, (), {}, None)


def test_nothing_is_kept(path, pair, tmp_path):
    name = os.fspath(path)

    def all_of_it():
        split(name, tmp_path / "shards", shard_count=2, durability="none")
        split(name, tmp_path / "shards", shard_count=3, clean=True, durability="none")
        merge(tmp_path / "shards", tmp_path / "out", durability="none")
        cat([name, *pair], tmp_path / "out", prefix_stem=True, metadata="first", durability="none")
        checkpoint.open(tmp_path / "shards", "np").get_tensors()
        with pytest.raises(SafetensorError):
            cat(pair, tmp_path / "out")
        with pytest.raises(FileNotFoundError):
            cat([name, tmp_path / "none"], tmp_path / "out")

    all_of_it()
    gc.collect()
    count, descriptors, objects = sys.getrefcount(name), len(os.listdir("/proc/self/fd")), len(gc.get_objects())
    for _ in range(20):
        all_of_it()
    gc.collect()
    assert sys.getrefcount(name) == count and len(os.listdir("/proc/self/fd")) <= descriptors + 4
    assert len(gc.get_objects()) < objects + 100


def test_every_allocation_of_pythons_may_fail(path, pair, tmp_path):
    """It is told, or what comes out is right all the same."""
    making = _editing.making("file", None, 0, "none", True, False, None)
    shards, out, whole = os.fspath(tmp_path / "shards"), os.fspath(tmp_path / "out"), os.fspath(path)
    inputs = [(whole, "a."), (os.fspath(pair[0]), ""), (os.fspath(pair[1]), "b.")]
    for call in (
        lambda: _split(whole, shards, 100, 0, "model{suffix}.safetensors", False, making),
        lambda: _merge(shards, out, making),
        lambda: _cat(inputs, out, "first", making),
        lambda: _checkpoint(shards),
    ):
        every_allocation_may_fail(call, 150, 5)
    halves = lambda: _split(whole, shards, 0, 2, "model{suffix}.safetensors", False, making)
    clean = lambda: _split(whole, shards, 100, 0, "model{suffix}.safetensors", True, making)
    every_allocation_may_fail(clean, 150, 5, prepare=halves)
