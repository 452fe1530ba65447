"""LoRA of a sentence encoder on pairs of query and answer, with sentence-transformers and PEFT, scored as a search.

    python tests/bench/peer/retrieval.py '{"model": FOLDER, "train": "dev.csv", "validation": "test.csv", "query": "mr",
        "answer": "ref", "max_length": 128, "precision": "f32" | "bf16", "batch": 32, "learning_rate": 5e-4,
        "weight_decay": 0.01, "epochs": 2, "rank": 8, "alpha": 16, "dropout": true, "seed": 0, "threads": 1}'

Prints one JSON line:
    {"rank": 8, "seed": 0, "seconds": of training, "steps": count, "loss": mean of the last fifth,
     "accuracy@1": ..., "recall@10": ..., "mrr@10": ..., "ndcg@10": ..., "map@100": ...}

What `pipeline retrieval` trains: query and value, AdamW, warm-up over 6 % of the steps, gradients clipped to norm 1,
MultipleNegativesRankingLoss with scale 20. As with sentence-transformers' `BatchSamplers.NO_DUPLICATES`, a batch has no
query and no answer twice, where this project leaves repeated texts out of the negatives. `dropout` is that of the
model's configuration.
"""

import csv
import json
import random
import sys
import time

import torch
from peft import LoraConfig, inject_adapter_in_model
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from transformers import get_linear_schedule_with_warmup, logging


def read(path, query, answer):
    with open(path, encoding="utf-8-sig", newline="") as file:
        return [(row[query], row[answer]) for row in csv.DictReader(file)]


def batches_of(pairs, size, seed):
    """Batches of places of pairs in random order, none of which has a text twice; the last ones may be smaller."""
    waiting = list(range(len(pairs)))
    random.Random(seed).shuffle(waiting)
    while waiting:
        batch, texts, later = [], set(), []
        for place in waiting:
            if len(batch) < size and not texts.intersection(pairs[place]):
                batch.append(place)
                texts.update(pairs[place])
            else:
                later.append(place)
        yield batch
        waiting = later


def main(model, train, validation, query, answer, max_length, precision, batch, learning_rate, weight_decay, epochs,
         rank, alpha, dropout, seed, threads):
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    pairs = read(train, query, answer)
    encoder = SentenceTransformer(model, device="cpu")
    encoder.max_seq_length = max_length
    inject_adapter_in_model(
        LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=0.0, target_modules=["query", "value"]), encoder)
    autocast = torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16")
    for name, parameter in encoder.named_parameters():
        parameter.requires_grad = "lora_" in name
    parameters = [parameter for parameter in encoder.parameters() if parameter.requires_grad]
    batches = [it for epoch in range(epochs) for it in batches_of(pairs, batch, 1000 * seed + epoch)]
    optimizer = torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=weight_decay)
    schedule = get_linear_schedule_with_warmup(optimizer, round(0.06 * len(batches)), len(batches))
    loss_of = MultipleNegativesRankingLoss(encoder, scale=20.0)
    losses, begin = [], time.perf_counter()
    encoder.train(dropout)
    for places in batches:
        columns = zip(*(pairs[place] for place in places))
        with autocast:
            loss = loss_of([encoder.preprocess(list(texts)) for texts in columns], None)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        if len(losses) % 20 == 0:
            recent = sum(losses[-20:]) / 20
            print(f"{len(losses)} of {len(batches)} steps, loss {recent:.4f}", file=sys.stderr, flush=True)
    seconds = time.perf_counter() - begin

    encoder.eval()
    held = read(validation, query, answer)
    texts = list(dict.fromkeys(text for _, text in held))
    place_of = {text: str(place) for place, text in enumerate(texts)}
    relevant = {}
    for asked, text in held:
        relevant.setdefault(asked, set()).add(place_of[text])
    evaluator = InformationRetrievalEvaluator(
        queries={asked: asked for asked in relevant}, corpus={place: text for text, place in place_of.items()},
        relevant_docs=relevant, write_csv=False)
    with autocast:
        scores = evaluator(encoder)
    last = losses[-len(losses) // 5:]
    print(json.dumps({
        "rank": rank,
        "seed": seed,
        "seconds": seconds,
        "steps": len(losses),
        "loss": sum(last) / len(last),
        **{name.removeprefix("cosine_"): score for name, score in scores.items()},
    }))


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
