# SPDX-License-Identifier: Apache-2.0
# The extension's types; their descriptions are those of the extension itself, which a test compares.
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Dict, List, Optional, Tuple, Type, Union, final, type_check_only

from typing_extensions import Buffer, Self

from ._prefetch import PrefetchLoader as PrefetchLoader
from ._prefetch import TensorStream as TensorStream

__all__ = [
    "serialize",
    "serialize_file",
    "deserialize",
    "TensorSpec",
    "safe_open",
    "_safe_open_handle",
    "SafetensorError",
    "PySafeSlice",
    "TensorMeta",
    "PrefetchLoader",
    "TensorStream",
    "__version__",
]

__version__: str

class SafetensorError(Exception):
    """What safetensors itself finds wrong: with a file, a tensor or an argument."""

class SafetensorIndexError(SafetensorError, IndexError):
    """A SafetensorError that is the built-in exception of its name as well."""

class SafetensorKeyError(SafetensorError, KeyError):
    """A SafetensorError that is the built-in exception of its name as well."""

class SafetensorValueError(SafetensorError, ValueError):
    """A SafetensorError that is the built-in exception of its name as well."""

class SafetensorOSError(SafetensorError, OSError):
    """A SafetensorError that is the built-in exception of its name as well."""

class SafetensorBlockingIOError(SafetensorError, BlockingIOError):
    """A SafetensorError that is the built-in exception of its name as well."""

class SafetensorBrokenPipeError(SafetensorError, BrokenPipeError):
    """A SafetensorError that is the built-in exception of its name as well."""

class SafetensorChildProcessError(SafetensorError, ChildProcessError):
    """A SafetensorError that is the built-in exception of its name as well."""

class SafetensorConnectionAbortedError(SafetensorError, ConnectionAbortedError):
    """A SafetensorError that is the built-in exception of its name as well."""

class SafetensorConnectionError(SafetensorError, ConnectionError):
    """A SafetensorError that is the built-in exception of its name as well."""

class SafetensorConnectionRefusedError(SafetensorError, ConnectionRefusedError):
    """A SafetensorError that is the built-in exception of its name as well."""

class SafetensorConnectionResetError(SafetensorError, ConnectionResetError):
    """A SafetensorError that is the built-in exception of its name as well."""

class SafetensorFileExistsError(SafetensorError, FileExistsError):
    """A SafetensorError that is the built-in exception of its name as well."""

class SafetensorFileNotFoundError(SafetensorError, FileNotFoundError):
    """A SafetensorError that is the built-in exception of its name as well."""

class SafetensorInterruptedError(SafetensorError, InterruptedError):
    """A SafetensorError that is the built-in exception of its name as well."""

class SafetensorIsADirectoryError(SafetensorError, IsADirectoryError):
    """A SafetensorError that is the built-in exception of its name as well."""

class SafetensorNotADirectoryError(SafetensorError, NotADirectoryError):
    """A SafetensorError that is the built-in exception of its name as well."""

class SafetensorPermissionError(SafetensorError, PermissionError):
    """A SafetensorError that is the built-in exception of its name as well."""

class SafetensorProcessLookupError(SafetensorError, ProcessLookupError):
    """A SafetensorError that is the built-in exception of its name as well."""

class SafetensorTimeoutError(SafetensorError, TimeoutError):
    """A SafetensorError that is the built-in exception of its name as well."""

def serialize(tensor_dict: Dict[str, TensorSpec], metadata: Optional[Dict[str, str]] = None) -> bytes:
    """Serializes tensors described by `TensorSpec` into bytes.

    Args:
        tensor_dict (`Dict[str, TensorSpec]`):
            The tensors; the memory they point at is read once.
        metadata (`Dict[str, str]`, *optional*):
            Text that is kept in the header.

    Returns:
        `bytes`: the file's bytes.
    """

def serialize_file(
    tensor_dict: Dict[str, TensorSpec],
    filename: Union[str, os.PathLike[str]],
    metadata: Optional[Dict[str, str]] = None,
) -> None:
    """Serializes tensors described by `TensorSpec` into a file, whole or not at all.

    Args:
        tensor_dict (`Dict[str, TensorSpec]`):
            The tensors; the memory they point at is read once.
        filename (`str`, or `os.PathLike`):
            The file to write.
        metadata (`Dict[str, str]`, *optional*):
            Text that is kept in the header.
    """

def deserialize(bytes: Buffer) -> List[Tuple[str, Dict[str, Any]]]:
    """Splits a file's bytes into its tensors.

    Args:
        bytes (`bytes`):
            The bytes of a whole file; any object that offers a buffer will do.

    Returns:
        `List[Tuple[str, Dict[str, Any]]]`: name and `shape`, `dtype` and `data` (a new
        `bytearray`) of each tensor, in data order.
    """

@final
class TensorSpec:
    """A tensor in memory, for `serialize` and `serialize_file`.

    The memory is not kept alive: whoever passes the address has to, until the call that
    writes it has returned.

    Args:
        dtype (`str`):
            The dtype's name as in NumPy and torch: `"float32"`.
        shape (`Sequence[int]`):
            The shape; that of a `float4_e2m1fn_x2` tensor counts pairs, as torch's does.
        data_ptr (`int`):
            The address of the first byte; elements are little-endian, in row-major order.
        data_len (`int`):
            The number of bytes.
    """

    def __new__(cls, *, dtype: str, shape: Sequence[int], data_ptr: int, data_len: int) -> Self: ...
    @property
    def dtype(self) -> str:
        """The dtype's code in the header: `"F32"`."""

    @property
    def shape(self) -> List[int]:
        """The shape in elements, as in the header."""

    @property
    def data_ptr(self) -> int:
        """The address of the first byte."""

    @property
    def data_len(self) -> int:
        """The number of bytes."""

@final
class TensorMeta:
    """What a file's header says of one tensor."""

    @property
    def dtype(self) -> str:
        """The dtype's code in the header, such as `"F32"`."""

    @property
    def shape(self) -> List[int]:
        """The shape, a new list."""

    @property
    def data_offsets(self) -> Tuple[int, int]:
        """Where the bytes begin and end, counted from the start of the data section."""

@final
class PySafeSlice:
    """A tensor of an open file, of which parts are read by indexing it.

    What `safe_open.get_slice` returns. It stays usable after the file was closed.

    Example:
    ```python
    from safetensors import safe_open

    with safe_open("model.safetensors", framework="pt") as f:
        embedding = f.get_slice("embedding")
        rows, columns = embedding.get_shape()
        half = embedding[: rows // 2]
    ```
    """

    def get_shape(self) -> List[int]:
        """The shape of the whole tensor.

        Returns:
            `List[int]`: the shape in the header.
        """

    def get_dtype(self) -> str:
        """The dtype of the tensor.

        Returns:
            `str`: the dtype's code in the header, such as `"F32"`.
        """

    @property
    def nbytes(self) -> int:
        """The size of the whole tensor in bytes."""

    def __len__(self) -> int: ...
    def __getitem__(self, key: Any, /) -> Any: ...
    def __array__(self, dtype: Any = None, copy: Optional[bool] = None) -> Any:
        """The whole tensor as a NumPy array."""

    def __dlpack__(
        self,
        *,
        stream: Any = None,
        max_version: Optional[Tuple[int, int]] = None,
        dl_device: Optional[Tuple[int, int]] = None,
        copy: Optional[bool] = None,
    ) -> Any:
        """The whole tensor as a DLPack capsule, in memory that nobody else sees."""

    def __dlpack_device__(self) -> Tuple[int, int]:
        """The DLPack device: always the CPU."""

    @property
    def _file(self) -> Any:
        """The open file."""

    @property
    def _name(self) -> str:
        """The tensor's name."""

# What safe_open and _safe_open_handle have in common; there is no such class.
@type_check_only
class _OpenFile:
    def __enter__(self) -> Self:
        """Returns itself."""

    def __exit__(
        self,
        _exc_type: Optional[Type[BaseException]],
        _exc_value: Optional[BaseException],
        _traceback: Optional[TracebackType],
    ) -> None:
        """Closes the file."""

    def close(self) -> None:
        """Closes the file. Tensors and slices that came from it stay valid."""

    @property
    def closed(self) -> bool:
        """Whether the file was closed."""

    @property
    def backend(self) -> str:
        """How the file is read, as it was asked for."""

    @property
    def _file(self) -> Any:
        """What the file's tensors are read by."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[str]: ...
    def __contains__(self, key: object, /) -> bool: ...
    def __getitem__(self, key: str, /) -> Any: ...
    def keys(self) -> List[str]:
        """The tensors' names.

        Returns:
            `List[str]`: the names, in their order.
        """

    def offset_keys(self) -> List[str]:
        """The tensors' names as their data lies in the file.

        Returns:
            `List[str]`: the names, in data order.
        """

    def metadata(self) -> Optional[Dict[str, str]]:
        """The text that was saved beside the tensors.

        Returns:
            `Optional[Dict[str, str]]`: the metadata, or `None` without any.
        """

    def get_tensor(self, name: str, *, out: Any = None) -> Any:
        """Reads a tensor.

        Args:
            name (`str`):
                The tensor's name.
            out (a tensor or an array, *optional*):
                Where to read it to, of the same dtype and shape; also what is returned.

        Returns:
            a tensor of the framework, on the file's device.

        Example:
        ```python
        from safetensors import safe_open

        with safe_open("model.safetensors", framework="pt", device="cpu") as f:
            tensor = f.get_tensor("embedding")
        ```
        """

    def get_tensors(self, names: Optional[Iterable[str]] = None) -> Dict[str, Any]:
        """Reads all tensors, or some.

        Args:
            names (an iterable of `str`, *optional*, defaults to all):
                The tensors' names.

        Returns:
            `Dict[str, tensor]`: the tensors by name, in data order.
        """

    def get_slice(self, name: str) -> PySafeSlice:
        """A tensor of which parts can be read.

        Args:
            name (`str`):
                The tensor's name.

        Returns:
            `PySafeSlice`: what to index; nothing is read yet.

        Example:
        ```python
        from safetensors import safe_open

        with safe_open("model.safetensors", framework="pt") as f:
            part = f.get_slice("embedding")[:, ::8]
        ```
        """

    def get_dtype(self, name: str) -> str:
        """A tensor's dtype, as the header's code (`"F32"`)."""

    def get_shape(self, name: str) -> List[int]:
        """A tensor's shape in the header, a new list."""

    def get_tensor_meta(self, name: str) -> TensorMeta:
        """What the header says of a tensor.

        Args:
            name (`str`):
                The tensor's name.

        Returns:
            `TensorMeta`: its dtype, shape and place.
        """

    def prefetch(
        self, plan: Optional[Mapping[str, Any]] = None, *, device: Any = None, threads: int = 8
    ) -> PrefetchLoader:
        """Starts reading tensors in the background.

        Args:
            plan (`Dict[str, Optional[slice]]`, *optional*, defaults to every tensor whole):
                What to read: the names, each with `None` or what part of it.
            device (*optional*, defaults to the file's):
                Where the tensors are to go.
            threads (`int`, *optional*, defaults to 8):
                How many threads may read at once.

        Returns:
            `PrefetchLoader`: iterable over `(name, tensor)`.
        """

@final
class safe_open(_OpenFile):
    """Opens a safetensors file, whose tensors are then read one by one.

    A mapping from names to tensors, and a context manager; what it handed out stays
    valid after it was closed.

    Args:
        filename (`str`, `os.PathLike`, `int`, file object or buffer):
            The file. Of a file object the descriptor is used, from the start of the file;
            one without a descriptor is read. A buffer holds the bytes of a file.
        framework (`str`):
            What the tensors become: `"pt"`, `"np"`, `"tf"`, `"flax"` (or `"jax"`),
            `"mlx"` or `"paddle"`.
        device (`str`, `int` or `torch.device`, *optional*, defaults to `"cpu"`):
            Where torch and paddle put them.
        backend (`str`, *optional*, defaults to `"mmap"`):
            `"mmap"` hands out views of a private mapping where it can; `"pread"` never maps,
            and copies just the bytes that are asked for; `"direct"` does so past the page
            cache; `"auto"` does what is fastest where the file lies.
        packed (`bool`, *optional*, defaults to `False`):
            In NumPy, whether F4 and F6 tensors come as the bytes of the file (`uint8`, the last
            dimension in bytes) instead of one value per element.

    Example:
    ```python
    from safetensors import safe_open

    with safe_open("model.safetensors", framework="pt") as f:
        for name in f:
            tensor = f[name]
    ```
    """

    def __new__(
        cls,
        filename: Union[str, os.PathLike[str], Any],
        framework: str,
        device: Any = ...,
        *,
        backend: str = ...,
        packed: bool = False,
    ) -> Self: ...

@final
class _safe_open_handle(_OpenFile):
    """`safe_open` for a file that is open already.

    Args:
        f (a file object, or `int`):
            The file, or its descriptor. It stays open, and its position is
            neither used nor moved.
        framework (`str`):
            What the tensors become: `"pt"`, `"np"`, `"tf"`, `"flax"` (or `"jax"`),
            `"mlx"` or `"paddle"`.
        device (`str`, `int` or `torch.device`, *optional*, defaults to `"cpu"`):
            Where torch and paddle put them.
        backend (`str`, *optional*, defaults to `"mmap"`):
            `"mmap"` hands out views of a private mapping where it can; `"pread"` never maps,
            and copies just the bytes that are asked for; `"direct"` does so past the page
            cache; `"auto"` does what is fastest where the file lies.
        packed (`bool`, *optional*, defaults to `False`):
            In NumPy, whether F4 and F6 tensors come as the bytes of the file (`uint8`, the last
            dimension in bytes) instead of one value per element.
    """

    def __new__(
        cls, f: Any, framework: str, device: Any = ..., *, backend: str = ..., packed: bool = False
    ) -> Self: ...

@final
class _Writer:
    """Writes a file tensor by tensor: `add` each, `begin`, `write` each, `finish`.

    Args:
        target (`str`, `os.PathLike`, `int`, or a file object):
            Where to write.
        metadata (`Dict[str, str]`, *optional*):
            Text that is kept in the header.
        durable (`bool`, *optional*, defaults to `False`):
            Whether `finish` waits until file and name survive a power cut.
    """

    def __new__(cls, target: Any, metadata: Optional[Dict[str, str]] = None, *, durable: bool = False) -> Self: ...
    def add(self, name: str, dtype: str, shape: Sequence[int], /) -> None:
        """Announces a tensor; `dtype` is a name or the header's code."""

    def begin(self) -> None:
        """Writes the header; from here on `write`."""

    def names(self) -> List[str]:
        """The names in the order of the file."""

    def write(self, name: str, tensor: Any, /) -> Any:
        """Writes an announced tensor; NotImplemented where it is not plain."""

    def finish(self) -> None:
        """Puts the file in its place."""

    def close(self) -> None:
        """Discards what was not finished."""

def _save(
    tensors: Dict[str, Any],
    target: Any,
    metadata: Optional[Dict[str, str]] = None,
    *,
    durable: bool = False,
    alone: bool = False,
    only: Optional[str] = None,
    strided: bool = False,
) -> Any:
    """Writes specs, arrays and tensors; NotImplemented where one of them is not plain."""

def _load(data: Buffer, framework: str, *, copy: Optional[bool] = None, packed: bool = False) -> Dict[str, Any]:
    """The tensors of a file's bytes as a dict."""

def _check(source: Any, upstream: bool) -> Any:
    """A file's deviations from the format, and what was seen of it."""

def _check_checkpoint(path: Any, upstream: bool) -> Any:
    """The same of each file of a folder or an index, and of the index."""

def _load_files(files: Tuple[Any, ...], names: Tuple[Optional[List[str]], ...]) -> Dict[str, Any]:
    """The tensors of several files, or some of each, as one dict."""

def _part_of(file: Any, name: str, index: Any) -> Tuple[Tuple[int, ...], int]:
    """Shape and bytes of a part of a tensor."""

def _read_many(file: Any, names: List[str], indices: List[Any]) -> List[Any]:
    """Reads tensors, or parts of them, into memory of their own: a list of tensors and exceptions."""

def _read_many_into(file: Any, names: List[str], indices: List[Any], buffer: Buffer) -> List[Optional[Exception]]:
    """The same bytes, one behind the other, into a buffer: a list of None and exceptions."""

def _use_exchange(use: bool) -> None:
    """Whether torch's tensors are made by its C table; for tests."""

def _refuse_dtypes(codes: Iterable[str]) -> None:
    """The dtypes that torch is taken to refuse through DLPack; for tests."""

def _edit(path: Any, out: Any, steps: List[Any], making: Tuple[Any, ...], in_place: bool, strict: bool) -> Any:
    """Changes a file by a list of steps: what it came to, and what each cast lost."""

def _recover(path: Any, dry_run: bool) -> List[Tuple[Any, ...]]:
    """Puts right what interrupted edits have left, and tells what it was."""

def _split(
    path: Any, folder: Any, max_size: int, count: int, pattern: str, clean: bool, making: Tuple[Any, ...]
) -> Any:
    """Writes shards and their index: the index's name, of each shard name, size and tensors, and the names of older shards that were removed."""

def _merge(path: Any, out: Any, making: Tuple[Any, ...]) -> Any:
    """Writes a checkpoint as one file."""

def _cat(inputs: List[Tuple[Any, str]], out: Any, metadata: str, making: Tuple[Any, ...]) -> Any:
    """Writes several files as one: `inputs` are tuples of a path and a prefix."""

def _size_parse(text: str) -> int:
    """A size in bytes out of a text such as 5GB."""

def _compare(a: Any, b: Any, parts: int, flags: int, rtol: float, atol: float, picked: Any, progress: Any) -> Any:
    """How two files or checkpoints differ: metadata, tensors, and a summary."""

def _salvage(path: Any, out: Any, progress: Any) -> Any:
    """Saves what can be saved of a damaged file: what became of each thing, and a summary."""

def _salvage_checkpoint(path: Any, folder: Any, dry_run: bool, progress: Any) -> Any:
    """The same of each file of a folder or an index, and of the index: tuples of its path, whether it is the index, what became of each thing, and numbers; and the sums."""

def _name_rule(pattern: str, kind: int) -> Any:
    """A rule that matches names."""

def _search(rule: Any, path: Any, parts: int, max: int) -> List[Tuple[Any, ...]]:
    """What of a file's header a rule is found in: tuples of a name and a span, and of key, value and their spans."""

def _stats(
    path: Any,
    wanted: Optional[Tuple[Tuple[str, Any], ...]],
    picked: Any,
    quantiles: Tuple[float, ...],
    bins: int,
    low: float,
    high: float,
    progress: Any,
) -> Any:
    """What the values of tensors are: `wanted` are tuples of a name and an index."""

def _hash(
    inputs: Tuple[Tuple[Any, str], ...], algorithm: str, parts: int, manifest: bool, total: int, progress: Any
) -> Any:
    """The digests of files, and a manifest of them: `inputs` are tuples of a path and a name."""

def _manifest_names(text: bytes, name: str) -> List[str]:
    """The names of the files in a manifest."""

def _hash_verify(
    inputs: Tuple[Tuple[Any, int], ...], text: Optional[bytes], name: str, total: int, progress: Any
) -> Any:
    """How files differ from a manifest's text, or from their own records: `inputs` are a path and an index each."""

def _checkpoint(path: Any) -> Any:
    """A checkpoint's index, its files with their tensors, and its metadata."""
