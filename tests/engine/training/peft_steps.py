"""Steps of training a LoRA with PEFT, for peft_steps_test.ts.

Usage: python peft_steps.py MODEL FOLDER

Writes start.safetensors and end.safetensors, the adapter before and after the steps, by PEFT's
names, and steps.json: "ids" and "labels" of the sequences, "batch" of them a step, and of each
step "rates", "losses". Float32, AdamW with weight decay 0.1, gradients clipped to norm 1.
"""

import json
import sys
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict
from safetensors.torch import save_file
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoModelForSequenceClassification, get_linear_schedule_with_warmup, logging

STEPS, LENGTHS = 5, [24, 7, 3, 17]


def main(model: str, folder: str) -> None:
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    base = AutoModelForSequenceClassification.from_pretrained(
        model, num_labels=2, dtype=torch.float32, attention_dropout=0.0)
    peft = get_peft_model(base, LoraConfig(task_type="SEQ_CLS", r=8, lora_alpha=16, lora_dropout=0.0))
    ids = [torch.randint(5, base.config.vocab_size, (length,)) for length in LENGTHS * STEPS]
    labels = torch.randint(2, (len(ids),))
    trained = [parameter for parameter in peft.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-3, weight_decay=0.1)
    schedule = get_linear_schedule_with_warmup(optimizer, 1, STEPS)
    save(peft, Path(folder, "start.safetensors"))
    peft.train()
    rates, losses = [], []
    for step in range(STEPS):
        own = slice(step * len(LENGTHS), (step + 1) * len(LENGTHS))
        padded = pad_sequence(ids[own], batch_first=True, padding_value=base.config.pad_token_id)
        mask = pad_sequence([torch.ones_like(it) for it in ids[own]], batch_first=True)
        loss = peft(input_ids=padded, attention_mask=mask, labels=labels[own]).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        rates.append(schedule.get_last_lr()[0])
        losses.append(loss.item())
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    save(peft, Path(folder, "end.safetensors"))
    Path(folder, "steps.json").write_text(json.dumps({
        "ids": [it.tolist() for it in ids], "labels": labels.tolist(), "batch": len(LENGTHS),
        "rates": rates, "losses": losses,
    }))


def save(peft, path: Path) -> None:
    save_file({name: tensor.contiguous() for name, tensor in get_peft_model_state_dict(peft).items()}, path)


if __name__ == "__main__":
    main(*sys.argv[1:])
