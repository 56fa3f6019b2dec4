#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What upstream's wheel takes for the same work; run by the programs of bench/ and by bench/run.

usage: peer_upstream.py serve                      lines "WHAT LOOPS PATH", answers ns for one
       peer_upstream.py first WHAT PATH            the same, for the first time in this process
       peer_upstream.py memory PATH                bytes by which a first open raises the peak
       peer_upstream.py version

WHAT: open, names; and for slices, with columns a to b of the tensor "w":
      slice-mmap:a:b  slice-pread:a:b  numpy:a:b
and for saves of one of the MODELS below, each after the file was removed, but for the second:
      save:MODEL  save-over:MODEL  save-fsync:MODEL  save-transposed:square
and of a file of F32, min, max, mean and std of all, and a digest:
      stats-F32  sha256
"""
import hashlib
import json
import os
import struct
import sys
import time

import numpy
import safetensors
from safetensors import safe_open, serialize_file
from safetensors.numpy import save_file

# (dtype, shape, bytes) in turn, and how many tensors; save.c has the same table.
MODELS = {
    "one": ([("float32", [16384, 16384], 1 << 30)], 1),
    "ten": ([("bfloat16", [6400, 8192], 100 << 20)], 10),
    "mixed": ([("float32", [1], 4), ("bfloat16", [64], 128), ("float8_e4m3fn", [16, 16], 256),
               ("int64", [2, 3], 48), ("float16", [32, 8], 512)], 10000),
    "small": ([("float32", [256], 1024)], 10000),
    "tiny": ([("float32", [256], 1024)], 1),
    "square": ([("float32", [8192, 8192], 8192 * 8192 * 4)], 1),
}


def opened(path):
    with safe_open(path, framework="np"):
        pass


def names(path):
    with safe_open(path, framework="np") as file:
        file.keys()


def sliced(path, backend, first, last):
    with safe_open(path, framework="np", backend=backend) as file:
        file.get_slice("w")[:, first:last]


def numpy_sliced(path, first, last):
    with open(path, "rb") as file:
        (size,) = struct.unpack("<Q", file.read(8))
        shape = json.loads(file.read(size))["w"]["shape"]
    data = numpy.memmap(path, dtype=numpy.uint8, mode="r", offset=8 + size, shape=tuple(shape))
    numpy.ascontiguousarray(data[:, first:last])


class Model:
    """The tensors of a model, in memory; the last one asked for is kept."""
    last = None

    def __init__(self, name):
        kinds, count = MODELS[name]
        total = sum(kinds[i % len(kinds)][2] for i in range(count))
        self.name = name
        self.data = numpy.full(total, 7, dtype=numpy.uint8)
        self.specs = {}
        at = self.data.ctypes.data
        for i in range(count):
            dtype, shape, size = kinds[i % len(kinds)]
            key = f"model.layers.{i // 100}.mlp.experts.{i % 100}.weight"
            self.specs[key] = safetensors.TensorSpec(dtype=dtype, shape=shape, data_ptr=at, data_len=size)
            at += size

    @classmethod
    def get(cls, name):
        if cls.last is None or cls.last.name != name:
            cls.last = None
            cls.last = cls(name)
        return cls.last

    def save(self, path):
        serialize_file(self.specs, path, None)

    def save_fsync(self, path):
        self.save(path)
        fd = os.open(path, os.O_RDONLY)
        os.fsync(fd)
        os.close(fd)

    def save_transposed(self, path):
        array = self.data.view(numpy.float32).reshape(MODELS[self.name][0][0][1])
        save_file({"w": numpy.ascontiguousarray(array.T)}, path)


def saved(what, loops, path):
    """Gives ns for one save; removing the file of the one before is not counted."""
    how, _, name = what.partition(":")
    model = Model.get(name)
    run = {"save": model.save, "save-over": model.save, "save-fsync": model.save_fsync,
           "save-transposed": model.save_transposed}[how]
    ns = 0
    for _ in range(loops):
        if how != "save-over" and os.path.exists(path):
            os.unlink(path)
        start = time.perf_counter_ns()
        run(path)
        ns += time.perf_counter_ns() - start
    return ns / loops


def statistics(path):
    with open(path, "rb") as file:
        (size,) = struct.unpack("<Q", file.read(8))
    data = numpy.memmap(path, dtype=numpy.float32, mode="r", offset=8 + size)
    data.min(), data.max(), data.mean(dtype=numpy.float64), data.std(dtype=numpy.float64)


def sha256(path):
    with open(path, "rb", buffering=0) as file:
        hashlib.file_digest(file, "sha256").digest()


def work(what):
    kind, *columns = what.split(":")
    columns = [int(column) for column in columns]
    return {
        "open": opened,
        "names": names,
        "slice-mmap": lambda path: sliced(path, "mmap", *columns),
        "slice-pread": lambda path: sliced(path, "pread", *columns),
        "numpy": lambda path: numpy_sliced(path, *columns),
        "sha256": sha256,
        "stats-F32": statistics,
    }[kind]


def timed(what, loops, path):
    if what.startswith("save"):
        return saved(what, loops, path)
    run = work(what)
    start = time.perf_counter_ns()
    for _ in range(loops):
        run(path)
    return (time.perf_counter_ns() - start) / loops


def serve():
    for line in sys.stdin:
        what, loops, path = line.rstrip("\n").split(" ", 2)
        print(f"{timed(what, int(loops), path):.1f}", flush=True)


def status_bytes(key):
    with open("/proc/self/status") as status:
        for line in status:
            if line.startswith(key + ":"):
                return int(line.split()[1]) * 1024
    raise KeyError(key)


def memory(path):
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    before = status_bytes("VmRSS")
    with safe_open(path, framework="np") as file:
        file.keys()
    return status_bytes("VmHWM") - before


def main(arguments):
    if arguments == ["serve"]:
        serve()
    elif arguments[:1] == ["first"] and len(arguments) == 3:
        print(f"{timed(arguments[1], 1, arguments[2]):.1f}")
    elif arguments[:1] == ["memory"] and len(arguments) == 2:
        print(memory(arguments[1]))
    elif arguments == ["version"]:
        print(f"safetensors {safetensors.__version__} numpy {numpy.__version__}")
    else:
        print(__doc__, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
