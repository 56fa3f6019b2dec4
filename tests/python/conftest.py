# SPDX-License-Identifier: Apache-2.0
"""Files to test with, made by hand: json and struct, and nothing of what is tested."""

import ctypes
import gc
import importlib.util
import json
import os
import struct

import hypothesis
import numpy as np
import pytest
from interpreter import WithTorch

# No test depends on time, and none leaves a folder behind.
hypothesis.settings.register_profile("tests", deadline=None, database=None, print_blob=True)
hypothesis.settings.load_profile("tests")


def pytest_runtest_setup(item):
    # A test's gc.collect() is for what the test made, and not for all that torch and jax consist of.
    gc.freeze()


SANITIZED = hasattr(ctypes.CDLL(None), "__asan_init")

# AddressSanitizer keeps what was freed, maps terabytes for itself, and allocates past a limit without being refused.
counts_memory = pytest.mark.skipif(
    SANITIZED,
    reason="AddressSanitizer: memory is neither limited nor measured as without it",
)

# Its allocator does not look after its locks when a process forks: one that another thread holds is held in the child
# for ever.
forks_with_threads = pytest.mark.skipif(
    SANITIZED or not hasattr(os, "fork"),
    reason="needs fork, and a malloc that a child of many threads may call",
)

CODES = {
    "bool": "BOOL",
    "uint8": "U8",
    "int8": "I8",
    "uint16": "U16",
    "int16": "I16",
    "float16": "F16",
    "bfloat16": "BF16",
    "uint32": "U32",
    "int32": "I32",
    "float32": "F32",
    "uint64": "U64",
    "int64": "I64",
    "float64": "F64",
    "complex64": "C64",
}


def entry_of(value):
    """Gives dtype code, shape and bytes of an array, or of a tuple of just these."""
    if isinstance(value, tuple):
        return value
    array = np.asarray(value)
    return CODES[array.dtype.name], list(array.shape), array.tobytes()


def file_bytes(tensors, metadata=None, *, pad=8):
    """Gives a file's bytes. The data lies in the order of the dict; the header's length is a multiple of `pad`."""
    header, data, end = {}, [], 0
    if metadata is not None:
        header["__metadata__"] = metadata
    for name, value in tensors.items():
        code, shape, content = entry_of(value)
        header[name] = {"dtype": code, "shape": list(shape), "data_offsets": [end, end + len(content)]}
        data.append(content)
        end += len(content)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % pad)
    return b"".join([struct.pack("<Q", len(text)), text, *data])


@pytest.fixture(scope="session")
def run_with_torch(tmp_path_factory):
    """Runs a program in an interpreter that has imported torch, and nothing else; gives the lines that it prints."""
    if importlib.util.find_spec("torch") is None:
        pytest.skip("torch is not installed")
    interpreters = WithTorch(tmp_path_factory.mktemp("output"))
    yield interpreters
    interpreters.close()


@pytest.fixture
def model_bytes():
    """The function above: `model_bytes({"a": array, "b": ("BF16", [2], b"....")}, metadata)`."""
    return file_bytes


@pytest.fixture
def model(tmp_path):
    """Writes such a file, and gives its path."""

    def write(tensors, metadata=None, *, name="model.safetensors", pad=8):
        path = tmp_path / name
        path.write_bytes(file_bytes(tensors, metadata, pad=pad))
        return path

    return write
