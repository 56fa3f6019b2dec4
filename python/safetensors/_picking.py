# SPDX-License-Identifier: Apache-2.0
"""Which tensors a function is about: what the options --glob, --regex, --exclude and --dtype of the program's verbs
do."""

from typing import Any, Iterable, Optional, Tuple, Union

from ._editing import dtype_name, texts
from ._safetensors_rust import _name_rule

_GLOB, _REGEX = 0, 1

# One pattern, or several.
Patterns = Union[str, Iterable[str], None]


def pick(glob: Patterns, regex: Patterns, exclude: Patterns, dtype: Any) -> Optional[Tuple[Any, Any, Any]]:
    """The tensors as the extension takes them; None: all."""
    show = [_name_rule(text, _GLOB) for text in texts("glob", glob)]
    show += [_name_rule(text, _REGEX) for text in texts("regex", regex)]
    hide = [_name_rule(text, _GLOB) for text in texts("exclude", exclude)]
    several = isinstance(dtype, Iterable) and not isinstance(dtype, (str, type))
    dtypes = () if dtype is None else tuple(map(dtype_name, dtype if several else [dtype]))
    return (tuple(show), tuple(hide), dtypes) if show or hide or dtypes else None
