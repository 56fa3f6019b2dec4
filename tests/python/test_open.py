# SPDX-License-Identifier: Apache-2.0
"""safe_open and _safe_open_handle: opening, closing, and what is in a file."""

import copy
import errno
import gc
import inspect
import io
import json
import mmap
import os
import pickle
import struct
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import numpy as np
import pytest
from conftest import forks_with_threads

import safetensors
from safetensors import SafetensorError, TensorMeta, _safe_open_handle, safe_open

BACKENDS = ["mmap", "pread", "direct", "auto"]
A = np.arange(50, dtype="float32").reshape(10, 5)
B = np.arange(6, dtype="int64").reshape(2, 3)


@pytest.fixture
def path(model):
    return model({"b": B, "a": A, "é": np.float16(1.5)}, {"format": "np", "é": "ü"})


@pytest.fixture(params=BACKENDS)
def backend(request):
    return request.param


def test_what_is_in_a_file(path, backend):
    with safe_open(path, framework="np", backend=backend) as f:
        assert f.keys() == ["a", "b", "é"]
        assert f.offset_keys() == ["b", "a", "é"]
        assert f.metadata() == {"format": "np", "é": "ü"}
        assert f.metadata() is not f.metadata()
        np.testing.assert_array_equal(f.get_tensor("a"), A)
        np.testing.assert_array_equal(f.get_tensor(name="b"), B)
        assert f.get_tensor("é").shape == ()
        everything = f.get_tensors()
        assert list(everything) == ["b", "a", "é"]
        np.testing.assert_array_equal(everything["a"], A)


def test_as_a_mapping(path):
    with safe_open(path, "np") as f:
        assert len(f) == 3
        assert list(f) == ["a", "b", "é"]
        assert "a" in f and "é" in f
        assert "z" not in f and 1 not in f and None not in f and "\ud800" not in f
        np.testing.assert_array_equal(f["b"], B)
        assert f.get_dtype("b") == "I64" and f.get_shape("a") == [10, 5]
        assert f.get_dtype(name="é") == "F16" and f.get_shape(name="é") == []
        with pytest.raises(SafetensorError, match="^File does not contain tensor zz$"):
            f["zz"]


def test_some_tensors(path):
    with safe_open(path, "np") as f:
        assert list(f.get_tensors(["a", "b"])) == ["b", "a"]
        assert list(f.get_tensors(names={"a": 1})) == ["a"]
        assert f.get_tensors([]) == {}
        with pytest.raises(SafetensorError, match="^File does not contain tensor zz$"):
            f.get_tensors(["a", "zz"])
        with pytest.raises(TypeError, match="not one str"):
            f.get_tensors("ab")
        with pytest.raises(TypeError):
            f.get_tensors(3)


def test_metadata_absent_null_and_empty(model, tmp_path):
    with safe_open(model({"a": A}), "np") as f:
        assert f.metadata() is None
    with safe_open(model({"a": A}, {}), "np") as f:
        assert f.metadata() == {}
    text = b'{"__metadata__":null}   '
    (tmp_path / "null").write_bytes(struct.pack("<Q", len(text)) + text)
    with safe_open(tmp_path / "null", "np") as f:
        assert f.metadata() is None and f.keys() == [] and len(f) == 0 and f.get_tensors() == {}


def test_unknown_names(path):
    with safe_open(path, "np") as f:
        for get in (f.get_tensor, f.get_slice, f.get_tensor_meta, f.get_dtype, f.get_shape):
            with pytest.raises(SafetensorError, match="^File does not contain tensor zz$"):
                get("zz")
            with pytest.raises(TypeError, match="'int' object is not an instance of 'str'"):
                get(1)
            with pytest.raises(TypeError):
                get()
            with pytest.raises(TypeError):
                get("a", "b")
            with pytest.raises(TypeError):
                get("a", name="b")
            with pytest.raises(TypeError, match="unexpected keyword"):
                get("a", nonsense=1)
            with pytest.raises(UnicodeEncodeError):
                get("\ud800")


def test_names_in_code_point_order(model):
    names = ["", "Z", "a", "a10", "a2", "b", "é", "ｱ", "😀", "a\0b"]
    with safe_open(model({n: np.uint8(i) for i, n in enumerate(reversed(names))}), "np") as f:
        assert f.keys() == sorted(names)
        assert f.offset_keys() == names[::-1]
        assert int(f["a\0b"]) == 0 and int(f[""]) == len(names) - 1


def test_many_names(model):
    """More than what is sorted without letting other threads run, in two runs as dtypes make them."""
    names = [f"model.layers.{i}.weight" for i in range(3000)]
    tensors = {n: np.uint8(1) for n in sorted(names[::2])} | {n: np.int8(1) for n in sorted(names[1::2])}
    with safe_open(model(tensors), "np") as f:
        assert f.keys() == sorted(names)
        assert f.offset_keys() == list(tensors)
        assert list(f) == f.keys()


# ------------------------------------------------------------------------------------------ TensorMeta


def test_tensor_meta(path):
    with safe_open(path, "np") as f:
        meta = f.get_tensor_meta("a")
    assert isinstance(meta, TensorMeta)
    assert meta.dtype == "F32" and meta.shape == [10, 5] and meta.data_offsets == (48, 248)
    assert repr(meta) == 'TensorMeta { dtype: "F32", shape: [10, 5], data_offsets: (48, 248) }'
    assert meta == meta and meta != f
    for attribute in ("dtype", "shape", "data_offsets", "other"):
        with pytest.raises(AttributeError):
            setattr(meta, attribute, 1)
    with pytest.raises(TypeError, match="cannot create 'safetensors.TensorMeta' instances"):
        TensorMeta()


def test_huge_dimensions_are_described(model):
    with safe_open(model({"a": ("F32", [0, 2**64 - 1], b"")}), "np") as f:
        assert f.get_shape("a") == [0, 2**64 - 1]
        assert f.get_slice("a").get_shape() == [0, 2**64 - 1]
        assert f.get_tensor_meta("a").shape == [0, 2**64 - 1]


# ---------------------------------------------------------------------------------------------- closing


def test_closed(path, backend):
    f = safe_open(path, "np", backend=backend)
    assert not f.closed
    part, meta = f.get_slice("a"), f.get_tensor_meta("a")
    array = f.get_tensor("a")
    with f as same:
        assert same is f
    assert f.closed
    for call in (
        f.keys,
        f.offset_keys,
        f.metadata,
        f.get_tensors,
        f.prefetch,
        lambda: f.get_tensor("a"),
        lambda: f.get_slice("a"),
        lambda: f.get_tensor_meta("a"),
        lambda: f.get_dtype("a"),
        lambda: f.get_shape("a"),
        lambda: f["a"],
        lambda: "a" in f,
        lambda: len(f),
        lambda: list(f),
    ):
        with pytest.raises(SafetensorError, match="^File is closed$"):
            call()
    f.close()
    assert f.__enter__() is f
    assert f.__exit__(None, None, None) is None
    assert f.__exit__() is None
    path.write_bytes(b"something else")
    np.testing.assert_array_equal(array.shape, A.shape)
    assert part.get_shape() == [10, 5] and part.get_dtype() == "F32" and meta.dtype == "F32"


def test_what_came_from_a_closed_file_stays_valid(path, backend):
    with safe_open(path, "np", backend=backend) as f:
        part, array = f.get_slice("a"), f.get_tensor("a")
    del f
    gc.collect()
    np.testing.assert_array_equal(part[1:3], A[1:3])
    np.testing.assert_array_equal(array, A)


def test_exceptions_leave_the_block(path):
    with pytest.raises(KeyError):
        with safe_open(path, "np"):
            raise KeyError("x")


def test_descriptors_are_given_back(path):
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        with safe_open(path, "np") as f:
            f.get_tensors()
        with pytest.raises(SafetensorError):
            safe_open(path, "nonsense")
    del f
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before


# ------------------------------------------------------------------------------------ what can be opened


def test_paths(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in (path, str(path), path.name, os.path.join(".", path.name)):
        with safe_open(name, "np") as f:
            np.testing.assert_array_equal(f["a"], A)


def test_a_name_that_is_not_utf8(path, backend):
    name = os.fsdecode(os.fsencode(path) + b"\xff")
    os.rename(path, name)
    with safe_open(name, "np", backend=backend) as f:
        np.testing.assert_array_equal(f["a"], A)


def test_file_objects(path, model_bytes):
    with open(path, "rb") as file:
        file.seek(17)
        for source in (file, file.raw):
            with safe_open(source, "np") as f:
                np.testing.assert_array_equal(f["a"], A)
        assert file.tell() == 17 and not file.closed
    with open(path) as text, safe_open(text, "np") as f:
        np.testing.assert_array_equal(f["a"], A)
    content = path.read_bytes()
    memory = io.BytesIO(content)
    memory.seek(5)
    with safe_open(memory, "np") as f:
        f["a"][:] = 0
        np.testing.assert_array_equal(f["a"], A)
        assert memory.tell() == 5
    assert memory.getvalue() == content


def test_a_file_that_was_just_written(model_bytes):
    with tempfile.TemporaryFile() as file:
        file.write(model_bytes({"a": A}))
        with safe_open(file, "np") as f:
            np.testing.assert_array_equal(f["a"], A)


class Flushing:
    """A file of a descriptor, and what comes with it."""

    def __init__(self, file, **members):
        self.fileno = file.fileno
        vars(self).update(members)


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), ValueError("flush"), KeyboardInterrupt()], ids=repr)
def test_what_cannot_be_flushed_is_not_opened(path, error):
    """Its descriptor would lead to bytes that are not the file's."""

    def flush():
        raise error

    with open(path, "rb") as file:
        with pytest.raises(type(error)) as caught:
            safe_open(Flushing(file, flush=flush), "np")
        assert caught.value is error
        with safe_open(Flushing(file), "np") as f:
            np.testing.assert_array_equal(f["a"], A)


class Interrupting:
    """A file object of which one member raises an exception."""

    def __init__(self, content, member, error):
        self.content = io.BytesIO(content)
        self.member, self.error = member, error

    def __getattr__(self, name):
        if name == self.member:
            raise self.error
        if name in ("read", "seek", "tell"):
            return getattr(self.content, name)
        raise AttributeError(name)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), MemoryError("hook")], ids=repr)
@pytest.mark.parametrize("member", ["fileno", "__fspath__", "name", "tell", "seek"])
def test_what_says_nothing_of_the_file_is_raised(path, member, error):
    content = path.read_bytes()
    with pytest.raises(type(error)) as caught:
        safe_open(Interrupting(content, member, error), "np")
    assert caught.value is error
    with safe_open(Interrupting(content, member, OSError("not this one")), "np") as f:
        np.testing.assert_array_equal(f["a"], A)


def test_torch_from_what_cannot_be_mapped(path):
    """Read instead: each tensor has memory of its own."""
    torch = pytest.importorskip("torch")
    with safe_open(io.BytesIO(path.read_bytes()), "pt") as f:
        first = f.get_tensor("a")
        first[:] = 7
        assert torch.equal(f.get_tensor("a"), torch.tensor(A))
        assert torch.equal(f.get_slice("a")[2:4, ::-2], torch.tensor(A)[2:4, [4, 2, 0]])
        assert list(f.get_tensors()) == ["b", "a", "é"]


class Unseekable:
    def __init__(self, content):
        self.read = io.BytesIO(content).read


def test_file_objects_of_other_kinds(path, backend):
    with safe_open(Unseekable(path.read_bytes()), "np", backend=backend) as f:
        np.testing.assert_array_equal(f["b"], B)
        np.testing.assert_array_equal(f.get_slice("b")[1, ::2], B[1, ::2])
    with pytest.raises(TypeError, match="open it in binary mode"):
        safe_open(io.StringIO("text"), "np")
    fails = Unseekable(b"")
    fails.read = lambda: 1 / 0
    with pytest.raises(ZeroDivisionError):
        safe_open(fails, "np")
    fails.read = lambda: 3
    with pytest.raises(TypeError):
        safe_open(fails, "np")


@pytest.mark.parametrize("module", ["gzip", "bz2", "lzma"])
def test_files_that_unpack(path, tmp_path, module):
    """Their descriptors give the packed bytes: read() is what counts."""
    packer = pytest.importorskip(module)
    with packer.open(tmp_path / "packed", "wb") as file:
        file.write(path.read_bytes())
    with packer.open(tmp_path / "packed", "rb") as file, safe_open(file, "np") as f:
        np.testing.assert_array_equal(f["a"], A)


def test_handles(path, backend):
    with open(path, "rb") as file, _safe_open_handle(file, framework="np", backend=backend) as f:
        np.testing.assert_array_equal(f.get_tensor("a"), A)
        assert f.keys() == ["a", "b", "é"]
    with open(path) as text, _safe_open_handle(f=text, framework="np", device="cpu") as f:
        np.testing.assert_array_equal(f["a"], A)
    with _safe_open_handle(io.BytesIO(path.read_bytes()), "np") as f:
        np.testing.assert_array_equal(f["a"], A)
    fd = os.open(path, os.O_RDONLY)
    f = _safe_open_handle(fd, "np", backend=backend)
    os.close(fd)
    np.testing.assert_array_equal(f["a"], A)
    with pytest.raises(OSError, match="Bad file descriptor"):
        _safe_open_handle(fd, "np")


def test_a_handle_of_an_unlinked_file(path, backend):
    with open(path, "rb") as file:
        path.unlink()
        with _safe_open_handle(file, "np", backend=backend) as f:
            np.testing.assert_array_equal(f["a"], A)


def test_fsspec(path):
    fsspec = pytest.importorskip("fsspec")
    with fsspec.filesystem("file").open(str(path), "rb") as file, _safe_open_handle(file, "np") as f:
        np.testing.assert_array_equal(f["a"], A)
    memory = fsspec.filesystem("memory")
    memory.pipe("/model", path.read_bytes())
    with memory.open("/model", "rb") as file, safe_open(file, "np") as f:
        np.testing.assert_array_equal(f["b"], B)


@pytest.mark.parametrize("source", [None, True, b"model.safetensors", [], 1.5])
def test_sources_that_are_none(source):
    with pytest.raises(TypeError) as caught:
        safe_open(source, "np")
    assert str(caught.value) == (
        f"argument 'filename': '{type(source).__name__}' object is not a str, an os.PathLike, a file object or a"
        " file's bytes"
    )


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_contents_as_source(path, kind, backend):
    with safe_open(kind(path.read_bytes()), "np", backend=backend) as f:
        np.testing.assert_array_equal(f["a"], A)


def test_a_descriptor_as_source(path):
    with open(path, "rb") as file, safe_open(file.fileno(), "np") as f:
        np.testing.assert_array_equal(f["a"], A)
    with pytest.raises(OSError):
        safe_open(10**6, "np")


def test_truth(path, tmp_path):
    """Upstream's objects are true whatever is in them; what has a length would be false when that is 0."""
    (tmp_path / "none").write_bytes(b"\x08\0\0\0\0\0\0\0{}      ")
    with safe_open(tmp_path / "none", "np") as f:
        assert f and len(f) == 0
    assert f
    with safe_open(path, "np") as f:
        assert all(f.get_slice(name) for name in f)


def test_a_missing_tensor_is_a_missing_key(path):
    with safe_open(path, "np") as f:
        for look in (f.__getitem__, f.get_tensor, f.get_slice, f.get_shape):
            with pytest.raises(KeyError) as caught:
                look("zz")
            assert isinstance(caught.value, SafetensorError)
            assert str(caught.value) == "File does not contain tensor zz"


def test_a_mapped_file_as_source(path):
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        with safe_open(mapped, "np") as f:
            np.testing.assert_array_equal(f["a"], A)


# ------------------------------------------------------------------------------------------- the types


@pytest.mark.parametrize("type_", [safe_open, _safe_open_handle])
def test_types(type_, path):
    assert type_.__module__ == "safetensors"
    with pytest.raises(TypeError, match="not an acceptable base type"):
        type("Sub", (type_,), {})
    with open(path, "rb") as file, type_(file, "np") as f:
        with pytest.raises(AttributeError):
            f.attribute = 1
        for refused in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TypeError, match="cannot pickle"):
                refused(f)
        assert repr(f).startswith(f"<safetensors.{type_.__name__} object at 0x")
        with pytest.raises(TypeError, match="cannot pickle"):
            pickle.dumps(f.get_slice("a"))
    with pytest.raises(TypeError):
        type_.new = 1
    with pytest.raises(TypeError):
        type_()
    with pytest.raises(TypeError):
        type_(path, "np", "cpu", "mmap")
    with pytest.raises(TypeError):
        type_(path, "np", nonsense=1)


def test_signatures():
    beyond = ", *, backend=..., packed=False)"
    assert safe_open.__text_signature__ == "(filename, framework, device=..." + beyond
    assert _safe_open_handle.__text_signature__ == "(f, framework, device=..." + beyond
    for type_ in (safe_open, _safe_open_handle, safetensors.PySafeSlice):
        for name, member in vars(type_).items():
            if callable(member) and not name.startswith("__"):
                assert inspect.signature(member) and member.__doc__, name
    assert str(inspect.signature(safe_open.prefetch)) == "(self, /, plan=None, *, device=None, threads=8)"
    assert str(inspect.signature(safe_open.get_tensor_meta)) == "(self, /, name)"


# --------------------------------------------------------------------------------- files that change


def test_a_file_cut_off_after_it_was_opened(model):
    """With the pread backend that is an exception, and not a signal."""
    path = model({"a": np.zeros(1 << 20, "uint8"), "b": np.ones(1 << 20, "uint8")})
    with safe_open(path, "np", backend="pread") as f:
        os.truncate(path, (1 << 20) + 4096)
        with pytest.raises(SafetensorError, match='tensor "b": .*(cut off|its size went)'):
            f.get_tensor("b")
        with pytest.raises(SafetensorError, match='tensor "b": .*(cut off|its size went)'):
            f.get_slice("b")[-5:]


@pytest.mark.parametrize("framework", ["np", "pt"])
def test_a_file_cut_off_amid_small_tensors(model, framework):
    """Many are read in one go; it is one of them that cannot be."""
    if framework == "pt":
        pytest.importorskip("torch")
    tensors = {f"x{i}": np.full(1000, i, "uint8") for i in range(10)}
    path = model(tensors)
    with safe_open(path, framework, backend="pread") as f:
        os.truncate(path, os.path.getsize(path) - 2500)
        with pytest.raises(SafetensorError, match='tensor "x0": its size went from') as alone:
            f.get_tensor("x0")
        with pytest.raises(SafetensorError) as caught:
            f.get_tensors()
        assert str(caught.value) == str(alone.value)
        with pytest.raises(SafetensorError, match='tensor "x8": '):
            f.get_tensors(["x8", "x9"])


def test_a_file_cut_off_before_it_is_mapped(model):
    path = model({"a": np.zeros(1 << 20, "uint8")})
    with safe_open(path, "np") as f:
        os.truncate(path, 4096)
        with pytest.raises(SafetensorError, match='tensor "a": .*(cut off|its size went)'):
            f.get_tensor("a")


def test_a_file_replaced_after_it_was_opened(model, tmp_path, backend):
    path = model({"a": A})
    with safe_open(path, "np", backend=backend) as f:
        other = model({"a": A + 1}, name="other")
        os.replace(other, path)
        np.testing.assert_array_equal(f["a"], A)


WITHOUT_MAPPING = """
import ctypes, resource, sys
import numpy as np
from safetensors import safe_open
fd = __import__("os").open(sys.argv[1], 0)
f = safe_open(sys.argv[1], "np")
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (64 << 20), -1))
part = f.get_slice("tail")[:]
array = f.get_tensor("tail")
assert array.tolist() == part.tolist() == list(range(8)), (array, part)
assert "tail" not in open("/proc/self/maps").read() and sys.argv[1] not in open("/proc/self/maps").read()
"""


def test_reads_where_mapping_is_refused(tmp_path):
    """A sparse file larger than the address space that is left."""
    size = 1 << 32
    header = json.dumps(
        {
            "big": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]},
            "tail": {"dtype": "U8", "shape": [8], "data_offsets": [size, size + 8]},
        }
    ).encode()
    path = tmp_path / "big.safetensors"
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        file.seek(size, os.SEEK_CUR)
        file.write(bytes(range(8)))
    subprocess.run([sys.executable, "-c", WITHOUT_MAPPING, path], check=True)


def test_pread_never_maps(path):
    maps = Path("/proc/self/maps")
    with safe_open(path, "np", backend="pread") as f:
        f.get_tensors()
        f.get_slice("a")[::2]
        assert str(path) not in maps.read_text()
    with safe_open(path, "np") as f:
        f.get_tensors()
        assert str(path) in maps.read_text()


# ----------------------------------------------------------------------------------- threads and fork


def in_threads(count, work):
    """Runs `work(number)` in that many threads at once; gives what they raised."""
    failures = []
    start = threading.Barrier(count)

    def run(number):
        start.wait()
        try:
            work(number)
        except BaseException as failure:  # noqa: B902
            failures.append(failure)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return failures


@pytest.mark.parametrize("framework", ["np", "pt"])
def test_64_threads_read_from_one_handle(model, backend, framework):
    pytest.importorskip("torch" if framework == "pt" else "numpy")
    arrays = {f"t{i}": np.full((4, 4), i, "float32") for i in range(64)}
    with safe_open(model(arrays), framework, backend=backend) as f:

        def work(number):
            for i in range(number, number + 20):
                name = f"t{i % 64}"
                np.testing.assert_array_equal(f.get_tensor(name), arrays[name])
                np.testing.assert_array_equal(f.get_slice(name)[1:3, -1], arrays[name][1:3, -1])
                assert len(f.keys()) == 64 and f.offset_keys() == list(arrays)

        assert in_threads(64, work) == []


def test_threads_while_another_closes(model):
    path = model({"a": A})
    for _ in range(50):
        f = safe_open(path, "np", backend="pread")

        def work(number):
            if number == 0:
                f.close()
                return
            try:
                np.testing.assert_array_equal(f.get_tensor("a"), A)
            except SafetensorError as closed:
                assert str(closed) == "File is closed"

        assert in_threads(4, work) == []


FORKING = """
import os, signal, sys, threading
import numpy as np
from safetensors import safe_open
wanted = np.arange(50, dtype="float32").reshape(10, 5)
with safe_open(sys.argv[1], "np", backend=sys.argv[2]) as f:
    before = f.get_tensor("a")
    stop = threading.Event()
    def load():
        with safe_open(sys.argv[1], "np", backend=sys.argv[2]) as f:
            return all(np.array_equal(array, wanted) for array in (f.get_tensor("a"), f.get_tensors()["a"]))
    def read():
        while not stop.is_set():
            assert f.get_slice("a")[3, ::-1].tolist() == wanted[3, ::-1].tolist() and len(f.keys()) == 3
            assert load()
    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(20):
        child = os.fork()
        if child == 0:
            signal.alarm(60)  # what waits for a thread of the parent waits for ever
            before[:] = 7
            same = np.array_equal(f.get_slice("a")[2:4], wanted[2:4]) and np.array_equal(f.get_tensor("a"), wanted)
            os._exit(0 if same and load() and f.keys() == ["a", "b", "\u00e9"] else 2)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    stop.set()
    for thread in threads:
        thread.join()
    assert np.array_equal(before, wanted) and np.array_equal(f.get_tensor("a"), wanted)
"""


@forks_with_threads
def test_a_forked_child_reads(path, backend):
    """While other threads of the parent read and load as well, whose locks are not its own."""
    subprocess.run([sys.executable, "-c", FORKING, path, backend], check=True, timeout=300)


FORKING_SHORT = """
import os, resource, signal, sys, threading
from safetensors import safe_open
limits = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (16, limits[1]))
files = [safe_open(sys.argv[1], "np", backend="pread").__enter__()]  # from here on half of them may be open
resource.setrlimit(resource.RLIMIT_NOFILE, limits)
files += [safe_open(sys.argv[1], "np", backend="pread").__enter__() for _ in range(19)]
def right():
    return all(f.get_slice("a")[2].tolist() == [10, 11, 12, 13, 14] for f in files)
stop = threading.Event()
faults = []
def read():
    while not stop.is_set():
        if not right():
            faults.append("thread")
threads = [threading.Thread(target=read) for _ in range(4)]
for thread in threads:
    thread.start()
for _ in range(200):
    child = os.fork()
    if child == 0:
        signal.alarm(20)  # what waits for a thread of the parent waits for ever
        os._exit(0 if right() else 2)
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
        faults.append("child")
        break
stop.set()
for thread in threads:
    thread.join()
assert faults == []
"""


@forks_with_threads
def test_a_forked_child_reads_more_files_than_are_open(path):
    """What threads of the parent were opening and closing is whole in the child."""
    subprocess.run([sys.executable, "-c", FORKING_SHORT, path], check=True, timeout=300)


FORKING_AFTER = """
import gc, os, sys
import safetensors
name = "safetensors._safetensors_rust"
for _ in range(3):  # several modules, some of which are gone: in the middle, and the last one
    first = sys.modules.pop(name)
    __import__(name)
    second = sys.modules.pop(name)
    __import__(name)
    del second
    gc.collect()
    child = os.fork()
    if child == 0:
        handles = [module.safe_open(sys.argv[1], "np") for module in (first, sys.modules[name])]
        os._exit(0 if all(f.__enter__().keys() == ["a", "b", "\u00e9"] for f in handles) else 2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
del first
safetensors = sys.modules.pop(name)
del safetensors
gc.collect()
child = os.fork()
if child == 0:
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""


def test_a_fork_after_the_module_has_gone(path):
    subprocess.run([sys.executable, "-c", FORKING_AFTER, path], check=True, timeout=300)
