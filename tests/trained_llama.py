"""The tiny Llama with HydraLoRA and with sparse adapters, and what these are trained on."""

import json
from pathlib import Path

import torch
from conftest import tiny_llama

from hydraopt.hydralora import HydraConfig
from hydraopt.training import Schedule, answer_loss, batch, fit
from hydraopt.training.sparse import Masks, SparseConfig, add_sparse
from hydraopt.training.train_hydralora import add_hydralora

ROWS = [([5, 17, i], [30 + i, 257]) for i in range(12)]
HYDRA = HydraConfig(experts=3, rank=4, alpha=6.0)
HYDRA_TARGETS = ("q_proj", "mlp.down_proj")
SPARSE_TARGETS = ("q_proj", "up_proj")
TENTH = SparseConfig(0.1)


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def hydra_llama(scale: float = 0.0):
    """A tiny model with HydraLoRA, its B's random if ``scale`` is not 0."""
    torch.manual_seed(0)
    model = tiny_llama()
    layers = add_hydralora(model, HYDRA_TARGETS, HYDRA)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for layer in layers.values():
            layer.b.copy_(scale * torch.randn(layer.b.shape, generator=generator))
    return model.eval(), layers


def trained_sparse(config=TENTH, steps=40, every=3, batch_size=4):
    """A tiny model, its layers, and their masks before every step."""
    torch.manual_seed(0)
    model = tiny_llama()
    layers = add_sparse(model, SPARSE_TARGETS, config)
    schedule = Schedule(steps, 1e-2, batch_size)

    def loss(rows):
        return answer_loss(model, batch(rows))

    masks = Masks(layers, config, loss, schedule, len(ROWS) // batch_size, every)
    seen = []

    def before_step(step, rows):
        masks.before_step(step, rows)
        seen.append({name: layer.mask.clone() for name, layer in layers.items()})

    state = {f"{name}.delta": layer.delta for name, layer in layers.items()}
    state |= {f"{name}.mask": layer.mask for name, layer in layers.items()}
    fit(state, loss, ROWS, schedule, before_step=before_step)
    return model, layers, seen


def write_examples(directory: Path) -> Path:
    """Examples of one task, for the command that trains a sparse adapter."""
    path = directory / "data.jsonl"
    path.write_text(
        "\n".join(json.dumps({"prompt": f"p{i}", "answer": f"{i}"}) for i in range(200))
    )
    return path


def sparse_command(base, data, out, *more):
    train = ("train", "sparse", "--base", base, "--data", data, "-o", out)
    return (*train, "--steps", 60, "--batch", 4, "--rate", 0.01, *more, "--json")
