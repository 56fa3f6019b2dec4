# SPDX-License-Identifier: Apache-2.0
"""huggingface_hub: state dicts of torch, whole and sharded."""

import pytest
import torch
from huggingface_hub import PyTorchModelHubMixin, load_state_dict_from_file, load_torch_model, save_torch_model
from huggingface_hub import save_torch_state_dict, split_torch_state_dict_into_shards


class Model(torch.nn.Module, PyTorchModelHubMixin):
    """Two layers, of which the second shares the weight of the first, and a buffer of another type."""

    def __init__(self, size=32):
        super().__init__()
        self.first = torch.nn.Linear(size, size)
        self.second = torch.nn.Linear(size, size)
        self.second.weight = self.first.weight
        self.third = torch.nn.Linear(size, size).to(torch.bfloat16)
        self.register_buffer("steps", torch.arange(size))

    def forward(self, x):
        return self.third(self.second(self.first(x)).to(torch.bfloat16)) + self.steps


@pytest.mark.parametrize("limit", ["1MB", "5KB"])
def test_state_dict(agree, tmp_path, limit):
    model = Model()
    save_torch_state_dict(model.state_dict(), tmp_path, max_shard_size=limit, metadata={"origin": "here"})
    files = sorted(tmp_path.glob("*.safetensors"))
    assert (len(files) > 1) == (limit == "5KB")
    parts = {path.name: load_state_dict_from_file(path) for path in files}
    agree(files=tmp_path, parts=parts)

    torch.manual_seed(1)
    again = Model()
    result = load_torch_model(again, tmp_path)
    agree(missing=list(result.missing_keys), unexpected=list(result.unexpected_keys), state=dict(again.state_dict()))
    x = torch.randn(2, 32)
    assert torch.equal(again(x), model(x))


def test_save_torch_model(agree, tmp_path):
    save_torch_model(Model(), tmp_path, max_shard_size="3KB")
    agree(
        files=tmp_path,
        split=split_torch_state_dict_into_shards(Model().state_dict(), max_shard_size="3KB").filename_to_tensors,
    )


def test_mixin(agree, tmp_path):
    model = Model(size=16)
    model.save_pretrained(tmp_path)
    again = Model.from_pretrained(tmp_path)
    agree(files=tmp_path, state=dict(again.state_dict()))
    assert again.second.weight is again.first.weight
    assert all(torch.equal(tensor, again.state_dict()[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("start", [2, 4])
def test_parts_of_one_tensor(agree, tmp_path, start):
    whole = torch.randn(6, 4)
    with pytest.raises(RuntimeError) as caught:
        save_torch_state_dict({"a": whole[:4], "b": whole[start:]}, tmp_path)
    agree(error=str(caught.value).partition(":")[0])
