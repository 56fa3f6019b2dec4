# SPDX-License-Identifier: Apache-2.0
"""Tensors of Paddle."""

import os
import sys
from typing import Any, Dict, Iterable, List, Optional, Tuple, Union

import numpy as np
import paddle

from . import TensorSpec, deserialize, numpy, safe_open, serialize, serialize_file  # noqa: F401
from ._device import paddle_place
from ._frameworks import converter
from ._loading import Buffer, load_file_as, load_files_as, Source
from ._safetensors_rust import _load, _save


def save(tensors: Dict[str, paddle.Tensor], metadata: Optional[Dict[str, str]] = None) -> bytes:
    """
    Saves tensors into bytes in the safetensors format.

    Args:
        tensors (`Dict[str, paddle.Tensor]`):
            The tensors by name. They have to be contiguous. The dict is left as it is.
        metadata (`Dict[str, str]`, *optional*, defaults to `None`):
            Text to keep in the header. It says something about the tensors, and has no effect on loading.

    Returns:
        `bytes`: The bytes of a whole file.

    Example:

    ```python
    from safetensors.paddle import save
    import paddle

    tensors = {"embedding": paddle.zeros((512, 1024)), "attention": paddle.zeros((256, 256))}
    byte_data = save(tensors)
    ```
    """
    keep_alive: List[Any] = []
    return _save(_flatten(tensors, keep_alive), None, metadata)


def save_file(
    tensors: Dict[str, paddle.Tensor],
    filename: Union[str, os.PathLike],
    metadata: Optional[Dict[str, str]] = None,
    *,
    durable: bool = False,
) -> None:
    """
    Saves tensors into a file, which appears whole or not at all.

    Args:
        tensors (`Dict[str, paddle.Tensor]`):
            The tensors by name. They have to be contiguous. The dict is left as it is.
        filename (`str`, or `os.PathLike`):
            The file to write.
        metadata (`Dict[str, str]`, *optional*, defaults to `None`):
            Text to keep in the header. It says something about the tensors, and has no effect on loading.
        durable (`bool`, *optional*, defaults to `False`):
            Whether to wait until the file and its name have reached the disk.

    Example:

    ```python
    from safetensors.paddle import save_file
    import paddle

    tensors = {"embedding": paddle.zeros((512, 1024)), "attention": paddle.zeros((256, 256))}
    save_file(tensors, "model.safetensors")
    ```
    """
    keep_alive: List[Any] = []
    _save(_flatten(tensors, keep_alive), filename, metadata, durable=durable)


def load(
    data: Buffer, device: Any = "cpu", *, copy: Optional[bool] = None, packed: bool = False
) -> Dict[str, paddle.Tensor]:
    """
    Loads the tensors of a file's bytes.

    Args:
        data (`bytes`, or any object that offers its memory as a buffer):
            The content of a safetensors file.
        device (`str`, or a Paddle place, *optional*, defaults to `"cpu"`):
            Where the tensors go: a device as Paddle names it, or as torch does (`"cuda:0"`).
        copy (`bool`, *optional*):
            Whether the tensors get memory of their own. By default they do unless `data` may be written to; then
            they share its memory.
        packed (`bool`, *optional*, defaults to `False`):
            Whether F4 and F6, for which Paddle has no type, come as the bytes they are stored in (`uint8`, the last
            dimension in bytes), instead of failing.

    Returns:
        `Dict[str, paddle.Tensor]`: The tensors by name.

    Example:

    ```python
    from safetensors.paddle import load

    with open("./my_folder/bert.safetensors", "rb") as f:
        loaded = load(f.read())
    ```
    """
    return _moved(_load(data, "paddle", copy=copy, packed=packed), device)


def load_file(
    filename: Source,
    device: Any = "cpu",
    *,
    backend: str = "mmap",
    keys: Optional[Iterable[str]] = None,
    prefix: Optional[str] = None,
    packed: bool = False,
) -> Dict[str, paddle.Tensor]:
    """
    Loads the tensors of a file.

    Args:
        filename (`str`, or `os.PathLike`):
            The file to read.
        device (`str`, or a Paddle place, *optional*, defaults to `"cpu"`):
            Where the tensors go: a device as Paddle names it, or as torch does (`"cuda:0"`).
        backend (`str`, *optional*, defaults to `"mmap"`):
            How the bytes are read: `"mmap"` maps the file, `"pread"` reads it and never maps, `"direct"` reads it past
            the page cache, `"auto"` does what is fastest where the file lies.
        keys (`Iterable[str]`, *optional*):
            The names to load, instead of all.
        prefix (`str`, *optional*):
            Load only tensors whose name begins with it.
        packed (`bool`, *optional*, defaults to `False`):
            Whether F4 and F6, for which Paddle has no type, come as the bytes they are stored in (`uint8`, the last
            dimension in bytes), instead of failing.

    Returns:
        `Dict[str, paddle.Tensor]`: The tensors by name, in the order of the file.

    Example:

    ```python
    from safetensors.paddle import load_file

    loaded = load_file("./my_folder/bert.safetensors")
    ```
    """
    tensors = load_file_as("paddle", filename, keys, prefix, backend=backend, packed=packed)
    return _moved(tensors, device)


def load_files(
    filenames: Iterable[Source],
    device: Any = "cpu",
    *,
    backend: str = "mmap",
    keys: Optional[Iterable[str]] = None,
    prefix: Optional[str] = None,
    packed: bool = False,
) -> Dict[str, paddle.Tensor]:
    """
    Loads the tensors of several files, such as the parts of a large model, in one go.

    Args:
        filenames (an iterable of `str`, or `os.PathLike`):
            The files to read. No tensor may be in two of them.
        device (`str`, or a Paddle place, *optional*, defaults to `"cpu"`):
            Where the tensors go: a device as Paddle names it, or as torch does (`"cuda:0"`).
        backend (`str`, *optional*, defaults to `"mmap"`):
            How the bytes are read: `"mmap"` maps the file, `"pread"` reads it and never maps, `"direct"` reads it past
            the page cache, `"auto"` does what is fastest where the file lies.
        keys (`Iterable[str]`, *optional*):
            The names to load, instead of all, each from the file that has it.
        prefix (`str`, *optional*):
            Load only tensors whose name begins with it.
        packed (`bool`, *optional*, defaults to `False`):
            Whether F4 and F6, for which Paddle has no type, come as the bytes they are stored in (`uint8`, the last
            dimension in bytes), instead of failing.

    Returns:
        `Dict[str, paddle.Tensor]`: The tensors by name, in the order of the files, and within one in its own.

    Example:

    ```python
    from safetensors.paddle import load_files

    loaded = load_files([f"./my_folder/model-0000{i}-of-00002.safetensors" for i in (1, 2)], backend="auto")
    ```
    """
    tensors = load_files_as("paddle", filenames, keys, prefix, backend=backend, packed=packed)
    return _moved(tensors, device)


def _moved(tensors: Dict[str, paddle.Tensor], device: Any) -> Dict[str, paddle.Tensor]:
    """Takes each tensor to the device, letting go of it on the CPU at once."""
    if device is None or device == "cpu" or getattr(device, "is_cpu_place", bool)():
        return tensors
    place = paddle_place(device)
    for name in tensors:
        tensors[name] = tensors[name].to(place)
    return tensors


def _np2paddle(numpy_dict: Dict[str, np.ndarray], device: Any = "cpu") -> Dict[str, paddle.Tensor]:
    convert = converter("paddle")
    return _moved({k: convert(v.copy()) for k, v in numpy_dict.items()}, device)


def _paddle2np(paddle_dict: Dict[str, paddle.Tensor]) -> Dict[str, np.ndarray]:
    return {k: v.detach().cpu().numpy() for k, v in paddle_dict.items()}


# Header code, Paddle's name, bytes, and the NumPy type of that width. What a version of Paddle lacks is left out.
_DTYPES = [
    (code, getattr(paddle, name), size, np.dtype(carrier))
    for code, name, size, carrier in (
        ("F64", "float64", 8, "float64"),
        ("F32", "float32", 4, "float32"),
        ("F16", "float16", 2, "float16"),
        ("BF16", "bfloat16", 2, "float16"),
        ("I64", "int64", 8, "int64"),
        ("I32", "int32", 4, "int32"),
        ("I16", "int16", 2, "int16"),
        ("I8", "int8", 1, "int8"),
        ("U64", "uint64", 8, "uint64"),
        ("U32", "uint32", 4, "uint32"),
        ("U16", "uint16", 2, "uint16"),
        ("U8", "uint8", 1, "uint8"),
        ("BOOL", "bool", 1, "bool"),
        ("C64", "complex64", 8, "complex64"),
        ("F8_E4M3", "float8_e4m3fn", 1, "uint8"),
        ("F8_E5M2", "float8_e5m2", 1, "uint8"),
    )
    if hasattr(paddle, name)
]
_TYPES = {code: dtype for code, dtype, _, _ in _DTYPES}
_SIZE = {dtype: size for _, dtype, size, _ in _DTYPES}
NPDTYPES = {dtype: carrier.type for _, dtype, _, carrier in _DTYPES}


def _getdtype(dtype_str: str) -> paddle.dtype:
    return _TYPES[dtype_str]


def _view2paddle(safeview: List[Tuple[str, Dict[str, Any]]], device: Any) -> Dict[str, paddle.Tensor]:
    """Tensors over the memory of what `deserialize` gives."""
    convert = converter("paddle")
    result = {}
    for name, view in safeview:
        data = np.frombuffer(view["data"], dtype="uint8")
        if view["dtype"] in numpy._TYPES:
            result[name] = convert(data.view(numpy._TYPES[view["dtype"]]).reshape(view["shape"]))
        else:
            result[name] = convert(data, view["dtype"], view["shape"])
    return _moved(result, device)


def _to_ndarray(tensor: paddle.Tensor, name: str) -> Tuple[np.ndarray, Any]:
    """The tensor's bytes, and what keeps them alive."""
    if not tensor.is_dense():
        raise ValueError(
            f"You are trying to save a sparse tensors: `['{name}']` which this library does not support."
            " You can make it a dense tensor before saving with `.to_dense()`."
        )
    if tensor.size and not tensor.is_contiguous():
        raise ValueError(
            f"You are trying to save a non contiguous tensor: `{name}` which is not allowed. Save the tensor it is"
            " a part of, and slice that when loading; or pack it first, with `.contiguous()`."
        )
    if not tensor.place.is_cpu_place():
        tensor = tensor.cpu()
    address = tensor.data_ptr()
    size = tensor.size * tensor.element_size()
    if not address or not size:
        return np.empty(0, dtype="uint8"), tensor
    # A view of the tensor's memory: numpy() would copy it.
    import ctypes

    data = np.ctypeslib.as_array((ctypes.c_ubyte * size).from_address(address))
    if sys.byteorder == "big":
        data = data.view(NPDTYPES[tensor.dtype]).byteswap()
    return data, tensor


def _flatten(tensors: Dict[str, paddle.Tensor], keep_alive_buffer: List[Any]) -> Dict[str, TensorSpec]:
    if not isinstance(tensors, dict):
        raise ValueError(f"Expected a dict of [str, paddle.Tensor] but received {type(tensors)}")
    for k, v in tensors.items():
        if not isinstance(v, paddle.Tensor):
            raise ValueError(f"Key `{k}` is invalid, expected paddle.Tensor but received {type(v)}")
    flattened = {}
    for k, v in tensors.items():
        array, kept = _to_ndarray(v, k)
        keep_alive_buffer.append((array, kept))
        flattened[k] = TensorSpec(
            # str(paddle.uint16) is "paddle.bfloat16"
            dtype=v.dtype.name.lower() if hasattr(v.dtype, "name") else str(v.dtype).split(".")[-1],
            shape=v.shape,
            data_ptr=array.ctypes.data if array.size else 0,
            data_len=array.nbytes,
        )
    return flattened
