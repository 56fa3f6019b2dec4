# SPDX-License-Identifier: Apache-2.0
"""Casts between float dtypes against ml_dtypes and torch, where they are there."""

import ctypes
import os
from ctypes import POINTER, byref, c_int32, c_uint64, c_void_p

import pytest

np = pytest.importorskip("numpy")
ml_dtypes = pytest.importorskip("ml_dtypes")

DTYPES = {
    "F16": np.float16,
    "BF16": ml_dtypes.bfloat16,
    "F32": np.float32,
    "F64": np.float64,
    "F8_E4M3": ml_dtypes.float8_e4m3fn,
    "F8_E5M2": ml_dtypes.float8_e5m2,
    "F8_E8M0": ml_dtypes.float8_e8m0fnu,
    "F8_E4M3FNUZ": ml_dtypes.float8_e4m3fnuz,
    "F8_E5M2FNUZ": ml_dtypes.float8_e5m2fnuz,
    "F6_E2M3": ml_dtypes.float6_e2m3fn,
    "F6_E3M2": ml_dtypes.float6_e3m2fn,
    "F4": ml_dtypes.float4_e2m1fn,
}
BITS = {"F6_E2M3": 6, "F6_E3M2": 6, "F4": 4}
NARROW = [code for code in DTYPES if code not in ("F32", "F64")]
# Those that torch has a conversion to, and from, on the CPU. Its E8M0 rounds ties to even, and ml_dtypes' up.
TORCH = {
    "F16": "float16",
    "BF16": "bfloat16",
    "F64": "float64",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "F8_E4M3FNUZ": "float8_e4m3fnuz",
    "F8_E5M2FNUZ": "float8_e5m2fnuz",
}


class Report(ctypes.Structure):
    _fields_ = [("overflowed", c_uint64), ("underflowed", c_uint64), ("reserved", c_uint64 * 2)]


@pytest.fixture(scope="module")
def library():
    lib = ctypes.CDLL(os.environ["ST_LIBRARY"])
    lib.st_elements_cast.argtypes = [c_int32, c_void_p, c_int32, c_void_p, c_uint64, POINTER(Report)]
    lib.st_dtype_find.argtypes = [ctypes.c_char_p, ctypes.c_size_t]
    return lib


def pack(codes, bits):
    """A stream of bits out of an element per byte, from the low bits up."""
    planes = codes[:, None] >> np.arange(bits, dtype=np.uint8) & 1
    return np.packbits(planes.astype(np.uint8).ravel(), bitorder="little")


def unpack(stream, bits, count):
    planes = np.unpackbits(stream, bitorder="little")[: count * bits].reshape(count, bits)
    return (planes << np.arange(bits, dtype=np.uint8)).sum(axis=1).astype(np.uint8)


def cast(library, array, source, target):
    """Gives an array of the target's dtype, of ml_dtypes' layout: an element per byte."""
    count = len(array)
    packed = pack(array.view(np.uint8), BITS[source]) if source in BITS else array
    size = (count * BITS.get(target, DTYPES[target](0).itemsize * 8) + 7) // 8
    out, report = np.full(size, 0xA5, np.uint8), Report()
    numbers = [library.st_dtype_find(code.encode(), len(code)) for code in (source, target)]
    packed = np.ascontiguousarray(packed)
    status = library.st_elements_cast(numbers[0], packed.ctypes.data, numbers[1], out.ctypes.data, count, byref(report))
    assert status == 0
    if target in BITS:
        out = unpack(out, BITS[target], count)
    return out.view(DTYPES[target]), report


def codes_of(array):
    return array.view({1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}[array.itemsize])


def assert_same(got, expected):
    """Equal bits, but for the payload of NaN."""
    with np.errstate(all="ignore"):
        nan = np.isnan(expected.astype(np.float64))
    assert np.array_equal(nan, np.isnan(got.astype(np.float64)))
    different = (codes_of(got) != codes_of(expected)) & ~nan
    assert not different.any(), (got[different][:5], expected[different][:5], np.flatnonzero(different)[:5])


def every_code(code):
    size = DTYPES[code](0).itemsize
    codes = np.arange(1 << BITS.get(code, 8 * size)).astype({1: np.uint8, 2: np.uint16}[size])
    return codes.view(DTYPES[code])


def singles():
    """Numbers of all exponents, and many of those of weights, some of them half way between two codes."""
    rng = np.random.default_rng(7)
    bits = rng.integers(0, 1 << 32, 200000, dtype=np.uint64).astype(np.uint32)
    bits[1::4] &= 0xFFFF0000
    bits[2::4] &= 0xFFFFE000
    weights = rng.normal(0, 0.02, 200000).astype(np.float32)
    return np.concatenate([bits.view(np.float32), weights, weights * 1000, np.float32([0, -0.0, np.inf, -np.inf])])


@pytest.mark.parametrize("target", [code for code in DTYPES if code != "F32"])
def test_singles(library, target):
    array = singles()
    with np.errstate(all="ignore"):
        expected = array.astype(DTYPES[target])
        wide, back = array.astype(np.float64), expected.astype(np.float64)
    got, report = cast(library, array, "F32", target)
    assert_same(got, expected)
    if target != "F8_E8M0":
        assert report.underflowed == np.count_nonzero((back == 0) & (wide != 0) & ~np.isnan(wide))
    if target in ("F16", "BF16", "F8_E4M3", "F8_E5M2", "F8_E8M0"):
        assert report.overflowed == np.count_nonzero(~np.isfinite(back) & np.isfinite(wide))


@pytest.mark.parametrize("target", ["F16", "F32"])
def test_doubles(library, target):
    rng = np.random.default_rng(8)
    with np.errstate(all="ignore"):
        array = np.concatenate([rng.normal(0, 0.02, 200000), singles().astype(np.float64) * (1 + 2**-30)])
        array = np.concatenate([array, array * 2.0**-130, array * 2.0**130])
        expected = array.astype(DTYPES[target])
    assert_same(cast(library, array, "F64", target)[0], expected)


@pytest.mark.parametrize("source", NARROW)
@pytest.mark.parametrize("target", DTYPES)
def test_every_narrow_code(library, source, target):
    if source == target:
        pytest.skip("a copy")
    array = every_code(source)
    with np.errstate(all="ignore"):
        expected = array.astype(np.float32).astype(DTYPES[target])
    assert_same(cast(library, array, source, target)[0], expected)


@pytest.mark.parametrize("target", TORCH)
def test_torch(library, target):
    torch = pytest.importorskip("torch")
    array = singles()
    if target == "F8_E4M3":  # of what is beyond, torch makes the largest value since 2.13, and NaN before
        array = array[~(np.abs(array) > 464)]
    expected = torch.from_numpy(array).to(getattr(torch, TORCH[target]))
    expected = expected.view({1: torch.uint8, 2: torch.int16, 8: torch.int64}[expected.element_size()]).numpy()
    assert_same(cast(library, array, "F32", target)[0], expected.view(DTYPES[target]))


def test_what_is_no_float(library):
    report = Report()
    for source, target in ((b"I32", b"F32"), (b"F32", b"U8"), (b"C64", b"F32")):
        numbers = [library.st_dtype_find(code, len(code)) for code in (source, target)]
        assert library.st_elements_cast(numbers[0], b"", numbers[1], b"", 0, byref(report)) != 0
