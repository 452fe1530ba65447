"""The peer of the benchmarks: PyTorch, transformers, sentence-transformers and PEFT, one JSON request a line.

    {"op": "prepare", "config": {...}, "target_modules": ["query", "value"], "modules_to_save": ["classifier"],
     "precision": "f32" | "bf16", "batch": 16, "length": 64, "rank": 8, "alpha": 16, "labels": 2, "threads": 2,
     "head": "sequence" | "tokens" | "language" | "embedding"}
        -> {"trained": parameters that are trained}
        A model of that Hugging Face configuration with random weights, LoRA on the target
        modules, and the modules of the head trained. With "embedding", an example is a pair of texts, and
        sentence-transformers has the mean of the tokens and MultipleNegativesRankingLoss.
    {"op": "step", "count": 1}
        -> {"seconds": [of each step], "loss": of the last, "peak_bytes": resident so far}
        Forward with dropout, backward, clip to norm 1, fused AdamW (the default of
        transformers' Trainer), schedule.
    {"op": "evaluate", "ranks": [1, ..., 8], "count": 1}
        -> {"seconds": [of each pass over all ranks], "peak_bytes": resident so far}
        One batch through an adapter of each rank; changing adapters is not timed.

A batch is full: random tokens, no padding, of which a language model learns all but the first. Loading and the first calls are the caller's warm-up.
"""

import json
import resource
import sys
import time

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoModelForSequenceClassification
from transformers import AutoModelForTokenClassification, get_linear_schedule_with_warmup

HEADS = {
    "sequence": ("SEQ_CLS", AutoModelForSequenceClassification),
    "tokens": ("TOKEN_CLS", AutoModelForTokenClassification),
    "language": ("CAUSAL_LM", AutoModelForCausalLM),
    "embedding": ("FEATURE_EXTRACTION", AutoModel),
}


class Tokens(torch.nn.Module):
    """The hidden states of a model's tokens, as a module of sentence-transformers."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, features):
        inputs = {name: features[name] for name in ("input_ids", "attention_mask")}
        return {**features, "token_embeddings": self.model(**inputs).last_hidden_state}


def ranking_loss(model):
    """What the loss of a batch of pairs is computed by, given the features of both sides."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
    from sentence_transformers.sentence_transformer.modules import Pooling

    pooling = Pooling(model.config.hidden_size, "mean")
    return MultipleNegativesRankingLoss(SentenceTransformer(modules=[Tokens(model), pooling], device="cpu"), scale=20.0)


class Work:
    """A model in training, and a batch."""

    def __init__(self, config, target_modules, modules_to_save, precision, batch, length, rank, alpha, labels, threads,
                 head="sequence"):
        torch.set_num_threads(threads)
        torch.manual_seed(0)
        self.precision, self.alpha = precision, alpha
        config = AutoConfig.for_model(**config, num_labels=labels)
        self.target_modules, self.head = target_modules, modules_to_save
        self.task, model_class = HEADS[head]
        model = model_class.from_config(config)
        self.model = get_peft_model(model, self.lora(rank))
        self.trained = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(self.trained, lr=1e-3, weight_decay=0.1, fused=True)
        self.schedule = get_linear_schedule_with_warmup(self.optimizer, 60, 1000)
        # The first ids are special tokens: one of them would count as padding.
        ids = torch.randint(5, config.vocab_size, (2 * batch if head == "embedding" else batch, length))
        self.batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        if head == "embedding":
            self.pairs = [{name: rows[:batch] for name, rows in self.batch.items()},
                          {name: rows[batch:] for name, rows in self.batch.items()}]
            self.ranking = ranking_loss(self.model)
        self.labels = ids if head == "language" else torch.randint(
            0, labels, (batch, length) if head == "tokens" else (batch,))

    def lora(self, rank):
        return LoraConfig(
            task_type=self.task,
            r=rank,
            lora_alpha=self.alpha,
            lora_dropout=0.0,
            target_modules=self.target_modules,
            modules_to_save=self.head or None,
        )

    def autocast(self):
        return torch.autocast("cpu", torch.bfloat16, enabled=self.precision == "bf16")

    def loss(self):
        if self.task == "FEATURE_EXTRACTION":
            return self.ranking(self.pairs, None)
        return self.model(**self.batch, labels=self.labels).loss

    def step(self, count):
        self.model.train()
        seconds = []
        for _ in range(count):
            begin = time.perf_counter()
            with self.autocast():
                loss = self.loss()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.trained, 1.0)
            self.optimizer.step()
            self.schedule.step()
            self.optimizer.zero_grad()
            seconds.append(time.perf_counter() - begin)
        return {"seconds": seconds, "loss": loss.item(), "peak_bytes": peak_bytes()}

    @torch.no_grad()
    def evaluate(self, ranks, count):
        self.model.eval()
        for rank in ranks:
            if f"rank{rank}" not in self.model.peft_config:
                self.model.add_adapter(f"rank{rank}", self.lora(rank))
        seconds = []
        for _ in range(count):
            total = 0.0
            for rank in ranks:
                self.model.set_adapter(f"rank{rank}")
                begin = time.perf_counter()
                with self.autocast():
                    self.model(**self.batch)
                total += time.perf_counter() - begin
            seconds.append(total)
        self.model.set_adapter("default")
        return {"seconds": seconds, "peak_bytes": peak_bytes()}


def peak_bytes():
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def main():
    work = None
    for line in sys.stdin:
        request = json.loads(line)
        op = request.pop("op")
        if op == "prepare":
            work = Work(**request)
            reply = {"trained": sum(p.numel() for p in work.trained)}
        elif work is None:
            sys.exit(f"Operation '{op}' needs a 'prepare' before it")
        elif op == "step":
            reply = work.step(**request)
        elif op == "evaluate":
            reply = work.evaluate(**request)
        else:
            sys.exit(f"Unknown operation '{op}'")
        print(json.dumps(reply), flush=True)


if __name__ == "__main__":
    main()
