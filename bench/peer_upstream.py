#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What upstream's wheel takes for the same work; run by bench_open, bench_slice and bench/run.

usage: peer_upstream.py serve                      lines "WHAT LOOPS PATH", answers ns for one
       peer_upstream.py first WHAT PATH            the same, for the first time in this process
       peer_upstream.py memory PATH                bytes by which a first open raises the peak
       peer_upstream.py version

WHAT: open, names; and for slices, with columns a to b of the tensor "w":
      slice-mmap:a:b  slice-pread:a:b  numpy:a:b
"""
import json
import struct
import sys
import time

import numpy
import safetensors
from safetensors import safe_open


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


def work(what):
    kind, *columns = what.split(":")
    columns = [int(column) for column in columns]
    return {
        "open": opened,
        "names": names,
        "slice-mmap": lambda path: sliced(path, "mmap", *columns),
        "slice-pread": lambda path: sliced(path, "pread", *columns),
        "numpy": lambda path: numpy_sliced(path, *columns),
    }[kind]


def timed(what, loops, path):
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
