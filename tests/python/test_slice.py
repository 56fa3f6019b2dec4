# SPDX-License-Identifier: Apache-2.0
"""PySafeSlice: NumPy's indexing on parts of a file, with every framework and backend."""

import functools
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from conftest import file_bytes
from safetensors import PySafeSlice, SafetensorError, safe_open

BACKENDS = ["mmap", "pread", "direct", "auto"]
A = np.arange(50, dtype="float32").reshape(10, 5)
HUGE = 2**70


def as_numpy(value):
    return value if isinstance(value, np.ndarray) else np.asarray(value)


@pytest.fixture
def path(model):
    return model({"pad": np.zeros(4, "float32"), "a": A, "scalar": np.float64(2.5)})


@pytest.fixture(params=BACKENDS)
def backend(request):
    return request.param


@pytest.fixture(params=["np", "pt"])
def framework(request):
    pytest.importorskip("torch" if request.param == "pt" else "numpy")
    return request.param


# ------------------------------------------------------------------------------------- as NumPy does it


# A strategy costs more to make than to draw from.
@functools.cache
def bounds(size):
    return st.one_of(st.none(), st.integers(-2 * size - 2, 2 * size + 2), st.sampled_from([HUGE, -HUGE]))


@functools.cache
def items_of(size):
    steps = st.one_of(st.none(), st.integers(-3, 3).filter(bool), st.sampled_from([HUGE, -HUGE, 100, -100]))
    slices = st.builds(slice, bounds(size), bounds(size), steps)
    if size == 0:
        return slices
    integers = st.integers(-size, size - 1)
    return st.one_of(slices, integers, integers.map(np.int64), integers.map(np.array))


SHAPES = st.lists(st.integers(0, 6), max_size=5)


@st.composite
def indexed_shapes(draw):
    """A shape, and an index that NumPy accepts for it."""
    shape = draw(SHAPES)
    items = [draw(items_of(size)) for size in shape]
    taken = draw(st.integers(0, len(items)))
    if draw(st.booleans()):
        after = draw(st.integers(0, taken))
        items = items[: taken - after] + [Ellipsis] + (items[len(items) - after :] if after else [])
    else:
        items = items[:taken]
    for _ in range(draw(st.integers(0, 2))):
        items.insert(draw(st.integers(0, len(items))), None)
    if len(items) == 1 and draw(st.booleans()):
        return shape, items[0]
    return shape, tuple(items)


def is_refused(index, shape):
    """Upstream's one refusal that is kept: for NumPy, `[:20]` of a smaller dimension, and nothing but a stop."""
    items = index if isinstance(index, tuple) else (index,)
    after = [i for i in items[items.index(Ellipsis) + 1 :] if i is not None] if Ellipsis in items else []
    dimension = 0
    for item in items:
        if item is Ellipsis:
            dimension = len(shape) - len(after)
        elif item is not None:
            if isinstance(item, slice) and item.start is None and item.step is None and item.stop is not None:
                if item.stop > shape[dimension]:
                    return True
            dimension += 1
    return False


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("slices") / "model.safetensors"


DTYPES = ["bool", "uint8", "int16", "float16", "int32", "float64", "complex64"]


@given(case=indexed_shapes(), dtype=st.sampled_from(DTYPES), shift=st.integers(0, 3))
@settings(max_examples=250)
@example(case=([3, 4], (slice(None, None, -1), slice(None, None, -2))), dtype="int16", shift=1)
@example(case=([0, 4], slice(None)), dtype="int32", shift=0)
@example(case=([4], slice(3, 1)), dtype="uint8", shift=0)
@example(case=([], ()), dtype="float64", shift=0)
@example(case=([], (None, Ellipsis, None)), dtype="float64", shift=0)
@example(case=([5], np.array(-1)), dtype="int32", shift=0)
def test_as_numpy(place, case, dtype, shift):
    pytest.importorskip("torch")
    shape, index = case
    whole = np.arange(math.prod(shape)).astype(dtype).reshape(shape)
    # Other bytes before and behind it, so that data is aligned in one example and not in another.
    other = np.full(shift, 255, "uint8")
    place.unlink(missing_ok=True)
    place.write_bytes(file_bytes({"before": other, "a": whole, "after": other}))
    wanted = whole[index]
    for framework in ("np", "pt"):
        for backend in BACKENDS:
            with safe_open(place, framework, backend=backend) as f:
                part = f.get_slice("a")
                if framework == "np" and is_refused(index, shape):
                    with pytest.raises(SafetensorError, match="^Error during slicing .* out of bounds"):
                        part[index]
                    continue
                got = part[index]
                assert list(got.shape) == list(wanted.shape)
                np.testing.assert_array_equal(as_numpy(got), wanted)
                assert as_numpy(got).dtype == wanted.dtype
                assert isinstance(got, np.ndarray) == (framework == "np")


@pytest.mark.parametrize("backend", BACKENDS)
def test_jax(path, backend):
    jax = pytest.importorskip("jax")
    with safe_open(path, "jax", backend=backend) as f:
        part = f.get_slice("a")
        for index in (np.s_[2:4, ::-2], np.s_[:20], np.s_[..., None, 1], 3, np.s_[5:2], np.s_[[]]):
            got = part[index]
            assert isinstance(got, jax.Array)
            np.testing.assert_array_equal(got, A[index])


class Index:
    def __index__(self):
        return 2


def test_forms_of_integers(path, framework, backend):
    with safe_open(path, framework, backend=backend) as f:
        part = f.get_slice("a")
        for two in (2, np.int8(2), np.uint64(2), np.array(2), Index()):
            if framework == "pt" and backend == "mmap" and isinstance(two, (np.ndarray, np.generic)):
                continue  # torch's own indexing, and its own opinion
            np.testing.assert_array_equal(part[two], A[2])
            np.testing.assert_array_equal(part[two:4, two], A[2:4, 2])


def test_the_whole(path, framework, backend):
    with safe_open(path, framework, backend=backend) as f:
        for index in (slice(None), (), Ellipsis, (slice(None), slice(None)), (Ellipsis, slice(None))):
            np.testing.assert_array_equal(f.get_slice("a")[index], A)
        for index in ((), Ellipsis):
            got = f.get_slice("scalar")[index]
            assert tuple(got.shape) == () and float(got) == 2.5


def test_an_empty_list(path, framework, backend):
    with safe_open(path, framework, backend=backend) as f:
        assert list(f.get_slice("a")[[]].shape) == [0, 5]
        with pytest.raises(IndexError):
            f.get_slice("scalar")[[]]


def test_fancy_indices(path, framework, backend):
    """What is not basic is the framework's affair."""
    mask = A > 20
    with safe_open(path, framework, backend=backend) as f:
        part = f.get_slice("a")
        for index in (np.array([3, 1]), mask, (slice(1, 3), [0, 4]), True, (np.array([0, 2]), np.array([1, 1]))):
            np.testing.assert_array_equal(part[index], A[index])
        first = part[np.array([3, 1])]
        first[:] = 0
        np.testing.assert_array_equal(part[np.array([3, 1])], A[[3, 1]])


def test_torch_lists_and_tensors(path, backend):
    torch = pytest.importorskip("torch")
    with safe_open(path, "pt", backend=backend) as f:
        part = f.get_slice("a")
        for index in ([3, 1], torch.tensor([3, 1]), torch.tensor([3]), torch.tensor(A) > 20, torch.tensor(2)):
            np.testing.assert_array_equal(part[index], torch.tensor(A)[index])


@pytest.mark.parametrize(
    "index",
    [
        (slice(None, None, -1), [0, 2]),
        ([3, 1], slice(None, None, -2)),
        (slice(None, None, -1), True),
        (Ellipsis, slice(3, 0, -1), None),
        (False, slice(5, None, HUGE)),
        (None, [True] * 5 + [False] * 5, slice(None, None, -1)),
        (slice(0, 9, -1), [0]),
    ],
)
def test_torch_backwards_beside_fancy_items(path, backend, index):
    torch = pytest.importorskip("torch")
    with safe_open(path, "pt", backend=backend) as f:
        part = f.get_slice("a")[index]
    assert isinstance(part, torch.Tensor)
    np.testing.assert_array_equal(part.numpy(), A[index])


def test_more_items_than_fit_a_list(model, backend):
    """65 items and more: read whole, and left to the framework."""
    torch = pytest.importorskip("torch")
    with safe_open(model({"a": ("U8", [1] * 69 + [3], b"123")}), "pt", backend=backend) as f:
        part = f.get_slice("a")
        got = part[(0,) * 69 + (slice(1, 3),)]
        assert got.tolist() == [50, 51] and got.dtype == torch.uint8
        assert part[..., 2].shape == (1,) * 69


# -------------------------------------------------------------------------------------------- refusals


def slicing(index, asked, dimension, size):
    return (
        f"Error during slicing [{index}] with shape [10, 5]: index {asked} out of bounds for "
        f"tensor dimension #{dimension} of size {size}"
    )


class Odd:
    """An index of which one member raises an exception."""

    def __init__(self, member, error):
        self.member, self.error = member, error

    def __index__(self):
        if self.member == "__index__":
            raise self.error
        return 1

    @property
    def ndim(self):
        if self.member == "ndim":
            raise self.error
        return 0

    @property
    def dtype(self):
        if self.member == "dtype":
            raise self.error
        return "int64"


@pytest.mark.parametrize("error", [KeyboardInterrupt(), MemoryError("hook")], ids=repr)
@pytest.mark.parametrize("member", ["ndim", "dtype", "bound"])
@pytest.mark.parametrize("framework", ["np", "pt"])
def test_what_says_nothing_of_an_index_is_raised(path, backend, framework, member, error):
    if framework == "pt":
        pytest.importorskip("torch")
        if backend in ("mmap", "auto") and member != "bound":
            pytest.skip("torch itself reads the index")
    odd = Odd("__index__" if member == "bound" else member, error)
    with safe_open(path, framework, backend=backend) as f:
        part = f.get_slice("a")
        with pytest.raises(type(error)) as caught:
            part[slice(odd, None) if member == "bound" else odd]
        assert caught.value is error
        if member != "bound":
            odd.error = ValueError("not this one")
            np.testing.assert_array_equal(part[odd], A[1])


TEXTS = [
    (np.s_[2:, -6], "Invalid index -6 for dimension 1 of size 5"),
    (-11, "Invalid index -11 for dimension 0 of size 10"),
    (-HUGE, f"Invalid index {-HUGE} for dimension 0 of size 10"),
    (np.s_[-11, 7], "Invalid index -11 for dimension 0 of size 10"),
    (np.s_[..., -6], "Invalid index -6 for dimension 1 of size 5"),
    (np.s_[None, -11], "Invalid index -11 for dimension 0 of size 10"),
    (np.s_[2:, 20], slicing("2:, 20", 20, 1, 5)),
    (10, slicing("10", 10, 0, 10)),
    (HUGE, slicing(HUGE, HUGE, 0, 10)),
    (np.s_[-1, 20], slicing("9, 20", 20, 1, 5)),
    (np.s_[20, 20], slicing("20, 20", 20, 1, 5)),
    (np.s_[-1:-3:-2, 5], slicing("-1:-3:-2, 5", 5, 1, 5)),
    (np.s_[None, ..., 5], slicing("None, ..., 5", 5, 1, 5)),
    (np.s_[:, None, 7], slicing(":, None, 7", 7, 1, 5)),
]


@pytest.mark.parametrize("index, text", TEXTS)
def test_integers_out_of_range(path, backend, index, text):
    """Upstream's texts; IndexErrors as well, so that iteration ends."""
    with safe_open(path, "np", backend=backend) as f:
        with pytest.raises(SafetensorError) as caught:
            f.get_slice("a")[index]
    assert str(caught.value) == text and isinstance(caught.value, IndexError)
    with safe_open(path, "pt", backend="pread") as f:
        with pytest.raises(SafetensorError) as caught:
            f.get_slice("a")[index]
    assert str(caught.value) == text
    # Here torch has the word, whose versions do not agree on numbers that are no long.
    error, said = IndexError, "out of bounds for (tensor )?dimension"
    if index in (HUGE, -HUGE):
        error, said = (ValueError, RuntimeError), "^Overflow when unpacking long"
    with safe_open(path, "pt", backend="mmap") as f, pytest.raises(error, match=said):
        f.get_slice("a")[index]


@pytest.mark.parametrize(
    "index, text",
    [
        (np.s_[:20], slicing(":20", 19, 0, 10)),
        (np.s_[:, :20], slicing(":, :20", 19, 1, 5)),
        (np.s_[:11, :6], slicing(":11, :6", 5, 1, 5)),
        (np.s_[..., :6], slicing("..., :6", 5, 1, 5)),
        (np.s_[:HUGE], slicing(f":{HUGE}", 2**63 - 2, 0, 10)),
    ],
)
def test_the_one_slice_that_is_refused(path, backend, index, text):
    with safe_open(path, "np", backend=backend) as f:
        with pytest.raises(SafetensorError) as caught:
            f.get_slice("a")[index]
        assert str(caught.value) == text
    with safe_open(path, "pt", backend=backend) as f:
        np.testing.assert_array_equal(f.get_slice("a")[index], A[index])


def test_slices_that_are_not_refused(path, backend):
    with safe_open(path, "np", backend=backend) as f:
        part = f.get_slice("a")
        for index in (
            np.s_[0:20],
            np.s_[:20:1],
            np.s_[:10],
            np.s_[:-20],
            np.s_[10:],
            np.s_[15:20],
            np.s_[8:2],
            np.s_[-3:],
        ):
            np.testing.assert_array_equal(part[index], A[index])


WORDS = "only integers, slices (`:`), ellipsis (`...`), numpy.newaxis (`None`) and integer or boolean arrays are valid"


@pytest.mark.parametrize(
    "index, class_, text",
    [
        (np.s_[1, 2, 3], IndexError, "too many indices for array: array is 2-dimensional, but 3 were indexed"),
        (np.s_[..., ...], IndexError, "an index can only have a single ellipsis ('...')"),
        (np.s_[::0], ValueError, "slice step cannot be zero"),
        (np.s_[1.5:], TypeError, "slice indices must be integers or None or have an __index__ method"),
        (np.s_[:"a"], TypeError, "slice indices must be integers or None or have an __index__ method"),
        (1.5, IndexError, WORDS),
        ("a", IndexError, WORDS),
        (b"a", IndexError, WORDS),
        ({}, IndexError, WORDS),
        ([0, 1], SafetensorError, "Non empty lists are not implemented"),
    ],
)
def test_indices_that_are_none(path, backend, index, class_, text):
    with safe_open(path, "np", backend=backend) as f, pytest.raises(class_) as caught:
        f.get_slice("a")[index]
    assert str(caught.value).startswith(text)


def test_an_index_that_fails(path):
    class Fails:
        def __index__(self):
            raise KeyError("mine")

    with safe_open(path, "np") as f:
        for index in (Fails(), np.s_[Fails() :], np.s_[:, :: Fails()]):
            with pytest.raises(KeyError, match="mine"):
                f.get_slice("a")[index]


def test_a_scalar_has_no_dimensions(path, framework, backend):
    with safe_open(path, framework, backend=backend) as f:
        part = f.get_slice("scalar")
        for index in (0, slice(None), (0,)):
            with pytest.raises(IndexError):
                part[index]
        with pytest.raises(TypeError, match=r"^tensor '\w+': len\(\) of a 0-d tensor$"):
            len(part)


# ----------------------------------------------------------------------------------------- less than bytes

F4 = ("F4", [4, 4], bytes([0x10, 0x32, 0x54, 0x76, 0x98, 0xBA, 0xDC, 0xFE]))
F6 = ("F6_E2M3", [2, 4], bytes(range(6)))


def test_f4_in_torch(model, backend):
    """Indices count torch's elements, of two values each."""
    torch = pytest.importorskip("torch")
    raw = torch.tensor(list(F4[2]), dtype=torch.uint8).reshape(4, 2)
    with safe_open(model({"pad": np.uint8(0), "a": F4}), "pt", backend=backend) as f:
        part = f.get_slice("a")
        assert part.get_shape() == [4, 4]
        for index in (slice(None), 1, (slice(1, 3), 1), (slice(None), slice(1, 2)), np.s_[::2], np.s_[..., -1], (3, 0)):
            got = part[index]
            assert got.dtype == torch.float4_e2m1fn_x2
            assert torch.equal(got.view(torch.uint8), raw[index])
        got = part[::-1, ::-1]
        assert got.dtype == torch.float4_e2m1fn_x2 and torch.equal(got.view(torch.uint8), raw.flip(0, 1))


def test_f6_in_torch(model, backend):
    torch = pytest.importorskip("torch")
    raw = torch.arange(6, dtype=torch.uint8).reshape(2, 3)
    with safe_open(model({"a": F6}), "pt", backend=backend) as f:
        for index in (slice(None), 1, (slice(None), slice(1, 3)), (0, 2)):
            assert torch.equal(f.get_slice("a")[index], raw[index])


@pytest.mark.parametrize("entry", [F4, F6])
def test_packed_in_numpy(model, backend, entry):
    raw = np.frombuffer(entry[2], "uint8").reshape(entry[1][0], -1)
    with safe_open(model({"a": entry}), "np", backend=backend, packed=True) as f:
        for index in (slice(None), 1, np.s_[:, 1:], np.s_[::-1, ::-1], (0, -1)):
            np.testing.assert_array_equal(f.get_slice("a")[index], raw[index])


@pytest.mark.parametrize("entry", [F4, F6])
def test_unpacked_in_numpy(model, backend, entry):
    """Any elements, also where the bytes do not end."""
    pytest.importorskip("ml_dtypes")
    with safe_open(model({"a": entry}), "np", backend=backend) as f:
        whole = f.get_tensor("a")
        assert list(whole.shape) == entry[1]
        for index in (
            slice(None),
            1,
            np.s_[:, 1:],
            np.s_[:, 2:4],
            np.s_[::-1, ::3],
            (0, -1),
            np.s_[1, 0:4],
            np.s_[..., None],
        ):
            got = f.get_slice("a")[index]
            assert got.dtype == whole.dtype and got.shape == whole[index].shape
            np.testing.assert_array_equal(got.astype("float32"), np.asarray(whole[index]).astype("float32"))


def test_f4_with_an_odd_row(model, backend):
    with safe_open(model({"a": ("F4", [2, 1], b"\x12")}), "np", backend=backend, packed=True) as f:
        with pytest.raises(SafetensorError, match="\"a\"|'a'"):
            f.get_slice("a")[0]
    pytest.importorskip("torch")
    with safe_open(model({"a": ("F4", [2, 1], b"\x12")}), "pt", backend=backend) as f:
        with pytest.raises(SafetensorError, match="divisible by 2"):
            f.get_slice("a")[0]


# ------------------------------------------------------------------------------------ memory and the rest


def test_parts_are_independent(path, backend):
    with safe_open(path, "np", backend=backend) as f:
        part = f.get_slice("a")
        first = part[2:4]
        first[:] = -1
        np.testing.assert_array_equal(part[2:4], A[2:4])
        np.testing.assert_array_equal(f.get_tensor("a"), A)


def test_torch_parts_are_views_of_the_mapping(path):
    torch = pytest.importorskip("torch")
    with safe_open(path, "pt") as f:
        part = f.get_slice("a")[2:4]
        part[0, 0] = -1
        assert f.get_tensor("a")[2, 0] == -1
        assert part.data_ptr() == f.get_tensor("a")[2:].data_ptr()
        assert f.get_slice("a")[::-1][7, 0] == 10  # not a view
    with safe_open(path, "pt", backend="pread") as f:
        part = f.get_slice("a")[2:4]
        part[:] = -1
        assert torch.equal(f.get_slice("a")[2:4], torch.tensor(A[2:4]))


def bytes_read():
    fields = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(fields["rchar"])


def test_only_the_part_is_read(model, framework):
    path = model({"a": np.zeros((4096, 4096), "uint8")})
    with safe_open(path, framework, backend="pread") as f:
        part = f.get_slice("a")
        before = bytes_read()
        assert list(part[100:116].shape) == [16, 4096]
        assert bytes_read() - before < (1 << 20)


def test_length_and_iteration(path, framework, backend):
    with safe_open(path, framework, backend=backend) as f:
        part = f.get_slice("a")
        assert isinstance(part, PySafeSlice)
        assert len(part) == 10 and part.nbytes == 200
        rows = list(part)
        assert len(rows) == 10
        np.testing.assert_array_equal(np.stack([as_numpy(row) for row in rows]), A)


def test_not_constructible():
    with pytest.raises(TypeError, match="cannot create 'safetensors.PySafeSlice' instances"):
        PySafeSlice()


def test_huge_dimensions(model, backend):
    with safe_open(model({"a": ("U8", [0, 2**63], b"")}), "np", backend=backend) as f:
        part = f.get_slice("a")
        assert part[:, :3].shape == (0, 3)
        assert part[:, -1].shape == (0,)
        with pytest.raises(SafetensorError, match="\"a\"|'a'"):
            part[:]
        with pytest.raises(SafetensorError, match="dimension #0 of size 0"):
            part[0]


def test_as_an_array(path, framework, backend):
    with safe_open(path, framework, backend=backend) as f:
        part = f.get_slice("a")
        array = np.asarray(part)
        np.testing.assert_array_equal(array, A)
        assert array.flags.writeable
        assert np.asarray(part, dtype="int32").dtype == np.int32
        array[:] = 0
        np.testing.assert_array_equal(np.array(part), A)
        with pytest.raises(ValueError, match="copy=False"):
            part.__array__(copy=False)
        with pytest.raises(TypeError):
            part.__array__(dtype="nonsense")


@pytest.mark.parametrize("rows", [10, 1 << 18])
def test_dlpack(model, framework, backend, rows):
    """Small tensors are copied, large ones mapped once more; nobody sees what others write."""
    whole = np.arange(rows * 5, dtype="float32").reshape(rows, 5)
    with safe_open(model({"a": whole}), framework, backend=backend) as f:
        part = f.get_slice("a")
        assert part.__dlpack_device__() == (1, 0)
        first, second = np.from_dlpack(part), np.from_dlpack(part)
        np.testing.assert_array_equal(first, whole)
        if first.flags.writeable:
            first[:] = 0
        np.testing.assert_array_equal(second, whole)
        np.testing.assert_array_equal(np.from_dlpack(part), whole)
        torch = pytest.importorskip("torch")
        third = torch.from_dlpack(part)
        third[:] = 1
        np.testing.assert_array_equal(f.get_slice("a")[:3], whole[:3])
        for wrong in ({"stream": 1}, {"dl_device": (2, 0)}):
            with pytest.raises(BufferError, match="CPU"):
                part.__dlpack__(**wrong)
        with pytest.raises(TypeError):
            part.__dlpack__(max_version="1.0")
        assert "dltensor_versioned" in repr(part.__dlpack__(max_version=(1, 0), copy=True, dl_device=(1, 0)))
        assert '"dltensor"' in repr(part.__dlpack__(max_version=(0, 8)))
        if rows == 10 or backend in ("pread", "direct"):
            with pytest.raises(BufferError, match=r"^tensor '\w+': its \d+ bytes cannot be had without a copy$"):
                part.__dlpack__(copy=False)
        else:
            part.__dlpack__(copy=False)
    np.testing.assert_array_equal(second, whole)


def test_dlpack_of_what_is_not_aligned(model):
    whole = np.arange(1 << 19, dtype="float32")
    path = model({"pad": np.uint8(0), "a": whole})
    with safe_open(path, "np") as f:
        with pytest.raises(BufferError, match="^tensor 'a': its 2097152 bytes cannot be had without a copy$"):
            f.get_slice("a").__dlpack__(copy=False)
        np.testing.assert_array_equal(np.from_dlpack(f.get_slice("a")), whole)


def test_what_the_python_side_sees(path, backend):
    with safe_open(path, "np", backend=backend) as f:
        part = f.get_slice("a")
        assert part._name == "a" and part._file.framework == "numpy" and part._file.backend == backend
        assert part._file.device is None and part._file.keys() == f.keys()
        assert part._file.offset_keys() == f.offset_keys()
        np.testing.assert_array_equal(part._file.get_slice("a")[0], A[0])
