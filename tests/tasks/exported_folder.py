"""Loads exported adapters as their model cards say, for exported_folder_test.ts.

Usage: python exported_folder.py REQUEST.json

The request lists `folders`, each with `codes` of Python that load it and `texts`. Prints JSON: for
each folder the `logits` of the texts, the names of its `classes`, and the largest `difference`
between the logits of the first code and those of the others. For each folder in `tokenizers`, it prints the
`ids` and `types` of `pairs` of texts instead, as `AutoTokenizer.from_pretrained(FOLDER)` gives them.
"""

import json
import sys

import torch
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


def load(codes: list[str], texts: list[str]) -> dict:
    found, classes = [], []
    for code in codes:
        names: dict = {}
        exec(code, names)
        model, tokenizer = names["model"], names["tokenizer"]
        found.append(logits(model, tokenizer(texts, padding=True, return_tensors="pt")))
        classes.append([model.config.id2label[i] for i in range(model.config.num_labels)])
    return {
        "logits": found[0].flatten().tolist(),
        "classes": classes[0],
        "difference": max((it - found[0]).abs().max().item() for it in found),
    }


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
