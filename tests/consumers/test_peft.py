# SPDX-License-Identifier: Apache-2.0
"""peft: adapters, saved and loaded beside their model."""

import pytest
import torch
import transformers
from peft import IA3Config, LoraConfig, PeftModel, get_peft_model, load_peft_weights


def base():
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=64, n_positions=32, n_embd=32, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=1
    )
    return transformers.GPT2LMHeadModel(config).eval()


def outputs(model):
    with torch.no_grad():
        return model.eval()(input_ids=torch.arange(2, 18).reshape(2, 8)).logits


CONFIGS = {
    "lora": lambda: LoraConfig(r=4, target_modules=["c_attn"], init_lora_weights=False, fan_in_fan_out=True),
    "saved-head": lambda: LoraConfig(
        r=2, target_modules=["c_attn"], modules_to_save=["ln_f"], init_lora_weights=False, fan_in_fan_out=True
    ),
    "dora": lambda: LoraConfig(
        r=2, target_modules=["c_attn"], use_dora=True, init_lora_weights=False, fan_in_fan_out=True
    ),
    "ia3": lambda: IA3Config(
        target_modules=["c_attn", "mlp.c_proj"],
        feedforward_modules=["mlp.c_proj"],
        init_ia3_weights=False,
        fan_in_fan_out=True,
    ),
}


@pytest.mark.parametrize("kind", CONFIGS)
def test_adapters(agree, tmp_path, kind):
    model = get_peft_model(base(), CONFIGS[kind]())
    model.save_pretrained(tmp_path, safe_serialization=True)
    again = PeftModel.from_pretrained(base(), tmp_path)
    agree(files=tmp_path, weights=load_peft_weights(str(tmp_path), device="cpu"), outputs=outputs(again))
    assert torch.equal(outputs(again), outputs(model))


def test_merged(agree, tmp_path):
    model = get_peft_model(base(), CONFIGS["lora"]())
    model.merge_and_unload().save_pretrained(tmp_path)
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    agree(files=tmp_path, outputs=outputs(again))
