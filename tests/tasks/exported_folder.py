"""Loads exported adapters as their model cards say, for exported_folder_test.ts.

Usage: python exported_folder.py REQUEST.json

The request lists `folders`, each with its `code` of Python and `texts`. Prints JSON: for each
folder the `logits` of the texts, the names of its `classes`, and the largest difference of the
logits of `AutoPeftModelForSequenceClassification.from_pretrained(FOLDER)` alone, where the
configuration of the base model has as many classes. For each folder in `tokenizers`, it prints the
`ids` and `types` of `pairs` of texts instead, as `AutoTokenizer.from_pretrained(FOLDER)` gives them.
"""

import json
import sys

import torch
from peft import AutoPeftModelForSequenceClassification
from transformers import AutoTokenizer, logging


def main() -> None:
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    torch.set_num_threads(1)
    with open(sys.argv[1]) as file:
        request = json.load(file)
    loaded = [load(**folder) for folder in request.get("folders", [])]
    tokens = [tokenize(folder, request["pairs"]) for folder in request.get("tokenizers", [])]
    print(json.dumps(loaded + tokens))


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


def tokenize(folder: str, pairs: list[list[str]]) -> dict:
    texts, others = map(list, zip(*pairs))
    encoded = AutoTokenizer.from_pretrained(folder)(texts, others)
    ids = encoded["input_ids"]
    return {"ids": ids, "types": encoded.get("token_type_ids", [[0] * len(it) for it in ids])}


def logits(model, batch) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(**batch).logits


if __name__ == "__main__":
    main()
