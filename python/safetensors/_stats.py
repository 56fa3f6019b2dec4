# SPDX-License-Identifier: Apache-2.0
"""What the values of tensors are: `safetensors.stats`."""

import math
from dataclasses import dataclass
from typing import Any, Iterable, List, Mapping, Optional, Tuple, Union

from . import _editing
from . import _safetensors_rust as _native
from ._editing import Path, Progress
from ._picking import Patterns, pick

__all__ = ["Histogram", "Statistics", "TensorStatistics", "stats"]

_QUANTILES_MAX, _BINS_MAX, _BINS = 1024, 65536, 20


@dataclass(frozen=True)
class Histogram:
    """How many elements lie in equal parts of a range.

    Attributes:
        low, high (`float`):
            The range; 0 and 1 where nothing is finite and none was asked for.
        below, above (`int`):
            Finite elements outside of it.
        bins (`Tuple[int, ...]`):
            The elements in each part.
    """

    low: float
    high: float
    below: int
    above: int
    bins: Tuple[int, ...]


@dataclass(frozen=True)
class Statistics:
    """What the values of a tensor, or of a part of one, are. All but the counts are of the finite ones, and `None`
    where there is none. A BOOL counts as 0 or 1, and a C64 by its absolute value.

    Attributes:
        count (`int`):
            Elements.
        finite, nan, positive_infinity, negative_infinity (`int`):
            How many are; the four add up to all.
        zeros, negatives (`int`):
            How many are 0, of both signs; and below it, negative infinity included.
        min, max (`int`, or `float`, *optional*):
            Exactly.
        mean, std (`float`, *optional*):
            The mean, and the population's standard deviation.
        quantiles (`Tuple[Tuple[float, Optional[float]], ...]`):
            Each probability that was asked for, and the quantile, as `numpy.quantile` has it.
        histogram (`Histogram`, *optional*):
            If one was asked for.
    """

    count: int
    finite: int
    nan: int
    positive_infinity: int
    negative_infinity: int
    zeros: int
    negatives: int
    min: Union[int, float, None]
    max: Union[int, float, None]
    mean: Optional[float]
    std: Optional[float]
    quantiles: Tuple[Tuple[float, Optional[float]], ...]
    histogram: Optional[Histogram]


@dataclass(frozen=True)
class TensorStatistics:
    """A tensor, and what its values are.

    Attributes:
        name, dtype (`str`), shape (`Tuple[int, ...]`), elements, bytes (`int`):
            What the header says of it.
        offset (`int`):
            Of its first byte in the file that it lies in.
        shard (`str`, *optional*):
            The name of that file; `None` where the path was its own.
        stats (`Statistics`, *optional*):
            `None` for an unknown dtype.
    """

    name: str
    dtype: str
    shape: Tuple[int, ...]
    elements: int
    bytes: int
    offset: int
    shard: Optional[str]
    stats: Optional[Statistics]


def _wanted(tensors: Any) -> Optional[Tuple[Tuple[str, Any], ...]]:
    """Names and indices."""
    if tensors is None:
        return None
    if isinstance(tensors, Mapping):
        return tuple(_editing.named("tensors", tensors).items())
    return tuple((name, None) for name in _editing.texts("tensors", tensors))


def _probabilities(quantiles: Iterable[float]) -> Tuple[float, ...]:
    if isinstance(quantiles, str) or not isinstance(quantiles, Iterable):
        raise TypeError(f"quantiles must be numbers, several, not {quantiles!r}")
    found = tuple(map(float, quantiles))
    if len(found) > _QUANTILES_MAX or not all(0 <= p <= 1 for p in found):
        raise ValueError(f"quantiles must be up to {_QUANTILES_MAX} numbers from 0 to 1")
    return found


def _range(value: Any) -> Tuple[float, float]:
    bounds = tuple(map(float, value)) if isinstance(value, Iterable) else ()
    if len(bounds) != 2 or not -math.inf < bounds[0] < bounds[1] < math.inf:
        raise ValueError(f"range must be two numbers, the lower one first, not {value!r}")
    return bounds


def stats(
    path: Path,
    tensors: Union[str, Iterable[str], Mapping[str, Any], None] = None,
    *,
    quantiles: Iterable[float] = (),
    bins: Optional[int] = None,
    range: Optional[Tuple[float, float]] = None,
    glob: Patterns = None,
    regex: Patterns = None,
    exclude: Patterns = None,
    dtype: Any = None,
    progress: Optional[Progress] = None,
) -> List[TensorStatistics]:
    """Counts and measures the values of tensors, as the program's verb `stats` does. Memory does not grow with the
    tensors; the numbers are the same for any number of threads.

    Args:
        path (`str`, or `os.PathLike`):
            A file, a folder, or an index.
        tensors (`str`, `List[str]`, or `Dict[str, Any]`, *optional*):
            Which ones; all without it. A dict has an index for each, of integers, slices, `...` and `None`, that picks
            a part; `None` picks all of it.
        quantiles (`List[float]`, *keyword-only*, *optional*):
            Probabilities from 0 to 1.
        bins (`int`, *keyword-only*, *optional*):
            Make a histogram of so many parts, at most 65536; with a `range` 20, if it is not said.
        range (`Tuple[float, float]`, *keyword-only*, *optional*):
            The range of the histogram; from the least value to the greatest, if it is not said.
        glob, regex, exclude, dtype (*keyword-only*, *optional*):
            Instead of `tensors`, which ones: as of `safetensors.diff`.
        progress (*keyword-only*, *optional*):
            As of `safetensors.diff`.

    Returns:
        `List[TensorStatistics]`: of each tensor, in the order of the file or of `tensors`.

    Example:

    ```python
    from safetensors import stats

    for tensor in stats("model.safetensors", quantiles=[0.01, 0.99]):
        print(tensor.name, tensor.stats.mean, tensor.stats.nan)
    ```
    """
    count = _editing.size("bins", bins) if bins is not None else _BINS if range is not None else 0
    if bins is not None and not 1 <= count <= _BINS_MAX:
        raise ValueError(f"bins must be from 1 to {_BINS_MAX}, not {count}")
    low, high = (0.0, 0.0) if range is None else _range(range)
    wanted, picked = _wanted(tensors), pick(glob, regex, exclude, dtype)
    if wanted is not None and picked is not None:
        raise ValueError("tensors are named, or picked by glob, regex, exclude and dtype, but not both")
    found = _native._stats(path, wanted, picked, _probabilities(quantiles), count, low, high, progress)
    return [TensorStatistics(*[*tensor, _statistics(values)]) for *tensor, values in found]


def _statistics(found: Any) -> Optional[Statistics]:
    if found is None:
        return None
    *numbers, quantiles, histogram = found
    return Statistics(*[*numbers, tuple(quantiles), _histogram(histogram)])


def _histogram(found: Any) -> Optional[Histogram]:
    if found is None:
        return None
    *numbers, bins = found
    return Histogram(*[*numbers, tuple(bins)])
