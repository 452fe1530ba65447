"""LoRA on texts with several labels, with PyTorch and PEFT, scored by F1.

    python tests/bench/peer/labels.py '{"model": FOLDER, "train": "train.csv", "validation": "test.csv", "text": "text",
        "labels": "labels", "separator": "|", "threshold": 0.3, "max_length": 128, "precision": "f32" | "bf16",
        "batch": 32, "learning_rate": 1e-3, "weight_decay": 0.1, "epochs": 3, "rank": 8, "alpha": 16, "seed": 0,
        "threads": 1}'

Prints one JSON line:
    {"rank": 8, "seed": 0, "seconds": of training, "steps": count, "loss": mean of the last fifth,
     "f1_micro": ..., "f1_macro": ..., "f1_weighted": ..., "subset_accuracy": ..., "hamming_loss": ..., "lrap": ...}

What `own-data --profile labels` trains: query, value and the head, by transformers' multi_label_classification, AdamW,
warm-up over 6 % of the steps, gradients clipped to norm 1, batches of like length, each padded to its longest text.
A label is predicted from `threshold` on. Scores are those of scikit-learn.
"""

import csv
import json
import random
import sys
import time

import torch
from peft import LoraConfig, get_peft_model
from sklearn.metrics import accuracy_score, f1_score, hamming_loss, label_ranking_average_precision_score
from torch.utils.data import DataLoader
from transformers import AutoModelForSequenceClassification, AutoTokenizer, DataCollatorWithPadding
from transformers import get_linear_schedule_with_warmup, logging

from sweep import batches_of


def read(path, text, labels, separator):
    with open(path, encoding="utf-8", newline="") as file:
        return [(row[text], [name for name in row[labels].split(separator) if name]) for row in csv.DictReader(file)]


def main(model, train, validation, text, labels, separator, threshold, max_length, precision, batch, learning_rate,
         weight_decay, epochs, rank, alpha, seed, threads):
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    texts, held = read(train, text, labels, separator), read(validation, text, labels, separator)
    classes = sorted({name for _, names in texts for name in names})
    tokenizer = AutoTokenizer.from_pretrained(model)

    def encoded(rows):
        tokens = tokenizer([words for words, _ in rows], truncation=True, max_length=max_length)
        return [
            {"labels": [float(name in names) for name in classes], **{key: values[i] for key, values in tokens.items()}}
            for i, (_, names) in enumerate(rows)
        ]

    rows = encoded(texts)
    batches = []
    for epoch in range(epochs):
        of_epoch = batches_of(rows, batch, 1000 * seed + epoch)
        random.Random(1000 * seed + epoch).shuffle(of_epoch)
        batches += of_epoch
    base = AutoModelForSequenceClassification.from_pretrained(
        model, num_labels=len(classes), problem_type="multi_label_classification", dtype=torch.float32)
    peft = get_peft_model(base, LoraConfig(
        task_type="SEQ_CLS", r=rank, lora_alpha=alpha, lora_dropout=0.0, modules_to_save=["classifier", "pooler"]))
    autocast = torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16")
    parameters = [parameter for parameter in peft.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=weight_decay)
    schedule = get_linear_schedule_with_warmup(optimizer, round(0.06 * len(batches)), len(batches))
    collate = DataCollatorWithPadding(tokenizer)
    losses, begin = [], time.perf_counter()
    peft.train()
    for inputs in DataLoader(rows, batch_sampler=batches, collate_fn=collate):
        with autocast:
            loss = peft(**inputs).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        if len(losses) % 50 == 0:
            recent = sum(losses[-50:]) / 50
            print(f"{len(losses)} of {len(batches)} steps, loss {recent:.4f}", file=sys.stderr, flush=True)
    seconds = time.perf_counter() - begin

    peft.eval()
    examples = encoded(held)
    order = sorted(range(len(examples)), key=lambda i: len(examples[i]["input_ids"]))
    probabilities = torch.zeros(len(examples), len(classes))
    with torch.no_grad(), autocast:
        for i in range(0, len(order), batch):
            places = order[i:i + batch]
            probabilities[places] = peft(**collate([examples[place] for place in places])).logits.float().sigmoid()
    true = torch.tensor([example["labels"] for example in examples]).int().numpy()
    predicted = (probabilities >= threshold).int().numpy()
    last = losses[-len(losses) // 5:]
    print(json.dumps({
        "rank": rank,
        "seed": seed,
        "seconds": seconds,
        "steps": len(losses),
        "loss": sum(last) / len(last),
        "f1_micro": f1_score(true, predicted, average="micro", zero_division=0),
        "f1_macro": f1_score(true, predicted, average="macro", zero_division=0),
        "f1_weighted": f1_score(true, predicted, average="weighted", zero_division=0),
        "subset_accuracy": accuracy_score(true, predicted),
        "hamming_loss": hamming_loss(true, predicted),
        "lrap": label_ranking_average_precision_score(true, probabilities.numpy()),
    }))


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
