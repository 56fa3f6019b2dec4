# SPDX-License-Identifier: Apache-2.0
"""Files and arrays to test with, made without the package under test."""

import json
import random
import struct

import numpy as np

# Header code: bits per element, and the NumPy or ml_dtypes type of one element.
DTYPES = {
    "BOOL": (8, "bool"),
    "U8": (8, "uint8"),
    "I8": (8, "int8"),
    "U16": (16, "uint16"),
    "I16": (16, "int16"),
    "U32": (32, "uint32"),
    "I32": (32, "int32"),
    "U64": (64, "uint64"),
    "I64": (64, "int64"),
    "F16": (16, "float16"),
    "BF16": (16, "bfloat16"),
    "F32": (32, "float32"),
    "F64": (64, "float64"),
    "C64": (64, "complex64"),
    "F8_E4M3": (8, "float8_e4m3fn"),
    "F8_E5M2": (8, "float8_e5m2"),
    "F8_E8M0": (8, "float8_e8m0fnu"),
    "F8_E4M3FNUZ": (8, "float8_e4m3fnuz"),
    "F8_E5M2FNUZ": (8, "float8_e5m2fnuz"),
    "F6_E2M3": (6, "float6_e2m3fn"),
    "F6_E3M2": (6, "float6_e3m2fn"),
    "F4": (4, "float4_e2m1fn"),
}
NARROW = ("F4", "F6_E2M3", "F6_E3M2")
SHAPES = [(), (1,), (8,), (0,), (3, 4), (0, 4), (4, 0), (2, 3, 4), (1, 1, 1, 8)]


def dtype_of(code):
    """The type of one element; None where neither NumPy nor ml_dtypes has it here."""
    name = DTYPES[code][1]
    try:
        return np.dtype(name)
    except TypeError:
        import ml_dtypes

        return np.dtype(getattr(ml_dtypes, name))


def size_of(code, shape):
    return int(np.prod(shape, dtype=np.int64)) * DTYPES[code][0] // 8


def bytes_for(code, shape, seed=0):
    """Random elements; every bit pattern but for BOOL."""
    raw = random.Random(f"{code} {shape} {seed}").randbytes(size_of(code, shape))
    return bytes(byte & 1 for byte in raw) if code == "BOOL" else raw


def unpacked(code, raw):
    """One byte per element of F4 and F6: the lowest bits come first."""
    bits = DTYPES[code][0]
    number = int.from_bytes(raw, "little")
    return bytes(number >> i & (1 << bits) - 1 for i in range(0, len(raw) * 8, bits))


def file_of(tensors, metadata=None):
    """The bytes of a file. `tensors`: (name, code, shape, bytes) in data order."""
    header, at = {}, 0
    if metadata is not None:
        header["__metadata__"] = metadata
    for name, code, shape, raw in tensors:
        header[name] = {"dtype": code, "shape": list(shape), "data_offsets": [at, at + len(raw)]}
        at += len(raw)
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + b"".join(raw for *_, raw in tensors)


def tensors_of(data):
    """(code, shape, bytes) by name of a file's bytes, and its metadata."""
    size = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + size])
    metadata = header.pop("__metadata__", None)
    body = data[8 + size :]
    return {
        name: (entry["dtype"], tuple(entry["shape"]), body[slice(*entry["data_offsets"])])
        for name, entry in header.items()
    }, metadata
