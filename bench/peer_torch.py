#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What people edit, compare, and split files with: upstream's package with torch or NumPy, and huggingface_hub; run by
bench_edit, bench_diff, and bench_split.

usage: peer_torch.py serve             answers lines "WHAT<tab>PATH<tab>PATH" with the ns it took, and "can<tab>WHAT" with
                                       0 or 1
       peer_torch.py version [hub]     with huggingface_hub only, or fails

What was loaded is given up after the clock was read.
"""

import glob
import importlib.metadata
import os
import sys
import time

import numpy
import torch
from safetensors.numpy import load_file as load_arrays
from safetensors.torch import load_file, save_file

try:
    from huggingface_hub import save_torch_state_dict
except ImportError:
    save_torch_state_dict = None

PACKAGES = ("safetensors", "torch", "numpy", "huggingface_hub")
SHARDS = 4
# As bench/edit.c has them.
OLD, NEW = "model.layers.00000.mlp.weight", "model.layers.00000.mlp.wEIGHT"
NOTE = {"note": "edited by one"}


def rename(source, target):
    tensors = load_file(source)
    tensors[NEW] = tensors.pop(OLD)
    save_file(tensors, target)


def metadata(source, target):
    save_file(load_file(source), target, metadata=NOTE)


def cast(source, target):
    tensors = load_file(source)
    save_file({name: tensor.to(torch.bfloat16) for name, tensor in tensors.items()}, target)


def equal(a, b):
    a, b = load_file(a), load_file(b)
    return [name for name, tensor in a.items() if not torch.equal(tensor, b[name])]


def close(a, b):
    a, b = load_arrays(a), load_arrays(b)
    return [name for name, array in a.items() if not numpy.allclose(array, b[name])]


def errors(a, b):
    """The largest and the mean difference of each tensor."""
    a, b = load_file(a), load_file(b)
    found = {}
    for name, tensor in a.items():
        apart = (tensor - b[name]).abs()
        found[name] = apart.max().item(), apart.mean().item()
    return found


def split(source, folder):
    tensors = load_file(source)
    size = sum(tensor.nbytes for tensor in tensors.values())
    save_torch_state_dict(tensors, folder, max_shard_size=size // SHARDS)


def merge(folder, target):
    tensors = {}
    for path in sorted(glob.glob(os.path.join(folder, "*.safetensors"))):
        tensors.update(load_file(path))
    save_file(tensors, target)


WAYS = {way.__name__: way for way in (rename, metadata, cast, equal, close, errors, split, merge)}


def answer(what, *paths):
    if what == "can":
        (name,) = paths
        return int(name in WAYS and (name != "split" or save_torch_state_dict is not None))
    start = time.perf_counter_ns()
    held = WAYS[what](*paths)
    taken = time.perf_counter_ns() - start
    del held
    return taken


def serve():
    # Nothing a package prints may get into an answer.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        print(answer(*line.rstrip("\n").split("\t")), file=answers, flush=True)


def version():
    found = []
    for package in PACKAGES:
        try:
            found.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            found.append(f"no {package}")
    print(" ".join(found))


if __name__ == "__main__":
    if sys.argv[1:] not in (["serve"], ["version"], ["version", "hub"]):
        sys.exit(__doc__)
    if sys.argv[2:] and save_torch_state_dict is None:
        sys.exit("no huggingface_hub")
    {"serve": serve, "version": version}[sys.argv[1]]()
