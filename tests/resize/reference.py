"""What PyTorch says of a resized LoRA.

    python reference.py make KIND PATH      writes a random adapter with the shapes of a real one
    python reference.py compare KIND PATH RESIZED RANK
                                            prints the largest differences as JSON
"""

import json
import os
import sys

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

LLAMA = {
    "self_attn.q_proj": (4096, 4096),
    "self_attn.k_proj": (1024, 4096),
    "self_attn.v_proj": (1024, 4096),
    "self_attn.o_proj": (4096, 4096),
    "mlp.gate_proj": (14336, 4096),
    "mlp.up_proj": (14336, 4096),
    "mlp.down_proj": (4096, 14336),
}

# Some modules of each kind; a kernel makes it a convolution.
SDXL = {
    "lora_unet_input_blocks_1_0_in_layers_2": (320, 320, 3),
    "lora_unet_input_blocks_3_0_op": (320, 320, 3),
    "lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q": (640, 640, 0),
    "lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k": (640, 2048, 0),
    "lora_unet_input_blocks_4_1_proj_in": (640, 640, 0),
    "lora_unet_input_blocks_4_0_skip_connection": (640, 320, 1),
    "lora_unet_output_blocks_2_0_in_layers_2": (1280, 1920, 3),
    "lora_unet_middle_block_1_transformer_blocks_0_ff_net_0_proj": (10240, 1280, 0),
    "lora_unet_out_2": (4, 320, 3),
    "lora_te1_text_model_encoder_layers_0_mlp_fc1": (3072, 768, 0),
}

ENCODER = {
    "attention.self.query": (768, 768),
    "attention.self.value": (768, 768),
    "output.dense": (768, 3072),
}


def random_factors(out, inputs, rank, generator):
    """B with decaying columns, so that energy is not the same at every rank."""
    a = torch.randn(rank, inputs, generator=generator) / inputs**0.5
    b = torch.randn(out, rank, generator=generator)
    return a, 0.02 * b * torch.exp(-torch.arange(rank) / (rank / 6))


def save_peft(folder, tensors, rank, alpha, targets, **more):
    os.makedirs(folder)
    save_file(tensors, f"{folder}/adapter_model.safetensors", {"format": "pt"})
    with open(f"{folder}/adapter_config.json", "w") as file:
        json.dump(
            {
                "peft_type": "LORA",
                "r": rank,
                "lora_alpha": alpha,
                "lora_dropout": 0.0,
                "target_modules": targets,
                "bias": "none",
                **more,
            },
            file,
        )


def make_llama(folder, layers=1, rank=64, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    tensors = {}
    for layer in range(layers):
        for name, (out, inputs) in LLAMA.items():
            module = f"base_model.model.model.layers.{layer}.{name}"
            a, b = random_factors(out, inputs, rank, generator)
            tensors[f"{module}.lora_A.weight"] = a.to(dtype)
            tensors[f"{module}.lora_B.weight"] = b.to(dtype)
    targets = [name.split(".")[1] for name in LLAMA]
    save_peft(folder, tensors, rank, 16, targets, task_type="CAUSAL_LM")


def make_encoder(folder):
    generator = torch.Generator().manual_seed(1)
    tensors, ranks = {}, {}
    for layer in range(2):
        for name, (out, inputs) in ENCODER.items():
            module = f"roberta.encoder.layer.{layer}.{name}"
            rank = 24 if "dense" in name else 16
            a, b = random_factors(out, inputs, rank, generator)
            tensors[f"base_model.model.{module}.lora_A.weight"] = a
            tensors[f"base_model.model.{module}.lora_B.weight"] = b
            if rank != 16:
                ranks[module] = rank
    head = torch.randn(2, 768, generator=generator)
    tensors["base_model.model.classifier.out_proj.weight"] = head
    save_peft(
        folder,
        tensors,
        16,
        32,
        ["query", "value", "output.dense"],
        rank_pattern=ranks,
        alpha_pattern={"layer.1.output.dense": 12},
        use_rslora=True,
        task_type="SEQ_CLS",
    )


def make_sdxl(path, layers=1, rank=128, dtype=torch.float16):
    """The modules of SDXL above, `layers` times."""
    generator = torch.Generator().manual_seed(2)
    tensors = {}
    for layer in range(layers):
        for name, (out, inputs, kernel) in SDXL.items():
            module = name if layer == 0 else f"{name}_{layer}"
            own = 64 if "te1" in module else rank
            a, b = random_factors(out, inputs * max(kernel, 1) ** 2, own, generator)
            if kernel:
                a = a.reshape(own, inputs, kernel, kernel)
                b = b.reshape(out, own, 1, 1)
            tensors[f"{module}.lora_down.weight"] = a.to(dtype)
            tensors[f"{module}.lora_up.weight"] = b.to(dtype)
            tensors[f"{module}.alpha"] = torch.tensor(own / 4).to(dtype)
    # LyCORIS: mid [rank, rank, 3, 3] between down and up of 1 x 1.
    module = "lora_unet_input_blocks_2_0_out_layers_3"
    normal = lambda *shape: torch.randn(*shape, generator=generator) / 30
    tensors[f"{module}.lora_down.weight"] = normal(32, 320, 1, 1)
    tensors[f"{module}.lora_up.weight"] = normal(320, 32, 1, 1)
    tensors[f"{module}.lora_mid.weight"] = normal(32, 32, 3, 3)
    tensors[f"{module}.alpha"] = torch.tensor(8.0)
    save_file(
        tensors,
        path,
        {
            "ss_network_dim": str(rank),
            "ss_network_alpha": str(rank / 4),
            "ss_network_args": json.dumps({"conv_dim": "128", "conv_alpha": "32"}),
            "ss_training_comment": "hands",
            "sshs_model_hash": "0" * 64,
            "modelspec.title": "hands",
        },
    )


def update_factors(tensors, module, config):
    """B and A of a module in float64, B with its scale, as PEFT and LyCORIS apply them."""
    if config is None:
        a = tensors[f"{module}.lora_down.weight"].double()
        b = tensors[f"{module}.lora_up.weight"].double()
        mid = tensors.get(f"{module}.lora_mid.weight")
        rank = a.shape[0]
        if mid is not None:
            a = torch.einsum("ijkl,jc->ickl", mid.double(), a.flatten(1))
        scale = tensors[f"{module}.alpha"].double() / rank
    else:
        a = tensors[f"{module}.lora_A.weight"].double()
        b = tensors[f"{module}.lora_B.weight"].double()
        rank = a.shape[0]
        name = module.removeprefix("base_model.model.")
        find = lambda pattern, usual: next(
            (value for key, value in pattern.items() if f".{name}".endswith(f".{key}")),
            usual,
        )
        assert rank == find(config.get("rank_pattern", {}), config["r"]), module
        alpha = find(config.get("alpha_pattern", {}), config["lora_alpha"])
        scale = alpha / (rank**0.5 if config.get("use_rslora") else rank)
    return b.flatten(1) * scale, a.flatten(1)


# Elements of a product up to which it is formed and decomposed as a whole.
WHOLE = 2**20


def reference(b, a):
    """U, S and V^T of a product, largest first."""
    if b.shape[0] * a.shape[1] <= WHOLE:
        return torch.linalg.svd(b @ a, full_matrices=False)
    q_b, r_b = torch.linalg.qr(b)
    q_a, r_a = torch.linalg.qr(a.T)
    u, s, v = torch.linalg.svd(r_b @ r_a.T)
    return q_b @ u, s, v @ q_a.T


def norm(b, a):
    """Frobenius norm of a product."""
    return torch.linalg.matrix_norm(
        torch.linalg.qr(b, mode="r").R @ torch.linalg.qr(a.T, mode="r").R.T
    )


def load(path):
    if os.path.isdir(path):
        with open(f"{path}/adapter_config.json") as file:
            return load_file(f"{path}/adapter_model.safetensors"), json.load(file)
    return load_file(path), None


def kohya_resize(tensors, module, rank):
    """What resize_lora.py of sd-scripts writes: the SVD of the product, S with up, alpha = scale * rank."""
    down = tensors[f"{module}.lora_down.weight"].float()
    up = tensors[f"{module}.lora_up.weight"].float()
    scale = tensors[f"{module}.alpha"].float() / down.shape[0]
    u, s, v = torch.linalg.svd(up.flatten(1) @ down.flatten(1), full_matrices=False)
    alpha = scale * rank
    return u[:, :rank] * s[:rank], v[:rank], alpha


def compare(path, resized, rank):
    before, config = load(path)
    after, new_config = load(resized)
    end = ".lora_down.weight" if config is None else ".lora_A.weight"
    modules = [name.removesuffix(end) for name in before if name.endswith(end)]
    worst = {"values": 0.0, "product": 0.0, "kohya": 0.0}
    kept = lost = 0.0
    for module in modules:
        b, a = update_factors(before, module, config)
        u, s, v = reference(b, a)
        new_b, new_a = update_factors(after, module, new_config)
        k = new_a.shape[0]
        assert k == min(rank, a.shape[0]), (module, k)
        k = min(k, len(s))
        kept += float((s[:k] ** 2).sum())
        lost += float((s[k:] ** 2).sum())
        # The rows and columns of the result are orthogonal.
        values = new_b.norm(dim=0)[:k] * new_a.norm(dim=1)[:k]
        real = s[:k] > 1e-9 * s[0]
        differences = ((values - s[:k]).abs() / s[:k])[real]
        worst["values"] = max(worst["values"], float(differences.max()))
        difference = norm(
            torch.cat([new_b, -u[:, :k] * s[:k]], 1), torch.cat([new_a, v[:k]])
        )
        worst["product"] = max(
            worst["product"], float(difference / s[:k].square().sum().sqrt())
        )
        is_small = b.shape[0] * a.shape[1] <= WHOLE
        if config is None and is_small and f"{module}.lora_mid.weight" not in before:
            own = new_a.shape[0]
            up, down, alpha = kohya_resize(before, module, own)
            assert alpha == after[f"{module}.alpha"], module
            theirs = alpha / own * (up @ down)
            ours = (new_b @ new_a).float()
            worst["kohya"] = max(
                worst["kohya"], float((theirs - ours).norm() / theirs.norm())
            )
    same = [
        name
        for name in before
        if name in after and "lora" not in name.split(".")[-2] and "alpha" not in name
        and torch.equal(before[name], after[name])
    ]
    metadata = None
    if config is None:
        with safe_open(resized, "pt") as file:
            metadata = file.metadata()
    return {
        "modules": len(modules),
        **worst,
        "energy": kept / (kept + lost),
        "carried": same,
        "metadata": metadata,
        "dtypes": sorted({str(tensor.dtype) for tensor in after.values()}),
    }


if __name__ == "__main__":
    # Threads that wait for one another are slow on a busy machine.
    torch.set_num_threads(1)
    command, kind, *rest = sys.argv[1:]
    if command == "make":
        {"llama": make_llama, "encoder": make_encoder, "sdxl": make_sdxl}[kind](*rest)
    else:
        print(json.dumps(compare(rest[0], rest[1], int(rest[2]))))
