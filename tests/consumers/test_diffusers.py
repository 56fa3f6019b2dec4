# SPDX-License-Identifier: Apache-2.0
"""diffusers: models and a pipeline."""

import pytest
import safetensors.torch
import torch
from diffusers import AutoencoderKL, DDPMPipeline, DDPMScheduler, UNet2DConditionModel, UNet2DModel
from huggingface_hub import export_folder_as_dduf, read_dduf_file
from peft import LoraConfig


def unet():
    return UNet2DModel(
        sample_size=8,
        in_channels=3,
        out_channels=3,
        layers_per_block=1,
        block_out_channels=(8, 16),
        norm_num_groups=4,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=4,
    ).eval()


def unet2d_condition():
    return UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=4,
        cross_attention_dim=8,
        attention_head_dim=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
    ).eval()


def outputs(model):
    with torch.no_grad():
        return model(torch.linspace(-1, 1, 192).reshape(1, 3, 8, 8), 7).sample


@pytest.mark.parametrize("options", [{}, {"max_shard_size": "20KB"}, {"variant": "fp16"}])
def test_unet(agree, tmp_path, options):
    model = unet()
    if "variant" in options:
        model = model.half()
    model.save_pretrained(tmp_path, **options)
    again = UNet2DModel.from_pretrained(tmp_path, variant=options.get("variant"), use_safetensors=True)
    agree(files=tmp_path, state=dict(again.state_dict()))
    if "variant" not in options:
        agree(outputs=outputs(again))
        # Convolutions round differently at addresses of other alignment.
        assert torch.allclose(outputs(again), outputs(model), atol=1e-5)


def test_without_maps(agree, tmp_path):
    unet().save_pretrained(tmp_path)
    agree(state=dict(UNet2DModel.from_pretrained(tmp_path, disable_mmap=True).state_dict()))


def test_adapter(agree, tmp_path):
    """LoRA weights, which diffusers keeps in a format of its own."""
    model = unet2d_condition()
    model.add_adapter(LoraConfig(r=2, target_modules=["to_q", "to_v"], init_lora_weights=False))
    model.save_lora_adapter(tmp_path, safe_serialization=True)
    torch.manual_seed(1)
    again = unet2d_condition()
    again.load_lora_adapter(tmp_path, adapter_name="default", prefix=None, use_safetensors=True)
    state = {name: tensor for name, tensor in again.state_dict().items() if "lora" in name}
    agree(files=tmp_path, state=state)
    assert state and all(torch.equal(tensor, model.state_dict()[name]) for name, tensor in state.items())


def test_single_file_of_a_pipeline(agree, tmp_path):
    """DDUF: a ZIP archive without compression, whose tensors are read out of a map of it."""
    model = unet()
    model.save_pretrained(tmp_path / "unet")
    (tmp_path / "model_index.json").write_text('{"unet": ["diffusers", "UNet2DModel"]}')
    export_folder_as_dduf(tmp_path / "all.dduf", tmp_path)
    entries = read_dduf_file(tmp_path / "all.dduf")
    with entries["unet/diffusion_pytorch_model.safetensors"].as_mmap() as data:
        loaded = safetensors.torch.load(data)
    agree(loaded=loaded)
    assert all(torch.equal(tensor, model.state_dict()[name]) for name, tensor in loaded.items())


def test_autoencoder(agree, tmp_path):
    model = AutoencoderKL(
        block_out_channels=(8,),
        norm_num_groups=4,
        latent_channels=2,
        down_block_types=("DownEncoderBlock2D",),
        up_block_types=("UpDecoderBlock2D",),
    )
    model.save_pretrained(tmp_path)
    agree(files=tmp_path, state=dict(AutoencoderKL.from_pretrained(tmp_path, torch_dtype=torch.bfloat16).state_dict()))


def test_pipeline(agree, tmp_path):
    pipeline = DDPMPipeline(unet=unet(), scheduler=DDPMScheduler(num_train_timesteps=10))
    pipeline.save_pretrained(tmp_path, safe_serialization=True)
    again = DDPMPipeline.from_pretrained(tmp_path, use_safetensors=True)
    again.set_progress_bar_config(disable=True)
    images = again(num_inference_steps=2, generator=torch.manual_seed(3), output_type="np").images
    agree(files=tmp_path, images=images)
