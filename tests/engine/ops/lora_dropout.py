"""What PEFT's LoRA computes with given dropout masks, for lora_dropout_test.ts.

Usage: python lora_dropout.py FILE

The safetensors file has "x", the weight "w", "dy" and, of each module, "mask" (0 or 1 / (1 - rate)),
"a" and "b" with its number. Replaces it by one with y and the gradients, with the scale alpha / r = 2.
"""

import sys

import torch
from peft.tuners.lora import LoraConfig, Linear
from safetensors.torch import load_file, save_file


class Masked(torch.nn.Module):
    """A dropout with a mask that is not drawn."""

    def __init__(self, mask):
        super().__init__()
        self.mask = mask

    def forward(self, x):
        return x * self.mask


def main(path):
    given = load_file(path)
    x = given["x"].requires_grad_()
    modules = sum(name.startswith("mask") for name in given)
    outputs, layers = [], []
    for i, weight in enumerate(given["w"].chunk(modules)):
        rank = given[f"a{i}"].shape[0]
        base = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=False)
        base.weight = torch.nn.Parameter(weight.clone(), requires_grad=False)
        config = LoraConfig(r=rank, lora_alpha=2 * rank, lora_dropout=0.5)
        layer = Linear(base, "default", config=config, r=rank, lora_alpha=2 * rank)
        assert isinstance(layer.lora_dropout["default"], torch.nn.Dropout)
        layer.lora_dropout["default"] = Masked(given[f"mask{i}"])
        layer.lora_A["default"].weight.data = given[f"a{i}"]
        layer.lora_B["default"].weight.data = given[f"b{i}"]
        layers.append(layer.train())
        outputs.append(layer(x))
    y = torch.cat(outputs, 1)
    y.backward(given["dy"])
    result = {"y": y.detach(), "dx": x.grad}
    for i, layer in enumerate(layers):
        result[f"da{i}"] = layer.lora_A["default"].weight.grad
        result[f"db{i}"] = layer.lora_B["default"].weight.grad
    save_file({name: tensor.contiguous() for name, tensor in result.items()}, path)


if __name__ == "__main__":
    main(sys.argv[1])
