# SPDX-License-Identifier: Apache-2.0
"""Tensors as arrays of NumPy."""

import os
import sys
from typing import Any, Dict, Iterable, List, Mapping, Optional, Tuple, Union

import numpy as np

from . import TensorSpec, deserialize, safe_open, serialize, serialize_file  # noqa: F401
from . import _stream
from ._loading import Buffer, load_file_as, load_files_as, Source
from ._safetensors_rust import SafetensorError, _load, _save

Target = Union[str, os.PathLike, int, Any]

# ------------------------------------------------------------------------------------------------ dtypes

_TYPES = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "I64": np.int64,
    "U64": np.uint64,
    "I32": np.int32,
    "U32": np.uint32,
    "I16": np.int16,
    "U16": np.uint16,
    "I8": np.int8,
    "U8": np.uint8,
    "BOOL": bool,
    "C64": np.complex64,
}

# What only ml_dtypes has. The last three hold one value in each byte, where the file packs them.
_FOREIGN = {
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E4M3FNUZ": "float8_e4m3fnuz",
    "F8_E5M2": "float8_e5m2",
    "F8_E5M2FNUZ": "float8_e5m2fnuz",
    "F8_E8M0": "float8_e8m0fnu",
    "F6_E2M3": "float6_e2m3fn",
    "F6_E3M2": "float6_e3m2fn",
    "F4": "float4_e2m1fn",
}
_NAMES = {*(np.dtype(dtype).name for dtype in _TYPES.values()), *_FOREIGN.values()}


def _getdtype(dtype_str: str) -> Any:
    if dtype_str in _FOREIGN:
        import ml_dtypes

        return np.dtype(getattr(ml_dtypes, _FOREIGN[dtype_str]))
    return _TYPES[dtype_str]


def _is_little_endian(tensor: np.ndarray) -> bool:
    order = tensor.dtype.byteorder
    return order in "<|" or (order == "=" and sys.byteorder == "little")


# ---------------------------------------------------------------------------------------------- saving


def _array(name: str, value: Any) -> Any:
    """What a value is as an array, with elements that the format has."""
    if isinstance(value, TensorSpec):
        return value
    if isinstance(value, np.ma.MaskedArray):
        raise SafetensorError(
            f"tensor {name!r} is a masked array, and the format has no masks; save `.filled()` of it, or its"
            " `.data` and `.mask`"
        )
    if isinstance(value, (np.ndarray, np.generic)) or hasattr(value, "__array__"):
        array = np.asarray(value)
    elif hasattr(value, "__dlpack__"):
        array = np.from_dlpack(value)
    else:
        raise TypeError(f"tensor {name!r}: expected numpy.ndarray but received {type(value)}")
    if array.dtype.name not in _NAMES:
        raise SafetensorError(
            f'Unknown dtype "{array.dtype.name}" of tensor {name!r}. Supported dtypes: {", ".join(sorted(_NAMES))}'
        )
    return array


def _plain(name: str, value: Any) -> Tuple[Any, Any]:
    """What the writer takes as it is, and what keeps its memory alive."""
    array = _array(name, value)
    if isinstance(array, TensorSpec):
        return array, value
    if sys.byteorder == "little" or array.itemsize == 1:
        return np.asarray(array, dtype=array.dtype.newbyteorder("="), order="C"), array
    return _spec(array)


def _spec(array: np.ndarray) -> Tuple[TensorSpec, np.ndarray]:
    """Little-endian elements in row-major order, by address."""
    alive = np.asarray(array, order="C")
    if not _is_little_endian(alive):
        alive = alive.byteswap()
    spec = TensorSpec(dtype=array.dtype.name, shape=array.shape, data_ptr=alive.ctypes.data, data_len=alive.nbytes)
    return spec, alive


def _flatten(tensor_dict: Dict[str, np.ndarray], keep_alive_buffer: List) -> Dict[str, TensorSpec]:
    flattened = {}
    for name, value in tensor_dict.items():
        flattened[name], alive = _spec(_array(name, value))
        keep_alive_buffer.append(alive)
    return flattened


def _save_any(
    tensor_dict: Dict[str, np.ndarray],
    target: Optional[Target],
    metadata: Optional[Dict[str, str]],
    durable: bool = False,
) -> Any:
    """The bytes, where there is no target."""
    if type(tensor_dict) is not dict:
        if not hasattr(tensor_dict, "items"):
            raise TypeError(f"tensors must be given as a dict, not as {type(tensor_dict)}")
        tensor_dict = dict(tensor_dict.items())
    saved = _save(tensor_dict, target, metadata, durable=durable)
    if saved is not NotImplemented:
        return saved
    arrays = {name: _array(name, value) for name, value in tensor_dict.items()}
    if target is not None:
        _stream.write_in_order(arrays, target, arrays, metadata, durable, _plain)
        return None
    plain = {name: _plain(name, array) for name, array in arrays.items()}
    return _save({name: value for name, (value, _) in plain.items()}, None, metadata)


def save(tensor_dict: Dict[str, np.ndarray], metadata: Optional[Dict[str, str]] = None) -> bytes:
    """
    Saves arrays into bytes in the safetensors format.

    Args:
        tensor_dict (`Dict[str, np.ndarray]`):
            The arrays by name, of any strides and byte order. The dict is left as it is.
        metadata (`Dict[str, str]`, *optional*, defaults to `None`):
            Text to keep in the header. It says something about the tensors, and has no effect on loading.

    Returns:
        `bytes`: The bytes of a whole file.

    Example:

    ```python
    from safetensors.numpy import save
    import numpy as np

    tensors = {"embedding": np.zeros((512, 1024)), "attention": np.zeros((256, 256))}
    byte_data = save(tensors)
    ```
    """
    return _save_any(tensor_dict, None, metadata)


def save_file(
    tensor_dict: Dict[str, np.ndarray],
    filename: Target,
    metadata: Optional[Dict[str, str]] = None,
    *,
    durable: bool = False,
) -> None:
    """
    Saves arrays into a file, which appears whole or not at all.

    Args:
        tensor_dict (`Dict[str, np.ndarray]`):
            The arrays by name, of any strides and byte order. The dict is left as it is.
        filename (`str`, or `os.PathLike`):
            The file to write. A file object opened for writing and a descriptor will do as well; what they
            are of is written to from their position on.
        metadata (`Dict[str, str]`, *optional*, defaults to `None`):
            Text to keep in the header. It says something about the tensors, and has no effect on loading.
        durable (`bool`, *optional*, defaults to `False`):
            Whether to wait until the file and its name have reached the disk.

    Example:

    ```python
    from safetensors.numpy import save_file
    import numpy as np

    tensors = {"embedding": np.zeros((512, 1024)), "attention": np.zeros((256, 256))}
    save_file(tensors, "model.safetensors")
    ```
    """
    _stream.check_target(filename)
    _save_any(tensor_dict, filename, metadata, durable)


def save_stream(
    tensors: Iterable[Tuple[str, np.ndarray]],
    filename: Target,
    *,
    layout: Mapping[str, Any],
    metadata: Optional[Dict[str, str]] = None,
    durable: bool = False,
) -> None:
    """
    Saves arrays that come one after the other, so that they need not all be in memory at once.

    Args:
        tensors (`Iterable[Tuple[str, np.ndarray]]`):
            Yields each array of `layout` once, in any order. An array is written before the next one is asked for.
        filename (`str`, or `os.PathLike`):
            The file to write, which appears whole or not at all. For a descriptor of a pipe and for a file object,
            arrays have to come roughly in the order of the file.
        layout (`Mapping[str, Any]`):
            What will come: names, each with something that has `dtype` and `shape`.
        metadata (`Dict[str, str]`, *optional*, defaults to `None`):
            Text to keep in the header.
        durable (`bool`, *optional*, defaults to `False`):
            Whether to wait until the file and its name have reached the disk.

    Example:

    ```python
    from safetensors.numpy import save_stream
    import numpy as np

    one = np.zeros((256, 256), dtype=np.float32)
    layout = {f"layer.{i}": one for i in range(4)}
    save_stream(((name, np.full_like(one, 7)) for name in layout), "model.safetensors", layout=layout)
    ```
    """
    _stream.check_target(filename)
    _stream.write(tensors, filename, layout, metadata, durable, _plain)


# ---------------------------------------------------------------------------------------------- loading


def load(data: Buffer, *, copy: Optional[bool] = None, packed: bool = False) -> Dict[str, np.ndarray]:
    """
    Loads the tensors of a file's bytes.

    Args:
        data (`bytes`, or any object that offers its memory as a buffer):
            The content of a safetensors file.
        copy (`bool`, *optional*):
            By default the arrays are independent of read-only data, such as `bytes`, and views of data that can be
            written to, such as a `bytearray`. `True` always copies, `False` never does; arrays over read-only data
            are then read-only themselves.
        packed (`bool`, *optional*, defaults to `False`):
            Whether F4 and F6 come as the bytes they are stored in (`uint8`, the last dimension in bytes), instead
            of one value per element.

    Returns:
        `Dict[str, np.ndarray]`: The tensors by name.

    Example:

    ```python
    from safetensors.numpy import load

    with open("./my_folder/bert.safetensors", "rb") as f:
        loaded = load(f.read())
    ```
    """
    return _load(data, "np", copy=copy, packed=packed)


def load_file(
    filename: Source,
    *,
    backend: str = "mmap",
    keys: Optional[Iterable[str]] = None,
    prefix: Optional[str] = None,
    out: Optional[Dict[str, np.ndarray]] = None,
    packed: bool = False,
) -> Dict[str, np.ndarray]:
    """
    Loads the tensors of a file.

    Args:
        filename (`str`, or `os.PathLike`):
            The file to read.
        backend (`str`, *optional*, defaults to `"mmap"`):
            How the bytes are read: `"mmap"` maps the file, and the arrays are views of that, which can be written to
            and never change the file; `"pread"` reads it and never maps; `"direct"` reads it past the page cache;
            `"auto"` does what is fastest where the file lies.
        keys (`Iterable[str]`, *optional*):
            The names to load, instead of all.
        prefix (`str`, *optional*):
            Load only tensors whose name begins with it.
        out (`Dict[str, np.ndarray]`, *optional*):
            Arrays to read into, instead of making new ones; of the dtypes and shapes in the file. Without `keys`
            and `prefix` the file must have each of them.
        packed (`bool`, *optional*, defaults to `False`):
            Whether F4 and F6 come as the bytes they are stored in (`uint8`, the last dimension in bytes), instead
            of one value per element.

    Returns:
        `Dict[str, np.ndarray]`: The tensors by name, in the order of the file; those of `out` are the same objects.

    Example:

    ```python
    from safetensors.numpy import load_file

    loaded = load_file("./my_folder/bert.safetensors")
    ```
    """
    return load_file_as("np", filename, keys, prefix, out=out, backend=backend, packed=packed)


def load_files(
    filenames: Iterable[Source],
    *,
    backend: str = "mmap",
    keys: Optional[Iterable[str]] = None,
    prefix: Optional[str] = None,
    packed: bool = False,
) -> Dict[str, np.ndarray]:
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
        `Dict[str, np.ndarray]`: The tensors by name, in the order of the files, and within one in its own.

    Example:

    ```python
    from safetensors.numpy import load_files

    loaded = load_files([f"./my_folder/model-0000{i}-of-00002.safetensors" for i in (1, 2)], backend="auto")
    ```
    """
    return load_files_as("np", filenames, keys, prefix, backend=backend, packed=packed)


def _view2np(safeview: Iterable[Tuple[str, Dict[str, Any]]]) -> Dict[str, np.ndarray]:
    """Arrays out of what `deserialize` gives."""
    result = {}
    for name, view in safeview:
        array = np.frombuffer(view["data"], dtype=_getdtype(view["dtype"])).reshape(view["shape"])
        result[name] = array.byteswap() if sys.byteorder == "big" else array
    return result
