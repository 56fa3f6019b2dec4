# SPDX-License-Identifier: Apache-2.0
"""The back ends: the same tensors from each, whose memory they are in, and what happens when a load goes wrong."""

import gc
import importlib
import io
import os
import subprocess
import sys
import threading

import numpy as np
import pytest
from interpreter import run

import safetensors.numpy
from safetensors import SafetensorError, safe_open
from safetensors import _safetensors_rust as extension

BACKENDS = ["mmap", "pread", "direct", "auto"]
READING = ["pread", "direct"]  # those that never map
MODULES = {"np": "numpy", "pt": "torch", "jax": "flax"}
A = np.arange(12, dtype="float32").reshape(3, 4)


@pytest.fixture(params=BACKENDS)
def backend(request):
    return request.param


@pytest.fixture(params=MODULES)
def framework(request):
    pytest.importorskip({"pt": "torch"}.get(request.param, "jax") if request.param != "np" else "numpy")
    return request.param


def module_of(framework):
    return importlib.import_module(f"safetensors.{MODULES[framework]}")


def tensors_of(seed, scale=1):
    """Tensors of many sizes: small ones side by side, empty ones, some of several pages, and one of many MiB."""
    random = np.random.default_rng(seed)
    made = {f"small.{i}": random.standard_normal((i % 7, 3)).astype("float32") for i in range(40)}
    made["bytes"] = random.integers(0, 255, 4097, dtype="uint8")
    made |= {f"page.{i}": random.integers(-9, 9, (1025, i + 1), dtype="int16") for i in range(9)}
    made["scalar"] = np.array(2.5, dtype="float32")
    made["large"] = random.integers(0, 255, (scale << 20) + 5, dtype="uint8")
    made["last"] = random.standard_normal((33, 5)).astype("float32")
    return made


@pytest.fixture(params=[8, 1], ids=["aligned", "unaligned"])
def many(request, model):
    """A file's path and tensors; the data may begin at an odd address."""
    tensors = tensors_of(1)
    size = sum(array.nbytes for array in tensors.values())
    path = model(tensors, {"odd": ""}, pad=request.param)
    if request.param == 1 and (path.stat().st_size - size) % 2 == 0:
        path = model(tensors, {"odd": " "}, pad=1)
    assert (path.stat().st_size - size) % 8 == 0 or request.param == 1 and (path.stat().st_size - size) % 2
    return path, tensors


def same(found, wanted):
    assert list(found) == list(wanted)
    for name, tensor in found.items():
        array = np.asarray(tensor)
        assert (array.dtype, array.shape) == (wanted[name].dtype, wanted[name].shape), name
        np.testing.assert_array_equal(array, wanted[name], err_msg=name)


def mappings(path):
    """How often this process has the file mapped."""
    with open("/proc/self/maps") as f:
        return sum(line.rstrip().endswith(str(path)) for line in f)


def evict(path):
    """Takes a file out of the page cache, where that can be done."""
    with open(path, "rb") as f:
        os.fsync(f.fileno())
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


# ------------------------------------------------------------------------------------------ the same


def test_every_way_gives_the_same(many, backend, framework):
    path, tensors = many
    same(module_of(framework).load_file(path, backend=backend), tensors)
    with safe_open(path, framework, backend=backend) as f:
        same(f.get_tensors(), tensors)
        same({name: f.get_tensor(name) for name in tensors}, tensors)
        same({name: f.get_slice(name)[...] for name in tensors}, tensors)
        rows = {name: slice(1, 3) for name, array in tensors.items() if array.ndim == 2}
        same({name: f.get_slice(name)[rows[name]] for name in rows}, {name: tensors[name][1:3] for name in rows})
        same(dict(sorted(f.prefetch())), dict(sorted(tensors.items())))
        same(dict(sorted(f.prefetch(rows))), {name: tensors[name][1:3] for name in sorted(rows)})
        chosen = ["last", "page.3", "small.8", "large", "page.3"]
        same(f.get_tensors(chosen), {name: tensors[name] for name in tensors if name in chosen})
        assert f.get_tensors([]) == {}
    pages = {name: array for name, array in tensors.items() if name.startswith("page.")}
    same(module_of(framework).load_file(path, backend=backend, prefix="page."), pages)


@pytest.mark.parametrize("cold", [True, False])
def test_what_is_worth_several_threads(tmp_path, backend, framework, cold):
    tensors = {f"{i}.{name}": array for i in range(3) for name, array in tensors_of(i, 12).items()}
    path = tmp_path / "model.safetensors"
    safetensors.numpy.save_file(tensors, path)
    if cold:
        evict(path)
    found = module_of(framework).load_file(path, backend=backend)
    assert found.keys() == tensors.keys()
    same({name: found[name] for name in tensors}, tensors)
    if cold:
        evict(path)
    with safe_open(path, framework, backend=backend) as f:
        same(dict(sorted(f.prefetch(threads=2))), dict(sorted(tensors.items())))
        np.testing.assert_array_equal(np.asarray(f.get_tensor("1.large")), tensors["1.large"])
        np.testing.assert_array_equal(np.asarray(f.get_slice("1.large")[5::3]), tensors["1.large"][5::3])


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("kind", ["np", "pt"])
def test_dtypes_of_less_than_a_byte(model, backend, kind, packed):
    pytest.importorskip({"np": "ml_dtypes", "pt": "torch"}[kind])
    path = model({"a": ("F4", [3, 4], bytes(range(6))), "b": ("F6_E2M3", [4], b"abc"), "c": A})
    found = []
    for way in ("mmap", backend):
        with safe_open(path, kind, backend=way, packed=packed) as f:
            tensors = f.get_tensors()
            four = tensors["a"] if kind == "np" else tensors["a"].view(importlib.import_module("torch").uint8)
            found.append({name: np.asarray(value).view("uint8") for name, value in {**tensors, "a": four}.items()})
    same(*found)


@pytest.mark.parametrize("kind", ["np", "pt"])
def test_what_is_no_path(model, backend, kind):
    if kind == "pt":
        pytest.importorskip("torch")
    tensors = tensors_of(2)
    path = model(tensors)
    content = path.read_bytes()
    with open(path, "rb") as file:
        for source in (content, bytearray(content), io.BytesIO(content), file, file.fileno()):
            same(module_of(kind).load_file(source, backend=backend), tensors)
            with safe_open(source, kind, backend=backend) as f:
                same(dict(sorted(f.prefetch())), dict(sorted(tensors.items())))


# ----------------------------------------------------------------------------------------- arguments


def test_the_file_tells_its_back_end(model, backend):
    path = model({"a": A})
    with safe_open(path, "np", backend=backend) as f:
        assert f.backend == f._file.backend == f.get_slice("a")._file.backend == backend
    with pytest.raises(SafetensorError, match="^File is closed$"):
        f.backend
    assert safe_open(path, "np").backend == safe_open(path, "np", backend=None).backend == "mmap"
    with pytest.raises(AttributeError):
        f.backend = "mmap"


@pytest.mark.parametrize("wrong", ["", "mmap ", "MMAP", "auto\0", "uring", "é"])
def test_what_is_no_back_end(model, wrong):
    with pytest.raises(SafetensorError, match=f'^backend "{wrong}" is invalid .*"mmap", "pread".*"direct", "auto"$'):
        safe_open(model({"a": A}), "np", backend=wrong)


# --------------------------------------------------------------------------------------------- memory


@pytest.mark.parametrize("way", READING)
@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_what_is_read_is_the_callers_own(many, way):
    path, tensors = many
    with safe_open(path, "np", backend=way) as f:
        once, again = f.get_tensors(), f.get_tensors()
        single = f.get_tensor("large")
        assert mappings(path) == 0
        for one in (once, again, {"large": single}):
            for array in one.values():
                assert array.flags.aligned and array.flags.writeable and array.flags.c_contiguous
    for name, array in once.items():
        assert not np.shares_memory(array, again[name]) and not any(
            np.shares_memory(array, other) for key, other in once.items() if key != name
        )
        array.fill(1)
    single.fill(1)
    same(again, tensors)
    content = path.read_bytes()
    with open(path, "r+b") as f:
        f.write(b"\xff" * len(content))
    same(again, tensors)


@pytest.mark.parametrize("way", READING)
def test_torch_has_a_storage_for_each(many, way):
    torch = pytest.importorskip("torch")
    path, tensors = many
    found = module_of("pt").load_file(path, backend=way)
    for name, tensor in found.items():
        storage = tensor.untyped_storage()
        assert storage.nbytes() == tensor.nbytes and storage.data_ptr() == tensor.data_ptr()
        assert tensor.data_ptr() % tensor.element_size() == 0 and tensor.is_contiguous()
    assert len({tensor.untyped_storage()._cdata for tensor in found.values()}) == len(found)
    found["large"].zero_()
    del found["large"], tensors["large"]
    gc.collect()
    same(found, tensors)
    assert torch.is_tensor(found["last"])


@pytest.mark.parametrize("kind", ["np", "pt"])
def test_views_are_private(many, backend, kind):
    """What is written to what one call gave is seen neither in the file nor by another call that gives many."""
    path, tensors = many
    if kind == "pt":
        pytest.importorskip("torch")
    content = path.read_bytes()
    with safe_open(path, kind, backend=backend) as f:
        first = f.get_tensors()
        for tensor in first.values():
            tensor[...] = 1
        if (kind, backend) != ("pt", "mmap"):  # those share one mapping, as upstream's do
            same(f.get_tensors(), tensors)
    assert path.read_bytes() == content
    same(module_of(kind).load_file(path, backend=backend), tensors)
    assert all((np.asarray(tensor) == 1).all() for tensor in first.values())


def test_numpy_has_aligned_arrays(many, backend):
    path, tensors = many
    for array in safetensors.numpy.load_file(path, backend=backend).values():
        assert array.flags.aligned and array.flags.writeable


@pytest.mark.parametrize("way", READING)
def test_memory_goes_with_the_last_array(model, way):
    """Arrays that were loaded together keep what they lie in, and nothing else does."""
    path = model(tensors_of(3))
    for _ in range(3):
        found = safetensors.numpy.load_file(path, backend=way)
        last = found.pop("last")
        wanted = last.copy()
        found.clear()
        again = safetensors.numpy.load_file(path, backend=way)  # into what was given back, if it was
        again["last"].fill(0)
        np.testing.assert_array_equal(last, wanted)


# --------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize("kind", ["np", "pt"])
@pytest.mark.parametrize("way", READING)
def test_a_file_that_was_cut_off(model, way, kind):
    if kind == "pt":
        pytest.importorskip("torch")
    path = model(tensors_of(4))
    with safe_open(path, kind, backend=way) as f:
        os.truncate(path, path.stat().st_size - 10)
        for ask in (f.get_tensors, lambda: f.get_tensors(["last", "large"]), lambda: f.get_tensor("large")):
            with pytest.raises(SafetensorError, match=r'model\.safetensors: tensor "[a-z.0-9]+": its size went from'):
                ask()
        with f.prefetch() as loader, pytest.raises(SafetensorError, match='tensor "last"'):
            loader.take("last")


@pytest.mark.parametrize("way", READING)
def test_a_file_that_is_cut_off_meanwhile(tmp_path, way):
    """Whenever it happens: all tensors, and the right ones, or an error."""
    tensors = {str(i): np.full(1 << 20, i, "uint8") for i in range(24)}
    path = tmp_path / "model.safetensors"
    for turn in range(12):
        safetensors.numpy.save_file(tensors, path)
        with safe_open(path, "np", backend=way) as f:
            begin = threading.Barrier(2)

            def cut():
                begin.wait()
                for _ in range(turn * 200):
                    pass
                os.truncate(path, 4 << 20)

            thread = threading.Thread(target=cut)
            thread.start()
            begin.wait()
            try:
                found = f.get_tensors()
                assert found.keys() == tensors.keys()
                assert all((array == int(name)).all() for name, array in found.items())
            except SafetensorError as error:
                assert str(path) in str(error)
            thread.join()
            with pytest.raises(SafetensorError):
                f.get_tensors()


@pytest.mark.parametrize("way", READING + ["auto"])
def test_one_bad_tensor_does_not_hold_back_others(model, way):
    """Of those that are read ahead, each has its own fate."""
    tensors = {"a": A, "b": ("U8", [2**63, 0], b""), "c": A + 1}
    with safe_open(model(tensors), "np", backend=way) as f:
        a, b, missing, c = extension._read_many(f._file, ["a", "b", "nope", "c"], [None] * 4)
        assert isinstance(b, SafetensorError) and isinstance(missing, KeyError)
        np.testing.assert_array_equal(a, A)
        np.testing.assert_array_equal(c, A + 1)
        with pytest.raises(SafetensorError, match="'b'"):
            f.get_tensors()
        same(f.get_tensors(["c", "a"]), {"a": A, "c": A + 1})


def test_a_framework_that_fails(model, backend, monkeypatch):
    """Its exception ends the load, and nothing is kept."""
    pytest.importorskip("jax")
    made = []

    def converter(framework):
        def convert(array):
            made.append(array)
            if len(made) == 5:
                raise ZeroDivisionError("enough")
            return array

        return convert

    monkeypatch.setattr(importlib.import_module("safetensors._frameworks"), "converter", converter)
    enabled = gc.isenabled()
    with safe_open(model(tensors_of(5)), "jax", backend=backend) as f:
        with pytest.raises(ZeroDivisionError, match="^enough$"):
            f.get_tensors()
    assert len(made) == 5 and gc.isenabled() == enabled


INTERRUPT = """
import ctypes, functools, operator, sys
import safetensors.numpy
from safetensors import safe_open
way, paths = sys.argv[1], sys.argv[2:]
f = safe_open(paths[0], "np", backend=way)
several = functools.partial(safetensors._safetensors_rust._load_files, (f._file,), (None,))
calls = {"get_tensors": f.get_tensors, "load_files": several}
for name, call in calls.items():
    done = []
    try:
        # No Python code runs between the signal and the load, which is to see it.
        done.extend(map(operator.call, [ctypes.pythonapi.PyErr_SetInterrupt, call]))
    except KeyboardInterrupt:
        print(name, len(done))
print(len(f.get_tensors()), len(f.prefetch().names()))
"""


@pytest.mark.parametrize("way", READING + ["auto"])
def test_an_interrupt_ends_a_load(model, way):
    path = model(tensors_of(6))
    count = str(len(tensors_of(6)))
    assert run(INTERRUPT, way, path) == ["get_tensors 1", "load_files 1", f"{count} {count}"]


# ------------------------------------------------------------------------------------------ many files


@pytest.fixture
def parts(tmp_path):
    """Three files' paths, and all their tensors."""
    paths, everything = [], {}
    for i in range(3):
        tensors = {f"{i}.{name}": array for name, array in tensors_of(i, 3).items()}
        paths.append(tmp_path / f"{i}.safetensors")
        safetensors.numpy.save_file(tensors, paths[-1])
        everything.update(tensors)
    return paths, everything


def test_many_files(parts, backend, framework):
    paths, tensors = parts
    load_files = module_of(framework).load_files
    found = load_files((str(path) for path in paths), backend=backend)
    assert [name[0] for name in found] == sorted(name[0] for name in tensors)  # as the files come
    assert list(load_files(paths[1:2], backend=backend)) == safe_open(paths[1], "np").offset_keys()
    same({name: found[name] for name in tensors}, tensors)
    chosen = load_files(reversed(paths), backend=backend, keys=["0.last", "2.large", "0.last"])
    same(chosen, {name: tensors[name] for name in ("2.large", "0.last")})
    chosen = load_files(paths, backend=backend, prefix="1.page")
    assert chosen.keys() == {name for name in tensors if name.startswith("1.page")}
    same(chosen, {name: tensors[name] for name in chosen})
    chosen = load_files(paths, backend=backend, prefix="1.", keys=["0.last", "1.last"])
    same(chosen, {"1.last": tensors["1.last"]})
    assert load_files([], backend=backend) == {} == load_files(paths, backend=backend, keys=[])


def test_many_files_of_any_kind(parts, backend):
    paths, tensors = parts
    with open(paths[0], "rb") as file:
        sources = [file, io.BytesIO(paths[1].read_bytes()), str(paths[2])]
        found = safetensors.numpy.load_files(sources, backend=backend)
    same({name: found[name] for name in tensors}, tensors)


def test_many_files_on_a_device(parts, backend):
    torch = pytest.importorskip("torch")
    paths, tensors = parts
    found = module_of("pt").load_files(paths, device="meta", backend=backend)
    assert found.keys() == tensors.keys()
    assert all(tensor.is_meta and tensor.shape == tensors[name].shape for name, tensor in found.items())
    assert found["0.last"].dtype == torch.float32


def test_a_name_in_two_files(parts, backend):
    paths, tensors = parts
    safetensors.numpy.save_file({"new": A, "1.last": A}, paths[2])
    for given in (paths, [paths[2], paths[1]]):
        with pytest.raises(SafetensorError) as caught:
            safetensors.numpy.load_files(given, backend=backend)
        one, other = (path for path in given if path != paths[0])
        assert str(caught.value) == f'tensor "1.last" is in two files, {one} and {other}'
    # What is not asked for does not matter.
    same(safetensors.numpy.load_files(paths, backend=backend, keys=["new"]), {"new": A})
    with pytest.raises(SafetensorError, match=f"{paths[0]} and <BytesIO>$"):
        safetensors.numpy.load_files([paths[0], io.BytesIO(paths[0].read_bytes())], backend=backend)


def test_arguments_of_many_files(parts, tmp_path):
    paths, _ = parts
    load_files = safetensors.numpy.load_files
    for one in (str(paths[0]), paths[0], bytes(paths[0])):
        with pytest.raises(TypeError, match="^filenames must be several files, not the one path "):
            load_files(one)
    with pytest.raises(TypeError, match="^keys must be several names"):
        load_files(paths, keys="0.last")
    with pytest.raises(KeyError) as caught:
        load_files(paths, keys=["0.last", "nope"])
    assert isinstance(caught.value, SafetensorError)
    assert str(caught.value) == "None of the files contains tensor nope"
    with pytest.raises(FileNotFoundError, match="missing"):
        load_files([*paths, tmp_path / "missing"])
    with pytest.raises(SafetensorError, match='^backend "x" is invalid'):
        load_files(paths, backend="x")


def test_arguments_of_the_extensions_own(model):
    path = model({"a": A})
    with safe_open(path, "np", backend="pread") as f:
        file = f._file
    for files, names in (((file,), ("a",)), ((f,), (None,)), ((None,), (None,)), ([file], (None,))):
        with pytest.raises(TypeError):
            extension._load_files(files, names)
    with pytest.raises(ValueError, match="as many lists"):
        extension._load_files((file,), ())
    with pytest.raises(TypeError, match="'int' object is not an instance of 'str'"):
        extension._load_files((file,), (["a", 1],))
    with pytest.raises(KeyError):
        extension._load_files((file, file), (None, ["b"]))
    same(extension._load_files((file, file), (None, ["a"])), {"a": A})


@pytest.mark.parametrize("way", READING)
def test_one_bad_file_of_many(parts, way):
    paths, _ = parts
    with safe_open(paths[0], "np", backend=way) as one, safe_open(paths[1], "np", backend=way) as other:
        os.truncate(paths[1], paths[1].stat().st_size - 1)
        with pytest.raises(SafetensorError, match=r'1\.safetensors: tensor "1\.[a-z.0-9]+": '):
            extension._load_files((one._file, other._file), (None, None))


def test_more_files_than_descriptors(model):
    """They are opened again when they are read."""
    resource = pytest.importorskip("resource")
    paths = [model({f"{i}": np.full(64, i, "uint16")}, name=f"{i}.safetensors") for i in range(400)]
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import resource, sys, safetensors.numpy as n\n"
            f"resource.setrlimit(resource.RLIMIT_NOFILE, (256, {resource.getrlimit(resource.RLIMIT_NOFILE)[1]}))\n"
            "found = n.load_files(sys.argv[2:], backend=sys.argv[1])\n"
            "print(all((array == int(name)).all() for name, array in found.items()), len(found))",
            "pread",
            *map(str, paths),
        ],
        capture_output=True,
        text=True,
    )
    assert (done.stdout, done.stderr) == ("True 400\n", "")


# ----------------------------------------------------------------------------------- one after another


def test_a_file_that_is_replaced_at_once(tmp_path, backend, model_bytes):
    """However fast: headers that are kept are of files that have not changed since."""
    path = tmp_path / "model.safetensors"
    first = None
    for turn in range(40):
        shape = (2, 6) if turn % 2 else (6, 2)
        content = model_bytes({"a": np.full(shape, turn, "float32")})
        if turn % 3 == 0 or not path.exists():
            path.unlink(missing_ok=True)
            path.write_bytes(content)
        else:
            with open(path, "r+b") as file:  # the same file, of the same size
                assert path.stat().st_size == len(content)
                file.write(content)
        if first:
            os.utime(path, ns=first)
        first = first or (path.stat().st_atime_ns, path.stat().st_mtime_ns)
        for _ in range(2):
            found = safetensors.numpy.load_file(path, backend=backend)["a"]
            assert found.shape == shape and (found == turn).all()


@pytest.mark.parametrize("way", READING + ["auto"])
def test_many_threads_at_once(many, way):
    path, tensors = many
    failures = []

    def work(number):
        try:
            for _ in range(10):
                if number % 2:
                    same(safetensors.numpy.load_file(path, backend=way), tensors)
                else:
                    same(safetensors.numpy.load_files([path], backend=way, prefix="page."), pages)
        except BaseException as error:
            failures.append(error)

    pages = {name: array for name, array in tensors.items() if name.startswith("page.")}
    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


FORKING = """
import os, sys
import numpy as np
from safetensors import safe_open
with safe_open(sys.argv[2], "np", backend=sys.argv[1]) as f:
    wanted = {name: array.copy() for name, array in f.get_tensors().items()}
    def check():
        found = f.get_tensors()
        return found.keys() == wanted.keys() and all(np.array_equal(found[name], wanted[name]) for name in wanted)
    for _ in range(10):
        assert check()
        child = os.fork()
        if child == 0:
            os._exit(0 if check() else 2)
        assert check()
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_of_a_fork_loads(tmp_path, backend):
    """What loads keep for each other is the child's as well; so is its file."""
    path = tmp_path / "model.safetensors"
    safetensors.numpy.save_file(tensors_of(7, 6), path)
    subprocess.run([sys.executable, "-c", FORKING, backend, path], check=True, timeout=300)
