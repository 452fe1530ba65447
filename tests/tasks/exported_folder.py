"""Loads exported adapters as their model cards say, for exported_folder_test.ts.

Usage: python exported_folder.py REQUEST.json

The request lists `folders`, each with its `code` of Python and `texts`. Prints JSON: for each
folder the `logits` of the texts, the names of its `classes`, and the largest difference of the
logits of `AutoPeftModelForSequenceClassification.from_pretrained(FOLDER)` alone, where the
configuration of the base model has as many classes.
"""

import json
import sys

import torch
from peft import AutoPeftModelForSequenceClassification
from transformers import logging


def main() -> None:
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    torch.set_num_threads(1)
    with open(sys.argv[1]) as file:
        request = json.load(file)
    print(json.dumps([load(**folder) for folder in request["folders"]]))


def load(folder: str, code: str, texts: list[str]) -> dict:
    names: dict = {}
    exec(code, names)
    model, tokenizer = names["model"], names["tokenizer"]
    batch = tokenizer(texts, padding=True, return_tensors="pt")
    found = logits(model, batch)
    classes = model.config.num_labels
    result = {
        "logits": found.flatten().tolist(),
        "classes": [model.config.id2label[i] for i in range(classes)],
    }
    if classes == 2:
        plain = AutoPeftModelForSequenceClassification.from_pretrained(folder)
        result["difference"] = (logits(plain, batch) - found).abs().max().item()
    return result


def logits(model, batch) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(**batch).logits


if __name__ == "__main__":
    main()
