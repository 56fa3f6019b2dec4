# SPDX-License-Identifier: Apache-2.0
"""safe_open.prefetch: what it hands out, in how much memory, and what happens when things end early."""

import gc
import inspect
import os
import pickle
import subprocess
import sys
import textwrap
import threading
import time
import weakref

import pytest
from conftest import forks_with_threads
from hypothesis import given, settings
from hypothesis import strategies as st

np = pytest.importorskip("numpy")

import safetensors  # noqa: E402
from safetensors import SafetensorError, _prefetch, safe_open  # noqa: E402
from safetensors.numpy import save_file  # noqa: E402

NEVER = 60.0  # seconds after which something that is to happen has not happened


@pytest.fixture
def pool(monkeypatch):
    """A pool of this test's own."""
    own = _prefetch._Pool()
    monkeypatch.setattr(_prefetch, "_pool", own)
    yield own
    own.stop()
    assert own.held == sum(item.size for plan in own.known for item in plan.ready.values())


@pytest.fixture
def arrays():
    made = {f"a{i}": np.arange(i * 1000, i * 1000 + 60, dtype=np.float32).reshape(6, 10) for i in range(20)}
    made["scalar"] = np.array(3.5)
    made["empty"] = np.zeros((0, 4), np.int16)
    made["bytes"] = np.arange(7, dtype=np.uint8)
    return made


@pytest.fixture
def path(arrays, tmp_path):
    save_file(arrays, tmp_path / "t.safetensors")
    return str(tmp_path / "t.safetensors")


def until(condition, what):
    """Waits for what other threads bring about."""
    end = time.monotonic() + NEVER
    while not condition():
        assert time.monotonic() < end, f"{what} did not come about"
        time.sleep(0.001)


def in_thread(work):
    """Runs something that might hang; gives its result."""
    result = []
    thread = threading.Thread(target=lambda: result.append(work()), daemon=True)
    thread.start()
    thread.join(NEVER)
    assert result, "it hangs, or it failed"
    return result[0]


def same(found, expected):
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert found[name].dtype == array.dtype and np.array_equal(found[name], array), name
        assert found[name].shape == array.shape
    return True


# ------------------------------------------------------------------------------------ surface


@pytest.mark.parametrize("name", ["PrefetchLoader", "TensorStream"])
def test_types(name):
    from safetensors import _safetensors_rust

    kind = getattr(_safetensors_rust, name)
    assert kind is getattr(_prefetch, name)
    assert (kind.__module__, kind.__qualname__) == ("safetensors", name)
    with pytest.raises(TypeError, match=f"^cannot create 'safetensors.{name}' instances$"):
        kind()
    with pytest.raises(TypeError, match=f"^type 'safetensors.{name}' is not an acceptable base type$"):
        type("Sub", (kind,), {})
    assert kind.__doc__


def test_exported():
    assert safetensors.PrefetchLoader is _prefetch.PrefetchLoader


def test_instances(path, pool):
    with safe_open(path, "np") as f, f.prefetch() as loader:
        assert iter(iter(loader)).__class__ is _prefetch.TensorStream
        for thing in (loader, iter(loader)):
            assert not hasattr(thing, "__dict__")
            with pytest.raises(TypeError, match="cannot pickle 'safetensors"):
                pickle.dumps(thing)


def test_signatures():
    found = {
        name: list(inspect.signature(getattr(_prefetch.PrefetchLoader, name)).parameters)
        for name in ("names", "take", "close", "__enter__", "__exit__")
    }
    assert found == {
        "names": ["self"],
        "take": ["self", "name"],
        "close": ["self"],
        "__enter__": ["self"],
        "__exit__": ["self", "_exc_type", "_exc_value", "_traceback"],
    }


def test_arguments_that_are_none(path):
    with safe_open(path, "np") as f:
        with pytest.raises(TypeError, match="^'int' object is not an instance of 'dict'$"):
            f.prefetch(1)
        with pytest.raises(TypeError, match=r"^prefetch\(\) takes at most 1 positional argument \(2 given\)$"):
            f.prefetch(None, "cpu")


# ----------------------------------------------------------------------------------- all of it


@pytest.mark.parametrize("backend", ["mmap", "pread", "direct", "auto"])
def test_iterate(path, arrays, pool, backend):
    with safe_open(path, "np", backend=backend) as f:
        loader = f.prefetch()
        assert len(loader) == len(arrays)
        assert loader.names() == f.offset_keys()
        assert same(dict(loader), arrays)
        assert list(loader) == [], "each is handed out once"


def test_take(path, arrays, pool):
    with safe_open(path, "np") as f, f.prefetch() as loader:
        assert same({name: loader.take(name) for name in reversed(loader.names())}, arrays)


def test_take_then_iterate(path, arrays, pool):
    with safe_open(path, "np") as f, f.prefetch() as loader:
        first = {name: loader.take(name) for name in ("a3", "a17", "empty")}
        rest = dict(loader)
        assert not first.keys() & rest.keys()
        assert same({**first, **rest}, arrays)


def test_two_streams_share(path, arrays, pool):
    with safe_open(path, "np") as f, f.prefetch() as loader:
        one, other = iter(loader), iter(loader)
        found = dict([next(one), next(other), next(one)])
        assert len(found) == 3
        assert same({**found, **dict(other)}, arrays)
        assert list(one) == []


def test_taking_again_reads_again(path, arrays, pool):
    with safe_open(path, "np") as f, f.prefetch() as loader:
        first = loader.take("a1")
        first[:] = -1
        second = loader.take("a1")
        assert np.array_equal(second, arrays["a1"])
        assert not np.shares_memory(first, second)
        assert same({**dict(loader), "a1": loader.take("a1")}, arrays)


def test_memory_of_its_own(path, arrays, pool):
    """What is written into a tensor shows nowhere else."""
    with safe_open(path, "np") as f, f.prefetch() as loader:
        found = dict(loader)
        for array in found.values():
            assert array.flags.writeable
            array[...] = 9
        assert same({name: f.get_tensor(name) for name in f.keys()}, arrays)
    assert same({name: safe_open(path, "np").get_tensor(name) for name in arrays}, arrays)


def test_the_loader_outlives_the_handle(path, arrays, pool):
    with safe_open(path, "np") as f:
        loader = f.prefetch(threads=1)
    assert same(dict(loader), arrays)
    assert np.array_equal(loader.take("a5"), arrays["a5"])


def test_loaders_side_by_side(path, arrays, pool):
    with safe_open(path, "np") as f:
        loaders = [f.prefetch() for _ in range(20)]
        assert np.array_equal(f.get_tensor("a4"), arrays["a4"])
        for loader in loaders:
            assert same(dict(loader), arrays)


@pytest.mark.parametrize("framework", ["pt", "flax"])
@pytest.mark.parametrize("backend", ["mmap", "pread", "direct", "auto"])
def test_frameworks(path, arrays, pool, framework, backend):
    pytest.importorskip({"pt": "torch", "flax": "jax"}[framework])
    with safe_open(path, framework, backend=backend) as f:
        with f.prefetch() as loader:
            found = dict(loader)
        for name in f.keys():
            expected = f.get_tensor(name)
            assert type(found[name]) is type(expected) and found[name].dtype == expected.dtype
            assert np.array_equal(np.asarray(found[name]), np.asarray(expected))


def test_torch_tensors_are_complete(path, pool):
    torch = pytest.importorskip("torch")
    from safetensors.torch import _is_complete

    with safe_open(path, "pt") as f, f.prefetch({"a1": None, "a2": slice(1, 3)}) as loader:
        for name, tensor in loader:
            assert _is_complete(tensor) and not tensor._is_view()
            assert tensor.device == torch.device("cpu")


@pytest.mark.parametrize("device", ["cpu", "cpu:0", None])
def test_device_cpu(path, arrays, pool, device):
    with safe_open(path, "np") as f, f.prefetch(device=device) as loader:
        assert same(dict(loader), arrays)


def test_device_meta(path, pool):
    pytest.importorskip("torch")
    with safe_open(path, "pt") as f, f.prefetch({"a1": (Ellipsis, 2), "a2": None}, device="meta") as loader:
        assert {name: (t.device.type, *t.shape) for name, t in loader} == {"a1": ("meta", 6), "a2": ("meta", 6, 10)}


def test_from_memory(path, arrays, pool):
    with open(path, "rb", buffering=0) as file, safetensors._safe_open_handle(file, "np") as f:
        assert same(dict(f.prefetch()), arrays)


# --------------------------------------------------------------------------------------- plans


def test_plan(path, arrays, pool):
    plan = {"bytes": slice(1, 3), "a3": None, "a1": (slice(None, None, -2), Ellipsis, 3), "a2": -1, "scalar": None}
    with safe_open(path, "np") as f, f.prefetch(plan) as loader:
        assert loader.names() == [name for name in f.offset_keys() if name in plan]
        assert len(loader) == 5
        expected = {name: arrays[name] if index is None else arrays[name][index] for name, index in plan.items()}
        assert same(dict(loader), expected)
        assert np.array_equal(loader.take("a1"), expected["a1"]), "taken again, it is the same part"


bound = st.none() | st.integers(-15, 15) | st.sampled_from([2**70, -(2**70)])
item = st.one_of(
    st.builds(slice, bound, bound, st.none() | st.integers(-4, 4).filter(bool)),
    st.integers(-6, 5),
    st.integers(-6, 5).map(np.int64),
    st.just(Ellipsis),
    st.none(),
)


@settings(deadline=None, max_examples=300)
@given(st.sampled_from(["a1", "bytes", "empty"]), st.lists(item, max_size=4), st.booleans())
def test_any_index(tmp_path_factory, name, items, single):
    """As NumPy does, or refused where NumPy refuses, before anything is read."""
    arrays = {
        "a1": np.arange(60, dtype=np.float32).reshape(6, 10),
        "bytes": np.arange(7, dtype=np.uint8),
        "empty": np.zeros((0, 4), np.int16),
    }
    path = tmp_path_factory.getbasetemp() / "any.safetensors"
    if not path.exists():
        save_file(arrays, path)
    index = items[0] if single and len(items) == 1 and items[0] is not None else tuple(items)
    with safe_open(str(path), "np") as f:
        try:
            expected = arrays[name][index]
        except IndexError:
            with pytest.raises((SafetensorError, IndexError)):
                f.prefetch({name: index})
        else:
            found = f.prefetch({name: index}).take(name)
            assert found.shape == expected.shape and np.array_equal(found, expected)


def refusal(f, plan, **options):
    with pytest.raises(SafetensorError) as raised:
        f.prefetch(plan, **options)
    return str(raised.value)


def test_plan_errors(path, pool):
    """The texts are upstream's."""
    with safe_open(path, "np") as f:
        assert refusal(f, {"zz": None}) == "File does not contain tensor zz"
        assert refusal(f, {"zz": "x"}) == "File does not contain tensor zz"
        values = "prefetch plan values must be None or a slice, got "
        assert refusal(f, {"a1": "x"}) == values + "<class 'str'> for a1"
        assert refusal(f, {"a1": 1.5}) == values + "<class 'float'> for a1"
        assert refusal(f, {"a1": True}) == values + "<class 'bool'> for a1"
        assert refusal(f, {"a1": [0, 1]}) == values + "<class 'list'> for a1"
        assert refusal(f, {"a1": (0, [1])}) == values + "<class 'list'> for a1"
        assert refusal(f, {"a1": np.zeros(6, bool)}) == values + "<class 'numpy.ndarray'> for a1"
        assert refusal(f, {1: None}) == refusal(f, {1: "x"}) == "prefetch plan keys must be tensor names"
        assert refusal(f, {"a1": slice("x", 3)}) == "prefetch plan slice bounds for a1 must be integers or None"
        assert refusal(f, {"a1": slice(0, 3, "x")}) == (
            "invalid prefetch plan slice for a1: TypeError: "
            "slice indices must be integers or None or have an __index__ method"
        )
        assert refusal(f, {"a1": slice(0, 3, 0)}) == (
            "invalid prefetch plan slice for a1: ValueError: slice step cannot be zero"
        )
        assert refusal(f, {"scalar": slice(0, 1)}) == "cannot slice rows of the 0-d tensor scalar"
        assert refusal(f, {}) == "prefetch plan selects no tensors"
        assert "a1" in refusal(f, {"a1": 6})
        assert "a1" in refusal(f, {"a1": (0, 0, 0)})
        assert refusal(f, None, device="cuda:0") == "Device cuda:0 is not supported for framework numpy"
    with pytest.raises(SafetensorError, match="^File is closed$"):
        f.prefetch()


def test_no_tensors(tmp_path, pool):
    save_file({}, tmp_path / "none.safetensors")
    with safe_open(str(tmp_path / "none.safetensors"), "np") as f:
        assert refusal(f, None) == "prefetch plan selects no tensors"


@pytest.mark.parametrize("plan", [["a1"], "a1", 5, ("a1",)])
def test_plans_are_dicts(path, pool, plan):
    with safe_open(path, "np") as f:
        with pytest.raises(TypeError, match=f"^'{type(plan).__name__}' object is not an instance of 'dict'$"):
            f.prefetch(plan)


def test_threads_argument(path, arrays, pool):
    with safe_open(path, "np") as f:
        with pytest.raises(OverflowError, match="^can't convert negative int to unsigned$"):
            f.prefetch(threads=-1)
        with pytest.raises(TypeError, match="^'str' object cannot be interpreted as an integer$"):
            f.prefetch(threads="8")
        for threads in (0, 1, 3, 10_000, True):
            assert same(dict(f.prefetch(threads=threads)), arrays)


def test_names_outside_of_the_plan(path, pool):
    with safe_open(path, "np") as f, f.prefetch({"a1": None}) as loader:
        with pytest.raises(SafetensorError, match="^a2 is not in the prefetch plan$"):
            loader.take("a2")
        with pytest.raises(SafetensorError, match="^zz is not in the prefetch plan$"):
            loader.take("zz")


# -------------------------------------------------------------------------------------- dtypes


def write_raw(path, tensors):
    entries, data = [], b""
    for name, (dtype, shape, contents) in tensors.items():
        offsets = [len(data), len(data) + len(contents)]
        entries.append('"%s":{"dtype":"%s","shape":%s,"data_offsets":%s}' % (name, dtype, list(shape), offsets))
        data += contents
    header = ("{%s}" % ",".join(entries)).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + data)
    return str(path)


@pytest.fixture
def narrow(tmp_path):
    return write_raw(
        tmp_path / "narrow",
        {
            "bf16": ("BF16", (2, 2), bytes(range(8))),
            "e4m3": ("F8_E4M3", (3,), bytes(range(3))),
            "f4": ("F4", (2, 6), bytes(range(0x10, 0x16))),
            "f6": ("F6_E2M3", (2, 4), bytes(range(6))),
            "odd": ("F4", (2, 1), bytes(1)),
        },
    )


def test_narrow_dtypes_in_numpy(narrow, pool):
    pytest.importorskip("ml_dtypes")
    with safe_open(narrow, "np") as f:
        plan = {"f4": (1, slice(1, 4)), "f6": slice(1, None), "bf16": None, "e4m3": slice(None, None, 2), "odd": None}
        found = dict(f.prefetch(plan))
        for name, index in plan.items():
            expected = f.get_tensor(name) if index is None else f.get_tensor(name)[index]
            assert found[name].dtype == expected.dtype and found[name].tobytes() == expected.tobytes(), name


def test_narrow_dtypes_in_torch(narrow, pool):
    torch = pytest.importorskip("torch")
    if not hasattr(torch, "float4_e2m1fn_x2"):
        pytest.skip("this torch has no F4")
    with safe_open(narrow, "pt") as f:
        loader = f.prefetch({"f4": (slice(None), slice(1, None)), "f6": None, "e4m3": None})
        found = dict(loader)
        assert found["f4"].dtype == torch.float4_e2m1fn_x2
        assert found["f4"].view(torch.uint8).tolist() == [[0x11, 0x12], [0x14, 0x15]]
        assert found["f6"].dtype == torch.uint8 and found["f6"].tolist() == [[0, 1, 2], [3, 4, 5]]
        assert found["e4m3"].dtype == torch.float8_e4m3fn
        # What torch cannot hold is told when it is asked for, and keeps nothing else back.
        loader = f.prefetch()
        with pytest.raises(SafetensorError, match="odd"):
            loader.take("odd")
        assert loader.take("bf16").dtype == torch.bfloat16


# -------------------------------------------------------------------------------------- budget


class Watched:
    """Notes how much is held whenever something is read, and how many read at once."""

    def __init__(self, monkeypatch, pool):
        self.held = self.most = self.now = 0
        self.reads = []
        lock = threading.Lock()
        read = _prefetch._Plan.read

        def watched(plan, items):
            with lock:
                self.held = max(self.held, pool.held)
                self.now += 1
                self.most = max(self.most, self.now)
                self.reads.append([item.name for item in items])
            try:
                return read(plan, items)
            finally:
                with lock:
                    self.now -= 1

        monkeypatch.setattr(_prefetch._Plan, "read", watched)


@pytest.fixture
def big(tmp_path):
    """40 tensors of 40 KB each."""
    made = {f"t{i:02}": np.full((100, 100), i, np.float32) for i in range(40)}
    save_file(made, tmp_path / "big.safetensors")
    return str(tmp_path / "big.safetensors"), made


def settled(pool):
    """Whether the threads have done all that they may."""
    with pool:
        return all(plan.running == 0 for plan in pool.known) and pool._startable() is None


def test_back_pressure(big, pool, monkeypatch):
    """Threads read as much as the budget holds, and on as tensors are taken."""
    path, arrays = big
    watched = Watched(monkeypatch, pool)
    pool.budget = 200_000
    with safe_open(path, "np") as f:
        loader = f.prefetch()
        until(lambda: settled(pool), "the end of reading")
        assert pool.held == 200_000
        assert len(loader._plan.ready) == 5
        loader.take(next(iter(loader._plan.ready)))
        until(lambda: settled(pool), "the end of reading")
        assert pool.held == 200_000
        found = dict(loader)
        assert len(found) == 39
        assert watched.held <= 200_000
        assert pool.held == 0


def test_larger_than_the_budget(big, pool, monkeypatch):
    path, arrays = big
    watched = Watched(monkeypatch, pool)
    pool.budget = 1000
    with safe_open(path, "np") as f:
        loader = f.prefetch()
        until(lambda: settled(pool), "the end of reading")
        assert pool.held == 40_000, "one goes through alone"
        assert same(in_thread(lambda: dict(loader)), arrays)


@pytest.mark.parametrize("budget", [0, 1000, 100_000])
def test_taking_never_waits_for_the_budget(big, pool, budget):
    """Neither do other loaders, whoever holds the memory."""
    path, arrays = big
    pool.budget = budget
    with safe_open(path, "np") as f:
        hoarder = f.prefetch()
        until(lambda: settled(pool), "the end of reading")
        assert pool.held > 0
        loader, other = f.prefetch(), f.prefetch({"t07": slice(3, 5), "t09": None})
        assert same(in_thread(lambda: {n: loader.take(n) for n in reversed(loader.names())}), arrays)
        assert same(in_thread(lambda: dict(other)), {"t07": arrays["t07"][3:5], "t09": arrays["t09"]})
        assert same(in_thread(lambda: dict(hoarder)), arrays)


def test_closing_makes_room(big, pool):
    path, arrays = big
    pool.budget = 100_000
    with safe_open(path, "np") as f:
        hoarder = f.prefetch()
        until(lambda: settled(pool), "the end of reading")
        loader = f.prefetch()
        assert not loader._plan.ready
        hoarder.close()
        until(lambda: len(loader._plan.ready) == 2, "reading")
        assert pool.held == 80_000


def test_budget_from_the_environment():
    code = "from safetensors import _prefetch; print(_prefetch._pool.budget)"
    for said, expected in [("123456", "123456"), ("", None), ("much", None)]:
        env = {**os.environ, "SAFETENSORS_PREFETCH_MEMORY": said}
        found = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True).stdout
        assert found.strip() == (expected or str(min(1 << 30, _prefetch._memory_of_machine() // 4)))


def test_small_tensors_are_read_together(tmp_path, pool, monkeypatch):
    arrays = {f"{i:05}": np.full(4, i, np.int32) for i in range(2000)}
    save_file(arrays, tmp_path / "many.safetensors")
    watched = Watched(monkeypatch, pool)
    with safe_open(str(tmp_path / "many.safetensors"), "np") as f:
        assert same(dict(f.prefetch()), arrays)
    assert len(watched.reads) == 16
    assert [name for group in sorted(watched.reads) for name in group] == sorted(arrays)


# ------------------------------------------------------------------------------------- threads


class Gate:
    """Holds reads back until it is opened."""

    def __init__(self, monkeypatch, names=None):
        self.open = threading.Event()
        self.waiting = []
        read = _prefetch._Plan.read

        def gated(plan, items):
            if names is None or names & {item.name for item in items}:
                self.waiting.append(items)
                assert self.open.wait(NEVER)
            return read(plan, items)

        monkeypatch.setattr(_prefetch._Plan, "read", gated)


@pytest.mark.parametrize("threads", [1, 3])
def test_threads_are_a_cap(big, pool, monkeypatch, threads):
    path, arrays = big
    monkeypatch.setattr(_prefetch, "_GROUP_BYTES", 40_000)
    gate = Gate(monkeypatch)
    with safe_open(path, "np") as f:
        loader = f.prefetch(threads=threads)
        until(lambda: len(gate.waiting) == threads, "reading")
        with pool:
            assert loader._plan.running == threads and pool._startable() is None
            assert len(pool.workers) <= threads
        gate.open.set()
        assert same(dict(loader), arrays)


def test_one_pool_for_all(big, pool, monkeypatch):
    path, arrays = big
    monkeypatch.setattr(_prefetch, "_GROUP_BYTES", 40_000)
    pool.max_workers = 5
    gate = Gate(monkeypatch)
    with safe_open(path, "np") as f:
        loaders = [f.prefetch() for _ in range(6)]
        until(lambda: len(gate.waiting) == 5, "reading")
        with pool:
            assert sum(loader._plan.running for loader in loaders) == len(pool.workers) == 5
        gate.open.set()
        for loader in loaders:
            assert same(dict(loader), arrays)
        assert len(pool.workers) <= 5


def test_loaders_take_turns(big, pool, monkeypatch):
    path, arrays = big
    monkeypatch.setattr(_prefetch._Pool, "_start", lambda pool: None)
    with safe_open(path, "np") as f:
        plans = [f.prefetch()._plan for _ in range(2)]
        loaders = [f.prefetch() for _ in range(3)]
        with pool:
            chosen = [pool._startable() for _ in range(6)]
    assert len(set(map(id, chosen))) == 3 and chosen[:3] == chosen[3:]
    assert set(chosen) == {loader._plan for loader in loaders}, "and none that were given up"
    assert all(plan.closed for plan in plans)


def test_idle_threads_end(path, arrays, pool, monkeypatch):
    monkeypatch.setattr(_prefetch, "_IDLE_SECONDS", 0.01)
    with safe_open(path, "np") as f:
        assert same(dict(f.prefetch()), arrays)
        until(lambda: not pool.workers, "the end of the threads")
        assert pool.idle == 0
        assert same(dict(f.prefetch()), arrays)


def test_idle_threads_keep_nothing(path, pool):
    """Neither files nor tensors."""
    with safe_open(path, "np") as f:
        loader = f.prefetch()
        file, plan = weakref.ref(loader), weakref.ref(loader._plan)
        list(loader)
        until(lambda: pool.idle == len(pool.workers), "the end of reading")
    del loader
    until(lambda: gc.collect() >= 0 and file() is plan() is None, "the end of the loader")


def test_without_threads(path, arrays, pool, monkeypatch):
    """Where no thread can be started the caller reads."""

    def refuse(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with safe_open(path, "np") as f:
        loader = f.prefetch()
        assert pool.workers == set()
        assert np.array_equal(loader.take("a7"), arrays["a7"])
        assert same({"a7": loader.take("a7"), **dict(loader)}, arrays)


def test_takers_in_many_threads(big, pool):
    """Each gets every tensor, and no two of them the same memory."""
    path, arrays = big
    pool.budget = 150_000
    found = []
    with safe_open(path, "np") as f, f.prefetch() as loader:
        threads = [
            threading.Thread(target=lambda: found.append({n: loader.take(n) for n in loader.names()}))
            for _ in range(16)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(NEVER)
    assert len(found) == 16 and all(same(one, arrays) for one in found)
    assert len({array.ctypes.data for one in found for array in one.values()}) == 16 * len(arrays)


def test_iterating_in_many_threads(big, pool):
    """Each tensor goes to one of them."""
    path, arrays = big
    found = []
    with safe_open(path, "np") as f, f.prefetch() as loader:
        threads = [threading.Thread(target=lambda: found.extend(loader)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(NEVER)
    assert len(found) == len(arrays) and same(dict(found), arrays)


def test_readiness_order(big, pool, monkeypatch):
    """Iterating does not wait for the first tensor where others are ready."""
    path, arrays = big
    monkeypatch.setattr(_prefetch, "_GROUP_BYTES", 40_000)
    gate = Gate(monkeypatch, {"t00"})
    with safe_open(path, "np") as f:
        loader = f.prefetch(threads=2)
        until(lambda: gate.waiting, "reading")
        stream = iter(loader)
        early = dict([in_thread(lambda: next(stream)) for _ in range(39)])
        assert "t00" not in early
        gate.open.set()
        assert same({**early, **dict(stream)}, arrays)


def test_take_waits_for_a_read_under_way(big, pool, monkeypatch):
    path, arrays = big
    gate = Gate(monkeypatch, {"t00"})
    with safe_open(path, "np") as f:
        loader = f.prefetch({"t00": None})
        until(lambda: gate.waiting, "reading")
        found = []
        taker = threading.Thread(target=lambda: found.append(loader.take("t00")))
        taker.start()
        until(lambda: loader._plan.changed._waiters, "waiting")
        gate.open.set()
        taker.join(NEVER)
        assert np.array_equal(found[0], arrays["t00"])
        assert len(gate.waiting) == 1, "it was read once"


# --------------------------------------------------------------------------------------- ends


def closed(call):
    with pytest.raises(SafetensorError, match="^prefetch loader closed$"):
        call()
    return True


def test_close(path, arrays, pool):
    with safe_open(path, "np") as f:
        loader = f.prefetch()
        kept, stream = loader.take("a1"), iter(loader)
        next(stream)
        loader.close()
        loader.close()
        assert closed(lambda: loader.take("a2")) and closed(lambda: iter(loader)) and closed(lambda: next(stream))
        assert len(loader) == len(loader.names()) == len(arrays)
        assert np.array_equal(kept, arrays["a1"])
        until(lambda: pool.held == 0, "the end of reading")
        with f.prefetch() as loader:
            assert loader.__enter__() is loader
        assert closed(lambda: loader.take("a2"))


def test_the_context_manager_passes_errors_on(path, pool):
    with safe_open(path, "np") as f, pytest.raises(KeyError):
        with f.prefetch() as loader:
            raise KeyError
    assert closed(lambda: loader.take("a1"))


def test_close_while_reading(big, pool, monkeypatch):
    """It waits for nothing, and wakes those who do."""
    path, arrays = big
    gate = Gate(monkeypatch)
    with safe_open(path, "np") as f:
        loader = f.prefetch()
        until(lambda: gate.waiting, "reading")
        errors = []

        def take(call):
            try:
                call()
            except SafetensorError as error:
                errors.append(str(error))

        waiters = [
            threading.Thread(target=take, args=[call])
            for call in (lambda: loader.take(gate.waiting[0][0].name), lambda: [*loader])
        ]
        for waiter in waiters:
            waiter.start()
        until(lambda: loader._plan.changed._waiters, "waiting")
        in_thread(lambda: loader.close() or True)
        for waiter in waiters:
            waiter.join(NEVER)
        assert set(errors) == {"prefetch loader closed"}
        gate.open.set()
        until(lambda: pool.held == 0, "the end of reading")
        assert not loader._plan.ready


def test_abandoned_loaders_go(big, pool):
    path, arrays = big
    pool.budget = 100_000
    with safe_open(path, "np") as f:
        loader = f.prefetch()
        until(lambda: settled(pool), "the end of reading")
        known, gone = weakref.ref(loader), weakref.ref(loader._plan)
        del loader
        until(lambda: gc.collect() >= 0 and known() is gone() is None, "the end of the loader")
        assert pool.held == 0 and not pool.plans
        assert same(dict(f.prefetch()), arrays)


def test_abandoned_while_reading(big, pool, monkeypatch):
    path, arrays = big
    gate = Gate(monkeypatch)
    with safe_open(path, "np") as f:
        loader = f.prefetch()
        until(lambda: gate.waiting, "reading")
        known = weakref.ref(loader)
        del loader
        gc.collect()
        assert known() is None, "threads hold no loaders"
        gate.open.set()
        until(lambda: pool.held == 0, "the end of reading")


def test_streams_keep_their_loader(path, arrays, pool):
    with safe_open(path, "np") as f:
        assert same(dict(iter(f.prefetch())), arrays)


def test_abandoned_while_the_pool_is_locked(big, pool):
    """As when the collector runs in the middle of something: nothing waits, and nothing is lost."""
    path, arrays = big
    with safe_open(path, "np") as f:
        loader = f.prefetch()
        until(lambda: not loader._plan.groups and settled(pool), "the end of reading")
        assert pool.held == 40 * 40_000
        with pool:
            del loader
            assert len(pool.abandoned) == 1
        assert pool.held == 0 and not pool.abandoned


# -------------------------------------------------------------------------------------- errors


def test_errors_come_with_their_tensor(big, pool):
    """And leave the others alone."""
    path, arrays = big
    with safe_open(path, "np") as f:
        last = f.offset_keys()[-1]
        os.truncate(path, os.path.getsize(path) - 100)
        loader = f.prefetch()
        until(lambda: settled(pool), "the end of reading")
        for _ in range(2):
            with pytest.raises(SafetensorError, match=f'tensor "{last}"'):
                loader.take(last)
        stream, found, errors = iter(f.prefetch()), 0, []
        while True:
            try:
                next(stream)
            except StopIteration:
                break
            except SafetensorError as error:
                errors.append(str(error))
            else:
                found += 1
        assert found + len(errors) == 40
        assert any(f'tensor "{last}"' in error for error in errors)


def test_reading_into_a_buffer(path, arrays):
    """What `_device` fills its pieces by: every part is where it is expected, or nothing is read."""
    with safe_open(path, "np") as f:
        file = f.get_slice("a1")._file
    read, buffer = _prefetch._native._read_many_into, bytearray(48)
    assert read(file, ["a2", "bytes"], [(0, slice(None)), slice(1, None, 2)], buffer) == [None, None]
    assert buffer == arrays["a2"][0].tobytes() + arrays["bytes"][1::2].tobytes() + bytes(5)
    for names, indices in ((["zz", "a2"], [None, 0]), (["a2", "bytes"], [9, None])):
        with pytest.raises(SafetensorError):
            read(file, names, indices, buffer)
    with pytest.raises(ValueError, match=r"^tensor '\w+': \d+ bytes are to be read, and the buffer has room for \d+$"):
        read(file, ["a2"], [None], buffer)
    with pytest.raises(BufferError):
        read(file, ["bytes"], [None], bytes(10))
    with pytest.raises(ValueError, match="as many indices"):
        read(file, ["bytes"], [], buffer)
    with pytest.raises(TypeError):
        read(f, ["bytes"], [None], buffer)


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("torn"), KeyError("x"), OSError(5, "I/O")], ids=repr)
def test_errors_of_a_whole_group(path, pool, monkeypatch, error):
    """They keep their class, and each tensor is told of it."""

    def fail(*_):
        raise error

    with safe_open(path, "np") as f:
        monkeypatch.setattr(_prefetch._native, "_read_many", fail)
        loader = f.prefetch()
        for name in ("a1", "a2"):
            with pytest.raises(type(error)) as raised:
                loader.take(name)
            said = [str(raised.value), *getattr(raised.value, "__notes__", [])]
            assert any(f'tensor "{name}"' in text for text in said)
        monkeypatch.undo()


def test_an_interrupted_reader_loses_nothing(path, arrays, pool, monkeypatch):
    read = _prefetch._Plan.read
    monkeypatch.setattr(_prefetch._Pool, "_start", lambda pool: None)

    def interrupted(plan, items):
        raise KeyboardInterrupt

    with safe_open(path, "np") as f:
        loader = f.prefetch()
        monkeypatch.setattr(_prefetch._Plan, "read", interrupted)
        stream = iter(loader)
        with pytest.raises(KeyboardInterrupt):
            next(stream)
        assert pool.held == 0
        monkeypatch.setattr(_prefetch._Plan, "read", read)
        assert same(dict(stream), arrays)


# ----------------------------------------------------------------------------------- processes


def run(code, *arguments):
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code), *arguments],
        capture_output=True,
        text=True,
        timeout=NEVER,
    )


def test_the_end_of_the_process(big):
    """Threads that are at work do not get in its way."""
    done = run(
        """
        import sys
        from safetensors import safe_open
        loaders = [safe_open(sys.argv[1], "np").prefetch(threads=4) for _ in range(30)]
        print(loaders[3].take("t01")[0, 0])
        """,
        big[0],
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "1.0\n", "")


@forks_with_threads
def test_fork(big):
    """The child has its own pool, and what the parent's threads were reading is read in both."""
    done = run(
        """
        import os, sys, warnings
        from safetensors import safe_open, _prefetch
        warnings.simplefilter("ignore", DeprecationWarning)  # forking with threads
        _prefetch._GROUP_BYTES = 40_000
        f = safe_open(sys.argv[1], "np")

        def check(loader):
            found = dict(loader)
            return len(found) == 40 and all((array == int(name[1:])).all() for name, array in found.items())

        good = 0
        for budget in [1 << 30, 200_000] * 10:
            _prefetch._pool.budget = budget
            finished, loader = f.prefetch(), f.prefetch()
            dict(finished)
            child = os.fork()
            if child == 0:
                fine = check(loader) and (finished.take("t05") == 5).all() and check(f.prefetch())
                finished.close()
                os._exit(0 if fine and _prefetch._pool.held == 0 else 1)
            good += check(loader) and os.waitpid(child, 0)[1] == 0
        print(good)
        """,
        big[0],
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "20\n", "")
