# SPDX-License-Identifier: Apache-2.0
"""serialize, serialize_file, TensorSpec, and what every way of saving has in common: targets, errors, order."""

import gc
import inspect
import io
import os
import pickle
import re
import stat
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from written import written

import safetensors.numpy
from safetensors import SafetensorError, TensorSpec, safe_open, serialize, serialize_file
from safetensors._safetensors_rust import _save, _Writer

A = np.arange(6, dtype="float32").reshape(2, 3)
B = np.array([7, -8], dtype="int64")


def spec_of(array):
    return TensorSpec(dtype=array.dtype.name, shape=array.shape, data_ptr=array.ctypes.data, data_len=array.nbytes)


SPECS = {"a": spec_of(A), "b": spec_of(B)}


# -------------------------------------------------------------------------------------------- TensorSpec


def test_spec_says_what_it_was_given():
    spec = TensorSpec(dtype="float32", shape=(2, 3), data_ptr=12, data_len=24)
    assert (spec.dtype, spec.shape, spec.data_ptr, spec.data_len) == ("F32", [2, 3], 12, 24)
    assert spec.shape is not spec.shape
    assert repr(spec) == "TensorSpec(dtype='F32', shape=[2, 3], data_ptr=12, data_len=24)"
    assert inspect.signature(TensorSpec).parameters.keys() == {"dtype", "shape", "data_ptr", "data_len"}


def test_spec_of_f4_counts_elements():
    spec = TensorSpec(dtype="float4_e2m1fn_x2", shape=[2, 3], data_ptr=12, data_len=6)
    assert repr(spec) == "TensorSpec(dtype='F4', shape=[2, 6], data_ptr=12, data_len=6)"
    assert TensorSpec(dtype="float4_e2m1fn_x2", shape=[], data_ptr=1, data_len=1).shape == []
    assert TensorSpec(dtype="float4_e2m1fn_x2", shape=[2**63 - 1], data_ptr=1, data_len=1).shape == [2**64 - 2]
    with pytest.raises(SafetensorError, match="too many"):
        TensorSpec(dtype="float4_e2m1fn_x2", shape=[2**63], data_ptr=1, data_len=1)


@pytest.mark.parametrize(
    "name",
    "bool int8 uint8 int16 uint16 int32 uint32 int64 uint64 float16 bfloat16 float32 float64 complex64 float8_e4m3fn "
    "float8_e5m2 float8_e8m0fnu float8_e4m3fnuz float8_e5m2fnuz float4_e2m1fn_x2".split(),
)
def test_spec_takes_every_name(name):
    assert TensorSpec(dtype=name, shape=[1], data_ptr=1, data_len=1).dtype.isupper()


@pytest.mark.parametrize("name", ["nonsense", "F32", "float6_e2m3fn", "", "Float32", "float4_e2m1fn"])
def test_spec_refuses_other_names(name):
    with pytest.raises(SafetensorError) as raised:
        TensorSpec(dtype=name, shape=[1], data_ptr=1, data_len=1)
    assert str(raised.value).startswith(f'Unknown dtype "{name}". Supported dtypes: bool, ')
    assert str(raised.value).count(",") == 19


@pytest.mark.parametrize(
    "shape, given",
    [
        ([2, 3], [2, 3]),
        ((2, 3), [2, 3]),
        (range(3), [0, 1, 2]),
        (b"\x02\x03", [2, 3]),
        (np.array([2, 3]), [2, 3]),
        ([True, np.int8(3)], [1, 3]),
        ([2**64 - 1, 0], [2**64 - 1, 0]),
        ([], []),
    ],
)
def test_spec_shapes(shape, given):
    assert TensorSpec(dtype="int8", shape=shape, data_ptr=1, data_len=1).shape == given


@pytest.mark.parametrize(
    "changed, error",
    [
        ({"dtype": 3}, TypeError),
        ({"dtype": None}, TypeError),
        ({"dtype": "\ud800"}, UnicodeEncodeError),
        ({"shape": "23"}, TypeError),
        ({"shape": 3}, TypeError),
        ({"shape": (i for i in range(3))}, TypeError),
        ({"shape": {2: 3}}, TypeError),
        ({"shape": np.ones((2, 2), dtype=int)}, TypeError),
        ({"shape": [1.0]}, TypeError),
        ({"shape": ["1"]}, TypeError),
        ({"shape": [-1]}, OverflowError),
        ({"shape": [2**64]}, OverflowError),
        ({"data_ptr": -1}, OverflowError),
        ({"data_ptr": 2**64}, OverflowError),
        ({"data_ptr": 1.0}, TypeError),
        ({"data_len": -1}, OverflowError),
        ({"data_len": 2**64}, OverflowError),
        ({"data_len": None}, TypeError),
        ({"other": 1}, TypeError),
    ],
)
def test_spec_refuses(changed, error):
    with pytest.raises(error):
        TensorSpec(**{"dtype": "int8", "shape": [1], "data_ptr": 1, "data_len": 1, **changed})


def test_spec_is_closed():
    spec = SPECS["a"]
    with pytest.raises(TypeError):
        TensorSpec("int8", [1], 1, 1)
    with pytest.raises(TypeError):
        TensorSpec(dtype="int8", shape=[1], data_ptr=1)
    with pytest.raises(AttributeError):
        spec.dtype = "F16"
    with pytest.raises(AttributeError):
        spec.other = 1
    with pytest.raises(TypeError):
        type("Sub", (TensorSpec,), {})
    with pytest.raises(TypeError, match="pickle"):
        pickle.dumps(spec)
    assert spec != spec_of(A) and spec == spec and len({spec, spec}) == 1


# ------------------------------------------------------------------------------ serialize, serialize_file


def test_serialize(tmp_path):
    expected = written({"b": B, "a": A}, {"k": "v"})
    assert serialize(SPECS, {"k": "v"}) == expected
    assert serialize(tensor_dict=SPECS, metadata={"k": "v"}) == expected
    assert serialize_file(SPECS, tmp_path / "x", {"k": "v"}) is None
    assert (tmp_path / "x").read_bytes() == expected
    assert str(inspect.signature(serialize)) == "(tensor_dict, metadata=None)"
    assert str(inspect.signature(serialize_file)) == "(tensor_dict, filename, metadata=None)"


def test_nothing_to_write():
    assert serialize({}) == b"\x08\0\0\0\0\0\0\0{}      "
    assert serialize({}, None) == serialize({})
    # Upstream's bytes for this are no JSON.
    assert serialize({}, {}) == written({}, {}) == b"\x18\0\0\0\0\0\0\0" + b'{"__metadata__":{}}     '
    assert safetensors.numpy.load(serialize({}, {})) == {}


def test_the_order_of_the_dict_does_not_matter():
    metadata = {str(i): "x" for i in range(20)}
    turned = dict(reversed(metadata.items()))
    assert serialize(SPECS, metadata) == serialize(dict(reversed(SPECS.items())), turned)


def test_a_subclass_of_dict_will_do():
    class Sub(dict):
        pass

    assert serialize(Sub(SPECS), Sub(k="v")) == written({"a": A, "b": B}, {"k": "v"})


@pytest.mark.parametrize("tensors", [None, [("a", SPECS["a"])], 3, "a"])
def test_what_is_no_dict(tensors):
    with pytest.raises(TypeError):
        serialize(tensors)


@pytest.mark.parametrize("value", [{"dtype": "float32"}, A, None, 3])
def test_values_that_are_no_specs(value, tmp_path):
    with pytest.raises(TypeError, match="'x'"):
        serialize({"a": SPECS["a"], "x": value})
    with pytest.raises(TypeError, match="'x'"):
        serialize_file({"x": value}, tmp_path / "x")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "key, error", [(1, TypeError), (b"a", TypeError), (None, TypeError), ("\ud800", UnicodeEncodeError)]
)
def test_names_that_are_no_text(key, error):
    with pytest.raises(error):
        serialize({key: SPECS["a"]})
    with pytest.raises(error):
        safetensors.numpy.save({key: A})


@pytest.mark.parametrize(
    "metadata, error",
    [
        ([], TypeError),
        ("a", TypeError),
        ({1: "a"}, TypeError),
        ({"a": 1}, TypeError),
        ({"a": None}, TypeError),
        ({"a": b"b"}, TypeError),
        ({"\ud800": "b"}, UnicodeEncodeError),
        ({"a": "\udfff"}, UnicodeEncodeError),
    ],
)
def test_metadata_that_is_no_text(metadata, error, tmp_path):
    with pytest.raises(error):
        serialize(SPECS, metadata)
    with pytest.raises(error):
        safetensors.numpy.save_file({"a": A}, tmp_path / "x", metadata)
    assert not list(tmp_path.iterdir())


def test_metadata_and_names_of_any_text():
    metadata = {'é\n"\\': "\x00\x1f\x7f/😀", "": ""}
    tensors = {"": A, "é😀": A, 'q"\\/\b': B, "nul\0": B}
    content = safetensors.numpy.save(tensors, metadata)
    loaded = safetensors.numpy.load(content)
    assert set(loaded) == set(tensors)
    np.testing.assert_array_equal(loaded["nul\0"], B)


def test_a_tensor_called_metadata(tmp_path):
    for save in (lambda: serialize({"__metadata__": SPECS["a"]}), lambda: safetensors.numpy.save({"__metadata__": A})):
        with pytest.raises(SafetensorError, match="__metadata__"):
            save()
    with pytest.raises(SafetensorError):
        safetensors.numpy.save_file({"__metadata__": A}, tmp_path / "x")
    assert not list(tmp_path.iterdir())


def test_more_bytes_than_there_can_be():
    """One that no memory has room for, and several that are more than a bytes object could count."""
    for count, size in ((1, 1 << 50), (5, (1 << 61) - 1)):
        tensors = {str(i): TensorSpec(dtype="uint8", shape=[size], data_ptr=1, data_len=size) for i in range(count)}
        with pytest.raises(MemoryError) as caught:
            serialize(tensors)
        found = re.fullmatch("out of memory: ([0-9]+) bytes", str(caught.value))
        assert found and 0 < int(found[1]) - count * size < 1000


@pytest.mark.parametrize("length, pointer", [(25, 1), (23, 1), (0, 1), (24, 0)])
def test_specs_that_do_not_fit(length, pointer, tmp_path):
    spec = TensorSpec(dtype="float32", shape=[2, 3], data_ptr=A.ctypes.data * pointer, data_len=length)
    fault = "it is given as %d" % length if pointer else "and its address is 0"
    message = f"^Error while serializing: invalid shape, data type, or offset for tensor: 'x' takes 24 bytes, {fault}$"
    with pytest.raises(SafetensorError, match=message):
        serialize({"x": spec})
    with pytest.raises(SafetensorError, match=message):
        serialize_file({"x": spec}, tmp_path / "x")
    assert not list(tmp_path.iterdir())


def test_sizes_beyond_64_bits():
    with pytest.raises(SafetensorError, match="^Error while serializing: "):
        serialize({"x": TensorSpec(dtype="uint8", shape=[2**32, 2**32], data_ptr=1, data_len=0)})
    empty = TensorSpec(dtype="uint8", shape=[0, 2**64 - 1, 2**64 - 1], data_ptr=0, data_len=0)
    assert serialize({"x": empty}) == written({"x": ("U8", [0, 2**64 - 1, 2**64 - 1], b"")})


def test_headers_beyond_the_limit(tmp_path):
    metadata = {"k": "x" * 100_000_000}
    with pytest.raises(SafetensorError, match="^Error while serializing: "):
        serialize({}, metadata)
    with pytest.raises(SafetensorError, match="100,?000,?000"):
        serialize_file({}, tmp_path / "x", metadata)
    assert not list(tmp_path.iterdir())


def test_half_a_byte():
    odd = TensorSpec(dtype="float4_e2m1fn_x2", shape=[], data_ptr=A.ctypes.data, data_len=1)
    with pytest.raises(SafetensorError, match="^Error while serializing: "):
        serialize({"x": odd})


# ------------------------------------------------------------------------------------------------- targets


@pytest.fixture(params=["numpy", "specs"])
def save_file(request):
    def specs(tensors, *args):
        return serialize_file({name: spec_of(array) for name, array in tensors.items()}, *args)

    return safetensors.numpy.save_file if request.param == "numpy" else specs


EXPECTED = written({"a": A, "b": B})


def test_paths(save_file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for path in ("plain", Path("path"), str(tmp_path / "é😀"), "not-utf-8-\udcff"):
        assert save_file({"a": A, "b": B}, path) is None
        assert Path(path).read_bytes() == EXPECTED
    assert len(list(tmp_path.iterdir())) == 4


def test_descriptors(save_file, tmp_path):
    path = tmp_path / "x"
    with open(path, "w+b", buffering=0) as f:
        f.write(b"before")
        save_file({"a": A, "b": B}, f.fileno())
        assert os.lseek(f.fileno(), 0, os.SEEK_CUR) == 6 + len(EXPECTED)
        os.write(f.fileno(), b"behind")
    assert path.read_bytes() == b"before" + EXPECTED + b"behind"


def test_file_objects(save_file, tmp_path):
    memory = io.BytesIO()
    memory.write(b"before")
    save_file({"a": A, "b": B}, memory)
    memory.write(b"behind")
    assert memory.getvalue() == b"before" + EXPECTED + b"behind"
    with open(tmp_path / "x", "w+b") as f:
        f.write(b"before")
        save_file({"a": A, "b": B}, f)
        assert f.tell() == 6 + len(EXPECTED)
        f.write(b"behind")
    assert (tmp_path / "x").read_bytes() == b"before" + EXPECTED + b"behind"
    with open(tmp_path / "y", "wb", buffering=0) as f:
        save_file({"a": A, "b": B}, f)
    assert (tmp_path / "y").read_bytes() == EXPECTED


class Sink:
    """A file object by its write() alone."""

    def __init__(self, answer=lambda size: size):
        self.parts, self.kept, self.answer = [], [], answer

    def write(self, part):
        taken = self.answer(len(part))
        if isinstance(taken, BaseException):
            raise taken
        self.parts.append(bytes(part[: len(part) if taken is None else taken]))
        return taken


def test_any_object_that_writes():
    large = {"a": A, "large": np.arange(1 << 20, dtype="int32")}
    for answer in (lambda size: size, lambda size: None, lambda size: min(size, 1000)):
        sink = Sink(answer)
        safetensors.numpy.save_file(large, sink)
        assert b"".join(sink.parts) == written(large)


def test_what_was_written_may_be_kept():
    class Keeper(Sink):
        def write(self, part):
            self.kept.append(np.frombuffer(part, dtype="uint8"))
            return len(part)

    keeper = Keeper()
    safetensors.numpy.save_file({"a": A, "b": B}, keeper)
    gc.collect()
    assert b"".join(part.tobytes() for part in keeper.kept) == EXPECTED


@pytest.mark.parametrize(
    "answer, error",
    [
        (RuntimeError("mine"), RuntimeError),
        (KeyboardInterrupt(), KeyboardInterrupt),
        (BrokenPipeError(32, "mine"), BrokenPipeError),
        ("text", TypeError),
        (1 << 40, ValueError),
        (-5, ValueError),
        (-1, ValueError),
        (0, OSError),
    ],
)
def test_objects_that_fail_to_write(answer, error):
    with pytest.raises(error):
        safetensors.numpy.save_file({"a": A}, Sink(lambda size: answer))


def test_text_files_are_refused(tmp_path):
    with pytest.raises(TypeError):
        safetensors.numpy.save_file({"a": A}, io.StringIO())


def test_a_raw_file_that_would_block():
    class Full(io.RawIOBase):
        def writable(self):
            return True

        def write(self, part):
            return None

    with pytest.raises(BlockingIOError):
        safetensors.numpy.save_file({"a": A}, Full())


@pytest.mark.parametrize("target", [None, 1.5, [], object(), {"a": 1}])
def test_what_is_no_target(save_file, target):
    with pytest.raises(TypeError):
        save_file({"a": A}, target)


# ------------------------------------------------------------------------------------- the file that is made


@pytest.fixture
def umask():
    before = os.umask(0o022)
    yield os.umask
    os.umask(before)


def mode_of(path):
    return stat.S_IMODE(os.stat(path).st_mode)


def test_a_new_file_follows_the_umask(save_file, tmp_path, umask):
    save_file({"a": A}, tmp_path / "x")
    assert mode_of(tmp_path / "x") == 0o644
    umask(0o077)
    save_file({"a": A}, tmp_path / "y")
    assert mode_of(tmp_path / "y") == 0o600


def test_a_replaced_file_hands_on_its_mode(save_file, tmp_path, umask):
    path = tmp_path / "x"
    path.write_bytes(b"old")
    path.chmod(0o640)
    save_file({"a": A}, path)
    assert mode_of(path) == 0o640 and path.read_bytes() == written({"a": A})


def test_a_symbolic_link_stays(save_file, tmp_path):
    (tmp_path / "sub").mkdir()
    target, link = tmp_path / "sub" / "x", tmp_path / "link"
    target.write_bytes(b"old")
    link.symlink_to("sub/x")
    save_file({"a": A}, link)
    assert link.is_symlink() and not target.is_symlink()
    assert target.read_bytes() == written({"a": A})
    assert list((tmp_path / "sub").iterdir()) == [target]


def test_readers_of_the_old_file_keep_it(save_file, tmp_path):
    path = tmp_path / "x"
    save_file({"a": A, "b": B}, path)
    with safe_open(path, "np") as f:
        old = f.get_tensor("a")
        # What is saved is a view of the file that it replaces.
        save_file({"a": old[::-1].copy(), "old": old}, path)
        np.testing.assert_array_equal(f.get_tensor("a"), A)
    np.testing.assert_array_equal(old, A)
    loaded = safetensors.numpy.load_file(path)
    np.testing.assert_array_equal(loaded["old"], A)
    np.testing.assert_array_equal(loaded["a"], A[::-1])


def test_durable(tmp_path):
    safetensors.numpy.save_file({"a": A, "b": B}, tmp_path / "x", durable=True)
    assert (tmp_path / "x").read_bytes() == EXPECTED


@pytest.mark.parametrize(
    "path, error, errno",
    [
        ("none/x", FileNotFoundError, 2),
        ("folder", IsADirectoryError, 21),
        ("file/x", NotADirectoryError, 20),
        ("n" * 300, OSError, 36),
        ("", FileNotFoundError, 2),
    ],
)
def test_the_systems_refusals(save_file, tmp_path, monkeypatch, path, error, errno):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(b"old")
    with pytest.raises(error) as raised:
        save_file({"a": A}, path)
    assert isinstance(raised.value, SafetensorError)
    assert raised.value.errno == errno
    assert str(raised.value).startswith("Error while serializing: ")
    again = pickle.loads(pickle.dumps(raised.value))
    assert type(again) is type(raised.value) and str(again) == str(raised.value)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder"]
    assert (tmp_path / "file").read_bytes() == b"old"


def test_a_path_with_nul(save_file, tmp_path):
    with pytest.raises(ValueError, match="^embedded null byte$"):
        save_file({"a": A}, f"{tmp_path}/a\0b")
    assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_nothing(tmp_path):
    resource = pytest.importorskip("resource")
    import signal

    path = tmp_path / "x"
    path.write_bytes(b"old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, before[1]))
    try:
        with pytest.raises(OSError) as raised:
            safetensors.numpy.save_file({"a": np.zeros(1 << 20, dtype="uint8")}, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert isinstance(raised.value, SafetensorError) and raised.value.errno == 27
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_a_link_into_a_cache_is_replaced(save_file, tmp_path):
    """What others may share, under a name that is its hash, stays as it was."""
    cache = tmp_path / "models--a--b"
    blob, link = cache / "blobs" / "x", cache / "snapshots" / "1" / "f"
    blob.parent.mkdir(parents=True)
    link.parent.mkdir(parents=True)
    blob.write_bytes(b"old")
    link.symlink_to("../../blobs/x")
    save_file({"a": A}, link)
    assert not link.is_symlink() and link.read_bytes() == written({"a": A})
    assert blob.read_bytes() == b"old" and list(blob.parent.iterdir()) == [blob]
    assert list(link.parent.iterdir()) == [link]


def traced(program, tmp_path):
    """The calls by which a program makes files and folders durable."""
    trace = tmp_path / "trace"
    command = ["strace", "-f", "-qq", "-e", "trace=fsync,fdatasync,syncfs,sync_file_range", "-e", "signal=none"]
    command += ["-o", trace, sys.executable, "-c", program]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    return re.findall("(fsync|fdatasync|syncfs|sync_file_range)[(]", trace.read_text())


def can_trace():
    try:
        return subprocess.run(["strace", "-f", "-o", os.devnull, "true"], capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not can_trace(), reason="strace is not there, or may not trace")
@pytest.mark.parametrize(
    "call, count",
    [
        ("save_file(tensors, 'x')", 0),
        ("save_file(tensors, 'x', durable=True)", 2),
        ("save_stream(tensors.items(), 'x', layout=tensors)", 0),
        ("save_stream(tensors.items(), 'x', layout=tensors, durable=True)", 2),
    ],
)
def test_how_durable_a_file_is(call, count, tmp_path):
    """The file's bytes, and then its name in the folder; unasked, neither."""
    program = "import numpy, os; from safetensors.numpy import save_file, save_stream; "
    program += "tensors = {'a': numpy.zeros(3)}; "
    assert len(traced(program + call, tmp_path)) == count
    assert (tmp_path / "x").stat().st_size > 24


# ----------------------------------------------------------------------------------------------- threads


def test_other_threads_run_while_it_writes():
    """A pipe that this thread empties: with the interpreter locked, saving would wait for ever."""
    tensors = {"large": np.arange(1 << 20, dtype="int32"), "a": A}
    reads, writes = os.pipe()
    failed = []

    def save():
        try:
            safetensors.numpy.save_file(tensors, writes)
        except BaseException as error:
            failed.append(error)
        finally:
            os.close(writes)

    thread = threading.Thread(target=save)
    thread.start()
    with open(reads, "rb") as f:
        assert f.read() == written(tensors)
    thread.join()
    assert not failed


def test_what_is_saved_may_be_dropped_meanwhile():
    """The dict and everything in it goes once the first bytes are there; names and values are the saver's."""
    expected, reads_and_writes = {}, os.pipe()
    reads, writes = reads_and_writes
    tensors = {}
    for i in range(300):
        array = np.full(1 << 12, i, dtype="int32")
        tensors[f"tensor {i}"] = array
        expected[f"tensor {i}"] = array.copy()
    del array

    def save(tensors):
        try:
            safetensors.numpy.save_file(tensors, writes)
        finally:
            os.close(writes)

    thread = threading.Thread(target=save, args=(tensors,))
    thread.start()
    with open(reads, "rb") as f:
        content = f.read(8)
        tensors.clear()
        gc.collect()
        others = [np.full(1 << 12, -1, dtype="int32") for _ in range(300)]
        content += f.read()
    thread.join()
    assert content == written(expected) and len(others) == 300


def test_one_set_of_specs_from_many_threads(tmp_path):
    array = np.arange(1 << 18, dtype="int32")
    specs = {f"t{i}": spec_of(array) for i in range(4)}
    expected = written({f"t{i}": array for i in range(4)})
    paths = [tmp_path / str(i) for i in range(8)]
    threads = [threading.Thread(target=serialize_file, args=(specs, path)) for path in paths]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(path.read_bytes() == expected for path in paths)


def test_a_writer_may_save_again():
    """write() of a file object that saves something itself."""

    class Nested(Sink):
        def write(self, part):
            self.parts.append(safetensors.numpy.save({"b": B}))
            return len(part)

    sink = Nested()
    safetensors.numpy.save_file({"a": A}, sink)
    assert set(sink.parts) == {written({"b": B})}


# ------------------------------------------------------------------------------------------------- _save


def test_specs_and_arrays_in_one_dict():
    assert _save({"a": SPECS["a"], "b": B}, None) == EXPECTED
    assert safetensors.numpy.save({"a": SPECS["a"], "b": B.astype(">i8")}) == EXPECTED


def test_odd_values_are_left_to_python(tmp_path):
    assert _save({"a": A, "x": 3}, tmp_path / "x") is NotImplemented
    assert _save({"a": A, "b": A[1:]}, None, alone=True) is NotImplemented
    assert _save({"a": A, "b": A[1:]}, None, alone=False) == written({"a": A, "b": A[1:]})
    assert _save({"a": A}, None, only="pt") is NotImplemented
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "parts, overlap",
    [
        ([(0, 10), (10, 20)], False),
        ([(10, 20), (0, 10)], False),
        ([(0, 11), (10, 20)], True),
        ([(0, 60), (1, 2), (50, 60)], True),  # the last one ends before the first does
        ([(0, 60), (60, 70), (5, 6)], True),
        ([(0, 10), (5, 5), (10, 10)], False),  # empty ones share nothing
        ([(3, 4), (3, 4)], True),
    ],
)
def test_overlaps(parts, overlap):
    base = np.arange(100, dtype="uint8")
    tensors = {str(i): base[begin:end] for i, (begin, end) in enumerate(parts)}
    assert (_save(tensors, None, alone=True) is NotImplemented) == overlap


def test_overlaps_of_strided_memory():
    base = np.zeros((4, 6), dtype="int16")
    apart = {"low": base[1::-1, ::2], "high": base[:1:-1]}
    assert _save(apart, None, alone=True) is not NotImplemented
    assert _save({**apart, "x": base[1:2, 5:]}, None, alone=True) is not NotImplemented
    assert _save({**apart, "x": base[1:2, 4:5]}, None, alone=True) is NotImplemented


# ------------------------------------------------------------------------------------------ out of memory


def write_with_writer():
    memory = io.BytesIO()
    writer = _Writer(memory, {"k": "v"})
    writer.add("a", "F32", [2, 3])
    writer.begin()
    writer.write("a", A)
    assert writer.names() == ["a"]
    writer.finish()
    return memory.getvalue()


def write_to_object():
    memory = io.BytesIO()
    _save({"a": A, "b": B[::-1]}, memory)
    return memory.getvalue()


@pytest.mark.parametrize(
    "call",
    [
        lambda: _save({"a": A, "b": B[::-1], "c": A.T}, None, {"k": "v"}),
        lambda: serialize(SPECS, {"k": "v"}),
        lambda: repr(TensorSpec(dtype="float32", shape=(2, 3), data_ptr=1, data_len=24)),
        write_with_writer,
        write_to_object,
    ],
)
def test_out_of_memory(call):
    """Each allocation of Python's in turn fails: that is told, or what comes out is right all the same."""
    testcapi = pytest.importorskip("_testcapi")
    expected, failed = call(), 0
    for i in range(1, 200):
        testcapi.set_nomemory(i, i + 1)
        try:
            out = call()
        except MemoryError:
            out, failed = None, failed + 1
        finally:
            testcapi.remove_mem_hooks()
        assert out is None or out == expected
    assert failed > 0
