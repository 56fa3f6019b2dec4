# SPDX-License-Identifier: Apache-2.0
"""transformers and accelerate: tiny models from their configurations, saved and loaded in the ways there are."""

import pytest
import torch
import transformers
from accelerate import Accelerator, cpu_offload, disk_offload, init_empty_weights, load_checkpoint_and_dispatch
from accelerate.utils import load_state_dict, save_offload_index
from transformers import AutoModel, AutoModelForCausalLM, AutoModelForSeq2SeqLM


def bert():
    return transformers.BertModel(
        transformers.BertConfig(
            vocab_size=64, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64
        )
    )


def gpt2():
    # Its embeddings are its head, too.
    config = transformers.GPT2Config(
        vocab_size=64, n_positions=32, n_embd=32, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=1
    )
    return transformers.GPT2LMHeadModel(config)


def llama():
    config = transformers.LlamaConfig(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=False,
        bos_token_id=0,
        eos_token_id=1,
    )
    return AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)


def t5():
    # One embedding under four names.
    config = transformers.T5Config(
        vocab_size=64, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4, decoder_start_token_id=0, bos_token_id=0
    )
    return transformers.T5ForConditionalGeneration(config)


def mixtral():
    config = transformers.MixtralConfig(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        num_local_experts=4,
        bos_token_id=0,
        eos_token_id=1,
    )
    return transformers.MixtralForCausalLM(config)


MODELS = {
    "bert": (bert, AutoModel),
    "gpt2": (gpt2, AutoModelForCausalLM),
    "llama": (llama, AutoModelForCausalLM),
    "t5": (t5, AutoModelForSeq2SeqLM),
    "mixtral": (mixtral, AutoModelForCausalLM),
}


def outputs(model):
    """What the model makes of a fixed input."""
    tokens = torch.arange(2, 18).reshape(2, 8)
    inputs = {"input_ids": tokens}
    if model.config.is_encoder_decoder:
        inputs["decoder_input_ids"] = tokens
    with torch.no_grad():
        return model.eval()(**inputs)[0]


@pytest.fixture(params=MODELS)
def made(request):
    make, auto = MODELS[request.param]
    torch.manual_seed(0)
    return make().eval(), auto


@pytest.mark.parametrize("limit", ["1GB", "20KB"])
def test_save_and_load(agree, tmp_path, made, limit):
    model, auto = made
    model.save_pretrained(tmp_path, max_shard_size=limit)
    assert (len(list(tmp_path.glob("*.safetensors"))) > 1) == (limit == "20KB")
    torch.manual_seed(1)
    again = auto.from_pretrained(tmp_path)
    agree(files=tmp_path, state=dict(again.state_dict()), outputs=outputs(again))
    assert torch.equal(outputs(again), outputs(model))


def test_other_dtype(agree, tmp_path, made):
    model, auto = made
    model.save_pretrained(tmp_path)
    agree(state=dict(auto.from_pretrained(tmp_path, dtype=torch.float16).state_dict()))


def test_without_maps(agree, tmp_path, made):
    model, auto = made
    model.save_pretrained(tmp_path)
    agree(state=dict(auto.from_pretrained(tmp_path, disable_mmap=True).state_dict()))


@pytest.mark.parametrize("device_map", ["cpu", "auto"])
def test_device_map(agree, tmp_path, made, device_map):
    model, auto = made
    model.save_pretrained(tmp_path, max_shard_size="20KB")
    agree(outputs=outputs(auto.from_pretrained(tmp_path, device_map=device_map)))


def test_meta_then_assign(agree, tmp_path):
    model = llama()
    model.save_pretrained(tmp_path)
    with init_empty_weights():
        empty = AutoModelForCausalLM.from_config(model.config, dtype=torch.bfloat16)
    state = load_state_dict(str(tmp_path / "model.safetensors"))
    empty.load_state_dict(state, assign=True)
    agree(state=dict(empty.state_dict()))


@pytest.mark.parametrize("limit", ["1GB", "20KB"])
def test_offload_to_disk(agree, tmp_path, limit):
    model = llama().eval()
    model.save_pretrained(tmp_path / "model", max_shard_size=limit)
    device_map = {"model.embed_tokens": "cpu", "model.layers.0": "cpu", "model.layers.1": "disk", "model.norm": "cpu"}
    device_map |= {"model.rotary_emb": "cpu", "lm_head": "disk"}
    loaded = AutoModelForCausalLM.from_pretrained(
        tmp_path / "model", device_map=device_map, offload_folder=tmp_path / "offload", dtype=torch.bfloat16
    )
    assert loaded.lm_head.weight.device.type == "meta"
    agree(outputs=outputs(loaded))
    assert torch.equal(outputs(loaded), outputs(model))


@pytest.mark.parametrize("limit", ["1GB", "20KB"])
def test_accelerate_dispatch(agree, tmp_path, limit):
    model = gpt2().eval()
    model.save_pretrained(tmp_path / "model", max_shard_size=limit)
    with init_empty_weights():
        empty = transformers.GPT2LMHeadModel(model.config)
    empty.tie_weights()
    device_map = {
        "transformer.wte": "cpu",
        "transformer.wpe": "cpu",
        "transformer.h.0": "cpu",
        "transformer.h.1": "disk",
    }
    device_map |= {"transformer.ln_f": "cpu", "lm_head": "cpu"}
    source = tmp_path / "model"
    loaded = load_checkpoint_and_dispatch(
        empty,
        str(source if limit == "20KB" else source / "model.safetensors"),
        device_map=device_map,
        offload_folder=tmp_path / "offload",
    )
    agree(outputs=outputs(loaded))
    assert torch.equal(outputs(loaded), outputs(model))


def test_accelerate_offload(agree, tmp_path):
    model = gpt2().eval()
    wanted = outputs(model)
    disk = disk_offload(gpt2().eval(), tmp_path, execution_device="cpu")
    cpu = cpu_offload(model, execution_device="cpu")
    agree(outputs=outputs(cpu), offloaded=outputs(disk).shape[0])
    assert torch.equal(outputs(cpu), wanted)


def test_accelerate_offload_index(agree, tmp_path):
    from accelerate.utils import OffloadedWeightsLoader

    model = llama()
    model.save_pretrained(tmp_path)
    file = str(tmp_path / "model.safetensors")
    index = {
        name: {"safetensors_file": file, "weight_name": name, "dtype": "bfloat16"} for name in load_state_dict(file)
    }
    folder = tmp_path / "offload"
    folder.mkdir()
    save_offload_index(index, str(folder))
    weights = OffloadedWeightsLoader(save_folder=str(folder))
    agree(weights={name: weights[name] for name in sorted(weights)})


def test_accelerate_save_model(agree, tmp_path):
    accelerator = Accelerator(cpu=True)
    model = gpt2()
    prepared = accelerator.prepare(model)
    accelerator.save_model(prepared, tmp_path, max_shard_size="30KB")
    agree(files=tmp_path)


def test_accelerate_save_state(agree, tmp_path):
    accelerator = Accelerator(cpu=True)
    model = bert()
    optimizer = torch.optim.AdamW(model.parameters())
    model, optimizer = accelerator.prepare(model, optimizer)
    accelerator.save_state(str(tmp_path / "state"))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    accelerator.load_state(str(tmp_path / "state"))
    agree(files=tmp_path, state=dict(model.state_dict()))
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_tensor_of_a_vocabulary_is_read_in_part(agree, tmp_path):
    """As programs for tensor parallelism do it: each rank its rows or columns."""
    from safetensors import safe_open

    model = llama()
    model.save_pretrained(tmp_path)
    with safe_open(tmp_path / "model.safetensors", "pt") as f:
        part = f.get_slice("model.embed_tokens.weight")
        rows, columns = part.get_shape()
        agree(
            rows=[part[rank * rows // 4 : (rank + 1) * rows // 4] for rank in range(4)],
            columns=[part[:, rank * columns // 4 : (rank + 1) * columns // 4] for rank in range(4)],
            dtype=part.get_dtype(),
            metadata=f.metadata(),
            keys=list(f.keys()),
        )


def test_trainer(agree, tmp_path):
    """Training, goes on from a checkpoint and ends where it ends without a break."""
    tokens = torch.arange(64).reshape(8, 8) % 60 + 2
    data = [{"input_ids": row, "labels": row} for row in tokens]

    def train(folder, **options):
        arguments = transformers.TrainingArguments(
            output_dir=str(tmp_path / folder),
            use_cpu=True,
            max_steps=4,
            save_steps=2,
            per_device_train_batch_size=2,
            report_to=[],
            disable_tqdm=True,
            seed=0,
        )
        torch.manual_seed(0)
        trainer = transformers.Trainer(model=gpt2(), args=arguments, train_dataset=data)
        trainer.train(**options)
        return dict(trainer.model.state_dict())

    whole = train("whole")
    resumed = train("resumed", resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-2"))
    agree(files=tmp_path, whole=whole, resumed=resumed)
    assert all(torch.allclose(tensor, resumed[name], atol=1e-5) for name, tensor in whole.items())
