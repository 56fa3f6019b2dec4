# SPDX-License-Identifier: Apache-2.0
"""Tensors of torch, and whole models."""

import os
import sys
from collections import defaultdict
from typing import Any, Dict, Iterable, List, Mapping, Optional, Set, Tuple, Union

import torch

from . import TensorSpec, deserialize, safe_open, serialize, serialize_file  # noqa: F401
from . import _stream
from ._loading import Buffer, load_file_as, load_files_as, Source
from ._safetensors_rust import SafetensorError, _load, _save

Target = Union[str, os.PathLike, int, Any]


class UnsupportedDtypeError(SafetensorError, KeyError):
    """A tensor of a dtype that the format has no code for."""

    __str__ = Exception.__str__


# ------------------------------------------------------------------------------------------------ dtypes

# None where this torch has no such dtype.
_float8_e4m3fn = getattr(torch, "float8_e4m3fn", None)
_float8_e4m3fnuz = getattr(torch, "float8_e4m3fnuz", None)
_float8_e5m2 = getattr(torch, "float8_e5m2", None)
_float8_e5m2fnuz = getattr(torch, "float8_e5m2fnuz", None)
_float8_e8m0 = getattr(torch, "float8_e8m0fnu", None)
_float4_e2m1_x2 = getattr(torch, "float4_e2m1fn_x2", None)

# The header's code, the dtype, and the bytes of one of torch's elements, of which F4 has two of the header's in each.
_DTYPES = [
    ("F64", torch.float64, 8),
    ("F32", torch.float32, 4),
    ("F16", torch.float16, 2),
    ("BF16", torch.bfloat16, 2),
    ("I64", torch.int64, 8),
    ("I32", torch.int32, 4),
    ("I16", torch.int16, 2),
    ("I8", torch.int8, 1),
    ("U64", getattr(torch, "uint64", None), 8),
    ("U32", getattr(torch, "uint32", None), 4),
    ("U16", getattr(torch, "uint16", None), 2),
    ("U8", torch.uint8, 1),
    ("BOOL", torch.bool, 1),
    ("C64", torch.complex64, 8),
    ("F8_E4M3", _float8_e4m3fn, 1),
    ("F8_E4M3FNUZ", _float8_e4m3fnuz, 1),
    ("F8_E5M2", _float8_e5m2, 1),
    ("F8_E5M2FNUZ", _float8_e5m2fnuz, 1),
    ("F8_E8M0", _float8_e8m0, 1),
    ("F4", _float4_e2m1_x2, 1),
]
_TYPES = {code: dtype for code, dtype, _ in _DTYPES if dtype is not None}
_SIZE = {dtype: size for _, dtype, size in _DTYPES if dtype is not None}


def _getdtype(dtype_str: str) -> torch.dtype:
    return _TYPES[dtype_str]


# ----------------------------------------------------------------------------------------- shared memory


def storage_ptr(tensor: torch.Tensor) -> int:
    """
    Gives the address of a tensor's storage.

    Args:
        tensor (`torch.Tensor`):
            The tensor.

    Returns:
        `int`: The address; 0 where there is none, as on the meta device.
    """
    try:
        return tensor.untyped_storage().data_ptr()
    except (RuntimeError, NotImplementedError):
        return 0


def storage_size(tensor: torch.Tensor) -> int:
    """
    Gives the size of a tensor's storage, of which the tensor itself may be a part.

    Args:
        tensor (`torch.Tensor`):
            The tensor.

    Returns:
        `int`: The size in bytes.
    """
    try:
        return tensor.untyped_storage().nbytes()
    except (RuntimeError, NotImplementedError):
        return tensor.nelement() * tensor.element_size()


def _end_ptr(tensor: torch.Tensor) -> int:
    """The address behind a tensor's last byte, whatever its strides."""
    if not tensor.nelement():
        return tensor.data_ptr()
    last = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride()))
    return tensor.data_ptr() + (last + 1) * tensor.element_size()


def _is_complete(tensor: torch.Tensor) -> bool:
    """Whether the tensor covers all of its storage."""
    size = tensor.nelement() * tensor.element_size()
    return tensor.data_ptr() == storage_ptr(tensor) and size == storage_size(tensor)


def _filter_shared_not_shared(tensors: List[Set[str]], state_dict: Dict[str, torch.Tensor]) -> List[Set[str]]:
    """Splits groups of one storage each into those whose memory really overlaps."""
    split = []
    for group in tensors:
        if len(group) < 2:
            split.append(group)
            continue
        reached = 0
        for begin, end, name in sorted((state_dict[k].data_ptr(), _end_ptr(state_dict[k]), k) for k in group):
            if begin == end:
                split.append({name})  # without elements, it shares nothing
                continue
            if begin >= reached:
                overlapping = {name}
                split.append(overlapping)
            else:
                overlapping.add(name)
            # One that ends early does not hide what a longer one before it covers.
            reached = max(reached, end)
    return split


def _find_shared_tensors(state_dict: Dict[str, torch.Tensor]) -> List[Set[str]]:
    """Groups names by shared memory; a tensor that shares with no other is a group of its own."""
    groups: Dict[Any, Set[str]] = {}
    for name, tensor in state_dict.items():
        if tensor.device.type == "meta":
            continue
        pointer, size = storage_ptr(tensor), storage_size(tensor)
        if pointer and size:
            groups.setdefault((tensor.device, pointer, size), set()).add(name)
    return _filter_shared_not_shared(list(groups.values()), state_dict)


def _remove_duplicate_names(
    state_dict: Dict[str, torch.Tensor],
    *,
    preferred_names: Optional[Iterable[str]] = None,
    discard_names: Optional[Iterable[str]] = None,
) -> Dict[str, List[str]]:
    """Chooses one name to keep of each group that shares memory; gives kept name -> the others."""
    preferred, discarded = set(preferred_names or ()), set(discard_names or ())
    removed = defaultdict(list)
    for group in _find_shared_tensors(state_dict):
        complete = {name for name in group if _is_complete(state_dict[name])}
        if not complete:
            raise RuntimeError(
                f"None of the tensors {sorted(group)} covers the whole of the memory that it is a view of, so there"
                " is none to keep for the others; saving it all could take much more space than the tensors"
                " themselves. Clone them (`shared='clone'`) to save each by itself."
            )
        kept = min(complete & preferred or complete - discarded or complete)
        for name in sorted(group - {kept}):
            removed[kept].append(name)
    return removed


def _duplicates(
    state_dict: Dict[str, torch.Tensor], preferred_names: Optional[Iterable[str]] = None
) -> Dict[str, List[str]]:
    """The same for those only that do share: a part of something that has no name itself is not a duplicate."""
    shared = {name for group in _find_shared_tensors(state_dict) if len(group) > 1 for name in group}
    sharing = {name: tensor for name, tensor in state_dict.items() if name in shared}
    return _remove_duplicate_names(sharing, preferred_names=preferred_names)


# ------------------------------------------------------------------------------------- what can be saved


def _check_values(tensors: Dict[str, torch.Tensor]) -> None:
    if not isinstance(tensors, dict):
        raise ValueError(f"Expected a dict of [str, torch.Tensor] but received {type(tensors)}")
    sparse = []
    for name, tensor in tensors.items():
        if not isinstance(tensor, torch.Tensor):
            raise ValueError(f"Key `{name}` is invalid, expected torch.Tensor but received {type(tensor)}")
        if tensor.layout != torch.strided:
            sparse.append(name)
    if sparse:
        raise ValueError(
            f"You are trying to save a sparse tensors: `{sparse}` which this library does not support."
            " You can make it a dense tensor before saving with `.to_dense()` but be aware this might"
            " make a much larger file than needed."
        )


def _check_shared(tensors: Dict[str, torch.Tensor]) -> None:
    failing = [sorted(group) for group in _find_shared_tensors(tensors) if len(group) > 1]
    if failing:
        raise RuntimeError(
            f"Some tensors share memory: {failing}. Each would be saved in full, and loaded as separate tensors."
            " Save a model with `save_model`, which keeps one of each group, or say which you want:"
            " `shared='alias'` to keep one, `shared='clone'` to save each."
        )


def _evaluate_tensors_for_save(tensors: Dict[str, torch.Tensor]) -> None:
    _check_values(tensors)
    _check_shared(tensors)


def _check_tensor(name: str, tensor: torch.Tensor, contiguous: bool) -> None:
    if not contiguous and not tensor.is_contiguous():
        raise ValueError(
            f"You are trying to save a non contiguous tensor: `{name}` which is not allowed. If it is a part of"
            " another tensor, save the whole and slice after loading; else save `.contiguous()` of it, or pass"
            " `contiguous=True`."
        )
    if tensor.is_meta:
        tensor.to("cpu")  # raises: there is nothing to copy
    if tensor.dtype not in _SIZE:
        raise UnsupportedDtypeError(
            f"tensor `{name}` is of {tensor.dtype}, which the format does not have; it has"
            f" {', '.join(str(dtype) for dtype in _SIZE)}"
        )


def _bytes(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor's bytes as a flat tensor, without a copy where it is contiguous."""
    # A contiguous tensor may have any stride along a dimension of size 1, which view() would stumble over.
    return tensor.detach().contiguous().as_strided((tensor.nelement(),), (1,)).view(torch.uint8)


def _swapped(tensor: torch.Tensor) -> torch.Tensor:
    """A copy's bytes, each element's (of complex numbers, each half's) turned round."""
    width = tensor.element_size() // (2 if tensor.is_complex() else 1)
    return _bytes(tensor).reshape(-1, width).flip(1).contiguous()


def _plain(name: str, tensor: torch.Tensor) -> Tuple[TensorSpec, torch.Tensor]:
    """A tensor's elements in the host's memory, packed, and what keeps them there."""
    alive = tensor.detach().resolve_conj().resolve_neg().to("cpu").contiguous()
    shape, size = alive.shape, alive.nelement() * alive.element_size()
    if sys.byteorder == "big" and size:
        alive = _swapped(alive)
    spec = TensorSpec(
        dtype=str(tensor.dtype).rpartition(".")[2],
        shape=shape,
        data_ptr=alive.data_ptr() if size else 0,
        data_len=size,
    )
    return spec, alive


def _flatten_as_ptr(tensors: Dict[str, torch.Tensor], keep_alive_buffer: List) -> Dict[str, TensorSpec]:
    _evaluate_tensors_for_save(tensors)
    flattened = {}
    for name, tensor in tensors.items():
        _check_tensor(name, tensor, contiguous=False)
        flattened[name], alive = _plain(name, tensor)
        keep_alive_buffer.append(alive)
    return flattened


def _to_ndarray(tensor: torch.Tensor) -> Tuple[Any, torch.Tensor]:
    """A tensor's bytes as an array, and what keeps them there."""
    tensor = tensor.detach().resolve_conj().resolve_neg().to("cpu")
    flat = _swapped(tensor).reshape(-1) if sys.byteorder == "big" else _bytes(tensor)
    return flat.numpy(), tensor


# ---------------------------------------------------------------------------------------------- saving


def _check_alias(name: str, kept: str, tensors: Dict[str, torch.Tensor], metadata: Dict[str, str]) -> None:
    """Refuses what could not be told from the kept tensor and the metadata."""
    one, other = tensors[name], tensors[kept]
    if (one.data_ptr(), one.shape, one.stride(), one.dtype) != (
        other.data_ptr(),
        other.shape,
        other.stride(),
        other.dtype,
    ):
        raise RuntimeError(
            f"`{name}` shares memory with `{kept}`, but is another view of it, so that `{kept}` cannot stand for it;"
            " `shared='clone'` saves both"
        )
    if metadata.get(name, kept) != kept:
        raise ValueError(f"the metadata has the key `{name}` already, under which the alias `{kept}` is to be kept")


def _aliased(
    tensors: Dict[str, torch.Tensor], metadata: Optional[Dict[str, str]], is_model: bool
) -> Tuple[Dict[str, torch.Tensor], Optional[Dict[str, str]]]:
    """One tensor of each group that shares memory, and metadata that tells which name stands for which. A model
    makes its views itself when it is loaded, and the user's metadata wins."""
    removed = {name: kept for kept, names in _duplicates(tensors).items() for name in names}
    if not removed:
        return tensors, metadata
    if not is_model:
        for name, kept in removed.items():
            _check_alias(name, kept, tensors, metadata or {})
    return {k: v for k, v in tensors.items() if k not in removed}, {**removed, **(metadata or {})}


def _save_odd(
    tensors: Dict[str, torch.Tensor],
    target: Optional[Target],
    metadata: Optional[Dict[str, str]],
    shared: str,
    contiguous: bool,
    durable: bool,
) -> Optional[bytes]:
    """Saves what is not all plain memory that nothing else shares, or says why it cannot be saved."""
    _check_values(tensors)
    if shared == "error":
        _check_shared(tensors)
    elif shared != "clone":
        tensors, metadata = _aliased(tensors, metadata, is_model=shared == "model")
    for name, tensor in tensors.items():
        _check_tensor(name, tensor, contiguous)
    saved = _save(tensors, target, metadata, durable=durable, only="pt", strided=contiguous)
    if saved is not NotImplemented:
        return saved
    if target is not None:
        # Copies are made one at a time, so that a model on another device needs no host memory of its size.
        _stream.write_in_order(tensors, target, tensors, metadata, durable, _plain)
        return None
    plain = {name: _plain(name, tensor) for name, tensor in tensors.items()}
    return _save({name: spec for name, (spec, _) in plain.items()}, None, metadata)


def _save_any(
    tensors: Dict[str, torch.Tensor],
    target: Optional[Target],
    metadata: Optional[Dict[str, str]],
    shared: str,
    contiguous: bool,
    durable: bool = False,
) -> Any:
    """The bytes, where there is no target."""
    if shared not in ("error", "clone", "alias", "model"):
        raise ValueError(f"shared must be 'error', 'clone' or 'alias', not {shared!r}")
    if not isinstance(tensors, dict):
        _check_values(tensors)
    if type(tensors) is not dict:
        tensors = dict(tensors.items())
    saved = _save(tensors, target, metadata, durable=durable, alone=shared != "clone", only="pt", strided=contiguous)
    if saved is not NotImplemented:
        return saved
    return _save_odd(tensors, target, metadata, shared, contiguous, durable)


def save(
    tensors: Dict[str, torch.Tensor],
    metadata: Optional[Dict[str, str]] = None,
    *,
    shared: str = "error",
    contiguous: bool = False,
) -> bytes:
    """
    Saves tensors into bytes in the safetensors format.

    Args:
        tensors (`Dict[str, torch.Tensor]`):
            The tensors by name. The dict is left as it is.
        metadata (`Dict[str, str]`, *optional*, defaults to `None`):
            Text to keep in the header. It says something about the tensors, and has no effect on loading.
        shared (`str`, *optional*, defaults to `"error"`):
            What to do with tensors that share memory: `"error"` refuses, `"clone"` saves each in full, `"alias"`
            saves one of each group and puts the other names into the metadata, as `save_model` does.
        contiguous (`bool`, *optional*, defaults to `False`):
            Whether tensors that are not contiguous are packed while they are saved, instead of refused.

    Returns:
        `bytes`: The bytes of a whole file.

    Example:

    ```python
    from safetensors.torch import save
    import torch

    tensors = {"embedding": torch.zeros((512, 1024)), "attention": torch.zeros((256, 256))}
    byte_data = save(tensors)
    ```
    """
    return _save_any(tensors, None, metadata, shared, contiguous)


def save_file(
    tensors: Dict[str, torch.Tensor],
    filename: Target,
    metadata: Optional[Dict[str, str]] = None,
    *,
    shared: str = "error",
    contiguous: bool = False,
    durable: bool = False,
) -> None:
    """
    Saves tensors into a file, which appears whole or not at all.

    Nothing keeps another thread from changing the tensors meanwhile; the file then holds some of both.

    Args:
        tensors (`Dict[str, torch.Tensor]`):
            The tensors by name. The dict is left as it is.
        filename (`str`, or `os.PathLike`):
            The file to write. A file object opened for writing and a descriptor will do as well; what they
            are of is written to from their position on.
        metadata (`Dict[str, str]`, *optional*, defaults to `None`):
            Text to keep in the header. It says something about the tensors, and has no effect on loading.
        shared (`str`, *optional*, defaults to `"error"`):
            What to do with tensors that share memory: `"error"` refuses, `"clone"` saves each in full, `"alias"`
            saves one of each group and puts the other names into the metadata, as `save_model` does.
        contiguous (`bool`, *optional*, defaults to `False`):
            Whether tensors that are not contiguous are packed while they are saved, instead of refused.
        durable (`bool`, *optional*, defaults to `False`):
            Whether to wait until the file and its name have reached the disk.

    Example:

    ```python
    from safetensors.torch import save_file
    import torch

    tensors = {"embedding": torch.zeros((512, 1024)), "attention": torch.zeros((256, 256))}
    save_file(tensors, "model.safetensors")
    ```
    """
    _stream.check_target(filename)
    _save_any(tensors, filename, metadata, shared, contiguous, durable)


def save_stream(
    tensors: Iterable[Tuple[str, torch.Tensor]],
    filename: Target,
    *,
    layout: Mapping[str, Any],
    metadata: Optional[Dict[str, str]] = None,
    durable: bool = False,
) -> None:
    """
    Saves tensors that come one after the other, so that they need not all be in memory at once.

    Args:
        tensors (`Iterable[Tuple[str, torch.Tensor]]`):
            Yields each tensor of `layout` once, in any order. A tensor is written before the next one is asked for,
            whatever its device or strides.
        filename (`str`, or `os.PathLike`):
            The file to write, which appears whole or not at all. For a descriptor of a pipe and for a file object,
            tensors have to come roughly in the order of the file.
        layout (`Mapping[str, Any]`):
            What will come: names, each with something that has `dtype` and `shape`, such as a tensor on the meta
            device.
        metadata (`Dict[str, str]`, *optional*, defaults to `None`):
            Text to keep in the header.
        durable (`bool`, *optional*, defaults to `False`):
            Whether to wait until the file and its name have reached the disk.

    Example:

    ```python
    from safetensors.torch import save_stream
    import torch

    layout = {f"layer.{i}": torch.empty((256, 256), device="meta") for i in range(4)}
    save_stream(((name, torch.rand(like.shape)) for name, like in layout.items()), "model.safetensors", layout=layout)
    ```
    """
    _stream.check_target(filename)
    _stream.write(tensors, filename, layout, metadata, durable, _plain)


# ---------------------------------------------------------------------------------------------- loading


def load_file(
    filename: Source,
    device: Union[str, int, torch.device] = "cpu",
    *,
    backend: str = "mmap",
    keys: Optional[Iterable[str]] = None,
    prefix: Optional[str] = None,
    out: Optional[Dict[str, torch.Tensor]] = None,
) -> Dict[str, torch.Tensor]:
    """
    Loads the tensors of a file.

    Args:
        filename (`str`, or `os.PathLike`):
            The file to read.
        device (`Union[str, int, torch.device]`, *optional*, defaults to `"cpu"`):
            Where the tensors shall be: any of torch's devices.
        backend (`str`, *optional*, defaults to `"mmap"`):
            How the bytes are read: `"mmap"` maps the file, `"pread"` reads it and never maps, `"direct"` reads it past
            the page cache, `"auto"` does what is fastest where the file lies.
        keys (`Iterable[str]`, *optional*):
            The names to load, instead of all.
        prefix (`str`, *optional*):
            Load only tensors whose name begins with it.
        out (`Dict[str, torch.Tensor]`, *optional*):
            Tensors to read into, instead of making new ones; of the dtypes and shapes in the file. Without `keys`
            and `prefix` the file must have each of them.

    Returns:
        `Dict[str, torch.Tensor]`: The tensors by name, in the order of the file; those of `out` are the same objects.

    Example:

    ```python
    from safetensors.torch import load_file

    loaded = load_file("./my_folder/bert.safetensors")
    ```
    """
    return load_file_as("pt", filename, keys, prefix, out=out, device=device, backend=backend)


def load_files(
    filenames: Iterable[Source],
    device: Union[str, int, torch.device] = "cpu",
    *,
    backend: str = "mmap",
    keys: Optional[Iterable[str]] = None,
    prefix: Optional[str] = None,
) -> Dict[str, torch.Tensor]:
    """
    Loads the tensors of several files, such as the parts of a large model, in one go.

    Args:
        filenames (an iterable of `str`, or `os.PathLike`):
            The files to read. No tensor may be in two of them.
        device (`Union[str, int, torch.device]`, *optional*, defaults to `"cpu"`):
            Where the tensors shall be: any of torch's devices.
        backend (`str`, *optional*, defaults to `"mmap"`):
            How the bytes are read: `"mmap"` maps the file, `"pread"` reads it and never maps, `"direct"` reads it past
            the page cache, `"auto"` does what is fastest where the file lies.
        keys (`Iterable[str]`, *optional*):
            The names to load, instead of all, each from the file that has it.
        prefix (`str`, *optional*):
            Load only tensors whose name begins with it.

    Returns:
        `Dict[str, torch.Tensor]`: The tensors by name, in the order of the files, and within one in its own.

    Example:

    ```python
    from safetensors.torch import load_files

    loaded = load_files([f"./my_folder/model-0000{i}-of-00002.safetensors" for i in (1, 2)], backend="auto")
    ```
    """
    return load_files_as("pt", filenames, keys, prefix, backend=backend, device=device)


def load(data: Buffer, *, copy: Optional[bool] = None) -> Dict[str, torch.Tensor]:
    """
    Loads the tensors of a file's bytes.

    Args:
        data (`bytes`, or any object that offers its memory as a buffer):
            The content of a safetensors file.
        copy (`bool`, *optional*):
            By default the tensors are independent of read-only data, such as `bytes`, and views of data that can be
            written to, such as a `bytearray`. `True` always copies, `False` never does, and refuses read-only data.

    Returns:
        `Dict[str, torch.Tensor]`: The tensors by name, on the CPU.

    Example:

    ```python
    from safetensors.torch import load

    with open("./my_folder/bert.safetensors", "rb") as f:
        loaded = load(f.read())
    ```
    """
    return _load(data, "pt", copy=copy)


def _view2torch(safeview: Iterable[Tuple[str, Dict[str, Any]]]) -> Dict[str, torch.Tensor]:
    """Tensors out of what `deserialize` gives."""
    result = {}
    for name, view in safeview:
        dtype, shape = _getdtype(view["dtype"]), list(view["shape"])
        if view["dtype"] == "F4" and shape:
            shape[-1] //= 2
        if len(view["data"]) == 0:
            result[name] = torch.empty(shape, dtype=dtype, device="cpu")
            continue
        flat = torch.frombuffer(view["data"], dtype=dtype)
        if sys.byteorder == "big":
            flat = _swapped(flat).reshape(-1).view(dtype)
        result[name] = flat.reshape(shape)
    return result


# ----------------------------------------------------------------------------------------------- models


def save_model(
    model: torch.nn.Module,
    filename: Union[str, os.PathLike],
    metadata: Optional[Dict[str, str]] = None,
    force_contiguous: bool = True,
    *,
    durable: bool = False,
) -> None:
    """
    Saves a model whose tensors may share memory: of those that do, one is saved, and the metadata tells which one
    stands for which others.

    Args:
        model (`torch.nn.Module`):
            The model to save.
        filename (`str`, or `os.PathLike`):
            The file to write.
        metadata (`Dict[str, str]`, *optional*, defaults to `None`):
            Text to keep in the header. The dict is left as it is; an entry of it whose key is a tensor's name wins.
        force_contiguous (`bool`, *optional*, defaults to `True`):
            Whether tensors that are not contiguous are packed while they are saved, instead of refused. They are
            contiguous when they are loaded, which can matter for speed, never for values.
        durable (`bool`, *optional*, defaults to `False`):
            Whether to wait until the file and its name have reached the disk.

    Example:

    ```python
    from safetensors.torch import save_model
    import torch

    model = torch.nn.Linear(4, 2)
    save_model(model, "model.safetensors")
    ```
    """
    _stream.check_target(filename)
    try:
        _save_any(model.state_dict(), filename, metadata, "model", force_contiguous, durable)
    except ValueError as error:
        raise ValueError(
            f"{error} Or use save_model(..., force_contiguous=True), read the docs for potential caveats."
        ) from error


def load_model(
    model: torch.nn.Module,
    filename: Source,
    strict: bool = True,
    device: Union[str, int, torch.device] = "cpu",
    *,
    backend: str = "mmap",
) -> Tuple[List[str], List[str]]:
    """
    Loads a file that `save_model` made into a model.

    Args:
        model (`torch.nn.Module`):
            The model to load into.
        filename (`str`, or `os.PathLike`):
            The file to read.
        strict (`bool`, *optional*, defaults to `True`):
            Whether to raise where names are missing or unexpected, instead of only telling them.
        device (`Union[str, int, torch.device]`, *optional*, defaults to `"cpu"`):
            Where the tensors are read to before the model takes them.
        backend (`str`, *optional*, defaults to `"mmap"`):
            How the bytes are read: `"mmap"` maps the file, `"pread"` reads it and never maps, `"direct"` reads it past
            the page cache, `"auto"` does what is fastest where the file lies.

    Returns:
        `Tuple[List[str], List[str]]`: The model's names that the file has nothing for, and the file's names that the
        model has no use for.

    Example:

    ```python
    from safetensors.torch import load_model, save_model
    import torch

    model = torch.nn.Linear(4, 2)
    save_model(model, "model.safetensors")
    missing, unexpected = load_model(model, "model.safetensors")
    ```
    """
    state_dict = load_file(filename, device=device, backend=backend)
    removed = _duplicates(model.state_dict(), preferred_names=state_dict)
    missing, unexpected = (list(names) for names in model.load_state_dict(state_dict, strict=False))
    for name in (name for names in removed.values() for name in names):
        if name in missing:
            missing.remove(name)
        else:
            unexpected.append(name)
    if strict and (missing or unexpected):
        lines = [f"Error(s) in loading state_dict for {type(model).__name__}:"]
        for what, names in (("Missing", missing), ("Unexpected", unexpected)):
            if names:
                quoted = ", ".join(f'"{name}"' for name in sorted(names))
                lines.append(f"{what} key(s) in state_dict: {quoted}")
        raise RuntimeError("\n    ".join(lines))
    return missing, unexpected
