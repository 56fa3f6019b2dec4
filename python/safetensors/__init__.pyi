# SPDX-License-Identifier: Apache-2.0
from ._check import CheckReport as CheckReport
from ._check import Finding as Finding
from ._check import check as check
from ._compare import Deviation as Deviation
from ._compare import Diff as Diff
from ._compare import DiffSummary as DiffSummary
from ._compare import MetadataChange as MetadataChange
from ._compare import Salvage as Salvage
from ._compare import SalvageItem as SalvageItem
from ._compare import SideTensor as SideTensor
from ._compare import TensorChange as TensorChange
from ._compare import diff as diff
from ._compare import salvage as salvage
from ._grep import GrepMatch as GrepMatch
from ._grep import grep as grep
from ._safetensors_rust import PrefetchLoader as PrefetchLoader
from ._safetensors_rust import PySafeSlice as PySafeSlice
from ._safetensors_rust import SafetensorError as SafetensorError
from ._safetensors_rust import TensorMeta as TensorMeta
from ._safetensors_rust import TensorSpec as TensorSpec
from ._safetensors_rust import TensorStream as TensorStream
from ._safetensors_rust import __version__ as __version__
from ._safetensors_rust import _safe_open_handle as _safe_open_handle
from ._safetensors_rust import deserialize as deserialize
from ._safetensors_rust import safe_open as safe_open
from ._safetensors_rust import serialize as serialize
from ._safetensors_rust import serialize_file as serialize_file
from ._stats import Histogram as Histogram
from ._stats import Statistics as Statistics
from ._stats import TensorStatistics as TensorStatistics
from ._stats import stats as stats

def __dir__() -> list[str]: ...
