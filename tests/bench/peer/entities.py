"""LoRA on tagged words with PyTorch and PEFT, scored by entity.

    python tests/bench/peer/entities.py '{"model": FOLDER, "train": "train.conll", "validation": "dev.conll",
        "max_length": 128, "precision": "f32" | "bf16", "batch": 32, "learning_rate": 1e-3, "epochs": 5, "rank": 8,
        "alpha": 16, "seed": 0, "threads": 1, "target_modules": ["q", "v"]}'

`target_modules` may be left out where PEFT has a default for the model, as for BERT. Prints one JSON line:
    {"seed": 0, "seconds": of training, "steps": count, "loss": mean of the last fifth, "f1": of entities,
     "precision": ..., "recall": ...}

What `own-data --profile tokens` trains: query and value, AdamW with weight decay 0.1, warm-up over 6 %
of the steps, gradients clipped to norm 1, batches of like length, each padded to its longest sentence. The first
token of a word has its tag. Tags are in BIO; an entity counts as in seqeval's default mode.
"""

import json
import random
import sys
import time

import torch
from peft import LoraConfig, get_peft_model
from torch.utils.data import DataLoader
from transformers import AutoModelForTokenClassification, AutoTokenizer, DataCollatorForTokenClassification
from transformers import get_linear_schedule_with_warmup, logging

from sweep import batches_of


def read(path):
    with open(path, encoding="utf-8") as file:
        sentences = [[]]
        for line in file:
            if line.strip():
                sentences[-1].append(line.rstrip("\n").split("\t"))
            elif sentences[-1]:
                sentences.append([])
    return [it for it in sentences if it]


def entities_of(tags):
    found, before = [], "O"
    for i, tag in enumerate(tags):
        if tag != "O":
            if tag[0] == "I" and before != "O" and before[2:] == tag[2:]:
                found[-1][2] = i + 1
            else:
                found.append([tag[2:], i, i + 1])
        before = tag
    return {tuple(it) for it in found}


def main(
    model, train, validation, max_length, precision, batch, learning_rate, epochs, rank, alpha, seed, threads,
    target_modules=None,
):
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    train, held = read(train), read(validation)
    types = sorted({tag[2:] for sentence in train for _, tag in sentence if tag != "O"})
    labels = ["O"] + [f"{prefix}-{name}" for name in types for prefix in "BI"]
    tokenizer = AutoTokenizer.from_pretrained(model)

    def encoded(sentence):
        given = [word for word, _ in sentence]
        row = tokenizer(given, is_split_into_words=True, truncation=True, max_length=max_length)
        words = row.word_ids()
        firsts = [word is not None and word != before for word, before in zip(words, [None] + words)]
        own = [labels.index(sentence[word][1]) if first else -100 for word, first in zip(words, firsts)]
        return {"input_ids": row["input_ids"], "attention_mask": row["attention_mask"], "labels": own}, words, firsts

    rows = [encoded(sentence)[0] for sentence in train]
    batches = []
    for epoch in range(epochs):
        found = batches_of(rows, batch, 1000 * seed + epoch)
        random.Random(1000 * seed + epoch).shuffle(found)
        batches += found
    base = AutoModelForTokenClassification.from_pretrained(model, num_labels=len(labels), dtype=torch.float32)
    peft = get_peft_model(base, LoraConfig(
        task_type="TOKEN_CLS", r=rank, lora_alpha=alpha, lora_dropout=0.0, target_modules=target_modules))
    autocast = torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16")
    parameters = [parameter for parameter in peft.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=0.1)
    schedule = get_linear_schedule_with_warmup(optimizer, round(0.06 * len(batches)), len(batches))
    losses, begin = [], time.perf_counter()
    peft.train()
    collate = DataCollatorForTokenClassification(tokenizer)
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
    right = predicted = labelled = 0
    with torch.no_grad(), autocast:
        for sentence in held:
            row, words, firsts = encoded(sentence)
            inputs = {name: torch.tensor([row[name]]) for name in ("input_ids", "attention_mask")}
            tags = ["O"] * len(sentence)
            for word, first, best in zip(words, firsts, peft(**inputs).logits[0].argmax(-1).tolist()):
                if first:
                    tags[word] = labels[best]
            own, found = entities_of([tag for _, tag in sentence]), entities_of(tags)
            right, predicted, labelled = right + len(own & found), predicted + len(found), labelled + len(own)
    last = losses[-len(losses) // 5:]
    print(json.dumps({
        "seed": seed,
        "seconds": seconds,
        "steps": len(losses),
        "loss": sum(last) / len(last),
        "f1": 2 * right / (predicted + labelled),
        "precision": right / max(1, predicted),
        "recall": right / labelled,
    }))


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
