"""The peer of the epoch benchmark: one epoch of MRPC with PyTorch, transformers and PEFT, from text to trained.

    python tests/bench/peer/epoch.py '{"model": FOLDER, "data": "MRPC/train.tsv", "padding": "longest" | "max_length",
        "max_length": 128, "precision": "f32" | "bf16", "batch": 32, "learning_rate": 1e-3, "rank": 8, "alpha": 16,
        "threads": 2}'

Prints one JSON line:
    {"load": seconds, "tokenize": seconds, "train": seconds, "steps": optimizer steps, "tokens": with padding,
     "loss": mean over the epoch, "peak_bytes": resident}

"longest" pads a batch to its longest sequence (DataCollatorWithPadding), "max_length" every
example to the maximum, as transformers' run_glue.py does by default. The step is that of step.py.
"""

import csv
import json
import sys
import time

import torch
from peft import LoraConfig, get_peft_model
from torch.utils.data import DataLoader
from transformers import AutoModelForSequenceClassification, AutoTokenizer, DataCollatorWithPadding
from transformers import get_linear_schedule_with_warmup, logging

from step import peak_bytes


def main(model, data, padding, max_length, precision, batch, learning_rate, rank, alpha, threads):
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    begin = time.perf_counter()
    tokenizer = AutoTokenizer.from_pretrained(model)
    model = AutoModelForSequenceClassification.from_pretrained(model, num_labels=2, dtype=torch.float32)
    head = ["classifier", "pooler"] if model.config.model_type == "bert" else ["classifier"]
    model = get_peft_model(model, LoraConfig(
        task_type="SEQ_CLS", r=rank, lora_alpha=alpha, lora_dropout=0.0,
        target_modules=["query", "value"], modules_to_save=head))
    loaded = time.perf_counter()

    with open(data, encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    encoded = tokenizer(
        [row["#1 String"] for row in rows], [row["#2 String"] for row in rows],
        truncation=True, max_length=max_length, padding="max_length" if padding == "max_length" else False)
    examples = [
        {"labels": int(row["Quality"]), **{name: values[i] for name, values in encoded.items()}}
        for i, row in enumerate(rows)
    ]
    tokenized = time.perf_counter()

    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=learning_rate, weight_decay=0.1, fused=True)
    loader = DataLoader(examples, batch, shuffle=True, collate_fn=DataCollatorWithPadding(tokenizer))
    schedule = get_linear_schedule_with_warmup(optimizer, round(0.06 * len(loader)), len(loader))
    model.train()
    losses, tokens = [], 0
    for inputs in loader:
        tokens += inputs["input_ids"].numel()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            loss = model(**inputs).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        losses.append(loss.detach())
    mean = torch.stack(losses).float().mean().item()
    print(json.dumps({
        "load": loaded - begin,
        "tokenize": tokenized - loaded,
        "train": time.perf_counter() - tokenized,
        "steps": len(losses),
        "tokens": tokens,
        "loss": mean,
        "peak_bytes": peak_bytes(),
    }))


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
