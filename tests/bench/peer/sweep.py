"""The peer of the sweep benchmark: one DyLoRA and a LoRA of each rank on SST-2 with PyTorch and PEFT, scored at every rank.

    python tests/bench/peer/sweep.py '{"model": FOLDER, "data": "SST-2", "examples": 8192, "max_length": 128,
        "precision": "f32" | "bf16", "batch": 32, "learning_rate": 2e-3, "ranks": [1, ..., 8], "alpha": 16,
        "processes": 2, "plain": false}'

Prints one JSON line: {"dylora": [accuracy at each rank], "lora": [accuracy of each rank]}

A script as one would write it for this comparison: texts are tokenized once, trainings run in a pool
of processes of one thread each, batches are grouped by length as transformers' Trainer does if asked
(train_sampling_strategy="group_by_length"), a batch is padded to its longest sequence. With "plain", as
a folder of scripts has it: a process for each training, and the Trainer's default batches, drawn at
random. DyLoRA is the shortest implementation that computes only the rows in use: LoRA layers of PEFT
whose forward pass takes the first rows of A and columns of B, scaled by alpha / b.
"""

import csv
import json
import multiprocessing
import random
import sys

import torch
from peft import LoraConfig, get_peft_model
from torch.utils.data import DataLoader
from transformers import AutoModelForSequenceClassification, AutoTokenizer, DataCollatorWithPadding
from transformers import get_linear_schedule_with_warmup, logging


def read(path, tokenizer, limit, max_length):
    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))[:limit]
    encoded = tokenizer([row["sentence"].strip() for row in rows], truncation=True, max_length=max_length)
    return [
        {"labels": int(row["label"]), **{name: values[i] for name, values in encoded.items()}}
        for i, row in enumerate(rows)
    ]


def batches_of(examples, batch, seed, plain=False):
    """Batches of like length: random groups of 50 batches, each sorted, as transformers groups them; plain, at random."""
    order = list(range(len(examples)))
    random.Random(seed).shuffle(order)
    size = 50 * batch
    groups = [order[i:i + size] for i in range(0, len(order), size)]
    if not plain:
        order = [i for group in groups for i in sorted(group, key=lambda i: -len(examples[i]["input_ids"]))]
    return [order[i:i + batch] for i in range(0, len(order), batch)]


class Nested:
    """Makes the LoRA layers of a model compute the rows up to a rank."""

    def __init__(self, model, alpha):
        self.rank = None
        for module in model.modules():
            if hasattr(module, "lora_A"):
                module.forward = self.forward_of(module, alpha)

    def forward_of(self, module, alpha):
        a, b = module.lora_A["default"].weight, module.lora_B["default"].weight

        def forward(x):
            update = (x.to(a.dtype) @ a[:self.rank].T) @ b[:, :self.rank].T
            return module.base_layer(x) + alpha / self.rank * update

        return forward


def train(job):
    method, rank, model, alpha, batch, learning_rate, precision, examples, held, plain = job
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(model)
    model = AutoModelForSequenceClassification.from_pretrained(model, num_labels=2, dtype=torch.float32)
    model = get_peft_model(model, LoraConfig(
        task_type="SEQ_CLS", r=rank, lora_alpha=alpha, lora_dropout=0.0,
        target_modules=["query", "value"], modules_to_save=["classifier", "pooler"]))
    nested = Nested(model, alpha) if method == "dylora" else None
    collate = DataCollatorWithPadding(tokenizer)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=learning_rate, weight_decay=0.1, fused=True)
    loader = DataLoader(examples, batch_sampler=batches_of(examples, batch, 0, plain), collate_fn=collate)
    schedule = get_linear_schedule_with_warmup(optimizer, round(0.06 * len(loader)), len(loader))
    draws = random.Random(0)
    autocast = torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16")
    model.train()
    for inputs in loader:
        if nested is not None:
            nested.rank = draws.randint(1, rank)
        with autocast:
            loss = model(**inputs).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()

    model.eval()
    held = sorted(held, key=lambda example: len(example["input_ids"]))
    scores = []
    for served in range(1, rank + 1) if nested is not None else [rank]:
        if nested is not None:
            nested.rank = served
        right = 0
        with torch.no_grad(), autocast:
            for inputs in DataLoader(held, batch, collate_fn=collate):
                right += (model(**inputs).logits.argmax(-1) == inputs["labels"]).sum().item()
        scores.append(right / len(held))
    return scores


def main(model, data, examples, max_length, precision, batch, learning_rate, ranks, alpha, processes, plain):
    tokenizer = AutoTokenizer.from_pretrained(model)
    trained = read(f"{data}/train.tsv", tokenizer, examples, max_length)
    held = read(f"{data}/dev.tsv", tokenizer, None, max_length)
    rest = (model, alpha, batch, learning_rate, precision, trained, held, plain)
    jobs = [("dylora", max(ranks), *rest)] + [("lora", rank, *rest) for rank in ranks]
    with multiprocessing.get_context("spawn").Pool(processes, maxtasksperchild=1 if plain else None) as pool:
        dylora, *lora = pool.map(train, jobs, chunksize=1)
    print(json.dumps({"dylora": dylora, "lora": [score for scores in lora for score in scores]}))


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
