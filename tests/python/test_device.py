# SPDX-License-Identifier: Apache-2.0
"""Tensors on other devices: torch's own meta device, and one that stands in for a GPU."""

import contextlib
import os
import threading
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
np = pytest.importorskip("numpy")

from safetensors import SafetensorError, _device, safe_open  # noqa: E402
from safetensors.torch import save_file  # noqa: E402

DTYPES = [
    "bool uint8 int8 uint16 int16 uint32 int32 uint64 int64 float16 bfloat16 float32 float64 complex64".split(),
    "float8_e4m3fn float8_e5m2 float8_e8m0fnu float8_e4m3fnuz float8_e5m2fnuz float4_e2m1fn_x2".split(),
]
DTYPES = [name for group in DTYPES for name in group if hasattr(torch, name)]


def random_tensor(dtype, *shape):
    size = torch.empty(0, dtype=dtype).element_size()
    count = int(np.prod(shape, dtype=int))
    high = 2 if dtype == torch.bool else 256
    data = torch.randint(0, high, (count * size,), dtype=torch.uint8)
    return data.view(dtype).reshape(shape)


def same(one, other):
    """Equal in all bits; also of dtypes that have no ==, and NaNs."""
    return (
        one.dtype == other.dtype
        and one.shape == other.shape
        and one.contiguous().view(-1).view(torch.uint8).equal(other.contiguous().view(-1).view(torch.uint8))
    )


@pytest.fixture
def tensors():
    torch.manual_seed(0)
    made = {name: random_tensor(getattr(torch, name), 7, 6) for name in DTYPES}
    made["matrix"] = random_tensor(torch.float32, 33, 17)
    made["cube"] = random_tensor(torch.int16, 5, 4, 9)
    made["scalar"] = torch.tensor(3.5)
    made["empty"] = torch.zeros(0, 4)
    return made


@pytest.fixture
def path(tensors, tmp_path):
    save_file(tensors, tmp_path / "t.safetensors")
    return str(tmp_path / "t.safetensors")


# ------------------------------------------------------------------------------ the stand-in


class Stream:
    """Copies that were asked for and not made yet."""

    def __init__(self):
        self.pending = []
        self.asked = 0  # copies in all

    def add(self, to, source):
        self.pending.append((to, source))
        self.asked += 1

    def run(self, until):
        """Makes the copies up to the one of that number."""
        while self.asked - len(self.pending) < until:
            to, source = self.pending.pop(0)
            to.copy_(source)


class Gpu:
    """torch as `_device` uses it, with a "cuda" whose memory is the host's. Copies that need not block are made as late
    as they may be: when an event behind them is waited for. A piece that is filled again too early shows as wrong data.
    """

    def __init__(self, pinning=True, storages=True, indices=2):
        self.stream = Stream()
        self.pinned = []  # sizes of pinned memory asked for
        self.host = []  # of other memory of the host
        self.copied = []  # sizes of the copies, in their order
        self.pinning = pinning
        self.storages = storages
        self.uint8 = torch.uint8
        gpu = self

        class Event:
            def record(self):
                self.behind = gpu.stream.asked

            def synchronize(self):
                gpu.stream.run(self.behind)

        self.cuda = SimpleNamespace(
            Event=Event, current_device=lambda: 1, device=lambda device: contextlib.nullcontext()
        )

    def __getattr__(self, name):
        return getattr(torch, name)

    def device(self, device):
        return torch.device(f"cuda:{device}") if isinstance(device, int) else torch.device(device)

    def empty(self, shape, *, dtype=None, device, pin_memory=False):
        device = torch.device(device)
        if device.type == "cpu":
            (self.pinned if pin_memory else self.host).append(shape)
            if pin_memory and not self.pinning:
                raise RuntimeError("cannot pin")
            return torch.empty(shape, dtype=dtype)
        return OnGpu(self, torch.empty(shape, dtype=dtype))


class OnGpu:
    """A tensor of the stand-in."""

    def __init__(self, gpu, tensor):
        self.gpu = gpu
        self.tensor = tensor

    def untyped_storage(self):
        if not self.gpu.storages:
            raise NotImplementedError("this device has no storages")
        return self.tensor.untyped_storage()

    def set_(self, storage, offset, size):
        self.tensor.set_(storage, offset, size)

    def view(self, *shape):
        return OnGpu(self.gpu, self.tensor.view(*shape))

    def __getitem__(self, index):
        return OnGpu(self.gpu, self.tensor[index])

    def copy_(self, source, non_blocking=False):
        self.gpu.copied.append(source.nbytes)
        if non_blocking:
            self.gpu.stream.add(self.tensor, source)
        else:
            self.tensor.copy_(source)


@pytest.fixture
def gpu(monkeypatch):
    return install(monkeypatch, Gpu())


def install(monkeypatch, gpu, piece=256, count=4):
    monkeypatch.setattr(_device, "_torch", lambda: gpu)
    monkeypatch.setattr(_device, "PIECE_BYTES", piece)
    monkeypatch.setattr(_device, "PIECE_COUNT", count)
    pieces = _device._Pieces()
    monkeypatch.setattr(_device, "_pieces", pieces)
    return gpu


# ------------------------------------------------------------------------------------- meta


@pytest.mark.parametrize("backend", ["mmap", "pread", "direct", "auto"])
def test_meta(path, tensors, backend):
    with safe_open(path, "pt", backend=backend) as f:
        for name, tensor in tensors.items():
            found = _device.tensor(f.get_slice(name), "meta")
            assert (found.device.type, found.dtype, found.shape) == ("meta", tensor.dtype, tensor.shape)
        part = _device.part(f.get_slice("matrix"), (slice(3, 20, 4), None, -1), torch.device("meta"))
        assert (part.device.type, part.shape) == ("meta", (5, 1))


def test_handle_on_meta(path, tensors):
    with safe_open(path, "pt", device="meta") as f:
        assert f.get_tensor("matrix").device.type == "meta"
        assert f.get_slice("cube")[1:, ..., 2].shape == (4, 4)
        assert {name: t.shape for name, t in f.get_tensors().items()} == {n: t.shape for n, t in tensors.items()}


# ------------------------------------------------------------------------------ whole tensors


@pytest.mark.parametrize("storages", [True, False])
@pytest.mark.parametrize("piece", [8, 56, 256, 1 << 20])
@pytest.mark.parametrize("device", ["cuda:1", "cuda", 0, torch.device("cuda", 1), "mtia", "xla:0"])
def test_whole(path, tensors, monkeypatch, device, piece, storages):
    gpu = install(monkeypatch, Gpu(storages=storages), piece=piece)
    with safe_open(path, "pt") as f:
        for name, tensor in tensors.items():
            found = _device.tensor(f.get_slice(name), device).tensor
            assert same(found, tensor), name
    assert not gpu.stream.pending
    assert max(gpu.copied) <= piece
    assert _device._pieces.left == 4


def test_pieces_by_turns(path, tensors, gpu):
    with safe_open(path, "pt") as f:
        found = _device.tensor(f.get_slice("matrix"), "cuda:0").tensor
    assert same(found, tensors["matrix"])
    # Rows of 68 bytes: 3 of them to a piece.
    assert gpu.copied == [204] * 11
    assert gpu.pinned == [256, 256]
    assert gpu.host == []


def test_pinned_pieces_are_kept(path, gpu):
    with safe_open(path, "pt") as f:
        for _ in range(3):
            _device.tensor(f.get_slice("matrix"), "cuda:0")
    assert gpu.pinned == [256, 256]
    assert len(_device._pieces.free) == 2


def test_small_host_memory_elsewhere(path, gpu):
    """Devices that are not known to copy by themselves get plain memory, and no more than is needed."""
    with safe_open(path, "pt") as f:
        _device.tensor(f.get_slice("scalar"), "xla:0")
        _device.tensor(f.get_slice("matrix"), "xla:0")
    assert gpu.pinned == []
    assert gpu.host == [4, 256]
    assert _device._pieces.free == []


def test_many_in_one_piece(path, tensors, gpu):
    """Small tensors that are read together travel in one piece."""
    names = ["float16", "scalar", "empty", "int8"]
    with safe_open(path, "pt") as f:
        file = f.get_slice("scalar")._file
        found = _device.read(file, names, [None, None, None, (slice(None), 2)], "cuda:0")
    assert all(same(t.tensor, tensors[n]) for n, t in zip(names[:3], found))
    assert same(found[3].tensor, tensors["int8"][:, 2])
    assert gpu.pinned == [256]


def test_whole_files(path, tensors, gpu):
    """Through two pieces, whatever the tensors' sizes."""
    with safe_open(path, "pt") as f:
        file, names = f.get_slice("scalar")._file, f.offset_keys()
        found = _device.tensors(file, names, "cuda:0")
        assert list(found) == names and all(same(t.tensor, tensors[n]) for n, t in found.items())
        assert gpu.pinned == [256, 256]
        with pytest.raises(SafetensorError, match="zz"):
            _device.tensors(file, ["scalar", "zz"], "cuda:0")


def test_handle_on_gpu(path, tensors, gpu):
    """The whole way, from the file to the device."""
    with safe_open(path, "pt", device="cuda:0") as f:
        assert same(f.get_tensor("matrix").tensor, tensors["matrix"])
        assert same(f.get_slice("cube")[1:3, :, ::-2].tensor, tensors["cube"][1:3].flip(-1)[..., ::2])
        assert all(same(t.tensor, tensors[n]) for n, t in f.get_tensors().items())
        with f.prefetch() as loader:
            assert all(same(t.tensor, tensors[n]) for n, t in loader)
        with f.prefetch({"cube": (Ellipsis, 3)}, device=1) as loader:
            assert same(loader.take("cube").tensor, tensors["cube"][..., 3])


def test_the_current_device_is_the_callers(gpu):
    """A thread of the pool has a current device of its own."""
    assert _device.resolve("cuda") == torch.device("cuda:1")
    assert _device.resolve(0) == torch.device("cuda:0")


# -------------------------------------------------------------------------------------- parts

bound = st.none() | st.integers(-12, 12)
item = st.one_of(
    st.builds(slice, bound, bound, st.none() | st.integers(-4, 4).filter(bool)),
    st.integers(-3, 2),
    st.none(),
)
shapes = st.lists(st.integers(3, 9), min_size=0, max_size=4).map(tuple)
indexed = st.lists(item, max_size=6)


@st.composite
def indices(draw):
    """A shape and a plain index of it."""
    shape = draw(shapes)
    items = draw(indexed)
    while sum(i is not None for i in items) > len(shape):
        items.pop()
    if draw(st.booleans()):
        items.insert(draw(st.integers(0, len(items))), Ellipsis)
    return shape, items[0] if len(items) == 1 and items[0] is not None and draw(st.booleans()) else tuple(items)


@settings(deadline=None, max_examples=200)
@given(indices(), st.integers(1, 40), st.sampled_from(["U8", "F32"]))
def test_parts_in_pieces(tmp_path_factory, case, rows, dtype):
    shape, index = case
    array = np.arange(np.prod(shape, dtype=int)).astype("u1" if dtype == "U8" else "f4").reshape(shape)
    folder = tmp_path_factory.getbasetemp()
    save_file({"t": torch.from_numpy(array)}, folder / "part.safetensors")
    with pytest.MonkeyPatch.context() as patch, safe_open(str(folder / "part.safetensors"), "pt") as f:
        gpu = install(patch, Gpu(), piece=rows * array.itemsize)
        found = _device.part(f.get_slice("t"), index, "cuda:0").tensor
        expected = array[index]
        assert found.shape == expected.shape
        assert np.array_equal(found.numpy(), expected)
        assert sum(gpu.copied) == expected.nbytes
        assert max(gpu.copied, default=0) <= rows * array.itemsize


@pytest.mark.parametrize("index", [[0, 2], torch.tensor([1, 1]), None, (Ellipsis, [0])], ids=str)
def test_what_is_no_plain_index_is_the_frameworks(path, tensors, gpu, index):
    with safe_open(path, "pt") as f:
        assert same(_device.part(f.get_slice("cube"), index, "cuda:0").tensor, tensors["cube"][index])


@pytest.mark.skipif("float4_e2m1fn_x2" not in DTYPES, reason="this torch has no F4")
def test_f4(path, tensors, gpu):
    with safe_open(path, "pt") as f:
        found = _device.part(f.get_slice("float4_e2m1fn_x2"), (slice(1, 6, 2), slice(-2, None)), "cuda:0").tensor
    assert found.dtype == torch.float4_e2m1fn_x2
    assert same(found, tensors["float4_e2m1fn_x2"].view(torch.uint8)[1:6:2, -2:].contiguous().view(found.dtype))


def write_raw(path, dtype, shape, data):
    header = ('{"t":{"dtype":"%s","shape":%s,"data_offsets":[0,%d]}}' % (dtype, list(shape), len(data))).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + data)


def test_f6_is_bytes(tmp_path, gpu):
    write_raw(tmp_path / "f6", "F6_E2M3", (2, 8), bytes(range(12)))
    with safe_open(str(tmp_path / "f6"), "pt") as f:
        found = _device.tensor(f.get_slice("t"), "cuda:0").tensor
    assert (found.dtype, found.tolist()) == (torch.uint8, [list(range(6)), list(range(6, 12))])


# -------------------------------------------------------------------------------------- errors


def test_refused_shapes_name_the_tensor(tmp_path, gpu):
    write_raw(tmp_path / "f4", "F4", (2, 1), bytes(1))
    with safe_open(str(tmp_path / "f4"), "pt") as f:
        with pytest.raises(SafetensorError, match="'t'.*cuda:0|\"t\".*cuda:0"):
            _device.tensor(f.get_slice("t"), "cuda:0")


def test_read_errors_name_tensor_and_device(path, gpu):
    with safe_open(path, "pt") as f:
        slice_ = f.get_slice("matrix")
        os.truncate(path, os.path.getsize(path) - 2000)
        with pytest.raises(SafetensorError, match='"matrix".*cuda:0'):
            _device.tensor(slice_, "cuda:0")
    assert _device._pieces.left == 4 and not gpu.stream.pending


class TooFull(RuntimeError):
    """As torch.OutOfMemoryError."""


def test_device_errors_keep_their_class(path, gpu, monkeypatch):
    def empty(shape, **options):
        if torch.device(options["device"]).type == "cuda":
            raise TooFull("out of memory")
        return Gpu.empty(gpu, shape, **options)

    monkeypatch.setattr(gpu, "empty", empty)
    with safe_open(path, "pt") as f:
        with pytest.raises(TooFull, match='tensor "matrix": out of memory .*cuda:0') as raised:
            _device.tensor(f.get_slice("matrix"), "cuda:0")
    assert isinstance(raised.value.__cause__, TooFull)


def test_pieces_survive_a_failing_copy(path, gpu, monkeypatch):
    monkeypatch.setattr(OnGpu, "copy_", lambda *_, **__: (_ for _ in ()).throw(RuntimeError("bus")))
    with safe_open(path, "pt") as f:
        with pytest.raises(RuntimeError, match='"matrix": bus'):
            _device.tensor(f.get_slice("matrix"), "cuda:0")
    assert _device._pieces.left == 4


def test_memory_that_cannot_be_pinned(path, tensors, monkeypatch):
    gpu = install(monkeypatch, Gpu(pinning=False))
    with safe_open(path, "pt") as f:
        assert same(_device.tensor(f.get_slice("matrix"), "cuda:0").tensor, tensors["matrix"])
    assert gpu.pinned == gpu.host == [256, 256]
    assert _device._pieces.left == 4


@pytest.mark.parametrize("device", ["cuda:x", "nonsense", object(), 1.5])
def test_bad_devices(path, device):
    with safe_open(path, "pt") as f:
        with pytest.raises(SafetensorError, match="^device .* is invalid"):
            f.prefetch(device=device)


# ------------------------------------------------------------------------------------- threads


@pytest.mark.parametrize("count", [1, 2, 3])
def test_more_threads_than_pieces(path, tensors, monkeypatch, count):
    """Uploads wait for each other's pieces, and never for ever."""
    install(monkeypatch, Gpu(), count=count)
    wrong = []

    def load():
        # A stream of its own each, as threads have.
        with safe_open(path, "pt") as f:
            for name in ("matrix", "cube", "float64"):
                if not same(_device.tensor(f.get_slice(name), "xla:0").tensor, tensors[name]):
                    wrong.append(name)

    threads = [threading.Thread(target=load) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    assert wrong == [] and _device._pieces.left == count


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("piece", [4096, _device.PIECE_BYTES])
def test_a_real_gpu(path, tensors, monkeypatch, piece):
    monkeypatch.setattr(_device, "PIECE_BYTES", piece)
    with safe_open(path, "pt", device="cuda") as f:
        for name, tensor in tensors.items():
            found = f.get_tensor(name)
            assert found.device.type == "cuda" and same(found.cpu(), tensor)
        assert same(f.get_slice("cube")[:, 1:, ::2].cpu(), tensors["cube"][:, 1:, ::2])
        with f.prefetch() as loader:
            assert all(same(t.cpu(), tensors[n]) for n, t in loader)
