# SPDX-License-Identifier: Apache-2.0
"""Which package is tested."""

import importlib.metadata
import os

import torch

import safetensors


def test_package_is_the_one_asked_for():
    folder = os.environ.get("ST_PACKAGE", os.path.dirname(torch.__path__[0]))
    assert safetensors.__file__.startswith(folder)
    assert importlib.metadata.version("safetensors") == safetensors.__version__
    assert (safetensors.__version__ == "0.8.0") == ("ST_PACKAGE" not in os.environ)
