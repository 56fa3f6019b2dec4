# SPDX-License-Identifier: Apache-2.0
"""What `safetensors.edit` and `safetensors.checkpoint` have in common: the options of a file to be made."""

import os
import sys
from operator import index
from typing import Any, Callable, Iterable, List, Mapping, Optional, Tuple, Union

Path = Union[str, "os.PathLike[str]"]

# Told how many bytes of how many are done; False, or an exception that it raises, ends the work.
Progress = Callable[[int, int], Optional[bool]]

_ORDERS = {"file": 0, "canonical": 1, "name": 2}
_DURABILITIES = {"name": 0, "file": 1, "none": 2}
_NEW = 1  # a file of that name may not be there
_ALIGNMENTS = [1 << bits for bits in range(3, 13)]
_LARGEST = (1 << 63) - 1


def _chosen(argument: str, value: Any, choices: Any) -> Any:
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{argument} must be one of {', '.join(map(repr, choices))}, not {value!r}")
    return choices[value]


def path_text(value: Any) -> str:
    """A path as a str; bytes are none here."""
    text = os.fspath(value)
    if not isinstance(text, str):
        raise TypeError(f"a path must be a str or an os.PathLike of one, not {value!r}")
    return text


def paths_list(argument: str, value: Any) -> List[Any]:
    """One path or several as a list."""
    if isinstance(value, (str, os.PathLike)):
        return [value]
    if isinstance(value, (bytes, bytearray)) or not isinstance(value, Iterable):
        raise TypeError(f"{argument} must be a path or several, not {value!r}")
    return list(value)


def size(argument: str, value: Any, least: int = 0) -> int:
    """Checks a number of bytes, or of things."""
    try:
        number = index(value)
    except TypeError:
        raise TypeError(f"{argument} must be an integer, not {value!r}") from None
    if not least <= number <= _LARGEST:
        raise ValueError(f"{argument} must be from {least} to {_LARGEST}, not {number}")
    return number


def making(
    order: str, align: Any, reserve: Any, durability: str, overwrite: bool, dry_run: bool, progress: Optional[Progress]
) -> Tuple[int, int, int, int, int, bool, Optional[Progress]]:
    """The options as the extension takes them."""
    alignment = 0 if align is None else size("align", align)
    if align is not None and alignment not in _ALIGNMENTS:
        raise ValueError(f"align must be a power of 2 from 8 to 4096, not {alignment}")
    return (
        _chosen("order", order, _ORDERS),
        alignment,
        size("reserve", reserve),
        _chosen("durability", durability, _DURABILITIES),
        0 if overwrite else _NEW,
        bool(dry_run),
        progress,
    )


def texts(argument: str, value: Any) -> List[str]:
    """One text or several as a list."""
    if value is None:
        return []
    if isinstance(value, (bytes, bytearray)) or not isinstance(value, Iterable):
        raise TypeError(f"{argument} must be a str or several, not {value!r}")
    found = [value] if isinstance(value, str) else list(value)
    for text in found:
        if not isinstance(text, str):
            raise TypeError(f"{argument} must be a str or several, not {text!r}")
    return found


def dtype_name(value: Any) -> str:
    """The name of a dtype: a code, or what NumPy and torch call it."""
    if isinstance(value, str):
        return value
    return getattr(value, "name", None) or getattr(value, "__name__", None) or str(value).rpartition(".")[2]


def named(argument: str, value: Any) -> Mapping[str, Any]:
    """A dict by names, or none."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise TypeError(f"{argument} must be a dict, not {type(value)}")
    for name in value:
        if not isinstance(name, str):
            raise TypeError(f"{argument} must be a dict by str, not {name!r}")
    return value


def plain(name: str, value: Any, alive: List[Any]) -> Any:
    """An array or a tensor as the extension takes it; `alive` is given what keeps its memory there."""
    torch, numpy = sys.modules.get("torch"), sys.modules.get("numpy")
    if torch is not None and isinstance(value, torch.Tensor):
        from .torch import _check_tensor, _plain

        if value.layout != torch.strided:
            raise ValueError(f"tensor {name!r} is not dense but {value.layout}; put in `.to_dense()` of it")
        if value.is_meta:
            raise ValueError(f"tensor {name!r} is on the meta device, and has no data")
        _check_tensor(name, value, contiguous=True)
        value, kept = _plain(name, value)
        alive.append(kept)
    elif numpy is not None and isinstance(value, (numpy.ndarray, numpy.generic)):
        from .numpy import _plain as _plain_array

        value, kept = _plain_array(name, value)
        alive.append(kept)
    return value
