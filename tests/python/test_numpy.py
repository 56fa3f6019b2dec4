# SPDX-License-Identifier: Apache-2.0
"""safetensors.numpy: any strides, byte order and dtype, and what is refused."""

import collections
import io
import itertools
import types

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from written import written

from safetensors import SafetensorError, TensorSpec, safe_open
from safetensors.numpy import (
    _flatten,
    _getdtype,
    _is_little_endian,
    _TYPES,
    _view2np,
    load,
    load_file,
    save,
    save_file,
)

ml_dtypes = pytest.importorskip("ml_dtypes")

NATIVE = "bool int8 uint8 int16 uint16 int32 uint32 int64 uint64 float16 float32 float64 complex64".split()
BYTES = "float8_e4m3fn float8_e5m2 float8_e8m0fnu float8_e4m3fnuz float8_e5m2fnuz".split()
PACKED = {"float4_e2m1fn": ("F4", 4), "float6_e2m3fn": ("F6_E2M3", 6), "float6_e3m2fn": ("F6_E3M2", 6)}


def sample(name, shape):
    """Distinct values where the dtype has enough of them."""
    count = int(np.prod(shape))
    return np.arange(count).astype(np.dtype(name)).reshape(shape)


def packed_bytes(array, bits):
    """Elements of a byte each as a little-endian stream of bits."""
    stream = 0
    for i, value in enumerate(array.reshape(-1).view("uint8").tolist()):
        stream |= (value & ((1 << bits) - 1)) << (bits * i)
    return stream.to_bytes(array.size * bits // 8, "little")


def same(a, b):
    """Equal bit for bit: NaNs of the same payload count as equal."""
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


# ------------------------------------------------------------------------------------------ dtypes, strides


@pytest.mark.parametrize("name", NATIVE + ["bfloat16"] + BYTES)
@pytest.mark.parametrize("shape", [(2, 3), (), (0,), (3, 0, 2), (1, 1, 1)])
def test_every_dtype(name, shape, tmp_path):
    array = sample(name, shape)
    assert save({"x": array}) == written({"x": array})
    save_file({"x": array}, tmp_path / "x")
    for loaded in (load(save({"x": array})), load_file(tmp_path / "x"), load_file(tmp_path / "x", backend="pread")):
        assert list(loaded) == ["x"] and same(loaded["x"], array)


@pytest.mark.parametrize("name", PACKED)
@pytest.mark.parametrize("shape", [(2, 4), (0,), (3, 2, 4), (2, 2, 2), (3, 0), (400, 3)])
def test_sub_byte_dtypes_are_packed(name, shape, tmp_path):
    code, bits = PACKED[name]
    values = np.arange(int(np.prod(shape))) * 7 % (1 << bits)
    array = values.astype("uint8").view(name).reshape(shape)
    expected = written({"x": (code, list(shape), packed_bytes(array, bits))})
    assert save({"x": array}) == expected
    turned = array.transpose()
    again = np.ascontiguousarray(turned)
    assert save({"x": turned}) == written({"x": (code, list(turned.shape), packed_bytes(again, bits))})
    save_file({"x": array}, tmp_path / "x")
    assert same(load_file(tmp_path / "x")["x"], array)
    # Whatever stands in the bits that no element has.
    assert save({"x": (array.view("uint8") | (0xFF & ~((1 << bits) - 1))).astype("uint8").view(name)}) == expected


@pytest.mark.parametrize("name, shape", [("float4_e2m1fn", (3,)), ("float6_e2m3fn", (2,)), ("float6_e3m2fn", ())])
def test_sub_byte_tensors_of_no_whole_bytes(name, shape):
    with pytest.raises(SafetensorError, match="x"):
        save({"x": np.zeros(shape, dtype=name)})


STRIDED = {
    "transposed": lambda a: a.transpose(),
    "fortran": np.asfortranarray,
    "every second": lambda a: a[::2],
    "backwards": lambda a: a[::-1, ::-1],
    "last axis": lambda a: a[:, :, 1::2],
    "broadcast": lambda a: np.broadcast_to(a[:1], (5, *a.shape[1:])),
    "rolled axes": lambda a: np.moveaxis(a, 0, 1),
    "one": lambda a: a[1:2, :, 2:3],
    "nothing": lambda a: a[::-1, 5:],
    "diagonal": lambda a: np.diagonal(a, axis1=0, axis2=2),
    "new axes": lambda a: a[:, None, ::-1, None],
}


@pytest.mark.parametrize("way", STRIDED)
@pytest.mark.parametrize("name", ["float32", "int8", "complex64", "bfloat16"])
def test_strides(name, way, tmp_path):
    array = STRIDED[way](sample(name, (4, 5, 6)))
    assert save({"x": array}) == written({"x": np.ascontiguousarray(array)})
    save_file({"x": array}, tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == written({"x": np.ascontiguousarray(array)})


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_any_basic_index(data):
    shape = data.draw(st.lists(st.integers(0, 5), min_size=1, max_size=4))
    name = data.draw(st.sampled_from(NATIVE + ["bfloat16", "float8_e5m2"]))
    array = sample(name, shape)
    index = tuple(
        data.draw(st.slices(size) | (st.integers(-size, size - 1) if size else st.slices(size))) for size in shape
    )
    part = array[index]
    order = data.draw(st.permutations(range(np.ndim(part))))
    part = np.transpose(part, order)
    assert save({"x": part}) == written({"x": part.copy(order="C")})


def test_misaligned_memory():
    memory = np.zeros(41, dtype="uint8")
    array = memory[1:].view("float32")
    array[:] = np.arange(10)
    assert not array.flags.aligned
    assert save({"x": array}) == written({"x": np.arange(10, dtype="float32")})
    assert save({"x": array[::3]}) == written({"x": np.arange(0, 10, 3, dtype="float32")})


@pytest.mark.parametrize("name", [n for n in NATIVE if np.dtype(n).itemsize > 1])
def test_byte_order(name, tmp_path):
    array = sample(name, (3, 4))
    swapped = array.astype(array.dtype.newbyteorder(">"))
    for value in (swapped, swapped.T, swapped[::-1, ::2], swapped[1, 2]):
        expected = written({"x": np.asarray(value).astype(array.dtype, order="C")})
        assert save({"x": value}) == expected
        save_file({"x": value}, tmp_path / "x")
        assert (tmp_path / "x").read_bytes() == expected
    assert swapped.dtype.byteorder == ">"


def test_dtypes_that_go_by_another_name():
    for dtype in (np.longlong, np.ulonglong, np.intc, np.dtype("int32", metadata={"a": 1}), np.dtype("=f8"), np.byte):
        array = np.arange(5).astype(dtype)
        assert save({"x": array}) == written({"x": array.astype(np.dtype(dtype).name)})


# ------------------------------------------------------------------------------------------------- values


@pytest.mark.parametrize("value", [np.float32(1.5), np.int8(-3), np.bool_(True), np.complex64(1j), np.uint64(2**63)])
def test_scalars(value):
    assert save({"x": value}) == written({"x": np.asarray(value)})


def test_subclasses(tmp_path):
    class Sub(np.ndarray):
        pass

    array = sample("float32", (3, 4))
    mapped = np.memmap(tmp_path / "m", dtype="float32", mode="w+", shape=(3, 4))
    mapped[:] = array
    for value in (array.view(Sub), array.view(Sub).T, np.asmatrix(array), mapped, array.view(np.recarray)):
        assert save({"x": value}) == written({"x": np.asarray(value).copy(order="C")})


@pytest.mark.parametrize("masked", [np.ma.masked_array([1, 2], [0, 1]), np.ma.zeros(3)])
def test_masked_arrays(masked, tmp_path):
    with pytest.raises(SafetensorError, match=r"'weight'.*filled\(\)"):
        save({"a": np.ones(2), "weight": masked})
    with pytest.raises(SafetensorError, match="'weight'"):
        save_file({"weight": masked}, tmp_path / "x")
    assert not list(tmp_path.iterdir())
    assert save({"x": masked.filled(7)}) == written({"x": np.asarray(masked.filled(7))})


class Speaks:
    """Not an array, but says how it is one."""

    def __init__(self, array, way):
        self.array = array
        if way == "dlpack":
            self.__class__ = type("SpeaksDlpack", (Speaks,), {"__dlpack__": lambda self, **kw: array.__dlpack__(**kw)})
        else:
            self.__class__ = type("SpeaksArray", (Speaks,), {"__array__": lambda self, *a, **kw: array})


@pytest.mark.parametrize("way", ["dlpack", "array"])
@pytest.mark.parametrize("name", NATIVE)
def test_objects_that_say_how_they_are_arrays(way, name, tmp_path):
    array = sample(name, (3, 4))
    for part in (array, array[::2, ::-1], array[1, 1:1]):
        value = Speaks(part, way)
        assert save({"x": value}) == written({"x": np.ascontiguousarray(part)})
        save_file({"x": value}, tmp_path / "x")
        assert (tmp_path / "x").read_bytes() == written({"x": np.ascontiguousarray(part)})


def test_dlpack_in_other_forms():
    class Versioned:
        """A capsule of DLPack 1.0 and later, whoever asks."""

        def __init__(self, array):
            self.array = array

        def __dlpack__(self, **kwargs):
            return self.array.__dlpack__(max_version=(1, 0))

        def __dlpack_device__(self):
            return (1, 0)

    array = sample("int16", (3, 4))
    assert save({"x": Versioned(array.T)}) == written({"x": np.ascontiguousarray(array.T)})
    with pytest.raises(SafetensorError, match='^Unknown dtype "complex128"'):
        save({"x": Versioned(sample("complex128", (2,)))})


def test_a_dict_that_changes_meanwhile():
    class Adds:
        def __dlpack__(self, **kwargs):
            tensors["another"] = tensors["one more"] = np.ones(1)
            return np.ones(1).__dlpack__()

    tensors = {"a": np.ones(1), "x": Adds()}
    with pytest.raises(RuntimeError, match="changed"):
        save(tensors)

    class Clears:
        def __dlpack__(self, **kwargs):
            tensors.clear()
            return np.ones(1).__dlpack__()

    tensors = {"a": np.ones(1), "x": Clears(), "y": np.zeros(5)}
    with pytest.raises(RuntimeError, match="changed"):
        save(tensors)


def test_dlpack_that_refuses():
    class Refuses:
        def __init__(self, error):
            self.error = error

        def __dlpack__(self, **kwargs):
            raise self.error

        def __dlpack_device__(self):
            return (1, 0)

    for error in (BufferError("no"), KeyboardInterrupt()):
        with pytest.raises(type(error)):
            save({"x": Refuses(error)})


def test_tensors_of_jax():
    jnp = pytest.importorskip("jax.numpy")
    for dtype in ("float32", "bfloat16", "int8", "bool"):
        value = jnp.arange(6).reshape(2, 3).astype(dtype)
        assert save({"x": value}) == written({"x": np.asarray(value)})


def test_tensors_of_torch():
    torch = pytest.importorskip("torch")
    value = torch.arange(6, dtype=torch.bfloat16).reshape(2, 3)
    expected = written({"x": np.arange(6).reshape(2, 3).astype("bfloat16")})
    assert save({"x": value}) == save({"x": torch.nn.Parameter(value)}) == expected


@pytest.mark.parametrize("value", [[1, 2], (1,), 3, 1.5, "text", None, {"a": 1}, b"bytes", object()])
def test_values_that_are_no_arrays(value, tmp_path):
    with pytest.raises(TypeError, match=r"'weight'.*expected numpy.ndarray but received"):
        save({"a": np.ones(2), "weight": value})
    with pytest.raises(TypeError):
        save_file({"weight": value}, tmp_path / "x")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "array",
    [
        np.zeros(2, dtype="complex128"),
        np.zeros(2, dtype="longdouble"),
        np.array(["a", "bc"]),
        np.array([b"a"]),
        np.array([object()]),
        np.array([None]),
        np.zeros(2, dtype="datetime64[ns]"),
        np.zeros(2, dtype=[("a", "f4"), ("b", "i4")]),
        np.zeros(2, dtype="V4"),
        np.zeros(2, dtype=ml_dtypes.int4),
        np.zeros(2, dtype=ml_dtypes.float8_e3m4),
        np.complex128(1),
        np.zeros(2, dtype=">c16"),
    ],
    ids=lambda array: str(array.dtype),
)
def test_dtypes_that_the_format_lacks(array, tmp_path):
    with pytest.raises(SafetensorError) as raised:
        save({"a": np.ones(2), "weight": array})
    text = str(raised.value)
    assert text.startswith(f'Unknown dtype "{array.dtype.name}"') and "'weight'" in text and "float32" in text
    with pytest.raises(SafetensorError, match="^Unknown dtype"):
        save_file({"weight": array}, tmp_path / "x")
    assert not list(tmp_path.iterdir())


def test_dicts_of_other_kinds():
    array = sample("int8", (2,))
    expected = written({"x": array})
    for tensors in (
        collections.OrderedDict(x=array),
        collections.UserDict(x=array),
        types.MappingProxyType({"x": array}),
        collections.ChainMap({"x": array}),
    ):
        assert save(tensors) == expected
    for tensors in ([("x", array)], None, array):
        with pytest.raises(TypeError):
            save(tensors)


def test_the_callers_objects_are_left_alone(tmp_path):
    swapped = sample(">i4", (2, 3))
    tensors = {"b": swapped, "a": np.ones((2, 2)).T, "s": np.float32(1)}
    before, kept = dict(tensors), swapped.copy()
    metadata = {"k": "v"}
    save(tensors, metadata)
    save_file(tensors, tmp_path / "x", metadata)
    assert metadata == {"k": "v"}
    assert list(tensors) == ["b", "a", "s"] and all(tensors[k] is before[k] for k in tensors)
    assert swapped.dtype == ">i4" and (swapped == kept).all()


def test_many_tensors_of_all_dtypes(tmp_path):
    names = NATIVE + ["bfloat16"] + BYTES
    tensors = {f"{name}.{i}": sample(name, (i % 5, 3)) for i, name in itertools.product(range(40), names)}
    shuffled = {name: tensors[name] for name in sorted(tensors, key=hash)}
    expected = written(tensors, {"b": "2", "a": "1"})
    assert save(shuffled, {"b": "2", "a": "1"}) == expected
    save_file(shuffled, tmp_path / "x", {"a": "1", "b": "2"})
    assert (tmp_path / "x").read_bytes() == expected


def test_large_arrays(tmp_path):
    """Beyond what is combined, gathered in one go, or held in pages of the usual size."""
    large = np.arange(5 << 20, dtype="uint32").reshape(1 << 10, -1)
    tensors = {"large": large, "turned": large[:, ::5].T, "small": large[:1, :3]}
    expected = written({name: np.ascontiguousarray(array) for name, array in tensors.items()})
    assert save(tensors) == expected
    save_file(tensors, tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == expected
    memory = io.BytesIO()
    save_file(tensors, memory)
    assert memory.getvalue() == expected


# ------------------------------------------------------------------------------------------------ loading


@pytest.fixture
def path(tmp_path):
    save_file(
        {"a.x": sample("float32", (2, 3)), "a.y": sample("int16", (4,)), "b": sample("uint8", (5,))}, tmp_path / "x"
    )
    return tmp_path / "x"


@pytest.mark.parametrize("backend", ["mmap", "pread", "direct", "auto"])
def test_parts_of_a_file(path, backend):
    assert list(load_file(path, backend=backend)) == ["a.x", "a.y", "b"]
    assert list(load_file(path, backend=backend, prefix="a.")) == ["a.x", "a.y"]
    assert set(load_file(path, backend=backend, keys=["b", "a.x"])) == {"a.x", "b"}
    assert list(load_file(path, backend=backend, keys=["b", "a.x"], prefix="a")) == ["a.x"]
    assert load_file(path, backend=backend, keys=[]) == {} == load_file(path, prefix="zz")
    with pytest.raises(SafetensorError, match="File does not contain tensor zz"):
        load_file(path, backend=backend, keys=["zz"])
    with pytest.raises(TypeError, match="not the one string 'a.x'"):
        load_file(path, backend=backend, keys="a.x")
    with pytest.raises(TypeError):
        load_file(path, backend=backend, keys=[1])


@pytest.mark.parametrize("backend", ["mmap", "pread", "direct", "auto"])
def test_into_arrays_that_are_there(path, backend):
    out = {"a.x": np.zeros((2, 3), dtype="float32"), "b": np.zeros(5, dtype="uint8")}
    loaded = load_file(path, backend=backend, out=out)
    assert loaded["a.x"] is out["a.x"] and loaded["b"] is out["b"]
    assert list(loaded) == ["a.x", "a.y", "b"] and same(out["a.x"], sample("float32", (2, 3)))
    assert same(loaded["a.y"], sample("int16", (4,)))
    assert list(load_file(path, keys=["b"], out=out)) == ["b"]
    # In the order of the file, whatever the order of the names; and what there is no array for is made.
    assert list(load_file(path, keys=iter(["b", "a.y", "a.x"]), out=out)) == ["a.x", "a.y", "b"]
    with pytest.raises(SafetensorError, match="File does not contain tensor zz"):
        load_file(path, backend=backend, keys=["b", "zz"], out=out)
    with pytest.raises(SafetensorError, match="zz"):
        load_file(path, out={"zz": np.zeros(1)})
    message = r"^tensor 'b': out has dtype uint8 and shape \(6,\), the tensor uint8 and \(5,\)$"
    with pytest.raises(SafetensorError, match=message):
        load_file(path, out={"b": np.zeros(6, dtype="uint8")})


def test_what_deserialize_gives():
    from safetensors import deserialize

    tensors = {"a": sample("float64", (2, 3)), "b": sample("bfloat16", (4,)), "c": sample("float8_e5m2", (2,))}
    again = _view2np(deserialize(save(tensors)))
    assert all(same(again[name], tensors[name]) for name in tensors)


def test_the_small_functions():
    assert _TYPES["F32"] is np.float32 and _TYPES["BOOL"] is bool and "BF16" not in _TYPES
    assert _getdtype("I64") is np.int64 and _getdtype("BF16") == ml_dtypes.bfloat16
    with pytest.raises(KeyError):
        _getdtype("nonsense")
    assert _is_little_endian(np.zeros(1, dtype="<i4")) and _is_little_endian(np.zeros(1, dtype="i1"))
    assert not _is_little_endian(np.zeros(1, dtype=">i4"))
    alive = []
    flat = _flatten({"x": sample(">i4", (2, 3))}, alive)
    assert isinstance(flat["x"], TensorSpec) and flat["x"].dtype == "I32" and flat["x"].shape == [2, 3]
    assert alive[0].tobytes() == sample("<i4", (2, 3)).tobytes() and flat["x"].data_ptr == alive[0].ctypes.data


def test_round_trip_of_a_file_onto_itself(path):
    before = path.read_bytes()
    save_file(load_file(path), path)
    assert path.read_bytes() == before
    with safe_open(path, "np") as f:
        save_file({name: f.get_tensor(name) for name in f.keys()}, path)
    assert path.read_bytes() == before
