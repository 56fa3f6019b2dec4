# SPDX-License-Identifier: Apache-2.0
"""What is special about Paddle."""

import types

import numpy as np
import pytest

paddle = pytest.importorskip("paddle")

from processes import run  # noqa: E402
from safetensors import SafetensorError, TensorSpec, deserialize, safe_open  # noqa: E402
from safetensors import paddle as sp  # noqa: E402
from safetensors._frameworks import version_of  # noqa: E402
from samples import bytes_for, file_of, tensors_of  # noqa: E402

INDICES = ["1:3", "-2:", "::2", "::-1", "0", "-1, 2", "..., 1", "None, 1:2", "()", ":, :0"]


@pytest.mark.parametrize("backend", ["mmap", "pread"])
def test_slices_in_a_fresh_process(path, backend):
    """The published package's second slice makes Paddle abort."""
    array = np.arange(20, dtype=np.float32).reshape(4, 5)
    path.write_bytes(file_of([("x", "F32", (4, 5), array.tobytes())]))
    shown = run(
        "import sys; from safetensors import safe_open\n"
        "with safe_open(sys.argv[1], 'paddle', backend=sys.argv[2]) as f:\n"
        "    for index in sys.argv[3:]:\n"
        "        x = eval(f'f.get_slice(\"x\")[{index}]')\n"
        "        print(index, list(x.shape), x.numpy().tobytes().hex())",
        path,
        backend,
        *INDICES,
    )
    wanted = [eval(f"array[{index}]", {"array": array}) for index in INDICES]
    assert shown.splitlines() == [
        f"{index} {list(part.shape)} {part.tobytes().hex()}".strip() for index, part in zip(INDICES, wanted)
    ]


def test_unsigned_integers_stay_what_they_are(path):
    for code, dtype in (("U16", paddle.uint16), ("U32", paddle.uint32), ("U64", paddle.uint64)):
        raw = bytes_for(code, (2, 4))
        path.write_bytes(file_of([("x", code, (2, 4), raw)]))
        for backend in ("mmap", "pread"):
            loaded = sp.load_file(path, backend=backend)
            assert loaded["x"].dtype == dtype != paddle.bfloat16
            assert loaded["x"].numpy().tobytes() == raw
            assert tensors_of(sp.save(loaded))[0] == {"x": (code, (2, 4), raw)}


def test_needs_no_ml_dtypes(path):
    tensors = [(code, code, (2, 4), bytes_for(code, (2, 4))) for code in ("BF16", "F8_E4M3", "F8_E5M2")]
    path.write_bytes(file_of(tensors))
    shown = run(
        "import sys; sys.modules['ml_dtypes'] = None\n"
        "from safetensors.paddle import load, load_file, save, save_file\n"
        "tensors = load_file(sys.argv[1]); data = open(sys.argv[1], 'rb').read()\n"
        "assert save(tensors) == save(load(data)) == save(load_file(sys.argv[1], backend='pread'))\n"
        "save_file(tensors, sys.argv[1]); print(sorted(str(x.dtype) for x in tensors.values()))",
        path,
    )
    assert shown == "['paddle.bfloat16', 'paddle.float8_e4m3fn', 'paddle.float8_e5m2']"
    assert tensors_of(path.read_bytes())[0] == {code: (code, shape, raw) for code, _, shape, raw in tensors}


@pytest.mark.parametrize("shape", [(2, 4), (1024, 1024)])
@pytest.mark.parametrize("backend", ["mmap", "pread"])
def test_writing_to_a_tensor_reaches_neither_the_file_nor_another_handle(path, backend, shape):
    raw = bytes_for("I32", shape)
    path.write_bytes(file_of([("x", "I32", shape, raw)]))
    before = path.read_bytes()
    with safe_open(path, "paddle", backend=backend) as f, safe_open(path, "paddle", backend=backend) as other:
        first = f.get_tensor("x")
        first.zero_()
        assert not first.numpy().any()
        assert other.get_tensor("x").numpy().tobytes() == raw
        del f
    assert not first.numpy().any()
    assert path.read_bytes() == before


def test_load_never_changes_bytes():
    data = file_of([("x", "I32", (2, 4), bytes_for("I32", (2, 4)))])
    before = bytes(bytearray(data))
    loaded = sp.load(data)["x"]
    loaded.zero_()
    assert data == before
    shared = bytearray(data)
    sp.load(shared)["x"].zero_()
    assert shared[-32:] == bytes(32)
    sp.load(shared, copy=True)["x"].fill_(1)
    assert shared[-32:] == bytes(32)


@pytest.mark.parametrize("device", ["cpu", None, "cpu:0"])
def test_devices(path, device):
    path.write_bytes(file_of([("x", "F32", (2,), bytes(8))]))
    if device == "cpu:0":
        device = paddle.CPUPlace()
    for loaded in (sp.load_file(path, device), sp.load(path.read_bytes(), device), sp.load_file(path, device=device)):
        assert loaded["x"].place.is_cpu_place()
    if not paddle.is_compiled_with_cuda():
        with pytest.raises(Exception, match="(?i)cuda"):
            sp.load_file(path, "gpu:0")


def test_what_cannot_be_saved():
    with pytest.raises(ValueError, match=r"^Expected a dict of \[str, paddle.Tensor\] but received <class 'list'>$"):
        sp.save([])
    with pytest.raises(ValueError, match="^Key `x` is invalid, expected paddle.Tensor but received <class 'int'>$"):
        sp.save({"x": 1})
    with pytest.raises(ValueError, match="non contiguous tensor: `x`"):
        sp.save({"x": paddle.ones([2, 3]).T})
    with pytest.raises(ValueError, match=r"sparse tensors: `\['x'\]`"):
        sp.save({"x": paddle.sparse.sparse_coo_tensor([[0], [0]], [1.0], [2, 2])})
    with pytest.raises(SafetensorError, match='Unknown dtype "complex128"'):
        sp.save({"x": paddle.ones([2], dtype="complex128")})


def test_parameters(path):
    layer = paddle.nn.Linear(3, 2)
    sp.save_file(layer.state_dict(), path)
    again = paddle.nn.Linear(3, 2)
    again.set_state_dict(sp.load_file(path))
    inputs = paddle.ones([1, 3])
    assert np.array_equal(layer(inputs).numpy(), again(inputs).numpy())


@pytest.mark.parametrize(
    "older, newer",
    [
        ("3.2.0", "3.10.0"),
        ("3.2.0", "3.3.0.post1"),
        ("2.6.1rc0", "3.0"),
        ("3.10", "3.10.1"),
        ("9.0", "0.0.0"),
        ("9", ""),
    ],
)
def test_versions(older, newer):
    old, new = (version_of(types.SimpleNamespace(__version__=text)) for text in (older, newer))
    assert old < new


def test_private_names():
    assert sp._SIZE[paddle.bfloat16] == 2 and sp._SIZE[paddle.uint64] == 8
    assert sp._getdtype("C64") == paddle.complex64
    assert sp.NPDTYPES[paddle.float8_e5m2] is np.uint8
    tensors = [(code, code, (2, 4), bytes_for(code, (2, 4))) for code in sp._TYPES] + [("z", "BF16", (0, 3), b"")]
    viewed = sp._view2paddle(deserialize(file_of(tensors)), "cpu")
    assert {name: tensor.numpy().tobytes() for name, tensor in viewed.items()} == {
        name: raw for name, _, _, raw in tensors
    }
    assert all(viewed[name].dtype == sp._TYPES[code] for name, code, _, _ in tensors)
    kept = []
    spec = sp._flatten({"x": viewed["BF16"]}, kept)["x"]
    assert isinstance(spec, TensorSpec) and spec.dtype == "BF16" and spec.data_len == 16 and len(kept) == 1
    array, tensor = sp._to_ndarray(viewed["F32"], "x")
    assert array.nbytes == 32 and array.ctypes.data == tensor.data_ptr()
    converted = sp._np2paddle({"x": np.ones(2)})
    assert sp._paddle2np(converted)["x"].tolist() == [1, 1] and isinstance(converted["x"], paddle.Tensor)
