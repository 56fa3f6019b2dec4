# SPDX-License-Identifier: Apache-2.0
"""The writer's bytes against those of the upstream package, for random tensors and metadata."""

import ctypes
import json
import math
import random
from ctypes import POINTER, byref, c_char_p, c_int32, c_size_t, c_uint32, c_uint64, c_void_p

import pytest
import safetensors
from library import Error, Library, Metadata, Tensor
from mutate import DTYPES
from safetensors._safetensors_rust import TensorSpec, serialize, serialize_file

MODELS = 400
UPSTREAM_NAMES = {
    "BOOL": "bool",
    "U8": "uint8",
    "I8": "int8",
    "U16": "uint16",
    "I16": "int16",
    "U32": "uint32",
    "I32": "int32",
    "U64": "uint64",
    "I64": "int64",
    "F16": "float16",
    "BF16": "bfloat16",
    "F32": "float32",
    "F64": "float64",
    "C64": "complex64",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "F8_E8M0": "float8_e8m0fnu",
    "F8_E4M3FNUZ": "float8_e4m3fnuz",
    "F8_E5M2FNUZ": "float8_e5m2fnuz",
    "F4": "float4_e2m1fn_x2",
}
CHARACTERS = [*"abzAZ059._-/ ", '"', "\\", "\b", "\f", "\n", "\r", "\t", "\0", "\x1f", "\x7f", "é", "ｱ", "日", "😀", "\u2028"]


class SinkOptions(ctypes.Structure):
    _fields_ = [
        ("durability", c_uint32),
        ("flags", c_uint32),
        ("context", c_void_p),
        ("name", c_char_p),
        ("reserved", c_uint64 * 8),
    ]


DURABLE_NONE = 2


class Writer:
    """As much of st_writer and st_sink as the tests need; every call must succeed."""

    def __init__(self, library):
        lib = library.lib
        self.lib = lib
        lib.st_writer_add.argtypes = [c_void_p, POINTER(Tensor), POINTER(c_size_t), POINTER(Error)]
        lib.st_writer_add_metadata.argtypes = [c_void_p, POINTER(Metadata), POINTER(Error)]
        lib.st_writer_size.argtypes = [c_void_p, POINTER(c_uint64), POINTER(Error)]
        lib.st_writer_begin.argtypes = [c_void_p, c_void_p, POINTER(Error)]
        lib.st_writer_write.argtypes = [c_void_p, c_size_t, c_uint64, c_char_p, c_size_t, POINTER(Error)]
        lib.st_writer_finish.argtypes = [c_void_p, POINTER(Error)]
        lib.st_writer_free.argtypes = [c_void_p]
        lib.st_sink_open.argtypes = [c_char_p, POINTER(SinkOptions), POINTER(c_void_p), POINTER(Error)]
        lib.st_sink_open_memory.argtypes = [c_void_p, c_size_t, c_void_p, POINTER(c_void_p), POINTER(Error)]
        lib.st_sink_release.argtypes = [c_void_p]
        lib.st_dtype_find.argtypes = [c_char_p, c_size_t]
        lib.st_dtype_find.restype = c_int32
        self.handle = c_void_p()
        self.call("st_writer_new", None, byref(self.handle))

    def call(self, name, *arguments):
        error = Error()
        if getattr(self.lib, name)(*arguments, byref(error)):
            raise RuntimeError(error.message.decode())

    def add(self, name, dtype, shape):
        text = name.encode()
        keep = ctypes.create_string_buffer(text)
        tensor = Tensor(
            name=ctypes.addressof(keep),
            name_len=len(text),
            shape=(c_uint64 * max(len(shape), 1))(*shape),
            ndim=len(shape),
            dtype=self.lib.st_dtype_find(dtype.encode(), len(dtype)),
        )
        index = c_size_t()
        self.call("st_writer_add", self.handle, byref(tensor), byref(index))
        return index.value

    def add_metadata(self, key, value):
        texts = key.encode(), value.encode()
        keep = [ctypes.create_string_buffer(t) for t in texts]
        entry = Metadata(ctypes.addressof(keep[0]), len(texts[0]), len(texts[1]), ctypes.addressof(keep[1]))
        self.call("st_writer_add_metadata", self.handle, byref(entry))

    def save(self, tensors, metadata, rng, path=None):
        """Writes {name: (dtype, shape, bytes)}: to a file, or gives the bytes."""
        indices = {name: self.add(name, dtype, shape) for name, (dtype, shape, _) in tensors.items()}
        for key, value in (metadata or {}).items():
            self.add_metadata(key, value)
        if metadata == {}:
            self.call("st_writer_add_metadata", self.handle, None)
        size, sink = c_uint64(), c_void_p()
        self.call("st_writer_size", self.handle, byref(size))
        memory = ctypes.create_string_buffer(size.value)
        if path:
            options = SinkOptions(durability=DURABLE_NONE)
            self.call("st_sink_open", str(path).encode(), byref(options), byref(sink))
        else:
            self.call("st_sink_open_memory", memory, size.value, None, byref(sink))
        self.call("st_writer_begin", self.handle, sink)
        for name in rng.sample(sorted(tensors), len(tensors)):
            data = tensors[name][2]
            cut = rng.randrange(len(data) + 1)
            for at, part in ((cut, data[cut:]), (0, data[:cut])):
                self.call("st_writer_write", self.handle, indices[name], at, part, len(part))
        self.call("st_writer_finish", self.handle)
        self.lib.st_writer_free(self.handle)
        self.lib.st_sink_release(sink)
        return path.read_bytes() if path else memory.raw


@pytest.fixture(scope="module")
def library():
    return Library()


def random_text(rng, most):
    return "".join(rng.choice(CHARACTERS) for _ in range(rng.randrange(most)))


def random_model(rng):
    tensors = {}
    for _ in range(rng.choice([0, 1, 1, 2, 3, 8, 30])):
        name = random_text(rng, rng.choice([3, 12, 300]))
        dtype = rng.choice(list(UPSTREAM_NAMES))
        shape = [rng.choice([0, 1, 1, 2, 3, 5, 17]) for _ in range(rng.randrange(5))]
        if dtype == "F4":
            shape.append(rng.choice([0, 2, 4, 6]))
        if rng.random() < 0.03:
            shape = [rng.choice([2**16, 70_000])]
        tensors[name] = (dtype, shape, rng.randbytes(math.prod(shape) * DTYPES[dtype] // 8))
    metadata = rng.choice([None, {}, {random_text(rng, 8): random_text(rng, 20)}])
    # Of nothing and no metadata upstream makes an invalid header: see below.
    return tensors, metadata if tensors or metadata else None


def upstream_specs(tensors, keep):
    specs = {}
    for name, (dtype, shape, data) in tensors.items():
        buffer = ctypes.create_string_buffer(data, max(len(data), 1))
        keep.append(buffer)
        # Upstream takes the shape of F4 in pairs.
        given = [*shape[:-1], shape[-1] // 2] if dtype == "F4" else shape
        specs[name] = TensorSpec(
            dtype=UPSTREAM_NAMES[dtype], shape=given, data_ptr=ctypes.addressof(buffer), data_len=len(data)
        )
    return specs


def test_same_bytes(library, tmp_path):
    rng, seen = random.Random(1), set()
    for i in range(MODELS):
        tensors, metadata = random_model(rng)
        seen |= {t[0] for t in tensors.values()}
        keep = []
        specs = upstream_specs(tensors, keep)
        ours = Writer(library).save(tensors, metadata, rng)
        assert ours == serialize(specs, metadata), (tensors.keys(), metadata)
        if i % 4 == 0:
            theirs, file = tmp_path / "theirs.safetensors", tmp_path / "ours.safetensors"
            serialize_file(specs, str(theirs), metadata)
            Writer(library).save(tensors, metadata, rng, file)
            assert file.read_bytes() == theirs.read_bytes() == ours
            assert sorted(p.name for p in tmp_path.iterdir()) == ["ours.safetensors", "theirs.safetensors"]
    assert seen == set(UPSTREAM_NAMES)


def test_metadata_in_order(library):
    """Upstream writes several keys in the order of a hash table; ours in that of the keys."""
    rng = random.Random(2)
    for _ in range(50):
        metadata = {random_text(rng, 6): random_text(rng, 6) for _ in range(rng.randrange(2, 20))}
        ours, theirs = Writer(library).save({}, metadata, rng), serialize({}, metadata)
        assert len(ours) == len(theirs)
        assert json.loads(ours[8:]) == json.loads(theirs[8:])
        keys = list(json.loads(ours[8:])["__metadata__"])
        assert keys == sorted(keys)


def test_empty_metadata(library):
    """Without tensors upstream closes the header's object too early."""
    assert serialize({}, {})[8:].rstrip() == b'{},"__metadata__":{}}'
    ours = Writer(library).save({}, {}, random.Random(0))
    assert ours[8:] == b'{"__metadata__":{}}     '
    assert safetensors.deserialize(ours) == []


def test_upstream_reads(library):
    """The dtypes that upstream's Python cannot write it reads from ours."""
    rng = random.Random(3)
    for dtype, bits in DTYPES.items():
        data = rng.randbytes(8 * bits // 8)
        ours = Writer(library).save({"w": (dtype, [2, 4], data)}, {"a": "1", "b": "2"}, rng)
        ((name, got),) = safetensors.deserialize(ours)
        assert (name, got["dtype"], got["shape"], bytes(got["data"])) == ("w", dtype, [2, 4], data)
