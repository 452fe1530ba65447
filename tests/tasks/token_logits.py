"""Logits of the words of sentences through PEFT and transformers, for token_predictions_test.ts.

Usage: python token_logits.py REQUEST.json

The request names the `folder` of an exported adapter, which names its base model, the number of
`labels`, and `sentences`, each a list of words. Prints JSON: for each sentence the logits of each
word, read at its first token, as in the examples of transformers; null of a word without one.
"""

import json
import sys

import torch
from peft import AutoPeftModelForTokenClassification
from transformers import AutoTokenizer, logging


def main() -> None:
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    torch.set_num_threads(1)
    with open(sys.argv[1]) as file:
        request = json.load(file)
    folder = request["folder"]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoPeftModelForTokenClassification.from_pretrained(
        folder, num_labels=request["labels"], dtype=torch.float32).eval()

    def logits(words: list[str]) -> list[list[float] | None]:
        encoded = tokenizer(words, is_split_into_words=True, truncation=True, return_tensors="pt")
        with torch.no_grad():
            [rows] = model(**encoded).logits.tolist()
        places = encoded.word_ids()
        return [rows[places.index(i)] if i in places else None for i in range(len(words))]

    print(json.dumps([logits(words) for words in request["sentences"]]))


if __name__ == "__main__":
    main()
