#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The work that bench/python/measure.py times; the same program runs with our package and with upstream's.

usage: cases.py make FOLDER         writes the files that the cases read
       cases.py serve FOLDER        lines "CASE", answers "NS BYTES": the time of the work, and by how much it
                                    raised this process's own memory (its peak, without pages of files)
       cases.py import              ns of `import safetensors` in this process
       cases.py version
"""

import gc
import json
import os
import struct
import sys
import time

FOLDER = ""
KINDS = {"F32": 4, "BF16": 2}


def path(name):
    return os.path.join(FOLDER, name + ".safetensors")


def write_model(name, tensors):
    """`tensors`: (name, dtype, shape); the bytes repeat a block of noise, of which none is all zeros."""
    header, end = {}, 0
    for key, dtype, shape in tensors:
        size = KINDS[dtype]
        for dim in shape:
            size *= dim
        header[key] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    block = bytes(i * 167 + 13 & 127 for i in range(1 << 20))
    with open(path(name), "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for start in range(0, end, len(block)):
            file.write(block[: min(len(block), end - start)])


def named(count):
    return [f"model.layers.{i // 100:04}.mlp.experts.{i % 100:02}.down_proj.w" for i in range(count)]


def make():
    for count in (100, 20000, 100000):
        write_model(f"tiny-{count}", [(name, "F32", [4, 4]) for name in named(count)])
    write_model(
        "1GiB", [(f"layers.{i}", "F32", [6400, 4096]) for i in range(10)] + [("layers.last", "F32", [6, 1 << 20])]
    )
    write_model("512MiB", [(f"layers.{i}", "F32", [4096, 4096]) for i in range(8)])
    write_model("64MiB", [("w", "F32", [4096, 4096])])


# ------------------------------------------------------------------------------------ cases
# A case is a generator: it prepares, yields, works, yields, and cleans up; what lies between is timed.

CASES = {}


def case(function):
    CASES[function.__name__.replace("_", "-")] = function
    return function


def opened(count, loops):
    from safetensors import safe_open

    yield
    for _ in range(loops):
        with safe_open(path(f"tiny-{count}"), "np") as file:
            keys = file.keys()
    yield
    assert len(keys) == count


@case
def open_100000():
    yield from opened(100000, 1)


@case
def open_100():
    yield from opened(100, 100)


@case
def torch_load_20000():
    from safetensors.torch import load_file

    yield
    loaded = load_file(path("tiny-20000"))
    yield
    assert len(loaded) == 20000


@case
def torch_get_tensor():
    import torch
    from safetensors import safe_open

    with safe_open(path("tiny-20000"), "pt") as file:
        names = file.keys()
        file.get_tensor(names[0])
        yield
        for name in names:
            tensor = file.get_tensor(name)
        yield
    assert tensor.dtype == torch.float32


@case
def numpy_load_1GiB():
    from safetensors.numpy import load_file

    yield
    loaded = load_file(path("1GiB"))
    yield
    assert len(loaded) == 11


@case
def numpy_load_touch_1GiB():
    import numpy
    from safetensors.numpy import load_file

    yield
    total = sum(int(array.view(numpy.uint64).sum(dtype=numpy.uint64)) for array in load_file(path("1GiB")).values())
    yield
    assert total


def loaded_bytes(module, **options):
    with open(path("512MiB"), "rb") as file:
        data = file.read()
    yield
    loaded = module.load(data, **options)
    yield
    assert len(loaded) == 8


@case
def numpy_load_bytes_512MiB():
    import safetensors.numpy

    yield from loaded_bytes(safetensors.numpy)


@case
def torch_load_bytes_512MiB():
    import safetensors.torch

    yield from loaded_bytes(safetensors.torch)


@case
def numpy_load_view_512MiB():
    import safetensors.numpy

    yield from loaded_bytes(safetensors.numpy, copy=False)


def saved(module, tensors, **options):
    target = path("saved")
    if os.path.exists(target):
        os.remove(target)
    yield
    module.save_file(tensors, target, **options)
    yield
    os.remove(target)


@case
def numpy_save_10000():
    import numpy
    import safetensors.numpy

    yield from saved(safetensors.numpy, {name: numpy.ones((4, 4), numpy.float32) for name in named(10000)})


@case
def torch_save_10000():
    import safetensors.torch
    import torch

    yield from saved(safetensors.torch, {name: torch.ones(4, 4) for name in named(10000)})


def gibibyte():
    import numpy

    return {f"w{i}": numpy.full((64 << 20) // 4, i + 1, numpy.float32) for i in range(16)}


@case
def numpy_save_1GiB():
    import safetensors.numpy

    yield from saved(safetensors.numpy, gibibyte())


@case
def numpy_save_durable_1GiB():
    import safetensors.numpy

    yield from saved(safetensors.numpy, gibibyte(), durable=True)


@case
def numpy_save_bytes_512MiB():
    import numpy
    import safetensors.numpy

    tensors = {f"w{i}": numpy.full((64 << 20) // 4, i + 1, numpy.float32) for i in range(8)}
    yield
    data = safetensors.numpy.save(tensors)
    yield
    assert len(data) > 512 << 20


@case
def slice_pread_16_rows():
    from safetensors import safe_open

    with safe_open(path("64MiB"), "np", backend="pread") as file:
        part = file.get_slice("w")
        yield
        rows = part[100:116]
        yield
    assert rows.shape == (16, 4096)


# The ceilings: what the same bytes cost at least, without the format.


@case
def read_header():
    with open(path("tiny-100000"), "rb") as file:
        (size,) = struct.unpack("<Q", file.read(8))
    yield
    with open(path("tiny-100000"), "rb") as file:
        file.read(8 + size)
    yield


@case
def touch_1GiB():
    import numpy

    yield
    data = numpy.memmap(path("1GiB"), numpy.uint8, "r")
    total = int(data[data.size % 8 :].view(numpy.uint64).sum(dtype=numpy.uint64))
    yield
    assert total


@case
def copy_512MiB():
    with open(path("512MiB"), "rb") as file:
        data = file.read()
    yield
    copy = bytearray(data)
    yield
    assert len(copy) == len(data)


def written(blocks, sync=False):
    size = sum(len(block) for block in blocks)
    target = path("saved")
    if os.path.exists(target):
        os.remove(target)
    yield
    with open(target, "wb", buffering=0) as file:
        os.posix_fallocate(file.fileno(), 0, size)
        for block in blocks:
            file.write(block)
        if sync:
            os.fsync(file.fileno())
    yield
    os.remove(target)


@case
def write_1_7MB():
    yield from written([bytes(1700000)])


@case
def write_1GiB():
    yield from written([memoryview(array).cast("B") for array in gibibyte().values()])


@case
def write_sync_1GiB():
    yield from written([memoryview(array).cast("B") for array in gibibyte().values()], sync=True)


def own_memory():
    """Bytes of this process that belong to no file: now, and at their highest as far as the kernel tells."""
    with open("/proc/self/status") as file:
        fields = dict(line.split(":", 1) for line in file)
    peak, files = (int(fields[key].split()[0]) << 10 for key in ("VmHWM", "RssFile"))
    return int(fields["RssAnon"].split()[0]) << 10, peak - files


def run(name):
    work = CASES[name]()
    next(work)
    gc.collect()
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    before, _ = own_memory()
    start = time.perf_counter_ns()
    next(work)
    taken = time.perf_counter_ns() - start
    _, peak = own_memory()
    for _ in work:
        pass
    return taken, max(0, peak - before)


def serve():
    for line in sys.stdin:
        print(*run(line.strip()), flush=True)


def version():
    import safetensors

    found = ["safetensors " + safetensors.__version__]
    for name in ("numpy", "torch"):
        found.append(f"{name} {__import__(name).__version__}")
    print(*found)


def imported():
    start = time.perf_counter_ns()
    import safetensors

    print(time.perf_counter_ns() - start)
    assert safetensors.safe_open


if __name__ == "__main__":
    if sys.argv[1] in ("make", "serve"):
        FOLDER = sys.argv[2]
    {"make": make, "serve": serve, "import": imported, "version": version}[sys.argv[1]]()
