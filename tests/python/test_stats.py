# SPDX-License-Identifier: Apache-2.0
"""safetensors.stats: what it tells is what the program's verb tells."""

import gc
import json
import os
import sys

import numpy as np
import pytest
from exhaust import every_allocation_may_fail, keeps_nothing
from command import run

from safetensors import Histogram, SafetensorError, Statistics, TensorStatistics, stats
from safetensors._safetensors_rust import _stats
from safetensors.checkpoint import split

TENSORS = {
    "f": np.array([[1.5, -2.0, np.nan], [np.inf, -np.inf, 0.0]], np.float32),
    "nan": np.full(3, np.nan),
    "half": np.arange(100, dtype=np.float16) / 8,
    "int": np.array([-5, 2**62, 3], np.int64),
    "uint": np.array([2**64 - 1, 0], np.uint64),
    "bool": np.array([True, False, True]),
    "empty": np.zeros((0, 4), np.int8),
    "c": np.array([3 + 4j, complex(np.nan, 1)], np.complex64),
}


@pytest.fixture
def path(model):
    return model(TENSORS, {"format": "np"})


def number(value):
    if isinstance(value, float) and not np.isfinite(value):
        return str(value)
    return value


def as_json(found):
    """What the program prints, less what it tells of the alignment and of the slice."""
    members = {name: getattr(found, name) for name in ("name", "dtype", "elements", "bytes", "offset")}
    members["shape"] = list(found.shape)
    if found.shard is not None:
        members["shard"] = found.shard
    values = dict(vars(found.stats))
    for name in ("min", "max", "mean", "std"):
        values[name] = number(values[name])
    values["quantiles"] = [{"p": p, "value": number(value)} for p, value in found.stats.quantiles]
    if found.stats.histogram is not None:
        values["histogram"] = {**vars(found.stats.histogram), "bins": list(found.stats.histogram.bins)}
    return {**members, "stats": values}


def program(*arguments):
    tensors = json.loads(run("stats", "--json", *arguments))["files"][0]["tensors"]
    return [{name: value for name, value in tensor.items() if name not in ("alignment", "slice")} for tensor in tensors]


CASES = [
    (dict(), []),
    (dict(quantiles=[0, 0.25, 1]), ["--quantiles", "0,0.25,1"]),
    (dict(bins=5), ["--bins", "5"]),
    (dict(range=(-1, 2.5)), ["--range", "-1:2.5"]),
    (dict(range=(-1, 2.5), bins=3, quantiles=[0.5]), ["-R", "-1:2.5", "-b", "3", "-q", "0.5"]),
]


@pytest.mark.parametrize("options, words", CASES)
def test_numbers_are_those_of_the_program(path, options, words):
    assert [as_json(tensor) for tensor in stats(path, **options)] == program(*words, path)


def test_of_shards_too(path, tmp_path):
    split(path, tmp_path / "shards", shard_count=3)
    for place in (tmp_path / "shards", tmp_path / "shards" / "model.safetensors.index.json"):
        found = stats(place, quantiles=[0.5])
        assert [as_json(tensor) for tensor in found] == program("-q", "0.5", place)
        assert {tensor.shard for tensor in found} == set(os.listdir(tmp_path / "shards")) - {
            "model.safetensors.index.json"
        }
    assert [tensor.shard for tensor in stats(path, "f")] == [None]


def test_tensors_and_parts_are_picked(path):
    assert [tensor.name for tensor in stats(path, ["int", "f", "int"])] == ["int", "f", "int"]
    row, whole = stats(path, {"f": (0, slice(None, 2)), "half": None})
    assert as_json(row) == program(path, "f[0, :2]")[0]
    assert (row.stats.count, row.stats.min, row.stats.max, row.shape) == (2, -2.0, 1.5, (2, 3))
    assert as_json(whole) == program(path, "half")[0]


def test_what_it_gives(path):
    (tensor,) = stats(path, "int", bins=1)
    assert isinstance(tensor, TensorStatistics) and isinstance(tensor.stats, Statistics)
    assert (tensor.stats.min, tensor.stats.max) == (-5, 2**62) and isinstance(tensor.stats.max, int)
    assert tensor.stats.histogram == Histogram(-5.0, float(2**62), 0, 0, (3,))
    (tensor,) = stats(path, ["nan"], quantiles=[0.5])
    assert (tensor.stats.nan, tensor.stats.finite, tensor.stats.min, tensor.stats.mean) == (3, 0, None, None)
    assert tensor.stats.quantiles == ((0.5, None),)


def test_refusals(path, tmp_path):
    for tensors, options, error, text in [
        (["none"], {}, KeyError, r"model.safetensors: no tensor 'none'"),
        (["none"], {}, SafetensorError, r"no tensor 'none'"),
        ([1], {}, TypeError, "tensors must be a str or several"),
        ({"f": 5}, {}, SafetensorError, "f"),
        ({"f": "x"}, {}, IndexError, "only integers, slices"),
        ({"f": np.array([0])}, {}, TypeError, r"tensor 'f': array\(\[0\]\) is no index of integers"),
        (None, dict(quantiles=[2]), ValueError, "quantiles must be up to 1024 numbers from 0 to 1"),
        (None, dict(quantiles=[float("nan")]), ValueError, "quantiles must be"),
        (None, dict(quantiles=[0] * 1025), ValueError, "quantiles must be"),
        (None, dict(bins=0), ValueError, "bins must be from 1 to 65536, not 0"),
        (None, dict(bins=65537), ValueError, "bins must be"),
        (None, dict(bins=1.5), TypeError, "integer"),
        (None, dict(range=(1, 1)), ValueError, "range must be two numbers"),
        (None, dict(range=(0, float("inf"))), ValueError, "range must be two numbers"),
        (None, dict(progress=1), TypeError, "argument 'progress': 'int' object is not a function"),
    ]:
        with pytest.raises(error, match=text):
            stats(path, tensors, **options)
    with pytest.raises(FileNotFoundError, match="none"):
        stats(tmp_path / "none")
    (tmp_path / "bad").write_bytes(b"\xff" * 20)
    with pytest.raises(SafetensorError, match="Error while deserializing header: header too large"):
        stats(tmp_path / "bad")


def test_nothing_is_kept(path, tmp_path):
    def all_of_it():
        stats(path, quantiles=[0.5], bins=3, progress=lambda done, total: None)
        with pytest.raises(KeyError):
            stats(path, {"f": (0, slice(1)), "none": None})
        with pytest.raises(ZeroDivisionError):
            stats(path, progress=lambda done, total: 1 // 0)

    keeps_nothing(all_of_it)


def test_every_allocation_of_pythons_may_fail(path):
    """It is told, or what comes out is right all the same."""
    name, wanted = os.fspath(path), (("f", (0, slice(1, None))), ("int", None))

    def call():
        return _stats(name, wanted, None, (0.5, 1.0), 3, 0.0, 0.0, None)

    every_allocation_may_fail(call, 200, 5)
