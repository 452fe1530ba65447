"""Embeds texts by sentence-transformers, for embeddings_test.ts.

Usage: python sentence_embeddings.py REQUEST.json

The request has the `codes` of Python, each of which loads a `model`, and the `texts`. Prints JSON:
for each code the embedding of each text.
"""

import json
import sys

import torch
from transformers import logging


def main() -> None:
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    torch.set_num_threads(1)
    with open(sys.argv[1]) as file:
        request = json.load(file)
    print(json.dumps([embed(code, request["texts"]) for code in request["codes"]]))


def embed(code: str, texts: list[str]) -> list[list[float]]:
    names: dict = {}
    exec(code, names)
    return names["model"].encode(texts, show_progress_bar=False).tolist()


if __name__ == "__main__":
    main()
