"""LoRA of a small language model that writes texts, with PyTorch and PEFT, scored by loss, BLEU and ROUGE-L.

    python tests/bench/peer/texts.py '{"model": FOLDER, "train": "dev.csv", "validation": "test.csv", "prompt": "mr",
        "completion": "ref", "max_length": 128, "precision": "f32" | "bf16", "batch": 16, "learning_rate": 1e-3,
        "weight_decay": 0.01, "epochs": 2, "rank": 8, "alpha": 16, "beams": 4, "max_tokens": 64, "seed": 0, "threads": 1}'

Prints one JSON line:
    {"rank": 8, "seed": 0, "steps": count, "seconds": {"training": ..., "scoring": ..., "writing": ...},
     "loss": mean of a token to write, "loss_interval": [low, high] of 95 %, by a bootstrap of the prompts,
     "bleu": of sacrebleu, "bleu_interval": half its width, "rouge_l": of rouge-score, the best reference}

What `pipeline e2e` trains: PEFT's default target modules, AdamW, warm-up over 6 % of the steps, gradients clipped to
norm 1, batches of like length, each padded to its longest text, the loss of what follows the prompt. Texts are written
by the model with the adapter merged in that precision, and none is followed beyond `max_tokens`.
"""

import csv
import json
import random
import sys
import time

import torch
from peft import LoraConfig, get_peft_model
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics import BLEU
from transformers import AutoModelForCausalLM, AutoTokenizer, get_linear_schedule_with_warmup, logging

from glue import shuffled


def read(path, prompt, completion):
    with open(path, encoding="utf-8", newline="") as file:
        return [(row[prompt], row[completion]) for row in csv.DictReader(file)]


def padded(rows, padding):
    """The rows as one batch."""
    length = max(len(row["input_ids"]) for row in rows)
    fill = {"input_ids": padding, "attention_mask": 0, "labels": -100}
    return {
        name: torch.tensor([row[name] + [value] * (length - len(row[name])) for row in rows])
        for name, value in fill.items()
    }


def main(model, train, validation, prompt, completion, max_length, precision, batch, learning_rate, weight_decay, epochs,
         rank, alpha, beams, max_tokens, seed, threads):
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    tokenizer = AutoTokenizer.from_pretrained(model)
    end = tokenizer.eos_token_id

    def encoded(pair):
        before, after = (tokenizer(text)["input_ids"] for text in pair)
        after = after + [end]
        before = before[max(0, len(before) - max(1, max_length - len(after))):]
        ids = (before + after)[:max_length]
        return {"input_ids": ids, "attention_mask": [1] * len(ids), "labels": [-100] * len(before) + ids[len(before):]}

    rows = [encoded(pair) for pair in read(train, prompt, completion)]
    batches = [it for epoch in range(epochs) for it in shuffled(rows, batch, 1000 * seed + epoch)]
    base = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    peft = get_peft_model(base, LoraConfig(task_type="CAUSAL_LM", r=rank, lora_alpha=alpha, lora_dropout=0.0))
    autocast = torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16")
    parameters = [parameter for parameter in peft.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=weight_decay)
    schedule = get_linear_schedule_with_warmup(optimizer, round(0.06 * len(batches)), len(batches))
    times = [time.perf_counter()]
    peft.train()
    for step, places in enumerate(batches, 1):
        with autocast:
            loss = peft(**padded([rows[i] for i in places], end)).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        if step % 20 == 0:
            print(f"{step} of {len(batches)} steps, loss {loss.item():.3f}", file=sys.stderr, flush=True)
    times.append(time.perf_counter())

    peft.eval()
    pairs = read(validation, prompt, completion)
    texts = list(dict.fromkeys(text for text, _ in pairs))
    sums = {text: [0.0, 0] for text in texts}
    order = sorted(((text, encoded((text, own))) for text, own in pairs), key=lambda it: len(it[1]["input_ids"]))
    with torch.no_grad():
        for i in range(0, len(order), batch):
            inputs = padded([row for _, row in order[i:i + batch]], end)
            labels = inputs.pop("labels")[:, 1:]
            with autocast:
                logits = peft(**inputs).logits[:, :-1].float()
            losses = torch.nn.functional.cross_entropy(logits.transpose(1, 2), labels, reduction="none")
            for (text, _), own, known in zip(order[i:i + batch], losses.sum(1).tolist(), (labels >= 0).sum(1).tolist()):
                sums[text][0] += own
                sums[text][1] += known
    draw = random.Random(0)

    def mean(drawn):
        return sum(sums[text][0] for text in drawn) / sum(sums[text][1] for text in drawn)

    drawn = sorted(mean(draw.choices(texts, k=len(texts))) for _ in range(1000))
    times.append(time.perf_counter())

    merged = peft.merge_and_unload().to(torch.bfloat16 if precision == "bf16" else torch.float32)
    tokenizer.padding_side, tokenizer.pad_token = "left", tokenizer.eos_token
    written = {}
    for i in range(0, len(texts), 8):
        inputs = tokenizer(texts[i:i + 8], padding=True, return_tensors="pt")
        ids = merged.generate(**inputs, max_new_tokens=max_tokens, num_beams=beams, do_sample=False)
        own = tokenizer.batch_decode(ids[:, inputs["input_ids"].shape[1]:], skip_special_tokens=True)
        written.update(zip(texts[i:i + 8], own))
        print(f"{len(written)} of {len(texts)} texts", file=sys.stderr, flush=True)
    times.append(time.perf_counter())
    references = {text: [] for text in texts}
    for text, own in pairs:
        references[text].append(own)
    most = max(map(len, references.values()))
    columns = [[(references[text] + [None] * most)[i] for text in texts] for i in range(most)]
    bleu = BLEU().corpus_score([written[text] for text in texts], columns, n_bootstrap=1000)
    scorer = RougeScorer(["rougeL"])
    best = [scorer.score_multi(references[text], written[text])["rougeL"].fmeasure for text in texts]
    print(json.dumps({
        **{"rank": rank, "seed": seed, "steps": len(batches)},
        "seconds": dict(zip(("training", "scoring", "writing"), (b - a for a, b in zip(times, times[1:])))),
        **{"loss": mean(texts), "loss_interval": [drawn[25], drawn[974]]},
        **{"bleu": bleu.score, "bleu_interval": bleu._ci, "rouge_l": 100 * sum(best) / len(best)},
    }))


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
