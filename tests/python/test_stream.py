# SPDX-License-Identifier: Apache-2.0
"""save_stream, and the writer below it: files written tensor by tensor."""

import gc
import io
import os
import threading
import types
import weakref

import numpy as np
import pytest
from written import written

import safetensors.numpy
from safetensors import SafetensorError, TensorSpec, safe_open
from safetensors._safetensors_rust import _Writer

A = np.arange(6, dtype="float32").reshape(2, 3)
B = np.array([7, -8], dtype="int64")
BOTH = {"a": A, "b": B}
EXPECTED = written(BOTH)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "x"


# ------------------------------------------------------------------------------------------------- NumPy


@pytest.mark.parametrize("order", [["a", "b"], ["b", "a"]])
def test_in_any_order(order, path):
    safetensors.numpy.save_stream(((name, BOTH[name]) for name in order), path, layout=BOTH, metadata={"k": "v"})
    assert path.read_bytes() == written(BOTH, {"k": "v"})


def test_many(path):
    tensors = {f"layer.{i}": np.full((i % 7, 5), i, dtype=["int16", "float64"][i % 2]) for i in range(500)}
    safetensors.numpy.save_stream(tensors.items(), path, layout=tensors, durable=True)
    assert path.read_bytes() == written(tensors)


def test_nothing(path):
    safetensors.numpy.save_stream([], path, layout={})
    assert path.read_bytes() == written({})
    safetensors.numpy.save_stream([], path, layout={}, metadata={})
    assert path.read_bytes() == written({}, {})


def test_what_a_layout_may_be(path, tmp_path):
    class Like:
        def __init__(self, dtype, shape):
            self.dtype, self.shape = dtype, shape

    layout = {"a": Like("F32", (2, 3)), "b": Like(np.dtype("int64"), [2])}
    safetensors.numpy.save_stream(BOTH.items(), path, layout=types.MappingProxyType(layout))
    assert path.read_bytes() == EXPECTED
    with safe_open(path, "np") as f:
        meta = {name: f.get_tensor_meta(name) for name in f.keys()}
        safetensors.numpy.save_stream(((name, f.get_tensor(name)) for name in meta), tmp_path / "y", layout=meta)
    assert (tmp_path / "y").read_bytes() == EXPECTED
    specs = {"b": TensorSpec(dtype="int64", shape=[2], data_ptr=B.ctypes.data, data_len=16)}
    safetensors.numpy.save_stream(specs.items(), path, layout=specs)
    assert path.read_bytes() == written({"b": B})
    ml_dtypes = pytest.importorskip("ml_dtypes")
    packed = {"x": np.array([1, 2, 3, 4], dtype="uint8").view(ml_dtypes.float4_e2m1fn)}
    safetensors.numpy.save_stream(packed.items(), path, layout=packed)
    assert path.read_bytes() == safetensors.numpy.save(packed)


def test_odd_values(path):
    odd = {"a": A.astype(">f4").T, "b": B[::-1], "s": np.float32(3)}
    layout = {"a": A.T, "b": B, "s": np.float32(0)}
    safetensors.numpy.save_stream(odd.items(), path, layout=layout)
    assert path.read_bytes() == written({"a": np.ascontiguousarray(A.T), "b": B[::-1].copy(), "s": np.float32(3)})


def test_one_at_a_time(path):
    """No value is held while the next one is made."""
    made = []

    class Tracked(np.ndarray):
        pass

    def values():
        for i in range(5):
            gc.collect()
            assert not any(reference() is not None for reference in made)
            value = np.full((100,), i, dtype="int32").view(Tracked)
            made.append(weakref.ref(value))
            yield f"t{i}", value
            del value

    safetensors.numpy.save_stream(values(), path, layout={f"t{i}": np.zeros(100, dtype="int32") for i in range(5)})
    assert path.read_bytes() == written({f"t{i}": np.full((100,), i, dtype="int32") for i in range(5)})


@pytest.mark.parametrize(
    "tensors, error, text",
    [
        ([("a", A)], SafetensorError, "b"),
        ([("a", A), ("a", A), ("b", B)], SafetensorError, "a"),
        ([("a", A), ("z", B)], SafetensorError, "'z'"),
        ([("a", A.astype("float64"))], SafetensorError, "F64.*F32"),
        ([("a", A.T)], SafetensorError, "'a'.*shape"),
        ([("a", A.reshape(-1))], SafetensorError, "'a'.*shape"),
        ([("a", np.ma.masked_array(A))], SafetensorError, "masked"),
        ([("a", [1, 2])], TypeError, "'a'"),
        ([(1, A)], TypeError, None),
        ([("a",)], ValueError, None),
        (iter([]), SafetensorError, "missing"),
    ],
)
def test_what_goes_wrong(tensors, error, text, path):
    path.write_bytes(b"old")
    with pytest.raises(error, match=text):
        safetensors.numpy.save_stream(tensors, path, layout=BOTH)
    assert path.read_bytes() == b"old" and list(path.parent.iterdir()) == [path]


def test_exceptions_of_the_iterator(path):
    def values():
        yield "a", A
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        safetensors.numpy.save_stream(values(), path, layout=BOTH)
    assert not list(path.parent.iterdir())


@pytest.mark.parametrize(
    "layout, error",
    [
        ({"a": np.zeros(2, dtype="complex128")}, SafetensorError),
        ({"a": 3}, AttributeError),
        ({"__metadata__": A}, SafetensorError),
        ({1: A}, TypeError),
        ({"\ud800": A}, UnicodeEncodeError),
        ([("a", A)], AttributeError),
    ],
)
def test_layouts_that_will_not_do(layout, error, path):
    with pytest.raises(error):
        safetensors.numpy.save_stream([], path, layout=layout)
    assert not list(path.parent.iterdir())
    with pytest.raises(TypeError):
        safetensors.numpy.save_stream([], None, layout={})


def test_into_a_pipe_and_a_file_object():
    memory = io.BytesIO()
    safetensors.numpy.save_stream(BOTH.items(), memory, layout=BOTH)
    assert memory.getvalue() == EXPECTED
    reads, writes = os.pipe()
    large = {"x": np.arange(1 << 20, dtype="int32"), "a": A, "y": np.arange(1 << 20, dtype="uint8")}

    def save():
        try:
            safetensors.numpy.save_stream(large.items(), writes, layout=large)
        finally:
            os.close(writes)

    thread = threading.Thread(target=save)
    thread.start()
    with open(reads, "rb") as f:
        assert f.read() == written(large)
    thread.join()


# ------------------------------------------------------------------------------------------------- torch


def test_torch(path):
    torch = pytest.importorskip("torch")
    from safetensors.torch import save, save_stream

    tensors = {
        "plain": torch.arange(6.0).reshape(2, 3),
        "turned": torch.arange(6, dtype=torch.bfloat16).reshape(2, 3).t(),
        "conj": torch.tensor([1 + 2j]).conj(),
        "parameter": torch.nn.Parameter(torch.ones(2)),
        "none": torch.ones((0, 3)),
        "scalar": torch.tensor(True),
    }
    layout = {name: tensor.to("meta") for name, tensor in tensors.items()}
    save_stream(reversed(tensors.items()), path, layout=layout, metadata={"k": "v"})
    assert path.read_bytes() == save(tensors, {"k": "v"}, contiguous=True)
    with pytest.raises(RuntimeError, match="Cannot copy out of meta tensor"):
        save_stream(layout.items(), path.parent / "y", layout=layout)
    with pytest.raises(TypeError):
        save_stream([("plain", tensors["plain"])], None, layout=layout)
    assert list(path.parent.iterdir()) == [path]


def test_torch_pairs(path):
    torch = pytest.importorskip("torch")
    if not hasattr(torch, "float4_e2m1fn_x2"):
        pytest.skip("this torch has no float4_e2m1fn_x2")
    from safetensors.torch import save, save_stream

    tensors = {"x": torch.arange(6, dtype=torch.uint8).view(torch.float4_e2m1fn_x2).reshape(2, 3)}
    save_stream(tensors.items(), path, layout=tensors)
    assert path.read_bytes() == save(tensors)


# ------------------------------------------------------------------------------------------------ the writer


def test_calls_in_a_wrong_order(path):
    writer = _Writer(path)
    writer.add("a", "float32", [2, 3])
    for call in (lambda: writer.write("a", A), writer.finish, writer.names):
        with pytest.raises(SafetensorError, match=r"begin\(\)"):
            call()
    writer.begin()
    for call in (lambda: writer.add("b", "I64", [2]), writer.begin):
        with pytest.raises(SafetensorError, match=r"begin\(\)"):
            call()
    writer.write("a", A)
    writer.finish()
    for call in (writer.begin, writer.finish, lambda: writer.write("a", A), lambda: writer.add("b", "I64", [2])):
        with pytest.raises(SafetensorError, match="closed"):
            call()
    writer.close()
    assert path.read_bytes() == written({"a": A})


def test_announcing(path):
    writer = _Writer(path, {"k": "v"}, durable=True)
    writer.add("b", "I64", (2,))
    with pytest.raises(SafetensorError, match="twice"):
        writer.add("b", "I64", (2,))
    with pytest.raises(SafetensorError, match="unknown dtype 'f4'"):
        writer.add("c", "f4", (2,))
    with pytest.raises(SafetensorError, match="^tensor 'c': unknown dtype 3$"):
        writer.add("c", 3, (2,))
    with pytest.raises(TypeError, match="^tensor 'c': shape: expected a sequence of integers, not <class 'str'>$"):
        writer.add("c", "I64", "2")
    with pytest.raises(TypeError, match="^tensor 'c': shape: expected an integer, not <class 'float'>$"):
        writer.add("c", "I64", [1.5])
    with pytest.raises(OverflowError, match=r"^tensor 'c': shape: -1 is not from 0 to 2\^64-1$"):
        writer.add("c", "I64", [2, -1])
    with pytest.raises(SafetensorError, match='tensor "c": its 3 elements of 4 bits'):
        writer.add("c", "F4", (3,))
    writer.add("a", "F32", [2, 3])
    writer.begin()
    assert writer.names() == ["b", "a"]
    assert writer.write("a", object()) is NotImplemented
    writer.write("a", A)
    writer.write("b", B)
    writer.finish()
    assert path.read_bytes() == written(BOTH, {"k": "v"})


def spec(array, shape=None, **given):
    given = {"data_ptr": array.ctypes.data, "data_len": array.nbytes} | given
    return TensorSpec(dtype=array.dtype.name, shape=array.shape if shape is None else shape, **given)


@pytest.mark.parametrize(
    "value, said",
    [
        (A.astype("int32"), "^tensor 'a': its dtype is I32, and F32 was announced$"),
        (A.T, r"^tensor 'a': its shape is \(3, 2\), and \(2, 3\) was announced$"),
        (A.ravel(), r"^tensor 'a': its shape is \(6,\), and \(2, 3\) was announced$"),
        (spec(A, [6]), r"^tensor 'a': its shape is \(6,\), and \(2, 3\) was announced$"),
        (spec(A, data_len=23), "for tensor: 'a' takes 24 bytes, it is given as 23$"),
        (spec(A, data_ptr=0), "for tensor: 'a' takes 24 bytes, and its address is 0$"),
    ],
)
def test_what_was_not_announced(path, value, said):
    writer = _Writer(path)
    writer.add("a", "F32", [2, 3])
    writer.begin()
    with pytest.raises(SafetensorError, match=said):
        writer.write("a", value)
    writer.write("a", A)
    writer.finish()
    assert path.read_bytes() == written({"a": A})


def test_what_is_not_finished_is_gone(path):
    path.write_bytes(b"old")
    writer = _Writer(path)
    writer.add("a", "F32", [2, 3])
    writer.begin()
    writer.write("a", A)
    del writer
    assert path.read_bytes() == b"old" and list(path.parent.iterdir()) == [path]


def test_one_call_at_a_time(path):
    """A second thread is refused while the first one writes, and the file is whole for all that."""
    writer = None
    refused = []

    class Slow:
        def __init__(self):
            self.content = b""

        def write(self, part):
            self.content += part
            for call in (writer.close, writer.finish, lambda: writer.write("b", B)):
                with pytest.raises(RuntimeError, match="in use"):
                    call()
                refused.append(call)
            return len(part)

    slow = Slow()
    writer = _Writer(slow)
    writer.add("a", "F32", [1 << 18])
    writer.begin()
    large = np.arange(1 << 18, dtype="float32")
    writer.write("a", large)
    writer.finish()
    assert slow.content == written({"a": large}) and len(refused) >= 3


def test_the_type_is_closed(path):
    with pytest.raises(TypeError):
        type("Sub", (_Writer,), {})
    with pytest.raises(TypeError):
        _Writer()
    with pytest.raises(FileNotFoundError):
        _Writer(path / "none" / "x")
