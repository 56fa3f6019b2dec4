# SPDX-License-Identifier: Apache-2.0
"""The bytes that a file must have, made by hand of what docs/format.md says: json, struct, sorted."""

import json
import struct

import numpy as np

# As they lie in a file.
CODES = "U64 I64 F64 C64 F32 U32 I32 BF16 F16 U16 I16 F8_E5M2FNUZ F8_E4M3FNUZ F8_E8M0 F8_E4M3 F8_E5M2 I8 U8".split()
CODES += "F6_E3M2 F6_E2M3 F4 BOOL".split()
NAMES = {
    "bool": "BOOL",
    "bfloat16": "BF16",
    "complex64": "C64",
    "float8_e4m3fn": "F8_E4M3",
    "float8_e5m2": "F8_E5M2",
    "float8_e8m0fnu": "F8_E8M0",
    "float8_e4m3fnuz": "F8_E4M3FNUZ",
    "float8_e5m2fnuz": "F8_E5M2FNUZ",
    **{f"float{bits}": f"F{bits}" for bits in (16, 32, 64)},
    **{f"int{bits}": f"I{bits}" for bits in (8, 16, 32, 64)},
    **{f"uint{bits}": f"U{bits}" for bits in (8, 16, 32, 64)},
}


def entry(value):
    """Dtype code, shape and bytes of an array; a tuple of just these is given back."""
    if isinstance(value, tuple):
        return value
    array = np.asarray(value)
    little = array.astype(array.dtype.newbyteorder("<")) if array.dtype.isbuiltin else array
    return NAMES[array.dtype.name], list(array.shape), little.tobytes()


def written(tensors, metadata=None):
    """The bytes of a file with these tensors: by dtype, the wide ones first, then by name."""
    entries = {name: entry(value) for name, value in tensors.items()}
    header, data, end = {}, [], 0
    if metadata is not None:
        header["__metadata__"] = dict(sorted(metadata.items()))
    for name in sorted(entries, key=lambda name: (CODES.index(entries[name][0]), name.encode())):
        code, shape, content = entries[name]
        header[name] = {"dtype": code, "shape": list(shape), "data_offsets": [end, end + len(content)]}
        data.append(content)
        end += len(content)
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return b"".join([struct.pack("<Q", len(text)), text, *data])
