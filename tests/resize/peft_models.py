"""PEFT itself, with tiny models: LoRAs to resize, and what PEFT makes of the result.

    python peft_models.py make KIND FOLDER [CONFIG]
    python peft_models.py compare KIND FOLDER RESIZED    prints differences as JSON
"""

import json
import sys
import warnings

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora.conversion import convert_to_lora
from peft.tuners.lora.layer import LoraLayer
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    RobertaConfig,
    RobertaForSequenceClassification,
)

warnings.filterwarnings("ignore")


class Convolutions(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first = torch.nn.Conv2d(3, 24, 3)
        self.second = torch.nn.Conv2d(24, 8, 1)
        self.out = torch.nn.Linear(8, 5)

    def forward(self, x):
        return self.out(self.second(self.first(x).relu()).relu().mean((2, 3)))


def base(kind):
    torch.manual_seed(7)
    if kind == "llama":
        return LlamaForCausalLM(
            LlamaConfig(
                vocab_size=90,
                hidden_size=48,
                intermediate_size=96,
                num_hidden_layers=3,
                num_attention_heads=4,
                num_key_value_heads=2,
            )
        ).eval()
    if kind == "encoder":
        return RobertaForSequenceClassification(
            RobertaConfig(
                vocab_size=90,
                hidden_size=48,
                num_hidden_layers=2,
                num_attention_heads=4,
                intermediate_size=96,
                max_position_embeddings=40,
            )
        ).eval()
    return Convolutions().eval()


CONFIGS = {
    "llama": {
        "task_type": "CAUSAL_LM",
        "target_modules": ["q_proj", "k_proj", "v_proj", "o_proj", "up_proj", "embed_tokens"],
        "rank_pattern": {"k_proj": 6},
        "alpha_pattern": {"v_proj": 5},
    },
    "encoder": {
        "task_type": "SEQ_CLS",
        "target_modules": ["query", "value", "dense"],
        "exclude_modules": ["classifier.dense"],
        "use_rslora": True,
        "bias": "lora_only",
        "modules_to_save": ["classifier"],
    },
    "convolutions": {"target_modules": ["first", "second", "out"], "lora_bias": True},
}


def make(kind, folder, config="{}"):
    fields = {"r": 12, "lora_alpha": 20, **CONFIGS[kind], **json.loads(config)}
    model = get_peft_model(base(kind), LoraConfig(**fields))
    torch.manual_seed(8)
    for name, parameter in model.named_parameters():
        if "lora_" in name or "modules_to_save" in name or name.endswith("bias"):
            # Factors whose rows differ in size, so that truncation shows.
            sizes = torch.exp(-torch.arange(parameter.shape[0]) / 8)
            shape = (-1,) + (1,) * (parameter.dim() - 1)
            noise = torch.randn_like(parameter) * sizes.reshape(shape)
            parameter.data = (0.3 if "lora_" in name else 0.1) * noise
    model.save_pretrained(folder)


def output(kind, model):
    generator = torch.Generator().manual_seed(9)
    with torch.no_grad():
        if kind == "convolutions":
            return model(torch.randn(4, 3, 9, 9, generator=generator))
        return model(torch.randint(3, 90, (4, 11), generator=generator)).logits


def layers(model):
    return [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, LoraLayer)
    ]


def compare(kind, folder, resized):
    after = PeftModel.from_pretrained(base(kind), resized).eval()
    before = PeftModel.from_pretrained(base(kind), folder).eval()
    whole = output(kind, before)
    ranks = {name: layer.r["default"] for name, layer in layers(after)}
    converted = 0.0
    if kind == "llama" and len(set(ranks.values())) == 1:
        # convert_to_lora() takes no embeddings.
        targets = [it for it in CONFIGS[kind]["target_modules"] if it != "embed_tokens"]
        linear = PeftModel.from_pretrained(base(kind), folder).eval()
        linear.base_model.model.model.embed_tokens = torch.nn.Embedding(90, 48)
        linear.peft_config["default"].target_modules = set(targets)
        _, state = convert_to_lora(linear, rank=next(iter(ranks.values())))
        for name, layer in layers(after):
            theirs = state.get(f"{name}.lora_B.weight")
            if theirs is None:
                continue
            product = theirs @ state[f"{name}.lora_A.weight"]
            difference = product - layer.get_delta_weight("default")
            converted = max(converted, float(difference.norm() / product.norm()))
    for name, layer in layers(before):
        delta = layer.get_delta_weight("default").detach()
        u, s, v = torch.linalg.svd(delta.double().flatten(1), full_matrices=False)
        # An embedding's delta is transposed, which changes no singular value.
        k = ranks[name]
        truncated = (u[:, :k] * s[:k] @ v[:k]).reshape(delta.shape)
        layer.base_layer.weight.data += truncated.float()
        for factor in [layer.lora_B, layer.lora_embedding_B]:
            if "default" not in factor:
                continue
            b = factor["default"]
            if getattr(b, "bias", None) is not None:
                layer.base_layer.bias.data += layer.scaling["default"] * b.bias.data
                b.bias.data.zero_()
            getattr(b, "weight", b).data.zero_()
    expected = output(kind, before)
    return {
        "difference": float((output(kind, after) - expected).abs().max()),
        # So that the first number cannot be small by chance.
        "truncation": float((whole - expected).abs().max()),
        "converted": converted,
        "ranks": sorted(set(ranks.values())),
        "scales": sorted({round(layer.scaling["default"], 6) for _, layer in layers(after)}),
    }


if __name__ == "__main__":
    command, *rest = sys.argv[1:]
    if command == "make":
        make(*rest)
    else:
        print(json.dumps(compare(*rest)))
