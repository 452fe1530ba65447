"""Losses of texts to write through PEFT and transformers, for language_test.ts.

Usage: python language_losses.py REQUEST.json

The request names a `model` folder, a safetensors file of `tokens`, the folder of an exported
`adapter`, whose configuration names the model, and that of a `merged` model. PEFT itself makes an
adapter and saves it in the folder `written`. Prints JSON: the mean loss of the labelled tokens
with each of the three.
"""

import json
import sys

import torch
from peft import AutoPeftModelForCausalLM, LoraConfig, get_peft_model
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, logging


def main() -> None:
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    torch.set_num_threads(1)
    with open(sys.argv[1]) as file:
        request = json.load(file)
    tokens = load_file(request["tokens"])
    adapted = AutoPeftModelForCausalLM.from_pretrained(request["adapter"], dtype=torch.float32)
    merged = AutoModelForCausalLM.from_pretrained(request["merged"], dtype=torch.float32)
    base = AutoModelForCausalLM.from_pretrained(request["model"], dtype=torch.float32)
    torch.manual_seed(0)
    own = get_peft_model(base, LoraConfig(task_type="CAUSAL_LM", r=3, lora_alpha=6, target_modules="all-linear"))
    for name, parameter in own.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    own.save_pretrained(request["written"])
    print(json.dumps([loss(model, tokens) for model in (adapted, merged, own)]))


def loss(model, tokens) -> float:
    model.eval()
    starts = lambda name: tokens[name].tolist()
    total = 0.0
    for row, (start, end) in enumerate(zip(starts("offsets"), starts("offsets")[1:])):
        ids = tokens["ids"][start:end].long()[None]
        words = slice(*starts("word_offsets")[row : row + 2])
        with torch.no_grad():
            logits = model(input_ids=ids).logits[0, tokens["word_tokens"][words].long()]
        labels = tokens["labels"][words].long()
        total += torch.nn.functional.cross_entropy(logits, labels, reduction="sum").item()
    return total / len(tokens["labels"])


if __name__ == "__main__":
    main()
