# SPDX-License-Identifier: Apache-2.0
"""The statistics against NumPy, with ml_dtypes for the dtypes it lacks."""

import ctypes
import json
import os
import struct
from ctypes import POINTER, byref, c_double, c_int32, c_size_t, c_uint32, c_uint64, c_void_p
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from library import Error, OpenOptions

DTYPES = {
    "BOOL": np.bool_,
    "U8": np.uint8,
    "I8": np.int8,
    "U16": np.uint16,
    "I16": np.int16,
    "U32": np.uint32,
    "I32": np.int32,
    "U64": np.uint64,
    "I64": np.int64,
    "F16": np.float16,
    "BF16": ml_dtypes.bfloat16,
    "F32": np.float32,
    "F64": np.float64,
    "F8_E4M3": ml_dtypes.float8_e4m3fn,
    "F8_E5M2": ml_dtypes.float8_e5m2,
    "F8_E8M0": ml_dtypes.float8_e8m0fnu,
    "F8_E4M3FNUZ": ml_dtypes.float8_e4m3fnuz,
    "F8_E5M2FNUZ": ml_dtypes.float8_e5m2fnuz,
}
INTEGERS = {"U8", "I8", "U16", "I16", "U32", "I32", "U64", "I64"}
PROBABILITIES = [0.0, 0.001, 0.1, 0.25, 0.5, 0.5, 1 / 3, 0.9, 0.999999, 1.0]


class Value(ctypes.Structure):
    class As(ctypes.Union):
        _fields_ = [("u", c_uint64), ("i", ctypes.c_int64), ("f", c_double * 2)]

    _fields_ = [("kind", c_int32), ("reserved", c_int32), ("value", As)]

    def number(self):
        return {1: self.value.u, 2: self.value.u, 3: self.value.i}.get(self.kind, self.value.f[0])


class Options(ctypes.Structure):
    _fields_ = [
        ("quantiles", POINTER(c_double)),
        ("quantile_count", c_uint32),
        ("bin_count", c_uint32),
        ("low", c_double),
        ("high", c_double),
        ("progress", c_void_p * 2),
        ("reserved", c_uint64 * 8),
    ]


class Stats(ctypes.Structure):
    _fields_ = [
        ("dtype", c_int32),
        ("reserved0", c_uint32),
        ("count", c_uint64),
        ("finite", c_uint64),
        ("nan", c_uint64),
        ("positive_infinity", c_uint64),
        ("negative_infinity", c_uint64),
        ("zeros", c_uint64),
        ("negatives", c_uint64),
        ("min", Value),
        ("max", Value),
        ("mean", c_double),
        ("std", c_double),
        ("quantiles", POINTER(c_double)),
        ("bins", POINTER(c_uint64)),
        ("quantile_count", c_uint32),
        ("bin_count", c_uint32),
        ("low", c_double),
        ("high", c_double),
        ("below", c_uint64),
        ("above", c_uint64),
        ("memory", c_void_p),
        ("memory_size", c_size_t),
        ("context", c_void_p),
        ("reserved", c_uint64 * 4),
    ]


@pytest.fixture(scope="module")
def libraries():
    path = Path(os.environ["ST_LIBRARY"])
    core = ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
    inspect = ctypes.CDLL(str(path.with_name("libsafetensors-inspect.so")))
    core.st_file_at.restype = c_void_p
    core.st_file_at.argtypes = [c_void_p, c_size_t]
    core.st_file_close.argtypes = [c_void_p]
    inspect.st_stats_read.argtypes = [
        c_void_p,
        c_void_p,
        c_void_p,
        POINTER(Options),
        POINTER(Stats),
        POINTER(Error),
    ]
    return core, inspect


class Result:
    """A copy of the statistics of one array, read from a file."""

    def __init__(self, libraries, path, code, array, bins, span=(0.0, 0.0)):
        core, inspect = libraries
        data = array.tobytes()
        entry = {"dtype": code, "shape": list(array.shape), "data_offsets": [0, len(data)]}
        header = json.dumps({"t": entry}).encode()
        path.write_bytes(struct.pack("<Q", len(header)) + header + data)
        file, error, self.stats = c_void_p(), Error(), Stats()
        assert core.st_file_open(bytes(path), byref(OpenOptions()), byref(file), byref(error)) == 0
        options = Options(bin_count=bins, low=span[0], high=span[1])
        options.quantiles = (c_double * len(PROBABILITIES))(*PROBABILITIES)
        options.quantile_count = len(PROBABILITIES)
        status = inspect.st_stats_read(
            file, core.st_file_at(file, 0), None, byref(options), byref(self.stats), byref(error)
        )
        assert status == 0, error.message
        self.quantiles = self.stats.quantiles[: self.stats.quantile_count]
        self.bins = self.stats.bins[: self.stats.bin_count] if bins else []
        inspect.st_stats_release(byref(Stats.from_buffer_copy(self.stats)))
        core.st_file_close(file)


def arrays(code):
    """Arrays to compare on: any bits, numbers around zero, few distinct ones, one, none."""
    dtype, random = np.dtype(DTYPES[code]), np.random.default_rng(17)
    size = dtype.itemsize
    for count in (1, 2, 7, 1000, 16384, 16385, 150_001):
        if code == "BOOL":
            yield random.integers(0, 2, count).astype(bool)
            continue
        if code != "F64":  # any bits, whose squares would be out of range
            yield np.frombuffer(random.bytes(count * size), dtype=dtype)
        normal = random.normal(0, 40, count)
        yield (np.abs(normal) if code.startswith("U") else normal).astype(dtype)
        yield random.integers(0, 3, count).astype(dtype)
    yield np.zeros((0, 4), dtype)
    yield np.full((5, 4), 3).astype(dtype)


def check(result, code, array, bins, span):
    s = result.stats
    exact = array.reshape(-1)
    with np.errstate(invalid="ignore"):
        values = exact.astype(np.float64)
    finite = values[np.isfinite(values)]
    assert s.count == values.size and s.finite == finite.size
    assert s.nan == np.isnan(values).sum()
    assert s.positive_infinity == np.isposinf(values).sum()
    assert s.negative_infinity == np.isneginf(values).sum()
    assert s.zeros == (values == 0).sum() and s.negatives == (values < 0).sum()
    if not finite.size:
        assert np.isnan(s.mean) and np.isnan(s.std) and np.isnan(result.quantiles).all()
        return
    wanted = exact if code in INTEGERS else finite
    assert s.min.number() == wanted.min() and s.max.number() == wanted.max()
    slack = np.abs(finite).mean() * 1e-12
    assert abs(s.mean - finite.mean()) <= slack
    assert abs(s.std - finite.std()) <= slack + s.std * 1e-10
    if code in ("U64", "I64"):
        # NumPy subtracts 64-bit integers with overflow; Python does not.
        ranked = sorted(int(x) for x in exact)
        for p, got in zip(PROBABILITIES, result.quantiles):
            place = (len(ranked) - 1) * p
            i = min(int(place), len(ranked) - 1)
            a, b, t = ranked[i], ranked[min(i + 1, len(ranked) - 1)], place - int(place)
            distance = float(b - a)
            assert got == (float(b) - distance * (1 - t) if t >= 0.5 else a + distance * t)
    else:
        assert list(result.quantiles) == list(np.quantile(finite, PROBABILITIES))
    counts, edges = np.histogram(finite, bins=bins, range=span)
    assert (s.low, s.high) == (edges[0], edges[-1])
    assert list(result.bins) == list(counts)
    assert s.below == (finite < s.low).sum() and s.above == (finite > s.high).sum()


@pytest.mark.parametrize("code", DTYPES)
def test_found_range(libraries, tmp_path, code):
    for array in arrays(code):
        if array.size == 1 and abs(float(array.reshape(-1)[0])) > 2**52:
            continue  # half a unit is nothing there, and NumPy divides by zero
        result = Result(libraries, tmp_path / "t", code, array, 10)
        check(result, code, array, 10, None)


@pytest.mark.parametrize("code", DTYPES)
@pytest.mark.parametrize("span", [(-1.0, 1.0), (0.1, 77.7), (3.0, 3.0), (-1e9, 5.0)])
def test_given_range(libraries, tmp_path, code, span):
    for array in arrays(code):
        result = Result(libraries, tmp_path / "t", code, array, 33, span)
        check(result, code, array, 33, span)


@pytest.mark.parametrize("bins", [1, 3, 10, 64, 1000, 65536])
def test_elements_on_edges(libraries, tmp_path, bins):
    for step in (0.1, 0.25, 1 / 3, 1e-3):
        array = np.arange(40_000) * step
        check(Result(libraries, tmp_path / "t", "F64", array, bins), "F64", array, bins, None)


def test_complex(libraries, tmp_path):
    random = np.random.default_rng(3)
    parts = random.normal(0, 1, (2, 70_000)).astype(np.float32)
    array = (parts[0] + 1j * parts[1]).astype(np.complex64)
    array[:3] = [complex("nan"), complex(np.inf, 1), complex(np.inf, np.nan)]
    result = Result(libraries, tmp_path / "t", "C64", array, 0)
    s, finite = result.stats, np.abs(array[3:].astype(np.complex128))
    assert (s.count, s.finite, s.nan, s.positive_infinity) == (70_000, 69_997, 2, 1)
    close = {"rtol": 1e-15, "atol": 0}
    np.testing.assert_allclose([s.min.number(), s.max.number()], [finite.min(), finite.max()], **close)
    np.testing.assert_allclose(list(result.quantiles), np.quantile(finite, PROBABILITIES), **close)
    np.testing.assert_allclose([s.mean, s.std], [finite.mean(), finite.std()], rtol=1e-12)
