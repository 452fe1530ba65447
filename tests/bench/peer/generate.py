"""The peer of `bench generate`: transformers' generate() with PEFT, one JSON request a line.

    {"op": "prepare", "config": {...}, "target_modules": [...], "precision": "f32" | "bf16", "threads": 2, ...}
        -> {"trained": parameters of the adapter}
        A causal model of that configuration with random weights, all in that precision, and LoRA of rank 8.
    {"op": "generate", "prompts": 8, "length": 32, "tokens": 32, "beams": 1}
        -> {"seconds": [of one call], "peak_bytes": resident so far}
"""

import json
import sys
import time

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM

from step import peak_bytes


def prepare(config, target_modules, precision, threads, **_):
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**config))
    lora = LoraConfig(task_type="CAUSAL_LM", r=8, lora_alpha=16, target_modules=target_modules)
    model = get_peft_model(model, lora).eval()
    return model.to(torch.bfloat16) if precision == "bf16" else model


def generate(model, prompts, length, tokens, beams):
    ids = torch.randint(5, model.config.vocab_size, (prompts, length))
    begin = time.perf_counter()
    model.generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=tokens, min_new_tokens=tokens,
        num_beams=beams, do_sample=False, eos_token_id=None, pad_token_id=2)
    return {"seconds": [time.perf_counter() - begin], "peak_bytes": peak_bytes()}


model = None
for line in sys.stdin:
    request = json.loads(line)
    if request.pop("op") == "prepare":
        model = prepare(**request)
        reply = {"trained": sum(p.numel() for p in model.parameters() if p.requires_grad)}
    else:
        reply = generate(model, **request)
    print(json.dumps(reply), flush=True)
