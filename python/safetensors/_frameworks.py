# SPDX-License-Identifier: Apache-2.0
"""What an array becomes in the frameworks that are reached through NumPy: jax, TensorFlow, MLX and Paddle."""

import re
from importlib import import_module
from typing import Any, Callable, Optional, Sequence

from ._safetensors_rust import SafetensorError

# From this size on jax.device_put is faster than jnp.asarray; below, slower.
_LARGE = 1 << 20

# The header codes of what MLX and Paddle may have although NumPy has not, each with its width in bytes.
_BEYOND_NUMPY = {
    "BF16": ("bfloat16", 2),
    "F8_E4M3": ("float8_e4m3fn", 1),
    "F8_E5M2": ("float8_e5m2", 1),
    "F8_E8M0": ("float8_e8m0fnu", 1),
    "F8_E4M3FNUZ": ("float8_e4m3fnuz", 1),
    "F8_E5M2FNUZ": ("float8_e5m2fnuz", 1),
}

Converter = Callable[..., Any]


def converter(framework: str) -> Converter:
    """
    Gives the function that makes the framework's tensor out of an array.

    Args:
        framework (`str`):
            One of the names that `safe_open` takes for jax, TensorFlow, MLX and Paddle.

    Returns:
        `Callable`: `convert(array)`. Those of MLX and Paddle also take `convert(bytes, code, shape)`, for the
        dtypes that NumPy lacks: the bytes as a flat `uint8` array and the header's dtype and shape.
    """
    return _MAKERS[framework]()


def version_of(module: Any) -> tuple[int, ...]:
    """The numbers that a module's version begins with. Builds without one (0.0.0) count as newer than any other."""
    numbers = re.match(r"\d+(\.\d+)*", getattr(module, "__version__", ""))
    parts = tuple(int(part) for part in numbers.group().split(".")) if numbers else (0,)
    return parts if any(parts) else (1 << 30,)


def _unknown(module: Any, dtype: str) -> SafetensorError:
    name = module.__name__.partition(".")[0]
    return SafetensorError(f'{name} has no type for {dtype}; framework="np" can read it')


def _is_foreign(dtype: Any) -> bool:
    """Whether the dtype is not NumPy's own, but ml_dtypes'."""
    return dtype.isbuiltin != 1


def _jax() -> Converter:
    jax = import_module("jax")
    jnp = import_module("jax.numpy")

    def convert(array):
        try:
            return jax.device_put(array) if array.nbytes >= _LARGE else jnp.asarray(array)
        except (RuntimeError, TypeError, ValueError) as error:
            if _is_foreign(array.dtype):
                raise _unknown(jax, array.dtype.name) from error
            raise

    return convert


def _tensorflow() -> Converter:
    tf = import_module("tensorflow")

    def convert(array):
        try:
            return tf.convert_to_tensor(array)
        except (TypeError, ValueError) as error:
            if _is_foreign(array.dtype):
                raise _unknown(tf, array.dtype.name) from error
            raise

    return convert


def _mlx() -> Converter:
    # The package `mlx` has no attribute `core` before somebody imports it.
    mx = import_module("mlx.core")
    # MLX computes with these as bytes (from_fp8, and the scales of its mxfp8), and loads them so itself.
    as_bytes = ("float8_e4m3fn", "float8_e8m0fnu")

    def convert(array, code=None, shape=None):
        name, width = _BEYOND_NUMPY[code] if code else (array.dtype.name, array.dtype.itemsize)
        if not code and not _is_foreign(array.dtype):
            return mx.array(array)
        if name != "bfloat16" and name not in as_bytes:
            raise _unknown(mx, name)
        tensor = mx.array(_bits(array, width, shape))
        if width == 2:
            tensor = tensor.view(mx.bfloat16)
            # What a thread has not computed yet, no other thread can.
            mx.eval(tensor)
        return tensor

    return convert


def _paddle() -> Converter:
    paddle = import_module("paddle")
    # Before 3.2 from_dlpack took capsules only.
    shares = version_of(paddle) >= (3, 2)
    # to_tensor would take U16 for BF16, and refuses the others.
    unsigned = ("uint16", "uint32", "uint64")

    def carry(array):
        """A tensor of a dtype that NumPy has, too: over the array's memory where that may be written to."""
        # An empty one from elsewhere does not count as contiguous.
        if shares and (array.size or array.dtype.name in unsigned):
            return paddle.from_dlpack(array if array.flags.writeable else array.copy())
        if array.dtype.name in unsigned:
            raise _unknown(paddle, array.dtype.name)
        return paddle.to_tensor(array, place="cpu")

    def convert(array, code=None, shape=None):
        name, width = _BEYOND_NUMPY[code] if code else (array.dtype.name, array.dtype.itemsize)
        if not code and not _is_foreign(array.dtype):
            return carry(array)
        dtype = getattr(paddle, name, None)
        if dtype is None:
            raise _unknown(paddle, name)
        bits = _bits(array, width, shape)
        return carry(bits.view("int16") if width == 2 else bits).view(dtype)

    return convert


def _bits(array: Any, width: int, shape: Optional[Sequence[int]]) -> Any:
    """The elements as unsigned integers of their width: a view."""
    bits = array.view("uint16" if width == 2 else "uint8")
    return bits if shape is None else bits.reshape(shape)


_MAKERS = {
    "jax": _jax,
    "flax": _jax,
    "tf": _tensorflow,
    "tensorflow": _tensorflow,
    "mlx": _mlx,
    "paddle": _paddle,
}


def index_torch(tensor: Any, index: Any) -> Any:
    """
    Indexes a tensor of torch as NumPy would: also by slices that run backwards or count beyond 64 bits.

    Args:
        tensor (`torch.Tensor`):
            The whole tensor.
        index (`Any`):
            What stands between the brackets.

    Returns:
        `torch.Tensor`: The part; a copy where a slice runs backwards.
    """
    items = list(index) if isinstance(index, tuple) else [index]
    spans = [_dims_of(item) for item in items]
    rest = tensor.ndim - sum(spans)
    turned, dim = [], 0
    for place, item in enumerate(items):
        if isinstance(item, slice) and dim < tensor.ndim:
            items[place], backwards = _forward(item, tensor.shape[dim])
            turned += [dim] if backwards else []
        dim += rest if item is Ellipsis else spans[place]
    return (tensor.flip(turned) if turned else tensor)[tuple(items)]


def _dims_of(item: Any) -> int:
    """How many dimensions of the tensor an item of an index takes."""
    if item is None or item is Ellipsis or isinstance(item, bool):
        return 0
    if isinstance(item, (slice, int)):
        return 1
    if not hasattr(item, "dtype"):
        item = import_module("numpy").asarray(item)
    return item.ndim if str(item.dtype).endswith("bool") else 1


def _forward(item: slice, size: int) -> tuple[slice, bool]:
    """A slice that takes the same of a dimension, or of the dimension turned round: then True."""
    start, _, step = item.indices(size)
    count = len(range(*item.indices(size)))
    if count == 0:
        return slice(0, 0), False
    first = size - 1 - start if step < 0 else start
    step = min(abs(step), size)
    return slice(first, first + (count - 1) * step + 1, step), item.indices(size)[2] < 0
