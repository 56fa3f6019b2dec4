# SPDX-License-Identifier: Apache-2.0
"""load and deserialize out of memory, whole dicts out of files, and reading into the user's own arrays."""

import array
import gc
import mmap
import sys
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safetensors import SafetensorError, deserialize, safe_open
from safetensors import _safetensors_rust as extension

A = np.arange(12, dtype="float32").reshape(3, 4)
B = np.arange(6, dtype="int16").reshape(2, 3)
LARGE = np.arange(3 << 18, dtype="float32")
TENSORS = {"large": LARGE, "b": B, "a": A, "empty": np.zeros((0, 3), "float32"), "é": np.float64(7)}

load = extension._load


@pytest.fixture(params=["np", "pt"])
def framework(request):
    if request.param == "pt":
        pytest.importorskip("torch")
    return request.param


@pytest.fixture(params=["mmap", "pread"])
def backend(request):
    return request.param


def address(tensor):
    return tensor.__array_interface__["data"][0] if isinstance(tensor, np.ndarray) else tensor.data_ptr()


def as_numpy(tensor):
    return tensor if isinstance(tensor, np.ndarray) else tensor.numpy()


def check(tensors, wanted=TENSORS):
    assert list(tensors) == list(wanted)
    for name, value in wanted.items():
        found = as_numpy(tensors[name])
        assert found.dtype == np.asarray(value).dtype and found.shape == np.shape(value)
        np.testing.assert_array_equal(found, value)


def mapped(content, access=mmap.ACCESS_WRITE):
    memory = mmap.mmap(-1, len(content))
    memory[:] = content
    return memory


SOURCES = {
    "bytes": bytes,
    "bytearray": bytearray,
    "memoryview": memoryview,
    "writable memoryview": lambda content: memoryview(bytearray(content)),
    "mmap": mapped,
    "array": lambda content: array.array("B", content),
    "ndarray": lambda content: np.frombuffer(content, "uint8"),
}


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("copy", [None, True])
def test_every_kind_of_memory(model_bytes, framework, source, copy):
    data = SOURCES[source](model_bytes(TENSORS))
    tensors = load(data, framework, copy=copy)
    check(tensors)
    for tensor in tensors.values():
        as_numpy(tensor)[...] = 0
    # Writable memory is aliased unless a copy is asked for; what is read-only never changes.
    aliased = copy is None and not memoryview(data).readonly
    assert (bytes(data) != model_bytes(TENSORS)) == aliased


@pytest.mark.parametrize("copy", [None, True])
def test_results_are_writable_and_independent(model_bytes, framework, copy):
    data = model_bytes(TENSORS)
    first, second = load(data, framework, copy=copy), load(data, framework, copy=copy)
    for tensor in first.values():
        as_numpy(tensor)[...] = 1
    check(second)
    assert data == model_bytes(TENSORS)
    check(load(data, framework))


def test_copies_are_aligned(model_bytes, framework):
    for pad in (1, 8, 64):
        tensors = load(model_bytes(TENSORS, pad=pad), framework)
        check(tensors)
        # The data section starts at a multiple of 64, and with it the first tensor.
        assert address(tensors["large"]) % 64 == 0
        assert address(tensors["a"]) % 4 == 0


def test_what_is_misaligned_in_the_file_is_not_in_a_copy(model_bytes, framework):
    tensors = load(model_bytes({"odd": np.uint8([1, 2, 3]), "a": A}), framework)
    assert address(tensors["a"]) % 4 == 0
    check(tensors, {"odd": np.uint8([1, 2, 3]), "a": A})


def test_what_is_misaligned_is_still_aliased(model_bytes, framework):
    data = bytearray(model_bytes({"odd": np.uint8([1, 2, 3]), "a": A}))
    tensors = load(data, framework)
    check(tensors, {"odd": np.uint8([1, 2, 3]), "a": A})
    as_numpy(tensors["a"])[2, 3] = 42
    assert data[-4:] == np.float32(42).tobytes()


def test_without_a_copy(model_bytes):
    data = model_bytes(TENSORS)
    tensors = load(data, "np", copy=False)
    check(tensors)
    start = np.frombuffer(data, "uint8").__array_interface__["data"][0]
    for tensor in tensors.values():
        assert start < address(tensor) <= start + len(data)
        assert not tensor.flags.writeable
        with pytest.raises(ValueError):
            tensor.setflags(write=True)
        with pytest.raises(ValueError):
            tensor[...] = 0


def test_torch_has_nothing_read_only(model_bytes):
    pytest.importorskip("torch")
    data = model_bytes(TENSORS)
    with pytest.raises(ValueError, match="copy=False"):
        load(data, "pt", copy=False)
    with pytest.raises(ValueError, match="copy=False"):
        load(memoryview(bytearray(data)).toreadonly(), "pt", copy=False)
    writable = bytearray(data)
    tensors = load(writable, "pt", copy=False)
    check(tensors)
    tensors["é"].zero_()
    assert bytes(writable[-8:]) == bytes(8)


@pytest.mark.parametrize("copy", [None, False, True])
@pytest.mark.parametrize("kind", [bytes, bytearray])
def test_jax_results_never_change(model_bytes, copy, kind):
    pytest.importorskip("jax")
    data = kind(model_bytes({"large": LARGE, "a": A}))
    tensors = load(data, "flax", copy=copy)
    if kind is bytearray and copy is not False:
        data[:] = bytes(len(data))
    del data
    gc.collect()
    np.testing.assert_array_equal(tensors["large"], LARGE)
    np.testing.assert_array_equal(tensors["a"], A)


@pytest.mark.parametrize("bad", ["text", 3, None, object(), [1, 2]])
def test_what_is_no_memory(framework, bad):
    with pytest.raises(TypeError):
        load(bad, framework)
    with pytest.raises(TypeError):
        deserialize(bad)


def test_memory_with_gaps_is_refused(model_bytes, framework):
    with pytest.raises((BufferError, ValueError)):
        load(memoryview(model_bytes(TENSORS))[::2], framework)


@pytest.mark.parametrize(
    "content, text",
    [
        (b"", "header too small"),
        (b"1234567", "header too small"),
        (b"\xff" * 8, "header too large"),
        (b"\x08" + bytes(7) + b"{}", "invalid header length"),
        (b"\x02" + bytes(7) + b"{]", "invalid JSON in header"),
        (b"\x02" + bytes(7) + b"{}x", "incomplete metadata"),
        (b"\x02" + bytes(7) + b"\xff}", "invalid UTF-8 in header"),
    ],
)
def test_bad_files(framework, content, text):
    for data in (content, bytearray(content)):
        with pytest.raises(SafetensorError, match=f"^Error while deserializing.*: {text}"):
            load(data, framework)
    with pytest.raises(SafetensorError, match=f"^Error while deserializing: {text}"):
        deserialize(content)


def test_arguments(model_bytes):
    data = model_bytes({"a": A})
    with pytest.raises(SafetensorError, match="framework zzz is invalid"):
        load(data, "zzz")
    with pytest.raises(TypeError):
        load(data)
    with pytest.raises(TypeError):
        load(data, "np", None)
    with pytest.raises(TypeError):
        load(data, "np", unknown=1)

    class Undecided:
        def __bool__(self):
            raise KeyError("undecided")

    with pytest.raises(KeyError):
        load(data, "np", copy=Undecided())


def test_deserialize(model_bytes):
    data = model_bytes(TENSORS | {"bf": ("BF16", [2], b"abcd"), "f6": ("F6_E2M3", [2, 2], b"xyz")}, {"k": "v"})
    for source in (data, bytearray(data), memoryview(data), mapped(data)):
        found = deserialize(source)
        assert [name for name, _ in found] == [*TENSORS, "bf", "f6"]
        entries = dict(found)
        for name, value in TENSORS.items():
            assert set(entries[name]) == {"shape", "dtype", "data"}
            assert entries[name]["shape"] == list(np.shape(value))
            assert type(entries[name]["data"]) is bytearray
            assert entries[name]["data"] == np.asarray(value).tobytes()
        assert entries["bf"] == {"shape": [2], "dtype": "BF16", "data": bytearray(b"abcd")}
        assert entries["f6"] == {"shape": [2, 2], "dtype": "F6_E2M3", "data": bytearray(b"xyz")}
        entries["a"]["data"][:] = bytes(len(entries["a"]["data"]))
    assert data == model_bytes(TENSORS | {"bf": ("BF16", [2], b"abcd"), "f6": ("F6_E2M3", [2, 2], b"xyz")}, {"k": "v"})
    assert deserialize(b"\x02" + bytes(7) + b"{}") == []
    assert deserialize(bytes=data)[1][0] == "b"
    with pytest.raises(TypeError):
        deserialize(data, data)


def test_loading_from_many_threads(model_bytes, framework):
    data, failures = model_bytes(TENSORS), []

    def work():
        try:
            for _ in range(4):
                tensors = load(data, framework)
                check(tensors)
                for tensor in tensors.values():
                    as_numpy(tensor)[...] = 0
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=work) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


# ------------------------------------------------------------------------------------ whole dicts


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_any_mixture_of_sizes(tmp_path_factory, data):
    """Small tensors are read in blocks, others on their own, aligned or not: the same bytes come out."""
    from conftest import file_bytes

    sizes = st.one_of(st.integers(0, 40), st.integers(4000, 5000), st.integers(16370, 16400))
    kinds = st.sampled_from(["uint8", "int16", "float32", "float64"])
    shapes = data.draw(st.lists(st.tuples(kinds, sizes), max_size=60))
    random = np.random.default_rng(7)
    tensors = {f"t{i}": random.integers(0, 100, size).astype(kind) for i, (kind, size) in enumerate(shapes)}
    path = tmp_path_factory.mktemp("mixture") / "model.safetensors"
    path.write_bytes(file_bytes(tensors))
    names = data.draw(st.lists(st.sampled_from(sorted(tensors)), max_size=80)) if tensors else []
    chosen = {name: tensors[name] for name in tensors if name in names}
    for framework in ["np"] + ["pt"] * ("torch" in sys.modules):
        for backend in ("mmap", "pread"):
            with safe_open(path, framework, backend=backend) as f:
                loaded = f.get_tensors()
                check(loaded, tensors)
                check(f.get_tensors(names), chosen)
            for i, tensor in enumerate(loaded.values()):
                assert address(tensor) % tensor.itemsize == 0 or (framework, backend) == ("pt", "mmap")
                as_numpy(tensor)[...] = i % 100
            for i, tensor in enumerate(loaded.values()):
                assert (as_numpy(tensor) == i % 100).all()
        check(load(path.read_bytes(), framework), tensors)


def test_chosen_names(model, framework, backend):
    with safe_open(model(TENSORS), framework, backend=backend) as f:
        check(f.get_tensors(["a", "large", "a"]), {"large": LARGE, "a": A})
        check(f.get_tensors(names=("é",)), {"é": np.float64(7)})
        check(f.get_tensors(iter(["b"])), {"b": B})
        assert f.get_tensors([]) == {}
        with pytest.raises(SafetensorError, match="File does not contain tensor zz"):
            f.get_tensors(["a", "zz"])
        with pytest.raises(TypeError):
            f.get_tensors(["a", 3])
        with pytest.raises(UnicodeEncodeError):
            f.get_tensors(["\ud800"])


@pytest.mark.parametrize("enabled", [True, False])
def test_the_collector_is_as_it_was(model, framework, backend, enabled):
    path = model({"a": A, "t": ("F4", [2, 1], b"\x01"), "b": B})
    (gc.enable if enabled else gc.disable)()
    try:
        with safe_open(path, framework, backend=backend, packed=True) as f:
            f.get_tensors(["a"])
            assert gc.isenabled() == enabled
            with pytest.raises(SafetensorError, match="divisible by 2"):
                f.get_tensors()
            assert gc.isenabled() == enabled
            with pytest.raises(SafetensorError):
                f.get_tensors(["zz"])
            assert gc.isenabled() == enabled
        with pytest.raises(SafetensorError, match="divisible by 2"):
            load(path.read_bytes(), framework, packed=True)
        assert gc.isenabled() == enabled
    finally:
        gc.enable()


def test_many_small_tensors(model, framework, backend):
    tensors = {f"layer.{i:05}.weight": np.full((4, 4), i, "float32") for i in range(20000)}
    with safe_open(model(tensors), framework, backend=backend) as f:
        loaded = f.get_tensors()
    assert list(loaded) == list(tensors)
    assert all(float(tensor[3, 3]) == i for i, tensor in enumerate(loaded.values()))
    as_numpy(loaded["layer.00007.weight"])[...] = -1
    assert float(loaded["layer.00006.weight"].sum()) == 96 and float(loaded["layer.00008.weight"].sum()) == 128


# --------------------------------------------------------------------------------- into one's own


@pytest.fixture
def opened(model, backend):
    with safe_open(
        model(TENSORS | {"bf": ("BF16", [2], b"\x80\x3f\x00\x40"), "f4": ("F4", [4], b"\x21\x43")}),
        "np",
        backend=backend,
    ) as f:
        yield f


@pytest.mark.parametrize("name", ["large", "a", "b", "é", "empty"])
def test_into_an_array(opened, name):
    out = np.full_like(TENSORS[name], 9)
    assert opened.get_tensor(name, out=out) is out
    np.testing.assert_array_equal(out, TENSORS[name])


@pytest.mark.parametrize(
    "make",
    [
        lambda a: np.asfortranarray(a),
        lambda a: np.zeros((6, 8), a.dtype)[::2, ::2],
        lambda a: np.zeros(a.shape, a.dtype)[::-1],
        lambda a: np.ma.zeros(a.shape, a.dtype),
        lambda a: np.zeros((4, 3), a.dtype).T,
    ],
)
def test_into_arrays_that_are_not_plain(opened, make):
    out = make(A)
    assert opened.get_tensor("a", out=out) is out
    np.testing.assert_array_equal(out, A)


def test_into_an_array_of_a_file(opened, tmp_path):
    out = np.memmap(tmp_path / "out", "float32", "w+", shape=(3, 4))
    opened.get_tensor("a", out=out)
    out.flush()
    assert (tmp_path / "out").read_bytes() == A.tobytes()


def test_into_arrays_of_ml_dtypes(opened):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    out = np.zeros(2, ml_dtypes.bfloat16)
    opened.get_tensor("bf", out=out)
    assert out.tolist() == [1, 2]
    out = np.zeros(4, ml_dtypes.float4_e2m1fn)
    opened.get_tensor("f4", out=out)
    assert out.view("uint8").tolist() == [1, 2, 3, 4]


def test_packed_into_an_array(model):
    with safe_open(model({"f4": ("F4", [2, 4], b"\x21\x43\x65\x07")}), "np", packed=True) as f:
        out = np.zeros((2, 2), "uint8")
        f.get_tensor("f4", out=out)
        assert out.tobytes() == b"\x21\x43\x65\x07"
        with pytest.raises(
            SafetensorError, match=r"out has dtype uint8 and shape \(2, 4\), the tensor uint8 and \(2, 2\)"
        ):
            f.get_tensor("f4", out=np.zeros((2, 4), "uint8"))


@pytest.mark.parametrize(
    "out, text",
    [
        (
            np.zeros((4, 3), "float32"),
            r"tensor 'a': out has dtype float32 and shape \(4, 3\), the tensor float32 and \(3, 4\)",
        ),
        (np.zeros((3, 4), "float64"), r"out has dtype float64 and shape \(3, 4\), the tensor float32 and \(3, 4\)"),
        (np.zeros((3, 4), ">f4"), r"out has dtype >f4"),
        (np.zeros(12, "float32"), r"shape \(12,\)"),
        (np.broadcast_to(np.zeros((), "float32"), (3, 4)), "out is read-only"),
        (bytearray(47), "out has 47 bytes, the tensor 48"),
    ],
)
def test_into_what_does_not_fit(opened, out, text):
    with pytest.raises(SafetensorError, match=text):
        opened.get_tensor("a", out=out)


def test_into_memory(opened):
    for out in (bytearray(48), array.array("f", [0] * 12), mapped(bytes(48)), memoryview(bytearray(48))):
        assert opened.get_tensor("a", out=out) is out
        assert bytes(out) == A.tobytes()
    for out in (bytes(48), 3, "text", [0] * 12, memoryview(bytes(48)), memoryview(bytearray(96))[::2]):
        with pytest.raises((TypeError, BufferError)):
            opened.get_tensor("a", out=out)


@pytest.mark.parametrize("framework", ["np", "pt"])
def test_into_tensors(model, backend, framework):
    torch = pytest.importorskip("torch")
    path = model(
        TENSORS
        | {
            "bf": ("BF16", [2], b"\x80\x3f\x00\x40"),
            "f4": ("F4", [4], b"\x21\x43"),
            "f6": ("F6_E2M3", [4], b"abc"),
            "c": np.complex64([1 + 2j]),
        }
    )
    with safe_open(path, framework, backend=backend) as f:
        for name in TENSORS:
            out = torch.full(np.shape(TENSORS[name]), 9, dtype=getattr(torch, np.asarray(TENSORS[name]).dtype.name))
            assert f.get_tensor(name, out=out) is out
            np.testing.assert_array_equal(out.numpy(), TENSORS[name])
        strided = torch.zeros(4, 3).T
        assert f.get_tensor("a", out=strided).tolist() == A.tolist()
        parameter = torch.nn.Parameter(torch.zeros(3, 4))
        assert f.get_tensor("a", out=parameter) is parameter and parameter.tolist() == A.tolist()
        strided = torch.nn.Parameter(torch.zeros(4, 3).T)
        assert f.get_tensor("a", out=strided).tolist() == A.tolist() and strided.is_leaf
        out = torch.zeros(2, dtype=torch.bfloat16)
        assert f.get_tensor("bf", out=out).tolist() == [1, 2]
        conjugate = torch.zeros(1, dtype=torch.complex64).conj()
        assert f.get_tensor("c", out=conjugate).tolist() == [1 + 2j]
        negative = torch._neg_view(torch.zeros(3, 4))
        assert f.get_tensor("a", out=negative).tolist() == A.tolist()
        out = torch.zeros(2, dtype=torch.uint8).view(torch.float4_e2m1fn_x2)
        assert f.get_tensor("f4", out=out).view(torch.uint8).tolist() == [0x21, 0x43]
        out = torch.zeros(3, dtype=torch.uint8)
        assert bytes(f.get_tensor("f6", out=out).numpy()) == b"abc"
        with pytest.raises(
            SafetensorError,
            match=r"out has dtype torch.float32 and shape torch.Size\(\[4, 3\]\), "
            r"the tensor torch.float32 and \(3, 4\)",
        ):
            f.get_tensor("a", out=torch.zeros(4, 3))
        with pytest.raises(SafetensorError, match="out has dtype torch.float64"):
            f.get_tensor("a", out=torch.zeros(3, 4, dtype=torch.float64))
        with pytest.raises(SafetensorError, match="meta"):
            f.get_tensor("a", out=torch.zeros(3, 4, device="meta"))
        with pytest.raises(RuntimeError):
            f.get_tensor("a", out=torch.zeros(1, 4).expand(3, 4))
        hollow = torch.zeros(3, 4)
        hollow.untyped_storage().resize_(0)
        with pytest.raises(SafetensorError, match="out has no memory"):
            f.get_tensor("a", out=hollow)


def test_into_never_shows_another_views_writes(model):
    """Reading into an array is reading the file, whatever was written to views of it."""
    with safe_open(model(TENSORS), "np") as f:
        f.get_tensor("a")[...] = 0
        out = np.zeros_like(A)
        f.get_tensor("a", out=out)
        np.testing.assert_array_equal(out, A)


def test_into_what_autograd_saved(tmp_path):
    """As after every in-place operation, backward refuses what it would compute wrongly."""
    torch = pytest.importorskip("torch")
    from safetensors.torch import load_file, save_file

    save_file({"w": torch.full((3,), 5.0)}, tmp_path / "x")
    w = torch.ones(3, requires_grad=True)
    result = (w * w).sum()
    load_file(tmp_path / "x", out={"w": w})
    assert torch.equal(w.detach(), torch.full((3,), 5.0))
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        result.backward()
