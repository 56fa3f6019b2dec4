# SPDX-License-Identifier: Apache-2.0
"""Reading into tensors that are there already."""

from typing import Any, Dict, List, Optional

from ._safetensors_rust import SafetensorError


def load_into(f: Any, names: Optional[List[str]], out: Dict[str, Any]) -> Dict[str, Any]:
    """Reads the tensors that `out` has into those, and makes the others."""
    if names is None:
        names = f.offset_keys()
        lacking = sorted(set(out).difference(names))
        if lacking:
            raise SafetensorError(f"File does not contain tensor {lacking[0]}, which `out` has")
    loaded = {}
    for name in names:
        into = out.get(name)
        if into is None:
            loaded[name] = f.get_tensor(name)
        else:
            f.get_tensor(name, out=into)
            loaded[name] = into
    return loaded
