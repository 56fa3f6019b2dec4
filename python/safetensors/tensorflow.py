# SPDX-License-Identifier: Apache-2.0
"""Tensors of TensorFlow."""

import os
from typing import Dict, Iterable, Optional, Union

import numpy as np
import tensorflow as tf

from . import numpy, safe_open  # noqa: F401
from ._frameworks import converter
from ._loading import Buffer, load_file_as, load_files_as, Source
from ._safetensors_rust import _load


def save(tensors: Dict[str, tf.Tensor], metadata: Optional[Dict[str, str]] = None) -> bytes:
    """
    Saves tensors into bytes in the safetensors format.

    Args:
        tensors (`Dict[str, tf.Tensor]`):
            The tensors by name. The dict is left as it is.
        metadata (`Dict[str, str]`, *optional*, defaults to `None`):
            Text to keep in the header. It says something about the tensors, and has no effect on loading.

    Returns:
        `bytes`: The bytes of a whole file.

    Example:

    ```python
    from safetensors.tensorflow import save
    import tensorflow as tf

    tensors = {"embedding": tf.zeros((512, 1024)), "attention": tf.zeros((256, 256))}
    byte_data = save(tensors)
    ```
    """
    return numpy.save(_tf2np(tensors), metadata=metadata)


def save_file(
    tensors: Dict[str, tf.Tensor],
    filename: Union[str, os.PathLike],
    metadata: Optional[Dict[str, str]] = None,
    *,
    durable: bool = False,
) -> None:
    """
    Saves tensors into a file, which appears whole or not at all.

    Args:
        tensors (`Dict[str, tf.Tensor]`):
            The tensors by name. The dict is left as it is.
        filename (`str`, or `os.PathLike`):
            The file to write.
        metadata (`Dict[str, str]`, *optional*, defaults to `None`):
            Text to keep in the header. It says something about the tensors, and has no effect on loading.
        durable (`bool`, *optional*, defaults to `False`):
            Whether to wait until the file and its name have reached the disk.

    Example:

    ```python
    from safetensors.tensorflow import save_file
    import tensorflow as tf

    tensors = {"embedding": tf.zeros((512, 1024)), "attention": tf.zeros((256, 256))}
    save_file(tensors, "model.safetensors")
    ```
    """
    numpy.save_file(_tf2np(tensors), filename, metadata=metadata, durable=durable)


def load(data: Buffer, *, packed: bool = False) -> Dict[str, tf.Tensor]:
    """
    Loads the tensors of a file's bytes.

    Args:
        data (`bytes`, or any object that offers its memory as a buffer):
            The content of a safetensors file.
        packed (`bool`, *optional*, defaults to `False`):
            Whether F4 and F6 come as the bytes they are stored in (`uint8`, the last dimension in bytes), instead
            of one value per element.

    Returns:
        `Dict[str, tf.Tensor]`: The tensors by name, independent of `data`.

    Example:

    ```python
    from safetensors.tensorflow import load

    with open("./my_folder/bert.safetensors", "rb") as f:
        loaded = load(f.read())
    ```
    """
    return _load(data, "tensorflow", packed=packed)


def load_file(
    filename: Source,
    *,
    backend: str = "mmap",
    keys: Optional[Iterable[str]] = None,
    prefix: Optional[str] = None,
    packed: bool = False,
) -> Dict[str, tf.Tensor]:
    """
    Loads the tensors of a file.

    Args:
        filename (`str`, or `os.PathLike`):
            The file to read.
        backend (`str`, *optional*, defaults to `"mmap"`):
            How the bytes are read: `"mmap"` maps the file, `"pread"` reads it and never maps, `"direct"` reads it past
            the page cache, `"auto"` does what is fastest where the file lies.
        keys (`Iterable[str]`, *optional*):
            The names to load, instead of all.
        prefix (`str`, *optional*):
            Load only tensors whose name begins with it.
        packed (`bool`, *optional*, defaults to `False`):
            Whether F4 and F6 come as the bytes they are stored in (`uint8`, the last dimension in bytes), instead
            of one value per element.

    Returns:
        `Dict[str, tf.Tensor]`: The tensors by name, in the order of the file.

    Example:

    ```python
    from safetensors.tensorflow import load_file

    loaded = load_file("./my_folder/bert.safetensors")
    ```
    """
    return load_file_as("tf", filename, keys, prefix, backend=backend, packed=packed)


def load_files(
    filenames: Iterable[Source],
    *,
    backend: str = "mmap",
    keys: Optional[Iterable[str]] = None,
    prefix: Optional[str] = None,
    packed: bool = False,
) -> Dict[str, tf.Tensor]:
    """
    Loads the tensors of several files, such as the parts of a large model, in one go.

    Args:
        filenames (an iterable of `str`, or `os.PathLike`):
            The files to read. No tensor may be in two of them.
        backend (`str`, *optional*, defaults to `"mmap"`):
            How the bytes are read: `"mmap"` maps the file, `"pread"` reads it and never maps, `"direct"` reads it past
            the page cache, `"auto"` does what is fastest where the file lies.
        keys (`Iterable[str]`, *optional*):
            The names to load, instead of all, each from the file that has it.
        prefix (`str`, *optional*):
            Load only tensors whose name begins with it.
        packed (`bool`, *optional*, defaults to `False`):
            Whether F4 and F6 come as the bytes they are stored in (`uint8`, the last dimension in bytes), instead
            of one value per element.

    Returns:
        `Dict[str, tf.Tensor]`: The tensors by name, in the order of the files, and within one in its own.

    Example:

    ```python
    from safetensors.tensorflow import load_files

    loaded = load_files([f"./my_folder/model-0000{i}-of-00002.safetensors" for i in (1, 2)], backend="auto")
    ```
    """
    return load_files_as("tf", filenames, keys, prefix, backend=backend, packed=packed)


def _np2tf(numpy_dict: Dict[str, np.ndarray]) -> Dict[str, tf.Tensor]:
    convert = converter("tf")
    return {k: convert(v) for k, v in numpy_dict.items()}


def _tf2np(tf_dict: Dict[str, tf.Tensor]) -> Dict[str, np.ndarray]:
    return {k: _to_ndarray(v) for k, v in tf_dict.items()}


def _to_ndarray(tensor: tf.Tensor) -> np.ndarray:
    # A view of the tensor's memory, which numpy() would copy; but scalars of some dtypes have none.
    if isinstance(tensor, tf.Tensor) and tensor.shape.rank:
        return np.asarray(tensor)
    return np.asarray(tensor.numpy())
