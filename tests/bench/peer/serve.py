"""Classifies texts with transformers and PEFT, for tests/bench/serve/bench.ts, as measure.ts does.

Usage: python serve.py REQUEST.json
"""

import json
import sys
import time

import torch
from peft import PeftModel
from transformers import AutoModelForSequenceClassification, AutoTokenizer, logging

BATCH = 32


def main() -> None:
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    with open(sys.argv[1]) as file:
        request = json.load(file)
    base = AutoModelForSequenceClassification.from_pretrained(request["model"], num_labels=2, dtype=torch.float32)
    model = PeftModel.from_pretrained(base, request["adapter"]).eval()
    tokenizer = AutoTokenizer.from_pretrained(request["adapter"])

    def classify(texts: list[str]) -> list[list[float]]:
        # Texts of like lengths need little padding.
        rows = sorted(enumerate(tokenizer(texts, truncation=True)["input_ids"]), key=lambda it: len(it[1]))
        answers = [[]] * len(texts)
        for start in range(0, len(rows), BATCH):
            batch = rows[start : start + BATCH]
            inputs = tokenizer.pad({"input_ids": [ids for _, ids in batch]}, return_tensors="pt")
            with torch.inference_mode():
                shares = model(**inputs).logits.softmax(-1).tolist()
            for (at, _), share in zip(batch, shares):
                answers[at] = share
        return answers

    texts = request["texts"]
    [probabilities] = classify(texts[:1])
    first = time.time() * 1000 - request["started"]
    classify(texts)
    begun = time.perf_counter()
    classify(texts)
    seconds = time.perf_counter() - begun
    print(json.dumps({
        "firstMs": first, "textsPerSecond": len(texts) / seconds, "probabilities": probabilities,
    }))


if __name__ == "__main__":
    main()
