# SPDX-License-Identifier: Apache-2.0
"""What is special about jax."""

import gc
import importlib.util
import os

import numpy as np
import pytest

jax = pytest.importorskip("jax")
import jax.numpy as jnp  # noqa: E402

from processes import run  # noqa: E402
from safetensors import safe_open  # noqa: E402
from safetensors.flax import _jnp2np, _np2jnp, load, load_file, save  # noqa: E402
from samples import bytes_for, file_of, tensors_of  # noqa: E402


def test_flax_is_there_only_where_it_should_be():
    assert (importlib.util.find_spec("flax") is not None) == (os.environ["ST_FLAX"] == "1")


@pytest.mark.parametrize("code", ["BF16", "F8_E4M3", "F4"])
@pytest.mark.parametrize("backend", ["mmap", "pread"])
def test_dtypes_beyond_numpy_in_a_fresh_process(path, code, backend):
    raw = bytes_for(code, (2, 4))
    path.write_bytes(file_of([("x", code, (2, 4), raw)]))
    shown = run(
        "import sys; from safetensors import safe_open\n"
        "with safe_open(sys.argv[1], 'jax', backend=sys.argv[2]) as f: x = f.get_tensor('x')\n"
        "print(x.dtype, x.shape, 'flax' in sys.modules)",
        path,
        backend,
    )
    name = {"BF16": "bfloat16", "F8_E4M3": "float8_e4m3fn", "F4": "float4_e2m1fn"}[code]
    assert shown == f"{name} (2, 4) False"


def test_without_64_bits_wide_types_are_halved_as_jax_does(path):
    path.write_bytes(file_of([(code, code, (2,), bytes_for("U8", (2,)) * 8) for code in ("I64", "U64", "F64")]))
    shown = run(
        "import sys; from safetensors.flax import load_file\n"
        "print(sorted(str(x.dtype) for x in load_file(sys.argv[1]).values()))",
        path,
    )
    assert shown == "['float32', 'int32', 'uint32']"


@pytest.mark.parametrize("start", range(0, 128, 8))
def test_aliased_arrays_are_nobodys_to_change(framework, path, start):
    """jax keeps a view of large arrays whose address suits it, which the file's layout decides."""
    shape = (512, 1024)
    raw = bytes_for("I32", shape)
    path.write_bytes(file_of([("a", "U8", (start,), bytes(start)), ("x", "I32", shape, raw)]))
    before = path.read_bytes()
    with safe_open(path, "jax") as f:
        first = f.get_tensor("x")
        second = f.get_tensor("x")
        donated = jax.jit(lambda x: x * 0, donate_argnums=0)(f.get_tensor("x"))
    assert not np.asarray(donated).any()
    gc.collect()
    assert np.asarray(first).tobytes() == np.asarray(second).tobytes() == raw
    assert path.read_bytes() == before


def test_load_keeps_views_of_bytes_only(framework):
    raw = bytes_for("F32", (512, 1024))
    for start in range(0, 64, 8):
        data = file_of([("a", "U8", (start,), bytes(start)), ("x", "F32", (512, 1024), raw)])
        copy = bytes(bytearray(data))
        fixed, changing = load(data)["x"], bytearray(data)
        loaded = load(changing)["x"]
        viewed = load(memoryview(changing).toreadonly())["x"]
        changing[:] = bytes(len(changing))
        assert np.asarray(loaded).tobytes() == np.asarray(viewed).tobytes() == raw
        jax.jit(lambda x: x + 1, donate_argnums=0)(fixed)
        assert data == copy


def test_arrays_over_several_devices():
    shown = run(
        "import os; os.environ['XLA_FLAGS'] = '--xla_force_host_platform_device_count=4'\n"
        "import jax, jax.numpy as jnp; from jax.sharding import PartitionSpec as P\n"
        "mesh = jax.make_mesh((4,), ('x',))\n"
        "a = jax.device_put(jnp.arange(8.), jax.sharding.NamedSharding(mesh, P('x')))\n"
        "from safetensors.flax import load, save\n"
        "print(len(a.devices()), load(save({'a': a}))['a'].tolist())"
    )
    assert shown == "4 [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]"


def test_dicts_are_not_changed():
    tensors = {"x": jnp.ones(2)}
    arrays = _jnp2np(tensors)
    assert isinstance(tensors["x"], jax.Array) and isinstance(arrays["x"], np.ndarray)
    assert isinstance(_np2jnp(arrays)["x"], jax.Array) and isinstance(arrays["x"], np.ndarray)


def test_flax_parameters(path):
    nn = pytest.importorskip("flax.linen")
    from flax.traverse_util import flatten_dict, unflatten_dict

    model = nn.Dense(3, param_dtype=jnp.bfloat16)
    variables = model.init(jax.random.key(0), jnp.ones((1, 4)))
    flat = flatten_dict(variables, sep=".")
    data = save(flat)
    assert sorted(tensors_of(data)[0]) == ["params.bias", "params.kernel"]
    path.write_bytes(data)
    again = unflatten_dict(load_file(path), sep=".")
    assert jax.tree.all(jax.tree.map(lambda a, b: a.dtype == b.dtype and bool((a == b).all()), variables, again))
