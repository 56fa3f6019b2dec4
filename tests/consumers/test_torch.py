# SPDX-License-Identifier: Apache-2.0
"""torch's own use of safetensors."""

import pytest
import torch
import torch.distributed.checkpoint as dcp
from safetensors.torch import save_file


def test_torch_load(agree, tmp_path):
    tensors = {
        "a": torch.randn(3, 4),
        "b": torch.randn(5).to(torch.bfloat16),
        "c": torch.arange(3),
        "d": torch.zeros(0, 2),
    }
    save_file(tensors, tmp_path / "x.safetensors", {"format": "pt"})
    loaded = torch.load(tmp_path / "x.safetensors")
    agree(files=tmp_path, loaded=loaded)
    assert all(torch.equal(tensor, tensors[name]) for name, tensor in loaded.items())


@pytest.mark.parametrize("shards", [1, 3])
def test_distributed_checkpoint(agree, tmp_path, shards):
    state = {f"layer.{i}": torch.randn(16, 4 + i).to(torch.bfloat16 if i % 2 else torch.float32) for i in range(6)}
    mapping = {name: i % shards + 1 for i, name in enumerate(state)}
    dcp.save(state, storage_writer=dcp.HuggingFaceStorageWriter(str(tmp_path), mapping), no_dist=True)
    loaded = {name: torch.zeros_like(tensor) for name, tensor in state.items()}
    dcp.load(loaded, storage_reader=dcp.HuggingFaceStorageReader(str(tmp_path)), no_dist=True)
    agree(files=tmp_path, loaded=loaded)
    assert all(torch.equal(tensor, state[name]) for name, tensor in loaded.items())
