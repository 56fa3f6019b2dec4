# SPDX-License-Identifier: Apache-2.0
"""Digests and manifests against hashlib, xxhash, and json, on files that upstream wrote."""

import ctypes
import hashlib
import json
import os
import random
from ctypes import POINTER, byref, c_char_p, c_int32, c_size_t, c_uint32, c_uint64, c_void_p
from pathlib import Path

import numpy
import pytest
import safetensors.numpy
import xxhash
from library import Error, OpenOptions

FILE, DATA, TENSORS = 1, 2, 4
HASHES = {
    "sha256": (1, lambda data: hashlib.sha256(data).hexdigest()),
    "xxh3": (2, lambda data: xxhash.xxh3_64_hexdigest(data)),
    "xxh128": (3, lambda data: xxhash.xxh3_128_hexdigest(data)),
}


class Digest(ctypes.Structure):
    _fields_ = [("size", c_uint32), ("bytes", ctypes.c_ubyte * 36)]

    def hex(self):
        return bytes(self.bytes[: self.size]).hex()


class HashOptions(ctypes.Structure):
    _fields_ = [
        ("hash", c_int32),
        ("parts", c_uint32),
        ("progress", c_void_p * 2),
        ("reserved", c_uint64 * 8),
    ]


class Hashes(ctypes.Structure):
    _fields_ = [
        ("hash", c_int32),
        ("parts", c_uint32),
        ("file", Digest),
        ("data", Digest),
        ("tensors", POINTER(Digest)),
        ("count", c_size_t),
        ("own", c_void_p * 3),
        ("reserved", c_uint64 * 4),
    ]


class ContextOptions(ctypes.Structure):
    _fields_ = [
        ("allocator", c_void_p),
        ("max_threads", c_uint32),
        ("reserved0", c_uint32),
        ("max_memory", c_uint64),
        ("reserved", c_uint64 * 8),
    ]


WRITE = ctypes.CFUNCTYPE(c_int32, c_void_p, POINTER(ctypes.c_char), c_size_t, c_void_p)


class Inspect:
    def __init__(self):
        core = Path(os.environ["ST_LIBRARY"])
        self.core = ctypes.CDLL(str(core))
        self.lib = ctypes.CDLL(str(core.with_name("libsafetensors-inspect.so")))
        self.core.st_file_close.argtypes = [c_void_p]
        self.core.st_context_release.argtypes = [c_void_p]
        self.lib.st_hashes_read.argtypes = [c_void_p, c_void_p, c_void_p, c_void_p]
        self.lib.st_manifest_new.argtypes = [c_void_p, c_int32, c_void_p, c_void_p]
        self.lib.st_manifest_add.argtypes = [c_void_p, c_char_p, c_void_p, c_void_p, c_void_p]
        self.lib.st_manifest_emit.argtypes = [c_void_p, WRITE, c_void_p, c_void_p]
        self.lib.st_manifest_free.argtypes = [c_void_p]
        self.lib.st_manifest_parse.argtypes = [
            c_void_p,
            c_char_p,
            c_size_t,
            c_char_p,
            c_void_p,
            c_void_p,
        ]
        self.lib.st_manifest_verify.argtypes = [
            c_void_p,
            c_size_t,
            c_void_p,
            c_void_p,
            c_void_p,
            c_void_p,
        ]

    def call(self, function, *arguments):
        error = Error()
        status = function(*arguments, byref(error))
        assert status == 0, error.message.decode()

    def open(self, path, threads):
        context, file = c_void_p(), c_void_p()
        self.call(
            self.core.st_context_new, byref(ContextOptions(max_threads=threads)), byref(context)
        )
        options = OpenOptions(context=context)
        self.call(self.core.st_file_open, str(path).encode(), byref(options), byref(file))
        self.core.st_context_release(context)
        return file

    def read(self, file, name, parts):
        out = Hashes()
        options = HashOptions(hash=HASHES[name][0], parts=parts)
        self.call(self.lib.st_hashes_read, file, byref(options), byref(out))
        return out

    def manifest(self, file, name, parts):
        """The text of a manifest of one file, "model"."""
        manifest, pieces = c_void_p(), []
        hashes = self.read(file, name, parts)
        self.call(self.lib.st_manifest_new, None, HASHES[name][0], byref(manifest))
        self.call(self.lib.st_manifest_add, manifest, b"model", file, byref(hashes))

        def write(_, text, size, __):
            pieces.append(text[:size])
            return 0

        self.call(self.lib.st_manifest_emit, manifest, WRITE(write), None)
        self.lib.st_hashes_release(byref(hashes))
        self.lib.st_manifest_free(manifest)
        return b"".join(pieces).decode()

    def verify(self, file, text):
        manifest, differences = c_void_p(), c_uint64(99)
        text = text.encode()
        self.call(self.lib.st_manifest_parse, None, text, len(text), None, byref(manifest))
        self.call(self.lib.st_manifest_verify, manifest, 0, file, None, byref(differences))
        self.lib.st_manifest_free(manifest)
        return differences.value


@pytest.fixture(scope="module")
def inspect():
    return Inspect()


def make(seed, path):
    """A file of upstream's with tensors of all sizes; gives its bytes and header."""
    rng = random.Random(seed)
    sizes = [0, 1, 5, 100, 240, 241, 4096, 70_000, 1 << 20, (1 << 20) + 8, 3_000_001]
    tensors = {}
    for i in range(rng.choice([0, 1, 3, 40, 600])):
        dtype = rng.choice([numpy.uint8, numpy.float32, numpy.int16, numpy.float64])
        size = rng.choice(sizes if i < 12 else sizes[:6])
        count = size // numpy.dtype(dtype).itemsize
        values = numpy.frombuffer(rng.randbytes(count * numpy.dtype(dtype).itemsize), dtype)
        tensors[f"layer.{i}.é \x1b{rng.random()}"] = values.reshape(rng.choice([(-1,), (1, -1)]))
    safetensors.numpy.save_file(tensors, path, {"seed": str(seed)} if seed % 2 else None)
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    header.pop("__metadata__", None)
    header = dict(sorted(header.items(), key=lambda item: item[1]["data_offsets"]))
    return content, 8 + length, header


@pytest.mark.parametrize("seed", range(12))
def test_digests(inspect, tmp_path, seed):
    content, start, header = make(seed, tmp_path / "model")
    for threads in (1, 4):
        file = inspect.open(tmp_path / "model", threads)
        for name, (_, digest) in HASHES.items():
            ours = inspect.read(file, name, FILE | DATA | TENSORS)
            assert ours.file.hex() == digest(content)
            assert ours.data.hex() == digest(content[start:])
            assert ours.count == len(header)
            for i, entry in enumerate(header.values()):
                begin, end = entry["data_offsets"]
                assert ours.tensors[i].hex() == digest(content[start + begin : start + end])
            inspect.lib.st_hashes_release(byref(ours))
        inspect.core.st_file_close(file)


@pytest.mark.parametrize("seed", range(12))
def test_manifests(inspect, tmp_path, seed):
    content, start, header = make(seed, tmp_path / "model")
    file = inspect.open(tmp_path / "model", 4)
    for name, (_, digest) in HASHES.items():
        text = inspect.manifest(file, name, FILE | DATA | TENSORS)
        tensors = {}
        for tensor, entry in header.items():
            begin, end = entry["data_offsets"]
            tensors[tensor] = {
                "dtype": entry["dtype"],
                "shape": entry["shape"],
                "digest": digest(content[start + begin : start + end]),
            }
        wanted = {
            "format": "safetensors-manifest",
            "version": 1,
            "hash": name,
            "files": [
                {
                    "name": "model",
                    "size": len(content),
                    "digest": digest(content),
                    "data": digest(content[start:]),
                    "tensors": tensors,
                }
            ],
        }
        assert json.loads(text) == wanted
        assert list(json.loads(text)["files"][0]["tensors"]) == list(header)
        assert inspect.verify(file, text) == 0
        # The same manifest as another program might write it.
        wanted["files"][0]["comment"] = {"by": ["another"]}
        again = json.dumps(dict(reversed(wanted.items())), indent=1, ensure_ascii=True)
        assert inspect.verify(file, again) == 0
        wanted["files"][0]["digest"] = digest(b"")
        wanted["files"][0]["tensors"]["none"] = {"dtype": "U8", "shape": [], "digest": digest(b"")}
        assert inspect.verify(file, json.dumps(wanted)) == 2
    inspect.core.st_file_close(file)
