# SPDX-License-Identifier: Apache-2.0
"""Whole files as dicts: what every framework's `load_file` does."""

import mmap
import os
from typing import IO, Any, Dict, Iterable, List, Optional, Union

from ._safetensors_rust import SafetensorError, safe_open

# What offers its memory as a buffer; collections.abc.Buffer has a name for it from Python 3.12 on.
Buffer = Union[bytes, bytearray, memoryview, mmap.mmap]

# What can be opened: a path, a descriptor, a file object, or the bytes of a file.
Source = Union[str, os.PathLike, int, IO[bytes], Buffer]


def load_file_as(
    framework: str,
    filename: Source,
    keys: Optional[Iterable[str]],
    prefix: Optional[str],
    *,
    out: Optional[Dict[str, Any]] = None,
    **options: Any,
) -> Dict[str, Any]:
    """The tensors that `keys` and `prefix` select of a file that `safe_open` opens with `options`, those of `out` read
    into what it has; in the order of the file."""
    with safe_open(filename, framework, **options) as f:
        names = _selected(f, keys, prefix)
        return f.get_tensors(names) if out is None else _load_into(f, names, out)


def _selected(f: Any, keys: Optional[Iterable[str]], prefix: Optional[str]) -> Optional[List[str]]:
    """The names that `keys` and `prefix` leave; None for all."""
    if isinstance(keys, str):
        raise TypeError(f"keys must be several names, not the one string {keys!r}")
    if prefix is None:
        return None if keys is None else list(keys)
    return [name for name in (f.offset_keys() if keys is None else keys) if name.startswith(prefix)]


def _load_into(f: Any, names: Optional[List[str]], out: Dict[str, Any]) -> Dict[str, Any]:
    """Reads the tensors that `out` has into those, and makes the others."""
    order = f.offset_keys()
    if names is None:
        names = order
        lacking = sorted(set(out).difference(names))
        if lacking:
            raise SafetensorError(f"File does not contain tensor {lacking[0]}, which `out` has")
    loaded = f.get_tensors([name for name in names if name not in out])
    for name in names:
        if name not in loaded:
            loaded[name] = f.get_tensor(name, out=out[name])
    return {name: loaded[name] for name in order if name in loaded}
