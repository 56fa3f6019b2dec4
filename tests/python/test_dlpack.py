# SPDX-License-Identifier: Apache-2.0
"""DLPack: what capsules say, who frees what they hold, and torch's ways in with failures of every kind."""

import ctypes
import gc
import sys
import threading

import numpy as np
import pytest

from interpreter import run
from safetensors import safe_open
from safetensors import _safetensors_rust as extension

A = np.arange(12, dtype="float32").reshape(3, 4)
LARGE = np.arange(1 << 18, dtype="float32")

# By header code: DLPack's type code, bits, lanes.
TYPES = {
    "BOOL": (6, 8, 1),
    "U8": (1, 8, 1),
    "I8": (0, 8, 1),
    "U16": (1, 16, 1),
    "I16": (0, 16, 1),
    "U32": (1, 32, 1),
    "I32": (0, 32, 1),
    "U64": (1, 64, 1),
    "I64": (0, 64, 1),
    "F16": (2, 16, 1),
    "BF16": (4, 16, 1),
    "F32": (2, 32, 1),
    "F64": (2, 64, 1),
    "C64": (5, 64, 1),
    "F8_E4M3": (10, 8, 1),
    "F8_E5M2": (12, 8, 1),
    "F8_E8M0": (14, 8, 1),
    "F8_E4M3FNUZ": (11, 8, 1),
    "F8_E5M2FNUZ": (13, 8, 1),
    "F6_E2M3": (15, 6, 1),
    "F6_E3M2": (16, 6, 1),
    "F4": (17, 4, 2),
}


class Tensor(ctypes.Structure):
    _fields_ = [
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    ]


class Managed(ctypes.Structure):
    _fields_ = [("tensor", Tensor), ("owner", ctypes.c_void_p), ("deleter", ctypes.c_void_p)]


class Versioned(ctypes.Structure):
    _fields_ = [
        ("major", ctypes.c_uint32),
        ("minor", ctypes.c_uint32),
        ("owner", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p),
        ("flags", ctypes.c_uint64),
        ("tensor", Tensor),
    ]


python = ctypes.pythonapi
python.PyCapsule_GetPointer.restype = ctypes.c_void_p
python.PyCapsule_GetPointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
python.PyCapsule_SetName.argtypes = [ctypes.py_object, ctypes.c_char_p]
python.PyCapsule_IsValid.argtypes = [ctypes.py_object, ctypes.c_char_p]
python.PyCapsule_New.restype = ctypes.py_object
python.PyCapsule_New.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]

USED = b"used_dltensor"


def take(capsule, name=b"dltensor"):
    """Takes the capsule over as a consumer does; gives the address of what is managed. The name is borrowed."""
    address = python.PyCapsule_GetPointer(capsule, name)
    assert python.PyCapsule_SetName(capsule, USED) == 0
    return address


def mappings(path):
    with open("/proc/self/maps") as f:
        return sum(line.rstrip().endswith(str(path)) for line in f)


@pytest.fixture
def path(model):
    return model({"large": LARGE, "a": A, "empty": np.zeros((0, 3), "float32"), "one": np.float64(7)})


@pytest.fixture(params=["mmap", "pread"])
def backend(request):
    return request.param


@pytest.mark.parametrize(
    "version, name, kind",
    [
        (None, b"dltensor", Managed),
        ((1, 0), b"dltensor_versioned", Versioned),
        ((0, 8), b"dltensor", Managed),
        ((1, 9), b"dltensor_versioned", Versioned),
    ],
)
def test_what_a_capsule_says(path, backend, version, name, kind):
    with safe_open(path, "np", backend=backend) as f:
        slices = {key: f.get_slice(key) for key in f}
    arguments = {} if version is None else {"max_version": version}
    for key, shape, strides in [
        ("a", [3, 4], [4, 1]),
        ("one", [], []),
        ("empty", [0, 3], [3, 1]),
        ("large", [1 << 18], [1]),
    ]:
        capsule = slices[key].__dlpack__(**arguments)
        managed = kind.from_address(python.PyCapsule_GetPointer(capsule, name))
        tensor = managed.tensor
        assert (tensor.device_type, tensor.device_id) == slices[key].__dlpack_device__() == (1, 0)
        assert tensor.ndim == len(shape) and tensor.byte_offset == 0
        assert tensor.shape[: tensor.ndim] == shape and tensor.strides[: tensor.ndim] == strides
        assert managed.deleter
        if key == "empty":
            assert tensor.data is None
        else:
            wanted = {"a": A, "one": np.float64(7), "large": LARGE}[key]
            assert ctypes.string_at(tensor.data, wanted.nbytes) == wanted.tobytes()
        if kind is Versioned:
            assert managed.major == 1 and managed.flags == 0


@pytest.mark.parametrize("code", TYPES)
def test_every_dtypes_number(model, code):
    bits = TYPES[code][1]
    path = model({"t": (code, [2, 8], bytes(range(2 * bits)))})
    with safe_open(path, "np") as f:
        capsule = f.get_slice("t").__dlpack__()
    tensor = Managed.from_address(python.PyCapsule_GetPointer(capsule, b"dltensor")).tensor
    assert (tensor.code, tensor.bits, tensor.lanes) == TYPES[code]
    # Two elements of F4 make one of torch's.
    assert tensor.shape[:2] == ([2, 4] if code == "F4" else [2, 8])
    assert ctypes.string_at(tensor.data, 2 * bits) == bytes(range(2 * bits))


def test_strides_of_what_has_no_elements_do_not_overflow(model):
    path = model({"t": ("F32", [0, 2**62, 2**62], b"")})
    with safe_open(path, "np") as f:
        capsule = f.get_slice("t").__dlpack__()
    tensor = Managed.from_address(python.PyCapsule_GetPointer(capsule, b"dltensor")).tensor
    assert tensor.strides[:3] == [2**63 - 1, 2**62, 1]


def test_consumers(path, backend):
    with safe_open(path, "np", backend=backend) as f:
        slices = {key: f.get_slice(key) for key in f}
    for key, wanted in [("a", A), ("large", LARGE), ("one", np.float64(7)), ("empty", np.zeros((0, 3), "float32"))]:
        array = np.from_dlpack(slices[key])
        assert array.dtype == wanted.dtype
        np.testing.assert_array_equal(array, wanted)
        try:
            import torch
        except ImportError:
            continue
        tensor = torch.from_dlpack(slices[key])
        np.testing.assert_array_equal(tensor.numpy(), wanted)
        tensor.zero_()
        np.testing.assert_array_equal(np.from_dlpack(slices[key]), wanted)


def test_jax_as_a_consumer(path):
    jax = pytest.importorskip("jax")
    with safe_open(path, "np") as f:
        array = jax.dlpack.from_dlpack(f.get_slice("large"))
    gc.collect()
    np.testing.assert_array_equal(array, LARGE)


@pytest.mark.parametrize("version", [None, (1, 0)])
def test_a_capsule_that_nobody_takes(path, version):
    with safe_open(path, "np") as f:
        part = f.get_slice("large")
    capsule = part.__dlpack__(max_version=version)
    del part, f
    gc.collect()
    assert mappings(path) == 1
    del capsule
    assert mappings(path) == 0


@pytest.mark.parametrize("name, version", [(b"dltensor", None), (b"dltensor_versioned", (1, 0))])
def test_the_deleter_runs_once_and_without_the_gil(path, name, version):
    with safe_open(path, "np") as f:
        part = f.get_slice("large")
    capsule = part.__dlpack__(max_version=version)
    address = take(capsule, name)
    kind = Versioned if version else Managed
    # ctypes gives the GIL up for the call.
    deleter = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(kind.from_address(address).deleter)
    del part, f, capsule
    gc.collect()
    assert mappings(path) == 1
    deleter(None)
    assert mappings(path) == 1
    deleter(address)
    assert mappings(path) == 0


def thread_of_libc(function, argument):
    """Runs `function(argument)` on a thread that Python has never heard of."""
    libc = ctypes.CDLL(None)
    thread = ctypes.c_ulong()
    assert libc.pthread_create(ctypes.byref(thread), None, ctypes.c_void_p(function), ctypes.c_void_p(argument)) == 0
    assert libc.pthread_join(thread, None) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="pthread_create out of the C library")
def test_the_deleter_runs_on_any_thread(path):
    with safe_open(path, "np") as f:
        address = take(f.get_slice("large").__dlpack__())
    del f
    gc.collect()
    assert mappings(path) == 1
    thread_of_libc(Managed.from_address(address).deleter, address)
    assert mappings(path) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="pthread_create out of the C library")
def test_memory_of_pythons_is_given_back_on_any_thread(model_bytes):
    """torch's own deleter drops the storage, and with it a bytearray, on a thread without Python's state."""
    torch = pytest.importorskip("torch")
    data = bytearray(model_bytes({"a": A, "b": A}))
    tensors = extension._load(data, "pt")
    address = take(torch.utils.dlpack.to_dlpack(tensors.pop("a")))
    del tensors
    with pytest.raises(BufferError):
        data.append(1)
    thread_of_libc(Managed.from_address(address).deleter, address)
    data.append(1)


def test_the_last_reference_may_go_on_another_python_thread(model_bytes):
    torch = pytest.importorskip("torch")
    data = bytearray(model_bytes({"a": A}))
    kept = [extension._load(data, "pt")]
    thread = threading.Thread(target=kept.clear)
    thread.start()
    thread.join()
    data.append(1)
    assert torch.ones(1).item() == 1


@pytest.mark.skipif(sys.platform != "linux", reason="__cxa_atexit out of the C library")
@pytest.mark.parametrize("what", ["mapped", "pythons"])
def test_the_deleter_may_run_after_the_interpreters_end(path, what, request):
    """Exit handlers of C's run last first, and after Python's own end."""
    start = run if what == "mapped" else request.getfixturevalue("run_with_torch")
    out = start(
        """
        import ctypes, sys
        from safetensors import safe_open, _safetensors_rust
        libc = ctypes.CDLL(None)
        python = ctypes.pythonapi
        python.PyCapsule_GetPointer.restype = ctypes.c_void_p
        python.PyCapsule_GetPointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
        if sys.argv[2] == "mapped":
            with safe_open(sys.argv[1], "np") as f:
                capsule = f.get_slice("large").__dlpack__()
        else:
            import torch
            data = bytearray(open(sys.argv[1], "rb").read())
            capsule = torch.utils.dlpack.to_dlpack(_safetensors_rust._load(data, "pt")["large"])
        address = python.PyCapsule_GetPointer(capsule, b"dltensor")
        python.PyCapsule_SetName.argtypes = [ctypes.py_object, ctypes.c_char_p]
        python.PyCapsule_SetName(capsule, b"used_dltensor")
        del capsule  # it only borrows its name
        # The structure ends with the deleter: 48 bytes of the tensor, 8 of the owner.
        deleter = ctypes.c_void_p.from_address(address + 56).value
        text = ctypes.create_string_buffer(b"after the deleter")
        python.Py_IncRef(ctypes.py_object(text))
        def at_exit(function, argument):
            assert libc.__cxa_atexit(ctypes.c_void_p(function), ctypes.c_void_p(argument), None) == 0
        at_exit(ctypes.cast(libc.puts, ctypes.c_void_p).value, ctypes.addressof(text))
        at_exit(deleter, address)
        ended = ctypes.create_string_buffer(b"before the deleter")
        python.Py_IncRef(ctypes.py_object(ended))
        at_exit(ctypes.cast(libc.puts, ctypes.c_void_p).value, ctypes.addressof(ended))
        import atexit
        atexit.register(lambda: print("Python's end", flush=True))
        """,
        path,
        what,
    )
    assert out == ["Python's end", "before the deleter", "after the deleter"]


FAILING = """
    import ctypes, gc, sys, torch
    from safetensors import safe_open
    del torch.Tensor.__dlpack_c_exchange_api__
    python = ctypes.pythonapi
    python.PyCapsule_GetPointer.restype = ctypes.c_void_p
    python.PyCapsule_GetPointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
    python.PyCapsule_SetName.argtypes = [ctypes.py_object, ctypes.c_char_p]
    how, calls, import_capsule = sys.argv[2], [], torch._C._from_dlpack

    def failing(capsule):
        calls.append(1)
        if how == "third" and len(calls) % 3:
            return import_capsule(capsule)
        address = python.PyCapsule_GetPointer(capsule, b"dltensor")
        if how != "untouched":
            ctypes.CFUNCTYPE(None, ctypes.c_void_p)(ctypes.c_void_p.from_address(address + 56).value)(address)
        if how == "renamed":
            python.PyCapsule_SetName(capsule, b"used_dltensor")
        second = {"memory": MemoryError, "interrupt": KeyboardInterrupt, "bytes": ValueError}
        kind = second.get(how, RuntimeError) if len(calls) == 2 else RuntimeError
        raise {"value": ValueError, "third": MemoryError}.get(how, kind)(f"{how}")

    torch._C._from_dlpack = failing

    def mappings():
        with open("/proc/self/maps") as f:
            return sum(line.rstrip().endswith(sys.argv[1]) for line in f)

    for enabled in (True, False):
        gc.enable() if enabled else gc.disable()
        for call in ("get_tensor", "get_tensors"):
            calls.clear()
            with safe_open(sys.argv[1], "pt") as f:
                try:
                    f.get_tensor("a") and f.get_tensor("a") and f.get_tensor("a") if call == "get_tensor" else f.get_tensors()
                    print("no error")
                except BaseException as error:
                    print(type(error).__name__, error, len(calls))
                    del error
                assert mappings() == 1
                del f
            assert mappings() == 0
            assert gc.isenabled() == enabled
"""


@pytest.mark.parametrize("how, calls", [("untouched", 2), ("freed", 2), ("renamed", 2), ("value", 1)])
def test_whoever_frees_after_a_failure(path, how, calls, run_with_torch):
    """torch leaves the memory to its giver, or has freed it before it raises: neither leaks nor is freed twice.
    A dtype that is refused is asked for as bytes, once."""
    name = "ValueError" if how == "value" else "RuntimeError"
    assert run_with_torch(FAILING, path, how) == [f"{name} {how} {calls}"] * 4


@pytest.mark.parametrize(
    "how, name", [("memory", "MemoryError"), ("interrupt", "KeyboardInterrupt"), ("bytes", "RuntimeError")]
)
def test_a_failure_of_the_second_way(path, how, name, run_with_torch):
    """What torch said first is told, unless the second exception is not of torch's refusing."""
    assert run_with_torch(FAILING, path, how) == [f"{name} {how} 2"] * 4


def test_a_dict_that_fails_in_the_middle(path, run_with_torch):
    """What was made before is freed, the collector is as it was."""
    out = run_with_torch(
        FAILING.replace('f.get_tensor("a") and f.get_tensor("a") and f.get_tensor("a")', "f.get_tensors()"),
        path,
        "third",
    )
    assert out == ["MemoryError third 3"] * 4


def test_an_import_by_capsule_is_an_import_by_table(path, backend):
    torch = pytest.importorskip("torch")
    had = extension._use_exchange(True)
    try:
        with safe_open(path, "pt", backend=backend) as f:
            by_table = f.get_tensors()
            assert extension._use_exchange(False) is True
            by_capsule = f.get_tensors()
            assert extension._use_exchange(False) is False
    finally:
        extension._use_exchange(had)
    for name, tensor in by_table.items():
        other = by_capsule[name]
        assert torch.equal(tensor, other) and tensor.dtype == other.dtype and tensor.stride() == other.stride()
        assert (tensor.data_ptr() == other.data_ptr()) == (backend == "mmap" or tensor.numel() == 0)


# ----------------------------------------------------------------------------------------------- as a consumer


class Foreign:
    """A tensor of a library that nobody knows."""

    def __init__(self, code, shape, ndim=None):
        self.dims = (ctypes.c_int64 * len(shape))(*shape)
        self.memory = ctypes.create_string_buffer(16)
        self.managed = Managed(
            Tensor(
                data=ctypes.addressof(self.memory),
                device_type=1,
                ndim=len(shape) if ndim is None else ndim,
                code=code[0],
                bits=code[1],
                lanes=code[2],
                shape=self.dims,
            )
        )

    def __dlpack__(self):
        return python.PyCapsule_New(ctypes.addressof(self.managed), b"dltensor", None)


@pytest.mark.parametrize(
    "code, shape, ndim",
    [
        ("U8", [0, -1], None),
        ("F32", [-1], None),
        ("F4", [0, -(2**63)], None),
        ("F4", [-1, 0], None),
        ("U8", [0], -1),
        ("F4", [1], -(2**31)),
    ],
)
def test_dimensions_that_are_none(code, shape, ndim):
    """Of a broken library: nothing is written of them."""
    assert extension._save({"x": Foreign(TYPES[code], shape, ndim)}, None) is NotImplemented


def test_the_largest_dimension_of_pairs():
    content = extension._save({"x": Foreign(TYPES["F4"], [0, 2**63 - 1])}, None)
    ((name, entry),) = extension.deserialize(content)
    assert (name, entry["dtype"], entry["shape"]) == ("x", "F4", [0, 2**64 - 2])
