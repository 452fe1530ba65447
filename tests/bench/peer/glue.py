"""LoRA, the same by SVD, and sorted DyLoRA on a task of GLUE with PyTorch and PEFT, scored at some ranks.

    python tests/bench/peer/glue.py '{"model": FOLDER, "data": "MRPC" | "SST-2" folder, "examples": null,
        "max_length": 64, "precision": "f32" | "bf16", "batch": 32, "learning_rate": 1e-3, "epochs": 1,
        "rank": 8, "alpha": 16, "methods": ["lora", "sorted"], "ranks": [1, ..., 8], "seed": 0, "threads": 1}'

Prints a JSON line for each method:
    {"method": "lora", "seconds": of training, "steps": count, "loss": mean of the last fifth, "peak_bytes": so far,
     "scores": {"8": accuracy}, "svd": {"1": accuracy, ...}}
    {"method": "sorted", ..., "scores": {"1": accuracy, ...}}

A LoRA by SVD of its own rank is the LoRA itself, and is not scored again.

What the pipelines of this project train: PEFT's default target modules, AdamW with weight decay 0.1, warm-up
over 6 % of the steps, gradients clipped to norm 1, batches of like length, each padded to its longest text.
Sorted DyLoRA trains all rows in 60 % of the steps, replaces the factors by those of the SVD of their product,
and then draws a rank for each example, each as often in a batch as the others; its scale is alpha / rank
whatever rank is drawn.
"""

import csv
import json
import random
import sys
import time
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from torch.utils.data import DataLoader
from transformers import AutoModelForSequenceClassification, AutoTokenizer, DataCollatorWithPadding
from transformers import get_linear_schedule_with_warmup, logging

from step import peak_bytes
from sweep import batches_of

SORT_AT = 0.6


def read(path, tokenizer, limit, max_length):
    with open(path, encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))[:limit]
    names = ("#1 String", "#2 String", "Quality") if "Quality" in rows[0] else ("sentence", None, "label")
    texts = [[row[name].strip() for row in rows] for name in names[:2] if name]
    encoded = tokenizer(*texts, truncation=True, max_length=max_length)
    return [
        {"labels": int(row[names[2]]), **{name: values[i] for name, values in encoded.items()}}
        for i, row in enumerate(rows)
    ]


class Nested:
    """LoRA layers of PEFT whose rows are scaled for each sequence."""

    def __init__(self, model):
        self.scale = None
        self.layers = [module for module in model.modules() if hasattr(module, "lora_A")]
        for layer in self.layers:
            layer.forward = self.forward_of(layer)

    def forward_of(self, layer):
        a, b = layer.lora_A["default"], layer.lora_B["default"]
        return lambda x: layer.base_layer(x) + b(a(x.to(a.weight.dtype)) * self.scale)

    def at(self, ranks, rank, scaling):
        """Uses the first rows of each sequence, or of all."""
        rows = torch.arange(rank)[None, None]
        self.scale = (rows < torch.tensor(ranks)[:, None, None]) * scaling

    @torch.no_grad()
    def sort(self):
        for layer in self.layers:
            a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
            # Of the factors alone: QR of both, and the SVD of what is between.
            (q, r), (p, s) = torch.linalg.qr(b.double()), torch.linalg.qr(a.double().T)
            u, values, v = torch.linalg.svd(r @ s.T)
            root = values.sqrt()
            b.copy_(q @ u * root)
            a.copy_(root[:, None] * (v @ p.T))


def main(model, data, examples, max_length, precision, batch, learning_rate, epochs, rank, alpha, methods, ranks, seed, threads):
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    torch.set_num_threads(threads)
    tokenizer = AutoTokenizer.from_pretrained(model)
    trained = read(Path(data, "train.tsv"), tokenizer, examples, max_length)
    held = sorted(read(Path(data, "dev.tsv"), tokenizer, None, max_length), key=lambda it: len(it["input_ids"]))
    collate = DataCollatorWithPadding(tokenizer)
    autocast = torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16")

    def score(peft):
        peft.eval()
        with torch.no_grad(), autocast:
            right = sum(
                (peft(**inputs).logits.argmax(-1) == inputs["labels"]).sum().item()
                for inputs in DataLoader(held, batch, collate_fn=collate))
        return right / len(held)

    for method in methods:
        torch.manual_seed(seed)
        base = AutoModelForSequenceClassification.from_pretrained(model, num_labels=2, dtype=torch.float32)
        peft = get_peft_model(base, LoraConfig(task_type="SEQ_CLS", r=rank, lora_alpha=alpha, lora_dropout=0.0))
        nested, draws = Nested(peft), random.Random(seed)
        parameters = [parameter for parameter in peft.parameters() if parameter.requires_grad]
        batches = [it for epoch in range(epochs) for it in shuffled(trained, batch, seed + epoch)]
        sort_step = round(SORT_AT * len(batches)) if method == "sorted" else None
        optimizer = torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=0.1, fused=True)
        schedule = get_linear_schedule_with_warmup(optimizer, round(0.06 * len(batches)), len(batches))
        losses, begin = [], time.perf_counter()
        peft.train()
        for step, inputs in enumerate(DataLoader(trained, batch_sampler=batches, collate_fn=collate)):
            if step == sort_step:
                nested.sort()
                optimizer.state.clear()
            count = len(inputs["labels"])
            drawn = [1 + i * rank // count for i in range(count)] if sort_step and step >= sort_step else [rank]
            draws.shuffle(drawn)
            nested.at(drawn, rank, alpha / rank)
            with autocast:
                loss = peft(**inputs).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            losses.append(loss.item())
        result = {
            "method": method,
            "seconds": time.perf_counter() - begin,
            "steps": len(losses),
            "loss": sum(losses[-len(losses) // 5:]) / len(losses[-len(losses) // 5:]),
            "peak_bytes": peak_bytes(),
        }

        def scores(ranks):
            found = {}
            for served in ranks:
                nested.at([served], rank, alpha / rank)
                found[served] = score(peft)
            return found

        result["scores"] = scores(ranks if method == "sorted" else [rank])
        if method == "lora":
            nested.sort()
            result["svd"] = scores([served for served in ranks if served < rank])
        print(json.dumps(result), flush=True)


def shuffled(examples, batch, seed):
    """The batches of an epoch in random order."""
    batches = batches_of(examples, batch, seed)
    random.Random(seed).shuffle(batches)
    return batches


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
