"""Prints what transformers computes: logits of the examples of a split, as JSON.

    python transformers_logits.py MODEL_FOLDER SPLIT.safetensors
"""

import json
import sys

import torch
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification, logging

logging.set_verbosity_error()
logging.disable_progress_bar()
model = AutoModelForSequenceClassification.from_pretrained(sys.argv[1]).eval()
split = load_file(sys.argv[2])
rows = []
with torch.no_grad():
    for start, end in zip(split["offsets"][:-1].tolist(), split["offsets"][1:].tolist()):
        ids, types = split["ids"][start:end].long(), split["types"][start:end].long()
        types = None if model.config.model_type == "roberta" else types[None]
        rows.append(model(ids[None], token_type_ids=types).logits[0].tolist())
print(json.dumps({"labels": model.config.id2label, "logits": rows}))
