# SPDX-License-Identifier: Apache-2.0
"""Writing a file tensor by tensor, so that they need not all be in memory at once."""

import os
from contextlib import contextmanager
from typing import Any, Callable, Dict, Iterable, Iterator, List, Mapping, Optional, Tuple, Union

from ._safetensors_rust import SafetensorError, TensorSpec, _Writer

# Makes of a value one that the writer takes as it is. What the second one keeps alive may go once it is written.
Plainer = Callable[[str, Any], Tuple[Any, Any]]


def check_target(filename: Any) -> None:
    if filename is None:
        raise TypeError("filename must be a path, a descriptor or a file object, not None")


@contextmanager
def _begun(
    target: Any, layout: Mapping[str, Any], metadata: Optional[Dict[str, str]], durable: bool
) -> Iterator[_Writer]:
    """A writer that has been told what will come. The file appears where the block ends, and not where it fails."""
    writer = _Writer(target, metadata, durable=durable)
    try:
        for name, like in layout.items():
            writer.add(name, *description(like))
        writer.begin()
        yield writer
        writer.finish()
    finally:
        writer.close()


def _write_plain(writer: _Writer, name: str, tensor: Any, plain: Plainer) -> None:
    value, _alive = plain(name, tensor)
    if writer.write(name, value) is NotImplemented:
        raise SafetensorError(f"tensor {name!r}: {type(tensor)} cannot be saved")


def write(
    tensors: Iterable[Tuple[str, Any]],
    target: Union[str, os.PathLike, int, Any],
    layout: Mapping[str, Any],
    metadata: Optional[Dict[str, str]],
    durable: bool,
    plain: Plainer,
) -> None:
    """Writes what `layout` announces and `tensors` yields; the file appears whole or not at all."""
    with _begun(target, layout, metadata, durable) as writer:
        for name, tensor in tensors:
            if writer.write(name, tensor) is NotImplemented:
                _write_plain(writer, name, tensor, plain)
            del tensor  # before the next one is asked for


def write_in_order(
    tensors: Dict[str, Any],
    target: Any,
    layout: Mapping[str, Any],
    metadata: Optional[Dict[str, str]],
    durable: bool,
    plain: Plainer,
) -> None:
    """Writes a dict whose values are made plain one at a time, in the order of the file."""
    with _begun(target, layout, metadata, durable) as writer:
        for name in writer.names():
            _write_plain(writer, name, tensors[name], plain)


def description(like: Any) -> Tuple[str, List[int]]:
    """Dtype and shape, as in the header, of anything that has `dtype` and `shape`."""
    dtype, shape = like.dtype, list(like.shape)
    if isinstance(dtype, str) or isinstance(like, TensorSpec):
        return dtype, shape
    name = getattr(dtype, "name", None) or str(dtype).rpartition(".")[2]
    if name == "float4_e2m1fn_x2" and shape:
        shape[-1] *= 2
    return "F4" if name == "float4_e2m1fn" else name, shape
