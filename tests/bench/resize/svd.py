"""Resizes a PEFT folder with PyTorch, and times commands.

    python svd.py make FOLDER LAYERS DTYPE     a random LoRA of rank 64 with the shapes of Llama-3-8B
    python svd.py METHOD FOLDER OUTPUT RANK LAYERS
    python svd.py timed COMMAND...             prints seconds and peak memory of a command

METHOD: full, the SVD of each product, as PEFT's convert_to_lora() and kohya's
resize_lora.py with --svd_lowrank_niter 0; lowrank, the randomized one of
kohya's script, which is not exact; factors, QR and the SVD of the core.
"""

import json
import os
import resource
import subprocess
import sys
import time

import torch
from safetensors.torch import load_file, save_file

sys.path.append(os.path.join(os.path.dirname(__file__), "../../resize"))


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


def resize(method, folder, output, rank, layers):
    """Resizes the first layers."""
    tensors = load_file(f"{folder}/adapter_model.safetensors")
    resized = {}
    for name, a in tensors.items():
        if ".lora_A." not in name or int(name.split(".")[4]) >= layers:
            continue
        b = tensors[name.replace(".lora_A.", ".lora_B.")]
        new_b, new_a = method(b.float(), a.float(), rank)
        resized[name] = new_a.to(a.dtype).contiguous()
        resized[name.replace(".lora_A.", ".lora_B.")] = new_b.to(b.dtype).contiguous()
    os.makedirs(output)
    save_file(resized, f"{output}/adapter_model.safetensors")


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
        from reference import make_llama

        folder, layers, dtype = rest
        make_llama(folder, int(layers), dtype=getattr(torch, dtype))
    else:
        folder, output, rank, layers = rest
        method = {"full": full, "lowrank": lowrank, "factors": factors}[command]
        resize(method, folder, output, int(rank), int(layers))
