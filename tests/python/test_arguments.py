# SPDX-License-Identifier: Apache-2.0
"""The arguments of safe_open: frameworks, devices, backends, and the order in which they are looked at."""

import numpy as np
import pytest

from interpreter import run
from safetensors import SafetensorError, safe_open

A = np.arange(6, dtype="float32").reshape(2, 3)


@pytest.fixture
def path(model):
    return model({"a": A})


@pytest.mark.parametrize("name", ["np", "numpy"])
def test_numpy(path, name):
    with safe_open(path, framework=name) as f:
        assert type(f["a"]) is np.ndarray


@pytest.mark.parametrize("name", ["pt", "torch", "pytorch"])
def test_torch(path, name):
    torch = pytest.importorskip("torch")
    with safe_open(path, framework=name) as f:
        assert type(f["a"]) is torch.Tensor


@pytest.mark.parametrize("name", ["flax", "jax"])
def test_jax(path, name):
    jax = pytest.importorskip("jax")
    with safe_open(path, framework=name) as f:
        assert isinstance(f["a"], jax.Array)
        np.testing.assert_array_equal(f.get_slice("a")[:, ::-1], A[:, ::-1])


@pytest.mark.parametrize("name", ["zzz", "NP", "", "np ", "é"])
def test_frameworks_that_are_none(path, name):
    with pytest.raises(SafetensorError) as caught:
        safe_open(path, name)
    assert str(caught.value) == f"framework {name} is invalid"


def test_types(path):
    for framework in (None, 1, b"np"):
        with pytest.raises(TypeError, match="^argument 'framework': "):
            safe_open(path, framework)
    for backend in (1, b"mmap"):
        with pytest.raises(TypeError, match="^argument 'backend': "):
            safe_open(path, "np", backend=backend)
    with pytest.raises(SafetensorError) as caught:
        safe_open(path, "np", backend="zzz")
    upstreams = 'backend "zzz" is invalid (expected one of: "mmap", "pread")'
    assert str(caught.value) == f'{upstreams} or of this package\'s own: "direct", "auto"'


def test_arguments_come_before_the_file(tmp_path):
    for arguments in ({"framework": "zzz"}, {"framework": "np", "device": "zzz"}, {"framework": "np", "backend": "z"}):
        with pytest.raises(SafetensorError, match="invalid"):
            safe_open(tmp_path / "none", **arguments)
    with pytest.raises(FileNotFoundError):
        safe_open(tmp_path / "none", "np", device="cuda")
    (tmp_path / "bad").write_bytes(b"")
    with pytest.raises(SafetensorError, match="^Device cuda:0 is not supported for framework numpy$"):
        safe_open(tmp_path / "bad", "np", device="cuda")


@pytest.mark.parametrize("device", [None, "cpu", "cpu:0"])
@pytest.mark.parametrize("framework", ["np", "pt"])
def test_the_cpu(path, framework, device):
    pytest.importorskip("torch" if framework == "pt" else "numpy")
    with safe_open(path, framework, device=device) as f:
        np.testing.assert_array_equal(f["a"], A)


@pytest.mark.parametrize(
    "framework, shown",
    [("np", "numpy"), ("jax", "flax")],
)
@pytest.mark.parametrize(
    "device, said",
    [
        ("cuda", "cuda:0"),
        ("cuda:1", "cuda:1"),
        ("cuda:+1", "cuda:1"),
        ("musa", "musa:0"),
        ("npu:2", "npu:2"),
        ("xpu", "xpu:0"),
        ("xla", "xla:0"),
        ("mlu", "mlu:0"),
        ("hpu", "hpu:0"),
        ("mps", "mps"),
        ("mps:0", "mps"),
        (0, "0"),
        (3, "3"),
        (np.int64(2), "2"),
    ],
)
def test_devices_of_other_frameworks(path, framework, shown, device, said):
    with pytest.raises(SafetensorError) as caught:
        safe_open(path, framework, device)
    assert str(caught.value) == f"Device {said} is not supported for framework {shown}"


@pytest.mark.parametrize("framework", ["np", "pt"])
@pytest.mark.parametrize(
    "device",
    [
        "CPU",
        "cpu:1",
        "cpu:",
        "gpu",
        "",
        "cuda:0:1",
        "cuda:",
        "cuda:a",
        "cuda:-1",
        "cuda: 1",
        "cudax",
        "cuda:99999999999",
    ],
)
def test_devices_that_are_none(path, framework, device):
    if framework == "pt":
        pytest.importorskip("torch")
    with pytest.raises(SafetensorError) as caught:
        safe_open(path, framework, device)
    assert str(caught.value) == f"device {device} is invalid"


def test_odd_devices(path):
    with pytest.raises(SafetensorError) as caught:
        safe_open(path, "pt", "mps:1")
    assert str(caught.value) == "device mps:1 is invalid: only mps or mps:0 is supported"
    for device in (-1, 1.5, [], b"cpu", object):
        with pytest.raises(SafetensorError) as caught:
            safe_open(path, "np", device)
        assert str(caught.value) == f"device {device!r} is invalid"


class Device:
    """A number that cannot be told."""

    def __init__(self, error):
        self.error = error

    def __index__(self):
        raise self.error


@pytest.mark.parametrize("error", [KeyboardInterrupt(), MemoryError("hook")], ids=repr)
def test_what_says_nothing_of_a_device_is_raised(path, error):
    with pytest.raises(type(error)) as caught:
        safe_open(path, "np", Device(error))
    assert caught.value is error
    with pytest.raises(SafetensorError, match="is invalid$"):
        safe_open(path, "np", Device(OverflowError("not this one")))


@pytest.mark.parametrize("error", ["ImportError('broken')", "KeyboardInterrupt('broken')", "MemoryError('broken')"])
def test_a_torch_that_is_broken_is_no_invalid_device(path, tmp_path, error):
    (tmp_path / "torch.py").write_text(f"raise {error}")
    program = """
import sys
from safetensors import safe_open
sys.path.insert(0, sys.argv[2])
try:
    safe_open(sys.argv[1], "pt", "meta")
except BaseException as raised:
    print(repr(raised))
"""
    assert run(program, path, tmp_path) == [error]


def test_torch_devices(path):
    torch = pytest.importorskip("torch")
    for device in (torch.device("cpu"), torch.device("cpu", 0), torch.device("cpu", index=0)):
        for framework in ("pt", "np"):
            with safe_open(path, framework, device=device) as f:
                np.testing.assert_array_equal(f["a"], A)
    with pytest.raises(SafetensorError, match="^Device cuda:1 is not supported for framework numpy$"):
        safe_open(path, "np", device=torch.device("cuda", 1))
    with pytest.raises(SafetensorError, match="^Device meta is not supported for framework numpy$"):
        safe_open(path, "np", device="meta")
    with safe_open(path, "pt", device="meta") as f:
        assert f["a"].is_meta and f["a"].shape == (2, 3)


def test_a_device_that_only_torch_knows(path):
    pytest.importorskip("torch")
    program = """
import sys
from safetensors import safe_open
assert "torch" not in sys.modules
with safe_open(sys.argv[1], "pt", device="meta") as f:
    assert f.keys() == ["a"]
"""
    run(program, path)


def test_nothing_is_imported_before_it_is_needed(path):
    program = """
import sys
import safetensors
assert "numpy" not in sys.modules and "torch" not in sys.modules
with safetensors.safe_open(sys.argv[1], "np") as f:
    assert f.keys() == ["a"] and f["a"].shape == (2, 3) and f.get_slice("a")[1].shape == (3,)
assert "torch" not in sys.modules and "ml_dtypes" not in sys.modules and "numpy" in sys.modules
"""
    run(program, path)


@pytest.mark.parametrize("framework, module", [("np", "numpy"), ("pt", "torch"), ("paddle", "paddle"), ("tf", "numpy")])
def test_a_framework_that_is_not_installed(path, framework, module):
    program = f"""
import sys
sys.modules[{module!r}] = None
from safetensors import safe_open
try:
    safe_open(sys.argv[1], {framework!r})
except ModuleNotFoundError as error:
    sys.exit(0 if error.name == {module!r} else 2)
sys.exit(1)
"""
    run(program, path)
