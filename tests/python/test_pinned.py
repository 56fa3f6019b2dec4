# SPDX-License-Identifier: Apache-2.0
"""What programs in the field rely on, to the letter: bytes, texts, and the results of small functions."""

import importlib
import inspect
import pickle
import struct

import numpy as np
import pytest

import safetensors
import safetensors.numpy
from safetensors import SafetensorError, TensorSpec, safe_open, serialize


def file(length, header, data):
    """A file by its parts; the header's blanks are counted, not written out."""
    return struct.pack("<Q", length) + header.ljust(length) + data


GOLDEN = {
    "V1": ({}, None, file(8, b"{}", b"")),
    "V2": ({}, {"framework": "pt"}, file(40, b'{"__metadata__":{"framework":"pt"}}', b"")),
    "V3": (
        {"attn.0": np.arange(6, dtype="float32").reshape(1, 2, 3)},
        None,
        file(
            64,
            b'{"attn.0":{"dtype":"F32","shape":[1,2,3],"data_offsets":[0,24]}}',
            struct.pack("<6f", 0, 1, 2, 3, 4, 5),
        ),
    ),
    "V5": (
        {"attn0": np.arange(6, dtype="float32").reshape(1, 1, 2, 3)},
        None,
        file(
            72,
            b'{"attn0":{"dtype":"F32","shape":[1,1,2,3],"data_offsets":[0,24]}}',
            struct.pack("<6f", 0, 1, 2, 3, 4, 5),
        ),
    ),
    "V6": (
        {"test": np.zeros((2, 2), dtype="int32")},
        None,
        file(64, b'{"test":{"dtype":"I32","shape":[2,2],"data_offsets":[0,16]}}', bytes(16)),
    ),
    "V7": (
        {"test2": np.zeros((2, 2), dtype="float16"), "test1": np.zeros((2, 2), dtype="int32")},
        None,
        file(
            128,
            b'{"test1":{"dtype":"I32","shape":[2,2],"data_offsets":[0,16]},'
            b'"test2":{"dtype":"F16","shape":[2,2],"data_offsets":[16,24]}}',
            bytes(24),
        ),
    ),
    "V8": (
        {"test1": np.zeros((2, 2), dtype="int32")},
        {"framework": "pt"},
        file(
            96,
            b'{"__metadata__":{"framework":"pt"},"test1":{"dtype":"I32","shape":[2,2],"data_offsets":[0,16]}}',
            bytes(16),
        ),
    ),
    "V10": (
        {"test": np.array([[0, 0], [0, -1 + 1j]], dtype="complex64")},
        None,
        file(
            64,
            b'{"test":{"dtype":"C64","shape":[2,2],"data_offsets":[0,32]}}',
            bytes(24) + b"\0\0\x80\xbf\0\0\x80\x3f",
        ),
    ),
}
V4 = file(64, b'{"attn.0":{"dtype":"F4","shape":[1,2],"data_offsets":[0,1]}}', b"\0")
V9 = file(64, b'{"test":{"dtype":"BF16","shape":[2,2],"data_offsets":[0,8]}}', b"\x10\x40\x80\x3f\x80\x3f\x80\x3f")


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_bytes(name, tmp_path):
    tensors, metadata, expected = GOLDEN[name]
    assert safetensors.numpy.save(tensors, metadata) == expected
    assert safetensors.numpy.save(tensors, metadata=metadata) == expected
    safetensors.numpy.save_file(tensors, tmp_path / "x", metadata=metadata)
    assert (tmp_path / "x").read_bytes() == expected
    specs = {
        name: TensorSpec(dtype=array.dtype.name, shape=array.shape, data_ptr=array.ctypes.data, data_len=array.nbytes)
        for name, array in tensors.items()
    }
    assert serialize(specs, metadata) == serialize(dict(reversed(specs.items())), metadata) == expected
    with safe_open(tmp_path / "x", "np") as f:
        assert f.metadata() == metadata
        for key, array in tensors.items():
            assert f.get_tensor(key).tobytes() == array.tobytes()


def test_golden_bytes_with_torch():
    torch = pytest.importorskip("torch")
    from safetensors.torch import save

    for name in GOLDEN:
        tensors, metadata, expected = GOLDEN[name]
        assert save({key: torch.from_numpy(array) for key, array in tensors.items()}, metadata) == expected, name
    assert save({"test": torch.tensor([[2.25, 1], [1, 1]], dtype=torch.bfloat16)}) == V9
    if hasattr(torch, "float4_e2m1fn_x2"):
        assert save({"attn.0": torch.zeros((1, 1), dtype=torch.uint8).view(torch.float4_e2m1fn_x2)}) == V4


def test_golden_bytes_with_specs():
    zero = np.zeros(1, dtype="uint8")
    spec = TensorSpec(dtype="float4_e2m1fn_x2", shape=[1, 1], data_ptr=zero.ctypes.data, data_len=1)
    assert serialize({"attn.0": spec}) == V4
    values = np.array([0x4010, 0x3F80, 0x3F80, 0x3F80], dtype="<u2")
    spec = TensorSpec(dtype="bfloat16", shape=[2, 2], data_ptr=values.ctypes.data, data_len=8)
    assert serialize({"test": spec}) == V9


def test_the_order_of_dtypes_and_names():
    names = ["", "Z", "a", "a10", "a2", "b", "é", "ｱ", "😀"]
    tensors = {name: np.zeros(1, dtype="int8") for name in reversed(names)}
    with safe_open_of(safetensors.numpy.save(tensors)) as f:
        assert f.offset_keys() == names
    order = "uint64 int64 float64 complex64 float32 uint32 int32 bfloat16 float16 uint16 int16 float8_e5m2fnuz"
    order += " float8_e4m3fnuz float8_e8m0fnu float8_e4m3fn float8_e5m2 int8 uint8 float4_e2m1fn_x2 bool"
    memory = np.zeros(8, dtype="uint8")
    specs = {
        name: TensorSpec(dtype=name, shape=[1], data_ptr=memory.ctypes.data, data_len=width)
        for name, width in zip(order.split(), [8, 8, 8, 8, 4, 4, 4, 2, 2, 2, 2] + [1] * 9)
    }
    with safe_open_of(serialize(dict(sorted(specs.items())))) as f:
        assert f.offset_keys() == order.split()


def safe_open_of(content):
    import io

    return safetensors._safe_open_handle(io.BytesIO(content), "np")


# ------------------------------------------------------------------------------------------------- texts


def test_texts_of_torch(tmp_path):
    torch = pytest.importorskip("torch")
    from safetensors.torch import save, save_file, save_model

    def told(error, call, *args, **kwargs):
        with pytest.raises(error) as raised:
            call(*args, **kwargs)
        return str(raised.value)

    tensor = torch.arange(4.0).reshape(2, 2)
    for call in (save, lambda tensors: save_file(tensors, tmp_path / "x")):
        assert told(ValueError, call, "test") == ("Expected a dict of [str, torch.Tensor] but received <class 'str'>")
        assert told(ValueError, call, [1]) == "Expected a dict of [str, torch.Tensor] but received <class 'list'>"
        assert told(ValueError, call, {"test": {"test": 1}}) == (
            "Key `test` is invalid, expected torch.Tensor but received <class 'dict'>"
        )
        assert told(ValueError, call, {"a": tensor, "test": torch.ones(2, 3).to_sparse()}) == (
            "You are trying to save a sparse tensors: `['test']` which this library does not support. You can make it"
            " a dense tensor before saving with `.to_dense()` but be aware this might make a much larger file than"
            " needed."
        )
        assert told(ValueError, call, {"key": tensor.t()}).startswith(
            "You are trying to save a non contiguous tensor: `key` "
        )
        assert "Cannot copy out of meta tensor" in told(RuntimeError, call, {"a": torch.ones(2, device="meta")})
        told(RuntimeError, call, {"a": tensor, "b": tensor})
        told(KeyError, call, {"a": torch.ones(2, dtype=torch.complex128)})
        told(TypeError, call, {1: tensor})

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.k = torch.nn.Parameter(tensor.clone().t())

    assert "use save_model(..., force_contiguous=True)" in told(
        ValueError, save_model, Model(), tmp_path / "x", force_contiguous=False
    )
    assert not list(tmp_path.iterdir())


def test_the_order_of_the_checks():
    torch = pytest.importorskip("torch")
    from safetensors.torch import save

    good, sparse, meta = torch.ones((2, 2)), torch.ones(2, 3).to_sparse(), torch.ones(2, device="meta")
    bad = torch.ones(2, dtype=torch.complex128)
    turned = torch.arange(4.0).reshape(2, 2).t()
    for tensors, text in (
        ({"a": sparse, "b": 1}, "Key `b` is invalid"),
        ({"a": good, "b": good, "c": sparse, "d": sparse}, r"sparse tensors: `\['c', 'd'\]`"),
        ({"a": good, "b": good, "c": turned}, "share memory"),
        ({"a": turned, "b": meta}, "non contiguous tensor: `a`"),
        ({"b": meta, "a": turned}, "Cannot copy out of meta"),
        ({"a": bad, "b": meta}, "complex128"),
    ):
        with pytest.raises((ValueError, RuntimeError, KeyError), match=text):
            save(tensors)


def test_unknown_dtypes():
    with pytest.raises(SafetensorError, match='^Unknown dtype "complex128"'):
        safetensors.numpy.save({"a": np.ones(2, dtype="complex128")})
    with pytest.raises(TypeError):
        serialize({"a": {"dtype": "float32", "shape": [1], "data": b"0000"}})


# --------------------------------------------------------------------------------------------------- names

MODULES = {
    "numpy": (
        "TensorSpec deserialize safe_open serialize serialize_file save save_file load load_file _TYPES _getdtype"
        " _view2np _flatten _is_little_endian"
    ),
    "torch": (
        "TensorSpec deserialize safe_open serialize serialize_file storage_ptr storage_size save save_file load"
        " load_file save_model load_model _find_shared_tensors _filter_shared_not_shared _is_complete"
        " _remove_duplicate_names _end_ptr _SIZE _TYPES _getdtype _view2torch _to_ndarray"
        " _evaluate_tensors_for_save _flatten_as_ptr _float8_e4m3fn _float8_e4m3fnuz _float8_e5m2 _float8_e5m2fnuz"
        " _float8_e8m0 _float4_e2m1_x2"
    ),
}


@pytest.mark.parametrize("module", MODULES)
def test_names_that_programs_import(module):
    pytest.importorskip(module)
    found = importlib.import_module(f"safetensors.{module}")
    assert [name for name in MODULES[module].split() if not hasattr(found, name)] == []


def test_signatures():
    pytest.importorskip("torch")
    from safetensors import numpy, torch

    def positional(function):
        kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD,)
        parameters = inspect.signature(function).parameters.values()
        return [p.name if p.default is p.empty else (p.name, p.default) for p in parameters if p.kind in kinds]

    assert positional(numpy.save) == ["tensor_dict", ("metadata", None)]
    assert positional(numpy.save_file) == ["tensor_dict", "filename", ("metadata", None)]
    assert positional(numpy.load) == ["data"]
    assert positional(numpy.load_file) == ["filename"]
    assert positional(torch.save) == ["tensors", ("metadata", None)]
    assert positional(torch.save_file) == ["tensors", "filename", ("metadata", None)]
    assert positional(torch.load) == ["data"]
    assert positional(torch.load_file) == ["filename", ("device", "cpu")]
    assert positional(torch.save_model) == ["model", "filename", ("metadata", None), ("force_contiguous", True)]
    assert positional(torch.load_model) == ["model", "filename", ("strict", True), ("device", "cpu")]
    assert inspect.signature(torch.load_model).parameters["backend"].default == "mmap"
    assert inspect.signature(torch.load_file).parameters["backend"].default == "mmap"
    assert inspect.signature(numpy.load_file).parameters["backend"].default == "mmap"


def test_the_error_is_what_it_was():
    module = importlib.import_module(SafetensorError.__module__)
    assert SafetensorError.__module__ == "safetensors._safetensors_rust" and SafetensorError.__bases__ == (Exception,)
    assert module.SafetensorError is SafetensorError
    again = pickle.loads(pickle.dumps(SafetensorError("a", 1)))
    assert type(again) is SafetensorError and again.args == ("a", 1)


# ------------------------------------------------------------------------------- results of small functions


def test_helpers_of_torch():
    torch = pytest.importorskip("torch")
    from safetensors.torch import _end_ptr, _find_shared_tensors, _is_complete, _remove_duplicate_names

    a = torch.zeros((3, 3))
    assert _is_complete(a) and not _is_complete(a[:1, :]) and not _is_complete(a[:, :1])
    assert _is_complete(torch.zeros((3, 3), device="meta"))

    assert _find_shared_tensors({"A": a}) == [{"A"}]
    assert _find_shared_tensors({"A": a, "B": a[:1]}) == [{"A", "B"}]
    assert _find_shared_tensors({"A": a, "B": torch.zeros(1)}) == [{"A"}, {"B"}]
    long = torch.zeros(4)
    assert _find_shared_tensors({"B": long[:2], "C": long[2:]}) == [{"B"}, {"C"}]
    assert _find_shared_tensors({"B": long[:2], "C": long[1:]}) == [{"B", "C"}]
    assert _find_shared_tensors({"B": long[:2], "C": long[2:], "D": long[:1]}) == [{"B", "D"}, {"C"}]

    for dtype, width in ((torch.float32, 4), (torch.float16, 2)):
        square = torch.zeros((2, 5), dtype=dtype)
        assert _end_ptr(square) == square.data_ptr() + 10 * width
        column = square[:, :1].squeeze()
        assert _end_ptr(column) == square.data_ptr() + 6 * width

    assert _remove_duplicate_names({"A": a, "B": a, "C": a[:1]}) == {"A": ["B", "C"]}
    assert _remove_duplicate_names({"A": a, "B": a}, preferred_names=["B"]) == {"B": ["A"]}
    with pytest.raises(RuntimeError):
        _remove_duplicate_names({"B": a[:2]})
