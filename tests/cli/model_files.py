# SPDX-License-Identifier: Apache-2.0
"""Files made of nothing but Python's json and struct."""
import json
import math
import struct

BITS = {"BOOL": 8, "U8": 8, "I8": 8, "U16": 16, "I16": 16, "U32": 32, "I32": 32, "U64": 64,
        "I64": 64, "F16": 16, "BF16": 16, "F32": 32, "F64": 64, "C64": 64, "F8_E4M3": 8,
        "F8_E5M2": 8, "F8_E8M0": 8, "F6_E2M3": 6, "F6_E3M2": 6, "F4": 4}


def size_of(dtype, shape):
    return math.prod(shape) * BITS[dtype] // 8


def build(tensors, metadata=None, tail=b""):
    """Gives a file's bytes: `tensors` is {name: (dtype, shape, bytes or None for zeros)}."""
    header, data = {}, b""
    if metadata is not None:
        header["__metadata__"] = metadata
    for name, (dtype, shape, content) in tensors.items():
        content = bytes(size_of(dtype, shape)) if content is None else content
        header[name] = {"dtype": dtype, "shape": shape,
                        "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    text = json.dumps(header, ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data + tail


def frame(text, data=b""):
    """Gives a file's bytes of a header as it stands."""
    text = text.encode() if isinstance(text, str) else text
    return struct.pack("<Q", len(text)) + text + data


def floats(*values):
    return struct.pack(f"<{len(values)}f", *values)


def header_of(path):
    """Gives the header of a file as an object, its size, and the data behind it."""
    content = path.read_bytes()
    size = struct.unpack("<Q", content[:8])[0]
    return json.loads(content[8 : 8 + size]), size, content[8 + size :]


def tensors_of(path):
    """Gives dtype, shape and bytes of each tensor of a file, by name, in the order of their data."""
    header, _, data = header_of(path)
    found = {name: header[name] for name in order_of(path)}
    return {name: (one["dtype"], one["shape"], data[slice(*one["data_offsets"])]) for name, one in found.items()}


def order_of(path):
    """Gives the names of a file's tensors in the order of their data."""
    header = header_of(path)[0]
    header.pop("__metadata__", None)
    return sorted(header, key=lambda name: header[name]["data_offsets"])
