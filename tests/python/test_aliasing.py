# SPDX-License-Identifier: Apache-2.0
"""Who sees what is written to an array, and how long it lives."""

import copy
import gc
import io
import os
import pickle
import threading
import weakref

import numpy as np
import pytest

from interpreter import run
from safetensors import SafetensorError, safe_open
from safetensors import _safetensors_rust as extension

A = np.arange(12, dtype="float32").reshape(3, 4)
B = np.arange(6, dtype="int16").reshape(2, 3)
# As large as a second mapping is worth.
LARGE = np.arange(1 << 18, dtype="float32")


@pytest.fixture
def path(model):
    return model({"large": LARGE, "a": A, "b": B, "empty": np.zeros((0, 3), "float32"), "one": np.float32(7)})


@pytest.fixture(params=["mmap", "pread"])
def backend(request):
    return request.param


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


@pytest.fixture(params=["exchange", "capsule", "bytes"])
def route(request, torch):
    """The ways into torch: its C table; a capsule; bytes, for dtypes that torch refuses."""
    had = extension._use_exchange(request.param == "exchange")
    if request.param == "bytes":
        extension._refuse_dtypes(["F32", "I16", "BF16"])
    yield request.param
    extension._use_exchange(had)
    extension._refuse_dtypes([])


def mappings(path):
    """How often this process has the file mapped."""
    with open("/proc/self/maps") as f:
        return sum(line.rstrip().endswith(str(path)) for line in f)


# ------------------------------------------------------------------------------------------ torch


def test_torch_tensors_have_storages_of_their_own(path, backend, route, torch):
    with safe_open(path, "pt", backend=backend) as f:
        tensors = f.get_tensors()
        again = f.get_tensor("a")
    for name, tensor in {**tensors, "again": again}.items():
        storage = tensor.untyped_storage()
        assert storage.nbytes() == tensor.nbytes, name
        assert storage.data_ptr() == tensor.data_ptr(), name
        assert tensor.storage_offset() == 0, name
        assert tensor.is_contiguous(), name
        assert not tensor.requires_grad and tensor.grad_fn is None, name
    storages = {t.untyped_storage()._cdata for t in [*tensors.values(), again]}
    assert len(storages) == len(tensors) + 1


def test_torch_gets_of_one_name_share_under_mmap(path, route, torch):
    content = path.read_bytes()
    with safe_open(path, "pt") as f, safe_open(path, "pt") as other:
        first, second = f.get_tensor("a"), f.get_tensor("a")
        assert first.data_ptr() == second.data_ptr()
        first[1, 2] = 99
        assert second[1, 2] == 99
        assert f.get_tensor("a")[1, 2] == 99 and f.get_tensors()["a"][1, 2] == 99
        # Neither another handle nor the file.
        assert other.get_tensor("a")[1, 2] == 6
    assert path.read_bytes() == content


def test_torch_gets_are_independent_under_pread(path, route, torch):
    with safe_open(path, "pt", backend="pread") as f:
        first, second, whole = f.get_tensor("a"), f.get_tensor("a"), f.get_tensors()
        first[1, 2] = 99
        assert second[1, 2] == 6 and f.get_tensor("a")[1, 2] == 6 and whole["a"][1, 2] == 6
        whole["a"].zero_()
        assert whole["b"].tolist() == B.tolist() and whole["large"][5] == 5


def test_torch_outlives_the_handle(path, backend, route, torch):
    with safe_open(path, "pt", backend=backend) as f:
        a, one = f.get_tensor("a"), f.get_tensors()["one"]
    del f
    gc.collect()
    os.unlink(path)
    a += 1
    assert a.tolist() == (A + 1).tolist() and one.item() == 7


def test_the_mapping_goes_with_the_last_tensor(path, route, torch):
    with safe_open(path, "pt") as f:
        assert mappings(path) == 0
        tensors = f.get_tensors()
        assert mappings(path) == 1
    keep = tensors.pop("b")
    del tensors, f
    gc.collect()
    assert mappings(path) == 1 and keep.tolist() == B.tolist()
    del keep
    assert mappings(path) == 0


def test_torch_resizes_as_upstreams(path, route, torch):
    with safe_open(path, "pt") as f:
        a = f.get_tensor("a")
        assert not a.untyped_storage().resizable()
        a.resize_(2, 2)
        assert a.tolist() == [[0, 1], [2, 3]]
        with pytest.raises(RuntimeError, match="not resizable"):
            a.resize_(100, 100)
        with pytest.raises(RuntimeError):
            a.untyped_storage().resize_(1000)


def test_torch_shares_memory(path, torch, route):
    with safe_open(path, "pt") as f:
        a, alias = f.get_tensor("a"), f.get_tensor("a")
        a.share_memory_()
        assert a.is_shared() and a.untyped_storage().nbytes() == A.nbytes
        a[0, 0] = 55
        assert alias[0, 0] == 0 and not alias.is_shared()


# Programs that fork run where no other test's threads are in the way.


def test_torch_through_a_queue(path, run_with_torch):
    run_with_torch(
        """
        import sys, torch
        from safetensors import safe_open
        with safe_open(sys.argv[1], "pt") as f:
            a, alias = f.get_tensor("a"), f.get_tensor("a")
        context = torch.multiprocessing.get_context("fork")
        there, back = context.SimpleQueue(), context.SimpleQueue()
        process = context.Process(target=lambda: back.put(there.get().tolist()))
        process.start()
        there.put(a)
        assert back.get() == alias.tolist() == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
        process.join()
        assert process.exitcode == 0
        # It went by way of shared memory of its own size.
        assert a.is_shared() and not alias.is_shared() and a.untyped_storage().nbytes() == 48
        """,
        path,
    )


@pytest.mark.parametrize("how", ["save", "pickle", "deepcopy", "clone"])
def test_torch_copies_only_the_tensors_bytes(path, route, torch, how, backend):
    with safe_open(path, "pt", backend=backend) as f:
        b = f.get_tensor("b")
    if how == "save":
        kept = io.BytesIO()
        torch.save(b, kept)
        assert kept.tell() < 4096 < path.stat().st_size
        kept.seek(0)
        other = torch.load(kept)
    elif how == "pickle":
        kept = pickle.dumps(b)
        assert len(kept) < 4096
        other = pickle.loads(kept)
    else:
        other = copy.deepcopy(b) if how == "deepcopy" else b.clone()
    assert other.tolist() == B.tolist() and other.dtype == torch.int16
    assert other.untyped_storage().nbytes() == B.nbytes
    other.zero_()
    assert b.tolist() == B.tolist()


def test_tensors_without_elements_can_be_saved_again(model, backend, route, torch):
    """Their pointer is not that of their neighbour, for which torch.save would take them."""
    path = model(
        {
            "i": np.arange(4),
            "none": np.zeros((0, 4), "float32"),
            "f": np.float32([1, 2]),
            "end": np.zeros(0, "int16"),
            "last": np.zeros((2, 0), "uint8"),
        }
    )
    with safe_open(path, "pt", backend=backend) as f:
        tensors = f.get_tensors()
        single = f.get_tensor("none")
    for tensor in (single, tensors["none"], tensors["end"], tensors["last"]):
        assert tensor.data_ptr() == 0 and tensor.untyped_storage().nbytes() == 0
    kept = io.BytesIO()
    torch.save(tensors, kept)
    kept.seek(0)
    again = torch.load(kept)
    assert {k: v.shape for k, v in again.items()} == {k: v.shape for k, v in tensors.items()}
    assert again["i"].tolist() == [0, 1, 2, 3]
    assert tensors["none"].clone().numpy().shape == (0, 4)
    assert pickle.loads(pickle.dumps(tensors["none"])).shape == (0, 4)
    tensors["none"].share_memory_()
    assert tensors["last"].resize_(0, 2).shape == (0, 2)


def test_torch_tensors_are_leaves(path, route, torch):
    with safe_open(path, "pt") as f:
        a = f.get_tensor("a")
        if route != "bytes":
            assert not a._is_view() and a._base is None
            a.detach_()
        a.requires_grad_()
        (a * 2).sum().backward()
        assert a.grad.tolist() == [[2] * 4] * 3
        parameter = torch.nn.Parameter(f.get_tensor("a"))
        assert parameter.data_ptr() == a.data_ptr()
        module = torch.nn.Linear(4, 3, bias=False)
        module.load_state_dict({"weight": f.get_tensor("a")}, assign=True)
        assert module.weight.data_ptr() == a.data_ptr()
        a.extra = weakref.ref(a)
        assert a.extra() is a
        b, data = f.get_tensor("b"), torch.zeros(2)
        data.data = b
        assert data.data_ptr() == b.data_ptr()
        other = torch.ones(2, 3, dtype=torch.int16)
        del data
        torch.utils.swap_tensors(b, other)
        assert other.tolist() == B.tolist()
        array = f.get_tensor("a").numpy()
        assert array.flags.writeable and array.__array_interface__["data"][0] == a.data_ptr()


@pytest.mark.parametrize(
    "mode", ["meta device", "default device", "default dtype", "no_grad", "function", "dispatch", "fake", "vmap"]
)
def test_torchs_modes_change_nothing(path, backend, torch, mode):
    from torch.overrides import TorchFunctionMode
    from torch.utils._python_dispatch import TorchDispatchMode

    called = []

    class Functions(TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):
            called.append(function)
            return function(*args, **(kwargs or {}))

    class Dispatches(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            called.append(function)
            return function(*args, **(kwargs or {}))

    def load(_=None):
        with safe_open(path, "pt", backend=backend) as f:
            tensors.update(f.get_tensors())
            tensors["again"] = f.get_tensor("a")
        return _

    tensors = {}
    if mode == "vmap":
        torch.vmap(load)(torch.zeros(2))
    elif mode == "fake":
        fake = pytest.importorskip("torch._subclasses.fake_tensor")
        with fake.FakeTensorMode():
            load()
    elif mode == "default dtype":
        torch.set_default_dtype(torch.float64)
        try:
            load()
        finally:
            torch.set_default_dtype(torch.float32)
    elif mode == "default device":
        torch.set_default_device("meta")
        try:
            load()
        finally:
            torch.set_default_device(None)
    else:
        contexts = {
            "meta device": torch.device("meta"),
            "no_grad": torch.no_grad(),
            "function": Functions(),
            "dispatch": Dispatches(),
        }
        with contexts[mode]:
            load()
    assert not called
    for tensor in tensors.values():
        assert type(tensor) is torch.Tensor and tensor.device.type == "cpu" and not tensor.requires_grad
    assert tensors["again"].dtype == torch.float32 and tensors["again"].tolist() == A.tolist()
    assert tensors["empty"].shape == (0, 3)


def test_under_inference_mode(path, torch, route):
    with torch.inference_mode(), safe_open(path, "pt") as f:
        assert f.get_tensor("a").is_inference()


def test_torch_keeps_upstreams_pointers_where_data_is_misaligned(model, route, torch):
    path = model({"odd": ("U8", [3], b"abc"), "t": np.float32([1, 2])})
    with safe_open(path, "pt") as f:
        tensor = f.get_tensor("t")
        assert tensor.data_ptr() % 4 == 3
        assert tensor.tolist() == [1, 2] and f.get_tensor("t").data_ptr() == tensor.data_ptr()
    with safe_open(path, "pt", backend="pread") as f:
        assert f.get_tensor("t").data_ptr() % 4 == 0
        assert f.get_tensors()["t"].data_ptr() % 4 == 0


@pytest.mark.parametrize("framework", ["pt", "np"])
def test_writes_stay_in_the_process(path, framework, request):
    start = run if framework == "np" else request.getfixturevalue("run_with_torch")
    content = path.read_bytes()
    start(
        """
        import os, sys
        from safetensors import safe_open
        with safe_open(sys.argv[1], sys.argv[2]) as f:
            a, large = f.get_tensor("a"), f.get_tensor("large")
            a[0, 0] = 7
            child = os.fork()
            if child == 0:
                status = 1
                try:
                    seen = a[0, 0] == 7 and a[2, 3] == 11
                    a[2, 3] = large[-1] = 5
                    status = 0 if seen and a[2, 3] == 5 and f.get_tensor("b").tolist() == [[0, 1, 2], [3, 4, 5]] else 2
                finally:
                    os._exit(status)
            assert os.waitpid(child, 0)[1] == 0
            assert a[2, 3] == 11 and large[-1] == (1 << 18) - 1 and a[0, 0] == 7
        """,
        path,
        framework,
    )
    assert path.read_bytes() == content


def test_torch_saved_back_onto_its_own_file(path, torch, backend):
    from safetensors.torch import load_file, save_file

    with safe_open(path, "pt", backend=backend) as f:
        tensors = {name: f.get_tensor(name) for name in ("a", "b", "large")}
    tensors["a"] += 1
    save_file(tensors, path)
    assert tensors["b"].tolist() == B.tolist()
    again = load_file(path)
    assert again["a"].tolist() == (A + 1).tolist() and torch.equal(again["large"], tensors["large"])


# ------------------------------------------------------------------------------------------ NumPy


@pytest.mark.parametrize("name", ["a", "large"])
def test_numpy_never_sees_what_was_written_before(path, backend, name):
    with safe_open(path, "np", backend=backend) as f:
        gets = [f.get_tensor(name), f.get_tensors()[name], f.get_tensor(name), f.get_tensors([name])[name]]
        wanted = gets[0].copy()
        for i, array in enumerate(gets):
            np.testing.assert_array_equal(array, wanted)
            array[...] = -1 - i
        np.testing.assert_array_equal(f.get_tensor(name), wanted)
        for i, array in enumerate(gets):
            assert (array == -1 - i).all()
    with safe_open(path, "np") as f:
        np.testing.assert_array_equal(f.get_tensor(name), wanted)


def test_numpy_views_of_one_handle_share_no_element(path):
    with safe_open(path, "np") as f:
        first = f.get_tensors()
        second = f.get_tensors()
    arrays = [*first.values(), *second.values()]
    for i, one in enumerate(arrays):
        for other in arrays[i + 1 :]:
            assert not np.shares_memory(one, other)


def test_numpy_reads_a_first_time_without_a_copy(path):
    with safe_open(path, "np") as f:
        before = mappings(path)
        tensors = f.get_tensors()
        assert mappings(path) == before + 1
        base = tensors["a"].base
        assert type(base).__name__ == "_Memory" and tensors["large"].base is base
        assert memoryview(base).nbytes == path.stat().st_size
        assert bytes(memoryview(base)[:8]) == path.read_bytes()[:8]


def test_numpy_maps_again_only_what_is_large(path):
    with safe_open(path, "np") as f:
        small = [f.get_tensor("a") for _ in range(5)]
        assert mappings(path) == 1
        large = [f.get_tensor("large") for _ in range(3)]
        assert mappings(path) == 3
        # After that, the small one is seen in a mapping that nobody wrote to.
        fresh = f.get_tensor("a")
        assert fresh.base is large[-1].base
        np.testing.assert_array_equal(fresh, A)
    del f
    for array in small:
        np.testing.assert_array_equal(array, A)
    del array
    assert mappings(path) == 3
    del large, fresh
    gc.collect()
    assert mappings(path) == 1
    del small
    assert mappings(path) == 0


def test_numpy_flags(path, backend):
    with safe_open(path, "np", backend=backend) as f:
        for array in f.get_tensors().values():
            assert array.flags.writeable and array.flags.aligned and array.flags.c_contiguous
            assert type(array) is np.ndarray


def test_numpy_copies_what_is_misaligned(model, backend):
    path = model({"odd": ("U8", [3], b"abc"), "t": np.float32([1, 2])})
    with safe_open(path, "np", backend=backend) as f:
        for array in (f.get_tensor("t"), f.get_tensors()["t"]):
            assert array.flags.aligned and array.tolist() == [1, 2]
        assert f.get_tensor("odd").tobytes() == b"abc"


def test_numpy_outlives_the_handle_and_the_file(path, backend):
    with safe_open(path, "np", backend=backend) as f:
        tensors = f.get_tensors()
    del f
    os.unlink(path)
    gc.collect()
    tensors["a"] += 1
    np.testing.assert_array_equal(tensors["a"], A + 1)
    copied = pickle.loads(pickle.dumps(tensors["b"]))
    del tensors
    gc.collect()
    np.testing.assert_array_equal(copied, B)


def test_a_file_that_takes_anothers_place_changes_nothing(path, model):
    with safe_open(path, "np") as f:
        a = f.get_tensor("a")
        model({"a": A + 100}, name="other.safetensors").replace(path)
        np.testing.assert_array_equal(a, A)
        np.testing.assert_array_equal(f.get_tensor("a"), A)
        np.testing.assert_array_equal(f.get_tensor("large"), LARGE)
        np.testing.assert_array_equal(f.get_tensor("large"), LARGE)


def test_a_file_that_changed_is_told(path):
    with safe_open(path, "np", backend="pread") as f:
        with open(path, "ab") as more:
            more.write(b"1234")
        with pytest.raises(SafetensorError, match="chang|size"):
            f.get_tensor("a")
        with pytest.raises(SafetensorError, match="chang|size"):
            f.get_tensors()


def test_packed_numpy_is_a_view_and_unpacked_a_copy(model):
    path = model({"t": ("F4", [2, 4], b"\x10\x32\x54\x76")})
    with safe_open(path, "np", packed=True) as f:
        first, second = f.get_tensor("t"), f.get_tensor("t")
        first[...] = 0
        assert second.tolist() == [[0x10, 0x32], [0x54, 0x76]]
    pytest.importorskip("ml_dtypes")
    with safe_open(path, "np") as f:
        first, second = f.get_tensor("t"), f.get_tensor("t")
        first[...] = 0
        assert second.view("uint8").tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]


# ---------------------------------------------------------------------------------------- the rest


def test_jax_arrays_keep_their_memory(model):
    jax = pytest.importorskip("jax")
    large = np.arange(1 << 19, dtype="float32")
    path = model({"large": large, "small": A})
    with safe_open(path, "flax") as f:
        arrays = f.get_tensors()
        again = f.get_tensor("large")
    del f
    gc.collect()
    assert isinstance(arrays["large"], jax.Array)
    np.testing.assert_array_equal(arrays["large"], large)
    np.testing.assert_array_equal(again, large)
    np.testing.assert_array_equal(arrays["small"], A)
    doubled = jax.jit(lambda x: x * 2, donate_argnums=0)(arrays.pop("large"))
    assert doubled[3] == 6 and again[3] == 3


def test_jax_takes_the_mapping_over_where_it_is_aligned(model):
    pytest.importorskip("jax")
    large = np.arange(1 << 19, dtype="float32")
    path = model({"large": large}, pad=64)
    # With 56 blanks more the data section begins at a multiple of 64.
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    assert (8 + length + 56) % 64 == 0
    path.write_bytes((length + 56).to_bytes(8, "little") + content[8 : 8 + length] + b" " * 56 + content[8 + length :])
    with safe_open(path, "flax") as f:
        array = f.get_tensor("large")
        del f
    gc.collect()
    assert mappings(path) == 1
    assert array.unsafe_buffer_pointer() % 64 == 0
    np.testing.assert_array_equal(array, large)
    del array
    gc.collect()
    assert mappings(path) == 0


@pytest.mark.parametrize("framework", ["pt", "np"])
def test_many_threads_on_one_handle(path, framework, backend):
    if framework == "pt":
        pytest.importorskip("torch")
    failures = []
    with safe_open(path, framework, backend=backend) as f:

        def load():
            try:
                for _ in range(5):
                    tensors = f.get_tensors()
                    assert list(tensors) == ["large", "a", "b", "empty", "one"]
                    assert tensors["b"].tolist() == B.tolist()
                    assert float(f.get_tensor("large")[-1]) == (1 << 18) - 1
                    if framework == "np":
                        tensors["a"][...] = 0
                        tensors["large"][...] = 0
            except BaseException as failure:
                failures.append(failure)

        threads = [threading.Thread(target=load) for _ in range(64)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not failures


def test_tensors_left_at_the_end_of_the_process(path, run_with_torch):
    run_with_torch(
        """
        import sys, builtins
        from safetensors import safe_open, _safetensors_rust
        kept = builtins.kept = []
        for framework in ("pt", "np"):
            with safe_open(sys.argv[1], framework) as f:
                kept.append((f, f.get_tensors(), f.get_slice("a")))
            kept.append(_safetensors_rust._load(bytearray(open(sys.argv[1], "rb").read()), framework))
        kept.append(kept)
        """,
        path,
    )
