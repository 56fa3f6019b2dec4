# SPDX-License-Identifier: Apache-2.0
"""What holds for each of the frameworks behind NumPy."""

import concurrent.futures
import importlib.metadata
import os

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import safetensors
from safetensors import SafetensorError, safe_open
from samples import DTYPES, NARROW, SHAPES, bytes_for, dtype_of, file_of, tensors_of, unpacked

BACKENDS = ("mmap", "pread", "direct", "auto")


def ways(framework, data, path, **options):
    """The same tensors by each way there is to load them."""
    path.write_bytes(data)
    yield framework.module.load(data, **options)
    yield framework.module.load(bytearray(data), **options)
    yield framework.module.load(memoryview(data), **options)
    for backend in BACKENDS:
        yield framework.module.load_file(path, backend=backend, **options)
        with safe_open(path, framework.name, backend=backend, **options) as f:
            yield f.get_tensors()
            yield {name: f.get_tensor(name) for name in f.keys()}
            yield {name: f.get_slice(name)[...] for name in f.keys()}


def expected(framework, code, raw):
    """The name of the type, and the bytes, that a tensor has to have."""
    raw = unpacked(code, raw) if code in NARROW else raw
    name = framework.instead.get(code)
    if name is None:
        return DTYPES[code][1], raw
    return name, raw if name == "uint8" else np.frombuffer(raw, dtype_of(code)).astype(name).tobytes()


def test_package_is_ours():
    assert importlib.metadata.version("safetensors") == safetensors.__version__
    assert safetensors.__file__.startswith(os.environ["ST_PACKAGE"])


def test_every_shape_of_every_dtype(framework, path, wide):
    tensors = [(f"t{i}", wide, shape, bytes_for(wide, shape)) for i, shape in enumerate(SHAPES)]
    with np.errstate(all="ignore"):
        wanted = [expected(framework, wide, raw) for *_, raw in tensors]
    for loaded in ways(framework, file_of(tensors), path):
        assert sorted(loaded) == sorted(name for name, *_ in tensors)
        for (name, _, shape, _), (dtype_name, raw) in zip(tensors, wanted):
            assert isinstance(loaded[name], framework.type)
            assert tuple(loaded[name].shape) == shape
            assert framework.dtype_name(loaded[name]) == dtype_name
            assert framework.to_bytes(loaded[name]) == raw, (name, shape)


@pytest.mark.parametrize("code", NARROW)
def test_narrow_dtypes(framework, path, code):
    raw = bytes_for(code, (3, 4))
    data = file_of([("x", code, (3, 4), raw)])
    if code not in framework.lacking:
        for loaded in ways(framework, data, path):
            assert tuple(loaded["x"].shape) == (3, 4)
            assert framework.dtype_name(loaded["x"]) == DTYPES[code][1]
            assert framework.to_bytes(loaded["x"]) == unpacked(code, raw)
    path.write_bytes(data)
    packed = [framework.module.load(data, packed=True)]
    packed += [framework.module.load_file(path, backend=backend, packed=True) for backend in BACKENDS]
    for loaded in packed:
        assert tuple(loaded["x"].shape) == (3, 4 * DTYPES[code][0] // 8)
        assert framework.dtype_name(loaded["x"]) == "uint8"
        assert framework.to_bytes(loaded["x"]) == raw


def test_lacking_dtypes(framework, path):
    for code in framework.lacking:
        data = file_of([("x", code, (3, 4), bytes_for(code, (3, 4)))])
        path.write_bytes(data)
        with pytest.raises(SafetensorError, match=f"has no type for {DTYPES[code][1]}"):
            framework.module.load(data)
        for backend in BACKENDS:
            with pytest.raises(SafetensorError, match=f"has no type for {DTYPES[code][1]}"):
                framework.module.load_file(path, backend=backend)


def test_saves_every_dtype(framework, path, stored):
    tensors, wanted = {}, {}
    for i, shape in enumerate(shape for shape in SHAPES if stored not in NARROW or shape and shape[-1] % 2 == 0):
        raw = bytes_for(stored, shape)
        array = np.frombuffer(unpacked(stored, raw) if stored in NARROW else raw, dtype_of(stored)).reshape(shape)
        tensors[f"t{i}"] = framework.make(array.copy())
        wanted[f"t{i}"] = (stored, shape, raw)
    before = dict(tensors)
    metadata = {"b": "2", "a": "é"}

    data = framework.module.save(tensors, metadata)
    framework.module.save_file(tensors, path, metadata)
    assert path.read_bytes() == data
    assert tensors_of(data) == (wanted, metadata)
    framework.module.save_file(tensors, path, durable=True)
    assert tensors_of(path.read_bytes()) == (wanted, None)
    # The caller's dicts are the caller's.
    assert list(tensors) == list(before) and all(tensors[name] is before[name] for name in before)
    assert metadata == {"b": "2", "a": "é"}

    loaded = framework.module.load(data)
    for name, (_, shape, raw) in wanted.items():
        assert framework.to_bytes(loaded[name]) == (unpacked(stored, raw) if stored in NARROW else raw)


def test_saves_nothing(framework, path):
    assert framework.module.save({}) == b"\x08\0\0\0\0\0\0\0{}      "
    framework.module.save_file({}, path, {})
    assert tensors_of(path.read_bytes()) == ({}, {})
    assert framework.module.load_file(path) == {}


def test_saves_what_is_not_stored_in_order(framework):
    array = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    tensor = framework.make(array)
    views = {"part": (tensor[:, 1:, ::2], array[:, 1:, ::2])}
    if hasattr(tensor, "T") and framework.name != "tf":
        views["turned"] = (tensor[0].T, array[0].T)
    for name, (view, wanted) in views.items():
        if framework.name == "paddle":
            if view.is_contiguous():
                continue
            with pytest.raises(ValueError, match=f"non contiguous tensor: `{name}`"):
                framework.module.save({name: view})
            view = view.contiguous()
        data = framework.module.save({name: view})
        assert tensors_of(data)[0][name] == ("F32", wanted.shape, wanted.tobytes())


def test_keys_and_prefix(framework, path):
    names = ["a.1", "a.2", "b.1"]
    path.write_bytes(file_of([(name, "U8", (2,), name.encode()[:2]) for name in names]))
    load_file = framework.module.load_file
    assert sorted(load_file(path)) == names
    assert sorted(load_file(path, keys=["b.1", "a.1"])) == ["a.1", "b.1"]
    assert sorted(load_file(path, prefix="a.")) == ["a.1", "a.2"]
    assert load_file(path, keys=[]) == {}
    assert load_file(path, prefix="c") == {}
    assert framework.to_bytes(load_file(path, keys=iter(["b.1"]))["b.1"]) == b"b."
    with pytest.raises(SafetensorError, match="File does not contain tensor c"):
        load_file(path, keys=["c"])


@pytest.mark.parametrize("backend", BACKENDS)
def test_many_files(framework, path, backend):
    tensors = [(f"t{i}", "BF16", (64, 9), bytes_for("BF16", (64, 9), i)) for i in range(6)]
    tensors.append(("large", "F32", (600, 1000), bytes_for("F32", (600, 1000))))  # jax takes over what is so large
    other = path.with_name("other.safetensors")
    path.write_bytes(file_of(tensors[:3]))
    other.write_bytes(file_of(tensors[3:]))
    wanted = {name: raw for name, _, _, raw in tensors}
    load_files = framework.module.load_files
    loaded = load_files([path, other], backend=backend)
    assert all(isinstance(tensor, framework.type) for tensor in loaded.values())
    assert {name: framework.to_bytes(tensor) for name, tensor in loaded.items()} == wanted
    some = load_files((path, other), backend=backend, keys=["large", "t1"])
    assert [(name, framework.to_bytes(some[name])) for name in some] == [(k, wanted[k]) for k in ("t1", "large")]
    with pytest.raises(SafetensorError, match='"t0" is in two files'):
        load_files([path, other, path], backend=backend)


def test_errors(framework, path):
    with pytest.raises(FileNotFoundError):
        framework.module.load_file(path)
    with pytest.raises(SafetensorError, match="header too small"):
        framework.module.load(b"")
    with pytest.raises(SafetensorError):
        framework.module.load_file(__file__)
    with pytest.raises(SafetensorError, match="backend"):
        framework.module.load_file(__file__, backend="none")
    with pytest.raises(TypeError):
        framework.module.save({"x": framework.make(np.ones(2, "float32"))}, {"a": 1})
    with pytest.raises(SafetensorError, match="__metadata__"):
        framework.module.save({"__metadata__": framework.make(np.ones(2, "float32"))})


def test_metadata(framework, path):
    framework.module.save_file({"x": framework.make(np.ones(2, "float32"))}, path, {"format": "x"})
    with safe_open(path, framework.name) as f:
        assert f.metadata() == {"format": "x"}
        assert list(f.keys()) == ["x"]
        assert f.get_slice("x").get_shape() == [2]
        assert f.get_slice("x").get_dtype() == "F32"


ARRAY = np.arange(7 * 5 * 3, dtype=np.int32).reshape(7, 5, 3)
BOUNDS = st.none() | st.integers(-9, 9)
ITEMS = st.one_of(
    st.integers(-3, 2),
    st.slices(7),
    st.builds(slice, BOUNDS, BOUNDS, st.none() | st.integers(-3, 3).filter(bool)),
    st.just(Ellipsis),
    st.none(),
)


def is_index(index):
    """Whether NumPy takes it."""
    try:
        ARRAY[index]
    except IndexError:
        return False
    return True


@settings(deadline=None, database=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(ITEMS, st.lists(ITEMS, max_size=4).map(tuple)).filter(is_index), st.sampled_from(BACKENDS))
def test_slices_are_numpys(framework, path, index, backend):
    if not path.exists():
        path.write_bytes(file_of([("x", "I32", ARRAY.shape, ARRAY.tobytes())]))
    with safe_open(path, framework.name, backend=backend) as f:
        part = f.get_slice("x")[index]
    assert isinstance(part, framework.type)
    assert tuple(part.shape) == ARRAY[index].shape
    assert framework.to_bytes(part) == ARRAY[index].tobytes()


@pytest.mark.parametrize("backend", BACKENDS)
def test_slices_out_of_range(framework, path, backend):
    path.write_bytes(file_of([("x", "I32", ARRAY.shape, ARRAY.tobytes())]))
    with safe_open(path, framework.name, backend=backend) as f:
        with pytest.raises(SafetensorError, match="Invalid index -8 for dimension 0 of size 7"):
            f.get_slice("x")[-8]
        with pytest.raises(SafetensorError, match="out of bounds for tensor dimension #1 of size 5"):
            f.get_slice("x")[:, 5]
        with pytest.raises(IndexError):
            f.get_slice("x")[0, 0, 0, 0]
        assert tuple(f.get_slice("x")[[]].shape) == (0, 5, 3)


@pytest.mark.parametrize("backend", BACKENDS)
def test_tensors_outlive_their_file(framework, path, backend):
    raw = bytes_for("F32", (512, 1024))
    path.write_bytes(file_of([("x", "F32", (512, 1024), raw)]))
    with safe_open(path, framework.name, backend=backend) as f:
        first, part = f.get_tensor("x"), f.get_slice("x")
    path.unlink()
    assert framework.to_bytes(first) == raw
    assert framework.to_bytes(part[1]) == raw[4096:8192]


def test_saving_over_the_file_they_came_from(framework, path):
    raw = bytes_for("F32", (512, 1024))
    path.write_bytes(file_of([("x", "F32", (512, 1024), raw)]))
    loaded = framework.module.load_file(path)
    framework.module.save_file({"y": loaded["x"]}, path)
    assert framework.to_bytes(loaded["x"]) == raw
    assert tensors_of(path.read_bytes())[0] == {"y": ("F32", (512, 1024), raw)}


def test_what_is_loaded_does_not_follow_the_bytes(framework):
    raw = bytes_for("F32", (512, 1024))
    data = bytearray(file_of([("x", "F32", (512, 1024), raw)]))
    options = {"copy": True} if framework.name == "paddle" else {}
    loaded = framework.module.load(data, **options)
    data[-1] ^= 1
    assert framework.to_bytes(loaded["x"]) == raw


def test_mapping(framework, path):
    names = ["a", "b", "c"]
    path.write_bytes(file_of([(name, "U8", (4,), name.encode() * 4) for name in names]))
    with safe_open(path, framework.name) as f:
        assert len(f) == 3 and list(f) == names and "a" in f and "d" not in f
        assert framework.to_bytes(f["b"]) == b"bbbb"
        assert sorted(f.get_tensors(["c", "a"])) == ["a", "c"]
        assert isinstance(f["a"], framework.type)


@pytest.mark.parametrize("backend", BACKENDS)
def test_prefetch(framework, path, backend):
    tensors = [(f"t{i}", "BF16", (64, 8), bytes_for("BF16", (64, 8), i)) for i in range(8)]
    path.write_bytes(file_of(tensors))
    wanted = {name: raw for name, _, _, raw in tensors}
    with safe_open(path, framework.name, backend=backend) as f:
        with f.prefetch() as loader:
            assert isinstance(loader.take("t3"), framework.type)
            assert framework.to_bytes(loader.take("t3")) == wanted["t3"]
            rest = {name: framework.to_bytes(tensor) for name, tensor in loader}
        assert rest == {name: raw for name, raw in wanted.items() if name != "t3"}
        with f.prefetch({"t1": slice(2, 4), "t2": None}) as loader:
            loaded = {name: framework.to_bytes(tensor) for name, tensor in loader}
    assert loaded == {"t1": wanted["t1"][32:64], "t2": wanted["t2"]}


def test_threads(framework, path):
    tensors = [(f"t{i}", "BF16", (64, 33), bytes_for("BF16", (64, 33), i)) for i in range(20)]
    path.write_bytes(file_of(tensors))
    with safe_open(path, framework.name) as f, concurrent.futures.ThreadPoolExecutor(8) as pool:
        for loaded in pool.map(lambda _: f.get_tensors(), range(16)):
            assert {name: framework.to_bytes(tensor) for name, tensor in loaded.items()} == {
                name: raw for name, _, _, raw in tensors
            }
