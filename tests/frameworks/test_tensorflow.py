# SPDX-License-Identifier: Apache-2.0
"""What is special about TensorFlow."""

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")

from safetensors import SafetensorError  # noqa: E402
from safetensors.tensorflow import _np2tf, _tf2np, load, load_file, save, save_file  # noqa: E402
from samples import tensors_of  # noqa: E402


def test_variables_and_scalars():
    variable = tf.Variable([[1.0, 2.0]])
    tensors, _ = tensors_of(save({"variable": variable, "scalar": tf.constant(3, tf.int16)}))
    assert tensors == {
        "variable": ("F32", (1, 2), np.array([1, 2], "float32").tobytes()),
        "scalar": ("I16", (), b"\3\0"),
    }


def test_saving_takes_views():
    tensor = tf.ones((64, 64), tf.bfloat16)
    assert np.shares_memory(_tf2np({"x": tensor})["x"], np.asarray(tensor))


@pytest.mark.parametrize("make", [lambda: tf.constant(["text"]), lambda: tf.ragged.constant([[1], [2, 3]])])
def test_what_has_no_array_of_numbers_is_refused(make):
    with pytest.raises(SafetensorError, match='Unknown dtype "object"'):
        save({"x": make()})


def test_dicts_are_not_changed():
    tensors = {"x": tf.ones(2)}
    arrays = _tf2np(tensors)
    assert isinstance(tensors["x"], tf.Tensor) and isinstance(arrays["x"], np.ndarray)
    assert isinstance(_np2tf(arrays)["x"], tf.Tensor) and isinstance(arrays["x"], np.ndarray)


def test_keras_weights(path):
    model = tf.keras.Sequential([tf.keras.Input((4,)), tf.keras.layers.Dense(3), tf.keras.layers.Dense(2)])
    inputs = tf.random.stateless_uniform((5, 4), (1, 2))
    wanted = model(inputs)
    save_file({weight.path: weight.value for weight in model.weights}, path)
    for weight in model.weights:
        weight.assign(tf.zeros_like(weight))
    assert not np.asarray(model(inputs)).any()
    for name, tensor in load_file(path).items():
        next(weight for weight in model.weights if weight.path == name).assign(tensor)
    assert np.array_equal(model(inputs), wanted)


def test_loaded_tensors_are_on_the_cpu_and_immutable():
    loaded = load(save({"x": tf.ones((3,))}))["x"]
    assert "CPU" in loaded.device
    with pytest.raises(TypeError):
        loaded[0] = 5
