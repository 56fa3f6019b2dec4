# SPDX-License-Identifier: Apache-2.0
"""What the two packages are asked, in a process of each of them. It reads a pickled (function, arguments) at a time and
answers with plain data. What is imported as `safetensors` here is what is tested, or what it is held against."""

import copy  # noqa: F401 (as io, for the expressions of the test)
import importlib
import importlib.util
import inspect
import io  # noqa: F401
import os
import pickle
import sys
import types
from pathlib import Path
from unittest import mock

import jax
import ml_dtypes  # noqa: F401 (NumPy knows its dtypes by name once it is there)
import numpy as np
import torch

import safetensors
import safetensors.flax
import safetensors.numpy
import safetensors.torch
from safetensors import TensorSpec, _safe_open_handle, deserialize, safe_open, serialize, serialize_file

FOLDER = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(".")


def described(value):
    """A value as plain data: for arrays and tensors all that a program can see of them but their address."""
    if isinstance(value, torch.Tensor):
        whole = value.detach().contiguous().as_strided((value.numel(),), (1,))
        return {
            "type": type(value).__name__,
            "dtype": str(value.dtype),
            "shape": tuple(value.shape),
            "strides": value.stride(),
            "offset": value.storage_offset(),
            "state": (str(value.device), value.is_contiguous(), value.requires_grad, value.is_leaf),
            "bytes": bytes(whole.view(torch.uint8).tolist()) if value.numel() else b"",
        }
    if isinstance(value, np.ndarray):
        return {
            "type": type(value).__name__,
            "dtype": value.dtype.name,
            "shape": value.shape,
            "strides": value.strides if value.size else None,
            "state": (value.flags.c_contiguous, value.flags.writeable, value.dtype.isnative),
            "bytes": value.tobytes(),
        }
    if isinstance(value, jax.Array):
        return {**described(np.asarray(value)), "type": "jax", "state": (value.weak_type, str(value.devices()))}
    if isinstance(value, dict):
        return {key: described(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(map(described, value))
    if isinstance(value, bytearray):
        return ("bytearray", bytes(value))
    if value is None or isinstance(value, (bool, int, str, bytes)):
        return value
    return f"a {type(value).__name__}"


def raised(error):
    return {"error": [f"{c.__module__}.{c.__qualname__}" for c in type(error).__mro__], "text": str(error)}


def outcome(call):
    try:
        return described(call())
    except BaseException as error:  # a panic of the other package is no Exception
        return raised(error)


# ------------------------------------------------------------------------------------------------ reading


def everything(path, framework, backend):
    """All that the handle says of a file, and all its tensors."""
    with safe_open(path, framework=framework, backend=backend) as f:
        said = {
            "keys": f.keys(),
            "offset_keys": f.offset_keys(),
            "metadata": f.metadata(),
            "get_tensors": outcome(lambda: list(f.get_tensors().items())),
        }
        for name in said["keys"]:
            part = f.get_slice(name)
            said[name] = {
                "shape": part.get_shape(),
                "dtype": part.get_dtype(),
                "get_tensor": outcome(lambda: f.get_tensor(name)),
                "slice": outcome(lambda: part[:]),
            }
            if hasattr(f, "get_tensor_meta"):
                meta = f.get_tensor_meta(name)
                said[name]["meta"] = (meta.dtype, meta.shape, meta.data_offsets, repr(meta))
    module = {"np": safetensors.numpy, "pt": safetensors.torch, "jax": safetensors.flax}[framework]
    said["load_file"] = outcome(lambda: list(module.load_file(path, backend=backend).items()))
    content = Path(path).read_bytes()
    said["load"] = outcome(lambda: module.load(content))
    return said


def sliced(path, framework, backend, indices):
    """The results of slices: [(name, index)]. The handle is closed before they are taken."""
    with safe_open(path, framework=framework, backend=backend) as f:
        parts = {name: f.get_slice(name) for name in f.keys()}
    return [outcome(lambda: parts[name][index]) for name, index in indices]


def read_headers(contents):
    """What is read of each of these files: by deserialize, and by a handle."""
    path = FOLDER / "header.safetensors"
    said = []
    for content in contents:
        path.unlink(missing_ok=True)  # an old mapping keeps the old file
        path.write_bytes(content)

        def opened():
            with safe_open(path, "np") as f:
                parts = {name: f.get_slice(name) for name in f.keys()}
                shapes = {name: (part.get_dtype(), part.get_shape()) for name, part in parts.items()}
                return f.metadata(), f.keys(), [k for k in f.offset_keys() if 0 not in shapes[k][1]], shapes

        said.append((outcome(lambda: dict(deserialize(content))), outcome(opened)))
    return said


# ------------------------------------------------------------------------------------------------- writing


def tensor_of(dtype, shape, data):
    """A torch tensor of these bytes."""
    dtype = getattr(torch, dtype)
    if not data:
        return torch.empty(shape, dtype=dtype)
    return torch.frombuffer(bytearray(data), dtype=torch.uint8).view(dtype).reshape(shape)


def array_of(dtype, shape, data):
    return np.frombuffer(bytearray(data), dtype=dtype).reshape(shape)


def written(models):
    """What the three ways to save make of each ({name: (dtype, shape, bytes)}, metadata): bytes of each way."""
    said = []
    path = FOLDER / "written.safetensors"
    for kind, tensors, metadata in models:
        if kind == "specs":
            kept = [np.frombuffer(data or b"\0", np.uint8) for _, _, data in tensors.values()]
            values = {
                name: TensorSpec(dtype=dtype, shape=shape, data_ptr=memory.ctypes.data, data_len=len(data))
                for (name, (dtype, shape, data)), memory in zip(tensors.items(), kept)
            }
            ways = (serialize, serialize_file)
        else:
            make, module = {"torch": (tensor_of, safetensors.torch), "numpy": (array_of, safetensors.numpy)}[kind]
            values = {name: make(*value) for name, value in tensors.items()}
            ways = (module.save, module.save_file)
        path.unlink(missing_ok=True)
        content = outcome(lambda: ways[0](values, metadata))
        nothing = outcome(lambda: ways[1](values, path, metadata))
        said.append((content, path.read_bytes() if nothing is None else nothing))
    return said


# -------------------------------------------------------------------------------------------------- memory


def aliasing(path, framework, backend):
    """Who shares memory with whom, and who sees what is written."""
    if framework == "np":
        said = {}
        f, other = (safe_open(path, "np", backend=backend) for _ in range(2))
        first, second, foreign = f.get_tensor("a"), f.get_tensor("a"), other.get_tensor("a")
        before = second.tobytes()
        first[...] = 7
        said["second"] = second.tobytes() == before
        said["third"] = f.get_tensor("a").tobytes() == before
        said["foreign"] = foreign.tobytes() == before == other.get_tensor("a").tobytes()
        part = f.get_slice("a")[1:2]
        part[...] = 9
        said["part"] = f.get_tensor("a").tobytes() == before
        said["neighbour"] = f.get_tensor("b").tobytes() == other.get_tensor("b").tobytes()
        f.__exit__(None, None, None)
        said["kept"] = first.tobytes() == np.full_like(first, 7).tobytes()
        said["file"] = Path(path).read_bytes()
        return said
    f, other = (safe_open(path, "pt", backend=backend) for _ in range(2))
    a, again, b = f.get_tensor("a"), f.get_tensor("a"), f.get_tensor("b")
    part, foreign = f.get_slice("a")[1:2], other.get_tensor("a")
    storages = {"a": a, "again": again, "b": b, "part": part, "part of b": f.get_slice("b")[:, 1]}
    said = {
        "storage": {
            name: (t.untyped_storage().nbytes(), t.storage_offset(), t.untyped_storage().resizable())
            for name, t in storages.items()
        },
        "starts": {name: t.untyped_storage().data_ptr() - a.data_ptr() for name, t in storages.items()},
        "same address": a.data_ptr() == again.data_ptr(),
        "same storage": a.untyped_storage()._cdata == again.untyped_storage()._cdata,
        "bulk": f.get_tensors()["a"].data_ptr() == a.data_ptr(),
        "complete": [safetensors.torch._is_complete(t) for t in (a, b, part)],
        "shared": sorted(map(sorted, safetensors.torch._find_shared_tensors({"a": a, "again": again, "b": b}))),
    }
    if backend != "mmap":
        said.pop("starts")
    a.fill_(7)
    said["seen"] = [described(t) for t in (a, again, part, f.get_tensor("a"), f.get_slice("a")[:, 1:])]
    said["unseen"] = [described(t) for t in (b, f.get_tensor("b"), foreign, other.get_tensor("a"))]
    part.fill_(3)
    said["by part"] = [described(t) for t in (a, again, f.get_tensor("a"))]
    f.__exit__(None, None, None)
    again.add_(1)
    said["closed"] = described(a)
    said["file"] = Path(path).read_bytes()
    said["grown"] = outcome(lambda: foreign.resize_(1000))
    said["shrunk"] = outcome(lambda: again.resize_(2))
    said["moved"] = (b.share_memory_().is_shared(), described(b))
    torch.save({"a": a}, FOLDER / "saved.pt")
    said["pickled"] = described(torch.load(FOLDER / "saved.pt"))
    said["small"] = os.path.getsize(FOLDER / "saved.pt") < 4096
    safetensors.torch.save_file({"b": b}, FOLDER / "again.safetensors")
    said["again"] = (FOLDER / "again.safetensors").read_bytes()
    return said


# ------------------------------------------------------------------------------------------------- surface

SUBMODULES = ("numpy", "torch", "flax", "tensorflow", "mlx", "paddle")


def parameters_of(function):
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return None
    return [(p.name, p.kind.name, "" if p.default is p.empty else repr(p.default)) for p in parameters]


def surface():
    """Names of each module, signatures of all functions and methods, attributes of the types."""
    stand_ins = {name: mock.MagicMock(__version__="3.3.1") for name in ("tensorflow", "paddle", "mlx", "mlx.core")}
    stand_ins = {name: value for name, value in stand_ins.items() if not importlib.util.find_spec(name.split(".")[0])}
    with mock.patch.dict(sys.modules, stand_ins):
        modules = {name: importlib.import_module(f"safetensors.{name}") for name in SUBMODULES}
    rust = importlib.import_module("safetensors._safetensors_rust")
    modules.update({"": safetensors, "_safetensors_rust": rust})
    said = {"names": {}, "signatures": {}, "attributes": {}}
    for module, found in modules.items():
        listed = [name for name in [*dir(found), *getattr(found, "__all__", ())] if not name.startswith("__")]
        said["names"][module] = sorted(set(listed))
        for name in said["names"][module]:
            value = getattr(found, name)
            if isinstance(value, types.FunctionType) and value.__module__ == found.__name__:
                said["signatures"][f"{module}.{name}"] = parameters_of(value)
    for name in said["names"]["_safetensors_rust"] + ["PrefetchLoader", "TensorStream", "TensorMeta", "PySafeSlice"]:
        value = getattr(rust, name, None)
        if isinstance(value, type) and not issubclass(value, BaseException):
            said["attributes"][name] = dir(value)
            for member in ("__enter__", "__exit__", *(m for m in dir(value) if not m.startswith("_"))):
                if callable(getattr(value, member, None)):
                    said["signatures"][f"_safetensors_rust.{name}.{member}"] = parameters_of(getattr(value, member))
        if value is not None and not name.startswith("__"):
            said["signatures"][f"_safetensors_rust.{name}"] = parameters_of(value) if callable(value) else None
    return said


# -------------------------------------------------------------------------------------------------- errors


def evaluated(expressions):
    """The outcome of each expression, with FOLDER as the current one, and files made by the test in it."""
    os.chdir(FOLDER)
    return [outcome(lambda: eval(expression, globals())) for expression in expressions]


T = torch.arange(5.0)
DATA = safetensors.numpy.save({"a": np.arange(3)})


def closed():
    f = safe_open("d.safetensors", "np")
    f.__exit__(None, None, None)
    return f


def spec(**changed):
    return TensorSpec(**{"dtype": "uint8", "shape": [0], "data_ptr": 0, "data_len": 0, **changed})


class Model(torch.nn.Module):
    """Two tied layers, and a parameter that is not contiguous."""

    def __init__(self, turned=False):
        super().__init__()
        self.a = torch.nn.Linear(2, 3)
        self.b = self.a
        if turned:
            self.k = torch.nn.Parameter(torch.arange(6.0).reshape(2, 3).t())


def pickled(argument):
    return pickle.dumps(safetensors.SafetensorError(*argument))


def unpickled(content):
    error = pickle.loads(content)
    return type(error) is safetensors.SafetensorError, described(error.args)


def main():
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what is printed goes with the errors
    while True:
        try:
            function, arguments = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        try:
            answer = True, globals()[function](*arguments)
        except Exception as error:
            answer = False, f"{type(error).__name__}: {error}"
        pickle.dump(answer, answers)
        answers.flush()


if __name__ == "__main__":
    main()
