# SPDX-License-Identifier: Apache-2.0
"""The framework under test: the one that ST_FRAMEWORK names, in an environment of its own."""

import functools
import importlib
import os
from dataclasses import dataclass
from typing import Any, Callable

import numpy as np
import pytest

from samples import DTYPES, NARROW


@dataclass
class Framework:
    """What the common tests need to know of a framework."""

    name: str  # for safe_open
    module: Any  # safetensors.flax and so on
    type: type  # of its tensors
    make: Callable[[np.ndarray], Any]
    dtype_name: Callable[[Any], str]
    to_bytes: Callable[[Any], bytes]
    # Header code -> the name of the type that it gets instead of its own.
    instead: dict
    # Header codes for which the framework has no type.
    lacking: tuple


def _jax():
    import jax
    import jax.numpy as jnp

    # Otherwise 64 bits become 32; test_jax.py tests that.
    jax.config.update("jax_enable_x64", True)
    return Framework(
        name="jax",
        module=importlib.import_module("safetensors.flax"),
        type=jax.Array,
        make=jnp.asarray,
        dtype_name=lambda tensor: str(tensor.dtype),
        to_bytes=lambda tensor: np.asarray(tensor).tobytes(),
        instead={},
        lacking=("F6_E2M3", "F6_E3M2"),
    )


def _tensorflow():
    import tensorflow as tf

    return Framework(
        name="tf",
        module=importlib.import_module("safetensors.tensorflow"),
        type=tf.Tensor,
        make=tf.convert_to_tensor,
        dtype_name=lambda tensor: tensor.dtype.name,
        to_bytes=lambda tensor: np.asarray(tensor.numpy()).tobytes(),
        instead={},
        lacking=("F8_E8M0", "F6_E2M3", "F6_E3M2"),
    )


def _mlx():
    import mlx.core as mx

    def to_bytes(tensor):
        return np.asarray(tensor.view(mx.uint16) if tensor.dtype == mx.bfloat16 else tensor).tobytes()

    return Framework(
        name="mlx",
        module=importlib.import_module("safetensors.mlx"),
        type=mx.array,
        make=mx.array,
        dtype_name=lambda tensor: str(tensor.dtype).removeprefix("mlx.core.").rstrip("_"),
        to_bytes=to_bytes,
        # mx.array narrows what NumPy has in float64; the others MLX itself loads as bytes.
        instead={"F64": "float32", "F8_E4M3": "uint8", "F8_E8M0": "uint8"},
        lacking=("F8_E5M2", "F8_E4M3FNUZ", "F8_E5M2FNUZ", "F4", "F6_E2M3", "F6_E3M2"),
    )


def _paddle():
    import paddle

    def make(array):
        if array.dtype.isbuiltin == 1:
            return paddle.from_dlpack(array)
        carrier = "int16" if array.dtype.itemsize == 2 else "uint8"
        return paddle.from_dlpack(array.view(carrier)).view(array.dtype.name)

    return Framework(
        name="paddle",
        module=importlib.import_module("safetensors.paddle"),
        type=paddle.Tensor,
        make=make,
        # The type's str() says bfloat16 for uint16 too.
        dtype_name=lambda tensor: tensor.dtype.name.lower(),
        to_bytes=lambda tensor: tensor.numpy().tobytes(),
        instead={},
        lacking=("F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ", "F4", "F6_E2M3", "F6_E3M2"),
    )


_MAKERS = {"jax": _jax, "tensorflow": _tensorflow, "mlx": _mlx, "paddle": _paddle}


@functools.cache
def _under_test():
    return _MAKERS[os.environ["ST_FRAMEWORK"]]()


@pytest.fixture(scope="session")
def framework():
    return _under_test()


def pytest_generate_tests(metafunc):
    """Header codes for the arguments `wide` and `stored`: those the framework has, but for the narrow ones; and those
    that it has under the same name, so that they can come from it."""
    lacking, instead = _under_test().lacking, _under_test().instead
    if "wide" in metafunc.fixturenames:
        metafunc.parametrize("wide", [code for code in DTYPES if code not in (*NARROW, *lacking)])
    if "stored" in metafunc.fixturenames:
        metafunc.parametrize("stored", [code for code in DTYPES if code not in (*lacking, *instead)])


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"
