"""Resizes a LoRA with PyTorch and PEFT, and times commands.

    python svd.py make llama|sdxl PATH LAYERS DTYPE     a random LoRA with the shapes of a real one
    python svd.py METHOD PATH OUTPUT RANK
    python svd.py timed COMMAND...                      prints seconds and peak memory of a command

METHOD: peft, convert_to_lora() of PEFT; full, the SVD of each product, as
kohya's resize_lora.py with --svd_lowrank_niter 0; lowrank, the randomized one
of kohya's script, which is not exact; factors, QR and the SVD of the core.
"""

import json
import os
import resource
import subprocess
import sys
import time

import torch
from safetensors.torch import save_file

sys.path.append(os.path.join(os.path.dirname(__file__), "../../resize"))
from reference import load, make_llama, make_sdxl


def full(b, a, rank):
    u, s, v = torch.linalg.svd(b @ a, full_matrices=False)
    return u[:, :rank] * s[:rank], v[:rank]


def lowrank(b, a, rank):
    product = b @ a
    if min(product.shape) <= 2048:
        return full(b, a, rank)
    u, s, v = torch.svd_lowrank(product, q=2 * rank, niter=2)
    return u[:, :rank] * s[:rank], v.T[:rank]


def factors(b, a, rank):
    q_b, r_b = torch.linalg.qr(b)
    q_a, r_a = torch.linalg.qr(a.T)
    u, s, v = torch.linalg.svd(r_b @ r_a.T)
    return q_b @ (u[:, :rank] * s[:rank]), v[:rank] @ q_a.T


def resize(method, path, rank):
    tensors, config = load(path)
    down, up = (".lora_down.", ".lora_up.") if config is None else (".lora_A.", ".lora_B.")
    resized = {}
    for name, a in tensors.items():
        if down not in name or name.replace(down, ".lora_mid.") in tensors:
            continue
        b = tensors[name.replace(down, up)]
        new_b, new_a = method(b.float().flatten(1), a.float().flatten(1), rank)
        resized[name] = new_a.to(a.dtype).contiguous()
        resized[name.replace(down, up)] = new_b.to(b.dtype).contiguous()
    return resized


def peft(path, rank):
    """PEFT reads the factors alone, so the base weights take no memory."""
    from peft import LoraConfig, PeftModel, convert_to_lora

    model = torch.nn.Module()
    tensors, _ = load(path)
    for name, a in tensors.items():
        if ".lora_A." not in name:
            continue
        b = tensors[name.replace(".lora_A.", ".lora_B.")]
        *parents, last = name.split(".lora_A.")[0].removeprefix("base_model.model.").split(".")
        parent = model
        for it in parents:
            if not hasattr(parent, it):
                parent.add_module(it, torch.nn.Module())
            parent = getattr(parent, it)
        linear = torch.nn.Linear(1, 1, bias=False)
        linear.in_features, linear.out_features = a.shape[1], b.shape[0]
        weight = torch.zeros(1, 1).expand(b.shape[0], a.shape[1])
        linear.weight = torch.nn.Parameter(weight, requires_grad=False)
        parent.add_module(last, linear)
    config = LoraConfig.from_pretrained(path)
    config.task_type = None
    _, state = convert_to_lora(PeftModel.from_pretrained(model, path, config=config), rank=rank)
    return state


def timed(command):
    started = time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    seconds = time.monotonic() - started
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "seconds": seconds,
        "cpu_seconds": used.ru_utime + used.ru_stime,
        # Linux counts kilobytes, macOS bytes.
        "peak_bytes": used.ru_maxrss * (1 if sys.platform == "darwin" else 1024),
    }


if __name__ == "__main__":
    command, *rest = sys.argv[1:]
    if command == "timed":
        print(json.dumps(timed(rest)))
    elif command == "make":
        kind, path, layers, dtype = rest
        make = {"llama": make_llama, "sdxl": make_sdxl}[kind]
        make(path, layers=int(layers), dtype=getattr(torch, dtype))
    else:
        path, output, rank = rest[0], rest[1], int(rest[2])
        methods = {"full": full, "lowrank": lowrank, "factors": factors}
        resized = peft(path, rank) if command == "peft" else resize(methods[command], path, rank)
        os.makedirs(output)
        save_file(resized, f"{output}/adapter_model.safetensors")
