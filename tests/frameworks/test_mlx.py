# SPDX-License-Identifier: Apache-2.0
"""What is special about MLX."""

import numpy as np
import pytest

mx = pytest.importorskip("mlx.core")

from processes import run  # noqa: E402
from safetensors.mlx import _mx2np, _np2mx, load, load_file, save, save_file  # noqa: E402
from samples import bytes_for, file_of, tensors_of  # noqa: E402


@pytest.mark.parametrize("backend", ["mmap", "pread"])
def test_fresh_process(path, backend):
    path.write_bytes(file_of([("x", "BF16", (2, 2), bytes_for("BF16", (2, 2)))]))
    shown = run(
        "import sys; from safetensors import safe_open\n"
        "with safe_open(sys.argv[1], 'mlx', backend=sys.argv[2]) as f: x = f.get_tensor('x')\n"
        "print(x.dtype, x.shape)",
        path,
        backend,
    )
    assert shown == "mlx.core.bfloat16 (2, 2)"


def test_bfloat16_needs_no_ml_dtypes(path):
    raw = bytes_for("BF16", (2, 2))
    path.write_bytes(file_of([("s", "BF16", (), raw[:2]), ("x", "BF16", (2, 2), raw), ("z", "BF16", (0, 3), b"")]))
    shown = run(
        "import sys; sys.modules['ml_dtypes'] = None\n"
        "from safetensors.mlx import load, load_file, save, save_file\n"
        "tensors = load_file(sys.argv[1]); data = open(sys.argv[1], 'rb').read()\n"
        "assert save(tensors) == save(load(data)) == save(load_file(sys.argv[1], backend='pread'))\n"
        "save_file(tensors, sys.argv[1])\n"
        "print({name: (str(x.dtype), x.shape) for name, x in sorted(tensors.items())})",
        path,
    )
    assert shown == str(
        {name: ("mlx.core.bfloat16", shape) for name, shape in (("s", ()), ("x", (2, 2)), ("z", (0, 3)))}
    )
    assert tensors_of(path.read_bytes())[0]["x"] == ("BF16", (2, 2), raw)


def test_agrees_with_the_loader_of_mlx(path):
    codes = [
        "BOOL",
        "U8",
        "I8",
        "U16",
        "I16",
        "U32",
        "I32",
        "U64",
        "I64",
        "F16",
        "BF16",
        "F32",
        "C64",
        "F8_E4M3",
        "F8_E8M0",
    ]
    path.write_bytes(file_of([(code, code, (3, 4), bytes_for(code, (3, 4))) for code in codes]))
    theirs, ours = mx.load(str(path)), load_file(path)
    assert sorted(ours) == sorted(theirs) == sorted(codes)
    for code in codes:
        assert ours[code].dtype == theirs[code].dtype
        assert bool((ours[code].view(mx.uint8) == theirs[code].view(mx.uint8)).all())


def test_agrees_with_the_writer_of_mlx(path):
    tensors = {"a": mx.arange(6).reshape(2, 3).T, "b": mx.ones((2, 2), dtype=mx.bfloat16), "c": mx.array(1.5)}
    mx.save_safetensors(str(path), tensors)
    assert tensors_of(path.read_bytes())[0] == tensors_of(save(tensors))[0]
    loaded = load_file(path)
    assert all(bool((loaded[name] == tensor).all()) for name, tensor in tensors.items())


def test_lazy_arrays_are_evaluated(path):
    save_file({"x": mx.ones((2, 2)) * 3 + 1}, path)
    assert load_file(path)["x"].tolist() == [[4, 4], [4, 4]]


def test_dicts_are_not_changed():
    tensors = {"x": mx.ones(2), "y": mx.ones(2, dtype=mx.bfloat16)}
    arrays = _mx2np(tensors)
    assert isinstance(tensors["x"], mx.array) and isinstance(arrays["x"], np.ndarray)
    assert arrays["y"].dtype.name == "bfloat16"
    again = _np2mx(arrays)
    assert again["y"].dtype == mx.bfloat16 and isinstance(arrays["y"], np.ndarray)
    assert load(save(again))["y"].tolist() == [1, 1]
