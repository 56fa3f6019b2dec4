# SPDX-License-Identifier: Apache-2.0
"""Every dtype, on every way out of a file."""

import numpy as np
import pytest

import safetensors
from interpreter import run
from safetensors import SafetensorError, TensorSpec, safe_open
from safetensors import _safetensors_rust as extension

# Header code, bits, the name in TensorSpec, torch and ml_dtypes or NumPy.
DTYPES = [
    ("BOOL", 8, "bool"),
    ("U8", 8, "uint8"),
    ("I8", 8, "int8"),
    ("U16", 16, "uint16"),
    ("I16", 16, "int16"),
    ("U32", 32, "uint32"),
    ("I32", 32, "int32"),
    ("U64", 64, "uint64"),
    ("I64", 64, "int64"),
    ("F16", 16, "float16"),
    ("BF16", 16, "bfloat16"),
    ("F32", 32, "float32"),
    ("F64", 64, "float64"),
    ("C64", 64, "complex64"),
    ("F8_E4M3", 8, "float8_e4m3fn"),
    ("F8_E5M2", 8, "float8_e5m2"),
    ("F8_E8M0", 8, "float8_e8m0fnu"),
    ("F8_E4M3FNUZ", 8, "float8_e4m3fnuz"),
    ("F8_E5M2FNUZ", 8, "float8_e5m2fnuz"),
    ("F6_E2M3", 6, "float6_e2m3fn"),
    ("F6_E3M2", 6, "float6_e3m2fn"),
    ("F4", 4, "float4_e2m1fn_x2"),
]
WHOLE = [row for row in DTYPES if row[1] >= 8]
SMALL = [row for row in DTYPES if row[1] < 8]
OF_ML_DTYPES = [row for row in WHOLE if row[0].startswith(("BF", "F8"))]

# What the 8 magnitudes of F4 are; bit 3 is the sign.
F4 = [0, 0.5, 1, 1.5, 2, 3, 4, 6]
# Elements of F6_E2M3: 3 bits behind the point, subnormals below 1; of F6_E3M2: 2 bits.
F6_E2M3 = [m / 8 for m in range(8)] + [(1 + m / 8) * 2**e for e in range(3) for m in range(8)]
F6_E3M2 = [m / 16 for m in range(4)] + [(1 + m / 4) * 2.0**e for e in range(-2, 5) for m in range(4)]

WAYS = ["mmap", "pread", "dict mmap", "dict pread", "load"]


def content_of(code, bits, elements):
    """Bytes that differ from one another, as far as they can."""
    size = elements * bits // 8
    return bytes(i % 2 for i in range(size)) if code == "BOOL" else bytes((37 * i + 11) % 251 for i in range(size))


# A shape of each kind in every dtype, the wide ones first, as they lie in files.
SHAPES = [(3, 8), (), (0, 5), (24,)]
EVERY = {
    (row[2], shape): (row[0], shape, content_of(*row[:2], int(np.prod(shape))))
    for row in sorted(WHOLE, key=lambda row: -row[1])
    for shape in SHAPES
}


@pytest.fixture
def every(model):
    return model({f"{name} {shape}": value for (name, shape), value in EVERY.items()})


def get_all(way, path, framework, packed=False):
    """The file's tensors by name."""
    if way == "load":
        return extension._load(path.read_bytes(), framework, packed=packed)
    how, _, backend = way.rpartition(" ")
    with safe_open(path, framework, backend=backend, packed=packed) as f:
        return f.get_tensors() if how else {name: f.get_tensor(name) for name in f}


def get(way, path, framework, packed=False):
    """Tensor `t` of the file, which has no other."""
    (tensor,) = get_all(way, path, framework, packed).values()
    return tensor


def bytes_of_tensor(tensor):
    torch = pytest.importorskip("torch")
    return tensor.reshape(-1).view(torch.uint8).numpy().tobytes()


@pytest.fixture(params=WAYS)
def way(request):
    return request.param


@pytest.fixture(params=["exchange", "capsule", "bytes by exchange", "bytes by capsule"])
def route(request):
    """The ways into torch: its C table, and for older ones a capsule, or bytes where it refuses the dtype."""
    pytest.importorskip("torch")
    had = extension._use_exchange("exchange" in request.param)
    if request.param.startswith("bytes"):
        extension._refuse_dtypes([code for code, _, _ in DTYPES])
    yield request.param
    extension._use_exchange(had)
    extension._refuse_dtypes([])


def test_torch(every, route, way):
    torch = pytest.importorskip("torch")
    loaded = get_all(way, every, "pt")
    assert len(loaded) == len(EVERY)
    for (name, shape), (_, _, content) in EVERY.items():
        tensor = loaded[f"{name} {shape}"]
        assert tensor.dtype == getattr(torch, name)
        assert tuple(tensor.shape) == shape
        assert tensor.is_contiguous() and not tensor.requires_grad and tensor.device.type == "cpu"
        assert bytes_of_tensor(tensor) == content, (name, shape)
        assert tensor.untyped_storage().nbytes() == len(content)


@pytest.mark.parametrize("shape, stored", [((3, 8), (3, 4)), ((0, 4), (0, 2)), ((2, 0), (2, 0)), ((6,), (3,))])
def test_torch_f4_is_in_pairs(model, route, way, shape, stored):
    torch = pytest.importorskip("torch")
    content = content_of("F4", 4, int(np.prod(shape)))
    tensor = get(way, model({"t": ("F4", shape, content)}), "pt")
    assert tensor.dtype == torch.float4_e2m1fn_x2
    assert tuple(tensor.shape) == stored
    assert bytes_of_tensor(tensor) == content


@pytest.mark.parametrize("code", ["F6_E2M3", "F6_E3M2"])
def test_torch_f6_is_bytes(model, route, way, code):
    torch = pytest.importorskip("torch")
    content = content_of(code, 6, 24)
    tensor = get(way, model({"t": (code, [3, 8], content)}), "pt")
    assert tensor.dtype == torch.uint8 and tuple(tensor.shape) == (3, 6)
    assert bytes_of_tensor(tensor) == content


@pytest.mark.parametrize(
    "code, shape, size", [("F4", [2, 1], 1), ("F4", [2, 3], 3), ("F6_E2M3", [4, 1], 3), ("F6_E3M2", [2, 6], 9)]
)
def test_packed_rows_must_come_to_whole_bytes(model, way, code, shape, size):
    path = model({"t": (code, shape, bytes(size))})
    divisor = 2 if code == "F4" else 4
    text = f"tensor 't': the last dimension of packed {code} must be divisible by {divisor}"
    assert get(way, path, "np").shape == tuple(shape)
    with pytest.raises(SafetensorError, match=text):
        get(way, path, "np", packed=True)
    pytest.importorskip("torch")
    with pytest.raises(SafetensorError, match=text):
        get(way, path, "pt")


def test_odd_rows_are_refused_even_of_nothing(model):
    pytest.importorskip("torch")
    path = model({"t": ("F4", [0, 3], b"")})
    with pytest.raises(SafetensorError, match="divisible by 2"):
        get("mmap", path, "pt")


@pytest.mark.parametrize("packed", [False, True])
def test_numpy(every, way, packed):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    loaded = get_all(way, every, "np", packed)
    assert len(loaded) == len(EVERY)
    for (name, shape), (_, _, content) in EVERY.items():
        array = loaded[f"{name} {shape}"]
        assert type(array) is np.ndarray
        assert array.dtype == np.dtype(getattr(ml_dtypes, name, name))
        assert array.shape == shape
        assert array.tobytes() == content, (name, shape)
        assert array.flags.writeable and array.flags.c_contiguous and array.flags.aligned


@pytest.mark.parametrize("code, bits, name", SMALL)
def test_numpy_packed(model, way, code, bits, name):
    content = content_of(code, bits, 24)
    array = get(way, model({"t": (code, [3, 8], content)}), "np", packed=True)
    assert array.dtype == np.uint8 and array.shape == (3, bits)
    assert array.tobytes() == content


@pytest.mark.parametrize(
    "code, name, values",
    [
        ("F4", "float4_e2m1fn", F4),
        ("F6_E2M3", "float6_e2m3fn", F6_E2M3),
        ("F6_E3M2", "float6_e3m2fn", F6_E3M2),
    ],
)
def test_numpy_unpacked_has_every_value(model, way, code, name, values):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    bits = 4 if code == "F4" else 6
    packed = sum(i << (bits * i) for i in range(1 << bits)).to_bytes((bits << bits) // 8, "little")
    array = get(way, model({"t": (code, [2, 1 << (bits - 1)], packed)}), "np")
    assert array.dtype == np.dtype(getattr(ml_dtypes, name))
    assert array.shape == (2, 1 << (bits - 1))
    assert array.flags.writeable
    np.testing.assert_array_equal(array.astype("float32"), np.array([values, [-v for v in values]], "float32"))
    # Signed zero, too.
    assert np.signbit(array.astype("float32"))[1].all() and not np.signbit(array.astype("float32"))[0].any()


@pytest.mark.parametrize("code, bits, name", SMALL)
@pytest.mark.parametrize("elements", [4, 8, 12, 0, 1 << 18])
def test_numpy_unpacks_as_ml_dtypes_keeps_them(model, code, bits, name, elements):
    content = content_of(code, bits, elements)
    array = get("mmap", model({"t": (code, [elements], content)}), "np")
    stream = int.from_bytes(content, "little")
    if elements <= 12:
        wanted = [stream >> (bits * i) & ((1 << bits) - 1) for i in range(elements)]
    else:
        unpacked = np.unpackbits(np.frombuffer(content, "uint8"), bitorder="little").reshape(-1, bits)
        wanted = unpacked @ (1 << np.arange(bits))
    assert array.view("uint8").tolist() == list(wanted)


@pytest.mark.parametrize("code, bits, name", [row for row in DTYPES if not row[0].startswith("F6")])
def test_spec_names(code, bits, name):
    spec = TensorSpec(dtype=name, shape=[2], data_ptr=0, data_len=0)
    assert spec.dtype == code
    assert spec.shape == [4 if code == "F4" else 2]


@pytest.mark.parametrize("name", ["F32", "float6_e2m3fn", "float6_e3m2fn", "float4_e2m1fn", "float", "", "float320"])
def test_names_that_are_none(name):
    with pytest.raises(SafetensorError, match="Unknown dtype"):
        TensorSpec(dtype=name, shape=[2], data_ptr=0, data_len=0)


def test_ml_dtypes_is_asked_for_by_name(model):
    path = model({"a": np.float32([1, 2]), "t": ("BF16", [1], b"\x80\x3f")})
    out = run(
        """
import sys
from safetensors import SafetensorError, safe_open
sys.modules["ml_dtypes"] = None
with safe_open(sys.argv[1], "np") as f:
    print(f.get_tensor("a"))
    try:
        f.get_tensor("t")
    except SafetensorError as error:
        print(error)
""",
        path,
    )
    assert out[0] == "[1. 2.]"
    assert "BF16" in out[1] and "pip install ml_dtypes" in out[1]


def test_ml_dtypes_is_imported_only_when_needed(model):
    pytest.importorskip("ml_dtypes")
    path = model({"a": np.float32([1, 2]), "t": ("BF16", [1], b"\x80\x3f")})
    out = run(
        """
import sys
from safetensors import safe_open
with safe_open(sys.argv[1], "np") as f:
    f.get_tensor("a")
    print("ml_dtypes" in sys.modules, "torch" in sys.modules)
    f.get_tensor("t")
    print("ml_dtypes" in sys.modules)
""",
        path,
    )
    assert out == ["False False", "True"]


def test_an_old_ml_dtypes(model):
    pytest.importorskip("ml_dtypes")
    path = model({"t": ("F4", [2], b"\x01")})
    out = run(
        """
import sys, ml_dtypes
from safetensors import SafetensorError, safe_open
del ml_dtypes.float4_e2m1fn
with safe_open(sys.argv[1], "np") as f:
    try:
        f.get_tensor("t")
    except SafetensorError as error:
        print(error)
""",
        path,
    )
    assert out[0] == "this version of ml_dtypes has no float4_e2m1fn: pip install --upgrade ml_dtypes"


@pytest.mark.parametrize("code, name, size", [("F8_E8M0", "float8_e8m0fnu", 2), ("F4", "float4_e2m1fn_x2", 1)])
def test_an_old_torch(model, run_with_torch, code, name, size):
    path = model({"t": (code, [2], bytes(size)), "u": np.uint8([1])})
    out = run_with_torch(
        """
import sys, torch
from safetensors import SafetensorError, safe_open
delattr(torch, sys.argv[2])
with safe_open(sys.argv[1], "pt") as f:
    print(f.get_tensor("u").item())
    try:
        f.get_tensor("t")
    except SafetensorError as error:
        print(error)
""",
        path,
        name,
    )
    assert out == ["1", f"tensor 't': this version of torch has no dtype {name}"]


def test_a_torch_without_the_exchange_table(model, run_with_torch):
    """As torch before 2.10: the capsule is found by itself."""
    path = model({"t": np.float32([1, 2])})
    out = run_with_torch(
        """
import sys, torch
del torch.Tensor.__dlpack_c_exchange_api__
from safetensors import _safetensors_rust, safe_open
with safe_open(sys.argv[1], "pt") as f:
    print(f.get_tensor("t").tolist())
print(_safetensors_rust._use_exchange(True), _safetensors_rust._use_exchange(True))
""",
        path,
    )
    assert out == ["[1.0, 2.0]", "False False"]


def test_a_torch_that_refuses_a_dtype_is_asked_once(model, run_with_torch):
    """As torch before 2.10 refuses F8 through DLPack: the bytes are asked for instead, from then on at once."""
    path = model({"t": ("F8_E4M3", [2, 2], bytes([1, 2, 3, 4])), "w": ("U16", [2, 2], bytes(range(8)))})
    out = run_with_torch(
        """
import sys, torch
from safetensors import safe_open
del torch.Tensor.__dlpack_c_exchange_api__
import_capsule, asked = torch._C._from_dlpack, []

import ctypes
pointer = ctypes.pythonapi.PyCapsule_GetPointer
pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]

def code_of(capsule):
    # data, device (8), ndim (4), code (1), bits (1)
    return tuple(ctypes.string_at(pointer(capsule, b"dltensor") + 20, 2))

def refusing(capsule):
    asked.append(code_of(capsule))
    if asked[-1] in ((10, 8), (1, 16)):
        raise BufferError("refused")
    return import_capsule(capsule)

torch._C._from_dlpack = refusing
with safe_open(sys.argv[1], "pt") as f:
    for name in "ttww":
        tensor = f.get_tensor(name)
        print(tensor.dtype, tuple(tensor.shape), tensor.view(torch.uint8).flatten().tolist())
print(asked)
""",
        path,
    )
    assert out[0] == out[1] == "torch.float8_e4m3fn (2, 2) [1, 2, 3, 4]"
    assert out[2] == out[3] == "torch.uint16 (2, 2) [0, 1, 2, 3, 4, 5, 6, 7]"
    assert out[4] == "[(10, 8), (1, 8), (1, 8), (1, 16), (1, 8), (1, 8)]"


def test_the_switches_check_what_they_get():
    pytest.importorskip("torch")
    with pytest.raises(ValueError, match="F99"):
        extension._refuse_dtypes(["F99"])
    with pytest.raises(TypeError):
        extension._refuse_dtypes(3)
    with pytest.raises(TypeError):
        extension._refuse_dtypes([3])


@pytest.mark.parametrize("code, bits, name", OF_ML_DTYPES)
def test_flax(model, way, code, bits, name):
    pytest.importorskip("jax")
    import jax.numpy as jnp

    content = content_of(code, bits, 24)
    array = get(way, model({"t": (code, [3, 8], content)}), "flax")
    assert array.dtype == jnp.dtype(name) and array.shape == (3, 8)
    assert np.asarray(array).tobytes() == content


@pytest.mark.parametrize("shape", [[0, 2**63], [2**64 - 1, 0], [0, 2**63 - 1], [2**62, 3, 0], [0, 2**62, 2**62]])
@pytest.mark.parametrize("backend", ["mmap", "pread", "direct", "auto"])
def test_dimensions_beyond_what_frameworks_can_count(model, shape, backend, route):
    path = model({"big one": ("F32", shape, b"")})
    with safe_open(path, "np", backend=backend) as f:
        assert f.get_slice("big one").get_shape() == shape
        with pytest.raises(SafetensorError, match="tensor 'big one': its dimensions"):
            f.get_tensor("big one")
        with pytest.raises(SafetensorError, match="tensor 'big one': its dimensions"):
            f.get_tensors()
    with safe_open(path, "pt", backend=backend) as f:
        if max(shape) < 2**63:
            assert list(f.get_tensor("big one").shape) == shape
            return
        with pytest.raises(SafetensorError, match=r"tensor 'big one': dimension \d is \d+, above the limit of 2\^63-1"):
            f.get_tensor("big one")


def test_version_is_the_librarys():
    assert safetensors.__version__.startswith("0.9")
