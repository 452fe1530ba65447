"""Logits of adapters and models through PEFT and transformers, for peft_test.ts.

Usage: python peft_logits.py

Reads requests from standard input, each a line of JSON, and prints an answer to each as a line of
JSON, so that PyTorch is imported once for all.

A request names a `model` folder, a safetensors file of `tokens` (ids, types, offsets), the
number of `labels` (with `tokens_have_labels`, of tokens), the `problem_type` of transformers, if it matters, and the folders of exported `adapters` and merged `models`. With `write`, an
adapter is made by PEFT itself and saved in its `folder`, with fields of LoraConfig from `config`.
An answer has the logits of each adapter, of each model, and of the adapter that was written, as flat
lists, and the `problem_types` of the models, or the `error` with which a request failed.
"""

import inspect
import json
import sys
import traceback

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoModelForTokenClassification, logging


def main() -> None:
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    torch.set_num_threads(1)
    for line in sys.stdin:
        try:
            result = answer(json.loads(line))
        except Exception:
            result = {"error": traceback.format_exc()}
        print(json.dumps(result), flush=True)


def answer(request: dict) -> dict:
    batch = batch_of(request["tokens"], request["model"])
    labels = request["labels"]
    of_tokens = request.get("tokens_have_labels")
    model_class = AutoModelForTokenClassification if of_tokens else AutoModelForSequenceClassification

    def base():
        torch.manual_seed(0)
        return model_class.from_pretrained(
            request["model"], num_labels=labels, problem_type=request.get("problem_type"),
            dtype=torch.float32, attn_implementation="eager")

    # Some models have no token types.
    takes = inspect.signature(type(base()).forward).parameters
    batch = {name: tensor for name, tensor in batch.items() if name in takes}

    def logits(model) -> list[float]:
        with torch.no_grad():
            return model.eval()(**batch).logits.flatten().tolist()

    merged = [
        model_class.from_pretrained(folder, attn_implementation="eager") for folder in request["models"]
    ]
    result = {
        "adapters": [logits(PeftModel.from_pretrained(base(), folder)) for folder in request["adapters"]],
        "models": [logits(model) for model in merged],
        "problem_types": [model.config.problem_type for model in merged],
    }
    if "write" in request:
        config = LoraConfig(
            task_type="SEQ_CLS", r=4, lora_alpha=8, lora_dropout=0.0, **request["write"]["config"])
        model = get_peft_model(base(), config)
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.1)
            if "lora_magnitude_vector" in name:
                parameter.data.mul_(torch.empty_like(parameter).uniform_(0.5, 1.5))
        model.save_pretrained(request["write"]["folder"])
        result["written"] = logits(model)
    return result


def batch_of(tokens: str, model: str) -> dict[str, torch.Tensor]:
    split = load_file(tokens)
    offsets = split["offsets"].tolist()
    spans = list(zip(offsets, offsets[1:]))
    shape = (len(spans), max(end - start for start, end in spans))
    ids = torch.full(shape, AutoConfig.from_pretrained(model).pad_token_id)
    types, mask = torch.zeros(shape, dtype=torch.long), torch.zeros(shape, dtype=torch.long)
    for row, (start, end) in enumerate(spans):
        ids[row, : end - start] = split["ids"][start:end].long()
        types[row, : end - start] = split["types"][start:end].long()
        mask[row, : end - start] = 1
    return {"input_ids": ids, "token_type_ids": types, "attention_mask": mask}


if __name__ == "__main__":
    main()
