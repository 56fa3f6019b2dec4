#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Loaders that people use, each loading all files of a folder and touching every byte; run by bench_load.

usage: peer_loaders.py serve     answers lines, as below
       peer_loaders.py version

The lines: "ways": the names of those that can be used here;
           "make 0 FOLDER": writes each file's tensors by torch.save beside it, unless that is there;
           "WAY CORES FOLDER": loads on so many of the cores (0: all), and answers "NS CPU_NS BYTES SUM": the time,
           the processor's time of all threads, by how much the process's own memory rose at its highest (without
           pages of files), and the sum of all 64-bit words.

BENCH_TOUCH names the library of touch.c, whose function the benchmark itself touches bytes with.
"""

import ctypes
import gc
import glob
import importlib.metadata
import os
import sys
import time

import torch
from safetensors import safe_open

WAYS = {}
PACKAGES = ("safetensors", "fastsafetensors", "runai-model-streamer", "torch")


def way(name):
    def keep(function):
        WAYS[name] = function
        return function

    return keep


def files(folder, ending="safetensors"):
    return sorted(glob.glob(os.path.join(folder, "*." + ending)))


class Touch:
    """Sums up the words of tensors, as bench_touch does."""

    def __init__(self):
        self.function = ctypes.CDLL(os.environ["BENCH_TOUCH"]).bench_touch
        self.function.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
        self.function.restype = ctypes.c_uint64

    def __call__(self, tensor):
        return self.function(tensor.data_ptr(), tensor.nbytes)


# Each gives the sum, and what has to live until the clock was read.


def upstream(touch, folder, backend):
    total, held = 0, []
    for path in files(folder):
        file = safe_open(path, framework="pt", backend=backend)
        held.append(file)
        for name in file.keys():
            tensor = file.get_tensor(name)
            total += touch(tensor)
            held.append(tensor)
    return total, held


@way("upstream-mmap")
def upstream_mmap(touch, folder):
    return upstream(touch, folder, "mmap")


@way("upstream-pread")
def upstream_pread(touch, folder):
    return upstream(touch, folder, "pread")


@way("torch-mmap")
def torch_mmap(touch, folder):
    total, held = 0, []
    for path in files(folder, "pt"):
        tensors = torch.load(path, mmap=True, map_location="cpu", weights_only=True)
        held.append(tensors)
        for tensor in tensors.values():
            total += touch(tensor)
    return total, held


try:
    from fastsafetensors import SafeTensorsFileLoader

    def fast(touch, folder, direct):
        """On a CPU, nogds=False comes to the same, with a warning."""
        os.environ["FASTSAFETENSORS_ODIRECT"] = direct
        total, held = 0, []
        loader = SafeTensorsFileLoader(None, device="cpu", nogds=True)
        loader.add_filenames({0: files(folder)})
        buffers = loader.copy_files_to_device()
        for name in loader.get_keys():
            tensor = buffers.get_tensor(name)
            total += touch(tensor)
            held.append(tensor)
        return total, [*held, buffers, loader]

    @way("fastsafetensors-direct")
    def fast_direct(touch, folder):
        return fast(touch, folder, "1")

    @way("fastsafetensors-buffered")
    def fast_buffered(touch, folder):
        return fast(touch, folder, "0")

except ImportError:
    pass

try:
    from runai_model_streamer import SafetensorsStreamer

    def streamed(touch, folder, owned):
        total, held = 0, []
        with SafetensorsStreamer() as streamer:
            streamer.stream_files(files(folder), device="cpu", owned=owned)
            for _, tensor in streamer.get_tensors():
                total += touch(tensor)
                if owned:
                    held.append(tensor)
        return total, held

    @way("runai-streamed")
    def runai_streamed(touch, folder):
        return streamed(touch, folder, False)

    @way("runai-owned")
    def runai_owned(touch, folder):
        return streamed(touch, folder, True)

except ImportError:
    pass


def make(folder):
    for path in files(folder):
        target = path[: -len(".safetensors")] + ".pt"
        if os.path.exists(target):
            continue
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}
        torch.save(tensors, target + ".new")
        del tensors, file
        descriptor = os.open(target + ".new", os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
        os.rename(target + ".new", target)
    return "made"


def own_memory():
    """Bytes of this process that belong to no file: now, and at their highest as far as the kernel tells."""
    with open("/proc/self/status") as status:
        fields = dict(line.split(":", 1) for line in status)
    peak, of_files = (int(fields[key].split()[0]) << 10 for key in ("VmHWM", "RssFile"))
    return int(fields["RssAnon"].split()[0]) << 10, peak - of_files


def cores_take(every, wanted):
    """Of all threads that are there; later ones take after the one that starts them."""
    for task in os.listdir("/proc/self/task"):
        try:
            os.sched_setaffinity(int(task), every[: wanted or len(every)])
        except ProcessLookupError:
            pass


def give_back():
    """Returns what the allocator keeps of the turn before, so that memory is new as in a process's first load."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)


def run(touch, name, folder):
    give_back()
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    before, _ = own_memory()
    used, start = time.process_time_ns(), time.perf_counter_ns()
    total, held = WAYS[name](touch, folder)
    taken, used = time.perf_counter_ns() - start, time.process_time_ns() - used
    _, peak = own_memory()
    # Whatever stays mapped keeps the file in the page cache. Some loaders let go only when they are told to.
    closed = [thing for thing in held if hasattr(thing, "close")]
    del held[:]
    for thing in closed:
        thing.close()
    closed = thing = None
    give_back()
    return f"{taken} {used} {max(0, peak - before)} {total % 2**64}"


def serve():
    # Nothing a loader prints may get into an answer.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    touch = Touch()
    every = sorted(os.sched_getaffinity(0))
    for line in sys.stdin:
        name, _, rest = line.rstrip("\n").partition(" ")
        if name == "ways":
            answer = " ".join(WAYS)
        else:
            cores, _, folder = rest.partition(" ")
            cores_take(every, int(cores))
            answer = make(folder) if name == "make" else run(touch, name, folder)
        print(answer, file=answers, flush=True)


def version():
    found = []
    for package in PACKAGES:
        try:
            found.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            found.append(f"no {package}")
    print(" ".join(found))


if __name__ == "__main__":
    if sys.argv[1:] not in (["serve"], ["version"]):
        sys.exit(__doc__)
    {"serve": serve, "version": version}[sys.argv[1]]()
