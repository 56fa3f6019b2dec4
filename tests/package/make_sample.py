# SPDX-License-Identifier: Apache-2.0
"""Writes sample.safetensors, the file that the examples and the package tests read."""
import json
import os
import struct

matrix = struct.pack("<6f", *[0.5 * i for i in range(6)])
steps = struct.pack("<q", 1000)
header = {
    "__metadata__": {"format": "pt"},
    "steps": {"dtype": "I64", "shape": [], "data_offsets": [0, 8]},
    "weight": {"dtype": "F32", "shape": [2, 3], "data_offsets": [8, 32]},
}
text = json.dumps(header, separators=(",", ":")).encode()
text += b" " * (-len(text) % 8)
with open(os.path.join(os.path.dirname(__file__), "sample.safetensors"), "wb") as file:
    file.write(struct.pack("<Q", len(text)) + text + steps + matrix)
