"""LoRA on classified texts with PyTorch and PEFT, whose head has a learning rate of its own.

    python tests/bench/peer/head_rate.py '{"model": FOLDER, "train": "train.csv", "validation": "test.csv",
        "text": "text", "label": "category", "max_length": 128, "precision": "f32" | "bf16", "batch": 32,
        "learning_rate": 1e-3, "head_factor": 1, "saved": ["classifier", "pooler"], "epochs": 5, "rank": 1,
        "alpha": 16, "seed": 0, "threads": 1}'

Prints one JSON line:
    {"head_factor": 1, "saved": [...], "epochs": 5, "rank": 1, "seed": 0, "steps": count, "loss": mean of the last fifth,
     "accuracy": ..., "interval": [low, high] of 95 %, by the normal approximation}

`saved` are the modules of the head that are trained beside the adapters; PEFT's own choice is ["classifier"], which
leaves the pooler as it is. What `own-data` trains: PEFT's default target modules, AdamW with weight decay 0.1, warm-up
over 6 % of the steps, gradients clipped to norm 1, batches of like length, each padded to its longest text.
"""

import csv
import json
import sys

import torch
from peft import LoraConfig, get_peft_model
from torch.utils.data import DataLoader
from transformers import AutoModelForSequenceClassification, AutoTokenizer, DataCollatorWithPadding
from transformers import get_linear_schedule_with_warmup, logging

from glue import shuffled


def read(path, text, label):
    with open(path, encoding="utf-8", newline="") as file:
        return [(row[text], row[label]) for row in csv.DictReader(file)]


def main(model, train, validation, text, label, max_length, precision, batch, learning_rate, head_factor, saved, epochs,
         rank, alpha, seed, threads):
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    train, held = read(train, text, label), read(validation, text, label)
    labels = sorted({name for _, name in train})
    tokenizer = AutoTokenizer.from_pretrained(model)

    def encoded(rows):
        found = tokenizer([words for words, _ in rows], truncation=True, max_length=max_length)
        return [
            {"labels": labels.index(name), **{key: values[i] for key, values in found.items()}}
            for i, (_, name) in enumerate(rows)
        ]

    rows = encoded(train)
    batches = [it for epoch in range(epochs) for it in shuffled(rows, batch, 1000 * seed + epoch)]
    base = AutoModelForSequenceClassification.from_pretrained(model, num_labels=len(labels), dtype=torch.float32)
    peft = get_peft_model(base, LoraConfig(
        task_type="SEQ_CLS", r=rank, lora_alpha=alpha, lora_dropout=0.0, modules_to_save=list(saved)))
    autocast = torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16")
    trained = [(name, value) for name, value in peft.named_parameters() if value.requires_grad]
    adapters = [value for name, value in trained if "lora_" in name]
    head = [value for name, value in trained if "lora_" not in name]
    optimizer = torch.optim.AdamW(
        [{"params": adapters, "lr": learning_rate}, {"params": head, "lr": learning_rate * head_factor}],
        weight_decay=0.1)
    schedule = get_linear_schedule_with_warmup(optimizer, round(0.06 * len(batches)), len(batches))
    losses = []
    peft.train()
    collate = DataCollatorWithPadding(tokenizer)
    for inputs in DataLoader(rows, batch_sampler=batches, collate_fn=collate):
        with autocast:
            loss = peft(**inputs).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(adapters + head, 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        losses.append(loss.item())

    peft.eval()
    with torch.no_grad(), autocast:
        right = sum(
            (peft(**inputs).logits.argmax(-1) == inputs["labels"]).sum().item()
            for inputs in DataLoader(sorted(encoded(held), key=lambda it: len(it["input_ids"])), 128, collate_fn=collate))
    accuracy = right / len(held)
    error = 1.96 * (accuracy * (1 - accuracy) / len(held)) ** 0.5
    last = losses[-len(losses) // 5:]
    print(json.dumps({
        **{"head_factor": head_factor, "saved": saved, "epochs": epochs, "rank": rank, "seed": seed, "steps": len(losses)},
        **{"loss": sum(last) / len(last), "accuracy": accuracy, "interval": [accuracy - error, accuracy + error]},
    }))


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
