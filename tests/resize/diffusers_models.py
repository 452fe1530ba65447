"""LyCORIS and diffusers themselves, with a tiny U-Net: LoRAs to resize, and what they make of the result.

    python diffusers_models.py make lycoris|diffusers FILE
    python diffusers_models.py compare lycoris|diffusers FILE RESIZED RANK    prints differences as JSON

LyCORIS writes and loads the files of kohya's scripts, with U-Net layers as "lora_unet_...".
"""

import json
import logging
import os
import sys

import torch
from diffusers import UNet2DConditionModel
from diffusers.loaders import StableDiffusionLoraLoaderMixin
from lycoris.kohya import LycorisNetworkKohya, create_network_from_weights
from peft import LoraConfig
from peft.tuners.lora.layer import LoraLayer

logging.disable(logging.WARNING)
# LyCORIS 4.1.3 names the layers of the time embedding twice, and refuses them.
LycorisNetworkKohya.apply_preset({"unet_target_name": []})


def unet():
    torch.manual_seed(7)
    return UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(16, 32),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=24,
        attention_head_dim=4,
        norm_num_groups=4,
    ).eval()


def output(model):
    generator = torch.Generator().manual_seed(9)
    with torch.no_grad():
        return model(
            torch.randn(2, 4, 8, 8, generator=generator),
            torch.tensor([3, 700]),
            torch.randn(2, 5, 24, generator=generator),
        ).sample


def make(kind, file):
    model = unet()
    if kind == "lycoris":
        trained = LycorisNetworkKohya(torch.nn.Module(), model, lora_dim=12, alpha=20.0, conv_lora_dim=6, conv_alpha=5.0)
        trained.apply_to(torch.nn.Module(), model, False, True)
    else:
        targets = ["to_q", "to_k", "to_v", "to_out.0", "conv1", "conv2", "proj_in"]
        model.add_adapter(LoraConfig(r=12, lora_alpha=20, target_modules=targets))
        trained = model
    torch.manual_seed(8)
    for name, parameter in trained.named_parameters():
        if "lora_" in name:
            # Factors whose rows differ in size, so that truncation shows.
            sizes = torch.exp(-torch.arange(parameter.shape[0]) / 6)
            parameter.data = 0.2 * torch.randn_like(parameter) * sizes.reshape((-1,) + (1,) * (parameter.dim() - 1))
    if kind == "lycoris":
        trained.save_weights(file, torch.float32, {})
    else:
        model.save_lora_adapter(os.path.dirname(file), weight_name=os.path.basename(file))


def by_lycoris(file):
    """A U-Net with a file's LoRA by LyCORIS, and the products of its layers by their names."""
    model = unet()
    network, weights = create_network_from_weights(1.0, file, None, torch.nn.Module(), model)
    network.apply_to(torch.nn.Module(), model, False, True)
    missing = network.load_state_dict(weights, strict=False)
    assert not missing.unexpected_keys, missing
    return model, {it.lora_name: it.get_diff_weight()[0].detach() for it in network.unet_loras}, network


def by_diffusers(file):
    """A U-Net with a file's LoRA by diffusers, and the products of its layers by their names."""
    model = unet()
    weights, alphas = StableDiffusionLoraLoaderMixin.lora_state_dict(file, unet_config=model.config)
    if all(key.startswith(("unet.", "text_encoder.")) for key in weights):
        StableDiffusionLoraLoaderMixin.load_lora_into_unet(weights, alphas, model)
    else:
        model.load_lora_adapter(file, prefix=None)
    name = next(iter(model.peft_config))
    return model, {
        key: layer.get_delta_weight(name).detach()
        for key, layer in model.named_modules()
        if isinstance(layer, LoraLayer)
    }


def truncated(product, rank):
    u, s, v = torch.linalg.svd(product.double().flatten(1), full_matrices=False)
    return (u[:, :rank] * s[:rank] @ v[:rank]).reshape(product.shape).float()


def compare(kind, file, resized, rank):
    _, products = by_diffusers(file)
    expected = unet()
    layers = dict(expected.named_modules())
    for name, product in products.items():
        layers[name].weight.data += truncated(product, rank)
    want, found = output(expected), {}
    model, after = by_diffusers(resized)
    found["diffusers"] = float((output(model) - want).abs().max())
    if kind == "lycoris":
        model, after, network = by_lycoris(resized)
        found["lycoris"] = float((output(model) - want).abs().max())
    for name, product in products.items():
        layers[name].weight.data += product - truncated(product, rank)
    return {
        "differences": found,
        # So that these cannot be small by chance.
        "truncation": float((output(expected) - want).abs().max()),
        "modules": len(products),
        "loaded": len(after),
    }


if __name__ == "__main__":
    command, *rest = sys.argv[1:]
    if command == "make":
        make(*rest)
    else:
        *files, rank = rest
        print(json.dumps(compare(*files, int(rank))))
