# SPDX-License-Identifier: Apache-2.0
"""Memory: what arrays lie in, how much of it, and what happens where there is none."""

import gc
import io
import json
import mmap
import os
import pickle
import re
import sys
import textwrap
import weakref

import numpy as np
import pytest

from conftest import counts_memory
from interpreter import run
from safetensors import safe_open
from safetensors import _safetensors_rust as extension
from safetensors.numpy import load_files

A = np.arange(12, dtype="float32").reshape(3, 4)


@pytest.fixture(params=["np", "pt"])
def run_limited(request):
    """Runs a program that calls `limit()` to be refused memory; the framework is there before."""
    start = run if request.param == "np" else request.getfixturevalue("run_with_torch")
    return lambda program, *arguments: start(LIMIT + textwrap.dedent(program), *arguments, request.param)


LIMIT = """
import gc, resource, sys
import numpy
from safetensors import safe_open, _safetensors_rust

def limit():
    with open("/proc/self/statm") as statm:
        used = int(statm.read().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + (16 << 20), before[1]))
    return before
"""


def test_the_type(model):
    with safe_open(model({"a": A}), "np") as f:
        memory = f.get_tensor("a").base
    kind = type(memory)
    assert kind.__name__ == "_Memory" and kind.__module__ == "safetensors"
    with pytest.raises(TypeError, match="cannot create"):
        kind()
    with pytest.raises(TypeError):
        type("Sub", (kind,), {})
    with pytest.raises(TypeError):
        kind.anything = 1
    with pytest.raises(TypeError):
        pickle.dumps(memory)
    view = memoryview(memory)
    assert view.format == "B" and view.ndim == 1 and view.c_contiguous and not view.readonly
    with pytest.raises(TypeError):
        weakref.ref(memory)


@pytest.mark.parametrize("backend", ["mmap", "pread"])
def test_what_is_read_is_aligned(model, backend):
    tensors = {str(i): np.arange(i, dtype="uint8") for i in (1, 63, 1000)} | {
        "large": np.arange(3 << 20, dtype="uint8")
    }
    with safe_open(model(tensors), "np", backend="pread") as f:
        for name, wanted in tensors.items():
            array = f.get_tensor(name)
            assert array.__array_interface__["data"][0] % 64 == 0
            np.testing.assert_array_equal(array, wanted)
        # Memory of huge pages starts at one.
        assert f.get_tensor("large").__array_interface__["data"][0] % (2 << 20) == 0


def sparse_file(path, code="U8", **sizes):
    """A file of tensors of so many bytes, all 0 but for the last one's last, which is 7; it takes no room."""
    header, end = {}, 0
    for name, size in sizes.items():
        header[name] = {"dtype": code, "shape": [size * 2 if code == "F4" else size], "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text)
    with open(path, "r+b") as f:
        f.seek(8 + len(text) + end - 1)
        f.write(b"\x07")
    return path


def overcommit():
    try:
        with open("/proc/sys/vm/overcommit_memory") as f:
            return f.read().strip()
    except OSError:
        return ""


@counts_memory
@pytest.mark.skipif(overcommit() not in ("0", "1"), reason="this system reserves memory for private mappings")
@pytest.mark.parametrize("framework", ["np", "pt"])
def test_a_file_larger_than_memory(tmp_path, framework):
    """Private mappings reserve nothing: upstream's fails at a file larger than memory and swap."""
    if framework == "pt":
        pytest.importorskip("torch")
    size = 1 << 40
    with safe_open(sparse_file(tmp_path / "huge.safetensors", t=size), framework) as f:
        tensor = f.get_tensor("t")
        assert tensor.shape == (size,) and int(tensor[-1]) == 7 and int(tensor[size // 2]) == 0
        tensor[5] = 3
        assert int(tensor[5]) == 3
        assert int(f.get_tensors()["t"][-1]) == 7


TEXTS = {
    "get_tensor": "tensor 'large': out of memory for its 67108864 bytes",
    "get_tensors": "tensor 'large': out of memory for its 67108864 bytes",
    "part": "tensor 'large': out of memory for its 67108863 bytes",
    "out": "tensor 'large': out of memory for its 67108864 bytes",
    "array": "tensor 'large': out of memory for its 67108864 bytes",
    "prefetch": "tensor 'large': out of memory for its 67108864 bytes",
    "load": "out of memory: 67109058 bytes",
}


@counts_memory
@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_AS")
@pytest.mark.parametrize("how", TEXTS)
def test_no_memory_is_a_memory_error(tmp_path, run_limited, how):
    out = run_limited(
        """
        path, how, framework = sys.argv[1:]
        data = bytearray(open(path, "rb").read()) if how == "load" else None
        f = safe_open(path, framework, backend="pread")
        small = f.get_tensor("small")
        out = None
        if how == "out":
            out = (numpy if framework == "np" else sys.modules["torch"]).zeros(128 << 20, dtype=small.dtype)[::2]
        before = limit()
        def attempt():
            if how == "get_tensor":
                f.get_tensor("large")
            elif how == "get_tensors":
                f.get_tensors()
            elif how == "part":
                f.get_slice("large")[1:]
            elif how == "out":
                f.get_tensor("large", out=out)
            elif how == "prefetch":
                (result,) = _safetensors_rust._read_many(f.get_slice("large")._file, ["large"], [None])
                if isinstance(result, MemoryError):
                    raise result
            elif how == "array":
                f.get_slice("large").__array__()
            else:
                _safetensors_rust._load(data, framework, copy=True)
        for enabled in (True, False):
            gc.enable() if enabled else gc.disable()
            try:
                attempt()
            except MemoryError as error:
                print(error, gc.isenabled() == enabled)
        resource.setrlimit(resource.RLIMIT_AS, before)
        attempt()
        print(int(small.sum()))
        """,
        sparse_file(tmp_path / "model.safetensors", large=64 << 20, small=2),
        how,
    )
    assert out == [f"{TEXTS[how]} True"] * 2 + ["7"]


@counts_memory
@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_AS")
def test_no_memory_to_unpack_into(tmp_path):
    pytest.importorskip("ml_dtypes")
    out = run(
        LIMIT + textwrap.dedent("""
        f = safe_open(sys.argv[1], "np")
        f.get_tensor("small"), f.get_tensor("four")
        limit()
        try:
            f.get_tensor("large")
        except MemoryError as error:
            print(error)
        """),
        sparse_file(tmp_path / "model.safetensors", code="F4", large=64 << 20, four=1, small=2),
    )
    assert out == ["tensor 'large': out of memory for its 134217728 bytes"]


@counts_memory
@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_AS")
def test_the_librarys_own_memory(tmp_path):
    """It tells how much it asked for."""
    path = tmp_path / "model.safetensors"
    text = b'{"__metadata__":{"k":"%s"}}' % (b"x\\n" * (20 << 20))
    path.write_bytes(len(text).to_bytes(8, "little") + text)
    out = run(
        LIMIT + textwrap.dedent("""
        limit()
        try:
            safe_open(sys.argv[1], "np")
        except MemoryError as error:
            print(error)
        """),
        path,
    )
    assert len(out) == 1 and re.search("out of memory: [0-9]{8,} bytes", out[0])


@counts_memory
@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_AS")
def test_what_cannot_be_mapped_is_read(tmp_path, run_limited):
    out = run_limited(
        """
        path, framework = sys.argv[1:]
        with safe_open(path, framework, backend="pread") as f:
            f.get_tensor("small")
        f = safe_open(path, framework)
        limit()
        tensor = f.get_tensor("small")
        tensor[0] = 9
        print(f.get_tensor("small").tolist(), f.get_tensors(["small"])["small"].tolist())
        with open("/proc/self/maps") as maps:
            print(sum(line.rstrip().endswith(path) for line in maps))
        """,
        sparse_file(tmp_path / "model.safetensors", large=64 << 20, small=2),
    )
    assert out == ["[0, 7] [0, 7]", "0"]


@counts_memory
@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_AS")
def test_a_second_mapping_that_is_refused_is_a_copy(tmp_path):
    path = sparse_file(tmp_path / "model.safetensors", rest=64 << 20, large=4 << 20)
    out = run(
        LIMIT + textwrap.dedent("""
        f = safe_open(sys.argv[1], "np")
        first = f.get_tensor("large")
        limit()
        first[:] = 1
        second = f.get_tensor("large")
        print(second[-3:].tolist(), first[-3:].tolist(), second.base is first.base)
        """),
        path,
    )
    assert out == ["[0, 0, 7] [1, 1, 1] False"]


def raised_of(results):
    for result in results:
        if isinstance(result, Exception):
            raise result


def operations(path):
    """What allocates, as functions, with the number of mappings of the file that each leaves."""
    content = path.read_bytes()
    with safe_open(path, "np") as f:
        yield f.get_tensors, 1
        part = f.get_slice("a")
        yield lambda: part[1:2], 1
        yield part.__dlpack__, 1
        out = np.zeros((3, 4), "float32")
        yield lambda: f.get_tensor("a", out=out), 1
        yield lambda: f.get_tensors(["f4", "a"]), 1
    del f, part
    with safe_open(path, "np", backend="pread") as f:
        yield f.get_tensors, 0
        yield lambda: f.get_tensor("bf"), 0
        yield f.metadata, 0
        file = f.get_slice("a")._file
        yield lambda: raised_of(extension._read_many(file, ["a", "b"], [None, slice(1)])), 0
    for backend in ("direct", "auto"):
        with safe_open(path, "np", backend=backend) as f:
            yield f.get_tensors, 0
    yield lambda: load_files([str(path)], backend="pread"), 0
    yield lambda: safe_open(str(path), "np"), 0
    yield lambda: safe_open(io.BytesIO(content), "np"), 0
    yield lambda: extension._check(content + b"x", False), 0
    yield lambda: extension._load(content, "np"), 0
    yield lambda: extension._load(bytearray(content), "np"), 0
    yield lambda: extension._load(content, "np", packed=True), 0


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_every_allocation_of_pythons_may_fail(model):
    hooks = pytest.importorskip("_testcapi")
    pytest.importorskip("ml_dtypes")
    path = model(
        {"a": A, "b": np.int16([1, 2, 3]), "f4": ("F4", [4], b"ab"), "bf": ("BF16", [2], b"abcd")}, {"key": "value"}
    )
    for operation, mapped in operations(path):
        operation()
        failed = 0
        for n in range(200):
            hooks.set_nomemory(n, n + 1)
            try:
                operation()
            except MemoryError:
                failed += 1
            finally:
                hooks.remove_mem_hooks()
            assert gc.isenabled()
        assert failed
        with open("/proc/self/maps") as maps:
            assert sum(line.rstrip().endswith(str(path)) for line in maps) == mapped
        operation()


def resident_kib():
    with open("/proc/self/status") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("VmRSS"))


@counts_memory
@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
@pytest.mark.parametrize("framework", ["np", "pt"])
@pytest.mark.parametrize("backend", ["mmap", "pread", "direct", "auto"])
def test_nothing_is_kept_over_many_loads(model, framework, backend):
    if framework == "pt":
        pytest.importorskip("torch")
    path = model({"a": np.ones(1 << 20, "float32"), "b": A, "f4": ("F4", [64], bytes(32))})
    content = path.read_bytes()

    def load():
        with safe_open(path, framework, backend=backend) as f:
            f.get_tensors(), f.get_tensor("a"), f.get_tensor("a"), f.get_slice("a")[1:]
        extension._load(content, framework)
        extension._load(bytearray(content), framework)
        extension.deserialize(content)

    for _ in range(3):
        load()
    gc.collect()
    before = resident_kib()
    for _ in range(50):
        load()
    gc.collect()
    # 50 times 4 MiB would show.
    assert resident_kib() - before < 40 << 10


@counts_memory
@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_a_view_of_a_large_file_takes_no_memory(tmp_path):
    path = sparse_file(tmp_path / "large.safetensors", t=1 << 30)
    before = resident_kib()
    with safe_open(path, "np") as f:
        array = f.get_tensor("t")
    assert resident_kib() - before < 20 << 10
    assert array[-1] == 7


@pytest.mark.parametrize("kind", [bytearray, memoryview, mmap.mmap, np.ndarray])
def test_writable_memory_is_seen_and_held(model_bytes, kind):
    content = model_bytes({"a": A})
    if kind is mmap.mmap:
        data = mmap.mmap(-1, len(content))
        data[:] = content
    elif kind is np.ndarray:
        data = np.frombuffer(bytearray(content), "uint8")
    else:
        data = kind(bytearray(content))
    array = extension._load(data, "np")["a"]
    assert array.flags.writeable
    array[0, 0] = 42
    assert bytes(data)[-A.nbytes :][:4] == np.float32(42).tobytes()
    if kind is mmap.mmap:
        with pytest.raises(BufferError):
            data.close()
        del array
        data.close()
    elif kind is bytearray:
        with pytest.raises(BufferError):
            data.clear()
        del array
        data.clear()


def test_the_last_reference_may_go_with_an_exception_on_its_way(model_bytes):
    class Data(bytearray):
        pass

    data = Data(model_bytes({"a": A}))
    gone = weakref.ref(data)
    try:
        kept = extension._load(data, "np")
        del data
        gc.collect()
        assert gone() is not None
        try:
            raise KeyError("first")
        finally:
            del kept
    except KeyError as error:
        assert error.args == ("first",)
    assert gone() is None


def test_nothing_to_read_is_not_read(model, tmp_path):
    path = model({"empty": np.zeros((0, 3), "float32")})
    assert os.path.getsize(path) % 8 == 0
    for backend in ("mmap", "pread", "direct", "auto"):
        with safe_open(path, "np", backend=backend) as f:
            assert f.get_tensors()["empty"].shape == (0, 3) and f.get_tensor("empty").shape == (0, 3)
