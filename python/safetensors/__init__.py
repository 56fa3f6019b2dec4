# SPDX-License-Identifier: Apache-2.0
"""Simple, safe way to store and distribute tensors: the safetensors format, read and written in C."""

from ._safetensors_rust import (
    PySafeSlice,
    SafetensorError,
    TensorMeta,
    TensorSpec,
    __version__,
    _safe_open_handle,
    deserialize,
    safe_open,
    serialize,
    serialize_file,
)

# Imported at their first use: what most programs never need costs them nothing.
_LAZY = {
    "PrefetchLoader": "_prefetch",
    "TensorStream": "_prefetch",
    "check": "_check",
    "CheckReport": "_check",
    "Finding": "_check",
    "Deviation": "_compare",
    "Diff": "_compare",
    "DiffSummary": "_compare",
    "GrepMatch": "_grep",
    "MetadataChange": "_compare",
    "Salvage": "_compare",
    "SalvageItem": "_compare",
    "SideTensor": "_compare",
    "TensorChange": "_compare",
    "diff": "_compare",
    "grep": "_grep",
    "salvage": "_compare",
    "Histogram": "_stats",
    "Statistics": "_stats",
    "TensorStatistics": "_stats",
    "stats": "_stats",
}


def __getattr__(name):
    module = _LAZY.get(name)
    if module is None:
        raise AttributeError(f"module 'safetensors' has no attribute '{name}'")
    from importlib import import_module

    value = getattr(import_module(f"{__name__}.{module}"), name)
    globals()[name] = value
    return value


def __dir__():
    return sorted({*globals(), *_LAZY})
