# SPDX-License-Identifier: Apache-2.0
"""safetensors.torch: what can be saved, what is refused, and models."""

import collections
import gc
import io
import os
import pickle
import threading
import weakref

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from written import written

torch = pytest.importorskip("torch")

from safetensors import SafetensorError, TensorSpec, safe_open  # noqa: E402
from safetensors.torch import (  # noqa: E402
    _SIZE,
    _TYPES,
    UnsupportedDtypeError,
    _flatten_as_ptr,
    _getdtype,
    _swapped,
    _to_ndarray,
    _view2torch,
    load,
    load_file,
    load_model,
    save,
    save_file,
    save_model,
)

CODES = {dtype: code for code, dtype in _TYPES.items()}
WHOLE = [dtype for code, dtype in _TYPES.items() if code != "F4"]
PAIRS = getattr(torch, "float4_e2m1fn_x2", None)
needs_pairs = pytest.mark.skipif(PAIRS is None, reason="this torch has no float4_e2m1fn_x2")


def sample(dtype, shape=(2, 3)):
    """Bytes that count, as elements of any dtype."""
    size = torch.empty(shape, dtype=dtype).nbytes
    limit = 2 if dtype == torch.bool else 120  # no NaNs: they would not be equal to themselves
    flat = torch.tensor([i % limit for i in range(size)], dtype=torch.uint8)
    return flat.view(dtype).reshape(shape)


def content(tensor):
    """Dtype code, logical shape and bytes, for `written`."""
    shape = list(tensor.shape)
    if tensor.dtype == PAIRS and shape:
        shape[-1] *= 2
    flat = tensor.detach().resolve_conj().resolve_neg().clone(memory_format=torch.contiguous_format).reshape(-1)
    return CODES[tensor.dtype], shape, flat.view(torch.uint8).numpy().tobytes()


def expected(tensors, metadata=None):
    return written({name: content(tensor) for name, tensor in tensors.items()}, metadata)


def same(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and content(a) == content(b)


@pytest.fixture(params=["exchange", "capsule", "attributes"])
def way(request, monkeypatch):
    """How tensors are looked into: torch's C table, or capsules where there is none, or by Python alone."""
    rust = pytest.importorskip("safetensors._safetensors_rust")
    if request.param == "capsule":
        rust._use_exchange(False)
    if request.param == "attributes":
        import safetensors.torch as module

        whole = module._save
        monkeypatch.setattr(module, "_save", lambda *a, only=None, **k: NotImplemented if only else whole(*a, **k))
    yield request.param
    rust._use_exchange(True)


# ------------------------------------------------------------------------------------------------ dtypes


@pytest.mark.parametrize("shape", [(2, 3), (), (0,), (2, 0, 3), (1, 1)])
@pytest.mark.parametrize("dtype", WHOLE, ids=str)
def test_every_dtype(way, dtype, shape, tmp_path):
    tensor = sample(dtype, shape)
    assert save({"x": tensor}) == expected({"x": tensor})
    save_file({"x": tensor}, tmp_path / "x", {"k": "v"})
    assert (tmp_path / "x").read_bytes() == expected({"x": tensor}, {"k": "v"})
    for loaded in (load(save({"x": tensor})), load_file(tmp_path / "x"), load_file(tmp_path / "x", backend="pread")):
        assert list(loaded) == ["x"] and same(loaded["x"], tensor)


@needs_pairs
@pytest.mark.parametrize("shape", [(2, 3), (0,), (1,), (3, 2, 0)])
def test_f4(way, shape, tmp_path):
    tensor = sample(PAIRS, shape)
    save_file({"x": tensor}, tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == save({"x": tensor}) == expected({"x": tensor})
    with safe_open(tmp_path / "x", "pt") as f:
        assert f.get_slice("x").get_shape() == [*shape[:-1], shape[-1] * 2]
    for loaded in (load(save({"x": tensor})), load_file(tmp_path / "x"), load_file(tmp_path / "x", backend="pread")):
        assert same(loaded["x"], tensor)


@needs_pairs
def test_f4_that_is_strided_or_scalar(way):
    turned = sample(PAIRS, (2, 3)).t()
    with pytest.raises(ValueError, match="non contiguous"):
        save({"x": turned})
    assert save({"x": turned}, contiguous=True) == expected({"x": turned})
    with pytest.raises(SafetensorError, match="x"):
        save({"x": sample(PAIRS, ())})


UNSUPPORTED = [torch.complex128, torch.complex32, torch.quint8, torch.bits8]
UNSUPPORTED += [getattr(torch, name) for name in ("uint4", "int4", "uint1") if hasattr(torch, name)]


@pytest.mark.parametrize("dtype", UNSUPPORTED, ids=str)
def test_dtypes_that_the_format_lacks(way, dtype, tmp_path):
    if dtype == torch.quint8:
        tensor = torch.quantize_per_tensor(torch.ones(2), 0.1, 0, dtype)
    else:
        tensor = torch.zeros(2, dtype=torch.uint8 if dtype.itemsize == 1 else torch.complex128)
        tensor = torch.zeros(2, dtype=dtype) if dtype.itemsize > 1 else tensor.view(dtype)
    with pytest.raises(KeyError) as raised:
        save({"a": torch.ones(2), "weight": tensor})
    assert isinstance(raised.value, SafetensorError)
    assert "`weight`" in str(raised.value) and str(dtype) in str(raised.value) and "torch.float32" in str(raised.value)
    again = pickle.loads(pickle.dumps(raised.value))
    assert type(again) is UnsupportedDtypeError and str(again) == str(raised.value)
    with pytest.raises(KeyError):
        save_file({"weight": tensor}, tmp_path / "x")
    assert not list(tmp_path.iterdir())


# ------------------------------------------------------------------------------------------------ values


def test_parameters_and_the_like(way):
    tensor = sample(torch.float32)
    parameter = torch.nn.Parameter(tensor.clone())
    with torch.inference_mode():
        inference = tensor.clone()
    shared = tensor.clone().share_memory_()
    for value in (parameter, tensor.clone().requires_grad_(), parameter * 1, inference, shared, parameter.data):
        assert save({"x": value}) == expected({"x": tensor})
    assert save({"x": torch.nn.Buffer(tensor)} if hasattr(torch.nn, "Buffer") else {"x": tensor}) == expected(
        {"x": tensor}
    )


def test_subclasses(way, tmp_path):
    class Sub(torch.Tensor):
        pass

    class Hooked(torch.Tensor):
        @classmethod
        def __torch_function__(cls, function, types, args=(), kwargs=None):
            return super().__torch_function__(function, types, args, kwargs or {})

    tensor = sample(torch.bfloat16)
    for kind in (Sub, Hooked):
        value = tensor.as_subclass(kind)
        assert save({"x": value, "y": torch.ones(1)}) == expected({"x": tensor, "y": torch.ones(1)})
        save_file({"x": value}, tmp_path / "x")
        assert (tmp_path / "x").read_bytes() == expected({"x": tensor})


def test_tensors_that_have_no_memory(way, tmp_path):
    emptied = torch.ones(4)
    emptied.untyped_storage().resize_(0)
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        fake = torch.ones(4)
    for value in (emptied, fake, torch._efficientzerotensor((2,), dtype=torch.float32)):
        with pytest.raises(SafetensorError, match=r"for tensor: 'x' takes \d+ bytes, and its address is 0$"):
            save_file({"x": value}, tmp_path / "x")
        with pytest.raises(SafetensorError, match=r"for tensor: 'x' takes \d+ bytes, and its address is 0$"):
            save({"x": value})
    assert not list(tmp_path.iterdir())


def test_conjugated_and_negated_views(way, tmp_path):
    numbers = torch.tensor([1 + 2j, -3 - 4j], dtype=torch.complex64)
    lazy = {
        "conj": numbers.clone().conj(),
        "neg": torch._neg_view(torch.tensor([1.0, 2.0])),
        "conj of a part": torch.stack([numbers, numbers])[1].conj(),
        "negated conj": torch._neg_view(numbers.clone().conj()),
        "negated ints": torch._neg_view(torch.tensor([1, -2])),
    }
    assert lazy["conj"].is_conj() and lazy["neg"].is_neg()
    for name, value in lazy.items():
        resolved = value.resolve_conj().resolve_neg()
        assert save({"x": value}) == expected({"x": resolved}), name
        save_file({"x": value}, tmp_path / "x")
        assert (tmp_path / "x").read_bytes() == expected({"x": resolved}), name
        assert same(load_file(tmp_path / "x")["x"], resolved), name


def test_tensors_of_another_device_are_copied_one_at_a_time(tmp_path):
    """A device made up: its tensors can be copied to the CPU, and that is all."""
    copies, alive = [], []

    class Elsewhere(torch.Tensor):
        @staticmethod
        def __new__(cls, inner):
            self = torch.Tensor._make_wrapper_subclass(cls, inner.shape, dtype=inner.dtype, device="cuda:0")
            self.inner = inner
            return self

        @classmethod
        def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
            if function.name() == "aten::detach":
                return Elsewhere(args[0].inner)
            assert function.name() == "aten::_to_copy"
            gc.collect()
            alive.append(sum(copy() is not None for copy in copies))
            copy = args[0].inner.clone()
            copies.append(weakref.ref(copy))
            return copy

    inner = {f"x{i}": torch.full((2, 3), float(i)) for i in range(5)}
    tensors = {name: Elsewhere(tensor) for name, tensor in inner.items()}
    assert save(tensors) == expected(inner)
    alive.clear()
    save_file(tensors, tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == expected(inner)
    assert alive == [0] * 5


STRIDED = {
    "transposed": lambda t: t.transpose(0, 2),
    "every second": lambda t: t[::2],
    "last axis": lambda t: t[:, :, 1::2],
    "expanded": lambda t: t[:1].expand(5, *t.shape[1:]),
    "channels last": lambda t: t[None].contiguous(memory_format=torch.channels_last),
    "diagonal": lambda t: t.diagonal(dim1=0, dim2=2),
    "unfolded": lambda t: t.unfold(1, 2, 1),
}


@pytest.mark.parametrize("name", STRIDED)
@pytest.mark.parametrize("dtype", [torch.float32, torch.int8, torch.complex64, torch.float64], ids=str)
def test_strides(way, dtype, name, tmp_path):
    tensor = STRIDED[name](sample(dtype, (4, 3, 5)))
    assert not tensor.is_contiguous()
    with pytest.raises(ValueError, match="^You are trying to save a non contiguous tensor: `x` "):
        save({"x": tensor})
    with pytest.raises(ValueError):
        save_file({"x": tensor}, tmp_path / "x")
    assert not list(tmp_path.iterdir())
    assert save({"x": tensor}, contiguous=True) == expected({"x": tensor.contiguous()})
    save_file({"x": tensor, "y": torch.ones(1)}, tmp_path / "x", contiguous=True)
    assert (tmp_path / "x").read_bytes() == expected({"x": tensor.contiguous(), "y": torch.ones(1)})


def test_strides_that_do_not_matter(way):
    """torch calls these contiguous: dimensions of size 1, and tensors without elements."""
    one = sample(torch.float32, (4, 3))[1:2].transpose(0, 1).transpose(0, 1)
    odd = torch.as_strided(sample(torch.float32, (12,)), (1, 4, 1), (1000, 1, 77))
    none = torch.empty((3, 0, 2)).transpose(0, 2)
    part = sample(torch.float32, (4, 3))[1:3]
    for tensor in (one, odd, none, part):
        assert tensor.is_contiguous()
        assert save({"x": tensor}) == expected({"x": tensor})


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_any_view(data):
    shape = data.draw(st.lists(st.integers(0, 5), min_size=1, max_size=4))
    dtype = data.draw(st.sampled_from([torch.float32, torch.bool, torch.int64, torch.bfloat16, torch.complex64]))
    view = sample(dtype, shape)
    for dim, size in enumerate(shape):
        start = data.draw(st.integers(0, size))
        view = view[(slice(None),) * dim + (slice(start, None, data.draw(st.integers(1, 3))),)]
    view = view.permute(data.draw(st.permutations(range(len(shape)))))
    if dtype == torch.complex64 and data.draw(st.booleans()):
        view = view.conj()
    assert save({"x": view}, contiguous=True) == expected({"x": view.clone(memory_format=torch.contiguous_format)})
    if view.is_contiguous():
        assert save({"x": view}) == expected({"x": view})
    else:
        with pytest.raises(ValueError):
            save({"x": view})


def test_the_callers_objects_are_left_alone(way, tmp_path):
    tensors = {"b": torch.ones(2), "a": torch.ones((2, 2)).t(), "c": torch.tensor([1j]).conj()}
    before, metadata = dict(tensors), {"k": "v"}
    save(tensors, metadata, contiguous=True)
    save_file(tensors, tmp_path / "x", metadata, contiguous=True)
    assert metadata == {"k": "v"} and list(tensors) == ["b", "a", "c"]
    assert all(tensors[name] is before[name] for name in tensors)
    assert tensors["c"].is_conj() and not tensors["a"].is_contiguous()


def test_dicts_of_other_kinds():
    assert save(collections.OrderedDict(x=torch.ones(1))) == expected({"x": torch.ones(1)})

    class Lazy(dict):
        def items(self):
            return [(name, torch.full((2,), value)) for name, value in super().items()]

    assert save(Lazy(x=1.0)) == expected({"x": torch.ones(2)})


@pytest.mark.parametrize("target", ["path", "descriptor", "file object"])
@pytest.mark.parametrize("odd", [False, True])
def test_targets(target, odd, tmp_path):
    tensors = {"a": sample(torch.float32), "b": sample(torch.complex64).conj() if odd else sample(torch.int8)}
    path = tmp_path / "x"
    if target == "path":
        save_file(tensors, os.fspath(path))
    else:
        with open(path, "wb", buffering=0 if target == "descriptor" else -1) as f:
            save_file(tensors, f.fileno() if target == "descriptor" else f)
    assert path.read_bytes() == expected(tensors)
    memory = io.BytesIO()
    save_file(tensors, memory)
    assert memory.getvalue() == expected(tensors)
    with pytest.raises(TypeError):
        save_file(tensors, None)


def test_many_tensors(tmp_path):
    dtypes = [dtype for dtype in WHOLE if dtype != torch.bool]
    tensors = {f"layer.{i}.{dtype}": sample(dtype, (i % 4, 3)) for i in range(50) for dtype in dtypes}
    save_file(tensors, tmp_path / "x", durable=True)
    assert (tmp_path / "x").read_bytes() == save(tensors) == expected(tensors)
    loaded = load_file(tmp_path / "x")
    assert all(same(loaded[name], tensors[name]) for name in tensors)


def test_what_is_saved_may_be_dropped_meanwhile():
    reads, writes = os.pipe()
    tensors = {f"t{i}": torch.full((1 << 12,), i, dtype=torch.int32) for i in range(200)}
    whole = expected(tensors)

    def write():
        try:
            save_file(tensors, writes)
        finally:
            os.close(writes)

    thread = threading.Thread(target=write)
    thread.start()
    with open(reads, "rb") as f:
        got = f.read(8)
        tensors.clear()
        others = [torch.full((1 << 12,), -1, dtype=torch.int32) for _ in range(200)]
        got += f.read()
    thread.join()
    assert got == whole and len(others) == 200


# ------------------------------------------------------------------------------- onto the same file, and back


@pytest.mark.parametrize("backend", ["mmap", "pread", "direct", "auto"])
def test_saving_onto_the_file_that_is_read(backend, tmp_path):
    path = tmp_path / "x"
    save_file({"a": sample(torch.float32), "b": torch.ones(0), "c": sample(torch.int8)}, path)
    before = path.read_bytes()
    loaded = load_file(path, backend=backend)
    save_file(loaded, path)
    save_file(loaded, path)
    assert path.read_bytes() == before
    loaded["a"] += 1
    assert path.read_bytes() == before


def test_tensors_without_elements_can_be_saved_by_torch(tmp_path):
    path = tmp_path / "x"
    save_file({"a": torch.ones(2), "b": torch.ones((0, 3)), "c": torch.ones(0, dtype=torch.int8)}, path)
    loaded = load_file(path)
    torch.save(loaded, tmp_path / "y")
    again = torch.load(tmp_path / "y")
    assert all(same(again[name], loaded[name]) for name in loaded)


# ------------------------------------------------------------------------------------------------ loading


@pytest.fixture
def path(tmp_path):
    tensors = {"a.x": sample(torch.float32), "a.y": sample(torch.bfloat16, (4,)), "b": sample(torch.uint8, (5,))}
    save_file(tensors, tmp_path / "x")
    return tmp_path / "x"


@pytest.mark.parametrize("backend", ["mmap", "pread", "direct", "auto"])
def test_parts_of_a_file(path, backend):
    assert list(load_file(path, backend=backend)) == ["a.x", "a.y", "b"]
    assert list(load_file(path, "cpu", backend=backend, prefix="a.")) == ["a.x", "a.y"]
    assert set(load_file(path, backend=backend, keys=["b", "a.x"])) == {"a.x", "b"}
    assert list(load_file(path, backend=backend, keys=["b", "a.x"], prefix="a")) == ["a.x"]
    with pytest.raises(SafetensorError, match="File does not contain tensor zz"):
        load_file(path, backend=backend, keys=["zz"])


@pytest.mark.parametrize("backend", ["mmap", "pread", "direct", "auto"])
def test_into_tensors_that_are_there(path, backend):
    out = {"a.x": torch.zeros((2, 3)), "b": torch.zeros(5, dtype=torch.uint8)}
    loaded = load_file(path, backend=backend, out=out)
    assert loaded["a.x"] is out["a.x"] and loaded["b"] is out["b"] and list(loaded) == ["a.x", "a.y", "b"]
    assert same(out["a.x"], sample(torch.float32)) and same(loaded["a.y"], sample(torch.bfloat16, (4,)))
    with pytest.raises(SafetensorError, match="zz"):
        load_file(path, out={"zz": torch.zeros(1)})


def test_what_deserialize_gives():
    from safetensors import deserialize

    tensors = {str(dtype): sample(dtype) for dtype in WHOLE}
    tensors["none"] = torch.ones((0, 3))
    if PAIRS is not None:
        tensors["pairs"] = sample(PAIRS)
    again = _view2torch(deserialize(save(tensors)))
    assert all(same(again[name], tensors[name]) for name in tensors)


def test_the_small_functions():
    assert _getdtype("F32") is torch.float32 and _getdtype("F8_E8M0") is torch.float8_e8m0fnu
    with pytest.raises(KeyError):
        _getdtype("F6_E2M3")
    assert _SIZE[torch.complex64] == 8 and _SIZE[torch.bool] == 1 and _SIZE.keys() == set(_TYPES.values())
    alive = []
    flat = _flatten_as_ptr({"x": sample(torch.bfloat16)}, alive)
    assert isinstance(flat["x"], TensorSpec) and flat["x"].dtype == "BF16" and flat["x"].shape == [2, 3]
    assert flat["x"].data_ptr == alive[0].data_ptr() and flat["x"].data_len == 12
    with pytest.raises(ValueError):
        _flatten_as_ptr({"x": sample(torch.float32).t()}, [])
    tensor = sample(torch.float32)
    array, kept = _to_ndarray(tensor)
    assert array.dtype == np.uint8 and array.tobytes() == content(tensor)[2]
    assert array.ctypes.data == tensor.data_ptr() == kept.data_ptr()


@pytest.mark.parametrize("dtype", WHOLE, ids=str)
def test_turning_bytes_round(dtype):
    tensor = sample(dtype, (2, 3)).t()
    width = dtype.itemsize // (2 if dtype.is_complex else 1)
    whole = np.frombuffer(content(tensor)[2], dtype="uint8").reshape(-1, width)[:, ::-1]
    assert _swapped(tensor).numpy().tobytes() == whole.tobytes()


def test_torch_load_comes_through_here(path):
    if not hasattr(torch.serialization, "_is_safetensors") and "safetensors" not in torch.load.__doc__:
        loaded = load_file(path)
    else:
        loaded = torch.load(path)
    assert same(loaded["a.x"], sample(torch.float32))
